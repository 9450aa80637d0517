//! One request to the origin: through the front door or by the shortcut a redirect has shown, judged before its body is
//! believed.
//!
//! **Invariant.** The task's credential goes to its own origin only, never to where that redirects.

mod answer;
mod door;

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use df_api::task::{Origin, TaskSpec};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, IF_RANGE, LOCATION, RANGE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use rustls::CertificateError;
use tokio::time::Instant;
use url::{Position, Url};

pub use answer::retry_after;
pub(crate) use answer::{Asked, Facts, is_same_version};
pub(crate) use door::Door;

use crate::from_origin::RETRY_AFTER_MAX;
use crate::peer::Peer;
use crate::stillness::Stillness;
use crate::task::{Failure, NoOrigin};
use crate::upstream::{StreamPermit, Upstream, UpstreamRefused, read_at_most};
use answer::Reading;

/// An origin that is sending.
pub(crate) struct Answer {
    pub asked: Asked,
    pub facts: Facts,
    pub body: BoxStream<'static, reqwest::Result<Bytes>>,
    /// Held as long as the body is read.
    pub permit: StreamPermit,
}

/// One question, and what is known beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub asked: Asked,
    /// Of the content whose rest is asked for.
    pub validator: Option<String>,
    /// How long the headers may take.
    pub patience: Duration,
}

/// Of a request with headers of its own, which must not go where the redirect leads.
const REDIRECTS_MAX: u32 = 10;
/// Error bodies are relayed up to this size.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
/// And waited for so long.
const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(2);
/// What to do when nobody here knows who signed a certificate.
const STRANGER: &str = ". If its authority is to be trusted, name the file with that, PEM, in upstream.caCerts of dfdaemon, \
     or in SSL_CERT_FILE for dfget without a daemon";

/// Asks; twice at most when a shortcut or the range turns out to be of no use.
pub(crate) async fn open(
    upstream: &Upstream,
    door: &Door,
    spec: &TaskSpec,
    mut question: Question,
    stillness: &Stillness,
) -> Result<Answer, Failure> {
    if let Some(why) = NoOrigin::of(&spec.origin) {
        return Err(Failure::Nobody(why));
    }
    let front = upstream.front(&spec.origin).await?;
    door.set_front(&front);
    let mut shortcut = door.shortcut(Instant::now());
    let wanted = question.asked;
    let mut led = 0;
    loop {
        let url = shortcut.take();
        let short = url.is_some() && led == 0;
        let (url, asked) = (url.unwrap_or_else(|| front.clone()), question.asked);
        let queued = stillness.hold();
        let permit = admit(upstream, &url).await?;
        drop(queued);
        let headers = request_headers(&spec.origin, &front, &url, &question)?;
        let own_headers = !spec.origin.headers.is_empty() && url.origin() == front.origin();
        let sent = send(upstream, &url, (headers, own_headers), question.patience);
        let response = match sent.await {
            Ok(response) => response,
            Err(Failure::Unreachable(why)) if short => {
                tracing::debug!(why, "the place behind the origin is gone; asking the origin itself");
                door.forget();
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let status = response.status();
        if let Some(target) = redirect(&response).filter(|_| led < REDIRECTS_MAX) {
            led += 1;
            shortcut = Some(target);
            continue;
        }
        if !is_content(status, asked) {
            if short && matches!(status.as_u16(), 401 | 403 | 404 | 410 | 500..) {
                door.forget();
                continue;
            }
            return Err(refused(upstream, response).await);
        }
        upstream.origins().succeeded(&url);
        if !short {
            door.remember(&front, response.url(), Instant::now());
        }
        match answer::read(status, response.headers(), asked).map_err(Failure::Malformed)? {
            Reading::AskWhole if asked == Asked::WHOLE => {
                return Err(Failure::Malformed("it gives a part of an unknown whole".to_owned()));
            }
            Reading::AskWhole => question.asked = Asked::WHOLE,
            Reading::Body(facts) => {
                return Ok(Answer { asked: wanted, facts, body: response.bytes_stream().boxed(), permit });
            }
        }
    }
}

// === impl Peer ===

impl Peer {
    /// The entity tag (RFC 9110 §8.8.3) that the origin says with the first byte of a content to who asks so; `None` when
    /// it says none.
    pub async fn entity_tag(&self, spec: &TaskSpec, patience: Duration) -> Result<Option<String>, Failure> {
        let (upstream, stillness) = (self.upstream(), Stillness::default());
        let question = Question { asked: Asked { from: 0, until: Some(1) }, validator: None, patience };
        let answer = open(upstream, &Door::new(upstream.redirect_kept()), spec, question, &stillness).await?;
        Ok(answer.facts.etag)
    }
}

async fn admit(upstream: &Upstream, url: &Url) -> Result<StreamPermit, Failure> {
    upstream.check(url)?;
    let held = upstream.origins().admit(url, RETRY_AFTER_MAX).await;
    held.map_err(|hold| (*hold).into())
}

async fn send(
    upstream: &Upstream,
    url: &Url,
    (headers, straight): (HeaderMap, bool),
    patience: Duration,
) -> Result<reqwest::Response, Failure> {
    let sent = async {
        match straight {
            true => upstream.send_straight(Method::GET, url.clone(), headers).await,
            false => upstream.send(Method::GET, url.clone(), headers).await,
        }
    };
    match tokio::time::timeout(patience, sent).await {
        Ok(response) => Ok(response?),
        Err(_) => Err(Failure::Unreachable(format!("no answer within {patience:?}"))),
    }
}

fn is_content(status: StatusCode, asked: Asked) -> bool {
    match status {
        StatusCode::OK => true,
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => asked.to_header().is_some(),
        _ => false,
    }
}

/// An object store's own word for what is wrong, such as ` (NoSuchKey)`; nothing when it has none. Not its message: that
/// may say more of the request than a log should.
pub(crate) fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let code = text.split_once("<Error").and_then(|(_, rest)| rest.split_once("<Code>")?.1.split_once("</Code>"));
    let word = |code: &&str| !code.is_empty() && code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric());
    code.map(|(code, _)| code).filter(word).map_or_else(String::new, |code| format!(" ({code})"))
}

