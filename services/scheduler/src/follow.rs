//! Hears of what other schedulers behind the same URL have written, so that who waits here is answered at once.
//!
//! **Invariant.** Only a shortcut: who waits looks for itself, too.

use std::time::Duration;

use df_http::worker::Worker;
use sqlx::postgres::PgListener;

use crate::ensemble::Ensemble;

pub struct Follow {
    pub ensemble: Ensemble,
    pub listener: Option<PgListener>,
}

/// After so long without a word it is looked all the same.
const QUIET: Duration = Duration::from_secs(10);

impl Worker for Follow {
    const NAME: &'static str = "follow";
    type Error = sqlx::Error;

    async fn round(&mut self) -> Result<Duration, sqlx::Error> {
        let listener = match &mut self.listener {
            Some(listener) => listener,
            none => none.insert(self.ensemble.journal().listen().await?),
        };
        let heard = match tokio::time::timeout(QUIET, listener.recv()).await {
            Ok(Ok(heard)) => self.ensemble.hear(heard.payload()).await,
            Ok(Err(error)) => {
                self.listener = None;
                return Err(error);
            }
            Err(_) => self.ensemble.catch_up().await,
        };
        // It is in the log already, and the next to ask tries again.
        Ok(if heard.is_ok() { Duration::ZERO } else { Duration::from_secs(1) })
    }
}
