//! From a request and a [`Content`](crate::Content) to the answer, faults included. Written against RFC 9110 and not
//! with the ranges of `df-api`: those are among what is tested.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, LOCATION,
    RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};

use crate::content::{Content, Instead};
use crate::origin::{Entry, Shelf, State};
use crate::wire::{Cut, WireControl};

/// Small enough that rates and cuts are smooth, large enough not to be slow.
const CHUNK_BYTES: u64 = 16 << 10;

pub(crate) type Answer = Response<BoxBody<Bytes, std::io::Error>>;

/// What one GET asks of the content.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

/// The body being sent: the absolute position in the content, and the faults of this answer.
struct Sending {
    entry: Arc<Entry>,
    control: Arc<WireControl>,
    body: Bytes,
    at: u64,
    end: u64,
    cut: Option<(u64, Cut)>,
    stall_at: Option<u64>,
    flip: bool,
    hold: Option<Range<u64>>,
    bytes_per_second: Option<u64>,
}

pub(crate) async fn answer(shelf: &Shelf, control: Arc<WireControl>, request: Request<Incoming>) -> Answer {
    let name = request.uri().path().trim_start_matches('/').to_owned();
    let Some(entry) = shelf.find(&name) else { return refuse(StatusCode::NOT_FOUND, &name) };
    let delay = see(&entry, request.method(), request.headers());
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let entry = negotiated(shelf, entry, request.headers());
    let mut state = entry.state();
    if let Some(refusal) = early_answer(&mut state, &name, &request) {
        return refusal;
    }
    let head = *request.method() == Method::HEAD;
    let length = state.content.body.len() as u64;
    let asked = if head { Asked::Whole } else { asked(&state.content, request.headers()) };
    let (status, part) = match asked {
        Asked::Whole => (StatusCode::OK, 0..length),
        Asked::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Asked::Unsatisfiable => {
            let mut refusal = refuse(StatusCode::RANGE_NOT_SATISFIABLE, &name);
            set(&mut refusal, CONTENT_RANGE, &format!("bytes */{length}"));
            return refusal;
        }
    };
    let sending = (!head).then(|| Sending::new(&entry, &mut state, control, part.clone()));
    let mut response = Response::new(sending.map_or_else(empty, Sending::into_body));
    *response.status_mut() = status;
    describe(&mut response, &state.content, &part, length);
    response
}

/// RFC 9110 §12, with what is taken least as good as what is taken most; not for `*/*`.
fn negotiated(shelf: &Shelf, entry: Arc<Entry>, headers: &HeaderMap) -> Arc<Entry> {
    let named = |instead: &&Instead| {
        let lines = headers.get_all(&instead.header).iter().filter_map(|line| line.to_str().ok());
        let mut forms = lines.flat_map(|line| line.split(',')).map(|form| form.split(';').next().unwrap_or_default());
        forms.any(|form| form.trim() == instead.form)
    };
    let other = entry.state().content.instead.iter().find(named).and_then(|instead| shelf.find(&instead.name));
    other.unwrap_or(entry)
}

/// Counts the request; returns how long to keep silent.
fn see(entry: &Entry, method: &Method, headers: &HeaderMap) -> Duration {
    let mut state = entry.state();
    let stats = &mut state.stats;
    stats.requests += 1;
    stats.heads += u64::from(*method == Method::HEAD);
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    stats.ranges.extend(headers.get(RANGE).map(text));
    stats.authorizations.extend(headers.get(AUTHORIZATION).map(text));
    stats.headers.push(headers.clone());
    state.content.first_byte_delay
}

/// The answers that carry no byte of the content.
fn early_answer(state: &mut State, name: &str, request: &Request<Incoming>) -> Option<Answer> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some(refuse(StatusCode::METHOD_NOT_ALLOWED, name));
    }
    let content = &mut state.content;
    if let Some((status, retry_after)) = content.status.as_mut().and_then(|times| times.take()) {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut refusal = refuse(status, name);
        if let Some(retry_after) = retry_after {
            set(&mut refusal, RETRY_AFTER, &retry_after);
        }
        return Some(refusal);
    }
    let headers = request.headers();
    if let Some(access) = &content.access
        && headers.get(AUTHORIZATION).is_none_or(|given| given != access.authorization.as_str())
    {
        let mut refusal = refuse(StatusCode::UNAUTHORIZED, name);
        set(&mut refusal, WWW_AUTHENTICATE, &access.challenge);
        return Some(refusal);
    }
    if let Some(location) = &content.redirect {
        let mut redirect = refuse(StatusCode::TEMPORARY_REDIRECT, name);
        set(&mut redirect, LOCATION, location);
        return Some(redirect);
    }
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known == content.etag.as_str()) {
        let mut unchanged = Response::new(empty());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        set(&mut unchanged, ETAG, &content.etag);
        return Some(unchanged);
    }
    None
}

/// RFC 9110 §14.2: what is malformed, several ranges, or of another version is answered with the whole.
fn asked(content: &Content, headers: &HeaderMap) -> Asked {
    if !content.ranges || headers.get(IF_RANGE).is_some_and(|known| known != content.etag.as_str()) {
        return Asked::Whole;
    }
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("bytes="));
    range.map_or(Asked::Whole, |range| one_range(range, content.body.len() as u64))
}

