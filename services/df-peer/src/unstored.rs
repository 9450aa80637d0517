//! What the disk does not take is handed on as it comes: from a seed peer that has it or gets it, else from the origin.
//!
//! **Invariant.** Nothing of it is kept, and no child reads it. A peer's bytes are given only where the whole is checked
//! before the last of them is given; otherwise they are the origin's own, as without a mirror.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use df_api::range::Requested;
use df_api::scheduler::Parent;
use df_api::{ByteRange, ContentRange, Digest};
use df_http::respond::Slice;
use df_store::{Available, ContentHasher, Meta, Trust};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::header::CONTENT_RANGE;
use tokio::time::Instant;

use crate::connections;
use crate::from_origin::{self, Landed, Retries, patience};
use crate::hashing::hash_range;
use crate::origin::{self, Asked, Door, Facts, Question};
use crate::parent::Ask;
use crate::peer::Peer;
use crate::reader::{ReadError, bounds};
use crate::stillness::Stillness;
use crate::task::{Failure, Source, Task};
use crate::upstream::StreamPermit;

/// Silence of whoever sends: then somebody else is asked.
const SILENCE: Duration = Duration::from_secs(8);

/// A stream of a task's bytes around the disk.
pub(crate) struct Unstored {
    peer: Arc<Peer>,
    task: Arc<Task>,
    meta: Meta,
    /// The next byte.
    at: u64,
    /// `None`: to the end, wherever that will be.
    end: Option<u64>,
    /// Where the stream has all that the digest is of.
    check: Option<(ContentHasher, Digest)>,
    /// The latest bytes, until it is known that they are not the last of something wrong.
    held: Bytes,
    /// Still to be asked, before the origin.
    seeds: Vec<Parent>,
    seed_bytes: u64,
    sender: Option<Sender>,
    door: Door,
    retries: Retries,
    stillness: Stillness,
}

/// Who is sending.
enum Sender {
    Seed(connections::Answer),
    Origin {
        body: BoxStream<'static, reqwest::Result<Bytes>>,
        /// It knows no ranges: so many bytes come before the next that is wanted.
        skip: u64,
        _permit: StreamPermit,
    },
}

// === impl Unstored ===

impl Unstored {
    /// From the start: answers when the first byte is certain, with what the content is.
    pub async fn open(
        peer: Arc<Peer>,
        task: Arc<Task>,
        requested: Requested,
    ) -> Result<(Meta, Option<Slice>, Self), ReadError> {
        let meta = outline(&peer, &task).await?;
        let slice = match meta.length {
            Some(total) => Some(Slice::of(requested, total).map_err(|_| ReadError::Unsatisfiable { total })?),
            None if requested == Requested::Whole => None,
            None => return Err(Failure::Malformed("it tells no length to take a range of".to_owned()).into()),
        };
        let (at, end) = bounds(slice);
        let mut unstored = Self::new(peer, task, meta.clone(), at, end).await;
        unstored.held = unstored.receive().await?.unwrap_or_default();
        if unstored.is_at_end() {
            // While it can still be said with a status.
            unstored.verify()?;
        }
        Ok((meta, slice, unstored))
    }

    /// From where what is stored ends.
    pub async fn go_on(peer: Arc<Peer>, task: Arc<Task>, at: u64, end: Option<u64>) -> Result<Self, Failure> {
        let meta = outline(&peer, &task).await?;
        Ok(Self::new(peer, task, meta, at, end).await)
    }

    async fn new(peer: Arc<Peer>, task: Arc<Task>, meta: Meta, at: u64, end: Option<u64>) -> Self {
        tracing::warn!(task = %task.id(), from = at, "the disk takes no more: a content is passed on without being stored");
        let check = if end == meta.length { begin_check(&peer, &task, at).await } else { None };
        let trusted = check.is_some() && !peer.distrusts_parents_of(task.id());
        let seeds = if trusted { peer.seeds_holding(task.id()).await } else { Vec::new() };
        let seeds = seeds.into_iter().rev().map(|(seed, _)| seed).collect();
        let (door, retries) = (Door::new(peer.upstream().redirect_kept()), Retries::new(Instant::now(), at));
        Self {
            peer,
            task,
            meta,
            at,
            end,
            check,
            held: Bytes::new(),
            seeds,
            seed_bytes: 0,
            sender: None,
            door,
            retries,
            stillness: Stillness::default(),
        }
    }

