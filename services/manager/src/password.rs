//! Passwords: argon2id, off the runtime's threads, few at a time.
//! **Invariant:** a name that does not exist costs as much as a wrong password, so time tells nobody who has an account.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use df_http::ApiError;
use tokio::sync::Semaphore;

/// Each takes 19 MiB for some ten milliseconds; more at once would only take longer.
const AT_ONCE: usize = 2;

/// Verified against when there is no such account. Nobody's password: what it would be a hash of does not matter, only
/// that it costs what ours cost.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub struct Passwords {
    permits: Semaphore,
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
    pub fn new() -> Self {
        Self { permits: Semaphore::new(AT_ONCE) }
    }

    /// `hash` is `None` when there is no such account; then the answer is no, a moment later.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, PasswordError> {
        let _permit = self.permits.acquire().await?;
        // Who signs in elsewhere has none: as long as for anybody else.
        let hash = hash.filter(|hash| !hash.is_empty());
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        let right = tokio::task::spawn_blocking(move || {
            PasswordHash::new(&hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        })
        .await?;
        Ok(right && known)
    }

    /// As [`hash`], few at a time.
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        let _permit = self.permits.acquire().await?;
        hash(password).await
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
        let passwords = Passwords::new();
        let hashed = hash("dragonfly".to_owned()).await.unwrap();
        assert!(hashed.starts_with("$argon2id$"));
        assert!(passwords.verify("dragonfly".to_owned(), Some(hashed.clone())).await.unwrap());
        assert!(!passwords.verify("Dragonfly".to_owned(), Some(hashed)).await.unwrap());
        assert!(!passwords.verify("dragonfly".to_owned(), None).await.unwrap());
        assert!(!passwords.verify("dragonfly".to_owned(), Some("not a hash".to_owned())).await.unwrap());
    }
    #[tokio::test]
    async fn nobodys_hash_costs_what_ours_cost() {
        let cost = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        let ours = hash("dragonfly".to_owned()).await.unwrap();
        assert_eq!((cost(NOBODY), NOBODY.len()), (cost(&ours), ours.len()));
        assert!(PasswordHash::new(NOBODY).is_ok());
    }
}
