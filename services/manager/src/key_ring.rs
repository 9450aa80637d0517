//! The keys of the database, as they were last read.
//! **Invariant:** a signature by a key that is in the database is good here, whichever manager put the key there; asking
//! with made-up keys costs the database one read a second at most.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::db::{Db, DbError};
use crate::keys::{KeyError, Keys};

/// Between two reads for the sake of a key that is not known.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

pub struct KeyRing {
    db: Db,
    keys: RwLock<Arc<Keys>>,
    read_at: Mutex<Instant>,
}

#[derive(Debug, thiserror::Error)]
pub enum RingError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

// === impl KeyRing ===

impl KeyRing {
    /// There must be a key.
    pub async fn open(db: Db) -> Result<Self, RingError> {
        let keys = Keys::new(db.signing_keys().await?)?;
        Ok(Self { db, keys: RwLock::new(Arc::new(keys)), read_at: Mutex::new(Instant::now()) })
    }

    pub fn current(&self) -> Arc<Keys> {
        self.keys.read().clone()
    }

    /// To check this token with.
    pub async fn for_token(&self, token: &str) -> Result<Arc<Keys>, DbError> {
        let keys = self.current();
        if keys.may_have_signed(token) || !self.is_due() {
            return Ok(keys);
        }
        match self.read_again().await {
            Ok(()) => Ok(self.current()),
            Err(RingError::Db(error)) => Err(error),
            Err(RingError::Key(error)) => {
                tracing::error!(error = df_http::error::chain(&error), "the former keys are used on");
                Ok(keys)
            }
        }
    }

    pub async fn read_again(&self) -> Result<(), RingError> {
        let stored = self.db.signing_keys().await?;
        *self.keys.write() = Arc::new(Keys::new(stored)?);
        Ok(())
    }

    fn is_due(&self) -> bool {
        let (mut read_at, now) = (self.read_at.lock(), Instant::now());
        let due = now.duration_since(*read_at) >= READ_AGAIN_AFTER;
        if due {
            *read_at = now;
        }
        due
    }
}
