//! Blobs and digest-addressed manifests: one task per digest, whatever registry, repository or tag led to it.

use axum::body::Body;
use axum::response::Response;
use df_api::Digest;
use df_api::range::Requested;
use df_api::task::TaskSpec;
use df_peer::download::Start;
use df_peer::{Content, Delivery, Task};
use df_store::Trust;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, RANGE};
use http::{Method, StatusCode};
use serde::Deserialize;

use super::Mirror;
use super::access::Proof;
use super::caller::Caller;
use super::conditions::{self, Verdict};
use super::multipart::{self, Parts};
use super::refusal::Refusal;
use super::relay;
use crate::task_headers::task_headers;
use crate::wishes::Priority;

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

pub async fn answer(mirror: &Mirror, caller: &Caller, repository: &str, digest: Digest) -> Result<Response, Refusal> {
    match unproven(mirror, caller, repository, &digest).await? {
        Some(answer) => Ok(answer),
        None => read(mirror, caller, repository, digest).await,
    }
}

/// For a caller that may.
pub async fn read(mirror: &Mirror, caller: &Caller, repository: &str, digest: Digest) -> Result<Response, Refusal> {
    let spec = TaskSpec::new(caller.origin(), Some(digest.clone()));
    tracing::Span::current().record("dragonfly.task_id", spec.id.as_str());
    let range_counts = match conditions::judge(&caller.headers, &etag(&digest)) {
        Verdict::Go { range_counts } => range_counts,
        Verdict::NotModified => return Ok(without_body(StatusCode::NOT_MODIFIED, &digest)),
        Verdict::Failed => return Ok(without_body(StatusCode::PRECONDITION_FAILED, &digest)),
    };
    if caller.method == Method::HEAD {
        return head(mirror, caller, repository, &spec).await;
    }
    if caller.wishes.priority == Priority::CachedOnly && !mirror.peer.is_cached(&spec.id).await {
        return Err(Refusal::not_cached(caller.url.path()));
    }
    let task = mirror.peer.start(spec, Start::Ask).map_err(|error| Refusal::storage(&error))?;
    let range = if range_counts { caller.range } else { Requested::Whole };
    let refused = |error| Refusal::read(&caller.registry(), &error);
    let content = task.open(&mirror.peer, range, Trust::HoldLast, caller.patience()).await.map_err(refused)?;
    for member in named_digests(&task).await {
        mirror.access.add_member(&caller.registry(), repository, &member).await;
    }
    let specs = if range_counts { multipart::asked(caller.headers.get(RANGE)) } else { Vec::new() };
    if range != Requested::Whole || !specs.is_empty() {
        mirror.prefetch.begin(&task, caller.wishes.prefetch);
    }
    let headers = content_headers(&digest, content.content_type.as_deref());
    let total = content.slice.and_then(|slice| slice.total).filter(|_| !specs.is_empty());
    let several = match total {
        Some(total) => {
            let content_type = content.content_type.clone().unwrap_or_else(|| "application/octet-stream".to_owned());
            let (peer, task, patience) = (mirror.peer.clone(), task.clone(), caller.patience());
            Parts { peer, task, content_type, patience }.respond(&specs, total).await.map_err(refused)?
        }
        None => None,
    };
    let mut response = several.unwrap_or_else(|| whole_or_one(caller, content));
    for (name, value) in &headers {
        // Several parts have a type of their own.
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response.headers_mut().extend(task_headers(&mirror.peer, &task));
    Ok(response)
}

fn whole_or_one(caller: &Caller, content: Content) -> Response {
    let mut response = content.slice.map_or_else(|| Response::new(Body::empty()), |slice| slice.respond(Body::empty()));
    let delivery = Delivery { sendfile: caller.sendfile, upload: None };
    *response.body_mut() = Body::from_stream(content.stream(delivery));
    response
}

fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

fn without_body(status: StatusCode, digest: &Digest) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().extend(HeaderValue::from_str(&etag(digest)).ok().map(|value| (ETAG, value)));
    response
}

