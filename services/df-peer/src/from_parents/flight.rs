//! One request at one parent for the rest of a piece: a task of its own, so that bytes go on landing while others are
//! asked something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use df_api::dfdaemon::{PIECE_DIGEST_HEADER, VALIDATOR_HEADER};
use df_api::scheduler::ComplaintReason;
use df_api::{ByteRange, ContentRange, Digest};
use df_store::PieceError;
use http::header::CONTENT_RANGE;
use http::{HeaderMap, StatusCode};
use tokio_util::sync::CancellationToken;

use super::draft::{Draft, Sender};
use crate::connections::AskError;
use crate::origin::is_same_version;
use crate::parent::{Ask, ParentLink};
use crate::peer::Peer;
use crate::task::Task;

/// A parent that is full says when to come again; by default after this.
const BUSY_DEFAULT: Duration = Duration::from_secs(1);
/// Whoever says less is asked again all the same, but not at once.
const BUSY_MIN: Duration = Duration::from_millis(200);
const BUSY_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Flight {
    pub peer: Arc<Peer>,
    pub task: Arc<Task>,
    pub link: Arc<ParentLink>,
    pub draft: Arc<Draft>,
    pub advance: Arc<Advance>,
    pub cancelled: CancellationToken,
}

/// How a request is getting on.
#[derive(Debug, Default)]
pub(crate) struct Advance {
    /// That have come.
    pub bytes: AtomicU64,
    /// By our own limits: the parent's time stands still meanwhile.
    pub held_back: AtomicBool,
}

/// How a request ended. What has landed stays in the draft.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Nothing is missing any more, whoever brought it; with the digest that came with it.
    Whole(Option<Digest>),
    Broken(ComplaintReason, String),
    /// Its connection broke in the middle of an answer.
    Interrupted(String),
    /// It serves as many as it can.
    Busy(Duration),
    /// It waited for the bytes as long as it may, as we did.
    Again,
    Cancelled,
    /// Our own disk failed: no parent's fault.
    Storage(PieceError),
}

// === impl Flight ===

impl Flight {
    pub async fn fly(self) -> Ended {
        match self.receive().await {
            Ok(digest) => Ended::Whole(digest),
            Err(ended) => ended,
        }
    }

    async fn receive(&self) -> Result<Option<Digest>, Ended> {
        let Some(rest) = self.draft.rest() else { return Ok(None) };
        let ask = Ask { range: rest, checked: self.link.must_check() };
        let asked = self.peer.ask_for_content(&self.link.parent, self.task.id(), ask);
        let mut answer = self.unless_cancelled(asked).await?.map_err(refused)?;
        self.check_version(&answer.headers)?;
        self.check_range(&answer.headers, rest)?;
        let told = text(&answer.headers, PIECE_DIGEST_HEADER).and_then(|digest| digest.parse().ok());
        let sender = Sender { key: self.link.key, checked: ask.checked || told.is_some() };
        let mut at = rest.start;
        while self.draft.rest().is_some() {
            let next = self.unless_cancelled(answer.next()).await?.map_err(broken)?;
            let chunk = next.ok_or_else(|| gone(format!("its answer ended at byte {at} of {}", rest.end)))?;
            let bytes = chunk.len() as u64;
            if at + bytes > rest.end {
                return Err(too_much(rest));
            }
            self.advance.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.advance.held_back.store(true, Ordering::Relaxed);
            self.peer.limits().received(self.link.source(), &self.task, bytes).await;
            self.advance.held_back.store(false, Ordering::Relaxed);
            self.draft.append(at, &chunk, sender).map_err(Ended::Storage)?;
            self.task.stillness().end();
            at += bytes;
        }
        // The end of the answer is read too, so that its connection can be used again.
        if at == rest.end && self.unless_cancelled(answer.next()).await?.map_err(broken)?.is_some() {
            return Err(too_much(rest));
        }
        Ok(told)
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::select! {
            done = work => Ok(done),
            () = self.cancelled.cancelled() => Err(Ended::Cancelled),
        }
    }

    fn check_range(&self, headers: &HeaderMap, asked: ByteRange) -> Result<(), Ended> {
        let value = text(headers, CONTENT_RANGE.as_str());
        let given = value.and_then(|value| value.parse::<ContentRange>().ok());
        let total = self.task.stored().meta().and_then(|meta| meta.length);
        let wrong = |why: String| Err(Ended::Broken(ComplaintReason::WrongBytes, why));
        match given {
            Some(given) if given.range != Some(asked) => {
                wrong(format!("asked {}, answered {given}", asked.to_header()))
            }
            Some(given) if given.total.is_some() && total.is_some() && given.total != total => {
                wrong(format!("its content has {:?} bytes, not {total:?}", given.total))
            }
            Some(_) => Ok(()),
            None => wrong(format!("asked {}, answered {value:?}", asked.to_header())),
        }
    }

    fn check_version(&self, headers: &HeaderMap) -> Result<(), Ended> {
        let known = self.task.stored().meta().and_then(|meta| meta.validator);
        match text(headers, VALIDATOR_HEADER).zip(known.as_deref()) {
            Some((given, known)) if !is_same_version(given, known) => {
                Err(gone(format!("it has version {given}, not {known}")))
            }
            _ => Ok(()),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn too_much(asked: ByteRange) -> Ended {
    Ended::Broken(ComplaintReason::WrongBytes, format!("more than the {} bytes asked", asked.length()))
}

fn gone(why: String) -> Ended {
    Ended::Broken(ComplaintReason::Gone, why)
}

/// How long one that is full, or asked too often, is left alone.
pub(super) fn busy_for(told: Option<Duration>) -> Duration {
    told.unwrap_or(BUSY_DEFAULT).clamp(BUSY_MIN, BUSY_MAX)
}

/// In the middle of an answer.
fn broken(error: AskError) -> Ended {
    match error {
        AskError::Broken(_) => Ended::Interrupted(df_http::error::chain(&error)),
        error => refused(error),
    }
}

fn refused(error: AskError) -> Ended {
    match error {
        AskError::Refused {
            status: StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS,
            retry_after,
            ..
        } => Ended::Busy(busy_for(retry_after)),
        AskError::Refused { status: StatusCode::GATEWAY_TIMEOUT, .. } => Ended::Again,
        error => gone(df_http::error::chain(&error)),
    }
}
