//! A request that leaves HTTP by `Upgrade` (RFC 9110 §7.8), as WebSocket does (RFC 6455): passed on to its server, and when
//! that agrees, bytes both ways from then on.

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::response::Response;
use df_api::Code;
use df_http::ApiError;
use df_http::serve::Tunnel;
use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Method, StatusCode};
use url::Url;

use super::{Proxy, forwarded, relay, tunnel};

/// The protocol that a request wants to go on with. Not HTTP/2: inside of that nothing would be seen that is asked.
pub fn wanted(request: &Request) -> Option<HeaderValue> {
    let headers = request.headers();
    let plain = *request.method() == Method::GET && request.body().is_end_stream();
    let protocol = headers.get(UPGRADE).filter(|_| plain && names_upgrade(headers))?;
    let is_http = protocol.to_str().ok()?.split(',').any(|name| {
        let name = name.trim();
        name.eq_ignore_ascii_case("h2c") || name.get(..4).is_some_and(|name| name.eq_ignore_ascii_case("http"))
    });
    (!is_http).then(|| protocol.clone())
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
}

pub async fn answer(
    proxy: &Proxy,
    mut request: Request,
    url: Url,
    protocol: HeaderValue,
) -> Result<Response, ApiError> {
    let mut headers = forwarded::request_headers(request.headers(), &proxy.0.via);
    headers.extend(leaving(protocol));
    let (tunnel, host) = (Tunnel::of(&mut request), url.host_str().unwrap_or_default().to_owned());
    let asking = relay::ask(proxy, (Method::GET, url), headers, None);
    let idle = proxy.0.idle_timeout;
    let answer = tokio::time::timeout(idle, asking).await.map_err(|_| relay::silent(&host, idle))??;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(relay::respond(proxy, answer));
    }
    let mut headers = forwarded::response_headers(answer.headers(), &proxy.0.via);
    let agreed = answer.headers().get(UPGRADE).cloned();
    headers.extend(agreed.map(leaving).into_iter().flatten());
    let other = answer.upgrade().await;
    let other = other.map_err(|error| ApiError::new(Code::BadGateway, format!("{host}: {}", error.without_url())))?;
    tunnel::carry(proxy, tunnel, other, host);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    Ok(response)
}

/// What is between two, and means the next two.
fn leaving(protocol: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("upgrade")), (UPGRADE, protocol)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_get_that_leaves_http_is_an_upgrade() {
        let request = |method: &str, connection: &str, upgrade: &str, body: &'static str| {
            let request = http::Request::builder().method(method).header(CONNECTION, connection);
            let body = if body.is_empty() { Body::empty() } else { Body::from(body) };
            wanted(&request.header(UPGRADE, upgrade).body(body).unwrap()).is_some()
        };
        assert!(request("GET", "keep-alive, Upgrade", "websocket", ""));
        assert!(!request("GET", "keep-alive", "websocket", "") && !request("POST", "upgrade", "websocket", ""));
        assert!(!request("GET", "upgrade", "websocket", "body"));
        for http in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0"] {
            assert!(!request("GET", "upgrade, HTTP2-Settings", http, ""), "{http}");
        }
    }
}
