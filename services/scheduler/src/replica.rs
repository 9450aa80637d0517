//! The state of the cluster in this process, with its clock and its bells: an event changes the state, a change rings the
//! bells of those whom it may concern.
//!
//! **Invariant.** The lock is never held across an await. Time does not run backwards from one event to the next.

use std::time::Duration;

use df_api::{HostId, TaskId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bells::Bells;
use crate::event::{Event, Outcome};
use crate::state::State;

#[derive(Debug)]
pub struct Replica {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    bells: Bells,
    clock: Clock,
}

/// The state's time, in milliseconds since it began, and when that was.
#[derive(Clone, Copy, Debug)]
struct Clock {
    at_ms: u64,
    seen: Instant,
}

// === impl Replica ===

impl Replica {
    pub fn new(state: State) -> Self {
        let clock = Clock { at_ms: 0, seen: Instant::now() };
        Self { inner: Mutex::new(Inner { state, bells: Bells::default(), clock }) }
    }

    pub fn apply(&self, event: Event) -> Outcome {
        let mut inner = self.inner.lock();
        // Read under the lock, so that it does not run backwards.
        let now_ms = inner.clock.now_ms();
        let outcome = event.apply(&mut inner.state, now_ms);
        inner.ring();
        outcome
    }

    /// What others have seen happen, too, and when.
    pub fn apply_all(&self, now_ms: u64, events: Vec<Event>) -> Vec<Outcome> {
        let mut inner = self.inner.lock();
        inner.clock = Clock { at_ms: now_ms, seen: Instant::now() };
        let outcomes = events.into_iter().map(|event| event.apply(&mut inner.state, now_ms)).collect();
        inner.ring();
        outcomes
    }

    /// All may be different now, so everybody looks again.
    pub fn replace(&self, now_ms: u64, state: State) {
        let mut inner = self.inner.lock();
        inner.clock = Clock { at_ms: now_ms, seen: Instant::now() };
        inner.state = state;
        inner.bells.ring_all();
    }

    /// See [`Event::foresee`].
    pub fn foresee(&self, event: &Event) -> Option<Outcome> {
        self.look(|state, now_ms| event.foresee(state, now_ms))
    }

    pub fn look<T>(&self, look: impl FnOnce(&State, u64) -> T) -> T {
        let inner = self.inner.lock();
        look(&inner.state, inner.clock.now_ms())
    }

    /// When the state's time will be that.
    pub fn instant(&self, at_ms: u64) -> Instant {
        let Clock { at_ms: seen_ms, seen } = self.inner.lock().clock;
        seen + Duration::from_millis(at_ms.saturating_sub(seen_ms))
    }

    // --- bells ---

    pub fn host_bell(&self, id: &HostId) -> watch::Receiver<()> {
        self.inner.lock().bells.host(id)
    }

    pub fn peer_bell(&self, task: &TaskId, host: &HostId) -> watch::Receiver<()> {
        self.inner.lock().bells.peer(task, host)
    }

    pub fn orders_bell(&self) -> watch::Receiver<()> {
        self.inner.lock().bells.orders()
    }

    pub fn forget_bells(&self) {
        self.inner.lock().bells.forget();
    }
}

// === impl Inner ===

impl Inner {
    fn ring(&mut self) {
        for ring in self.state.take_rings() {
            self.bells.ring(&ring);
        }
    }
}

// === impl Clock ===

impl Clock {
    fn now_ms(&self) -> u64 {
        let since_ms = u64::try_from(self.seen.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.saturating_add(since_ms)
    }
}
