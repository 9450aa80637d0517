//! What an image is made of, as a runtime of this node would find out by pulling it through the mirror.
//!
//! **Invariants.** The contents have the tasks that the mirror has for them. The tag is what its registry says now, and not
//! what was known before. The job's secrets are shown only where the registry wants to see something: what it gives to
//! anybody is for anybody. They do not travel.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use df_api::Digest;
use df_api::digest::Algorithm;
use df_api::range::Requested;
use df_api::scheduler::{ImageDuty, ResolvedContent, TASKS_OF_DUTY_MAX};
use df_api::task::{Origin, TaskSpec};
use df_peer::download::Start;
use df_peer::upstream::{TokenServiceDown, Turn, read_at_most};
use df_peer::{Delivery, Failure, ReadError};
use df_store::{StoreError, Trust};
use futures_util::TryStreamExt as _;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::time::{sleep, timeout};

use super::Jobs;
use super::image::{Image, ImageError};
use super::manifest::{self, InvalidPlatform, Manifest, ManifestError, Platform};
use super::secrets::{Secrets, SecretsError, Shown};
use crate::mirror::{objection, scope_of};
use crate::oci::Reference;

/// What runtimes accept.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.artifact.manifest.v1+json, */*";
/// Of Docker's schema 1, signed or not: the digest of the former is not that of its bytes.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";
/// As registries bound it (distribution-spec, § Pushing manifests).
const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// An index of indexes.
const DEPTH_MAX: u32 = 2;
/// More, of a question that nobody answers.
const TRIES: u32 = 2;
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Platform(#[from] InvalidPlatform),
    #[error("{image}: {why}")]
    Unresolved { image: Box<Image>, why: Why },
}

#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error("{}", said(.registry, .what, .failure, .shown))]
    Registry { registry: String, what: String, failure: Arc<Failure>, shown: bool },
    #[error("{what} is not read from {registry}: {error}")]
    Unread { registry: String, what: String, error: String },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("manifest {digest} has {bytes} bytes, and {MANIFEST_BYTES_MAX} are the most that one may have")]
    Long { digest: String, bytes: u64 },
    #[error("index {0} is in an index in an index: {DEPTH_MAX} may be nested")]
    Deep(Digest),
    #[error(
        "it has more than {TASKS_OF_DUTY_MAX} manifests and blobs, which are the most of one image: name a platform"
    )]
    Many,
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error("this node cannot store its manifests: {0}")]
    Storage(#[from] StoreError),
}

fn said(registry: &str, what: &str, failure: &Failure, shown: &bool) -> String {
    let Failure::Origin { status, .. } = failure else { return format!("{registry}, asked for {what}: {failure}") };
    let status = StatusCode::from_u16(*status).map_or_else(|_| status.to_string(), |status| status.to_string());
    let with = if *shown { "with the job's secrets" } else { "without a password of the job" };
    match failure {
        Failure::Origin { status: 404, .. } => format!("{registry} has no {what}: it answered {status}"),
        Failure::Origin { status: 401 | 403, .. } => {
            format!("{registry} does not give {what} to who asks {with}: it answered {status}")
        }
        _ => format!("{registry} answered {status} when asked for {what}"),
    }
}

// === impl Jobs ===

impl Jobs {
    pub(super) async fn resolve(&self, duty: &ImageDuty) -> Result<Vec<ResolvedContent>, ResolveError> {
        let platform = duty.platform.as_deref().filter(|platform| !platform.is_empty());
        let platform = platform.map(str::parse::<Platform>).transpose()?;
        let image = Image::locate(&duty.url, self.peer.upstream(), &self.rules)?;
        let secrets = Secrets::new(self, duty.secrets_of);
        let mut resolving = Resolving { jobs: self, image: &image, secrets, shown: None, contents: Vec::new() };
        match resolving.walk(platform.as_ref()).await {
            Ok(()) => Ok(resolving.contents),
            Err(why) => Err(ResolveError::Unresolved { image: Box::new(image), why }),
        }
    }
}

struct Resolving<'a> {
    jobs: &'a Jobs,
    image: &'a Image,
    secrets: Secrets<'a>,
    /// Once the registry has wanted to see something.
    shown: Option<Shown>,
    contents: Vec<ResolvedContent>,
}

struct Tries {
    left: u32,
    renewed: bool,
}

// === impl Tries ===

impl Tries {
    fn new() -> Self {
        Self { left: TRIES, renewed: false }
    }
}

// === impl Why ===

impl Why {
    /// That its registry has answered.
    fn status(&self) -> Option<u16> {
        match self {
            Self::Registry { failure, .. } if let Failure::Origin { status, .. } = &**failure => Some(*status),
            _ => None,
        }
    }

    fn may_pass(&self) -> bool {
        match self {
            Self::Registry { failure, .. } => failure.may_pass(),
            Self::Unread { .. } => true,
            _ => false,
        }
    }
}

// === impl Resolving ===

