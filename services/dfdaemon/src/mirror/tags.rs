//! Manifests by tag. A tag may move, so the registry is asked, once per moment in the whole cluster; when it cannot
//! answer, the last known digest is. A manifest by its digest is a tag that never moves: what the cluster knows of it lets
//! others pull it when the registry cannot be asked.
//!
//! **Invariant.** What a tag means is told only to those whom the registry accepts for its repository; to whom it accepts
//! only because of this node's own password, only here.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::response::Response;
use df_api::Digest;
use df_api::dfdaemon::{ResolvedTag, TagAnswer};
use df_api::task::Origin;
use df_http::ApiError;
use df_peer::tags::ANSWERED_WITHIN;
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, IF_MATCH, IF_NONE_MATCH, WARNING};
use moka::future::Cache;

use super::Mirror;
use super::access::{ANYTHING, Kind, Proof};
use super::caller::{ACCEPT_BYTES_MAX, Caller};
use super::content;
use super::question::{Asking, Question, Told};
use super::refusal::Refusal;
use super::relay::{self, Relayed};
use super::tag_files::{Meant, TagFiles, WRITTEN_EVERY};
use crate::oci::{OciPath, Reference};

/// What a tag last meant.
#[derive(Clone)]
pub struct Tags {
    known: Cache<Key, Known>,
    files: TagFiles,
    /// How long it is taken to mean the same.
    window: Duration,
}

/// Registry, repository, reference, and which media types were accepted, since a registry may answer each caller something
/// else; none for a digest, which means one thing.
pub type Key = (String, String, String, String);

#[derive(Clone, Debug)]
struct Known {
    meant: Meant,
    /// When the registry said so; none of what an earlier process was told.
    asked: Option<Instant>,
    /// When it was written to the disk, by this process.
    written: Option<Instant>,
}

const ENTRIES_MAX: u64 = 50_000;
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// RFC 6838 §4.2: twice 127, and parameters.
const CONTENT_TYPE_BYTES_MAX: usize = 300;

/// Its digest is not that of its bytes.
const SIGNED_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// RFC 7234 §5.5.3: revalidation failed.
const STALE: HeaderValue =
    HeaderValue::from_static("111 dragonfly \"the registry does not answer; this is the last known\"");

// === impl Tags ===

impl Tags {
    /// `dir` is for what public tags mean.
    pub fn open(dir: PathBuf, window: Duration) -> io::Result<Self> {
        let known = Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(KEPT).build();
        Ok(Self { known, files: TagFiles::open(dir)?, window })
    }

    /// Since when an outage lets who came at `arrived` have what is known without asking.
    pub fn outage_since(&self, arrived: Instant) -> Instant {
        Instant::now().checked_sub(self.window).map_or(arrived, |window| arrived.min(window))
    }
}

pub async fn answer(mirror: &Mirror, caller: &Caller, repository: &str, tag: &str) -> Result<Response, Refusal> {
    let question = Meaning::of(caller, repository, &Reference::Tag(tag.to_owned()), Ask::SeedFirst);
    let told = question.settle(Asking { mirror, caller: &caller.asking_first(), repository }).await?;
    let (Meant { digest, content_type, length }, stale) = match told {
        Told::Fresh(meant) => (meant, false),
        Told::Stale(meant) => (meant, true),
        Told::Relayed(answer) => return Asking { mirror, caller, repository }.respond(answer).await,
    };
    let path = format!("/v2/{repository}/manifests/{digest}");
    let by_digest = caller.at(&path);
    let conditional = by_digest.headers.contains_key(IF_MATCH) || by_digest.headers.contains_key(IF_NONE_MATCH);
    let mut response = match caller.method {
        Method::HEAD if !conditional => content::describe(&digest, Some(&content_type), length),
        _ => content::read(mirror, &by_digest, repository, digest).await?,
    };
    if stale {
        response.headers_mut().insert(WARNING, STALE);
    }
    Ok(response)
}

/// For a node of the cluster that asks with a token, or as anybody.
pub async fn resolve_for_node(mirror: &Mirror, origin: &Origin) -> Result<TagAnswer, ApiError> {
    let unfit = || ApiError::unprocessable(format!("{} is not a manifest by its tag or digest", origin.url));
    let (caller, repository, reference) = Caller::for_manifest(mirror, origin).ok_or_else(unfit)?;
    let caller = caller.with_patience(ANSWERED_WITHIN);
    mirror.peer.upstream().check(&caller.url).map_err(ApiError::forbidden)?;
    let asking = Asking { mirror, caller: &caller, repository: &repository };
    // The password is for those who use this node.
    if caller.authorization().is_none() && asking.has_own_password() {
        let registry = caller.registry();
        return Err(ApiError::forbidden(format!("this seed peer has a password for {registry}: ask the registry")));
    }
    let told = Meaning::of(&caller, &repository, &reference, Ask::Registry).settle(asking).await;
    let (Meant { digest, content_type, length }, stale) =
        match told.map_err(|refusal| ApiError::new(df_api::Code::BadGateway, refusal.message()))? {
            Told::Fresh(meant) => (meant, false),
            Told::Stale(meant) => (meant, true),
            Told::Relayed(answer) => {
                let detail = || format!("the registry answered {} for {}", answer.status(), origin.url);
                let refusal = answer.refusal().ok_or_else(|| ApiError::new(df_api::Code::BadGateway, detail()))?;
                return Ok(TagAnswer::Refused(refusal));
            }
        };
    Ok(TagAnswer::Resolved(ResolvedTag { digest, content_type, length, stale }))
}

