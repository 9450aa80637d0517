//! What a program of this node may ask for, and what of that cannot be.
//!
//! **Invariant.** A request that became a [`TaskSpec`] can be sent to its origin: its headers are headers, its pieces can
//! be cut.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::range::ByteRange;
use crate::rules::Priority;
use crate::task::{Origin, StorageAccess, TaskSpec, is_explicit_piece_length};

/// Longer URLs are refused by most servers.
pub const URL_BYTES_MAX: usize = 8 * 1024;
/// All headers of one request together, names and values.
pub const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// Names of query parameters to filter.
pub const FILTERED_QUERY_PARAMS_MAX: usize = 64;
/// `tag`, `application` and names of query parameters, each.
const NAME_BYTES_MAX: usize = 1024;

/// Headers whose values follow from the request itself, from the connection, or from a field of their own.
const OUR_HEADERS: [&str; 13] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-range",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A program of this node asks for a URL.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateTaskRequest {
    /// `http://`, `https://` or `s3://bucket/key`. Left out for a content that was imported: its digest says which.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Of the whole content, which is not complete before it matches; part of the task's identity, together with the
    /// credentials shown, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Fetch this part alone; an end beyond the content's is the content's. Default: all of it. Not with a digest, which
    /// nothing but the whole can be compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<ByteRange>,
    /// Fetch all of it, although a range is asked for, and also when nobody reads it any more.
    #[serde(default)]
    pub prefetch: bool,
    /// Only peers may give it: nobody asks the origin for this request. What is being fetched already is joined.
    #[serde(default)]
    pub disable_origin: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// 0: as usual. 1: refused. 2: only what the cluster has. 3: this node asks the origin, not a seed peer. 4 to 6: as
    /// usual. Rules of the cluster may say more.
    #[serde(default, skip_serializing_if = "Priority::is_usual")]
    pub priority: Priority,
    /// `Authorization` for the origin; never logged, and only a Bearer token leaves this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
    /// Names of query parameters that say nothing about the content, at most 64; what signs a URL for AWS, Google, OSS,
    /// OBS, COS or Azure never counts. Compared as they are written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filtered_query_params: Vec<String>,
    /// Bytes per piece: a power of two from 262144 to 67108864. Default: it follows from the content's length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece_length: Option<u64>,
    /// Further headers for the origin, 16 KiB in all; never logged, and they never leave this node: it asks the origin
    /// itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// For `s3://` URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageAccess>,
}

/// A program of this node has a file for the cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct ImportTaskRequest {
    /// Of the whole file; with the other fields the task's identity.
    pub digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Bytes per piece: a power of two from 262144 to 67108864. Default: it follows from the file's length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece_length: Option<u64>,
}

/// A program of this node asks what a store has.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ListObjectsRequest {
    /// `s3://bucket/prefix/`.
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageAccess>,
    /// More are an error. Default: 100; at most 100000.
    #[serde(default = "max_objects")]
    pub max_objects: u32,
}

fn max_objects() -> u32 {
    100
}

/// What a store has below a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObjectList {
    pub objects: Vec<ObjectEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObjectEntry {
    /// To create a task of.
    pub url: String,
    /// What follows the prefix. Whoever wrote the object chose it: it may try to lead out of a folder.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_bytes: Option<u64>,
}

/// Which field is wrong, and what it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTask {
    #[error("url is missing, and there is no digest of something imported")]
    NoSource,
    #[error("url is longer than {URL_BYTES_MAX} bytes")]
    LongUrl,
    #[error("range has no byte in it")]
    EmptyRange,
    #[error("range cannot be had with a digest, which only the whole can be compared with")]
    RangeOfDigest,
    #[error("{field} is longer than {NAME_BYTES_MAX} bytes")]
    LongName { field: &'static str },
    #[error("priority 1 is: not to be downloaded")]
    Forbidden,
    #[error("piece_length {0} is not a power of two from 262144 to 67108864")]
    PieceLength(u64),
    #[error("filtered_query_params has more than {FILTERED_QUERY_PARAMS_MAX} names")]
    ManyParams,
    #[error("filtered_query_params has {0:?}, which no parameter can be called")]
    Param(String),
    #[error("headers are longer than {HEADERS_BYTES_MAX} bytes")]
    LongHeaders,
    #[error("headers has {0:?}, which is no name of a header")]
    HeaderName(String),
    /// Without the value: it may be a secret.
    #[error("headers: the value of {0:?} has characters that cannot be sent")]
    HeaderValue(String),
    #[error("headers has {0:?}, which is set by the request itself")]
    OurHeader(String),
}

