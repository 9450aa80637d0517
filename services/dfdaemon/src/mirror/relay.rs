//! One request passed on to the upstream as it came, and its answer passed back as it is. A no that it has just said is
//! said again without asking.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use df_api::dfdaemon::{ERROR_TYPE_HEADER, TagRefusal};
use df_peer::upstream::{TokenServiceDown, Turn, read_at_most, relayed_challenges};
use df_peer::{Failure, retry_after};
use futures_util::StreamExt as _;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, RANGE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderValue, Method, StatusCode};

use super::Mirror;
use super::access::{Proof, Refused};
use super::caller::Caller;
use super::claims;
use super::refusal::{self, Refusal};
use crate::hop_by_hop::end_to_end;

/// What a runtime says that an upstream should hear. Everything else stays here: cookies, `X-Dragonfly-*`, hop-by-hop,
/// and conditions, because a 304 is the end of a pull for containerd.
const FORWARDED: [HeaderName; 3] = [ACCEPT, AUTHORIZATION, RANGE];

/// A no that a seed peer passes on: that the registry is out of order, each node sees for itself.
const TRAVELLING: [StatusCode; 4] =
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS];

/// The body of a no is told up to this size, if it comes within this time.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

/// The upstream's answer, its body not read yet unless it is an error.
pub struct Relayed {
    answer: Answer,
    /// Nobody knows whether a stranger may read: a 401 says nothing.
    token_service_down: bool,
    /// It is of where the registry has sent us, and says nothing of what the registry thinks of the caller.
    elsewhere: bool,
}

enum Answer {
    /// With its turn at the upstream, when there is a body to come.
    Good(reqwest::Response, Option<Turn>),
    Error(Refused),
}

/// Asks the upstream, unless it has just said no to this credential; an error only when it did not answer at all.
/// `repository` is what the answer is about, if it is about one.
pub async fn forward(mirror: &Mirror, caller: &Caller, repository: Option<&str>) -> Result<Relayed, Refusal> {
    let about = repository.unwrap_or_default();
    if let Some(refused) = mirror.access.refusal(&caller.registry(), about, caller.authorization()).await {
        return Ok(Relayed::refused(refused));
    }
    let (response, turn) = ask(mirror, caller).await?;
    let token_service_down = response.extensions().get::<TokenServiceDown>().is_some();
    let elsewhere = is_elsewhere(caller, &response);
    let status = response.status();
    let answer = match status.is_client_error() || status.is_server_error() {
        true => Answer::Error(hear(mirror, caller, about, response).await),
        false => Answer::Good(response, Some(turn).filter(|_| caller.method == Method::GET)),
    };
    if let Answer::Error(refused) = &answer
        && !token_service_down
        && !elsewhere
    {
        remember(mirror, caller, about, status, refused).await;
    }
    Ok(Relayed { answer, token_service_down, elsewhere })
}

/// The no that the registry has just said to this credential, of this repository. A 429 is not one: the seed peer may know
/// more.
pub async fn refused(mirror: &Mirror, caller: &Caller, repository: &str) -> Option<Relayed> {
    let refused = mirror.access.refused(&caller.registry(), repository, caller.authorization()).await?;
    Some(Relayed::refused(refused))
}

/// The no that it has said to the seed peer, for this credential. A challenge is the one that it has said here, to a caller
/// without any; `None` where it has not, just now.
pub async fn take_refusal(mirror: &Mirror, caller: &Caller, repository: &str, told: TagRefusal) -> Option<Relayed> {
    let status = StatusCode::from_u16(told.status).ok().filter(|status| TRAVELLING.contains(status))?;
    let mut headers = HeaderMap::new();
    if status == StatusCode::UNAUTHORIZED {
        caller.authorization()?;
        let stranger = mirror.access.refused(&caller.registry(), repository, None).await?;
        headers = challenged(mirror, caller, repository, &stranger.headers).await;
    }
    if let Some(wait) = &told.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from_str(wait).ok()?);
    }
    let refused = Refused { status, headers, body: Bytes::new() };
    remember(mirror, caller, repository, status, &refused).await;
    Some(Relayed::refused(refused))
}

/// The challenges among `headers`, with why the caller's credential is no good: it was good before, or never.
async fn challenged(mirror: &Mirror, caller: &Caller, repository: &str, headers: &HeaderMap) -> HeaderMap {
    let proof = mirror.access.proof(&caller.registry(), repository, caller.authorization()).await;
    let error = if proof == Proof::None { "insufficient_scope" } else { "invalid_token" };
    let challenges = relayed_challenges(headers, caller.authorization().map(|_| error));
    challenges.into_iter().map(|challenge| (WWW_AUTHENTICATE, challenge)).collect()
}

fn is_elsewhere(caller: &Caller, response: &reqwest::Response) -> bool {
    response.url().origin() != caller.url.origin()
}

