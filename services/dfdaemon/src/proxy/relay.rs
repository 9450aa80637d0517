//! One request passed on as it came, and its answer passed back as it comes: nothing is stored, followed or waited for
//! except that something moves.

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use df_api::Code;
use df_http::ApiError;
use df_http::serve::Moved;
use df_peer::Failure;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::Method;
use http::header::HeaderMap;
use url::Url;

use super::{Proxy, forwarded};

pub async fn answer(proxy: &Proxy, request: Request, url: Url) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let headers = forwarded::request_headers(&parts.headers, &proxy.0.via);
    let (moved, idle) = (Moved::now(), proxy.0.idle_timeout);
    let sending = moved.clone();
    let body = (!body.is_end_stream())
        .then(|| reqwest::Body::wrap_stream(body.into_data_stream().inspect(move |_| sending.note())));
    let host = url.host_str().unwrap_or_default().to_owned();
    let answered = tokio::select! {
        answered = ask(proxy, (parts.method, url), headers, body) => answered,
        () = moved.still_for(idle) => Err(silent(&host, idle)),
    };
    Ok(respond(proxy, answered?))
}

/// In turn with all that is asked there, but not kept from asking by a 429 or 503 of an earlier answer: its sender has been
/// told, and knows better. The turn ends with the headers: a body may be one that never does.
pub async fn ask(
    proxy: &Proxy,
    (method, url): (Method, Url),
    headers: HeaderMap,
    body: Option<reqwest::Body>,
) -> Result<reqwest::Response, ApiError> {
    let upstream = proxy.0.peer.upstream();
    let host = url.host_str().unwrap_or_default().to_owned();
    let _turn = upstream.turn(&url).await;
    let answered = upstream.relay(method, url, headers, body).await;
    answered.map_err(|error| unanswered(&host, &Failure::from(error)))
}

pub fn respond(proxy: &Proxy, answer: reqwest::Response) -> Response {
    let (status, idle) = (answer.status(), proxy.0.idle_timeout);
    let headers = forwarded::response_headers(answer.headers(), &proxy.0.via);
    let mut response = Response::new(Body::from_stream(while_moving(answer.bytes_stream(), idle)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

pub fn silent(host: &str, idle: std::time::Duration) -> ApiError {
    ApiError::new(Code::Timeout, format!("{host} has not answered within {idle:?}"))
}

/// The host is named, not the URL: it may hold a secret.
fn unanswered(host: &str, failure: &Failure) -> ApiError {
    match failure {
        Failure::Refused(refused) => ApiError::forbidden(refused),
        failure => ApiError::new(Code::BadGateway, format!("{host}: {failure}")),
    }
}

/// The stream, with an error once it has been silent for so long. Time that the reader takes does not count.
fn while_moving<E>(
    stream: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    idle: std::time::Duration,
) -> impl Stream<Item = Result<Bytes, axum::BoxError>> + Send + 'static
where
    E: Into<axum::BoxError> + 'static,
{
    stream::unfold(Some(Box::pin(stream)), move |stream| async move {
        let mut stream = stream?;
        match tokio::time::timeout(idle, stream.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(stream))),
            Ok(Some(Err(error))) => Some((Err(error.into()), None)),
            Err(late) => Some((Err(late.into()), None)),
        }
    })
}
