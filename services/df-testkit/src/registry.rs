//! A pull-only OCI registry on top of [`FakeOrigin`]: every manifest and blob is a [`Content`] and takes all its faults.
//! A private one does the token dance (distribution: `spec/auth/token.md`) with a token endpoint of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::content::{Content, ContentStats};
use crate::image::{Blob, Image};
use crate::origin::FakeOrigin;

/// Who may pull.
#[derive(Clone, Debug)]
pub enum RegistryAccess {
    /// No challenge at all.
    Open,
    /// A Bearer challenge whose token anybody gets, as Docker Hub and ghcr.io do for public images.
    AnonymousToken,
    /// A Bearer challenge whose token costs this user name and password.
    Token { user: String, password: String },
    /// A Basic challenge.
    Basic { user: String, password: String },
}

/// Runs until dropped.
#[derive(Debug)]
pub struct FakeRegistry {
    origin: FakeOrigin,
    access: RegistryAccess,
    /// Tokens issued before the present one.
    expired: AtomicU64,
}

// === impl FakeRegistry ===

impl FakeRegistry {
    /// On 127.0.0.1, any free port.
    pub async fn start(access: RegistryAccess) -> anyhow::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), access).await
    }

    pub async fn start_at(address: SocketAddr, access: RegistryAccess) -> anyhow::Result<Self> {
        let registry = Self { origin: FakeOrigin::start_at(address).await?, access, expired: AtomicU64::new(0) };
        registry.put("v2/", Content::new("{}").header("content-type", "application/json"));
        registry.put_token();
        Ok(registry)
    }

    pub fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    pub fn base_url(&self) -> String {
        self.origin.base_url()
    }

    /// For faults: `registry.origin().change(&blob_name(…), |content| content.rate(…))`.
    pub fn origin(&self) -> &FakeOrigin {
        &self.origin
    }

    pub async fn stop(&mut self) {
        self.origin.stop().await;
    }

    /// Serves the image as `repository:tag` and by its digests.
    pub fn add(&self, repository: &str, tag: &str, image: &Image) {
        for blob in image.all_blobs() {
            // Registries name no better type for blobs.
            let content = Content::new(blob.bytes.clone()).header("docker-content-digest", &blob.digest);
            self.put(&blob_name(repository, &blob.digest), content);
        }
        for manifest in image.manifests() {
            self.put(&manifest_name(repository, &manifest.digest), manifest_content(manifest));
        }
        self.put(&manifest_name(repository, tag), manifest_content(image.top()));
    }

    pub fn blob_stats(&self, repository: &str, digest: &str) -> ContentStats {
        self.origin.stats(&blob_name(repository, digest))
    }

    /// `reference` is a tag or a digest; each is counted by itself.
    pub fn manifest_stats(&self, repository: &str, reference: &str) -> ContentStats {
        self.origin.stats(&manifest_name(repository, reference))
    }

    pub fn token_stats(&self) -> ContentStats {
        self.origin.stats("token")
    }

    /// The token in use becomes worthless, with `error="invalid_token"`; the token endpoint issues another.
    pub fn expire_token(&self) {
        self.expired.fetch_add(1, Ordering::Relaxed);
        self.put_token();
        for name in self.origin.names() {
            if name.starts_with("v2/") {
                self.origin.change(&name, |content| self.guard(&name, content));
            }
        }
    }

    fn put(&self, name: &str, content: Content) {
        self.origin.put(name, self.guard(name, content));
    }

    fn put_token(&self) {
        let token = self.token();
        let body = json!({ "token": token, "access_token": token, "expires_in": 300 }).to_string();
        let content = Content::new(body).header("content-type", "application/json").without_ranges();
        let content = match &self.access {
            RegistryAccess::Open | RegistryAccess::Basic { .. } => return,
            RegistryAccess::AnonymousToken => content,
            RegistryAccess::Token { user, password } => {
                content.require_authorization(&basic(user, password), "Basic realm=\"token\"")
            }
        };
        if self.origin.names().iter().any(|name| name == "token") {
            self.origin.change("token", |_| content);
        } else {
            self.origin.put("token", content);
        }
    }

    fn token(&self) -> String {
        format!("fake-token-{}", self.expired.load(Ordering::Relaxed))
    }

    fn guard(&self, name: &str, content: Content) -> Content {
        match &self.access {
            RegistryAccess::Open => content,
            RegistryAccess::Basic { user, password } => {
                content.require_authorization(&basic(user, password), "Basic realm=\"fake\"")
            }
            RegistryAccess::AnonymousToken | RegistryAccess::Token { .. } => {
                let mut challenge = format!("Bearer realm=\"{}\",service=\"fake\"", self.origin.url("token"));
                if let Some(repository) = repository(name) {
                    challenge += &format!(",scope=\"repository:{repository}:pull\"");
                }
                if self.expired.load(Ordering::Relaxed) > 0 {
                    challenge += ",error=\"invalid_token\"";
                }
                content.require_authorization(&format!("Bearer {}", self.token()), &challenge)
            }
        }
    }
}