impl Resolving<'_> {
    async fn walk(&mut self, platform: Option<&Platform>) -> Result<(), Why> {
        let mut found = HashSet::new();
        let mut next = VecDeque::from([(self.top().await?, 1)]);
        while let Some((digest, depth)) = next.pop_front() {
            if !found.insert(digest.clone()) {
                continue;
            }
            let bytes = self.manifest(&digest).await?;
            self.add(self.manifest_task(&digest), bytes.len() as u64, false)?;
            match manifest::parse(&bytes)? {
                Manifest::Index(_) if depth > DEPTH_MAX => return Err(Why::Deep(digest)),
                Manifest::Index(children) => {
                    for child in manifest::choose(children, platform)? {
                        check_length(&child.digest, child.length)?;
                        next.push_back((child.digest, depth + 1));
                    }
                }
                Manifest::Image(parts) => {
                    for part in parts.into_iter().filter(|part| found.insert(part.digest.clone())) {
                        self.add(self.blob_task(&part.digest), part.length, part.is_layer)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, task: TaskSpec, length: u64, is_layer: bool) -> Result<(), Why> {
        if self.contents.len() == TASKS_OF_DUTY_MAX {
            return Err(Why::Many);
        }
        self.contents.push(ResolvedContent { task, length, is_layer });
        Ok(())
    }

    fn manifest_task(&self, digest: &Digest) -> TaskSpec {
        let origin = Origin {
            accept: Some(MANIFEST_TYPES.to_owned()),
            scope: self.scope(),
            ..Origin::new(self.image.manifest_url(digest))
        };
        TaskSpec::new(origin, Some(digest.clone()))
    }

    fn blob_task(&self, digest: &Digest) -> TaskSpec {
        let origin = Origin { scope: self.scope(), ..Origin::new(self.image.blob_url(digest)) };
        TaskSpec::new(origin, Some(digest.clone()))
    }

    /// As the mirror has it for a runtime that shows what the registry wants to see, and nothing where it wants nothing.
    fn scope(&self) -> Option<String> {
        let shown = self.shown.as_ref().is_some_and(|shown| *shown != Shown::default());
        let private = shown || self.jobs.peer.upstream().has_credential(&self.image.url);
        private.then(|| scope_of(&self.image.registry()))
    }

    /// Whether to try again, after what can be done for that: other secrets are shown, or a moment passes.
    async fn again(&mut self, why: &Why, tries: &mut Tries) -> Result<bool, Why> {
        let first = self.shown.is_none();
        let may_show = match why.status() {
            // A token may have expired on the way.
            Some(401) if !first => !tries.renewed,
            // Of what was given to anybody first, nothing is a private content later.
            Some(status) => first && self.contents.is_empty() && (400..500).contains(&status) && status != 429,
            None => false,
        };
        if may_show && self.secrets.exist() && self.show_more().await? {
            tries.renewed = !first;
            return Ok(true);
        }
        if !why.may_pass() || tries.left == 0 {
            return Ok(false);
        }
        tries.left -= 1;
        sleep(PAUSE).await;
        Ok(true)
    }

    /// Whether there is something else to show.
    async fn show_more(&mut self) -> Result<bool, Why> {
        let mut registry = self.image.url.clone();
        registry.set_path("/");
        let shown = self.secrets.for_repository(&registry, &self.image.repository, self.shown.as_ref()).await?;
        let more = shown != self.shown.clone().unwrap_or_default();
        self.shown = Some(shown);
        Ok(more)
    }

    // --- the manifest that the image is ---

    async fn top(&mut self) -> Result<Digest, Why> {
        let mut tries = Tries::new();
        loop {
            match self.ask_top().await {
                Err(why) if self.again(&why, &mut tries).await? => {}
                asked => return asked,
            }
        }
    }

    /// For headers first: registries count what they give.
    async fn ask_top(&self) -> Result<Digest, Why> {
        match self.ask(Method::HEAD).await {
            Ok((response, _turn)) => {
                let told = self.told(response.headers())?;
                if let Some(digest) = told {
                    return Ok(digest);
                }
            }
            // It knows no HEAD.
            Err(Failure::Origin { status: 405 | 501, .. }) => {}
            Err(failure) => return Err(self.registry_said(self.reference(), Arc::new(failure))),
        }
        let asked = self.ask(Method::GET).await;
        let (response, _turn) = asked.map_err(|failure| self.registry_said(self.reference(), Arc::new(failure)))?;
        if let Some(digest) = self.told(response.headers())? {
            return Ok(digest);
        }
        let bytes = read_at_most(response, MANIFEST_BYTES_MAX as usize, self.jobs.patience).await;
        Ok(Digest::from_bytes(Algorithm::Sha256, &Sha256::digest(&bytes)))
    }

    async fn ask(&self, method: Method) -> Result<(reqwest::Response, Turn), Failure> {
        let (upstream, url) = (self.jobs.peer.upstream(), &self.image.url);
        let (headers, own) = self.request_headers()?;
        let asked = async {
            let turn = upstream.turn_unless_held(url, |_| true).await?;
            let sent = match own {
                // Where a redirect leads is not whom they are for.
                true => upstream.relay(method, url.clone(), headers, None).await,
                false => upstream.send(method, url.clone(), headers).await,
            };
            Ok::<_, Failure>((sent?, turn))
        };
        let unanswered = |_| Failure::Unreachable(format!("no answer within {:?}", self.jobs.patience));
        let (response, turn) = timeout(self.jobs.patience, asked).await.map_err(unanswered)??;
        if response.extensions().get::<TokenServiceDown>().is_some() {
            return Err(Failure::Unreachable("its token service does not answer".to_owned()));
        }
        if !response.status().is_success() {
            let (status, headers) = (response.status(), response.headers().clone());
            upstream.heard(response.url(), status, &headers);
            return Err(Failure::Origin {
                status: status.as_u16(),
                headers: Box::new(headers),
                body: Default::default(),
            });
        }
        match objection(url.path(), response.headers()) {
            Some(objection) => Err(Failure::Malformed(objection)),
            None => Ok((response, turn)),
        }
    }

    /// And whether the job has some of its own among them.
    fn request_headers(&self) -> Result<(HeaderMap, bool), Failure> {
        let Shown { authorization, headers: own } = self.shown.clone().unwrap_or_default();
        let mut headers = df_client::trace_headers();
        headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let is_own = !own.is_empty();
        let authorization = authorization.map(|value| (AUTHORIZATION.to_string(), value));
        for (name, value) in own.into_iter().chain(authorization) {
            let wrong = || Failure::Malformed(format!("header {name} of the job"));
            let mut value = HeaderValue::from_str(&value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value);
        }
        Ok((headers, is_own))
    }

    /// What the registry says of the manifest; `None` when that does not tell which it is.
    fn told(&self, headers: &HeaderMap) -> Result<Option<Digest>, Why> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if text(CONTENT_TYPE.as_str()).is_some_and(|media_type| media_type.starts_with(SCHEMA_1)) {
            return Err(ManifestError::Schema1.into());
        }
        let told: Option<Digest> = text("docker-content-digest").and_then(|digest| digest.parse().ok());
        let digest = match &self.image.reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(_) => told,
        };
        if let Some(bytes) = text(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok()) {
            let name = digest.as_ref().map_or_else(|| self.reference(), Digest::to_string);
            check_manifest(name, bytes)?;
        }
        Ok(digest)
    }

    fn reference(&self) -> String {
        match &self.image.reference {
            Reference::Tag(tag) => format!("tag {tag}"),
            Reference::Digest(digest) => format!("manifest {digest}"),
        }
    }

    fn registry_said(&self, what: String, failure: Arc<Failure>) -> Why {
        Why::Registry { registry: self.image.registry(), what, failure, shown: self.shown.is_some() }
    }

    // --- manifests by digest ---

    /// Through the peers, so that the cluster has it from then on.
    async fn manifest(&mut self, digest: &Digest) -> Result<Vec<u8>, Why> {
        let mut tries = Tries::new();
        loop {
            match self.fetch(digest).await {
                Err(why) if self.again(&why, &mut tries).await? => {}
                fetched => return fetched,
            }
        }
    }

    async fn fetch(&self, digest: &Digest) -> Result<Vec<u8>, Why> {
        let Shown { authorization, headers } = self.shown.clone().unwrap_or_default();
        let spec = self.manifest_task(digest);
        let spec = TaskSpec { origin: Origin { authorization, headers, ..spec.origin }, ..spec };
        let what = || format!("manifest {digest}");
        let unread = |error: String| Why::Unread { registry: self.image.registry(), what: what(), error };
        let (peer, patience) = (&self.jobs.peer, self.jobs.patience);
        let task = peer.start(spec, Start::Ask)?;
        let opened = task.open(peer, Requested::Whole, Trust::HoldLast, patience).await;
        let content = opened.map_err(|error| match error {
            ReadError::Failed(failure) => self.registry_said(what(), failure),
            error => unread(error.to_string()),
        })?;
        if let Some(total) = content.slice.and_then(|slice| slice.total) {
            check_length(digest, total)?;
        }
        let read = content.stream(Delivery::default()).try_fold(Vec::new(), async |mut bytes, chunk| {
            bytes.extend_from_slice(&chunk);
            let fits = bytes.len() as u64 <= MANIFEST_BYTES_MAX;
            if fits { Ok(bytes) } else { Err(io::Error::other("it has no end")) }
        });
        read.await.map_err(|error| unread(df_http::error::chain(&error)))
    }
}

fn check_length(digest: &Digest, bytes: u64) -> Result<(), Why> {
    check_manifest(digest.to_string(), bytes)
}

fn check_manifest(digest: String, bytes: u64) -> Result<(), Why> {
    if bytes > MANIFEST_BYTES_MAX { Err(Why::Long { digest, bytes }) } else { Ok(()) }
}
