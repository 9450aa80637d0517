//! Several ranges in one answer (RFC 9110 §14.6), as podman asks for the missing chunks of a zstd:chunked layer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use df_api::range::{Requested, several};
use df_api::{ByteRange, ContentRange, RangeSpec};
use df_peer::{Delivery, Peer, ReadError, Task};
use df_store::Trust;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};

/// A content, and who reads it.
pub struct Parts {
    pub peer: Arc<Peer>,
    pub task: Arc<Task>,
    pub content_type: String,
    /// For the first byte of each part.
    pub patience: Duration,
}

/// What is sent: each range with the lines before it, then the end.
struct Layout {
    parts: Vec<(String, ByteRange)>,
    end: String,
}

/// No content of ours has it by chance, and if it had: parts have lengths.
const BOUNDARY: &str = "dragonfly-5c1b6f0e9d7a4c3b";

/// The ranges of the header, when it has several; the whole is an answer to them, too.
pub fn asked(range: Option<&HeaderValue>) -> Vec<RangeSpec> {
    range.and_then(|value| value.to_str().ok()).map(several).unwrap_or_default()
}

/// Ascending and apart from each other, as honest readers ask; otherwise `None`, and the whole is sent: asking for the
/// same bytes again and again must not pay.
fn resolve(specs: &[RangeSpec], total: u64) -> Option<Vec<ByteRange>> {
    let ranges: Vec<_> = specs.iter().filter_map(|spec| spec.resolve(total)).collect();
    let apart = ranges.windows(2).all(|pair| pair[0].end <= pair[1].start);
    (apart && !ranges.is_empty()).then_some(ranges)
}

// === impl Layout ===

impl Layout {
    fn new(ranges: Vec<ByteRange>, total: u64, content_type: &str) -> Self {
        let head = |range: ByteRange| {
            let content_range = ContentRange { range: Some(range), total: Some(total) };
            format!("\r\n--{BOUNDARY}\r\nContent-Type: {content_type}\r\nContent-Range: {content_range}\r\n\r\n")
        };
        let parts = ranges.into_iter().map(|range| (head(range), range)).collect();
        Self { parts, end: format!("\r\n--{BOUNDARY}--\r\n") }
    }

    fn length(&self) -> u64 {
        let part = |(head, range): &(String, ByteRange)| head.len() as u64 + range.length();
        self.parts.iter().map(part).sum::<u64>() + self.end.len() as u64
    }
}

// === impl Parts ===

impl Parts {
    /// `None` when the whole is the better answer. The first part's first byte is there before anything is said.
    pub async fn respond(self, specs: &[RangeSpec], total: u64) -> Result<Option<Response>, ReadError> {
        let Some(ranges) = resolve(specs, total) else { return Ok(None) };
        self.open(ranges[0]).await?;
        let layout = Layout::new(ranges, total, &self.content_type);
        let length = layout.length();
        let end = stream::once(std::future::ready(Ok(Bytes::from(layout.end))));
        let parts = stream::iter(layout.parts).map(Ok::<_, std::io::Error>).and_then(move |(head, range)| {
            let opening = self.open(range);
            async move {
                let content = opening.await.map_err(std::io::Error::other)?;
                let head = stream::once(std::future::ready(Ok(Bytes::from(head))));
                Ok(head.chain(content.stream(Delivery::default())))
            }
        });
        let mut response = Response::new(Body::from_stream(parts.try_flatten().chain(end)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(CONTENT_LENGTH, length.into());
        let content_type = format!("multipart/byteranges; boundary={BOUNDARY}");
        headers.extend(HeaderValue::from_str(&content_type).ok().map(|value| (CONTENT_TYPE, value)));
        Ok(Some(response))
    }

    fn open(&self, range: ByteRange) -> impl Future<Output = Result<df_peer::Content, ReadError>> + Send + use<> {
        let spec = RangeSpec::Bounded { start: range.start, last: range.end - 1 };
        let (peer, task, patience) = (self.peer.clone(), self.task.clone(), self.patience);
        async move { task.open(&peer, Requested::One(spec), Trust::HoldLast, patience).await }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_ranges_apart_from_each_other_are_parts() {
        let resolved = |header: &str| resolve(&several(header), 100);
        let range = |start, end| ByteRange::new(start, end).unwrap();
        assert_eq!(resolved("bytes=0-1,5-9"), Some(vec![range(0, 2), range(5, 10)]));
        assert_eq!(resolved("bytes=0-1, -10"), Some(vec![range(0, 2), range(90, 100)]));
        assert_eq!(resolved("bytes=0-1,200-300"), Some(vec![range(0, 2)]));
        assert_eq!(resolved("bytes=0-9,5-9"), None);
        assert_eq!(resolved("bytes=5-9,0-1"), None);
        assert_eq!(resolved("bytes=200-,300-"), None);
    }

    proptest! {
        #[test]
        fn parts_are_never_more_than_the_whole(bounds in proptest::collection::vec((0..200u64, 0..50u64), 2..20), total in 1..200u64) {
            let specs: Vec<_> = bounds.iter().map(|(start, span)| RangeSpec::Bounded { start: *start, last: start + span }).collect();
            if let Some(ranges) = resolve(&specs, total) {
                prop_assert!(ranges.iter().map(|range| range.length()).sum::<u64>() <= total);
            }
        }
    }
}
