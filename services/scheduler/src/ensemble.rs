//! One state for any number of schedulers behind one URL: each has all of it in memory, and all apply the same events in
//! the one order of the [`Journal`].
//!
//! **Invariants.** An answer follows from its event at that event's place in the order, so that any scheduler would give
//! it. Only one task of a process writes and reads, with all that is asked meanwhile in one go; nobody waits for it for
//! longer than [`PATIENCE`]. No credential is written: who would be sent to the origin with one goes there itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use df_api::task::content_url;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::event::{Event, Outcome, Settings};
use crate::journal::{Beginning, Journal, Mark, PAGE, Written};
use crate::policy::Policy;
use crate::replica::Replica;
use crate::state::State;

/// Cheap to clone.
#[derive(Clone)]
pub struct Ensemble {
    inner: Arc<Inner>,
}

struct Inner {
    journal: Journal,
    replica: Arc<Replica>,
    /// Of its file.
    own: Settings,
    /// Nobody else says what is in force.
    insists: bool,
    queue: Mutex<Queue>,
    /// Up to here the replica has everything; held by who writes. `None` until it knows anything.
    known: tokio::sync::Mutex<Option<Mark>>,
    /// The position of that, for who hears of new entries.
    position: AtomicI64,
    /// So that an outage is in the log twice: when it begins and when it ends.
    failing: AtomicBool,
    caught_up: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Somebody is about to look at it.
    served: bool,
}

struct Waiting {
    /// `None`: only wants to know what others have done.
    told: Option<Told>,
    done: oneshot::Sender<Option<Outcome>>,
}

struct Told {
    event: Event,
    bytes: Vec<u8>,
}

/// The caller can try again, and has other ways: see the log of the scheduler for why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database with the state of this cluster does not answer; try again, or do without a scheduler")]
pub struct Unreachable;

