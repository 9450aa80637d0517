//! The one error body: `application/problem+json` (RFC 9457) with a closed list of codes that programs may act on.

use serde::{Deserialize, Serialize};

/// What went wrong, in one body for every operation of every component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Always `about:blank`: the meaning is in `code`.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status, repeated for logs.
    pub status: u16,
    /// For programs.
    pub code: Code,
    /// For people: which value is wrong, and what to do.
    pub detail: String,
    /// The id under which the server logged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Closed list; each has one status (see [`Code::status`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Code {
    InvalidRequest,
    Unauthenticated,
    Forbidden,
    /// A rule of the cluster forbids it: a block list, or a priority. Asking elsewhere would go round it.
    Blocked,
    NotFound,
    MethodNotAllowed,
    ProxyAuthenticationRequired,
    Conflict,
    TooLarge,
    RangeNotSatisfiable,
    Unprocessable,
    TooManyRequests,
    Internal,
    BadGateway,
    Unavailable,
    Timeout,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

// === impl Code ===

impl Code {
    pub const fn status(self) -> u16 {
        match self {
            Code::InvalidRequest => 400,
            Code::Unauthenticated => 401,
            Code::Forbidden | Code::Blocked => 403,
            Code::NotFound => 404,
            Code::MethodNotAllowed => 405,
            Code::ProxyAuthenticationRequired => 407,
            Code::Conflict => 409,
            Code::TooLarge => 413,
            Code::RangeNotSatisfiable => 416,
            Code::Unprocessable => 422,
            Code::TooManyRequests => 429,
            Code::Internal => 500,
            Code::BadGateway => 502,
            Code::Unavailable => 503,
            Code::Timeout => 504,
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Code::InvalidRequest => "Bad Request",
            Code::Unauthenticated => "Unauthorized",
            Code::Forbidden | Code::Blocked => "Forbidden",
            Code::NotFound => "Not Found",
            Code::MethodNotAllowed => "Method Not Allowed",
            Code::ProxyAuthenticationRequired => "Proxy Authentication Required",
            Code::Conflict => "Conflict",
            Code::TooLarge => "Content Too Large",
            Code::RangeNotSatisfiable => "Range Not Satisfiable",
            Code::Unprocessable => "Unprocessable Content",
            Code::TooManyRequests => "Too Many Requests",
            Code::Internal => "Internal Server Error",
            Code::BadGateway => "Bad Gateway",
            Code::Unavailable => "Service Unavailable",
            Code::Timeout => "Gateway Timeout",
        }
    }
}

// === impl Problem ===

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: about_blank(),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: detail.into(),
            request_id: None,
        }
    }
}
