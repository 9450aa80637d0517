//! Who may read what from the cache: those whose credentials the registry accepted for that repository, for a while; and
//! of a repository only what the registry has said to be in it. A no is remembered, too, for a moment: runtimes ask again
//! and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use df_api::Digest;
use http::StatusCode;
use http::header::HeaderMap;
use moka::future::Cache;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// Remembered yeses and noes; a restart forgets them, which costs one request each.
#[derive(Clone)]
pub struct Access {
    proven: Cache<[u8; 32], Arc<Proven>>,
    /// Digests in repositories.
    members: Cache<[u8; 32], ()>,
    /// Who is being asked about.
    turns: Cache<[u8; 32], Arc<tokio::sync::Mutex<()>>>,
    /// Refused credentials by repository.
    refused: Cache<[u8; 32], Refused>,
    /// Credentials that have asked a registry too much, until when.
    limited: Cache<[u8; 32], (Instant, Refused)>,
    /// When a registry could not answer, last.
    outages: Cache<[u8; 32], Instant>,
    ttl: Duration,
}

struct Proven {
    since: Instant,
    used: Mutex<Instant>,
}

/// What the registry said, to be said again.
#[derive(Clone, Debug)]
pub struct Refused {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Fresh,
    /// Was accepted once; good only while the registry cannot be asked.
    Stale,
    None,
}

/// As what a repository has a content: anybody may push a blob that reads like a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Manifest,
    Blob,
}

/// A yes outlives its freshness by this much, for when the registry is down.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// A pull that goes on keeps its proof for this long: older runtimes get no new token on the way.
const PULL_MAX: Duration = Duration::from_secs(3600);
/// A registry that wants to be left alone is, for this long without `Retry-After`, and at most.
const LIMITED_USUAL: Duration = Duration::from_secs(1);
const LIMITED_MAX: Duration = Duration::from_secs(30);
const ENTRIES_MAX: u64 = 100_000;
/// Longer than anybody waits for a first byte.
const TURN_KEPT: Duration = Duration::from_secs(120);
/// Longer than anybody takes an outage to last.
const OUTAGE_KEPT: Duration = Duration::from_secs(120);
/// Noes have bodies.
const REFUSALS_MAX: u64 = 2_000;

// === impl Kind ===

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifests",
            Self::Blob => "blobs",
        }
    }
}

// === impl Access ===

impl Access {
    /// `ttl` is how long a yes is good for, `refusal_ttl` a no.
    pub fn new(ttl: Duration, refusal_ttl: Duration) -> Self {
        Self {
            proven: Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(ttl + STALE).build(),
            members: Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(STALE).build(),
            turns: Cache::builder().max_capacity(ENTRIES_MAX).time_to_idle(TURN_KEPT).build(),
            refused: Cache::builder().max_capacity(REFUSALS_MAX).time_to_live(refusal_ttl).build(),
            limited: Cache::builder().max_capacity(REFUSALS_MAX).time_to_live(LIMITED_MAX).build(),
            outages: Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(OUTAGE_KEPT).build(),
            ttl,
        }
    }

    /// The registry has it in this repository: it answered for it, or named it in a manifest.
    pub async fn add_member(&self, registry: &str, repository: &str, kind: Kind, digest: &Digest) {
        self.members.insert(key(&[registry, repository, kind.name(), &digest.to_string()]), ()).await;
    }

    pub async fn is_member(&self, registry: &str, repository: &str, kind: Kind, digest: &Digest) -> bool {
        self.members.get(&key(&[registry, repository, kind.name(), &digest.to_string()])).await.is_some()
    }

    pub async fn proof(&self, registry: &str, repository: &str, authorization: Option<&str>) -> Proof {
        let Some(proven) = self.proven.get(&credential_key(registry, repository, authorization)).await else {
            return Proof::None;
        };
        let mut used = proven.used.lock();
        if used.elapsed() < self.ttl && proven.since.elapsed() < PULL_MAX.max(self.ttl) {
            *used = Instant::now();
            return Proof::Fresh;
        }
        Proof::Stale
    }

    pub async fn prove(&self, registry: &str, repository: &str, authorization: Option<&str>) {
        let key = credential_key(registry, repository, authorization);
        let now = Instant::now();
        self.refused.invalidate(&key).await;
        self.proven.insert(key, Arc::new(Proven { since: now, used: Mutex::new(now) })).await;
    }

    /// Somebody of the cluster was accepted once; good only while the registry cannot be asked.
    pub async fn prove_stale(&self, registry: &str, repository: &str, authorization: Option<&str>) {
        let Some(long_ago) = Instant::now().checked_sub(self.ttl) else { return };
        let proven = Proven { since: long_ago, used: Mutex::new(long_ago) };
        let entry = self.proven.entry(credential_key(registry, repository, authorization));
        entry.or_insert(Arc::new(proven)).await;
    }

    /// Held while the registry is asked about `what` of a repository; the others wait, and then know.
    pub async fn turn(
        &self,
        registry: &str,
        repository: &str,
        authorization: Option<&str>,
        what: &str,
    ) -> tokio::sync::OwnedMutexGuard<()> {
        let credential = credential_key(registry, repository, authorization);
        let key = key(&[&hex::encode(credential), what]);
        self.turns.entry(key).or_default().await.into_value().lock_owned().await
    }

