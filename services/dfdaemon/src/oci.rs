//! Paths of the OCI distribution API (distribution-spec, § Pulling) ↔ values. Parsed once, here.

use df_api::Digest;

/// What a `/v2/…` path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OciPath {
    Blob {
        repository: String,
        digest: Digest,
    },
    Manifest {
        repository: String,
        reference: Reference,
    },
    /// Tag lists, referrers, the catalogue: relayed.
    Listing {
        repository: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    Tag(String),
    Digest(Digest),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OciPathError {
    #[error("repository name {0:?} is not valid: lower-case letters, digits and . _ - between slashes, 255 at most")]
    Repository(String),
    #[error("tag {0:?} is not valid: letters, digits and . _ -, 128 at most")]
    Tag(String),
    #[error("/v2/{0} is not a path of the distribution API that can be pulled from")]
    Unknown(String),
    #[error(transparent)]
    Digest(#[from] df_api::digest::InvalidDigest),
}

// === impl OciPath ===

impl OciPath {
    /// `path` is what follows `/v2/`.
    pub fn parse(path: &str) -> Result<Self, OciPathError> {
        if let Some((repository, digest)) = path.rsplit_once("/blobs/") {
            return Ok(Self::Blob { repository: checked_repository(repository)?, digest: digest.parse()? });
        }
        if let Some((repository, reference)) = path.rsplit_once("/manifests/") {
            return Ok(Self::Manifest {
                repository: checked_repository(repository)?,
                reference: Reference::parse(reference)?,
            });
        }
        if path == "_catalog" {
            return Ok(Self::Listing { repository: None });
        }
        // Nothing else is relayed: a mirror is not a way to ask a registry's host for anything.
        let unknown = || OciPathError::Unknown(path.chars().take(300).collect());
        let repository = match path.strip_suffix("/tags/list") {
            Some(repository) => repository,
            None => {
                let (repository, subject) = path.rsplit_once("/referrers/").ok_or_else(unknown)?;
                subject.parse::<Digest>()?;
                repository
            }
        };
        Ok(Self::Listing { repository: Some(checked_repository(repository)?) })
    }

    /// What it is about, unless that is the whole registry.
    pub fn repository(&self) -> Option<&str> {
        match self {
            Self::Blob { repository, .. } | Self::Manifest { repository, .. } => Some(repository),
            Self::Listing { repository } => repository.as_deref(),
        }
    }
}

// === impl Reference ===

impl Reference {
    fn parse(text: &str) -> Result<Self, OciPathError> {
        if text.contains(':') {
            return Ok(Self::Digest(text.parse()?));
        }
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        match first && rest && text.len() <= 128 {
            true => Ok(Self::Tag(text.to_owned())),
            false => Err(OciPathError::Tag(text.chars().take(200).collect())),
        }
    }
}

fn checked_repository(name: &str) -> Result<String, OciPathError> {
    let part = |part: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        part.bytes().next().is_some_and(inner)
            && part.bytes().last().is_some_and(inner)
            && part.bytes().all(|b| inner(b) || matches!(b, b'.' | b'_' | b'-'))
            && !part.contains("..")
    };
    match name.len() <= 255 && name.split('/').all(part) {
        true => Ok(name.to_owned()),
        false => Err(OciPathError::Repository(name.chars().take(300).collect())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:82cbeb56bf8065dfb9ff5a0c6ea212ab3a32f413a137675df59d496e68eaf399";

    #[test]
    fn the_layer_of_the_walk_is_a_blob() {
        let path = format!("dragonflyoss/dragonfly2/scheduler/blobs/{DIGEST}");
        let repository = "dragonflyoss/dragonfly2/scheduler".to_owned();
        assert_eq!(OciPath::parse(&path), Ok(OciPath::Blob { repository, digest: DIGEST.parse().unwrap() }));
    }

    #[test]
    fn manifests_go_by_tag_or_digest() {
        let reference = |path: &str| match OciPath::parse(path) {
            Ok(OciPath::Manifest { reference, .. }) => reference,
            other => panic!("{other:?}"),
        };
        assert_eq!(reference("a/manifests/v2.0.5"), Reference::Tag("v2.0.5".to_owned()));
        assert_eq!(reference(&format!("a/b/manifests/{DIGEST}")), Reference::Digest(DIGEST.parse().unwrap()));
        let repository = Some("a/b".to_owned());
        assert_eq!(OciPath::parse("a/b/tags/list"), Ok(OciPath::Listing { repository }));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (path, named) in [
            ("A/manifests/x", "\"A\""),
            ("a/../b/blobs/sha256:x", "a/../b"),
            ("a/blobs/sha256:abc", "sha256:abc"),
            ("a/manifests/-x", "-x"),
            ("a//b/manifests/x", "a//b"),
            ("/manifests/x", "\"\""),
            ("../admin", "../admin"),
            ("a/../../admin/tags/list", "a/../../admin"),
            ("a/referrers/x", "\"x\""),
        ] {
            let error = OciPath::parse(path).unwrap_err().to_string();
            assert!(error.contains(named), "{path}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(path in ".{0,80}") {
            let _ = OciPath::parse(&path);
        }
    }
}
