//! A task on this host: its stored pieces, its one download, and what its readers need to know of both.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use df_api::dfdaemon::{ReceivedBytes, TaskState, TaskStatus};
use df_api::rules::Priority;
use df_api::task::{Origin, TaskSpec};
use df_api::{Digest, TaskId};
use df_http::RateLimit;
use df_store::{StoreError, StoredTask};
use http::HeaderMap;
use parking_lot::{Mutex, RwLock};

use crate::download::Start;
use crate::others::{Left, Others};
use crate::readers::Readers;
use crate::stillness::Stillness;
use crate::upstream::S3Error;
use crate::wanted::Wanted;

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Origin,
    Seed,
    Peer,
}

/// Why there is no content.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The origin answered, and it was no: its own status and headers, for the caller to act on.
    #[error("the origin answered {status}{}", crate::origin::reason(.body))]
    Origin { status: u16, headers: Box<HeaderMap>, body: Bytes },
    #[error("the origin cannot be reached: {0}")]
    Unreachable(String),
    #[error(transparent)]
    Refused(#[from] crate::UpstreamRefused),
    #[error("the origin's answer makes no sense: {0}")]
    Malformed(String),
    #[error("the content is {found}, expected {expected}; nothing of it was kept")]
    WrongDigest { found: Digest, expected: Digest },
    /// No peer has it, and the origin is not to be asked.
    #[error("nobody in this cluster has it, and {0}")]
    Nobody(NoOrigin),
    /// A rule of the cluster, which this names, forbids it.
    #[error("{0}")]
    Blocked(String),
    /// Not the content's fault: with [`StoreError::is_not_storing`] it can still be had, unstored.
    #[error("cannot store it: {}", df_http::error::chain(.0))]
    Storage(StoreError),
}

/// Why an origin is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoOrigin {
    #[error("its origin is not to be asked (disable_origin)")]
    Disabled,
    #[error("there is no origin to fetch it from: import it again")]
    Imported,
    #[error("its priority is 2: only what the cluster has")]
    CachedOnly,
}

/// One task of this host, complete, running or failed.
#[derive(Debug)]
pub struct Task {
    stored: Arc<StoredTask>,
    /// With the credentials of the latest reader.
    spec: RwLock<TaskSpec>,
    received: [AtomicU64; 3],
    rate: OnceLock<RateLimit>,
    readers: Readers,
    /// Its files are going because nothing of them is worth keeping.
    useless: AtomicBool,
    /// They are gone: it only knows why it failed.
    discarded: AtomicBool,
    run: Mutex<Run>,
    /// When somebody last asked for it.
    asked: Mutex<Instant>,
    stillness: Stillness,
}

#[derive(Debug)]
struct Run {
    running: bool,
    at_origin: bool,
    failure: Option<Arc<Failure>>,
    verdict: Verdict,
    wanted: Wanted,
    others: Others,
}

/// What the cluster's rules say of it.
#[derive(Clone, Debug, Default)]
enum Verdict {
    #[default]
    Allowed,
    CachedOnly,
    Blocked(String),
}

// === impl Failure ===

impl Failure {
    /// Whether asking again may help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Origin { status, .. } => matches!(status, 429 | 500..),
            Self::Unreachable(_) => true,
            _ => false,
        }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        crate::origin::unreachable(error)
    }
}

impl From<S3Error> for Failure {
    fn from(error: S3Error) -> Self {
        match error {
            S3Error::Refused(refused) => Self::Refused(refused),
            error => Self::Unreachable(error.to_string()),
        }
    }
}

// === impl NoOrigin ===

impl NoOrigin {
    pub(crate) fn of(origin: &Origin) -> Option<Self> {
        let why = if origin.url.is_empty() { Self::Imported } else { Self::Disabled };
        (!origin.may_be_asked()).then_some(why)
    }
}

// === impl Run ===

impl Run {
    fn new(running: bool, wanted: Wanted) -> Self {
        Self { running, at_origin: false, failure: None, verdict: Verdict::Allowed, wanted, others: Others::default() }
    }
}

// === impl Task ===

impl Task {
    pub(crate) fn new(stored: Arc<StoredTask>, spec: TaskSpec) -> Self {
        Self {
            stored,
            spec: RwLock::new(spec),
            received: Default::default(),
            rate: OnceLock::new(),
            readers: Readers::default(),
            useless: AtomicBool::new(false),
            discarded: AtomicBool::new(false),
            run: Mutex::new(Run::new(false, Wanted::Whole)),
            asked: Mutex::new(Instant::now()),
            stillness: Stillness::default(),
        }
    }

    pub fn id(&self) -> &TaskId {
        self.stored.id()
    }

    pub fn stored(&self) -> &Arc<StoredTask> {
        &self.stored
    }

    pub fn spec(&self) -> TaskSpec {
        self.spec.read().clone()
    }

    /// Programs of this node may read what one of them asked for or imported; a registry's content needs the registry's
    /// yes.
    pub fn is_for_programs(&self) -> bool {
        self.stored.label().is_some()
    }