#[derive(Debug, thiserror::Error)]
enum JournalError {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error("an entry of the journal cannot be read: {0}")]
    Read(#[from] rmp_serde::decode::Error),
    #[error("the state cannot be written: {0}")]
    Write(#[from] rmp_serde::encode::Error),
    #[error("the journal was begun anew again and again")]
    Unsteady,
}

/// For all that one question needs.
const PATIENCE: Duration = Duration::from_secs(8);
/// One entry has no more events than this, and is not much longer.
const EVENTS_MAX: usize = 500;
const ENTRY_BYTES: usize = 1024 * 1024;
/// A state is saved when the entries after the last one are twice as long, and at least this.
const UNSAVED_MIN: i64 = 256 * 1024;
/// So often is a journal that has changed under the reader begun again.
const ATTEMPTS: usize = 4;

// === impl Ensemble ===

impl Ensemble {
    /// `insists`: what the file says is in force, also against what schedulers before this one have said.
    pub fn new(journal: Journal, own: Settings, insists: bool) -> Self {
        let inner = Inner {
            journal,
            replica: Arc::new(Replica::new(State::new(Policy::default(), 1))),
            own,
            insists,
            queue: Mutex::default(),
            known: tokio::sync::Mutex::default(),
            position: AtomicI64::new(0),
            failing: AtomicBool::new(false),
            caught_up: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn replica(&self) -> Arc<Replica> {
        self.inner.replica.clone()
    }

    pub fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    pub async fn tell(&self, event: Event) -> Result<Outcome, Unreachable> {
        let event = without_secrets(event);
        match rmp_serde::to_vec_named(&event) {
            Ok(bytes) => self.ask(Some(Told { event, bytes })).await,
            Err(error) => {
                tracing::error!(%error, "an event cannot be written");
                Err(Unreachable)
            }
        }
    }

    pub async fn catch_up(&self) -> Result<(), Unreachable> {
        self.ask(None).await.map(drop)
    }

    /// Unless that was done a moment ago: many wait, and one look is enough for all.
    pub async fn catch_up_within(&self, moment: Duration) -> Result<(), Unreachable> {
        let recent = self.inner.caught_up.lock().is_some_and(|at| at.elapsed() < moment);
        if recent { Ok(()) } else { self.catch_up().await }
    }

    /// Somebody has written an entry.
    pub async fn hear(&self, said: &str) -> Result<(), Unreachable> {
        let news = self.inner.journal.heard(said).is_some_and(|at| at > self.inner.position.load(Ordering::Relaxed));
        if news { self.catch_up().await } else { Ok(()) }
    }

    async fn ask(&self, told: Option<Told>) -> Result<Outcome, Unreachable> {
        let (done, outcome) = oneshot::channel();
        let serve = {
            let mut queue = self.inner.queue.lock();
            queue.waiting.push_back(Waiting { told, done });
            !std::mem::replace(&mut queue.served, true)
        };
        if serve {
            // On its own, because who asks may go away in the middle of it.
            tokio::spawn(serve_queue(self.inner.clone()));
        }
        let outcome = tokio::time::timeout(PATIENCE, outcome).await;
        outcome.ok().and_then(Result::ok).flatten().ok_or(Unreachable)
    }
}

/// Bearer tokens and signatures of URLs stay in memory: a seed cannot be sent with them, so the asker itself is.
fn without_secrets(mut event: Event) -> Event {
    if let Event::Peer(_, _, report) = &mut event {
        let origin = &mut report.origin;
        let url = content_url(&origin.url, &[]);
        origin.node_only |= origin.authorization.take().is_some() || url != origin.url;
        origin.url = url;
    }
    event
}

/// Until nobody waits any more.
async fn serve_queue(inner: Arc<Inner>) {
    let _serving = Serving(inner.clone());
    let mut known = inner.known.lock().await;
    loop {
        let waiting = inner.queue.lock().take();
        if waiting.is_empty() {
            return;
        }
        let (told, done): (Vec<_>, Vec<_>) = waiting.into_iter().map(|one| (one.told, one.done)).unzip();
        // Taken out, so that one who breaks off in the middle leaves nothing half known.
        let mut at = known.take();
        let answered = inner.round(&mut at, told).await;
        *known = at;
        inner.note(answered.as_ref().err());
        *inner.caught_up.lock() = answered.is_ok().then(Instant::now);
        let outcomes = answered.unwrap_or_default().into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        for (done, outcome) in done.into_iter().zip(outcomes) {
            // Who has gone away does not want to know.
            drop(done.send(outcome));
        }
    }
}

/// Lets the next one begin anew when this one has panicked.
struct Serving(Arc<Inner>);

impl Drop for Serving {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.queue.lock() = Queue::default();
        }
    }
}

// === impl Queue ===

impl Queue {
    /// As much as fits into one entry. Nobody serves it any more when that is nothing.
    fn take(&mut self) -> Vec<Waiting> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < EVENTS_MAX && bytes < ENTRY_BYTES {
            let Some(waiting) = self.waiting.pop_front() else { break };
            bytes += waiting.told.as_ref().map_or(0, |told| told.bytes.len());
            taken.push(waiting);
        }
        self.served = !taken.is_empty();
        taken
    }
}

// === impl Inner ===

impl Inner {
    /// The outcomes in the order of what was asked; of who told nothing [`Outcome::Done`].
    async fn round(&self, at: &mut Option<Mark>, asked: Vec<Option<Told>>) -> Result<Vec<Outcome>, JournalError> {
        let tells: Vec<bool> = asked.iter().map(Option::is_some).collect();
        let told: Vec<_> = asked.into_iter().flatten().collect();
        let answered = match told.is_empty() {
            true => self.read_on(at, None).await,
            false => self.write(at, told).await,
        };
        if let Err(JournalError::Read(_)) = answered {
            *at = None;
            self.journal.forget().await?;
        }
        let mut outcomes = answered?.into_iter();
        Ok(tells.into_iter().map_while(|tells| if tells { outcomes.next() } else { Some(Outcome::Done) }).collect())
    }

    async fn write(&self, at: &mut Option<Mark>, told: Vec<Told>) -> Result<Vec<Outcome>, JournalError> {
        let bytes = told.iter().flat_map(|told| &told.bytes).copied().collect::<Vec<u8>>();
        let written = self.append(at, &bytes).await?;
        let outcomes = match at.filter(|at| at.id == written.before) {
            Some(_) => self.follow(at, written.mark, told.into_iter().map(|told| told.event).collect()),
            // Others have written in between.
            None => self.read_on(at, Some(written.mark.id)).await?,
        };
        if written.unsaved_bytes > UNSAVED_MIN.max(2 * written.saved_bytes)
            && let Some(at) = *at
        {
            // Who asked has an answer all the same, and the next entry tries again.
            self.save(at).await.unwrap_or_else(|error| tracing::warn!(%error, "the state of the cluster is not saved"));
        }
        Ok(outcomes)
    }