fn one_range(range: &str, length: u64) -> Asked {
    let Some((first, last)) = range.split_once('-') else { return Asked::Whole };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => Asked::Whole,
        (Ok(first), _) if first >= length && (last.is_empty() || last.parse::<u64>().is_ok()) => Asked::Unsatisfiable,
        (Ok(first), Ok(last)) => Asked::Part(first..length.min(last.saturating_add(1))),
        (Ok(first), Err(_)) if last.is_empty() => Asked::Part(first..length),
        (Err(_), Ok(0)) if first.is_empty() => Asked::Unsatisfiable,
        (Err(_), Ok(suffix)) if first.is_empty() && length > 0 => Asked::Part(length.saturating_sub(suffix)..length),
        _ => Asked::Whole,
    }
}

fn describe(response: &mut Answer, content: &Content, part: &Range<u64>, length: u64) {
    set(response, ETAG, &content.etag);
    set(response, CONTENT_TYPE, "application/octet-stream");
    if content.ranges {
        set(response, ACCEPT_RANGES, "bytes");
    }
    if content.length {
        set(response, CONTENT_LENGTH, &(part.end - part.start).to_string());
    }
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let total = content.claimed_length.unwrap_or(length);
        set(response, CONTENT_RANGE, &format!("bytes {}-{}/{total}", part.start, part.end - 1));
    }
    response.headers_mut().extend(content.headers.clone());
}

/// The body of the OCI distribution spec's errors under `/v2/`, a line of text elsewhere.
fn refuse(status: StatusCode, name: &str) -> Answer {
    let reason = status.canonical_reason().unwrap_or("refused");
    let (kind, body) = if name.starts_with("v2/") {
        let code = reason.to_uppercase().replace(' ', "_");
        let errors = serde_json::json!({ "errors": [{ "code": code, "message": name }] });
        ("application/json", errors.to_string())
    } else {
        ("text/plain", format!("{reason}: {name}\n"))
    };
    let mut response = Response::new(Full::from(body).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, kind);
    response
}

fn set(response: &mut Answer, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn empty() -> BoxBody<Bytes, std::io::Error> {
    Full::default().map_err(|never| match never {}).boxed()
}

// === impl Sending ===

impl Sending {
    fn new(entry: &Arc<Entry>, state: &mut State, control: Arc<WireControl>, part: Range<u64>) -> Self {
        let content = &mut state.content;
        let sent = part.end - part.start;
        let cut = match &mut content.cut {
            Some(times) if times.fault.0 < sent => times.take().map(|(after, how)| (part.start + after, how)),
            _ => None,
        };
        let stall_at = match &mut content.stall {
            Some(times) if times.fault < sent => times.take().map(|after| part.start + after),
            _ => None,
        };
        let flip = content.wrong_bytes > 0 && sent > 0;
        content.wrong_bytes -= u32::from(flip);
        state.stats.active += 1;
        state.stats.most_active = state.stats.most_active.max(state.stats.active);
        Self {
            entry: entry.clone(),
            control,
            body: state.content.body.clone(),
            at: part.start,
            end: part.end,
            cut,
            stall_at,
            flip,
            hold: state.content.hold.clone(),
            bytes_per_second: state.content.bytes_per_second,
        }
    }

    fn into_body(self) -> BoxBody<Bytes, std::io::Error> {
        let frames = stream::try_unfold(self, |mut sending| async move {
            Ok(sending.next().await?.map(|bytes| (Frame::data(bytes), sending)))
        });
        BodyExt::boxed(StreamBody::new(frames))
    }

    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        if let Some((at, how)) = self.cut
            && at == self.at
        {
            // The headers, at least, have left by then; and hyper would drop what it still holds.
            self.control.flushed().await;
            if how == Cut::Reset {
                self.control.reset_at_end();
            }
            return Err(std::io::Error::other("cut on request"));
        }
        if self.at == self.end {
            return Ok(None);
        }
        if self.stall_at == Some(self.at) {
            return std::future::pending().await;
        }
        if self.hold.as_ref().is_some_and(|hold| hold.contains(&self.at)) {
            // Fails only when the sender is gone, and the entry is held here.
            let _ = self.entry.released.subscribe().wait_for(|released| *released).await;
        }
        let hold_at = self.hold.as_ref().map(|hold| hold.start);
        let stops = [Some(self.end), self.cut.map(|(at, _)| at), hold_at, self.stall_at];
        let stop = stops.into_iter().flatten().filter(|stop| *stop > self.at).fold(self.end, u64::min);
        let to = stop.min(self.at + CHUNK_BYTES);
        let mut chunk = self.body.slice(self.at as usize..to as usize);
        if std::mem::take(&mut self.flip) {
            let mut wrong = chunk.to_vec();
            wrong[0] ^= 0xff;
            chunk = wrong.into();
        }
        if let Some(bytes_per_second) = self.bytes_per_second {
            self.entry.pace.pass(chunk.len(), bytes_per_second).await;
        }
        self.at = to;
        self.entry.state().stats.bytes += chunk.len() as u64;
        Ok(Some(chunk))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.entry.state().stats.active -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_rfc_9110() {
        for (range, expected) in [
            ("0-0", Asked::Part(0..1)),
            ("5-", Asked::Part(5..10)),
            ("5-99", Asked::Part(5..10)),
            ("-3", Asked::Part(7..10)),
            ("-99", Asked::Part(0..10)),
            ("10-", Asked::Unsatisfiable),
            ("10-12", Asked::Unsatisfiable),
            ("-0", Asked::Unsatisfiable),
            ("5-4", Asked::Whole),
            ("0-1,3-4", Asked::Whole),
            ("x-", Asked::Whole),
            ("10-x", Asked::Whole),
            ("-", Asked::Whole),
        ] {
            assert_eq!(one_range(range, 10), expected, "{range}");
        }
        assert_eq!(one_range("-3", 0), Asked::Whole);
        assert_eq!(one_range("0-", 0), Asked::Unsatisfiable);
    }
}