    pub(crate) fn is_discarded(&self) -> bool {
        self.discarded.load(Ordering::Relaxed)
    }

    /// Before its files go, so that it is never taken for an evicted one.
    pub(crate) fn set_useless(&self) {
        self.useless.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_discarded(&self) {
        self.discarded.store(true, Ordering::Relaxed);
    }

    /// Its files went although it is sound: whoever wants it gets another task.
    pub(crate) fn is_evicted(&self) -> bool {
        self.stored.is_removed() && !self.useless.load(Ordering::Relaxed)
    }

    pub(crate) fn touch(&self) {
        *self.asked.lock() = Instant::now();
    }

    pub(crate) fn is_idle(&self, since: Duration) -> bool {
        let asked = *self.asked.lock();
        !self.is_running() && asked.elapsed() > since
    }

    /// Why there will be no more bytes, until somebody starts it again.
    pub fn failure(&self) -> Option<Arc<Failure>> {
        self.run.lock().failure.clone()
    }

    pub fn is_running(&self) -> bool {
        self.run.lock().running
    }

    /// As [`Task::is_running`], not only for a part of it.
    pub fn is_getting_all(&self) -> bool {
        let run = self.run.lock();
        run.running && run.wanted == Wanted::Whole
    }

    /// What it gets comes from the origin: it waits for no peer.
    pub fn is_at_origin(&self) -> bool {
        self.run.lock().at_origin
    }

    pub(crate) fn set_at_origin(&self, at_origin: bool) {
        self.run.lock().at_origin = at_origin;
    }

    pub fn received(&self) -> ReceivedBytes {
        let bytes = |source: Source| self.received[source as usize].load(Ordering::Relaxed);
        ReceivedBytes {
            origin_bytes: bytes(Source::Origin),
            seed_bytes: bytes(Source::Seed),
            peer_bytes: bytes(Source::Peer),
        }
    }

    pub fn status(&self) -> TaskStatus {
        let snapshot = self.stored.snapshot();
        let label = self.stored.label().unwrap_or_default();
        let failure = self.failure().map(|failure| failure.to_string());
        let state = match (snapshot.complete, &failure) {
            (true, _) => TaskState::Complete,
            (false, Some(_)) => TaskState::Failed,
            (false, None) if self.is_running() => TaskState::Running,
            (false, None) => TaskState::Idle,
        };
        TaskStatus {
            id: self.id().clone(),
            state,
            length: snapshot.meta.as_ref().and_then(|meta| meta.length),
            piece_length: snapshot.meta.as_ref().map(|meta| meta.piece_length),
            digest: snapshot.meta.as_ref().and_then(|meta| meta.digest.clone()).or(self.spec().digest),
            held_bytes: snapshot.held_bytes,
            received: self.received(),
            url: label.url,
            tag: label.tag,
            application: label.application,
            failure,
        }
    }

    // --- for the download ---

    /// `true` when the caller is the one to run it now. A former failure is forgotten: somebody asks again.
    pub(crate) fn claim(&self, spec: TaskSpec, start: Start) -> bool {
        // Nothing but the whole can be compared with a digest.
        let part = start.part().filter(|_| spec.digest.is_none());
        let mut run = self.run.lock();
        // Found on disk, which knows no URL.
        if self.spec().origin.url.is_empty() {
            *self.spec.write() = spec.clone();
        }
        if self.stored.is_complete() {
            return false;
        }
        if run.running {
            if spec.origin.priority != Priority::CACHED_ONLY {
                run.verdict = Verdict::Allowed;
            }
            self.join(spec, &mut run.others);
            run.wanted.add(part);
            drop(run);
            self.stored.wake();
            return false;
        }
        *self.spec.write() = spec;
        // Before it runs: it would stop at once for want of a reader.
        self.readers.expect(matches!(start, Start::Child | Start::Duty));
        *run = Run::new(true, Wanted::new(part));
        true
    }

    /// Who lets the origin be asked lets it be asked for all.
    fn join(&self, spec: TaskSpec, others: &mut Others) {
        let mut known = self.spec.write();
        let peers_only = known.origin.peers_only && spec.origin.peers_only;
        let priority = Some(known.origin.priority).filter(|priority| *priority != Priority::CACHED_ONLY);
        let priority = priority.unwrap_or(spec.origin.priority);
        if renews(&spec, &known) {
            *known = spec;
        } else {
            others.add(spec, &known);
        }
        known.origin.peers_only = peers_only;
        known.origin.priority = priority;
    }

    /// Another who wants the same content has named another origin of it, which may do better than one that creeps.
    pub(crate) fn has_other_origin(&self) -> bool {
        self.run.lock().others.has_next(Left::Creeping)
    }

    /// From now on that one is asked; `false` when there is none, or the failure is not of an origin.
    pub(crate) fn go_elsewhere(&self, failure: &Failure) -> bool {
        let left = match failure {
            Failure::Unreachable(_) => Left::Creeping,
            Failure::Origin { .. } | Failure::Refused(_) => Left::Refusing,
            Failure::Malformed(_)
            | Failure::WrongDigest { .. }
            | Failure::Nobody(_)
            | Failure::Blocked(_)
            | Failure::Storage(_) => return false,
        };
        let mut run = self.run.lock();
        let mut known = self.spec.write();
        let Some(next) = run.others.next(&known, left) else { return false };
        *known = next;
        true
    }

    pub(crate) fn ended(&self, failure: Option<Failure>) {
        let mut run = self.run.lock();
        (run.running, run.failure) = (false, failure.map(Arc::new));
        drop(run);
        self.stored.wake();
    }

    /// Ends a download that was to bring a part, unless more is wanted by now.
    pub(crate) fn ended_with_part(&self) -> bool {
        let mut run = self.run.lock();
        let done = self.has(&run.wanted);
        if done {
            run.running = false;
        }
        drop(run);
        self.stored.wake();
        done
    }

    pub(crate) fn wanted(&self) -> Wanted {
        self.run.lock().wanted.clone()
    }

    pub(crate) fn wants_whole(&self) -> bool {
        self.run.lock().wanted == Wanted::Whole
    }

    /// All that is wanted is marked.
    pub(crate) fn has_wanted(&self) -> bool {
        self.has(&self.run.lock().wanted)
    }

    fn has(&self, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::Whole => self.stored.has_all_pieces(),
            Wanted::Parts(_) => {
                let snapshot = self.stored.snapshot();
                snapshot.meta.is_some_and(|meta| wanted.is_in(&snapshot.pieces, &meta))
            }
        }
    }