/// What a manifest's tag, or its digest, means now.
struct Meaning {
    key: Key,
    reference: Reference,
    ask: Ask,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    SeedFirst,
    Registry,
}

// === impl Meaning ===

impl Meaning {
    fn of(caller: &Caller, repository: &str, reference: &Reference, ask: Ask) -> Self {
        Self { key: key(caller, repository, reference), reference: reference.clone(), ask }
    }

    async fn settle(&self, asking: Asking<'_>) -> Result<Told<Meant>, Refusal> {
        let told = asking.settle(self).await?;
        if let Told::Stale(meant) = &told {
            let (registry, repository, tag, _) = &self.key;
            let digest = &meant.digest;
            tracing::warn!(registry, repository, tag, %digest, "the registry does not answer; serving the last known digest");
            metrics::counter!("dragonfly_client_stale_tags_total").increment(1);
        }
        Ok(told)
    }
}

impl Question for Meaning {
    type Answer = Meant;

    fn what(&self) -> &str {
        &self.key.2
    }

    fn in_vain(&self) -> &str {
        match self.reference {
            Reference::Tag(_) => self.what(),
            Reference::Digest(_) => ANYTHING,
        }
    }

    async fn known(&self, asking: Asking<'_>) -> Option<(Meant, bool)> {
        recall(asking, &self.key).await;
        let tags = &asking.mirror.tags;
        let proof = asking.proof().await;
        let known = tags.known.get(&self.key).await.filter(|_| proof != Proof::None)?;
        // Else it has been forgotten.
        tags.known.get(&digest_key(&self.key.0, &self.key.1, &known.meant.digest)).await?;
        let holds = matches!(self.reference, Reference::Digest(_)) || known.was_asked_within(tags.window);
        Some((known.meant, holds && proof == Proof::Fresh))
    }

    async fn ask_seed(&self, asking: Asking<'_>) -> Option<Told<Meant>> {
        match self.ask {
            Ask::SeedFirst => ask_seed(asking, &self.key).await,
            Ask::Registry => None,
        }
    }

    async fn learn(&self, asking: Asking<'_>, answer: &Relayed) -> Option<Meant> {
        let known = Known::from_answer(answer, &self.reference)?;
        remember(asking, &self.key, &known).await;
        Some(known.meant)
    }
}

fn key(caller: &Caller, repository: &str, reference: &Reference) -> Key {
    match reference {
        Reference::Tag(tag) => (caller.registry(), repository.to_owned(), tag.clone(), caller.accepted_types()),
        Reference::Digest(digest) => digest_key(&caller.registry(), repository, digest),
    }
}

fn digest_key(registry: &str, repository: &str, digest: &Digest) -> Key {
    (registry.to_owned(), repository.to_owned(), digest.to_string(), String::new())
}

/// A tag, and the digest that it means.
async fn remember(asking: Asking<'_>, key: &Key, known: &Known) {
    let (access, tags) = (&asking.mirror.access, &asking.mirror.tags);
    let Meant { digest, .. } = &known.meant;
    access.add_member(&key.0, &key.1, Kind::Manifest, digest).await;
    for key in [key.clone(), digest_key(&key.0, &key.1, digest)] {
        let before = tags.known.get(&key).await.filter(|before| before.meant == known.meant);
        let mut written = before.and_then(|before| before.written).filter(|at| at.elapsed() < WRITTEN_EVERY);
        if written.is_none() && asking.is_public() {
            tags.files.write(&key, &known.meant).await;
            written = Some(Instant::now());
        }
        tags.known.insert(key, Known { written, ..known.clone() }).await;
    }
}

/// What an earlier process knew as public, good while the registry cannot be asked.
async fn recall(asking: Asking<'_>, key: &Key) {
    let tags = &asking.mirror.tags;
    if !asking.is_public() || tags.known.contains_key(key) {
        return;
    }
    if let Some(meant) = tags.files.read(key).await {
        remember_stale(asking, key, &meant).await;
    }
}

/// What the registry did say to this caller, or one like it, before.
async fn remember_stale(asking: Asking<'_>, key: &Key, meant: &Meant) {
    let access = &asking.mirror.access;
    access.add_member(&key.0, &key.1, Kind::Manifest, &meant.digest).await;
    access.prove_stale(&key.0, &key.1, asking.caller.authorization()).await;
    for key in [key.clone(), digest_key(&key.0, &key.1, &meant.digest)] {
        let known = Known { meant: meant.clone(), asked: None, written: None };
        asking.mirror.tags.known.entry(key).or_insert(known).await;
    }
}

