//! What an origin sends, in steps of the content: small parts are gathered, and what is written ends at a multiple of a
//! step. Otherwise a content would lie in memory in pages as small as the parts it came in, which cost more to write and
//! to send.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use crate::intake::{STEP_BYTES, left_of_step};
use crate::origin;
use crate::task::Failure;

/// What has been gathered is handed on after this long, however little it is.
const PATIENCE: Duration = Duration::from_millis(10);

pub(super) struct Steps {
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    /// Where in the content the next step begins.
    at: u64,
    /// What has come last, and is not looked at yet.
    chunk: Bytes,
    /// Less than a step, from `at` on.
    gathered: BytesMut,
    /// Told when everything before it has been handed on.
    ended: Option<Result<(), Failure>>,
}

// === impl Steps ===

impl Steps {
    /// `at`: where in the content the body begins.
    pub fn new(body: BoxStream<'static, reqwest::Result<Bytes>>, at: u64) -> Self {
        Self { body, at, chunk: Bytes::new(), gathered: BytesMut::new(), ended: None }
    }

    /// One at a time, so that its memory is used again for the one after the next. `None` at the end; an error after
    /// `stall` without a byte.
    pub async fn next(&mut self, stall: Duration) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(step) = self.take() {
                self.at += step.len() as u64;
                return Ok(Some(step));
            }
            if let Some(ended) = self.ended.take() {
                return ended.map(|()| None);
            }
            // Even an empty part holds the memory of the whole.
            self.chunk = Bytes::new();
            let patience = if self.gathered.is_empty() { stall } else { PATIENCE.min(stall) };
            match tokio::time::timeout(patience, self.body.next()).await {
                Ok(Some(Ok(chunk))) => self.chunk = chunk,
                Ok(Some(Err(error))) => self.ended = Some(Err(origin::unreachable(error))),
                Ok(None) => self.ended = Some(Ok(())),
                Err(_) if self.gathered.is_empty() => {
                    return Err(Failure::Unreachable(format!("it has sent nothing for {stall:?}")));
                }
                Err(_) => {
                    let little = self.gathered.split().freeze();
                    self.at += little.len() as u64;
                    return Ok(Some(little));
                }
            }
        }
    }

    /// What ends at a multiple of a step, or at the end. What else has come is gathered.
    fn take(&mut self) -> Option<Bytes> {
        let first = usize::try_from(left_of_step(self.at)).unwrap_or(STEP_BYTES);
        if self.gathered.is_empty() && self.chunk.len() >= first {
            let further = (self.chunk.len() - first) / STEP_BYTES * STEP_BYTES;
            return Some(self.chunk.split_to(first + further));
        }
        let room = first - self.gathered.len();
        let taken = room.min(self.chunk.len());
        if taken > 0 {
            self.gathered.reserve(room);
            self.gathered.extend_from_slice(&self.chunk[..taken]);
            self.chunk.advance(taken);
        }
        let give = taken == room || self.ended.is_some() && !self.gathered.is_empty();
        give.then(|| self.gathered.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    const STALL: Duration = Duration::from_millis(100);

    /// What comes of a body that comes in such parts.
    async fn steps(parts: Vec<Bytes>, at: u64) -> Vec<Bytes> {
        let body = stream::iter(parts.into_iter().map(Ok)).boxed();
        let mut steps = Steps::new(body, at);
        let mut given = Vec::new();
        while let Some(step) = steps.next(STALL).await.unwrap() {
            given.push(step);
        }
        given
    }

    fn numbered(length: usize) -> Bytes {
        (0..length).map(|at| (at / 7 % 251) as u8).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn every_step_but_the_last_ends_at_a_multiple(
            sizes in proptest::collection::vec(0..3 * STEP_BYTES, 0..12),
            at in 0..3 * STEP_BYTES as u64,
        ) {
            let whole = numbered(sizes.iter().sum());
            let mut rest = whole.clone();
            let parts = sizes.iter().map(|size| rest.split_to(*size)).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let given = runtime.block_on(steps(parts, at));
            prop_assert_eq!(given.concat(), whole);
            let mut end = at;
            for (number, step) in given.iter().enumerate() {
                prop_assert!(!step.is_empty());
                end += step.len() as u64;
                prop_assert!(end.is_multiple_of(STEP_BYTES as u64) || number + 1 == given.len());
            }
        }
    }

    #[tokio::test]
    async fn a_slow_body_is_not_held_back_and_a_silent_one_is_left() {
        let (sender, body) = tokio::sync::mpsc::channel(4);
        let mut steps = Steps::new(stream::unfold(body, async |mut body| Some((body.recv().await?, body))).boxed(), 0);
        for text in ["one", "two"] {
            sender.send(Ok(Bytes::from(text))).await.unwrap();
            assert_eq!(steps.next(STALL).await.unwrap().unwrap(), text);
        }
        assert!(matches!(steps.next(STALL).await, Err(Failure::Unreachable(_))));
    }

    #[tokio::test]
    async fn what_came_before_a_break_is_handed_on() {
        let broken = reqwest::Client::new().get("http://").build().unwrap_err();
        let parts = [Ok(Bytes::from("one")), Ok(Bytes::from("two")), Err(broken)];
        let mut steps = Steps::new(stream::iter(parts).boxed(), 0);
        assert_eq!(steps.next(STALL).await.unwrap().unwrap(), "onetwo");
        assert!(matches!(steps.next(STALL).await, Err(Failure::Unreachable(_))));
    }
}