    fn is_at_end(&self) -> bool {
        self.end.is_some_and(|end| self.at >= end)
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        // Nothing was missed while nobody wanted it.
        self.stillness.end();
        loop {
            let Some(bytes) = self.receive().await? else {
                self.verify()?;
                let last = std::mem::take(&mut self.held);
                return Ok(Some(last).filter(|last| !last.is_empty()));
            };
            let given = std::mem::replace(&mut self.held, bytes);
            if !given.is_empty() {
                return Ok(Some(given));
            }
        }
    }

    fn verify(&mut self) -> Result<(), Failure> {
        let Some((hasher, expected)) = self.check.take() else { return Ok(()) };
        let found = hasher.finish();
        if found == expected {
            return Ok(());
        }
        if self.seed_bytes > 0 {
            self.peer.distrust_parents_of(self.task.id());
        }
        Err(Failure::WrongDigest { found, expected })
    }

    /// As they come, of whoever sends.
    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        while !self.is_at_end() {
            let patience = patience(SILENCE, self.stillness.lasts());
            let (source, received) = match self.sender().await {
                Ok(sender) => (sender.source(), sender.next(patience).await),
                Err(failure) => (Source::Origin, Err(failure)),
            };
            match received {
                Ok(Some(bytes)) => {
                    let bytes = self.cut(bytes)?;
                    self.count(source, bytes.len() as u64).await;
                    if let Some((hasher, _)) = &mut self.check {
                        hasher.update(&bytes);
                    }
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
                Ok(None) if self.end.is_none() => break,
                Ok(None) => self.again(source, Failure::Unreachable(format!("it ended at byte {}", self.at))).await?,
                Err(failure) => self.again(source, failure).await?,
            }
        }
        Ok(None)
    }

    /// Without what comes before the next byte that is wanted.
    fn cut(&mut self, mut bytes: Bytes) -> Result<Bytes, Failure> {
        if let Some(Sender::Origin { skip, .. }) = &mut self.sender {
            let skipped = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
            *skip -= skipped as u64;
            bytes = bytes.split_off(skipped);
        }
        self.at += bytes.len() as u64;
        match self.end {
            // An origin without ranges goes on to its end; others have been told where to stop.
            Some(end) if self.at > end => {
                let beyond = usize::try_from(self.at - end).unwrap_or(usize::MAX);
                self.at = end;
                match self.meta.length {
                    Some(length) if end == length => {
                        Err(Failure::Malformed("its body is longer than it said".to_owned()))
                    }
                    _ => Ok(bytes.slice(..bytes.len().saturating_sub(beyond))),
                }
            }
            _ => Ok(bytes),
        }
    }

    async fn count(&mut self, source: Source, bytes: u64) {
        if source == Source::Seed {
            self.seed_bytes += bytes;
        }
        metrics::counter!("dragonfly_client_unstored_traffic").increment(bytes);
        self.peer.limits().received(source, &self.task, bytes).await;
    }

    /// Returns when somebody may be asked again.
    async fn again(&mut self, source: Source, failure: Failure) -> Result<(), Failure> {
        self.sender = None;
        if source == Source::Seed {
            tracing::debug!(task = %self.task.id(), %failure, "a seed peer breaks off");
            return Ok(());
        }
        let landed = Landed { bytes: self.at, still_for: self.stillness.lasts() };
        from_origin::try_again(&self.peer, &self.task, &self.door, &mut self.retries, failure, landed)?;
        tokio::time::sleep_until(self.retries.not_before).await;
        Ok(())
    }

    async fn sender(&mut self) -> Result<&mut Sender, Failure> {
        let sender = match self.sender.take() {
            Some(sender) => sender,
            None => match self.ask_seeds().await {
                Some(answer) => Sender::Seed(answer),
                None => self.ask_origin().await?,
            },
        };
        Ok(self.sender.insert(sender))
    }