    async fn save(&self, at: Mark) -> Result<(), JournalError> {
        let state = self.replica.look(|state, _| rmp_serde::to_vec_named(state))?;
        Ok(self.journal.save(at, &state).await?)
    }

    async fn append(&self, at: &mut Option<Mark>, bytes: &[u8]) -> Result<Written, JournalError> {
        for _ in 0..ATTEMPTS {
            if at.is_none() {
                self.read_on(at, None).await?;
            }
            let most = self.replica.look(|state, _| Duration::from_millis(state.policy.expiry_ms()));
            match self.journal.append(bytes, most).await? {
                Some(written) => return Ok(written),
                // It has been begun anew, or will be.
                None => *at = None,
            }
        }
        Err(JournalError::Unsteady)
    }

    /// All that has been written. The outcomes are those of one's own entry.
    async fn read_on(&self, at: &mut Option<Mark>, own: Option<i64>) -> Result<Vec<Outcome>, JournalError> {
        let mut outcomes = None;
        for _ in 0..ATTEMPTS {
            let starts = at.is_none();
            if starts {
                *at = Some(self.load().await?);
            }
            let follows = self.follow_all(at, own, &mut outcomes).await?;
            if !follows || own.is_some() && outcomes.is_none() {
                // The database has forgotten something, or all of it, and others have gone on from there.
                *at = None;
            } else if starts && self.says_otherwise(*at) {
                let event = Event::Settings(Box::new(self.own.clone()));
                self.journal.append(&rmp_serde::to_vec_named(&event)?, Duration::ZERO).await?;
            } else {
                return Ok(outcomes.unwrap_or_default());
            }
        }
        Err(JournalError::Unsteady)
    }

    async fn load(&self) -> Result<Mark, JournalError> {
        let Beginning { began_us, from, state } = self.journal.begin().await?;
        let state = match state {
            Some(state) => rmp_serde::from_slice(&state)?,
            // Above the numbers of whatever was before.
            None => State::new(Policy::default(), u64::try_from(began_us).unwrap_or(1)),
        };
        self.replica.replace(from.at_ms(), state);
        Ok(from)
    }

    /// Says whether what has been written follows from what is known.
    async fn follow_all(
        &self,
        at: &mut Option<Mark>,
        own: Option<i64>,
        outcomes: &mut Option<Vec<Outcome>>,
    ) -> Result<bool, JournalError> {
        loop {
            let entries = self.journal.read_after(at.map_or(0, |at| at.position)).await?;
            let last = (entries.len() as i64) < PAGE;
            for entry in entries {
                if at.is_none_or(|at| at.id != entry.before) {
                    return Ok(false);
                }
                let followed = self.follow(at, entry.mark, read_events(&entry.events)?);
                if own == Some(entry.mark.id) {
                    *outcomes = Some(followed);
                }
            }
            if last {
                return Ok(true);
            }
        }
    }

    fn follow(&self, at: &mut Option<Mark>, mark: Mark, events: Vec<Event>) -> Vec<Outcome> {
        *at = Some(mark);
        self.position.store(mark.position, Ordering::Relaxed);
        self.replica.apply_all(mark.at_ms(), events)
    }

    /// Nobody has said yet what is in force, or the file alone says so.
    fn says_otherwise(&self, at: Option<Mark>) -> bool {
        let new = at.is_some_and(|at| at.position == 0);
        new || self.insists && self.replica.look(|state, _| !state.is_following(&self.own))
    }

    fn note(&self, error: Option<&JournalError>) {
        match (error, self.failing.swap(error.is_some(), Ordering::Relaxed)) {
            (Some(error), false) => tracing::warn!(%error, "the state of the cluster is out of reach"),
            (None, true) => tracing::info!("the state of the cluster is within reach again"),
            _ => {}
        }
    }
}

/// One after the other.
fn read_events(mut bytes: &[u8]) -> Result<Vec<Event>, rmp_serde::decode::Error> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        events.push(rmp_serde::from_read(&mut bytes)?);
    }
    Ok(events)
}