async fn ask(mirror: &Mirror, caller: &Caller) -> Result<(reqwest::Response, Turn), Refusal> {
    let mut headers = df_client::trace_headers();
    for name in FORWARDED {
        for value in caller.headers.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let sent = async {
        let upstream = mirror.peer.upstream();
        // A 429 is about who asks: those are remembered by credential.
        let turn = upstream.turn_unless_held(&caller.url, |status| status != 429).await?;
        let response = upstream.send(caller.method.clone(), caller.url.clone(), headers).await?;
        Ok((response, turn))
    };
    match tokio::time::timeout_at(caller.deadline, sent).await {
        // Nobody followed it: without `Location` it is the end of a pull for containerd.
        Ok(Ok((response, _))) if response.status().is_redirection() => {
            let failure = Failure::Malformed(format!("it answered {} without a way to go on", response.status()));
            Err(Refusal::failure(&caller.registry(), &failure))
        }
        Ok(Ok((response, turn))) => match claims::objection(caller.url.path(), response.headers()) {
            Some(objection) if response.status().is_success() => {
                Err(Refusal::failure(&caller.registry(), &Failure::Malformed(objection)))
            }
            _ => Ok((response, turn)),
        },
        Ok(Err(failure)) => Err(Refusal::failure(&caller.registry(), &failure)),
        Err(_) => Err(Refusal::timeout(&caller.registry(), "the registry does not answer")),
    }
}

/// An error as it is told. Of a credential that was good before, the registry's no means that it is so no longer: the
/// runtime shall get a new one.
async fn hear(mirror: &Mirror, caller: &Caller, repository: &str, response: reqwest::Response) -> Refused {
    let mut status = response.status();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        mirror.peer.upstream().heard(response.url(), status, response.headers());
    }
    let mut headers = relayed_headers(response.headers());
    let challenges = challenged(mirror, caller, repository, &headers).await;
    headers.remove(WWW_AUTHENTICATE);
    // Nobody shall show an object store what is meant for the registry.
    if !is_elsewhere(caller, &response) {
        headers.extend(challenges);
    }
    headers.remove(CONTENT_LENGTH);
    // It would show the same password five times more.
    if status == StatusCode::UNAUTHORIZED && caller.shows_password() && caller.is_containerd() {
        status = StatusCode::FORBIDDEN;
    }
    let body = read_at_most(response, REFUSAL_BYTES_MAX, REFUSAL_PATIENCE).await;
    Refused { status, headers, body: body.into() }
}

async fn remember(mirror: &Mirror, caller: &Caller, repository: &str, said: StatusCode, refused: &Refused) {
    let (registry, authorization) = (caller.registry(), caller.authorization());
    // Its password may be about to be replaced.
    if authorization.is_none() && mirror.peer.upstream().has_credential(&caller.url) {
        return;
    }
    match said {
        StatusCode::TOO_MANY_REQUESTS => {
            let wait = retry_after(&refused.headers, SystemTime::now());
            mirror.access.limit(&registry, authorization, wait, refused.clone()).await;
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            mirror.access.refuse(&registry, repository, authorization, refused.clone()).await;
        }
        _ => {}
    }
}

/// End-to-end headers of an upstream's answer. Content is never encoded: ranges would count other bytes than ours.
pub fn relayed_headers(upstream: &HeaderMap) -> HeaderMap {
    let mut headers = end_to_end(upstream);
    if headers.get(CONTENT_ENCODING).is_some_and(|value| value == "identity") {
        headers.remove(CONTENT_ENCODING);
    }
    headers
}

// === impl Relayed ===

impl Relayed {
    fn refused(refused: Refused) -> Self {
        Self { answer: Answer::Error(refused), token_service_down: false, elsewhere: false }
    }

    /// What it says to this credential, whoever shows it.
    pub fn refusal(&self) -> Option<TagRefusal> {
        let Answer::Error(Refused { status, headers, .. }) = &self.answer else { return None };
        let travels = TRAVELLING.contains(status) && !self.token_service_down && !self.elsewhere;
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        travels.then(|| TagRefusal { status: status.as_u16(), retry_after: headers.get(RETRY_AFTER).and_then(text) })
    }

    pub fn status(&self) -> StatusCode {
        match &self.answer {
            Answer::Good(response, _) => response.status(),
            Answer::Error(refused) => refused.status,
        }
    }

    fn headers(&self) -> &HeaderMap {
        match &self.answer {
            Answer::Good(response, _) => response.headers(),
            Answer::Error(refused) => &refused.headers,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The upstream is there but cannot answer, or cannot tell who may read.
    pub fn is_outage(&self) -> bool {
        let status = self.status();
        status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || self.token_service_down
    }

    /// It does not know HEAD: only a GET gets an answer. An object store refuses it when the URL was signed for a GET.
    pub fn wants_get(&self) -> bool {
        match self.status() {
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => true,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.elsewhere,
            _ => false,
        }
    }

    pub fn respond(self, caller: &Caller) -> Response {
        match self.answer {
            Answer::Good(response, turn) => good(response, turn),
            Answer::Error(refused) => refused.respond(caller),
        }
    }
}

fn good(upstream: reqwest::Response, turn: Option<Turn>) -> Response {
    let status = upstream.status();
    let headers = relayed_headers(upstream.headers());
    let length = headers.get(CONTENT_LENGTH).cloned();
    let mut response = Response::new(Body::from_stream(upstream.bytes_stream().inspect(move |_| {
        let _held = &turn;
    })));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    // A HEAD's length is that of the body a GET would have.
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    response
}

// === impl Refused ===

impl Refused {
    /// With words of our own where the registry has none that a client reads: a HEAD gets no body, and what stands before
    /// a registry speaks HTML.
    fn respond(mut self, caller: &Caller) -> Response {
        let own = caller.method != Method::HEAD && !refusal::is_errors(&self.body);
        let mut response = match own {
            true => {
                self.headers.remove(CONTENT_TYPE);
                let message = format!("{} has answered {}", caller.registry(), self.status);
                Json(refusal::errors(refusal::code_of(self.status, caller.url.path()), &message)).into_response()
            }
            false => std::mem::replace(&mut self.body, Bytes::new()).into_response(),
        };
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(ERROR_TYPE_HEADER, HeaderValue::from_static("upstream"));
        response
    }
}
