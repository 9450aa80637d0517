//! What the fake origin serves under one name, how it misbehaves while doing so, and what it saw.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::bytes::sha256_hex;
use crate::wire::Cut;

/// Bytes with a behaviour. Without any switch: what a good origin does (`Content-Length`, ranges, `ETag`, 304).
#[derive(Clone, Debug)]
pub struct Content {
    pub(crate) body: Bytes,
    pub(crate) etag: String,
    pub(crate) headers: HeaderMap,
    pub(crate) ranges: bool,
    pub(crate) length: bool,
    pub(crate) bytes_per_second: Option<u64>,
    pub(crate) first_byte_delay: Duration,
    pub(crate) hold: Option<Range<u64>>,
    pub(crate) cut: Option<Times<(u64, Cut)>>,
    pub(crate) stall: Option<Times<u64>>,
    pub(crate) claimed_length: Option<u64>,
    pub(crate) status: Option<Times<(u16, Option<String>)>>,
    pub(crate) wrong_bytes: u32,
    pub(crate) access: Option<Access>,
    pub(crate) redirect: Option<String>,
    pub(crate) instead: Vec<Instead>,
}

/// A fault and how many more answers have it.
#[derive(Clone, Debug)]
pub(crate) struct Times<T> {
    pub(crate) left: u32,
    pub(crate) fault: T,
}

#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) authorization: String,
    pub(crate) challenge: String,
}

/// Another content, for who names a form of it.
#[derive(Clone, Debug)]
pub(crate) struct Instead {
    pub(crate) header: HeaderName,
    pub(crate) form: String,
    pub(crate) name: String,
}

/// What was asked for one name, since it was put.
#[derive(Clone, Debug, Default)]
pub struct ContentStats {
    /// Requests of any method, refused ones too.
    pub requests: u64,
    /// Those of them with method HEAD.
    pub heads: u64,
    /// Body bytes handed to connections; what a reader that hung up never read of them is at most a socket buffer.
    /// Bodies of error answers do not count.
    pub bytes: u64,
    /// The `Range` of each request that had one, as sent.
    pub ranges: Vec<String>,
    /// The `Authorization` of each request that had one, as sent.
    pub authorizations: Vec<String>,
    /// All headers of each request, in order of arrival.
    pub headers: Vec<HeaderMap>,
    /// Answers being sent now, and the most there were at a time.
    pub active: u64,
    pub most_active: u64,
}

// === impl Content ===

impl Content {
    pub fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self {
            etag: format!("\"{}\"", &sha256_hex(&body)[..16]),
            body,
            headers: HeaderMap::new(),
            ranges: true,
            length: true,
            bytes_per_second: None,
            first_byte_delay: Duration::ZERO,
            hold: None,
            cut: None,
            stall: None,
            claimed_length: None,
            status: None,
            wrong_bytes: 0,
            access: None,
            redirect: None,
            instead: Vec::new(),
        }
    }

    /// A header of every good answer; `content-type`, mostly.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        // A test that sets a header with a line break finds it missing.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Every GET is answered 200 with the whole.
    pub fn without_ranges(mut self) -> Self {
        self.ranges = false;
        self
    }

    /// `Transfer-Encoding: chunked`, and no length on HEAD either.
    pub fn without_length(mut self) -> Self {
        self.length = false;
        self
    }

    /// All answers for this content together are no faster.
    pub fn rate(mut self, bytes_per_second: u64) -> Self {
        self.bytes_per_second = Some(bytes_per_second);
        self
    }

    /// Silence before the headers.
    pub fn first_byte_delay(mut self, delay: Duration) -> Self {
        self.first_byte_delay = delay;
        self
    }

    /// Bytes from `offset` of the content on are held back (headers are not) until
    /// [`crate::FakeOrigin::release`]. A test that holds need not guess how long something takes.
    pub fn hold_at(mut self, offset: u64) -> Self {
        self.hold = Some(offset..u64::MAX);
        self
    }

    /// As [`Content::hold_at`], of bytes in this range only.
    pub fn hold_between(mut self, range: Range<u64>) -> Self {
        self.hold = Some(range);
        self
    }

    /// The first `times` answers longer than `after_bytes` of body end there.
    pub fn cut_first(mut self, times: u32, after_bytes: u64, how: Cut) -> Self {
        self.cut = Some(Times { left: times, fault: (after_bytes, how) });
        self
    }

    /// The first `times` answers longer than `after_bytes` of body fall silent there, for ever.
    pub fn stall_first(mut self, times: u32, after_bytes: u64) -> Self {
        self.stall = Some(Times { left: times, fault: after_bytes });
        self
    }

    /// Parts say that the whole is this long, whatever it is.
    pub fn claim_length(mut self, length: u64) -> Self {
        self.claimed_length = Some(length);
        self
    }

    /// The first `times` requests get this status; 429 and 503 with `retry_after` when given.
    pub fn status_first(mut self, times: u32, status: u16, retry_after: Option<&str>) -> Self {
        self.status = Some(Times { left: times, fault: (status, retry_after.map(str::to_owned)) });
        self
    }

    /// The first `times` answers with a body have their first byte flipped; length and headers agree with the good ones.
    pub fn wrong_bytes_first(mut self, times: u32) -> Self {
        self.wrong_bytes = times;
        self
    }

    /// 401 with `challenge` as `WWW-Authenticate` unless `Authorization` is exactly this.
    pub fn require_authorization(mut self, authorization: &str, challenge: &str) -> Self {
        self.access = Some(Access { authorization: authorization.to_owned(), challenge: challenge.to_owned() });
        self
    }

    /// 307 to `location`: an absolute URL, or another name with `/` before it.
    pub fn redirect_to(mut self, location: &str) -> Self {
        self.redirect = Some(location.to_owned());
        self
    }

    /// Who names `form` in `header`, `Accept` or its like, gets what is under `name`; it is counted here.
    pub fn instead(mut self, header: HeaderName, form: &str, name: &str) -> Self {
        self.instead.push(Instead { header, form: form.to_owned(), name: name.to_owned() });
        self
    }
}

// === impl Times ===

impl<T: Clone> Times<T> {
    pub(crate) fn take(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        Some(self.fault.clone())
    }
}
