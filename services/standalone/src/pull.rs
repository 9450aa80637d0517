//! Pulls an image as a container runtime does: manifest, config, layers three at a time, every digest checked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, WWW_AUTHENTICATE};
use reqwest::{Client, Response};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

/// `registry/repository:tag`
#[derive(Clone, Debug)]
pub struct Reference {
    pub registry: String,
    pub repository: String,
    pub tag: String,
}

/// What came.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Config and layers: digest and length.
    pub blobs: Vec<(String, u64)>,
    pub took: Duration,
}

/// Pulls through one mirror.
pub struct Puller {
    http: Client,
    mirror: String,
    reference: Reference,
    token: Mutex<Option<String>>,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<PlatformManifest>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct PlatformManifest {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
}

const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// As containerd's `max_concurrent_downloads`.
const LAYERS_AT_ONCE: usize = 3;

// === impl Reference ===

impl Reference {
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let (registry, rest) = text.split_once('/').with_context(|| format!("{text:?} names no registry"))?;
        let (repository, tag) = rest.rsplit_once(':').unwrap_or((rest, "latest"));
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), tag: tag.to_owned() })
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}:{}", self.registry, self.repository, self.tag)
    }
}

// === impl Puller ===

impl Puller {
    /// `mirror` is `http://host:port`.
    pub fn new(mirror: String, reference: Reference) -> anyhow::Result<Self> {
        // Token endpoints are asked through the environment's proxy, if there is one; the mirror is on loopback.
        let http = Client::builder().connect_timeout(Duration::from_secs(5)).build()?;
        Ok(Self { http, mirror, reference, token: Mutex::new(None) })
    }

    pub async fn pull(&self) -> anyhow::Result<Pulled> {
        let started = Instant::now();
        let mut manifest: Manifest = serde_json::from_slice(&self.manifest(&self.reference.tag).await?)?;
        if !manifest.manifests.is_empty() {
            let ours = |platform: &Platform| platform.os == "linux" && platform.architecture == "amd64";
            let chosen = manifest.manifests.iter().find(|entry| entry.platform.as_ref().is_some_and(ours));
            let digest = chosen.context("the image has no linux/amd64")?.digest.clone();
            manifest = serde_json::from_slice(&self.manifest(&digest).await?)?;
        }
        let config = manifest.config.context("the manifest names no config")?;
        self.blob(&config).await?;
        let mut seen = HashMap::from([(config.digest, config.size)]);
        // The same layer may be listed twice; a runtime asks once.
        let layers: Vec<_> = manifest
            .layers
            .into_iter()
            .filter(|layer| seen.insert(layer.digest.clone(), layer.size).is_none())
            .collect();
        stream::iter(&layers)
            .map(|layer| self.blob(layer))
            .buffer_unordered(LAYERS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(Pulled { blobs: seen.into_iter().collect(), took: started.elapsed() })
    }

    async fn manifest(&self, reference: &str) -> anyhow::Result<Vec<u8>> {
        let response = self.get(&format!("manifests/{reference}"), MANIFESTS).await?;
        let body = response.bytes().await?.to_vec();
        if let Some(expected) = reference.strip_prefix("sha256:") {
            ensure!(hex::encode(Sha256::digest(&body)) == expected, "manifest {reference} does not match its digest");
        }
        Ok(body)
    }

    async fn blob(&self, blob: &Descriptor) -> anyhow::Result<()> {
        let response = self.get(&format!("blobs/{}", blob.digest), "*/*").await?;
        let mut hash = Sha256::new();
        let mut length = 0;
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            length += chunk.len() as u64;
            hash.update(&chunk);
        }
        let found = format!("sha256:{}", hex::encode(hash.finalize()));
        ensure!(found == blob.digest && length == blob.size, "{} came as {found}, {length} bytes", blob.digest);
        Ok(())
    }

    async fn get(&self, path: &str, accept: &str) -> anyhow::Result<Response> {
        let Reference { registry, repository, .. } = &self.reference;
        let url = format!("{}/v2/{repository}/{path}?ns={registry}", self.mirror);
        for _ in 0..2 {
            let mut request = self.http.get(&url).header(ACCEPT, accept);
            if let Some(token) = &*self.token.lock().await {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.send().await.with_context(|| format!("GET {url}"))?;
            match response.status() {
                StatusCode::OK => return Ok(response),
                StatusCode::UNAUTHORIZED => self.fetch_token(&response).await?,
                status => bail!("GET {url} answered {status}: {}", response.text().await.unwrap_or_default()),
            }
        }
        bail!("GET {url}: the registry refuses the token it gave")
    }

    /// Anonymous, as the challenge says (distribution-spec, token authentication).
    async fn fetch_token(&self, refused: &Response) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let challenge = refused.headers().get(WWW_AUTHENTICATE).context("a 401 without a challenge")?.to_str()?;
        let parameters: HashMap<_, _> = challenge
            .trim_start_matches("Bearer ")
            .split(',')
            .filter_map(|part| part.trim().split_once('='))
            .map(|(name, value)| (name, value.trim_matches('"')))
            .collect();
        let realm = parameters.get("realm").context("a challenge without a realm")?;
        let scope = format!("repository:{}:pull", self.reference.repository);
        let query = [("service", *parameters.get("service").unwrap_or(&"")), ("scope", scope.as_str())];
        let token: Token = self.http.get(*realm).query(&query).send().await?.error_for_status()?.json().await?;
        *self.token.lock().await = token.token.or(token.access_token);
        Ok(())
    }
}
