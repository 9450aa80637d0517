//! Fetching what is missing from the origin: a few ranges at once where it knows ranges, else one stream; resumed where
//! they broke.
//!
//! **Invariant.** One version of the content, and no byte asked twice in the normal case. `plan_origin` and `Retries`
//! decide; this asks.

mod plan;
mod retries;
mod steps;
mod stream;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use df_api::task::{PIECE_LENGTH_MIN, piece_count};
use df_store::{Meta, PieceError, PieceWriter, StoreError};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::origin::{self, Answer, Asked, Door, Facts, Question};
use crate::peer::Peer;
use crate::task::{Failure, Task};
pub use plan::{View, plan_origin};
use retries::Verdict;
use stream::Pour;

pub(crate) use retries::{Landed, RETRY_AFTER_MAX, Retries, patience};

/// One request asks for this much at most.
pub const RUN_BYTES: u64 = 16 * 1024 * 1024;
/// And for this much when many tasks take turns: each gets on, if slowly.
const RUN_BYTES_IN_TURNS: u64 = 4 * 1024 * 1024;
/// Runs are asked for ahead of readers as far as the origin gets in this time.
pub const AHEAD: Duration = Duration::from_secs(3);
/// How long an origin may think before its first answer, and before later ones: less, when others were waited for before.
const FIRST_ANSWER: Duration = Duration::from_secs(28);
const LATER_ANSWER: Duration = Duration::from_secs(8);

/// Returns when every piece is marked.
pub(crate) async fn fetch(peer: &Arc<Peer>, task: &Arc<Task>) -> Result<(), Failure> {
    OriginRun::new(peer.clone(), task.clone()).run().await
}

struct OriginRun {
    peer: Arc<Peer>,
    task: Arc<Task>,
    door: Arc<Door>,
    mode: Mode,
    flights: FuturesUnordered<BoxFuture<'static, Event>>,
    /// Flight → the pieces it is to bring.
    in_flight: Vec<(u64, Range<u32>)>,
    /// Pieces whose stream broke: what landed of them stays.
    begun: Vec<PieceWriter>,
    /// Of the content, as its first answer had it. Not needed where a digest decides in the end.
    validator: Option<String>,
    retries: Retries,
    next_flight: u64,
    began: Instant,
    /// Bytes of this task from the origin before.
    brought_before: u64,
}

/// How the origin can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// It has not answered yet: one request, so that a small content costs no more.
    Unknown,
    Ranges,
    /// It ignores ranges, or does not know where the content ends: one stream.
    Whole,
}

enum Event {
    Answered(u64, Option<PieceWriter>, Result<Answer, Failure>),
    Poured(u64, Option<PieceWriter>, Result<(), Failure>),
}

// === impl OriginRun ===

impl OriginRun {
    fn new(peer: Arc<Peer>, task: Arc<Task>) -> Self {
        let validator = task.stored().meta().and_then(|meta| meta.validator);
        let brought_before = task.received().origin_bytes;
        let retries = Retries::new(Instant::now(), task.stored().snapshot().landed_bytes);
        Self {
            door: Arc::new(Door::new(peer.upstream().redirect_kept())),
            peer,
            task,
            mode: Mode::Unknown,
            flights: FuturesUnordered::new(),
            in_flight: Vec::new(),
            begun: Vec::new(),
            validator,
            retries,
            next_flight: 0,
            began: Instant::now(),
            brought_before,
        }
    }

    async fn run(mut self) -> Result<(), Failure> {
        let mut changes = self.task.stored().subscribe();
        loop {
            changes.borrow_and_update();
            if self.task.has_wanted() {
                return Ok(());
            }
            let paused = Instant::now() < self.retries.not_before;
            if !paused {
                self.launch();
            }
            tokio::select! {
                Some(event) = self.flights.next() => self.take(event)?,
                () = tokio::time::sleep_until(self.retries.not_before), if paused => {}
                // A reader may have come who wants something else first; of one stream, a part may be enough.
                Ok(()) = changes.changed(), if self.mode == Mode::Ranges || !self.task.wants_whole() => {}
            }
        }
    }

