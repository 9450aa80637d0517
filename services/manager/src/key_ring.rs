//! The keys of the database, as they were last read, and what they were found to have signed a moment ago.
//! **Invariant:** a signature by a key that is in the database is good here, whichever manager put the key there; asking
//! with made-up keys costs the database one read a second at most.

use std::sync::Arc;
use std::time::Duration;

use df_api::cluster::CredentialClaims;
use moka::future::Cache;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::db::{Db, DbError, now_ms};
use crate::keys::{KeyError, Keys, SessionClaims};
use crate::secret;

/// Between two reads for the sake of a key that is not known.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What was checked is checked again after so long.
const CHECKED_KEPT: Duration = Duration::from_secs(60);
const CHECKED_MAX: u64 = 20_000;

pub struct KeyRing {
    db: Db,
    keys: RwLock<Arc<Keys>>,
    read_at: Mutex<Instant>,
    /// By the hash of the token. A key that is gone takes them along.
    sessions: Cache<String, SessionClaims>,
    credentials: Cache<String, (i64, CredentialClaims)>,
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
        Ok(Self {
            db,
            keys: RwLock::new(Arc::new(keys)),
            read_at: Mutex::new(Instant::now()),
            sessions: Cache::builder().max_capacity(CHECKED_MAX).time_to_live(CHECKED_KEPT).build(),
            credentials: Cache::builder().max_capacity(CHECKED_MAX).time_to_live(CHECKED_KEPT).build(),
        })
    }

    pub fn current(&self) -> Arc<Keys> {
        self.keys.read().clone()
    }

    /// As [`Keys::check_session`].
    pub async fn check_session(&self, token: &str) -> Result<Option<SessionClaims>, DbError> {
        let claims = self.check(&self.sessions, token, Keys::check_session).await?;
        Ok(claims.filter(|claims| !is_over(claims.exp)))
    }

    /// As [`Keys::check_credential`].
    pub async fn check_credential(&self, token: &str) -> Result<Option<(i64, CredentialClaims)>, DbError> {
        let claims = self.check(&self.credentials, token, Keys::check_credential).await?;
        Ok(claims.filter(|(_, claims)| !is_over(claims.exp)))
    }

    /// What is no more than known may be over by now.
    async fn check<T: Clone + Send + Sync + 'static>(
        &self,
        known: &Cache<String, T>,
        token: &str,
        check: fn(&Keys, &str) -> Option<T>,
    ) -> Result<Option<T>, DbError> {
        let name = secret::hash(token);
        if let Some(claims) = known.get(&name).await {
            return Ok(Some(claims));
        }
        let claims = check(&*self.for_token(token).await?, token);
        if let Some(claims) = &claims {
            known.insert(name, claims.clone()).await;
        }
        Ok(claims)
    }

    /// To check this token with.
    async fn for_token(&self, token: &str) -> Result<Arc<Keys>, DbError> {
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
        let keys = Keys::new(stored)?;
        if keys.jwks() != self.current().jwks() {
            *self.keys.write() = Arc::new(keys);
            self.sessions.invalidate_all();
            self.credentials.invalidate_all();
        }
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

fn is_over(exp: i64) -> bool {
    exp <= now_ms() / 1000
}
