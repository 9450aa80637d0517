//! Failure → response, in one place. The message is for the caller, the cause is for the log, and it is logged here, once.

use std::error::Error as StdError;

use axum::Json;
use axum::response::{IntoResponse, Response};
use df_api::{Code, Problem};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

use crate::layers::request_id;

type Cause = Box<dyn StdError + Send + Sync>;

/// What a handler returns when it cannot do what was asked.
#[derive(Debug)]
pub struct ApiError {
    problem: Box<Problem>,
    cause: Option<Cause>,
    headers: HeaderMap,
}

/// Declares [`Problem`] as the `default` response: every operation lists it.
pub struct Problems;

// === impl ApiError ===

impl ApiError {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(code, detail)), cause: None, headers: HeaderMap::new() }
    }

    pub fn invalid(detail: impl std::fmt::Display) -> Self {
        Self::new(Code::InvalidRequest, detail.to_string())
    }

    pub fn unprocessable(detail: impl std::fmt::Display) -> Self {
        Self::new(Code::Unprocessable, detail.to_string())
    }

    pub fn unauthenticated(detail: impl std::fmt::Display) -> Self {
        let challenge = HeaderValue::from_static("Bearer");
        Self::new(Code::Unauthenticated, detail.to_string()).with_header(http::header::WWW_AUTHENTICATE, challenge)
    }

    pub fn forbidden(detail: impl std::fmt::Display) -> Self {
        Self::new(Code::Forbidden, detail.to_string())
    }

    pub fn not_found(detail: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, detail.to_string())
    }

    /// The caller learns nothing of the cause; the log does.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::new(Code::Internal, "something went wrong here; the server's log has it under this request id")
            .with_cause(cause)
    }

    pub fn with_cause(mut self, cause: impl Into<Cause>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub fn code(&self) -> Code {
        self.problem.code
    }

    pub fn detail(&self) -> &str {
        &self.problem.detail
    }

    /// For an answer in which it is one of several; logged as one of its own would be.
    pub fn into_problem(mut self) -> Problem {
        self.log();
        self.problem.request_id = request_id();
        *self.problem
    }

    fn log(&self) {
        let cause = self.cause.as_deref().map(|cause| chain(cause)).unwrap_or_default();
        let (status, detail) = (self.problem.status, &self.problem.detail);
        match status {
            500.. => tracing::error!(status, detail, cause, "request failed"),
            _ => tracing::debug!(status, detail, cause, "request refused"),
        }
    }
}

/// A cause and all below it, on one line.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

impl IntoResponse for ApiError {
    fn into_response(mut self) -> Response {
        self.log();
        self.problem.request_id = request_id();
        let status = http::StatusCode::from_u16(self.problem.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.headers, Json(&self.problem)).into_response();
        // For layers around: the audit log keeps why.
        response.extensions_mut().insert(*self.problem);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.problem.status, self.problem.title, self.problem.detail)
    }
}

impl StdError for ApiError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

// === impl Problems ===

impl utoipa::IntoResponses for Problems {
    fn responses() -> std::collections::BTreeMap<String, RefOr<utoipa::openapi::response::Response>> {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new()
            .description("What is wrong with which value, and what to do")
            .content("application/problem+json", content)
            .build();
        [("default".to_owned(), RefOr::T(response))].into()
    }
}
