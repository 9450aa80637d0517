//! What an origin's status and headers say of the content: pure. What does not fit what was asked is refused here,
//! before a byte of the body is believed.

use std::time::{Duration, SystemTime};

use df_api::ContentRange;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, LAST_MODIFIED, RETRY_AFTER,
};
use http::{HeaderName, StatusCode};

/// The bytes one request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub from: u64,
    /// `None`: to the end, wherever that is.
    pub until: Option<u64>,
}

/// What a good answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Of the whole content.
    pub length: Option<u64>,
    /// Offset of the body's first byte: what was asked for, or 0 when the range was ignored.
    pub start: u64,
    /// Where the body must end, when it says so.
    pub end: Option<u64>,
    /// It understands ranges.
    pub ranges: bool,
    pub content_type: Option<String>,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// How to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Body(Facts),
    /// It cannot say what the range is a part of: ask for the whole.
    AskWhole,
}

// === impl Asked ===

impl Asked {
    pub const WHOLE: Self = Self { from: 0, until: None };

    /// The value of `Range`; none for the whole.
    pub fn to_header(self) -> Option<String> {
        match (self.from, self.until) {
            (0, None) => None,
            (from, None) => Some(format!("bytes={from}-")),
            (from, Some(until)) => Some(format!("bytes={from}-{}", until.saturating_sub(1))),
        }
    }
}

// === impl Facts ===

impl Facts {
    /// What tells versions of the content apart: `ETag`, else `Last-Modified`.
    pub fn validator(&self) -> Option<&str> {
        self.etag.as_deref().or(self.last_modified.as_deref())
    }

    /// Whether this may be the content that `known` is the validator of. An answer that does not say counts as yes: its
    /// length is compared besides.
    pub fn is_version(&self, known: &str) -> bool {
        let is_tag = known.starts_with('"') || known.starts_with("W/");
        let given = if is_tag { &self.etag } else { &self.last_modified };
        given.as_deref().is_none_or(|given| is_same_version(given, known))
    }
}

/// RFC 9110 §8.8.3.2: the weak comparison.
pub fn is_same_version(one: &str, other: &str) -> bool {
    weakly(one) == weakly(other)
}

fn weakly(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// RFC 9110 §13.1.5: a weak tag never matches there, so it is not sent.
pub(crate) fn if_range(validator: &str) -> Option<&str> {
    (!validator.starts_with("W/")).then_some(validator)
}

/// For 200, 206 and 416; the error is the reason in words.
pub(crate) fn read(status: StatusCode, headers: &HeaderMap, asked: Asked) -> Result<Reading, String> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let owned = |name: HeaderName| text(name).map(str::to_owned);
    if headers.get_all(CONTENT_ENCODING).iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err("it is compressed although identity was asked for".to_owned());
    }
    let content_length = text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let range = || text(CONTENT_RANGE).unwrap_or_default().parse::<ContentRange>();
    let (length, start, end) = match status {
        StatusCode::PARTIAL_CONTENT => {
            let ContentRange { range: Some(range), total } = range().map_err(|error| error.to_string())? else {
                return Err("206 without a range".to_owned());
            };
            if range.start != asked.from || asked.until.is_some_and(|until| range.end > until) {
                let asked = asked.to_header().unwrap_or_default();
                return Err(format!("asked {asked}, answered bytes {}-{}", range.start, range.end - 1));
            }
            if content_length.is_some_and(|length| length != range.length()) {
                return Err("Content-Length and Content-Range disagree".to_owned());
            }
            let Some(total) = total else { return Ok(Reading::AskWhole) };
            (Some(total), range.start, Some(range.end))
        }
        StatusCode::RANGE_NOT_SATISFIABLE if asked.from > 0 => {
            return Err(format!("the content ends before byte {}", asked.from));
        }
        StatusCode::RANGE_NOT_SATISFIABLE if range().is_ok_and(|range| range.total == Some(0)) => (Some(0), 0, Some(0)),
        StatusCode::RANGE_NOT_SATISFIABLE => return Ok(Reading::AskWhole),
        _ => (content_length, 0, content_length),
    };
    Ok(Reading::Body(Facts {
        length,
        start,
        end,
        ranges: status != StatusCode::OK,
        content_type: if status == StatusCode::RANGE_NOT_SATISFIABLE { None } else { owned(CONTENT_TYPE) },
        etag: owned(ETAG),
        last_modified: owned(LAST_MODIFIED),
    }))
}