/// How long the origin wants to be left alone, when it said so.
pub(crate) fn wait_asked_for(failure: &Failure) -> Option<Duration> {
    let Failure::Origin { headers, .. } = failure else { return None };
    retry_after(headers, SystemTime::now())
}

fn request_headers(origin: &Origin, front: &Url, url: &Url, question: &Question) -> Result<HeaderMap, Failure> {
    let mut headers = df_client::trace_headers();
    let at_home = url.origin() == front.origin();
    for (name, value) in origin.headers.iter().filter(|_| at_home) {
        headers.extend([header(name, value, true)?]);
    }
    // A body compressed on the way would be stored as if it were the content.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let authorization = origin.authorization.clone().filter(|_| at_home);
    let range = question.asked.to_header();
    let validator = question.validator.as_deref().and_then(answer::if_range).map(str::to_owned);
    // RFC 9110 §13.1.5: without `Range` there is no `If-Range`.
    let if_range = validator.filter(|_| range.is_some());
    let given = [(AUTHORIZATION, authorization), (ACCEPT, origin.accept.clone()), (RANGE, range), (IF_RANGE, if_range)];
    for (name, value) in given {
        if let Some(value) = value {
            headers.extend([header(name.as_str(), &value, name == AUTHORIZATION)?]);
        }
    }
    Ok(headers)
}

/// Where a client that follows nothing is sent.
fn redirect(response: &reqwest::Response) -> Option<Url> {
    let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection())?;
    response.url().join(location.to_str().ok()?).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

fn header(name: &str, value: &str, secret: bool) -> Result<(HeaderName, HeaderValue), Failure> {
    let wrong = || Failure::Malformed(format!("header {name}"));
    let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
    value.set_sensitive(secret);
    Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value))
}

/// The origin's no, for the caller; and for all tasks, when it wants to be left alone.
async fn refused(upstream: &Upstream, response: reqwest::Response) -> Failure {
    let (status, headers) = (response.status().as_u16(), Box::new(response.headers().clone()));
    upstream.heard(response.url(), response.status(), &headers);
    let body = read_at_most(response, ERROR_BODY_BYTES_MAX, ERROR_BODY_PATIENCE).await;
    Failure::Origin { status, headers, body: body.into() }
}

/// With the host alone of its URL, which may carry a signature. What the allow-list stopped on the way, at a redirect or a
/// name's addresses, stays a refusal.
pub fn unreachable(error: reqwest::Error) -> Failure {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(refused) = current.downcast_ref::<UpstreamRefused>() {
            return Failure::Refused(refused.clone());
        }
        cause = current.source();
    }
    let host =
        error.url().map_or_else(String::new, |url| format!("{}: ", &url[Position::BeforeHost..Position::AfterPort]));
    let help = if is_signed_by_a_stranger(&error) { STRANGER } else { "" };
    Failure::Unreachable(format!("{host}{}{help}", df_http::error::chain(&error.without_url())))
}

/// Whether a certificate was refused because of who signed it.
fn is_signed_by_a_stranger(error: &(dyn StdError + 'static)) -> bool {
    // The latter of an authority that has made itself anew, under the name of one that is known.
    let unknown =
        [CertificateError::UnknownIssuer, CertificateError::BadSignature].map(rustls::Error::InvalidCertificate);
    // What an `io::Error` holds is not its source, but itself.
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.downcast_ref::<rustls::Error>().is_some_and(|error| unknown.contains(error))
        || held.is_some_and(|held| is_signed_by_a_stranger(held))
        || error.source().is_some_and(is_signed_by_a_stranger)
}