/// The name of a blob at [`FakeRegistry::origin`], which is also its path.
pub fn blob_name(repository: &str, digest: &str) -> String {
    format!("v2/{repository}/blobs/{digest}")
}

/// The name of a manifest at [`FakeRegistry::origin`], which is also its path.
pub fn manifest_name(repository: &str, reference: &str) -> String {
    format!("v2/{repository}/manifests/{reference}")
}

fn manifest_content(manifest: &Blob) -> Content {
    Content::new(manifest.bytes.clone())
        .header("content-type", manifest.media_type)
        .header("docker-content-digest", &manifest.digest)
}

fn repository(name: &str) -> Option<&str> {
    let name = name.strip_prefix("v2/")?;
    Some(name.split_once("/blobs/").or_else(|| name.split_once("/manifests/"))?.0)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests {
    use reqwest::{Client, Response};

    use super::*;
    use crate::image::Layer;

    async fn get(registry: &FakeRegistry, name: &str, authorization: &str) -> Response {
        let client = Client::builder().no_proxy().build().unwrap();
        let request = client.get(format!("{}/{name}", registry.base_url())).header("authorization", authorization);
        request.send().await.unwrap()
    }

    fn image() -> Image {
        Image::build(1, &[Layer::gzip(1000)]).unwrap().in_index()
    }

    #[tokio::test]
    async fn an_image_is_there_by_tag_and_by_every_digest() {
        let (registry, image) = (FakeRegistry::start(RegistryAccess::Open).await.unwrap(), image());
        registry.add("a/b", "v1", &image);
        let response = get(&registry, &manifest_name("a/b", "v1"), "").await;
        assert_eq!(response.headers()["content-type"], crate::image::INDEX_TYPE);
        assert_eq!(response.headers()["docker-content-digest"], image.top().digest);
        assert_eq!(response.bytes().await.unwrap(), image.top().bytes);
        for manifest in image.manifests() {
            let response = get(&registry, &manifest_name("a/b", &manifest.digest), "").await;
            assert_eq!(response.bytes().await.unwrap(), manifest.bytes);
        }
        for blob in image.all_blobs() {
            let response = get(&registry, &blob_name("a/b", &blob.digest), "").await;
            assert_eq!(response.bytes().await.unwrap(), blob.bytes);
            assert_eq!(registry.blob_stats("a/b", &blob.digest).bytes, blob.size_bytes());
        }
        assert_eq!(registry.manifest_stats("a/b", "v1").requests, 1);
        assert_eq!(get(&registry, "v2/", "").await.status(), 200);
    }

    #[tokio::test]
    async fn a_private_image_costs_a_token_and_a_token_the_password() {
        let access = RegistryAccess::Token { user: "u".to_owned(), password: "p".to_owned() };
        let (registry, image) = (FakeRegistry::start(access).await.unwrap(), image());
        registry.add("a/b", "v1", &image);
        let name = manifest_name("a/b", "v1");
        let refused = get(&registry, &name, "").await;
        assert_eq!(refused.status(), 401);
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
        let expected =
            format!("Bearer realm=\"{}/token\",service=\"fake\",scope=\"repository:a/b:pull\"", registry.base_url());
        assert_eq!(challenge, expected);

        assert_eq!(get(&registry, "token?scope=x", "").await.status(), 401);
        let granted = get(&registry, "token?scope=x", &basic("u", "p")).await.bytes().await.unwrap();
        let granted: serde_json::Value = serde_json::from_slice(&granted).unwrap();
        let bearer = format!("Bearer {}", granted["token"].as_str().unwrap());
        assert_eq!(get(&registry, &name, &bearer).await.status(), 200);

        registry.expire_token();
        let refused = get(&registry, &name, &bearer).await;
        assert!(refused.headers()["www-authenticate"].to_str().unwrap().ends_with("error=\"invalid_token\""));
        assert_eq!(registry.token_stats().requests, 2);
    }
}
