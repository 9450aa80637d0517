//! Belonging: the manager says to which cluster, and is asked again at once, by a request that waits for a change.
//! **Invariant:** a peer of one cluster uses nothing of another: with a new membership go all schedulers and seed peers of
//! the former. A manager that is down, or does not hold its answers back, changes nothing and is not asked in a tight loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use df_api::manager::{DiscoveryRequest, DiscoveryResponse};
use df_http::worker::Worker;

use crate::announce::{AnnounceError, ManagerAccess, manager_client};
use crate::peer::Peer;

/// Which cluster, which schedulers, which seed peers; again and again, so that changes arrive.
pub(crate) struct Discovery {
    peer: Arc<Peer>,
    access: ManagerAccess,
    http: reqwest::Client,
    last: Option<Last>,
    failed: bool,
}

/// The last whole answer.
struct Last {
    version: String,
    at: Instant,
    refresh_after: Duration,
}

/// How long the manager may hold its answer back.
const HOLD: Duration = Duration::from_secs(25);
/// After this long a whole answer is asked for, because the credential in it is good for days only.
const RENEWAL: Duration = Duration::from_secs(3600);
/// After news: several changes are often made at once.
const SETTLING: Duration = Duration::from_millis(500);
/// An answer that came sooner was not held back.
const HASTY: Duration = Duration::from_secs(1);
/// Between questions to a manager that does not hold answers back.
const REFRESH_MIN: Duration = Duration::from_secs(1);
const REFRESH_MAX: Duration = Duration::from_secs(60);
/// Clusters that the log tells of.
const TOLD: usize = 5;

// === impl Discovery ===

impl Discovery {
    pub fn new(peer: Arc<Peer>, access: ManagerAccess, http: reqwest::Client) -> Self {
        Self { peer, access, http, last: None, failed: false }
    }

    fn request(&self) -> DiscoveryRequest {
        let config = self.peer.config();
        DiscoveryRequest {
            place: config.place.clone(),
            scheduler_cluster_id: self.access.scheduler_cluster_id.or(config.seed_peer_cluster_id),
            member_of: self.peer.member_of(),
            seed_peer: config.seed_peer_cluster_id.is_some(),
            daemon: config.about.clone(),
        }
    }

    /// Whether it is news.
    fn take(&mut self, found: DiscoveryResponse) -> bool {
        let news = self.last.as_ref().is_none_or(|last| last.version != found.version);
        self.last = Some(Last {
            version: found.version.clone(),
            at: Instant::now(),
            refresh_after: Duration::from_millis(found.refresh_after_ms),
        });
        let (former, cluster_id) = (self.peer.gate().membership(), found.membership.cluster_id);
        if former.as_ref().is_none_or(|former| former.cluster_id != cluster_id) {
            tell(former.map(|former| former.cluster_name.clone()), &found);
        }
        // The credential first: whoever hears of a scheduler announces this host there at once.
        self.peer.gate().admit(found.membership);
        self.peer.schedulers().set(found.schedulers.into_iter().map(|scheduler| scheduler.url).collect());
        self.peer.known().set_seeds(Some(cluster_id), found.seed_peers);
        news
    }
}

impl Worker for Discovery {
    const NAME: &'static str = "discovery";
    type Error = AnnounceError;

    async fn round(&mut self) -> Result<Duration, AnnounceError> {
        let request = self.request();
        let known = self.last.as_ref().filter(|last| !last.version.is_empty() && last.at.elapsed() < RENEWAL);
        let known = known.map(|last| last.version.clone());
        // What is cut off while it waits, by a proxy, say, is asked without waiting, so that news arrive all the same.
        let hold = if known.is_some() && !self.failed { HOLD } else { Duration::ZERO };
        let asked = Instant::now();
        let client = manager_client(&self.peer, &self.access, &self.http)?;
        let answer = client.discover_cluster(&request, known.as_deref(), hold).await;
        self.failed = answer.is_err();
        let news = answer?.is_some_and(|found| self.take(found));
        let unversioned = self.last.as_ref().is_none_or(|last| last.version.is_empty());
        let refresh_after = self.last.as_ref().map_or(REFRESH_MAX, |last| last.refresh_after);
        Ok(pause(hold, asked.elapsed(), news, refresh_after, unversioned))
    }
}

/// Until the next question: none after an answer that was held back.
fn pause(hold: Duration, took: Duration, news: bool, refresh_after: Duration, unversioned: bool) -> Duration {
    match () {
        () if unversioned => refresh_after.clamp(REFRESH_MIN, REFRESH_MAX),
        () if news || hold.is_zero() => SETTLING,
        () if took >= HASTY => Duration::ZERO,
        () => refresh_after.clamp(REFRESH_MIN, REFRESH_MAX),
    }
}

fn tell(former: Option<String>, found: &DiscoveryResponse) {
    let (cluster, reason, schedulers) = (&found.membership.cluster_name, &found.reason, found.schedulers.len());
    let considered: Vec<_> = found.considered.iter().take(TOLD).map(ToString::to_string).collect();
    let considered = considered.join("; ");
    match former {
        None => tracing::info!(cluster, reason, considered, schedulers, "joined a cluster"),
        Some(former) => tracing::info!(cluster, former, reason, considered, schedulers, "moved to another cluster"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_answer_that_was_held_back_is_followed_by_the_next_question() {
        assert_eq!(pause(HOLD, HOLD, false, MINUTE, false), Duration::ZERO);
        assert_eq!(pause(HOLD, Duration::from_secs(7), true, MINUTE, false), SETTLING);
        assert_eq!(pause(Duration::ZERO, Duration::ZERO, false, MINUTE, false), SETTLING, "it was not asked to wait");
    }

    #[test]
    fn nobody_is_asked_in_a_tight_loop() {
        assert_eq!(pause(HOLD, Duration::ZERO, false, MINUTE, false), MINUTE, "it does not hold back");
        assert_eq!(pause(HOLD, Duration::ZERO, false, Duration::ZERO, false), REFRESH_MIN);
        assert_eq!(pause(HOLD, Duration::ZERO, false, Duration::MAX, true), REFRESH_MAX);
        for (hold, news, unversioned) in [(HOLD, true, false), (Duration::ZERO, false, false), (HOLD, false, true)] {
            assert!(pause(hold, Duration::ZERO, news, Duration::ZERO, unversioned) >= SETTLING);
        }
    }
}
