//! What a task is: its identity, where its bytes come from, and how they are cut. Pure, so that every component agrees.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::{Algorithm, Digest};
use crate::ids::TaskId;

/// The smallest piece.
pub const PIECE_LENGTH_MIN: u64 = 256 * 1024;
/// The usual piece: the unit that is checked and marked; also that of a content whose length nobody tells.
pub const PIECE_LENGTH_USUAL: u64 = 4 * 1024 * 1024;
/// Contents over 16 GiB get longer pieces, so that no task has more than about 4,096.
pub const PIECE_LENGTH_MAX: u64 = 64 * 1024 * 1024;

/// All that a peer needs to take part in a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    pub id: TaskId,
    pub origin: Origin,
    /// Of the whole content. Such a task is complete only when it matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// Where the content comes from when no peer has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// `http://` or `https://`, without credentials in it.
    pub url: String,
    /// `Authorization` to send there. Only a Bearer token may leave the node (to the seed of the same cluster).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
    /// `Accept` to send there; manifests need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
    /// The asker can reach the origin only with what must not leave its node (Basic credentials): no seed may be sent.
    #[serde(default)]
    pub node_only: bool,
    /// Contents of one URL with different tags are different tasks; so are those of different applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
}

// === impl TaskSpec ===

impl TaskSpec {
    pub fn new(origin: Origin, digest: Option<Digest>) -> Self {
        Self { id: id_of(&origin, digest.as_ref()), origin, digest }
    }

    /// The id is that of the content described. Otherwise one content could be passed off as another.
    pub fn is_consistent(&self) -> bool {
        self.id == id_of(&self.origin, self.digest.as_ref())
    }
}

fn id_of(origin: &Origin, digest: Option<&Digest>) -> TaskId {
    match digest {
        Some(digest) => task_id_of_digest(digest),
        None => task_id_of_url(&origin.url, origin.tag.as_deref(), origin.application.as_deref()),
    }
}

// === impl Origin ===

impl Origin {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), authorization: None, accept: None, node_only: false, tag: None, application: None }
    }

    /// As another node may see it: a Bearer token stays, anything else goes and marks the origin as reachable from here only.
    pub fn for_the_cluster(&self) -> Self {
        let bearer = |value: &str| value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer "));
        match &self.authorization {
            Some(value) if !bearer(value) => Self { authorization: None, node_only: true, ..self.clone() },
            _ => self.clone(),
        }
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin")
            .field("url", &self.url)
            .field("authorization", &self.authorization.as_ref().map(|_| "redacted"))
            .field("accept", &self.accept)
            .field("node_only", &self.node_only)
            .field("tag", &self.tag)
            .field("application", &self.application)
            .finish()
    }
}

/// The id of a content known by its digest: the digest's own hex, so that one blob is one task across registries.
pub fn task_id_of_digest(digest: &Digest) -> TaskId {
    match digest.algorithm() {
        Algorithm::Sha256 | Algorithm::Sha512 => match TaskId::try_from(digest.hex().to_owned()) {
            Ok(id) => id,
            Err(_) => hash_fields(&[digest.hex()]),
        },
        Algorithm::Blake3 => hash_fields(&["blake3", digest.hex()]),
    }
}

/// The id of a content known by its URL: SHA-256 over length-prefixed fields, so that no two sets of fields collide.
pub fn task_id_of_url(url: &str, tag: Option<&str>, application: Option<&str>) -> TaskId {
    hash_fields(&[url, tag.unwrap_or_default(), application.unwrap_or_default()])
}

fn hash_fields(fields: &[&str]) -> TaskId {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    let hex = hex::encode(hash.finalize());
    match TaskId::try_from(hex) {
        Ok(id) => id,
        Err(error) => unreachable!("{error}"),
    }
}

