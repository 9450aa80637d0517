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
use df_api::dfdaemon::ResolvedTag;
use df_api::task::Origin;
use df_http::ApiError;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, IF_MATCH, IF_NONE_MATCH, WARNING};
use http::{Method, StatusCode};
use moka::future::Cache;
use tokio::time::timeout_at;

use super::Mirror;
use super::access::{Kind, Proof};
use super::caller::{ACCEPT_BYTES_MAX, Caller};
use super::refusal::Refusal;
use super::tag_files::{Meant, TagFiles, WRITTEN_EVERY};
use super::{content, relay};
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

enum Meaning {
    Known {
        meant: Meant,
        stale: bool,
    },
    /// No meaning; or one without a digest to name it.
    Relayed(relay::Relayed),
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
    let tag = Reference::Tag(tag.to_owned());
    let (Meant { digest, content_type, length }, stale) =
        match mean(mirror, caller, repository, &tag, Ask::SeedFirst).await? {
            Meaning::Known { meant, stale } => (meant, stale),
            Meaning::Relayed(answer)
                if caller.method == Method::HEAD || !(answer.wants_get() || answer.status().is_success()) =>
            {
                return Ok(answer.respond(caller));
            }
            Meaning::Relayed(_) => {
                return Ok(relay::forward(mirror, caller, Some(repository)).await?.respond(caller));
            }
        };
    let path = format!("/v2/{repository}/manifests/{digest}");
    // The registry may have used up its part of the time.
    let by_digest = caller.at(&path).with_patience(mirror.first_byte_timeout);
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
pub async fn resolve_for_node(mirror: &Mirror, origin: &Origin) -> Result<ResolvedTag, ApiError> {
    let unfit = || ApiError::unprocessable(format!("{} is not a manifest by its tag or digest", origin.url));
    let (caller, repository, reference) = Caller::for_manifest(mirror, origin).ok_or_else(unfit)?;
    mirror.peer.upstream().check(&caller.url).map_err(ApiError::forbidden)?;
    // The password is for those who use this node.
    if caller.authorization().is_none() && mirror.peer.upstream().has_credential(&caller.url) {
        let registry = caller.registry();
        return Err(ApiError::forbidden(format!("this seed peer has a password for {registry}: ask the registry")));
    }
    let meaning = mean(mirror, &caller, &repository, &reference, Ask::Registry).await;
    match meaning.map_err(|refusal| ApiError::new(df_api::Code::BadGateway, refusal.message()))? {
        Meaning::Known { meant: Meant { digest, content_type, length }, stale } => {
            Ok(ResolvedTag { digest, content_type, length, stale })
        }
        Meaning::Relayed(answer) => {
            let detail = format!("the registry answered {} for {}", answer.status(), origin.url);
            Err(ApiError::new(df_api::Code::BadGateway, detail))
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    SeedFirst,
    Registry,
}

async fn mean(
    mirror: &Mirror,
    caller: &Caller,
    repository: &str,
    reference: &Reference,
    ask: Ask,
) -> Result<Meaning, Refusal> {
    let arrived = Instant::now();
    let key = key(caller, repository, reference);
    let (registry, _, what, _) = &key;
    let authorization = caller.authorization();
    // Of many who ask the same at once, the first asks for all.
    let turn = timeout_at(caller.deadline, mirror.access.turn(registry, repository, authorization, what)).await;
    recall(mirror, caller, &key).await;
    let proof = mirror.access.proof(registry, repository, authorization).await;
    let known = mirror.tags.known.get(&key).await.filter(|_| proof != Proof::None);
    if let Some(known) = &known
        && proof == Proof::Fresh
        && (matches!(reference, Reference::Digest(_)) || known.was_asked_within(mirror.tags.window))
    {
        return Ok(Meaning::Known { meant: known.meant.clone(), stale: false });
    }
    let asked_in_vain = (what.as_str(), mirror.tags.outage_since(arrived));
    let out = turn.is_err() || mirror.access.is_out(registry, repository, authorization, asked_in_vain).await;
    if let Some(known) = known.as_ref().filter(|_| out) {
        return Ok(last_known(&key, known.meant.clone()));
    }
    let _turn = turn.map_err(|_| Refusal::timeout(registry, "the registry does not answer"))?;
    if ask == Ask::SeedFirst
        && let Ok(Some(meaning)) = timeout_at(caller.deadline, ask_seed(mirror, caller, &key)).await
    {
        return Ok(meaning);
    }
    let answered = relay::forward(mirror, &caller.head(), Some(repository)).await;
    if answered.as_ref().map_or_else(Refusal::is_outage, relay::Relayed::is_outage) {
        mirror.access.note_outage(registry, repository, authorization, what).await;
        if let Some(known) = known {
            return Ok(last_known(&key, known.meant));
        }
    }
    let answer = answered?;
    if answer.status() == StatusCode::OK {
        mirror.access.prove(registry, repository, authorization).await;
        if let Some(known) = Known::from_answer(&answer, reference) {
            remember(mirror, caller, &key, &known).await;
            return Ok(Meaning::Known { meant: known.meant, stale: false });
        }
    }
    Ok(Meaning::Relayed(answer))
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

/// What the registry tells everybody, and not only whom a password of this node opens it for.
fn is_public(mirror: &Mirror, caller: &Caller) -> bool {
    caller.authorization().is_none() && !mirror.peer.upstream().has_credential(&caller.url)
}

/// A tag, and the digest that it means.
async fn remember(mirror: &Mirror, caller: &Caller, key: &Key, known: &Known) {
    let Meant { digest, .. } = &known.meant;
    mirror.access.add_member(&key.0, &key.1, Kind::Manifest, digest).await;
    for key in [key.clone(), digest_key(&key.0, &key.1, digest)] {
        let before = mirror.tags.known.get(&key).await.filter(|before| before.meant == known.meant);
        let mut written = before.and_then(|before| before.written).filter(|at| at.elapsed() < WRITTEN_EVERY);
        if written.is_none() && is_public(mirror, caller) {
            mirror.tags.files.write(&key, &known.meant).await;
            written = Some(Instant::now());
        }
        mirror.tags.known.insert(key, Known { written, ..known.clone() }).await;
    }
}

/// What an earlier process knew as public, good while the registry cannot be asked.
async fn recall(mirror: &Mirror, caller: &Caller, key: &Key) {
    if !is_public(mirror, caller) || mirror.tags.known.contains_key(key) {
        return;
    }
    if let Some(meant) = mirror.tags.files.read(key).await {
        remember_stale(mirror, caller, key, &meant).await;
    }
}

/// What the registry did say to this caller, or one like it, before.
async fn remember_stale(mirror: &Mirror, caller: &Caller, key: &Key, meant: &Meant) {
    mirror.access.add_member(&key.0, &key.1, Kind::Manifest, &meant.digest).await;
    mirror.access.prove_stale(&key.0, &key.1, caller.authorization()).await;
    for key in [key.clone(), digest_key(&key.0, &key.1, &meant.digest)] {
        let known = Known { meant: meant.clone(), asked: None, written: None };
        mirror.tags.known.entry(key).or_insert(known).await;
    }
}

/// As [`recall`], of a manifest by its digest.
pub async fn recall_digest(mirror: &Mirror, caller: &Caller, repository: &str, digest: &Digest) {
    recall(mirror, caller, &digest_key(&caller.registry(), repository, digest)).await;
}

/// Whether the seed knows that the caller may read a manifest by its digest: the registry says so, or said so before and
/// does not answer now.
pub async fn is_vouched_for(mirror: &Mirror, caller: &Caller, repository: &str, digest: &Digest) -> bool {
    let key = digest_key(&caller.registry(), repository, digest);
    let meaning = timeout_at(caller.deadline, ask_seed(mirror, caller, &key)).await;
    matches!(meaning, Ok(Some(Meaning::Known { meant, .. })) if meant.digest == *digest)
}

/// What there is to say of a manifest by its digest to a caller who may read it.
pub async fn described(mirror: &Mirror, caller: &Caller, repository: &str, digest: &Digest) -> Option<Meant> {
    let key = digest_key(&caller.registry(), repository, digest);
    Some(mirror.tags.known.get(&key).await.filter(|_| caller.kind() == Kind::Manifest)?.meant)
}

/// The registry has a manifest by its digest.
pub async fn learn(mirror: &Mirror, caller: &Caller, repository: &str, digest: &Digest, answer: &relay::Relayed) {
    let reference = Reference::Digest(digest.clone());
    if let Some(known) = Known::from_answer(answer, &reference) {
        remember(mirror, caller, &key(caller, repository, &reference), &known).await;
    }
}

fn last_known((registry, repository, tag, _): &Key, meant: Meant) -> Meaning {
    tracing::warn!(registry, repository, tag, digest = %meant.digest, "the registry does not answer; serving the last known digest");
    metrics::counter!("dragonfly_client_stale_tags_total").increment(1);
    Meaning::Known { meant, stale: true }
}

/// The seed has the registry's yes for the same credential.
async fn ask_seed(mirror: &Mirror, caller: &Caller, key: &Key) -> Option<Meaning> {
    let resolved = mirror.peer.resolve_tag(&caller.origin()).await?;
    let ResolvedTag { digest, content_type, length, stale } = resolved;
    let known = Known::now(Meant { digest, content_type, length });
    if stale {
        remember_stale(mirror, caller, key, &known.meant).await;
        return Some(last_known(key, known.meant));
    }
    mirror.access.prove(&key.0, &key.1, caller.authorization()).await;
    remember(mirror, caller, key, &known).await;
    Some(Meaning::Known { meant: known.meant, stale: false })
}

// === impl Known ===

impl Known {
    fn now(meant: Meant) -> Self {
        Self { meant, asked: Some(Instant::now()), written: None }
    }

    /// `None` when a manifest cannot be told by what the registry says of it.
    fn from_answer(answer: &relay::Relayed, reference: &Reference) -> Option<Self> {
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
