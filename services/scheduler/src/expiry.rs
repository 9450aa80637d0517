//! Forgets hosts whose lease has run out, and what only they knew.

use std::sync::Arc;
use std::time::Duration;

use df_http::worker::Worker;

use crate::ensemble::Unreachable;
use crate::swarm::Swarm;

/// Not busier than this when leases are very short.
const PAUSE_MIN: Duration = Duration::from_millis(20);

pub struct Expiry {
    pub swarm: Arc<Swarm>,
}

impl Worker for Expiry {
    const NAME: &'static str = "expiry";
    type Error = Unreachable;

    async fn round(&mut self) -> Result<Duration, Unreachable> {
        Ok(self.swarm.expire().await?.max(PAUSE_MIN))
    }
}
