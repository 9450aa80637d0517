//! Passwords: argon2id, off the runtime's threads, few at a time.
//! **Invariant:** a name that does not exist costs as much as a wrong password, so time tells nobody who has an account.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use df_http::ApiError;
use tokio::sync::Semaphore;

/// Each takes 19 MiB for some ten milliseconds; more at once would only take longer.
const AT_ONCE: usize = 2;

#[derive(Clone)]
pub struct Passwords {
    permits: Arc<Semaphore>,
    /// Of a password nobody has; verified against when there is no such account.
    nobody: Arc<str>,
}

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("the password cannot be hashed: {0}")]
    Hash(argon2::password_hash::Error),
    #[error("hashing did not end")]
    Lost(#[from] tokio::task::JoinError),
    #[error("hashing has stopped")]
    Closed(#[from] tokio::sync::AcquireError),
}

// === impl Passwords ===

impl Passwords {
    pub async fn new() -> Result<Self, PasswordError> {
        let nobody = hash(uuid::Uuid::new_v4().to_string()).await?;
        Ok(Self { permits: Arc::new(Semaphore::new(AT_ONCE)), nobody: nobody.into() })
    }

    /// `hash` is `None` when there is no such account; then the answer is no, a moment later.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, PasswordError> {
        let _permit = self.permits.acquire().await?;
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.to_string());
        let right = tokio::task::spawn_blocking(move || {
            PasswordHash::new(&hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        })
        .await?;
        Ok(right && known)
    }
}

/// With a random salt, as a PHC string.
pub async fn hash(password: String) -> Result<String, PasswordError> {
    let hashed = tokio::task::spawn_blocking(move || {
        Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())
    });
    hashed.await?.map_err(PasswordError::Hash)
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        ApiError::internal(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_an_account_is_right() {
        let passwords = Passwords::new().await.unwrap();
        let hashed = hash("dragonfly".to_owned()).await.unwrap();
        assert!(hashed.starts_with("$argon2id$"));
        assert!(passwords.verify("dragonfly".to_owned(), Some(hashed.clone())).await.unwrap());
        assert!(!passwords.verify("Dragonfly".to_owned(), Some(hashed)).await.unwrap());
        assert!(!passwords.verify("dragonfly".to_owned(), None).await.unwrap());
        assert!(!passwords.verify("dragonfly".to_owned(), Some("not a hash".to_owned())).await.unwrap());
    }
}
