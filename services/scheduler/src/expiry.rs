//! Forgets hosts whose lease has run out, and what only they knew.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use df_http::worker::Worker;

use crate::swarm::Swarm;

/// Bounds of a round: not busier than this when leases are very short, not lazier when there is nobody.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub struct Expiry {
    pub swarm: Arc<Swarm>,
}

impl Worker for Expiry {
    const NAME: &'static str = "expiry";
    type Error = Infallible;

    async fn round(&mut self) -> Result<Duration, Infallible> {
        Ok(self.swarm.expire().map_or(PAUSE_MAX, |pause| pause.clamp(PAUSE_MIN, PAUSE_MAX)))
    }
}
