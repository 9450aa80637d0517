//! Known length + asked range → status and headers, by RFC 9110 §14. The body is the caller's business.

use axum::body::Body;
use axum::response::Response;
use df_api::range::Requested;
use df_api::{ByteRange, Code, ContentRange};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::ApiError;

/// What to send, decided before the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// `None` when the content is empty.
    pub range: Option<ByteRange>,
    /// `None` while the content's length is not known.
    pub total: Option<u64>,
    partial: bool,
}

// === impl Slice ===

impl Slice {
    /// 416 with `Content-Range: bytes */total` when the range cannot be satisfied.
    pub fn of(requested: Requested, total: u64) -> Result<Self, ApiError> {
        match requested {
            Requested::Whole => Ok(Self { range: ByteRange::new(0, total), total: Some(total), partial: false }),
            Requested::One(spec) => match spec.resolve(total) {
                Some(range) => Ok(Self { range: Some(range), total: Some(total), partial: true }),
                None => Err(unsatisfiable(total)),
            },
        }
    }

    /// A part of a content that is still growing: `Content-Range: bytes first-last/*`.
    pub fn of_unknown_length(range: ByteRange) -> Self {
        Self { range: Some(range), total: None, partial: true }
    }

    pub fn status(&self) -> StatusCode {
        if self.partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK }
    }

    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(CONTENT_LENGTH, self.range.map_or(0, ByteRange::length).into());
        if self.partial {
            let value = ContentRange { range: self.range, total: self.total }.to_string();
            headers.insert(CONTENT_RANGE, ascii(&value));
        }
        headers
    }

    pub fn respond(&self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = self.status();
        *response.headers_mut() = self.headers();
        response
    }
}

pub fn unsatisfiable(total: u64) -> ApiError {
    let value = ContentRange { range: None, total: Some(total) }.to_string();
    ApiError::new(Code::RangeNotSatisfiable, format!("the range lies outside the content's {total} bytes"))
        .with_header(CONTENT_RANGE, ascii(&value))
}

/// For values we made ourselves out of digits and punctuation.
fn ascii(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_unsatisfiable_range_tells_the_length() {
        let asked = Requested::parse(Some("bytes=10-")).unwrap();
        let response = Slice::of(asked, 10).unwrap_err().into_response();
        assert_eq!(response.status(), 416);
        assert_eq!(response.headers()[CONTENT_RANGE], "bytes */10");
    }

    #[test]
    fn an_empty_content_is_200_without_bytes() {
        let slice = Slice::of(Requested::Whole, 0).unwrap();
        assert_eq!((slice.status(), slice.range), (StatusCode::OK, None));
        assert_eq!(slice.headers()[CONTENT_LENGTH], "0");
    }

    proptest! {
        #[test]
        fn status_length_and_content_range_agree(first in 0..2000u64, span in 0..2000u64, total in 0..1500u64) {
            let asked = Requested::parse(Some(&format!("bytes={first}-{}", first + span))).unwrap();
            match Slice::of(asked, total) {
                Err(error) => { prop_assert_eq!(error.code(), Code::RangeNotSatisfiable); prop_assert!(first >= total); }
                Ok(slice) => {
                    let headers = slice.headers();
                    let content: ContentRange = headers[CONTENT_RANGE].to_str().unwrap().parse().unwrap();
                    prop_assert_eq!(slice.status(), StatusCode::PARTIAL_CONTENT);
                    prop_assert_eq!(content.range.unwrap().length().to_string(), headers[CONTENT_LENGTH].to_str().unwrap());
                    prop_assert_eq!(content.range.unwrap().end, total.min(first + span + 1));
                }
            }
        }
    }
}
