//! THE tower stack: every server wears it, in this order, so a request looks the same in every log and trace.

use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use df_api::Code;
use http::header::HeaderValue;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_http::HeaderExtractor;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::ApiError;

/// A JSON body larger than this is refused with 413. Piece bytes only ever travel in answers.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

const REQUEST_ID: &str = "x-request-id";

tokio::task_local! {
    static CURRENT_REQUEST_ID: String;
}

/// The id of the request being handled, for error bodies.
pub fn request_id() -> Option<String> {
    CURRENT_REQUEST_ID.try_with(Clone::clone).ok()
}

/// Outermost first: request id and span (so that all below is logged with them), then panics become 500 inside the span,
/// then the body limit. Unknown paths and methods fail like everything else.
pub fn apply(router: Router, component: &'static str) -> Router {
    let router = router
        .fallback(async || ApiError::not_found("no such path; /openapi.json lists those there are"))
        .method_not_allowed_fallback(async || ApiError::new(Code::MethodNotAllowed, "this path takes other methods"));
    wear(router, component)
}

/// As [`apply`], for a router that answers every path itself.
pub fn wear(router: Router, component: &'static str) -> Router {
    router
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(from_fn_with_state(component, observe))
        .layer(from_fn(name_request))
}

/// Takes a sane `X-Request-Id` over or makes one, and gives it back on the response.
async fn name_request(request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let sane = |id: &&str| id.len() <= 100 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let id = given.filter(sane).map(str::to_owned).unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let mut response = CURRENT_REQUEST_ID.scope(id.clone(), next.run(request)).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The server span, child of the caller's `traceparent`, and the request metrics.
///
/// `http.url` is the request target exactly as received: the walk of the project looks a layer up by it in Jaeger.
async fn observe(
    axum::extract::State(component): axum::extract::State<&'static str>,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = request.method().as_str().to_owned();
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        component,
        http.url = %target(&request),
        http.request.method = method,
        http.route = route,
        dragonfly.task_id = tracing::field::Empty,
        request_id = request_id(),
    );
    let caller = opentelemetry::global::get_text_map_propagator(|p| p.extract(&HeaderExtractor(request.headers())));
    if caller.span().span_context().is_valid() {
        // Fails only when no OpenTelemetry layer is installed, and then there is no trace to join.
        let _ = span.set_parent(caller);
    }
    let started = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    // No log line comes after it, and a field of a span is written anew for each that might.
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    let labels = [
        ("component", component.to_owned()),
        ("route", route),
        ("method", method),
        ("status", status.as_str().to_owned()),
    ];
    metrics::counter!("dragonfly_http_requests_total", &labels).increment(1);
    metrics::histogram!("dragonfly_http_request_duration_seconds", "component" => component, "route" => labels[1].1.clone())
        .record(started.elapsed().as_secs_f64());
    response
}

/// Something about the request for its trace, and for no log line.
pub fn annotate(key: &'static str, value: String) {
    tracing::Span::current().set_attribute(key, value);
}

/// What is meant for another server goes without its query and user, which may be secrets of that server; of ours
/// without the values of those parameters by which people hand over secrets, allowed or not.
fn target(request: &Request) -> String {
    let uri = request.uri();
    match (uri.scheme(), uri.host(), uri.path_and_query()) {
        (None, _, Some(target)) => match target.query() {
            Some(query) => format!("{}?{}", target.path(), without_secrets(query)),
            None => target.path().to_owned(),
        },
        (scheme, host, _) => {
            let scheme = scheme.map(|scheme| format!("{scheme}://")).unwrap_or_default();
            let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{scheme}{}{port}{}", host.unwrap_or_default(), uri.path())
        }
    }
}

const SECRET_PARAMETERS: [&str; 8] =
    ["access_token", "token", "jwt", "password", "client_secret", "code", "state", "key"];

fn without_secrets(query: &str) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret)) => {
            format!("{name}=redacted")
        }
        _ => pair.to_owned(),
    };
    query.split('&').map(pair).collect::<Vec<_>>().join("&")
}

fn on_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    ApiError::internal(format!("panic: {}", said.unwrap_or("without a message"))).into_response()
}
