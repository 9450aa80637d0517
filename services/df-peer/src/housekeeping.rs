//! What keeps the store in order: what is there is looked at after the start, what is suspect is checked, what is too much
//! or too old goes, and a disk that takes nothing is tried again.

use std::sync::Arc;
use std::time::Duration;

use df_http::worker::{Worker, Workers};
use tokio::task::JoinError;

use crate::peer::Peer;

/// While nothing can be stored.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks at what grows faster than it can go.
const CROWDED_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks for what is suspect: a record that has just been read may show it.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Starts the loops. Announcing tells schedulers of the tasks as soon as they have been looked at.
pub fn start(peer: &Arc<Peer>, interval: Duration, workers: &Workers) {
    workers.spawn(Housekeeping { peer: peer.clone(), interval });
    workers.spawn(Crowding { peer: peer.clone() });
    workers.spawn(Check { peer: peer.clone() });
}

struct Housekeeping {
    peer: Arc<Peer>,
    interval: Duration,
}

impl Worker for Housekeeping {
    const NAME: &'static str = "housekeeping";
    type Error = JoinError;

    async fn round(&mut self) -> Result<Duration, JoinError> {
        // Also those whose files went for want of room since the last round.
        blocking(&self.peer, Peer::drop_idle_tasks).await?;
        if !self.peer.store().is_surveyed() {
            blocking(&self.peer, |peer| peer.store().survey()).await?;
        }
        blocking(&self.peer, |peer| peer.store().keep_house()).await?;
        let usage = self.peer.store().usage();
        metrics::gauge!("dragonfly_client_stored_tasks").set(usage.tasks as f64);
        metrics::gauge!("dragonfly_client_stored_bytes").set(usage.held_bytes as f64);
        metrics::gauge!("dragonfly_client_storing").set(if usage.storing { 1.0 } else { 0.0 });
        metrics::counter!("dragonfly_client_evicted_tasks_total").absolute(usage.evicted_tasks);
        Ok(if usage.storing { self.interval } else { self.interval.min(PROBE_INTERVAL) })
    }
}

/// What is too much goes as soon as it is, and not a round later.
struct Crowding {
    peer: Arc<Peer>,
}

impl Worker for Crowding {
    const NAME: &'static str = "making room";
    type Error = JoinError;

    async fn round(&mut self) -> Result<Duration, JoinError> {
        self.peer.store().crowded().await;
        blocking(&self.peer, |peer| peer.store().keep_house()).await?;
        Ok(CROWDED_INTERVAL)
    }
}

/// One suspect task after the other, while others use the rest.
struct Check {
    peer: Arc<Peer>,
}

impl Worker for Check {
    const NAME: &'static str = "check after an unclean end";
    type Error = JoinError;

    async fn round(&mut self) -> Result<Duration, JoinError> {
        let more = blocking(&self.peer, |peer| peer.store().check_one()).await?;
        Ok(if more { Duration::ZERO } else { CHECK_INTERVAL })
    }
}

async fn blocking<T: Send + 'static>(peer: &Arc<Peer>, work: fn(&Peer) -> T) -> Result<T, JoinError> {
    let peer = peer.clone();
    tokio::task::spawn_blocking(move || work(&peer)).await
}