/// As [`recall`], of a manifest by its digest.
pub async fn recall_digest(asking: Asking<'_>, digest: &Digest) {
    recall(asking, &digest_key(&asking.caller.registry(), asking.repository, digest)).await;
}

/// Whether the seed knows that the caller may read a manifest by its digest: the registry says so, or said so before and
/// does not answer now.
pub async fn ask_seed_of_digest(asking: Asking<'_>, digest: &Digest) -> Option<Told<()>> {
    match ask_seed(asking, &digest_key(&asking.caller.registry(), asking.repository, digest)).await? {
        Told::Fresh(meant) => (meant.digest == *digest).then_some(Told::Fresh(())),
        Told::Stale(meant) => (meant.digest == *digest).then_some(Told::Stale(())),
        Told::Relayed(answer) => Some(Told::Relayed(answer)),
    }
}

/// What there is to say of a manifest by its digest to a caller who may read it.
pub async fn described(asking: Asking<'_>, digest: &Digest) -> Option<Meant> {
    let key = digest_key(&asking.caller.registry(), asking.repository, digest);
    Some(asking.mirror.tags.known.get(&key).await.filter(|_| asking.caller.kind() == Kind::Manifest)?.meant)
}

/// What it said of a manifest was wrong. A tag that means this digest means nothing, too.
pub async fn forget(asking: Asking<'_>, digest: &Digest) {
    let key = digest_key(&asking.caller.registry(), asking.repository, digest);
    asking.mirror.tags.files.remove(&key).await;
    asking.mirror.tags.known.invalidate(&key).await;
}

/// The registry has a manifest by its digest.
pub async fn learn(asking: Asking<'_>, digest: &Digest, answer: &Relayed) {
    if let Some(known) = Known::from_answer(answer, &Reference::Digest(digest.clone())) {
        remember(asking, &digest_key(&asking.caller.registry(), asking.repository, digest), &known).await;
    }
}

/// The seed has the registry's answer to the same credential.
async fn ask_seed(asking: Asking<'_>, key: &Key) -> Option<Told<Meant>> {
    let Asking { mirror, caller, repository } = asking;
    let resolved = match asking.tag_answer().await? {
        TagAnswer::Resolved(resolved) => resolved,
        TagAnswer::Refused(told) => {
            return Some(Told::Relayed(relay::take_refusal(mirror, caller, repository, told).await?));
        }
    };
    let ResolvedTag { digest, content_type, length, stale } = resolved;
    let known = Known::now(Meant { digest, content_type, length });
    if stale {
        remember_stale(asking, key, &known.meant).await;
        return Some(Told::Stale(known.meant));
    }
    mirror.access.prove(&key.0, &key.1, caller.authorization()).await;
    remember(asking, key, &known).await;
    Some(Told::Fresh(known.meant))
}

// === impl Known ===

impl Known {
    fn now(meant: Meant) -> Self {
        Self { meant, asked: Some(Instant::now()), written: None }
    }

    /// `None` when a manifest cannot be told by what the registry says of it.
    fn from_answer(answer: &Relayed, reference: &Reference) -> Option<Self> {
        let content_type = answer.header(CONTENT_TYPE.as_str())?.to_owned();
        if content_type == SIGNED_SCHEMA_1 || content_type.len() > CONTENT_TYPE_BYTES_MAX {
            return None;
        }
        let digest: Digest = answer.header("docker-content-digest")?.parse().ok()?;
        if matches!(reference, Reference::Digest(asked) if *asked != digest) {
            return None;
        }
        let length = answer.header(CONTENT_LENGTH.as_str())?.parse().ok()?;
        Some(Self::now(Meant { digest, content_type, length }))
    }

    fn was_asked_within(&self, window: Duration) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() < window)
    }
}

// === impl Caller ===

impl Caller {
    /// A node that wants to know of a manifest; with its repository and reference.
    fn for_manifest(mirror: &Mirror, origin: &Origin) -> Option<(Self, String, Reference)> {
        let url = url::Url::parse(&origin.url).ok()?;
        let OciPath::Manifest { repository, reference } = OciPath::parse(url.path().strip_prefix("/v2/")?).ok()? else {
            return None;
        };
        if origin.accept.as_ref().is_some_and(|accept| accept.len() > ACCEPT_BYTES_MAX) {
            return None;
        }
        let mut headers = http::HeaderMap::new();
        let given = [(AUTHORIZATION, &origin.authorization), (http::header::ACCEPT, &origin.accept)];
        for (name, value) in given {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_str(value).ok()?);
            }
        }
        Some((Self::asking(mirror, Method::HEAD, url, headers), repository, reference))
    }
}
