//! Errors as registries write them (distribution-spec, § Error codes): clients quote them to their users.

use axum::Json;
use axum::response::{IntoResponse, Response};
use df_api::dfdaemon::ERROR_TYPE_HEADER;
use df_peer::{Failure, ReadError, UpstreamRefused};
use df_store::StoreError;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, StatusCode};

use super::caller::ACCEPT_BYTES_MAX;
use super::relay::relayed_headers;
use crate::oci::OciPathError;
use crate::wishes::WishError;

/// Why a runtime gets no content here. With any of these it goes on to its next host.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Box<HeaderMap>,
    /// The upstream's own answer, to be given as it is.
    relayed: Option<bytes::Bytes>,
}

/// The body of an error.
pub fn errors(code: &str, message: &str) -> serde_json::Value {
    serde_json::json!({ "errors": [{ "code": code, "message": message }] })
}

/// Whether a body is one that clients read.
pub fn is_errors(body: &[u8]) -> bool {
    let parsed = serde_json::from_slice::<serde_json::Value>(body);
    parsed.is_ok_and(|value| value["errors"].as_array().is_some_and(|errors| !errors.is_empty()))
}

/// The registry's word for a status, about what is at `path`.
pub fn code_of(status: StatusCode, path: &str) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "DENIED",
        StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
        StatusCode::NOT_FOUND if path.contains("/blobs/") => "BLOB_UNKNOWN",
        StatusCode::NOT_FOUND if path.contains("/manifests/") => "MANIFEST_UNKNOWN",
        StatusCode::NOT_FOUND => "NAME_UNKNOWN",
        _ => "UNKNOWN",
    }
}

// === impl Refusal ===

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Box::default(), relayed: None }
    }

    pub fn method(method: &Method) -> Self {
        let message = format!("{method} is not possible through a mirror: push to the registry itself");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }

    pub fn nowhere(path: &str) -> Self {
        let path: String = path.chars().take(300).collect();
        let message = format!("{path} names no registry: use /v2/… with ns=, /v2/<registry>/… or /<registry>/v2/…");
        Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", message)
    }

    /// No registry has accepted it.
    pub fn credential(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
    }

    /// Where to show a password.
    pub fn forgotten(challenge: &Option<HeaderValue>) -> Self {
        let mut refusal = Self::credential("show a credential for the registry, or ask for a token without one");
        refusal.headers.extend(challenge.clone().map(|challenge| (WWW_AUTHENTICATE, challenge)));
        refusal
    }

    pub fn path(error: &OciPathError) -> Self {
        let (status, code) = match error {
            OciPathError::Repository(_) => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            OciPathError::Tag(_) => (StatusCode::BAD_REQUEST, "TAG_INVALID"),
            OciPathError::Digest(_) => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            OciPathError::Unknown(_) => (StatusCode::NOT_FOUND, "UNSUPPORTED"),
        };
        Self::new(status, code, error.to_string())
    }

    pub fn range(error: &df_api::range::RangeError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "RANGE_INVALID", error.to_string())
    }

    pub fn accept() -> Self {
        let message = format!("Accept is longer than {ACCEPT_BYTES_MAX} bytes: name fewer media types");
        Self::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", message)
    }

    pub fn wish(error: &WishError) -> Self {
        let code = if error.status() == StatusCode::FORBIDDEN { "DENIED" } else { "UNSUPPORTED" };
        Self::new(error.status(), code, error.to_string())
    }

    /// For who wants nothing else.
    pub fn not_cached(path: &str) -> Self {
        let message = "X-Dragonfly-Priority is 2, and this is not cached in the cluster";
        Self::new(StatusCode::NOT_FOUND, code_of(StatusCode::NOT_FOUND, path), message)
    }

    pub fn upstream(error: &UpstreamRefused) -> Self {
        let status = match error {
            UpstreamRefused::Malformed(_) => StatusCode::BAD_REQUEST,
            UpstreamRefused::NotAllowed(_) => StatusCode::FORBIDDEN,
        };
        Self::new(status, "DENIED", error.to_string())
    }

    pub fn timeout(registry: &str, message: &str) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "UNAVAILABLE", format!("{registry}: {message}"))
    }

    pub fn storage(error: &StoreError) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            format!("this node cannot store content: {}", df_http::error::chain(error)),
        )
    }

    pub fn failure(registry: &str, failure: &Failure) -> Self {
        let gateway = |message| Self::new(StatusCode::BAD_GATEWAY, "UNAVAILABLE", format!("{registry}: {message}"));
        match failure {
            Failure::Origin { status, headers, body } => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
                // A redirect nobody followed, or a 1xx, would confuse every client; nor is its body one of an error.
                let is_error = status.as_u16() >= 400;
                let status = if is_error { status } else { StatusCode::BAD_GATEWAY };
                let mut headers = Box::new(relayed_headers(headers));
                // The body may have been cut short.
                headers.remove(CONTENT_LENGTH);
                let relayed = Some(body.clone()).filter(|body| is_error && is_errors(body));
                if relayed.is_none() {
                    headers.remove(CONTENT_TYPE);
                }
                Self { headers, relayed, ..Self::new(status, "UNAVAILABLE", failure.to_string()) }
            }
            Failure::Refused(refused) => Self::upstream(refused),
            Failure::Blocked(rule) => Self::new(StatusCode::FORBIDDEN, "DENIED", rule.clone()),
            Failure::Storage(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", format!("this node: {failure}"))
            }
            Failure::Unreachable(_) | Failure::Malformed(_) | Failure::WrongDigest { .. } | Failure::Nobody(_) => {
                gateway(failure.to_string())
            }
        }
    }

    pub fn read(registry: &str, error: &ReadError) -> Self {
        match error {
            ReadError::Failed(failure) => Self::failure(registry, failure),
            ReadError::Timeout(_) | ReadError::Idle => Self::timeout(registry, &error.to_string()),
            ReadError::Unsatisfiable { total } => {
                let mut refusal = Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", error.to_string());
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{total}")) {
                    refusal.headers.insert(CONTENT_RANGE, value);
                }
                refusal
            }
        }
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether this node or its peers failed, and the upstream has said nothing that a client reads.
    pub fn is_ours(&self) -> bool {
        self.status.is_server_error() && self.relayed.is_none()
    }

    /// Whether the upstream could not answer, rather than said no.
    pub fn is_outage(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = (self.status.as_u16(), &self.message);
        match self.status {
            // How every client that shows a password begins.
            StatusCode::UNAUTHORIZED => tracing::debug!(status, code = self.code, message, "a credential is asked for"),
            _ => tracing::info!(status, code = self.code, message, "a runtime is refused"),
        }
        let body = errors(self.code, &self.message);
        let (source, mut response) = match self.relayed {
            Some(body) => ("upstream", body.into_response()),
            None => ("dfdaemon", Json(body).into_response()),
        };
        *response.status_mut() = self.status;
        response.headers_mut().extend(*self.headers);
        response.headers_mut().insert(ERROR_TYPE_HEADER, HeaderValue::from_static(source));
        response
    }
}
