//! Blobs and digest-addressed manifests: one task per digest, whatever repository or tag led to it; for what is public,
//! whatever registry.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use df_api::Digest;
use df_api::range::Requested;
use df_api::rules::Priority;
use df_api::task::{Origin, TaskSpec};
use df_peer::download::Start;
use df_peer::{Content, Delivery, Failure, ReadError, Task};
use df_store::{StoreError, Trust};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, RANGE};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Mirror;
use super::access::{ANYTHING, Kind, Proof};
use super::caller::Caller;
use super::conditions::{self, Verdict};
use super::multipart::{self, Parts};
use super::question::{Asking, Question, Told};
use super::refusal::Refusal;
use super::relay::{self, Relayed};
use super::tags;
use crate::task_headers::task_headers;

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

pub async fn answer(mirror: &Mirror, caller: &Caller, repository: &str, digest: Digest) -> Result<Response, Refusal> {
    let may = MayRead { digest: digest.clone(), what: digest.to_string() };
    match (Asking { mirror, caller: &caller.asking_first(), repository }).settle(&may).await? {
        Told::Relayed(answer) => Asking { mirror, caller, repository }.respond(answer).await,
        Told::Fresh(()) | Told::Stale(()) => read(mirror, caller, repository, digest).await,
    }
}

/// For a caller that may.
pub async fn read(mirror: &Mirror, caller: &Caller, repository: &str, digest: Digest) -> Result<Response, Refusal> {
    let spec =
        TaskSpec::new(Origin { scope: scope(mirror, caller), ..caller.origin_of_content() }, Some(digest.clone()));
    tracing::Span::current().record("dragonfly.task_id", spec.id.as_str());
    let range_counts = match conditions::judge(&caller.headers, &etag(&digest)) {
        Verdict::Go { range_counts } => range_counts,
        Verdict::NotModified => return Ok(without_body(StatusCode::NOT_MODIFIED, &digest)),
        Verdict::Failed => return Ok(without_body(StatusCode::PRECONDITION_FAILED, &digest)),
    };
    if caller.method == Method::HEAD {
        return head(mirror, caller, repository, &spec).await;
    }
    if caller.wishes.priority == Priority::CACHED_ONLY && !mirror.peer.is_cached(&spec.id).await {
        return Err(Refusal::not_cached(caller.url.path()));
    }
    let range = if range_counts { caller.range } else { Requested::Whole };
    let refused = |error| Refusal::read(&caller.registry(), &error);
    let opened = match open(mirror, caller, &spec, range).await {
        Err(Unopened::Read(error)) if is_no(&error) => {
            // It may have been said to another who asked for the same, or to a token that was good a while ago.
            let answered = relay::forward(mirror, &caller.head(), Some(repository)).await?;
            if !answered.status().is_success() {
                return Ok(answered.respond(caller));
            }
            open(mirror, caller, &spec, range).await
        }
        opened => opened,
    };
    compare(Asking { mirror, caller, repository }, &digest, found(&opened)).await?;
    let (task, content) = opened.map_err(|error| match error {
        Unopened::Read(error) => refused(error),
        Unopened::Stored(error) => Refusal::storage(&error),
    })?;
    if caller.kind() == Kind::Manifest {
        for (kind, member) in named_digests(&task).await {
            mirror.access.add_member(&caller.registry(), repository, kind, &member).await;
        }
    }
    let specs = if range_counts { multipart::asked(caller.headers.get(RANGE)) } else { Vec::new() };
    if range != Requested::Whole || !specs.is_empty() {
        mirror.prefetch.begin(&task, caller.wishes.prefetch);
    }
    let content_type = content_type(mirror, caller, repository, &digest, content.content_type.clone()).await;
    let headers = content_headers(&digest, content_type.as_deref());
    let total = content.slice.and_then(|slice| slice.total).filter(|_| !specs.is_empty());
    let several = match total {
        Some(total) => {
            let content_type = content_type.unwrap_or_else(|| "application/octet-stream".to_owned());
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

enum Unopened {
    Stored(StoreError),
    Read(ReadError),
}

async fn open(
    mirror: &Mirror,
    caller: &Caller,
    spec: &TaskSpec,
    range: Requested,
) -> Result<(Arc<Task>, Content), Unopened> {
    let task = mirror.peer.start(spec.clone(), Start::Ask).map_err(Unopened::Stored)?;
    let opened = task.clone().open(&mirror.peer, range, Trust::HoldLast, caller.patience()).await;
    Ok((task, opened.map_err(Unopened::Read)?))
}

/// What came of what was asked for.
enum Found {
    Bytes(u64),
    WrongBytes,
}

fn found(opened: &Result<(Arc<Task>, Content), Unopened>) -> Option<Found> {
    match opened {
        Ok((_, content)) => content.slice.and_then(|slice| slice.total).map(Found::Bytes),
        Err(Unopened::Read(ReadError::Failed(failure))) => {
            matches!(**failure, Failure::WrongDigest { .. }).then_some(Found::WrongBytes)
        }
        Err(_) => None,
    }
}

/// A manifest that is not what its registry has said of it is given to nobody, and what was said is forgotten.
async fn compare(asking: Asking<'_>, digest: &Digest, found: Option<Found>) -> Result<(), Refusal> {
    let told = tags::described(asking, digest).await.map(|manifest| manifest.length);
    let (Some(told), Some(found)) = (told, found) else { return Ok(()) };
    match found {
        Found::Bytes(found) if found == told => Ok(()),
        Found::Bytes(found) => {
            tags::forget(asking, digest).await;
            let lie = format!("it said that {digest} has {told} bytes, and there are {found}");
            Err(Refusal::failure(&asking.caller.registry(), &Failure::Malformed(lie)))
        }
        // That is an error already.
        Found::WrongBytes => {
            tags::forget(asking, digest).await;
            Ok(())
        }
    }
}

/// Of the registry, to a credential.
fn is_no(error: &ReadError) -> bool {
    let ReadError::Failed(failure) = error else { return false };
    matches!(**failure, Failure::Origin { status: 401 | 403, .. })
}

/// A manifest may have come as something else first: as a blob, of which registries say nothing. Of one that its registry
/// has told about, nobody is asked.
async fn content_type(
    mirror: &Mirror,
    caller: &Caller,
    repository: &str,
    digest: &Digest,
    stored: Option<String>,
) -> Option<String> {
    let is_manifest = |kind: &String| kind.contains("manifest") || kind.contains("image.index");
    if caller.kind() == Kind::Blob || stored.as_ref().is_some_and(is_manifest) {
        return stored;
    }
    if let Some(manifest) = tags::described(Asking { mirror, caller, repository }, digest).await {
        return Some(manifest.content_type);
    }
    let answered = relay::forward(mirror, &caller.head(), Some(repository)).await.ok();
    let told = answered.as_ref().filter(|answer| answer.status().is_success());
    told.and_then(|answer| answer.header(CONTENT_TYPE.as_str())).map(str::to_owned).or(stored)
}

/// What a registry gives to everybody is one content whatever registry it comes from. What it gives to somebody with a
/// credential is a content of that registry: another one, which anybody may run, opens nothing of it by calling it its own.
fn scope(mirror: &Mirror, caller: &Caller) -> Option<String> {
    let private = caller.authorization().is_some() || mirror.peer.upstream().has_credential(&caller.url);
    private.then(|| scope_of(&caller.registry()))
}

/// Of what a registry, `https://host:port`, does not give to everybody.
pub fn scope_of(registry: &str) -> String {
    format!("registry {registry}")
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

/// Whether the caller may read this content of this repository. A runtime has been here with the manifest before, so that
/// its blobs cost no question.
struct MayRead {
    digest: Digest,
    /// The digest as text.
    what: String,
}

// === impl MayRead ===

impl Question for MayRead {
    type Answer = ();

    fn what(&self) -> &str {
        &self.what
    }

    fn in_vain(&self) -> &str {
        ANYTHING
    }

    async fn known(&self, asking: Asking<'_>) -> Option<((), bool)> {
        let Asking { mirror, caller, repository } = asking;
        let here = async || {
            let proof = asking.proof().await;
            let member = mirror.access.is_member(&caller.registry(), repository, caller.kind(), &self.digest).await;
            (member && proof != Proof::None).then_some(((), proof == Proof::Fresh))
        };
        let known = here().await;
        if known.is_some_and(|((), fresh)| fresh) || caller.kind() == Kind::Blob {
            return known;
        }
        tags::recall_digest(asking, &self.digest).await;
        here().await
    }

    async fn ask_seed(&self, asking: Asking<'_>) -> Option<Told<()>> {
        match asking.caller.kind() {
            Kind::Manifest => tags::ask_seed_of_digest(asking, &self.digest).await,
            Kind::Blob => None,
        }
    }

    async fn learn(&self, asking: Asking<'_>, answer: &Relayed) -> Option<()> {
        let Asking { mirror, caller, repository } = asking;
        mirror.access.add_member(&caller.registry(), repository, caller.kind(), &self.digest).await;
        if caller.kind() == Kind::Manifest {
            tags::learn(asking, &self.digest, answer).await;
        }
        Some(())
    }
}

/// What a manifest or an index names and its repository therefore has: its config, layers, and manifests. Nothing for what is
/// not quite a manifest: the registry is asked about each blob of it.
async fn named_digests(task: &Task) -> Vec<(Kind, Digest)> {
    let stored = task.stored();
    let meta = stored.meta().filter(|_| stored.is_complete());
    let length = meta.and_then(|meta| meta.length).filter(|length| *length <= MANIFEST_BYTES_MAX);
    let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else { return Vec::new() };
    // Read in one go: it has just been written, or read before.
    let bytes = stored.read(0, length).await.unwrap_or_default();
    let named: Named = serde_json::from_slice(&bytes).unwrap_or_default();
    let blobs = named.config.into_iter().chain(named.layers).map(|blob| (Kind::Blob, blob));
    let all = blobs.chain(named.manifests.into_iter().map(|manifest| (Kind::Manifest, manifest)));
    all.filter(|(_, it)| !it.is_foreign()).filter_map(|(kind, it)| Some((kind, it.digest.parse().ok()?))).collect()
}

/// As registries bound it (distribution-spec, § Pushing manifests).
const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A manifest or an index (image-spec), with nothing else in it: registries read names in any case and the last of two
/// alike, so that what is called otherwise here may be what they have looked at.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Named {
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
    #[serde(rename = "schemaVersion")]
    _schema_version: IgnoredAny,
    #[serde(rename = "mediaType")]
    _media_type: IgnoredAny,
    #[serde(rename = "artifactType")]
    _artifact_type: IgnoredAny,
    #[serde(rename = "subject")]
    _subject: IgnoredAny,
    #[serde(rename = "annotations")]
    _annotations: IgnoredAny,
}

/// All that a descriptor has, but for `urls`: registries take manifests that name foreign layers without having them. With
/// the digest of another's layer such a manifest must be no way to its bytes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    media_type: String,
    #[serde(default, rename = "size")]
    _size: IgnoredAny,
    #[serde(default, rename = "annotations")]
    _annotations: IgnoredAny,
    #[serde(default, rename = "platform")]
    _platform: IgnoredAny,
    #[serde(default, rename = "data")]
    _data: IgnoredAny,
    #[serde(default, rename = "artifactType")]
    _artifact_type: IgnoredAny,
}

// === impl Descriptor ===

impl Descriptor {
    fn is_foreign(&self) -> bool {
        ["nondistributable", "foreign"].iter().any(|word| self.media_type.contains(word))
    }
}

/// From what is here, or of a manifest is known, else from the registry.
async fn head(mirror: &Mirror, caller: &Caller, repository: &str, spec: &TaskSpec) -> Result<Response, Refusal> {
    let relay = async || Ok(relay::forward(mirror, caller, Some(repository)).await?.respond(caller));
    let Some(digest) = &spec.digest else { return relay().await };
    let here = mirror.peer.task(&spec.id).filter(|task| task.stored().is_complete());
    if let Some((task, meta)) = here.and_then(|task| Some((task.clone(), task.stored().meta()?))) {
        let content_type = content_type(mirror, caller, repository, digest, meta.content_type).await;
        let mut response = describe(digest, content_type.as_deref(), meta.length.unwrap_or(0));
        response.headers_mut().extend(task_headers(&mirror.peer, &task));
        return Ok(response);
    }
    match tags::described(Asking { mirror, caller, repository }, digest).await {
        Some(manifest) => Ok(describe(digest, Some(&manifest.content_type), manifest.length)),
        None => {
            let mut response: Response = relay().await?;
            // As the GET has it, which is not relayed.
            if let Some(validator) =
                HeaderValue::from_str(&etag(digest)).ok().filter(|_| response.status().is_success())
            {
                response.headers_mut().insert(ETAG, validator);
            }
            Ok(response)
        }
    }
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
