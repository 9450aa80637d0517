//! What a task is: its identity, where its bytes come from, and how they are cut. Pure, so that every component agrees.

mod identity;
mod storage;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::TaskId;
use crate::rules::Priority;
pub use identity::{content_url, task_id_of_digest};
pub use storage::StorageAccess;

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
    /// `http://`, `https://` or `s3://bucket/key`, without credentials in it. Empty where there is no origin: the content
    /// was imported at a node, and only peers have it.
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
    /// The asker's own wish, and no part of the content's description.
    #[serde(default, skip_serializing_if = "Priority::is_usual")]
    pub priority: Priority,
    /// Names of query parameters that say nothing about the content, besides those of known signatures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filtered_query_params: Vec<String>,
    /// Bytes per piece, when it is not to follow from the content's length; see [`is_explicit_piece_length`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece_length: Option<u64>,
    /// Set where not everybody may read it: by whom its readers are judged. Contents of different scopes are different
    /// tasks, also with one digest: who lets in anybody opens nothing that another judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Further headers to send there, names in lower case. They may be secrets: never on the wire.
    #[serde(skip)]
    pub headers: BTreeMap<String, String>,
    /// For `s3://`: never on the wire.
    #[serde(skip)]
    pub storage: Option<StorageAccess>,
    /// Whoever asks wants only what peers have. Its own wish, and no part of the content's description.
    #[serde(skip)]
    pub peers_only: bool,
}

// === impl TaskSpec ===

impl TaskSpec {
    /// Of a registry: a content with a digest is that content, wherever it comes from.
    pub fn new(origin: Origin, digest: Option<Digest>) -> Self {
        let id = match &digest {
            Some(digest) => identity::id_by_digest(&origin, digest),
            None => identity::id_by_origin(&origin, None),
        };
        Self { id, origin, digest }
    }

    /// Of a program of a node. A digest is part of the identity, and never all of it: who may read a registry's content
    /// is for the registry to say, and knowing its digest must not open it.
    pub fn for_programs(origin: Origin, digest: Option<Digest>) -> Self {
        Self { id: identity::id_by_origin(&origin, digest.as_ref()), origin, digest }
    }

    /// The id is that of the content described, and its pieces are of a length that can be. Otherwise one content could be
    /// passed off as another.
    pub fn is_consistent(&self) -> bool {
        let by_digest =
            || self.digest.as_ref().is_some_and(|digest| self.id == identity::id_by_digest(&self.origin, digest));
        let has_source = !self.origin.url.is_empty() || self.digest.is_some();
        self.origin.piece_length.is_none_or(is_explicit_piece_length)
            && has_source
            && (self.id == identity::id_by_origin(&self.origin, self.digest.as_ref()) || by_digest())
    }

    /// How long a piece is, given the content's length: as told, or see [`piece_length`].
    pub fn piece_length(&self, length: Option<u64>) -> u64 {
        self.origin.piece_length.unwrap_or_else(|| piece_length(length))
    }

    /// Whether pieces of this length are how the content is cut: what a peer says of that can be computed. A content whose
    /// length its origin told late is cut as one of unknown length.
    pub fn is_piece_length(&self, told: u64, length: Option<u64>) -> bool {
        [self.piece_length(length), self.piece_length(None)].contains(&told)
    }
}

// === impl Origin ===

