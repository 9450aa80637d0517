//! Manifests by tag. A tag may move, so the registry is asked, once per moment in the whole cluster; when it cannot
//! answer, the last known digest is.
//!
//! **Invariant.** What a tag means is told only to those whom the registry accepts for its repository.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::response::Response;
use df_api::dfdaemon::ResolvedTag;
use df_api::task::Origin;
use df_http::ApiError;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, IF_MATCH, IF_NONE_MATCH, WARNING};
use http::{Method, StatusCode};
use moka::future::Cache;

use super::Mirror;
use super::access::{Kind, Proof};
use super::caller::Caller;
use super::refusal::Refusal;
use super::tag_files::{Meant, TagFiles};
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

/// Registry, repository, tag, and the media types that were accepted: a registry may answer each caller something else.
pub type Key = (String, String, String, Vec<String>);

#[derive(Clone, Debug)]
struct Known {
    meant: Meant,
    /// When the registry said so; none of what an earlier process was told.
    asked: Option<Instant>,
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
}

pub async fn answer(mirror: &Mirror, caller: &Caller, repository: &str, tag: &str) -> Result<Response, Refusal> {
    let (Meant { digest, content_type, length }, stale) =
        match mean(mirror, caller, repository, tag, Ask::SeedFirst).await? {
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
    let unfit = || ApiError::unprocessable(format!("{} is not a manifest by its tag", origin.url));
    let (caller, repository, tag) = Caller::for_tag(mirror, origin).ok_or_else(unfit)?;
    mirror.peer.upstream().check(&caller.url).map_err(ApiError::forbidden)?;
    let meaning = mean(mirror, &caller, &repository, &tag, Ask::Registry).await;
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

async fn mean(mirror: &Mirror, caller: &Caller, repository: &str, tag: &str, ask: Ask) -> Result<Meaning, Refusal> {
    let (registry, authorization) = (caller.registry(), caller.authorization());
    let key = (registry.clone(), repository.to_owned(), tag.to_owned(), caller.accepted_types());
    // Of many who ask the same at once, the first asks for all.
    let _turn = mirror.access.turn(&registry, repository, authorization, tag).await;
    if authorization.is_none() {
        recall(mirror, &key).await;
    }
    let proof = mirror.access.proof(&registry, repository, authorization).await;
    let known = mirror.tags.known.get(&key).await.filter(|_| proof != Proof::None);
    if let Some(known) = &known
        && proof == Proof::Fresh
        && known.asked.is_some_and(|asked| asked.elapsed() < mirror.tags.window)
    {
        return Ok(Meaning::Known { meant: known.meant.clone(), stale: false });
    }
    if ask == Ask::SeedFirst
        && let Some(meaning) = ask_seed(mirror, caller, repository, &key).await
    {
        return Ok(meaning);
    }
    let question = caller.head();
    let answered = relay::forward(mirror, &question, Some(repository)).await;
    let outage = answered.as_ref().map_or_else(Refusal::is_outage, relay::Relayed::is_outage);
    if let Some(known) = known.filter(|_| outage) {
        return Ok(last_known(&key, known.meant));
    }
    let answer = answered?;
    if answer.status() == StatusCode::OK {
        mirror.access.prove(&registry, repository, authorization).await;
        if let Some(known) = Known::from_answer(&answer) {
            remember(mirror, caller, key, &known).await;
            return Ok(Meaning::Known { meant: known.meant, stale: false });
        }
    }
    Ok(Meaning::Relayed(answer))
}

async fn remember(mirror: &Mirror, caller: &Caller, key: Key, known: &Known) {
    mirror.access.add_member(&key.0, &key.1, Kind::Manifest, &known.meant.digest).await;
    let before = mirror.tags.known.get(&key).await;
    if caller.authorization().is_none() && before.is_none_or(|before| before.meant != known.meant) {
        mirror.tags.files.write(&key, &known.meant).await;
    }
    mirror.tags.known.insert(key, known.clone()).await;
}

/// What an earlier process knew as public, good while the registry cannot be asked.
async fn recall(mirror: &Mirror, key: &Key) {
    if mirror.tags.known.contains_key(key) {
        return;
    }
    if let Some(meant) = mirror.tags.files.read(key).await {
        mirror.access.add_member(&key.0, &key.1, Kind::Manifest, &meant.digest).await;
        mirror.access.prove_stale(&key.0, &key.1, None).await;
        mirror.tags.known.insert(key.clone(), Known { meant, asked: None }).await;
    }
}

fn last_known((registry, repository, tag, _): &Key, meant: Meant) -> Meaning {
    tracing::warn!(registry, repository, tag, digest = %meant.digest, "the registry does not answer; serving the last known digest");
    metrics::counter!("dragonfly_client_stale_tags_total").increment(1);
    Meaning::Known { meant, stale: true }
}

/// The seed has the registry's yes for the same credential.
async fn ask_seed(mirror: &Mirror, caller: &Caller, repository: &str, key: &Key) -> Option<Meaning> {
    let resolved = mirror.peer.resolve_tag(&caller.origin()).await?;
    let ResolvedTag { digest, content_type, length, stale } = resolved;
    let known = Known { meant: Meant { digest, content_type, length }, asked: Some(Instant::now()) };
    if stale {
        mirror.access.add_member(&key.0, repository, Kind::Manifest, &known.meant.digest).await;
        mirror.access.prove_stale(&key.0, repository, caller.authorization()).await;
        return Some(last_known(key, known.meant));
    }
    mirror.access.prove(&key.0, repository, caller.authorization()).await;
    remember(mirror, caller, key.clone(), &known).await;
    Some(Meaning::Known { meant: known.meant, stale: false })
}

// === impl Known ===

impl Known {
    /// `None` when a manifest cannot be told by what the registry says of it.
    fn from_answer(answer: &relay::Relayed) -> Option<Self> {
        let content_type = answer.header(CONTENT_TYPE.as_str())?.to_owned();
        if content_type == SIGNED_SCHEMA_1 {
            return None;
        }
        let digest = answer.header("docker-content-digest")?.parse().ok()?;
        let length = answer.header(CONTENT_LENGTH.as_str())?.parse().ok()?;
        Some(Self { meant: Meant { digest, content_type, length }, asked: Some(Instant::now()) })
    }
}

// === impl Caller ===

impl Caller {
    /// A node that wants to know a tag; with the repository and the tag.
    fn for_tag(mirror: &Mirror, origin: &Origin) -> Option<(Self, String, String)> {
        let url = url::Url::parse(&origin.url).ok()?;
        let OciPath::Manifest { repository, reference: Reference::Tag(tag) } =
            OciPath::parse(url.path().strip_prefix("/v2/")?).ok()?
        else {
            return None;
        };
        let mut headers = http::HeaderMap::new();
        let given = [(AUTHORIZATION, &origin.authorization), (http::header::ACCEPT, &origin.accept)];
        for (name, value) in given {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_str(value).ok()?);
            }
        }
        Some((Self::asking(mirror, Method::HEAD, url, headers), repository, tag))
    }
}