    async fn ask_seeds(&mut self) -> Option<connections::Answer> {
        let range = ByteRange::new(self.at, self.end?)?;
        while let Some(seed) = self.seeds.pop() {
            let asked = self.peer.ask_for_content(&seed, self.task.id(), Ask { range, checked: false });
            match tokio::time::timeout(patience(SILENCE, self.stillness.lasts()), asked).await {
                Ok(Ok(answer)) if is_part(&answer, range, self.meta.length) => return Some(answer),
                refused => {
                    tracing::debug!(task = %self.task.id(), seed = seed.url, failed = ?refused.map(|answer| answer.err()), "a seed peer does not have it")
                }
            }
        }
        None
    }

    async fn ask_origin(&mut self) -> Result<Sender, Failure> {
        let until = self.end.filter(|end| self.at > 0 || Some(*end) != self.meta.length);
        let asked = Asked { from: self.at, until };
        let patience = patience(SILENCE, self.stillness.lasts());
        let question = Question { asked, validator: self.meta.validator.clone(), patience };
        let answer =
            origin::open(self.peer.upstream(), &self.door, &self.task.spec(), question, &self.stillness).await?;
        let Facts { length, start, .. } = answer.facts;
        let known = self.meta.validator.as_deref().filter(|_| self.meta.digest.is_none());
        if known.is_some_and(|known| !answer.facts.is_version(known)) || differs(length, self.meta.length) {
            return Err(Failure::Malformed("the content changed while it was read".to_owned()));
        }
        let skip = self.at.saturating_sub(start);
        Ok(Sender::Origin { body: answer.body, skip, _permit: answer.permit })
    }
}

// === impl Sender ===

impl Sender {
    fn source(&self) -> Source {
        match self {
            Self::Seed(_) => Source::Seed,
            Self::Origin { .. } => Source::Origin,
        }
    }

    async fn next(&mut self, patience: Duration) -> Result<Option<Bytes>, Failure> {
        let next = async {
            match self {
                Self::Seed(answer) => answer.next().await.map_err(|error| Failure::Unreachable(error.to_string())),
                Self::Origin { body, .. } => body.next().await.transpose().map_err(origin::unreachable),
            }
        };
        let silent = |_| Failure::Unreachable(format!("it has sent nothing for {patience:?}"));
        tokio::time::timeout(patience, next).await.map_err(silent)?
    }
}

/// What the content is, of somebody who knows: our record, a seed peer, the origin.
async fn outline(peer: &Peer, task: &Task) -> Result<Meta, Failure> {
    if let Some(meta) = task.stored().meta() {
        return Ok(meta);
    }
    let spec = task.spec();
    let digest = spec.digest.clone();
    let told = peer.seeds_holding(task.id()).await.into_iter().find(|(_, list)| list.length.is_some());
    if let Some((_, list)) = told.filter(|_| digest.is_some() && !peer.distrusts_parents_of(task.id())) {
        let piece_length = spec.piece_length(list.length);
        return Ok(Meta {
            length: list.length,
            piece_length,
            content_type: list.content_type,
            digest,
            validator: None,
        });
    }
    let asked = Asked { from: 0, until: Some(1) };
    let door = Door::new(peer.upstream().redirect_kept());
    let question = Question { asked, validator: None, patience: SILENCE };
    let facts = origin::open(peer.upstream(), &door, &task.spec(), question, &Stillness::default()).await?.facts;
    let validator = facts.validator().map(str::to_owned);
    let piece_length = spec.piece_length(facts.length);
    Ok(Meta { length: facts.length, piece_length, content_type: facts.content_type, digest, validator })
}

/// With what is stored before `at` hashed already. `None` when that is not here, or nothing to compare with.
async fn begin_check(peer: &Peer, task: &Task, at: u64) -> Option<(ContentHasher, Digest)> {
    let expected = task.spec().digest?;
    let mut hasher = ContentHasher::new(expected.algorithm());
    if at > 0 {
        let Available::Bytes(bytes) = task.stored().available(0, Trust::Checked) else { return None };
        if bytes < at {
            return None;
        }
        hasher = hash_range(peer, task.stored(), 0..at, hasher).await.ok()?;
    }
    Some((hasher, expected))
}

fn is_part(answer: &connections::Answer, asked: ByteRange, total: Option<u64>) -> bool {
    let given = answer.headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()?.parse::<ContentRange>().ok());
    given.is_some_and(|given| given.range == Some(asked) && given.total == total)
}

fn differs(one: Option<u64>, other: Option<u64>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}