    /// The registry could not answer about `what`. For other contents of the repository it is not asked either, if they
    /// cannot change: that is `ANYTHING`.
    pub async fn note_outage(&self, registry: &str, repository: &str, authorization: Option<&str>, what: &str) {
        let credential = hex::encode(credential_key(registry, repository, authorization));
        for what in [what, ANYTHING] {
            self.outages.insert(key(&[&credential, what]), Instant::now()).await;
        }
    }

    /// Whether it could not, at `since` or later.
    pub async fn is_out(
        &self,
        registry: &str,
        repository: &str,
        authorization: Option<&str>,
        (what, since): (&str, Instant),
    ) -> bool {
        let credential = hex::encode(credential_key(registry, repository, authorization));
        self.outages.get(&key(&[&credential, what])).await.is_some_and(|last| last >= since)
    }

    /// The registry does not accept it, or no longer.
    pub async fn refuse(&self, registry: &str, repository: &str, authorization: Option<&str>, refused: Refused) {
        let key = credential_key(registry, repository, authorization);
        self.proven.invalidate(&key).await;
        self.refused.insert(key, refused).await;
    }

    /// The registry has answered 429.
    pub async fn limit(&self, registry: &str, authorization: Option<&str>, wait: Option<Duration>, refused: Refused) {
        let until = Instant::now() + wait.unwrap_or(LIMITED_USUAL).min(LIMITED_MAX);
        self.limited.insert(credential_key(registry, "", authorization), (until, refused)).await;
    }

    /// The no that the registry would say again.
    pub async fn refusal(&self, registry: &str, repository: &str, authorization: Option<&str>) -> Option<Refused> {
        let limited = self.limited.get(&credential_key(registry, "", authorization)).await;
        if let Some((_, refused)) = limited.filter(|(until, _)| Instant::now() < *until) {
            return Some(refused);
        }
        self.refused(registry, repository, authorization).await
    }

    /// The registry does not let this credential into this repository.
    pub async fn refused(&self, registry: &str, repository: &str, authorization: Option<&str>) -> Option<Refused> {
        self.refused.get(&credential_key(registry, repository, authorization)).await
    }
}

/// In [`Access::note_outage`].
pub const ANYTHING: &str = "";

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

    const MINUTE: Duration = Duration::from_secs(60);

    fn no(status: StatusCode) -> Refused {
        Refused { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    #[tokio::test]
    async fn a_yes_is_for_one_repository_and_one_credential() {
        let access = Access::new(MINUTE, MINUTE);
        access.prove("r", "a", Some("Bearer x")).await;
        assert_eq!(access.proof("r", "a", Some("Bearer x")).await, Proof::Fresh);
        for (repository, authorization) in
            [("b", Some("Bearer x")), ("a", Some("Bearer y")), ("a", None), ("a", Some(""))]
        {
            assert_eq!(access.proof("r", repository, authorization).await, Proof::None);
        }
        access.refuse("r", "a", Some("Bearer x"), no(StatusCode::UNAUTHORIZED)).await;
        assert_eq!(access.proof("r", "a", Some("Bearer x")).await, Proof::None);
    }

    #[tokio::test]
    async fn a_yes_grows_stale() {
        let access = Access::new(Duration::ZERO, MINUTE);
        access.prove("r", "a", None).await;
        assert_eq!(access.proof("r", "a", None).await, Proof::Stale);
    }

    #[tokio::test]
    async fn a_no_is_for_one_repository_and_one_credential_until_there_is_a_yes() {
        let access = Access::new(MINUTE, MINUTE);
        access.refuse("r", "a", Some("Basic x"), no(StatusCode::FORBIDDEN)).await;
        let refusal = access.refusal("r", "a", Some("Basic x")).await.unwrap();
        assert_eq!(refusal.status, StatusCode::FORBIDDEN);
        assert!(access.refusal("r", "b", Some("Basic x")).await.is_none());
        assert!(access.refusal("r", "a", None).await.is_none());
        access.prove("r", "a", Some("Basic x")).await;
        assert!(access.refusal("r", "a", Some("Basic x")).await.is_none());
    }

    #[tokio::test]
    async fn an_outage_is_of_one_credential_and_of_what_was_asked() {
        let access = Access::new(MINUTE, MINUTE);
        let before = Instant::now();
        access.note_outage("r", "a", None, "v1").await;
        let is_out = async |authorization, what| access.is_out("r", "a", authorization, (what, before)).await;
        assert!(is_out(None, "v1").await && is_out(None, ANYTHING).await);
        assert!(!is_out(None, "v2").await && !is_out(Some("Bearer x"), "v1").await);
        assert!(!access.is_out("r", "a", None, ("v1", Instant::now() + MINUTE)).await);
    }

    #[tokio::test]
    async fn who_asked_too_much_waits_at_all_repositories_and_not_for_ever() {
        let access = Access::new(MINUTE, MINUTE);
        access.limit("r", None, None, no(StatusCode::TOO_MANY_REQUESTS)).await;
        assert!(access.refusal("r", "b", None).await.is_some());
        assert!(access.refusal("r", "b", Some("Bearer x")).await.is_none());
        access.limit("r", None, Some(Duration::ZERO), no(StatusCode::TOO_MANY_REQUESTS)).await;
        assert!(access.refusal("r", "b", None).await.is_none());
    }
}