    /// Why its origin is not asked, if it is not.
    pub(crate) fn no_origin(&self) -> Option<NoOrigin> {
        let ruled = matches!(self.run.lock().verdict, Verdict::CachedOnly).then_some(NoOrigin::CachedOnly);
        NoOrigin::of(&self.spec.read().origin).or(ruled)
    }

    /// This download is to bring only what the cluster has, which was said of a wish of this priority.
    pub(crate) fn set_cached_only(&self, asked: Priority) {
        let mut run = self.run.lock();
        if self.spec.read().origin.priority == asked {
            run.verdict = Verdict::CachedOnly;
        }
    }

    pub(crate) fn set_blocked(&self, rule: &str) {
        self.run.lock().verdict = Verdict::Blocked(rule.to_owned());
    }

    /// The rule that forbids this download.
    pub(crate) fn blocked(&self) -> Option<String> {
        match &self.run.lock().verdict {
            Verdict::Blocked(rule) => Some(rule.clone()),
            Verdict::Allowed | Verdict::CachedOnly => None,
        }
    }

    pub(crate) fn stillness(&self) -> &Stillness {
        &self.stillness
    }

    pub(crate) fn count(&self, source: Source, bytes: u64) {
        self.received[source as usize].fetch_add(bytes, Ordering::Relaxed);
        let source = match source {
            Source::Origin => "origin",
            Source::Seed => "seed",
            Source::Peer => "peer",
        };
        metrics::counter!("dragonfly_client_download_traffic", "type" => source).increment(bytes);
    }

    /// Its own limit, made when its first bytes come.
    pub(crate) fn rate(&self, new: impl FnOnce() -> RateLimit) -> &RateLimit {
        self.rate.get_or_init(new)
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }
}

/// The newest signature is good the longest, and so is the newest token. But only a digest says that another caller is
/// given the same bytes: without one the rest is asked for as the beginning was.
fn renews(new: &TaskSpec, known: &TaskSpec) -> bool {
    let same_caller =
        new.origin.authorization == known.origin.authorization && new.origin.headers == known.origin.headers;
    (known.digest.is_some() || same_caller) && new.origin.renews(&known.origin)
}

#[cfg(test)]
mod tests {
    use df_api::task::Origin;

    use super::*;

    #[test]
    fn another_callers_credential_renews_only_what_has_a_digest() {
        let digest = format!("sha256:{}", "ab".repeat(32)).parse::<Digest>().ok();
        let spec = |digest: &Option<Digest>, signature: &str, token: &str, cookie: &str| {
            let url = format!("https://f.example/x?X-Amz-Signature={signature}");
            let headers = [("cookie".to_owned(), cookie.to_owned())].into();
            TaskSpec::new(Origin { authorization: Some(token.to_owned()), headers, ..Origin::new(url) }, digest.clone())
        };
        let known = spec(&None, "1", "Bearer a", "a");
        assert!(renews(&spec(&None, "2", "Bearer a", "a"), &known), "a newer signature of the same caller");
        assert!(
            !renews(&spec(&None, "1", "Bearer b", "a"), &known) && !renews(&spec(&None, "2", "Bearer a", "b"), &known)
        );
        let blob = spec(&digest, "1", "Bearer a", "a");
        assert!(
            renews(&spec(&digest, "1", "Bearer b", "a"), &blob) && renews(&spec(&digest, "1", "Bearer a", "b"), &blob)
        );
    }
}
