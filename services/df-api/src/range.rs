//! Byte ranges as values (RFC 9110 §14). Half-open inside, inclusive in headers; nothing else in the platform parses one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `start..end` of some content, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ByteRange {
    pub start: u64,
    /// Exclusive.
    pub end: u64,
}

/// One asked-for range, before the length of the content is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `bytes=start-last`, `last` inclusive as on the wire.
    Bounded { start: u64, last: u64 },
    /// `bytes=start-`
    From { start: u64 },
    /// `bytes=-length`
    Suffix { length: u64 },
}

/// What a `Range` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requested {
    /// No header, a unit other than `bytes`, or several ranges: the whole content with 200 (RFC 9110 §14.2 allows it).
    Whole,
    One(RangeSpec),
}

/// `Content-Range: bytes start-last/total`, or `bytes */total` of a 416.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    pub range: Option<ByteRange>,
    pub total: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("range {0:?} is malformed: use bytes=first-last, bytes=first- or bytes=-length")]
    Malformed(String),
    #[error("Content-Range {0:?} is malformed: use bytes first-last/total")]
    MalformedContentRange(String),
}

// === impl ByteRange ===

impl ByteRange {
    /// `None` when it would be empty.
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    pub fn length(self) -> u64 {
        self.end - self.start
    }

    /// The value of a `Range` request header.
    pub fn to_header(self) -> String {
        format!("bytes={}-{}", self.start, self.end - 1)
    }
}

// === impl RangeSpec ===

impl RangeSpec {
    /// The bytes meant, in content of `total` bytes; `None` when unsatisfiable (answer 416).
    pub fn resolve(self, total: u64) -> Option<ByteRange> {
        match self {
            RangeSpec::Bounded { start, last } => ByteRange::new(start, total.min(last.saturating_add(1))),
            RangeSpec::From { start } => ByteRange::new(start, total),
            RangeSpec::Suffix { length } => ByteRange::new(total.saturating_sub(length), total),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.trim().split_once('-')?;
        match (first.is_empty(), last.is_empty()) {
            (true, true) => None,
            (true, false) => Some(RangeSpec::Suffix { length: number(last)? }),
            (false, true) => Some(RangeSpec::From { start: number(first)? }),
            (false, false) => {
                let (start, last) = (number(first)?, number(last)?);
                (start <= last).then_some(RangeSpec::Bounded { start, last })
            }
        }
    }
}

// === impl Requested ===

impl Requested {
    pub fn parse(header: Option<&str>) -> Result<Self, RangeError> {
        let Some(header) = header else { return Ok(Requested::Whole) };
        let malformed = || RangeError::Malformed(header.chars().take(200).collect());
        let (unit, ranges) = header.split_once('=').ok_or_else(malformed)?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Ok(Requested::Whole);
        }
        let specs: Option<Vec<_>> = ranges.split(',').map(RangeSpec::parse).collect();
        match specs.ok_or_else(malformed)?.as_slice() {
            [one] => Ok(Requested::One(*one)),
            _ => Ok(Requested::Whole),
        }
    }
}

/// The ranges of a header that has several, 1024 at most; none of any other. Who cannot send several at once takes such a
/// header as [`Requested::Whole`].
pub fn several(header: &str) -> Vec<RangeSpec> {
    let ranges = header.split_once('=').filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
    let specs: Option<Vec<_>> = ranges.and_then(|(_, ranges)| ranges.split(',').map(RangeSpec::parse).collect());
    specs.filter(|specs| (2..=RANGES_MAX).contains(&specs.len())).unwrap_or_default()
}

const RANGES_MAX: usize = 1024;

// === impl ContentRange ===

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range {
            Some(range) => write!(f, "bytes {}-{}/", range.start, range.end - 1)?,
            None => f.write_str("bytes */")?,
        }
        match self.total {
            Some(total) => write!(f, "{total}"),
            None => f.write_str("*"),
        }
    }
}

impl FromStr for ContentRange {
    type Err = RangeError;
    fn from_str(value: &str) -> Result<Self, RangeError> {
        parse_content_range(value).ok_or_else(|| RangeError::MalformedContentRange(value.chars().take(200).collect()))
    }
}

fn parse_content_range(value: &str) -> Option<ContentRange> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let total = if total == "*" { None } else { Some(number(total)?) };
    let range = match range {
        "*" => None,
        range => {
            let (first, last) = range.split_once('-')?;
            Some(ByteRange::new(number(first)?, number(last)?.checked_add(1)?)?)
        }
    };
    let consistent = match (range, total) {
        (Some(range), Some(total)) => range.end <= total,
        (None, None) => false,
        _ => true,
    };
    consistent.then_some(ContentRange { range, total })
}

/// Digits only: `u64::from_str` would take a plus sign.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolve(header: &str, total: u64) -> Option<ByteRange> {
        match Requested::parse(Some(header)).unwrap() {
            Requested::One(spec) => spec.resolve(total),
            Requested::Whole => ByteRange::new(0, total),
        }
    }

    #[test]
    fn ranges_follow_rfc_9110() {
        assert_eq!(resolve("bytes=0-0", 10), ByteRange::new(0, 1));
        assert_eq!(resolve("bytes=2-", 10), ByteRange::new(2, 10));
        assert_eq!(resolve("bytes=-3", 10), ByteRange::new(7, 10));
        assert_eq!(resolve("bytes=-30", 10), ByteRange::new(0, 10));
        assert_eq!(resolve("bytes=5-999", 10), ByteRange::new(5, 10));
        assert_eq!(resolve("bytes=10-", 10), None);
        assert_eq!(resolve("bytes=-0", 10), None);
        assert_eq!(resolve("bytes=0-1,4-5", 10), ByteRange::new(0, 10));
        assert_eq!(resolve("items=0-1", 10), ByteRange::new(0, 10));
    }

    #[test]
    fn a_malformed_range_is_named() {
        for wrong in ["bytes", "bytes=", "bytes=a-b", "bytes=5-2", "bytes=--1", "bytes=+1-2", "bytes=1-2,x"] {
            assert!(Requested::parse(Some(wrong)).unwrap_err().to_string().contains(wrong));
        }
    }

    #[test]
    fn content_range_refuses_nonsense() {
        for wrong in ["bytes 5-2/10", "bytes 0-10/10", "bytes */*", "0-1/2", "bytes 0-1"] {
            assert!(wrong.parse::<ContentRange>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_resolved_range_lies_inside_and_is_not_empty(a: u64, b: u64, total: u64) {
            for spec in [RangeSpec::Bounded { start: a.min(b), last: a.max(b) }, RangeSpec::From { start: a }, RangeSpec::Suffix { length: a }] {
                if let Some(range) = spec.resolve(total) {
                    prop_assert!(range.start < range.end && range.end <= total);
                }
            }
        }

        #[test]
        fn a_range_survives_its_header(start in 0..u64::MAX - 1, length in 1..u64::MAX) {
            let range = ByteRange::new(start, start.saturating_add(length)).unwrap();
            prop_assert_eq!(resolve(&range.to_header(), u64::MAX), Some(range));
        }

        #[test]
        fn a_content_range_survives_its_header(start in 0..u64::MAX / 2, length in 1..1_000_000u64, rest in 0..1_000_000u64) {
            let range = ByteRange::new(start, start + length);
            let value = ContentRange { range, total: Some(start + length + rest) };
            prop_assert_eq!(value.to_string().parse::<ContentRange>(), Ok(value));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,60}") {
            let _ = Requested::parse(Some(&text));
            let _ = several(&text);
            let _ = text.parse::<ContentRange>();
        }
    }
}