    fn launch(&mut self) {
        match self.mode {
            Mode::Ranges => {
                let streams = self.peer.config().download.origin_streams.max(1);
                for run in self.plan(streams) {
                    if !self.flights.is_empty() && !self.peer.upstream().origins().is_calm() {
                        return;
                    }
                    self.launch_run(run);
                }
            }
            Mode::Unknown | Mode::Whole if !self.flights.is_empty() => {}
            Mode::Unknown => match self.plan(1).pop() {
                Some(run) => self.launch_run(run),
                None => self.launch_to_the_end(),
            },
            Mode::Whole => self.launch_to_the_end(),
        }
    }

    /// Nothing while the content, or its length, is not known.
    fn plan(&self, streams: usize) -> Vec<Range<u32>> {
        let snapshot = self.task.stored().snapshot();
        let Some(meta) = snapshot.meta else { return Vec::new() };
        let Meta { length: Some(length), piece_length, .. } = meta else { return Vec::new() };
        let in_flight: Vec<_> = self.in_flight.iter().map(|(_, run)| run.clone()).collect();
        let begun: Vec<_> = self.begun.iter().map(PieceWriter::index).collect();
        let readers: Vec<_> = self.task.readers().offsets().into_iter().map(|at| piece_at(at, piece_length)).collect();
        let pieces = piece_count(length, piece_length);
        plan_origin(&View {
            held: &self.task.wanted().spare(&snapshot.pieces, &meta, pieces),
            pieces,
            in_flight: &in_flight,
            begun: &begun,
            readers: &readers,
            run_pieces: piece_at(self.run_bytes(), piece_length),
            streams,
            ahead: self.ahead(),
        })
    }

    fn run_bytes(&self) -> u64 {
        if self.peer.upstream().origins().is_calm() { RUN_BYTES } else { RUN_BYTES_IN_TURNS }
    }

    /// So many runs as the origin brings within [`AHEAD`], at the pace it has shown.
    fn ahead(&self) -> usize {
        let took = self.began.elapsed().as_secs_f64().max(0.001);
        let brought = self.task.received().origin_bytes.saturating_sub(self.brought_before);
        let runs = brought as f64 / took * AHEAD.as_secs_f64() / RUN_BYTES as f64;
        runs as usize
    }

    fn launch_run(&mut self, run: Range<u32>) {
        let Some(meta) = self.task.stored().meta() else { return };
        let writer = self.take_begun(run.start);
        let start = u64::from(run.start) * meta.piece_length;
        let from = writer.as_ref().and_then(PieceWriter::rest).map_or(start, |rest| rest.start);
        let end = u64::from(run.end) * meta.piece_length;
        let until = Some(meta.length.map_or(end, |length| end.min(length)));
        self.ask(run, writer, Asked { from, until });
    }

    /// One stream from the first missing byte on; of a content that nobody knows, a bounded part.
    fn launch_to_the_end(&mut self) {
        let snapshot = self.task.stored().snapshot();
        let Some(meta) = snapshot.meta else {
            let until = if self.mode == Mode::Whole { None } else { Some(self.first_bytes()) };
            return self.ask(0..u32::MAX, None, Asked { from: 0, until });
        };
        let first = snapshot.pieces.first_missing(0);
        let writer = self.take_begun(first);
        // An origin that begins again will pass by what is here; half a piece elsewhere would only be in its way.
        self.begun.clear();
        let start = u64::from(first) * meta.piece_length;
        let from = writer.as_ref().and_then(PieceWriter::rest).map_or(start, |rest| rest.start);
        self.ask(first..u32::MAX, writer, Asked { from, until: None });
    }

    /// Of a content that nobody knows. Of one of which a part is wanted, the first byte tells how it is cut, unless it is
    /// wanted itself.
    fn first_bytes(&self) -> u64 {
        match self.task.wanted().first() {
            None => self.run_bytes(),
            Some(part) if part.start == 0 => {
                part.end.checked_next_multiple_of(PIECE_LENGTH_MIN).unwrap_or(u64::MAX).min(self.run_bytes())
            }
            Some(_) => 1,
        }
    }

    fn take_begun(&mut self, piece: u32) -> Option<PieceWriter> {
        let at = self.begun.iter().position(|writer| writer.index() == piece)?;
        Some(self.begun.swap_remove(at))
    }

