//! The image that a duty is about, and where this node asks for it: at the registry that its mirror would ask.

use std::fmt;

use df_api::Digest;
use df_peer::{Upstream, UpstreamRefused};
use http::Method;
use url::{Position, Url};

use crate::oci::{OciPath, Reference};
use crate::rules::{Rules, Unmatched};

#[derive(Clone, Debug)]
pub struct Image {
    /// As it is called in the duty, `host` or `host:port`.
    host: String,
    pub repository: String,
    pub reference: Reference,
    /// Of the manifest, at the registry that is asked.
    pub url: Url,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("{0:?} is not https://REGISTRY/v2/REPOSITORY/manifests/REFERENCE")]
    Url(String),
    #[error("{url}: {source}")]
    Refused { url: String, source: UpstreamRefused },
}

// === impl Image ===

impl Image {
    pub fn locate(text: &str, upstream: &Upstream, rules: &Rules) -> Result<Self, ImageError> {
        let wrong = || ImageError::Url(text.chars().take(300).collect());
        let url = Url::parse(text).map_err(|_| wrong())?;
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        let path = url.path().strip_prefix("/v2/").filter(|_| plain).ok_or_else(wrong)?;
        let Ok(OciPath::Manifest { repository, reference }) = OciPath::parse(path) else { return Err(wrong()) };
        let host = url[Position::BeforeHost..Position::AfterPort].to_owned();
        // Over what an image's name leads to is for this node's configuration to say, as when its runtime asks.
        let name = if url.scheme() == "https" { host.clone() } else { format!("{}://{host}", url.scheme()) };
        let refused = |source| ImageError::Refused { url: text.to_owned(), source };
        let mut asked = upstream.registry(&name).map_err(refused)?;
        asked.set_path(url.path());
        let asked = rules.decide(&Method::GET, &asked, None, Unmatched::Peers).url;
        upstream.check(&asked).map_err(refused)?;
        Ok(Self { host, repository, reference, url: asked })
    }

    /// `https://host:port` of the registry that is asked.
    pub fn registry(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Where its registry has another manifest of the repository.
    pub fn manifest_url(&self, digest: &Digest) -> Url {
        self.at("manifests", digest)
    }

    pub fn blob_url(&self, digest: &Digest) -> Url {
        self.at("blobs", digest)
    }

    fn at(&self, folder: &str, digest: &Digest) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("/v2/{}/{folder}/{digest}", self.repository));
        url
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, repository, reference, .. } = self;
        match reference {
            Reference::Tag(tag) => write!(f, "{host}/{repository}:{tag}"),
            Reference::Digest(digest) => write!(f, "{host}/{repository}@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use df_peer::UpstreamConfig;

    use super::*;

    fn located(text: &str) -> Result<Image, ImageError> {
        let allow = vec!["http://reg.lan:5000".to_owned()];
        let upstream = Upstream::new(&UpstreamConfig { allow, ..UpstreamConfig::default() }).unwrap();
        Image::locate(text, &upstream, &Rules::new(&[]).unwrap())
    }

    #[test]
    fn an_image_is_asked_for_where_the_mirror_would_ask() {
        for (text, name, asked) in [
            ("https://ghcr.io/v2/a/b/manifests/v1", "ghcr.io/a/b:v1", "https://ghcr.io/v2/a/b/manifests/v1"),
            (
                "https://docker.io/v2/library/x/manifests/1",
                "docker.io/library/x:1",
                "https://registry-1.docker.io/v2/library/x/manifests/1",
            ),
            ("https://reg.lan:5000/v2/a/manifests/v1", "reg.lan:5000/a:v1", "http://reg.lan:5000/v2/a/manifests/v1"),
        ] {
            let image = located(text).unwrap();
            assert_eq!((image.to_string().as_str(), image.url.as_str()), (name, asked));
        }
    }

    #[test]
    fn what_is_no_image_is_named() {
        for wrong in [
            "ghcr.io/a:v1",
            "https://ghcr.io/v2/a/blobs/v1",
            "https://ghcr.io/v1/a/manifests/v1",
            "https://u:p@ghcr.io/v2/a/manifests/v1",
        ] {
            assert_eq!(located(wrong).unwrap_err(), ImageError::Url(wrong.to_owned()));
        }
        let refused = located("https://127.0.0.1:5000/v2/a/manifests/v1").unwrap_err().to_string();
        assert!(refused.contains("127.0.0.1:5000") && refused.contains("upstream.allow"), "{refused}");
    }
}
