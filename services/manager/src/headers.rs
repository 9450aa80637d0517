//! What every answer says of how it may be used.
//! **Invariant:** no answer is a page of another site's, is taken for another type than it says, or tells others where it
//! was read. The console has a policy of its own, which runs only its own scripts.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};

/// Of what is no page.
const DATA: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; sandbox",
);
/// Of swagger-ui, whose styles are in its elements.
const DOCS: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
     frame-ancestors 'none'",
);
/// Two years, as browsers want it for their own lists.
const TLS_ONLY: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// `https`: browsers reach the manager that way only.
pub async fn add_headers(State(https): State<bool>, request: Request, next: Next) -> Response {
    let policy = if request.uri().path().starts_with("/docs") { DOCS } else { DATA };
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if https {
        headers.insert(STRICT_TRANSPORT_SECURITY, TLS_ONLY);
    }
    response
}
