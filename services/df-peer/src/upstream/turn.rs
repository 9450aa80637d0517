//! A request that no task makes, a question of ours or one that is passed on, among all that are made at its origin.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use super::Upstream;
use super::origins::Hold;
use crate::task::Failure;

/// Counts among the requests at one origin (`upstream.concurrencyPerOrigin`) until it is dropped.
#[derive(Debug)]
pub struct Turn {
    pub(super) _slot: Option<OwnedSemaphorePermit>,
}

// === impl Upstream ===

impl Upstream {
    /// For a request in the name of a client, which is given the answer: waits until one more may be made. How long, and
    /// whether to come back after a 429 or 503, is for the client to say.
    pub async fn turn(&self, url: &Url) -> Turn {
        self.origins.turn(url).await
    }

    /// For a question of our own: an error, without asking, while the origin wants to be left alone. `counts` tells by
    /// which of its answers.
    pub async fn turn_unless_held(&self, url: &Url, counts: fn(u16) -> bool) -> Result<Turn, Failure> {
        match self.origins.held(url).filter(|hold| counts(hold.status)) {
            Some(hold) => Err(hold.into()),
            None => Ok(self.origins.turn(url).await),
        }
    }

    /// What an origin has answered: when it wants to be left alone, it is, by the tasks, too.
    pub fn heard(&self, url: &Url, status: StatusCode, headers: &HeaderMap) {
        self.origins.heard(url, status, headers);
    }
}

impl From<Hold> for Failure {
    fn from(hold: Hold) -> Self {
        Self::Origin { status: hold.status, headers: Box::new(hold.headers), body: Bytes::new() }
    }
}
