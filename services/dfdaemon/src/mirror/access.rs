//! Who may read what from the cache: those whose credentials the registry accepted for that repository, for a while; and
//! of a repository only what the registry has said to be in it.

use std::time::{Duration, Instant};

use df_api::Digest;
use moka::future::Cache;
use sha2::{Digest as _, Sha256};

/// Remembered yeses; a restart forgets them, which costs one request each.
#[derive(Clone)]
pub struct Access {
    proven: Cache<[u8; 32], Instant>,
    /// Digests in repositories.
    members: Cache<[u8; 32], ()>,
    ttl: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Fresh,
    /// Was accepted once; good only while the registry cannot be asked.
    Stale,
    None,
}

/// A yes outlives its freshness by this much, for when the registry is down.
const STALE: Duration = Duration::from_secs(24 * 3600);
const ENTRIES_MAX: u64 = 100_000;

// === impl Access ===

impl Access {
    pub fn new(ttl: Duration) -> Self {
        let proven = Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(ttl + STALE).build();
        let members = Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(STALE).build();
        Self { proven, members, ttl }
    }

    /// The registry has it in this repository: it answered for it, or named it in a manifest.
    pub async fn add_member(&self, registry: &str, repository: &str, digest: &Digest) {
        self.members.insert(key(&[registry, repository, &digest.to_string()]), ()).await;
    }

    pub async fn is_member(&self, registry: &str, repository: &str, digest: &Digest) -> bool {
        self.members.get(&key(&[registry, repository, &digest.to_string()])).await.is_some()
    }

    pub async fn proof(&self, registry: &str, repository: &str, authorization: Option<&str>) -> Proof {
        match self.proven.get(&credential_key(registry, repository, authorization)).await {
            None => Proof::None,
            Some(since) if since.elapsed() < self.ttl => Proof::Fresh,
            Some(_) => Proof::Stale,
        }
    }

    pub async fn prove(&self, registry: &str, repository: &str, authorization: Option<&str>) {
        self.proven.insert(credential_key(registry, repository, authorization), Instant::now()).await;
    }

    pub async fn revoke(&self, registry: &str, repository: &str, authorization: Option<&str>) {
        self.proven.invalidate(&credential_key(registry, repository, authorization)).await;
    }
}

/// Credentials are kept only as part of a hash. Anonymous is a credential of its own, told apart from an empty one.
fn credential_key(registry: &str, repository: &str, authorization: Option<&str>) -> [u8; 32] {
    let kind = authorization.map_or("anonymous", |_| "presented");
    key(&[registry, repository, kind, authorization.unwrap_or_default()])
}

fn key(fields: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_yes_is_for_one_repository_and_one_credential() {
        let access = Access::new(Duration::from_secs(60));
        access.prove("r", "a", Some("Bearer x")).await;
        assert_eq!(access.proof("r", "a", Some("Bearer x")).await, Proof::Fresh);
        for (repository, authorization) in
            [("b", Some("Bearer x")), ("a", Some("Bearer y")), ("a", None), ("a", Some(""))]
        {
            assert_eq!(access.proof("r", repository, authorization).await, Proof::None);
        }
        access.revoke("r", "a", Some("Bearer x")).await;
        assert_eq!(access.proof("r", "a", Some("Bearer x")).await, Proof::None);
    }

    #[tokio::test]
    async fn a_yes_grows_stale() {
        let access = Access::new(Duration::ZERO);
        access.prove("r", "a", None).await;
        assert_eq!(access.proof("r", "a", None).await, Proof::Stale);
    }
}
