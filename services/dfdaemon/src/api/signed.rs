//! Contents whose URL is signed: for whom the origin names the content to, by whatever signature.
//!
//! **Invariant.** Who knows such a URL but for its signature gets nothing by it: the task's id has the entity tag in it
//! that the origin says with the content's first byte; where it says none, all of the URL. An origin that tells the tags of
//! its contents to more people than may read them lets those read what is cached.

use std::time::{Duration, Instant};

use df_api::task::TaskSpec;
use df_peer::{Failure, Peer};
use moka::future::Cache;
use sha2::{Digest as _, Sha256};

/// What was made of signed URLs.
#[derive(Clone)]
pub struct Signed {
    known: Cache<[u8; 32], (String, Instant)>,
    /// For so long a signature is not shown again.
    ttl: Duration,
    patience: Duration,
}

const ENTRIES_MAX: u64 = 10_000;
/// A signature that was good is good so much longer while its origin cannot be asked.
const STALE: Duration = Duration::from_secs(24 * 3600);

// === impl Signed ===

impl Signed {
    /// A signature is taken to be good for `ttl`; the origin may think for `patience`.
    pub fn new(ttl: Duration, patience: Duration) -> Self {
        Self { known: Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(ttl + STALE).build(), ttl, patience }
    }

    /// With the signature, see [`df_api::task::Origin::scope`].
    pub async fn scope(&self, peer: &Peer, spec: &TaskSpec) -> String {
        let credential = spec.origin.scope.as_deref().unwrap_or_default();
        let shown: [u8; 32] = Sha256::digest(format!("{credential} {}", spec.origin.url)).into();
        let known = self.known.get(&shown).await;
        if let Some((scope, _)) = known.as_ref().filter(|(_, since)| since.elapsed() < self.ttl) {
            return scope.clone();
        }
        let alone = format!("{credential} holder {}", hex::encode(shown));
        let asked = tokio::time::timeout(self.patience, peer.entity_tag(spec, self.patience)).await;
        match asked {
            Ok(Ok(Some(tag))) => {
                let scope = format!("{credential} signed {}", hex::encode(Sha256::digest(&tag)));
                self.known.insert(shown, (scope.clone(), Instant::now())).await;
                scope
            }
            Ok(Ok(None)) => alone,
            // The download is told the same.
            Ok(Err(failure)) if !failure.may_pass() && !matches!(failure, Failure::Nobody(_) | Failure::Blocked(_)) => {
                self.known.invalidate(&shown).await;
                alone
            }
            Ok(Err(_)) | Err(_) => known.map_or(alone, |(scope, _)| scope),
        }
    }
}
