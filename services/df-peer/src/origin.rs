//! One request to the origin: what it says of the content, and its bytes from a given offset on.

use bytes::Bytes;
use df_api::task::{Origin, TaskSpec, piece_length};
use df_api::{ContentRange, Digest};
use df_store::Meta;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, RANGE, RETRY_AFTER,
};
use http::{HeaderValue, StatusCode};
use url::Url;

use crate::task::Failure;
use crate::upstream::{Upstream, UpstreamRefused};

/// An origin that is sending.
pub(crate) struct Answer {
    pub meta: Meta,
    /// Offset of the body's first byte: what was asked for, or 0 from an origin that knows no ranges.
    pub start: u64,
    /// Its ETag, to notice when the content changes.
    pub version: Option<HeaderValue>,
    pub body: BoxStream<'static, reqwest::Result<Bytes>>,
}

/// Error bodies are relayed up to this size.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// Asks for the content from `from` on.
pub(crate) async fn open(upstream: &Upstream, spec: &TaskSpec, from: u64) -> Result<Answer, Failure> {
    let url = Url::parse(&spec.origin.url).map_err(|_| UpstreamRefused::Malformed(spec.origin.url.clone()))?;
    upstream.check(&url)?;
    let mut request = upstream.http().get(url).headers(request_headers(&spec.origin)?);
    if from > 0 {
        request = request.header(RANGE, format!("bytes={from}-"));
    }
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return Err(refused(response).await);
    }
    let (meta, start) = describe(status, response.headers(), spec.digest.clone(), from)?;
    let version = response.headers().get(ETAG).cloned();
    Ok(Answer { meta, start, version, body: response.bytes_stream().boxed() })
}

/// Whether asking again may help.
pub(crate) fn may_retry(failure: &Failure) -> bool {
    match failure {
        Failure::Origin { status, .. } => matches!(status, 408 | 429 | 500..),
        Failure::Unreachable(_) => true,
        _ => false,
    }
}

/// `Retry-After` in seconds, when the origin said so.
pub(crate) fn retry_after(failure: &Failure) -> Option<u64> {
    let Failure::Origin { headers, .. } = failure else { return None };
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

fn request_headers(origin: &Origin) -> Result<HeaderMap, Failure> {
    let mut headers = df_client::trace_headers();
    // A body compressed on the way would be stored as if it were the content.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let given = [(AUTHORIZATION, &origin.authorization), (ACCEPT, &origin.accept)];
    for (name, value) in given {
        if let Some(value) = value {
            let value = HeaderValue::from_str(value).map_err(|_| Failure::Malformed(format!("header {name}")))?;
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

fn describe(
    status: StatusCode,
    headers: &HeaderMap,
    digest: Option<Digest>,
    from: u64,
) -> Result<(Meta, u64), Failure> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Failure::Malformed("it is compressed although identity was asked for".to_owned()));
    }
    let (length, start) = if status == StatusCode::PARTIAL_CONTENT {
        let value = text(CONTENT_RANGE).unwrap_or_default();
        let range: ContentRange = value.parse().map_err(|error| Failure::Malformed(format!("{error}")))?;
        if range.range.is_none_or(|range| range.start != from) {
            return Err(Failure::Malformed(format!("asked from byte {from}, answered {value:?}")));
        }
        (range.total, from)
    } else {
        (text(CONTENT_LENGTH).and_then(|length| length.parse().ok()), 0)
    };
    let content_type = text(CONTENT_TYPE).map(str::to_owned);
    Ok((Meta { length, piece_length: piece_length(length), content_type, digest }, start))
}

async fn refused(response: reqwest::Response) -> Failure {
    let (status, headers) = (response.status().as_u16(), Box::new(response.headers().clone()));
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await
        && body.len() + chunk.len() <= ERROR_BODY_BYTES_MAX
    {
        body.extend_from_slice(&chunk);
    }
    Failure::Origin { status, headers, body: body.into() }
}

/// Without the URL: it may carry a signature. What the allow-list stopped on the way, at a redirect or a name's
/// addresses, stays a refusal.
pub fn unreachable(error: reqwest::Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(refused) = current.downcast_ref::<UpstreamRefused>() {
            return Failure::Refused(refused.clone());
        }
        cause = current.source();
    }
    Failure::Unreachable(df_http::error::chain(&error.without_url()))
}