// === impl ImportTaskRequest ===

impl ImportTaskRequest {
    /// What asks for the same content at any node.
    pub fn to_create(&self) -> CreateTaskRequest {
        CreateTaskRequest {
            digest: Some(self.digest.clone()),
            tag: self.tag.clone(),
            application: self.application.clone(),
            piece_length: self.piece_length,
            ..CreateTaskRequest::default()
        }
    }
}

// === impl CreateTaskRequest ===

impl CreateTaskRequest {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// Everything but where the URL leads, which who asks it decides.
    pub fn into_spec(self) -> Result<TaskSpec, InvalidTask> {
        self.check_source()?;
        for (field, value) in [("tag", &self.tag), ("application", &self.application)] {
            if value.as_ref().is_some_and(|value| value.len() > NAME_BYTES_MAX) {
                return Err(InvalidTask::LongName { field });
            }
        }
        if self.priority == Priority::FORBIDDEN {
            return Err(InvalidTask::Forbidden);
        }
        if let Some(bytes) = self.piece_length.filter(|bytes| !is_explicit_piece_length(*bytes)) {
            return Err(InvalidTask::PieceLength(bytes));
        }
        check_params(&self.filtered_query_params)?;
        let headers = checked_headers(self.headers)?;
        let url = self.storage.as_ref().map_or_else(|| self.url.clone(), |storage| storage.place(&self.url));
        let scope = scope(self.authorization.as_deref(), &headers, self.storage.as_ref());
        let origin = Origin {
            scope,
            authorization: self.authorization,
            tag: self.tag,
            application: self.application,
            priority: self.priority,
            filtered_query_params: self.filtered_query_params,
            piece_length: self.piece_length,
            headers,
            storage: self.storage,
            node_only: self.priority == Priority::NODE_ITSELF,
            peers_only: self.disable_origin || self.priority == Priority::CACHED_ONLY,
            ..Origin::new(url)
        };
        Ok(TaskSpec::for_programs(origin, self.digest))
    }

    fn check_source(&self) -> Result<(), InvalidTask> {
        match self.range {
            _ if self.url.len() > URL_BYTES_MAX => Err(InvalidTask::LongUrl),
            _ if self.url.is_empty() && self.digest.is_none() => Err(InvalidTask::NoSource),
            Some(_) if self.digest.is_some() => Err(InvalidTask::RangeOfDigest),
            Some(range) if range.start >= range.end => Err(InvalidTask::EmptyRange),
            _ => Ok(()),
        }
    }
}

/// What was asked for with a credential is for who has the same one, on any node. A signature in the URL is none: it is
/// another one every time.
fn scope(
    authorization: Option<&str>,
    headers: &BTreeMap<String, String>,
    storage: Option<&StorageAccess>,
) -> Option<String> {
    let keys = storage.filter(|storage| storage.has_keys());
    if authorization.is_none() && headers.is_empty() && keys.is_none() {
        return None;
    }
    let mut hash = Sha256::new();
    let mut field = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    let keys = keys.map(|keys| [&keys.access_key_id, &keys.access_key_secret, &keys.session_token]);
    for text in keys.into_iter().flatten() {
        field(text.as_deref().unwrap_or_default());
    }
    field(authorization.unwrap_or_default());
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        field(text);
    }
    Some(format!("holder {}", hex::encode(hash.finalize())))
}

fn check_params(names: &[String]) -> Result<(), InvalidTask> {
    if names.len() > FILTERED_QUERY_PARAMS_MAX {
        return Err(InvalidTask::ManyParams);
    }
    let impossible =
        |name: &&String| name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(['&', '=', '#', '?']);
    match names.iter().find(impossible) {
        Some(name) => Err(InvalidTask::Param(name.chars().take(100).collect())),
        None => Ok(()),
    }
}