/// How long a piece is, given the content's length. Every peer computes the same.
///
/// Sixteen pieces at least (a row of relays needs something to share), 256 KiB at the smallest, 4 MiB usually,
/// more only where there would be over 4,096 pieces.
pub fn piece_length(length: Option<u64>) -> u64 {
    let Some(length) = length else { return PIECE_LENGTH_USUAL };
    let wanted = (length / 16).max(1).next_power_of_two().clamp(PIECE_LENGTH_MIN, PIECE_LENGTH_USUAL);
    let least = length.div_ceil(4096).max(1).next_power_of_two();
    wanted.max(least).min(PIECE_LENGTH_MAX.max(wanted))
}

/// Whether pieces of this length are how the content is cut: what a peer says of that can be computed. A content whose
/// length its origin told late is cut as one of unknown length.
pub fn is_piece_length(piece_length_told: u64, length: Option<u64>) -> bool {
    [piece_length(length), piece_length(None)].contains(&piece_length_told)
}

/// How many pieces that makes.
pub fn piece_count(length: u64, piece_length: u64) -> u32 {
    u32::try_from(length.div_ceil(piece_length)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        assert_ne!(task_id_of_url("u", Some("ab"), Some("c")), task_id_of_url("u", Some("a"), Some("bc")));
        assert_ne!(task_id_of_url("u", Some("a"), None), task_id_of_url("u", None, Some("a")));
    }

    #[test]
    fn no_content_passes_for_another() {
        let digest = Some(format!("sha256:{}", "ab".repeat(32)).parse().unwrap());
        let blob = TaskSpec::new(Origin::new("https://r/v2/a/blobs/x"), digest);
        let file = TaskSpec::new(Origin { tag: Some("t".to_owned()), ..Origin::new("https://f/x") }, None);
        assert!(blob.is_consistent() && file.is_consistent());
        assert!(!TaskSpec { digest: None, ..blob.clone() }.is_consistent());
        assert!(!TaskSpec { id: blob.id, ..file.clone() }.is_consistent());
        assert!(!TaskSpec { origin: Origin { tag: None, ..file.origin.clone() }, ..file }.is_consistent());
    }

    #[test]
    fn a_blob_is_its_digest() {
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        assert_eq!(task_id_of_digest(&digest).as_str(), digest.hex());
    }

    #[test]
    fn only_a_bearer_token_leaves_the_node() {
        let origin = |value: &str| Origin { authorization: Some(value.to_owned()), ..Origin::new("https://r/v2/") };
        assert_eq!(origin("Bearer abc").for_the_cluster().authorization.as_deref(), Some("Bearer abc"));
        let basic = origin("Basic cm9vdDpzZWNyZXQ=");
        assert_eq!(basic.for_the_cluster().authorization, None);
        assert!(basic.for_the_cluster().node_only);
        assert!(!format!("{basic:?}").contains("cm9vd"));
    }

    #[test]
    fn pieces_suit_the_content() {
        assert_eq!(piece_length(Some(1)), PIECE_LENGTH_MIN);
        assert_eq!(piece_length(Some(16 << 20)), 1 << 20);
        assert_eq!(piece_length(Some(1 << 30)), PIECE_LENGTH_USUAL);
        assert_eq!(piece_length(Some(64 << 30)), 16 << 20);
        assert_eq!(piece_length(None), PIECE_LENGTH_USUAL);
        assert!(is_piece_length(PIECE_LENGTH_MIN, Some(1)) && is_piece_length(PIECE_LENGTH_USUAL, Some(1)));
        assert!(!is_piece_length(1, Some(1)) && !is_piece_length(PIECE_LENGTH_MIN, None));
    }

    proptest! {
        #[test]
        fn a_piece_is_a_bounded_power_of_two(length in 0..1u64 << 45) {
            let piece = piece_length(Some(length));
            prop_assert!(piece.is_power_of_two());
            prop_assert!((PIECE_LENGTH_MIN..=PIECE_LENGTH_MAX).contains(&piece));
            prop_assert!(piece_count(length, piece) <= crate::Bitmap::PIECES_MAX as u32);
        }
    }
}