    fn ask(&mut self, run: Range<u32>, writer: Option<PieceWriter>, asked: Asked) {
        let flight = self.next_flight;
        self.next_flight += 1;
        self.in_flight.push((flight, run));
        let usual = if self.mode == Mode::Unknown { FIRST_ANSWER } else { LATER_ANSWER };
        let patience = patience(usual, self.task.stillness().lasts());
        let question = Question { asked, validator: self.validator.clone(), patience };
        let (peer, task, door) = (self.peer.clone(), self.task.clone(), self.door.clone());
        self.flights.push(Box::pin(async move {
            let answer = origin::open(peer.upstream(), &door, &task.spec(), question, task.stillness()).await;
            Event::Answered(flight, writer, answer)
        }));
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        let (flight, writer, result) = match event {
            Event::Answered(flight, writer, Ok(answer)) => return self.pour(flight, writer, answer),
            Event::Answered(flight, writer, Err(failure)) => (flight, writer, Err(failure)),
            Event::Poured(flight, writer, result) => (flight, writer, result),
        };
        self.in_flight.retain(|(known, _)| *known != flight);
        self.begun.extend(writer);
        result.or_else(|failure| self.failed(failure))
    }

    /// The headers are good: from now on it is known what can be asked, and the body may be written.
    fn pour(&mut self, flight: u64, writer: Option<PieceWriter>, answer: Answer) -> Result<(), Failure> {
        self.describe(&answer.facts)?;
        let Some(meta) = self.task.stored().meta() else { return Ok(()) };
        self.mode = if answer.facts.ranges && meta.length.is_some() { Mode::Ranges } else { Mode::Whole };
        let first = piece_at(answer.asked.from, meta.piece_length);
        let end = answer.facts.end.map_or(u32::MAX, |end| piece_at(end.div_ceil(meta.piece_length), 1));
        if let Some((_, run)) = self.in_flight.iter_mut().find(|(known, _)| *known == flight) {
            *run = first..end;
        }
        let mut pour = Pour { task: self.task.clone(), limits: self.peer.limits().clone(), writer };
        self.flights.push(Box::pin(async move {
            let poured = pour.run(answer, meta.piece_length).await;
            Event::Poured(flight, pour.writer, poured)
        }));
        Ok(())
    }

    fn describe(&mut self, facts: &Facts) -> Result<(), Failure> {
        let spec = self.task.spec();
        let digest = spec.digest.clone();
        if digest.is_none() {
            if self.validator.as_deref().is_some_and(|known| !facts.is_version(known)) {
                return Err(Failure::Malformed("the content changed while it was read".to_owned()));
            }
            if self.validator.is_none() {
                self.validator = facts.validator().map(str::to_owned);
            }
        }
        let described = self.task.stored().describe(Meta {
            length: facts.length,
            piece_length: spec.piece_length(facts.length),
            content_type: facts.content_type.clone(),
            digest,
            validator: self.validator.clone(),
        });
        described.map_err(storage)?.map_err(|conflict| Failure::Malformed(conflict.to_string()))
    }

    fn failed(&mut self, failure: Failure) -> Result<(), Failure> {
        let bytes = self.task.stored().snapshot().landed_bytes;
        let landed = Landed { bytes, still_for: self.task.stillness().lasts() };
        try_again(&self.peer, &self.task, &self.door, &mut self.retries, failure, landed)
    }
}

/// The failure itself when it is the last; otherwise `retries` says from when on the origin may be asked again.
pub(crate) fn try_again(
    peer: &Peer,
    task: &Task,
    door: &Door,
    retries: &mut Retries,
    failure: Failure,
    landed: Landed,
) -> Result<(), Failure> {
    if !failure.may_pass() {
        return Err(failure);
    }
    let asked = origin::wait_asked_for(&failure);
    let again = match retries.failed(Instant::now(), landed, asked, fastrand::f64()) {
        Verdict::Resume => true,
        Verdict::Again => peer.upstream().may_retry(&task.spec().origin, door.front()),
        Verdict::GiveUp => false,
    };
    if !again {
        return Err(failure);
    }
    tracing::debug!(task = %task.id(), %failure, "asking the origin again");
    Ok(())
}

fn piece_at(offset: u64, piece_length: u64) -> u32 {
    u32::try_from(offset / piece_length).unwrap_or(u32::MAX)
}

pub(crate) fn storage(error: impl Into<StoreError>) -> Failure {
    Failure::Storage(error.into())
}

pub(crate) fn piece(error: PieceError) -> Failure {
    match error {
        PieceError::Write { source, .. } => Failure::Storage(source),
        // Its own piece, and its own count: it cannot be short or wrong.
        error => storage(std::io::Error::other(error)),
    }
}