/// `Retry-After`, in seconds or as a date (RFC 9110 §10.2.3).
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RANGE: Asked = Asked { from: 10, until: Some(20) };

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn body(status: u16, asked: Asked, given: &[(&'static str, &str)]) -> Facts {
        match read(StatusCode::from_u16(status).unwrap(), &headers(given), asked) {
            Ok(Reading::Body(facts)) => facts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_part_is_what_was_asked_or_less() {
        let facts = body(206, RANGE, &[("content-range", "bytes 10-19/100"), ("content-length", "10")]);
        assert_eq!((facts.length, facts.start, facts.end, facts.ranges), (Some(100), 10, Some(20), true));
        assert_eq!(body(206, RANGE, &[("content-range", "bytes 10-14/100")]).end, Some(15));
        for wrong in
            ["bytes 0-9/100", "bytes 10-20/100", "bytes 11-19/100", "bytes */100", "nonsense", "bytes 10-19/15"]
        {
            assert!(
                read(StatusCode::PARTIAL_CONTENT, &headers(&[("content-range", wrong)]), RANGE).is_err(),
                "{wrong}"
            );
        }
        let disagreeing = headers(&[("content-range", "bytes 10-19/100"), ("content-length", "11")]);
        assert!(read(StatusCode::PARTIAL_CONTENT, &disagreeing, RANGE).is_err());
    }

    #[test]
    fn an_origin_without_ranges_sends_the_whole() {
        let facts = body(200, RANGE, &[("content-length", "100")]);
        assert_eq!((facts.length, facts.start, facts.end, facts.ranges), (Some(100), 0, Some(100), false));
        assert_eq!(body(200, RANGE, &[]).end, None);
    }

    #[test]
    fn nothing_to_give_is_an_empty_content_only_from_the_start() {
        let first = Asked { from: 0, until: Some(20) };
        assert_eq!(body(416, first, &[("content-range", "bytes */0")]).length, Some(0));
        let nothing = HeaderMap::new();
        assert_eq!(read(StatusCode::RANGE_NOT_SATISFIABLE, &nothing, first), Ok(Reading::AskWhole));
        assert!(read(StatusCode::RANGE_NOT_SATISFIABLE, &headers(&[("content-range", "bytes */5")]), RANGE).is_err());
    }

    #[test]
    fn a_part_of_who_knows_what_is_not_taken() {
        let unknown = headers(&[("content-range", "bytes 10-19/*")]);
        assert_eq!(read(StatusCode::PARTIAL_CONTENT, &unknown, RANGE), Ok(Reading::AskWhole));
    }

    #[test]
    fn versions_are_told_apart_by_what_was_told_first() {
        let facts =
            body(206, RANGE, &[("content-range", "bytes 10-19/100"), ("etag", "\"a\""), ("last-modified", "then")]);
        assert_eq!(facts.validator(), Some("\"a\""));
        assert!(facts.is_version("\"a\"") && facts.is_version("W/\"a\"") && facts.is_version("then"));
        assert!(!facts.is_version("\"b\"") && !facts.is_version("now"));
        assert_eq!((if_range("\"a\""), if_range("W/\"a\"")), (Some("\"a\""), None));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_470);
        let wait = |value: &str| retry_after(&headers(&[("retry-after", value)]), at);
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }

    proptest! {
        #[test]
        fn whatever_is_said_a_body_lies_within_what_was_asked(range in ".{0,40}", first in 0..50u64, last in 0..50u64, total in 0..60u64, status in prop_oneof![Just(200u16), Just(206), Just(416)]) {
            for value in [range, format!("bytes {first}-{last}/{total}")] {
                let Ok(value) = http::HeaderValue::from_str(&value) else { continue };
                let headers = HeaderMap::from_iter([(CONTENT_RANGE, value)]);
                if let Ok(Reading::Body(facts)) = read(StatusCode::from_u16(status).unwrap(), &headers, RANGE) && facts.ranges {
                    prop_assert!(facts.start == RANGE.from && facts.end <= RANGE.until && facts.end <= facts.length);
                }
            }
        }
    }
}