/// Names in lower case, as HTTP compares them (RFC 9110 §5.1).
fn checked_headers(headers: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, InvalidTask> {
    if headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > HEADERS_BYTES_MAX {
        return Err(InvalidTask::LongHeaders);
    }
    let checked = |(name, value): (String, String)| {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(InvalidTask::HeaderName(name.chars().take(100).collect()));
        }
        if !value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
            return Err(InvalidTask::HeaderValue(name));
        }
        let name = name.to_ascii_lowercase();
        if OUR_HEADERS.contains(&name.as_str()) || name.starts_with("proxy-") {
            return Err(InvalidTask::OurHeader(name));
        }
        Ok((name, value))
    };
    headers.into_iter().map(checked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_header(name: &str, value: &str) -> Result<TaskSpec, InvalidTask> {
        let headers = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        CreateTaskRequest { headers, ..CreateTaskRequest::new("https://f/x") }.into_spec()
    }

    #[test]
    fn what_cannot_be_is_named() {
        let request = || CreateTaskRequest::new("https://f/x");
        let refused = |request: CreateTaskRequest| request.into_spec().unwrap_err().to_string();
        assert!(refused(CreateTaskRequest { piece_length: Some(3), ..request() }).contains("piece_length 3"));
        assert!(refused(CreateTaskRequest { priority: Priority::FORBIDDEN, ..request() }).contains("priority 1"));
        assert!(refused(CreateTaskRequest { tag: Some("t".repeat(2000)), ..request() }).contains("tag"));
        assert!(refused(CreateTaskRequest::new("u".repeat(9000))).contains("url"));
        assert!(refused(CreateTaskRequest::new("")).contains("digest"));
        let part = |start, end| Some(ByteRange { start, end });
        assert!(refused(CreateTaskRequest { range: part(5, 5), ..request() }).contains("range"));
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().ok();
        assert!(CreateTaskRequest { digest, url: String::new(), ..request() }.into_spec().is_ok());
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().ok();
        assert!(refused(CreateTaskRequest { digest, range: part(0, 5), ..request() }).contains("digest"));
        let params = |names: Vec<String>| CreateTaskRequest { filtered_query_params: names, ..request() };
        assert!(refused(params(vec!["a=b".to_owned()])).contains("a=b"));
        assert!(refused(params(vec!["a".to_owned(); 65])).contains("64"));
        for (name, value, named) in [
            ("a b", "c", "a b"),
            ("", "c", "name"),
            ("x-a", "b\r\nx-c: d", "x-a"),
            ("Host", "other.example", "host"),
            ("Range", "bytes=0-1", "range"),
            ("Proxy-Authorization", "Basic abc", "proxy-authorization"),
            ("x-a", &"b".repeat(20_000), "16384"),
        ] {
            let refused = with_header(name, value).unwrap_err().to_string();
            assert!(refused.contains(named), "{name}: {refused}");
        }
    }

    #[test]
    fn another_credential_is_another_task() {
        let request = || CreateTaskRequest::new("s3://b/k");
        let keys = |id: &str| StorageAccess { access_key_id: Some(id.to_owned()), ..StorageAccess::default() };
        let header = |value: &str| BTreeMap::from([("x-token".to_owned(), value.to_owned())]);
        let region = StorageAccess { region: Some("r".to_owned()), ..StorageAccess::default() };
        let all = [
            request(),
            CreateTaskRequest { authorization: Some("a".to_owned()), ..request() },
            CreateTaskRequest { authorization: Some("b".to_owned()), ..request() },
            CreateTaskRequest { headers: header("a"), ..request() },
            CreateTaskRequest { headers: header("b"), ..request() },
            CreateTaskRequest { storage: Some(keys("a")), ..request() },
            CreateTaskRequest { storage: Some(keys("b")), ..request() },
        ];
        let id = |request: &CreateTaskRequest| request.clone().into_spec().unwrap().id;
        let ids: std::collections::BTreeSet<_> = all.iter().map(id).collect();
        assert_eq!(ids.len(), all.len());
        assert_eq!(id(&CreateTaskRequest { storage: Some(region), ..request() }), id(&request()));
        let digest = Some(format!("sha256:{}", "ab".repeat(32)).parse().unwrap());
        let shown = CreateTaskRequest { digest: digest.clone(), ..all[1].clone() };
        assert_ne!(id(&shown), id(&CreateTaskRequest { digest, ..request() }));
        assert!(!format!("{:?}", shown.into_spec().unwrap()).contains("authorization: Some(\"a\")"));
    }

    #[test]
    fn names_of_headers_are_lower_case() {
        let spec = with_header("X-Token", "hidden").unwrap();
        assert_eq!(spec.origin.headers.get("x-token").map(String::as_str), Some("hidden"));
        assert!(spec.is_consistent());
    }
}