impl Origin {
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            authorization: None,
            accept: None,
            node_only: false,
            tag: None,
            application: None,
            priority: Priority::default(),
            filtered_query_params: Vec::new(),
            piece_length: None,
            scope: None,
            headers: BTreeMap::new(),
            storage: None,
            peers_only: false,
        }
    }

    /// Of a content that was imported.
    pub fn none() -> Self {
        Self::new("")
    }

    /// Whether it can be asked, and whoever wants the content lets it be.
    pub fn may_be_asked(&self) -> bool {
        !self.peers_only && !self.url.is_empty()
    }

    /// As another node may see it: a Bearer token stays, anything else that is for the origin alone goes, and marks it as
    /// reachable from here only.
    pub fn for_the_cluster(&self) -> Self {
        let bearer = |value: &String| value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer "));
        let authorization = self.authorization.clone().filter(bearer);
        let has_keys = self.storage.as_ref().is_some_and(StorageAccess::has_keys);
        let stays_here = authorization != self.authorization || !self.headers.is_empty() || has_keys;
        let node_only = self.node_only || stays_here;
        Self { authorization, headers: BTreeMap::new(), storage: None, node_only, ..self.clone() }
    }

    /// The URL without what changes from one request to the next: signatures, and what is filtered.
    pub fn content_url(&self) -> String {
        content_url(&self.url, &self.filtered_query_params)
    }

    /// Whether there is something in the URL that is no part of the content's identity, and may be what opens it.
    pub fn is_signed(&self) -> bool {
        self.content_url() != self.url.split_once('#').map_or(&*self.url, |(place, _)| place)
    }

    /// The URL for people and lists: what follows its path may be a secret.
    pub fn shown_url(&self) -> String {
        let url = self.content_url();
        match url.split_once('?') {
            Some((place, _)) => format!("{place}?…"),
            None => url,
        }
    }

    /// Whether this is how to ask for the same content of the same place from now on: with a newer signature, or with
    /// credentials.
    pub fn renews(&self, known: &Self) -> bool {
        let brings =
            self.authorization.is_some() || !self.headers.is_empty() || self.storage.is_some() || self.url != known.url;
        brings && self.content_url() == known.content_url()
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin")
            // Its query may be a signature.
            .field("url", &self.content_url())
            .field("authorization", &self.authorization.as_ref().map(|_| "redacted"))
            .field("accept", &self.accept)
            .field("node_only", &self.node_only)
            .field("tag", &self.tag)
            .field("application", &self.application)
            .field("priority", &self.priority)
            .field("filtered_query_params", &self.filtered_query_params)
            .field("piece_length", &self.piece_length)
            .field("scope", &self.scope)
            .field("headers", &self.headers.keys())
            .field("storage", &self.storage)
            .field("peers_only", &self.peers_only)
            .finish()
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

/// Whether somebody may ask for pieces of this length: a power of two within the limits of those computed.
pub fn is_explicit_piece_length(bytes: u64) -> bool {
    bytes.is_power_of_two() && (PIECE_LENGTH_MIN..=PIECE_LENGTH_MAX).contains(&bytes)
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
    fn no_content_passes_for_another() {
        let digest = Some(format!("sha256:{}", "ab".repeat(32)).parse().unwrap());
        let blob = TaskSpec::new(Origin::new("https://r/v2/a/blobs/x"), digest);
        let file = TaskSpec::new(Origin { tag: Some("t".to_owned()), ..Origin::new("https://f/x") }, None);
        assert!(blob.is_consistent() && file.is_consistent());
        assert!(!TaskSpec { digest: None, ..blob.clone() }.is_consistent());
        assert!(!TaskSpec { id: blob.id.clone(), ..file.clone() }.is_consistent());
        let cut = |piece_length| TaskSpec::new(Origin { piece_length, ..file.origin.clone() }, None);
        assert!(cut(Some(PIECE_LENGTH_MIN)).is_consistent() && cut(Some(PIECE_LENGTH_MAX)).is_consistent());
        for wrong in [0, 1, PIECE_LENGTH_MIN - 1, PIECE_LENGTH_MIN * 3, PIECE_LENGTH_MAX * 2, u64::MAX] {
            assert!(!cut(Some(wrong)).is_consistent(), "{wrong}");
        }
        let private = TaskSpec::new(Origin { scope: Some("r".to_owned()), ..blob.origin.clone() }, blob.digest.clone());
        assert!(private.is_consistent() && private.id != blob.id);
        assert!(!TaskSpec { origin: blob.origin.clone(), ..private }.is_consistent());
        assert!(!TaskSpec { origin: Origin { tag: None, ..file.origin.clone() }, ..file }.is_consistent());
    }

    #[test]
    fn what_programs_name_is_never_what_a_registry_guards() {
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let blob = TaskSpec::new(Origin::new("https://r/v2/a/blobs/x"), Some(digest.clone()));
        let tagged = || Origin { tag: Some("t".to_owned()), ..Origin::none() };
        let specs = [blob.origin.clone(), Origin::none(), tagged()]
            .map(|origin| TaskSpec::for_programs(origin, Some(digest.clone())));
        let ids: std::collections::BTreeSet<_> = specs.iter().chain([&blob]).map(|spec| spec.id.clone()).collect();
        assert_eq!(ids.len(), 4);
        assert!(specs.iter().all(TaskSpec::is_consistent));
        assert!(!TaskSpec::for_programs(Origin::none(), None).is_consistent(), "nothing says what it is");
        assert!(!TaskSpec { digest: None, ..specs[0].clone() }.is_consistent(), "nobody would compare it");
    }

    #[test]
    fn a_shown_url_ends_with_its_path() {
        let origin = Origin::new("https://f/x?token=hidden&X-Amz-Signature=a#part");
        assert_eq!(origin.shown_url(), "https://f/x?…");
        assert_eq!(Origin::new("https://f/x").shown_url(), "https://f/x");
    }

    #[test]
    fn only_a_bearer_token_leaves_the_node() {
        let origin = |value: &str| Origin { authorization: Some(value.to_owned()), ..Origin::new("https://r/v2/") };
        assert_eq!(origin("Bearer abc").for_the_cluster().authorization.as_deref(), Some("Bearer abc"));
        let basic = origin("Basic cm9vdDpzZWNyZXQ=");
        assert_eq!(basic.for_the_cluster().authorization, None);
        assert!(basic.for_the_cluster().node_only);
        assert!(!format!("{basic:?}").contains("cm9vd"));
        let headers = BTreeMap::from([("x-token".to_owned(), "hidden".to_owned())]);
        let with_headers = Origin { headers, ..origin("Bearer abc") };
        let shared = with_headers.for_the_cluster();
        assert!(shared.headers.is_empty() && shared.node_only);
        assert!(!format!("{with_headers:?}").contains("hidden"));
        assert_eq!(shared.for_the_cluster(), shared);
    }

    #[test]
    fn a_newer_signature_or_a_credential_for_the_same_place_renews() {
        let signed = |signature| Origin::new(format!("https://b.example/k?X-Amz-Signature={signature}"));
        assert!(signed("b").renews(&signed("a")) && !signed("a").renews(&signed("a")));
        let token = |url: &str| Origin { authorization: Some("Bearer abc".to_owned()), ..Origin::new(url) };
        assert!(token("https://b.example/k").renews(&signed("a")));
        assert!(!token("https://c.example/k").renews(&signed("a")), "another place");
    }

    #[test]
    fn pieces_suit_the_content() {
        assert_eq!(piece_length(Some(1)), PIECE_LENGTH_MIN);
        assert_eq!(piece_length(Some(16 << 20)), 1 << 20);
        assert_eq!(piece_length(Some(1 << 30)), PIECE_LENGTH_USUAL);
        assert_eq!(piece_length(Some(64 << 30)), 16 << 20);
        assert_eq!(piece_length(None), PIECE_LENGTH_USUAL);
        let usual = TaskSpec::new(Origin::new("https://f/x"), None);
        assert!(usual.is_piece_length(PIECE_LENGTH_MIN, Some(1)) && usual.is_piece_length(PIECE_LENGTH_USUAL, Some(1)));
        assert!(!usual.is_piece_length(1, Some(1)) && !usual.is_piece_length(PIECE_LENGTH_MIN, None));
        let cut = TaskSpec::new(Origin { piece_length: Some(1 << 20), ..usual.origin }, None);
        assert_eq!((cut.piece_length(Some(1)), cut.piece_length(None)), (1 << 20, 1 << 20));
        assert!(cut.is_piece_length(1 << 20, Some(1)) && !cut.is_piece_length(PIECE_LENGTH_MIN, Some(1)));
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