/// `None` when the caller may read this content of this repository. Otherwise what the registry said to it, challenge
/// and all. A runtime has been here with the manifest before, so that its blobs cost no question.
async fn unproven(
    mirror: &Mirror,
    caller: &Caller,
    repository: &str,
    digest: &Digest,
) -> Result<Option<Response>, Refusal> {
    let (registry, authorization) = (caller.registry(), caller.authorization());
    let known = async || {
        let proof = mirror.access.proof(&registry, repository, authorization).await;
        (proof, mirror.access.is_member(&registry, repository, digest).await)
    };
    if known().await == (Proof::Fresh, true) {
        return Ok(None);
    }
    // Of many who ask the same at once, the first asks for all.
    let _turn = mirror.access.turn(&registry, repository, authorization, &digest.to_string()).await;
    let (proof, member) = known().await;
    if proof == Proof::Fresh && member {
        return Ok(None);
    }
    let answered = relay::forward(mirror, &caller.head(), Some(repository)).await;
    let outage = answered.as_ref().map_or_else(Refusal::is_outage, relay::Relayed::is_outage);
    match answered {
        _ if outage && proof != Proof::None && member => Ok(None),
        Ok(answer) if answer.status().is_success() => {
            mirror.access.prove(&registry, repository, authorization).await;
            mirror.access.add_member(&registry, repository, digest).await;
            Ok(None)
        }
        Ok(answer) if !answer.wants_get() || caller.method == Method::HEAD => Ok(Some(answer.respond(caller))),
        Ok(_) => Ok(Some(relay::forward(mirror, caller, Some(repository)).await?.respond(caller))),
        Err(refusal) => Err(refusal),
    }
}

/// What a manifest or an index names and its repository therefore has: its config, layers, and manifests. Nothing for other
/// content.
async fn named_digests(task: &Task) -> Vec<Digest> {
    let stored = task.stored();
    let meta = stored.meta().filter(|_| stored.is_complete());
    let manifest = |kind: &str| kind.contains("manifest") || kind.contains("image.index");
    let described = meta.filter(|meta| meta.content_type.as_deref().is_some_and(manifest));
    let length = described.and_then(|meta| meta.length).filter(|length| *length <= MANIFEST_BYTES_MAX);
    let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else { return Vec::new() };
    // Read in one go: it has just been written, or read before.
    let bytes = stored.read(0, length).await.unwrap_or_default();
    let named: Named = serde_json::from_slice(&bytes).unwrap_or_default();
    let all = named.config.into_iter().chain(named.layers).chain(named.manifests);
    all.filter(Descriptor::is_in_the_repository).filter_map(|descriptor| descriptor.digest.parse().ok()).collect()
}

/// As registries bound it (distribution-spec, § Pushing manifests).
const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    urls: Vec<String>,
}

// === impl Descriptor ===

impl Descriptor {
    /// Registries take manifests that name foreign layers without having them: with the digest of another's layer such a
    /// manifest must be no way to its bytes. About these the registry is asked.
    fn is_in_the_repository(&self) -> bool {
        let foreign = ["nondistributable", "foreign"].iter().any(|word| self.media_type.contains(word));
        self.urls.is_empty() && !foreign
    }
}

/// From what is here, else from the registry.
async fn head(mirror: &Mirror, caller: &Caller, repository: &str, spec: &TaskSpec) -> Result<Response, Refusal> {
    let here = mirror.peer.task(&spec.id).filter(|task| task.stored().is_complete());
    let meta = here.as_ref().and_then(|task| task.stored().meta());
    let (Some(task), Some(meta), Some(digest)) = (here, meta, &spec.digest) else {
        return Ok(relay::forward(mirror, caller, Some(repository)).await?.respond(caller));
    };
    let mut response = describe(digest, meta.content_type.as_deref(), meta.length.unwrap_or(0));
    response.headers_mut().extend(task_headers(&mirror.peer, &task));
    Ok(response)
}

/// The answer to a HEAD.
pub fn describe(digest: &Digest, content_type: Option<&str>, length: u64) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, length.into());
    headers.extend(content_headers(digest, content_type));
    response
}

fn content_headers(digest: &Digest, content_type: Option<&str>) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_str(text).ok();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type.and_then(value).unwrap_or(OCTETS));
    headers.extend(value(&etag(digest)).map(|value| (ETAG, value)));
    headers.extend(value(&digest.to_string()).map(|value| (DOCKER_CONTENT_DIGEST, value)));
    headers
}
