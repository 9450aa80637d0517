//! What a tag means, asked of the seed peer that its repository belongs to: it asks the registry once for all nodes.
//!
//! **Invariant.** A password stays here; and a seed that does not answer costs one wait, after which the registry is asked.

use std::time::Duration;

use df_api::dfdaemon::{ResolveTagRequest, TagAnswer};
use df_api::task::{Origin, TaskSpec};

use crate::peer::Peer;

/// The registry may be far, and half of a runtime's patience must be left for asking it from here.
const PATIENCE: Duration = Duration::from_secs(4);
/// A seed peer has an answer by then, or says that it has none: whoever hangs up does not hear what it knows from before.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// A seed that did not answer is not asked for this long.
pub(crate) const SILENT_FOR: Duration = Duration::from_secs(10);

// === impl Peer ===

impl Peer {
    /// Of a manifest by its tag, or by its digest. `None` when only the registry itself can tell: there is no such seed, or
    /// it does not answer.
    pub async fn resolve_tag(&self, origin: &Origin) -> Option<TagAnswer> {
        let origin = origin.for_the_cluster();
        if origin.node_only {
            return None;
        }
        // Who is asked for a tag has heard of its digest, too.
        let repository = origin.url.rsplit_once("/manifests/").map_or(&*origin.url, |(repository, _)| repository);
        let seed = self.seed_of(&TaskSpec::new(Origin::new(repository), None).id)?;
        if self.silent_hosts.contains_key(&seed.url) {
            return None;
        }
        let client = self.parent_client(&seed)?;
        let asked = tokio::time::timeout(PATIENCE, client.resolve_tag(&ResolveTagRequest { origin })).await;
        match asked {
            Ok(Ok(answer)) => return Some(answer),
            // It has answered: that it cannot say.
            Ok(Err(error)) if error.status().is_some() => {}
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(seed = seed.url, "the seed peer of a tag does not answer");
                self.silent_hosts.insert(seed.url, ()).await;
            }
        }
        None
    }
}
