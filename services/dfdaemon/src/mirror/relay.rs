//! One request passed on to the upstream as it came, and its answer passed back as it is.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use df_api::dfdaemon::ERROR_TYPE_HEADER;
use df_peer::Failure;
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName, RANGE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderValue, StatusCode};

use super::Mirror;
use super::caller::Caller;
use super::refusal::Refusal;

/// What a runtime says that an upstream should hear. Everything else stays here: cookies, `X-Dragonfly-*`, hop-by-hop,
/// and conditions, because a 304 is the end of a pull for containerd.
const FORWARDED: [HeaderName; 3] = [ACCEPT, AUTHORIZATION, RANGE];

/// RFC 9110 §7.6.1.
const HOP_BY_HOP: [HeaderName; 5] = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// The upstream's answer, its body not read yet.
pub struct Relayed {
    response: reqwest::Response,
}

/// Asks the upstream; an error only when it did not answer at all.
pub async fn forward(mirror: &Mirror, caller: &Caller) -> Result<Relayed, Refusal> {
    let mut headers = df_client::trace_headers();
    for name in FORWARDED {
        for value in caller.headers.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let sent = mirror.peer.upstream().send(caller.method.clone(), caller.url.clone(), headers);
    let answered = tokio::time::timeout_at(caller.deadline, sent).await;
    match answered {
        // Nobody followed it: without `Location` it is the end of a pull for containerd.
        Ok(Ok(response)) if response.status().is_redirection() => {
            let failure = Failure::Malformed(format!("it answered {} without a way to go on", response.status()));
            Err(Refusal::failure(&caller.registry(), &failure))
        }
        Ok(Ok(response)) => Ok(Relayed { response }),
        Ok(Err(error)) => Err(Refusal::failure(&caller.registry(), &Failure::from(error))),
        Err(_) => Err(Refusal::timeout(&caller.registry(), "the registry does not answer")),
    }
}

/// End-to-end headers of an upstream's answer. Content is never encoded: ranges would count other bytes than ours.
pub fn relayed_headers(upstream: &HeaderMap) -> HeaderMap {
    let mut headers = upstream.clone();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|value| value == "identity") {
        headers.remove(CONTENT_ENCODING);
    }
    headers
}

// === impl Relayed ===

impl Relayed {
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The upstream is there but cannot answer.
    pub fn is_outage(&self) -> bool {
        self.status().is_server_error() || self.status() == StatusCode::TOO_MANY_REQUESTS
    }
}

impl IntoResponse for Relayed {
    fn into_response(self) -> Response {
        let status = self.response.status();
        let headers = relayed_headers(self.response.headers());
        let length = headers.get(CONTENT_LENGTH).cloned();
        let mut response = Response::new(Body::from_stream(self.response.bytes_stream()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if status.is_client_error() || status.is_server_error() {
            response.headers_mut().insert(ERROR_TYPE_HEADER, HeaderValue::from_static("upstream"));
        }
        // A HEAD's length is that of the body a GET would have.
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, length);
        }
        response
    }
}
