//! Forgets hosts whose lease has run out, and what only they knew.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use df_http::worker::Worker;

use crate::swarm::Swarm;

/// Not busier than this when leases are very short.
const PAUSE_MIN: Duration = Duration::from_millis(20);

pub struct Expiry {
    pub swarm: Arc<Swarm>,
}

impl Worker for Expiry {
    const NAME: &'static str = "expiry";
    type Error = Infallible;

    async fn round(&mut self) -> Result<Duration, Infallible> {
        Ok(self.swarm.expire().max(PAUSE_MIN))
    }
}
