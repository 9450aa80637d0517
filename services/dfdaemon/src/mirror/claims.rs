//! What a registry's yes says of itself, and when it is none: pure. What stands before a registry, as the login page of a
//! network does, says yes to everything.

use df_api::Digest;
use http::header::{CONTENT_TYPE, HeaderMap};

/// Why an answer to `path`, `/v2/…` at the registry, is not about the manifest or the blob that was asked for.
pub fn objection(path: &str, headers: &HeaderMap) -> Option<String> {
    let mut names = path.rsplit('/');
    let (reference, folder) = (names.next()?, names.next()?);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let told: Option<Digest> = text("docker-content-digest").and_then(|digest| digest.parse().ok());
    let content_type = text(CONTENT_TYPE.as_str()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let fits = match folder {
        "manifests" => is_manifest(&essence, told.is_some()),
        "blobs" => told.is_some() || essence != "text/html",
        _ => return None,
    };
    if !fits {
        let shown: String = content_type.chars().take(100).collect();
        return Some(format!("what it has for {reference} is of type {shown:?}, not a registry's"));
    }
    // Of another kind of digest nobody knows whether it means the same.
    let asked: Digest = reference.parse().ok()?;
    let told = told.filter(|told| told.algorithm() == asked.algorithm() && *told != asked)?;
    Some(format!("it answered with {told} when asked for {asked}"))
}

/// Those of OCI and Docker, and others that nobody knows yet. Of old or simple registries also plain JSON, which many
/// others send: a digest tells them apart.
fn is_manifest(essence: &str, has_digest: bool) -> bool {
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    essence.starts_with("application/vnd.") || (json && has_digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "/v2/a/manifests/v1";

    fn objects(path: &str, content_type: &str, digest: Option<&str>) -> bool {
        let fields = [("content-type", Some(content_type)), ("docker-content-digest", digest)];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        objection(path, &fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
            .is_some()
    }

    fn digest(byte: &str) -> String {
        format!("sha256:{}", byte.repeat(32))
    }

    #[test]
    fn a_manifest_is_of_a_type_that_manifests_have() {
        for good in [
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "application/vnd.cncf.oras.artifact.manifest.v1+json",
            "Application/VND.example.unknown; charset=utf-8",
        ] {
            assert!(!objects(MANIFEST, good, None), "{good}");
        }
        for plain in ["application/json", "application/json; charset=utf-8", "application/x+json"] {
            assert!(objects(MANIFEST, plain, None) && !objects(MANIFEST, plain, Some(&digest("ab"))), "{plain}");
        }
        for bad in ["text/html", "text/plain", "application/octet-stream", "image/png", "", "vnd.x/y+json"] {
            assert!(objects(MANIFEST, bad, None) && objects(MANIFEST, bad, Some(&digest("ab"))), "{bad}");
        }
    }

    #[test]
    fn a_blob_is_of_any_type_but_no_page_that_is_not_known_to_be_one() {
        let blob = format!("/v2/a/blobs/{}", digest("ab"));
        assert!(!objects(&blob, "binary/octet-stream", None));
        assert!(objects(&blob, "text/html; charset=utf-8", None));
        assert!(!objects(&blob, "text/html", Some(&digest("ab"))));
        assert!(!objects("/v2/a/tags/list", "text/html", None));
    }

    #[test]
    fn what_is_asked_for_by_its_digest_has_no_other() {
        for folder in ["manifests", "blobs"] {
            let path = format!("/v2/a/{folder}/{}", digest("ab"));
            let manifest = "application/vnd.oci.image.index.v1+json";
            assert!(objects(&path, manifest, Some(&digest("cd"))), "{folder}");
            assert!(!objects(&path, manifest, Some(&digest("ab"))), "{folder}");
            assert!(!objects(&path, manifest, Some(&format!("sha512:{}", "cd".repeat(64)))), "{folder}");
        }
    }
}
