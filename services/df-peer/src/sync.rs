//! A peer's side of sync: tell the scheduler the whole state, take the decision, at the scheduler's pace or when poked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use df_api::scheduler::{
    Complaint, ComplaintReason, Decision, Parent, PeerDecision, PeerReport, PeerState, Row, TaskFacts, Wants,
};
use df_api::{Code, PeerId, TaskId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tracing::Instrument as _;

use crate::peer::Peer;
use crate::reporter::ReportError;
use crate::task::Task;

/// What the cluster says.
#[derive(Clone, Debug)]
pub(crate) enum Advice {
    /// Not answered yet.
    Pending,
    /// No scheduler answers, or there is none: decide alone.
    Alone,
    Decided(Arc<PeerDecision>),
}

/// How long a scheduler may hold back an answer that says nothing new; it has limits of its own. An answer that gets lost
/// is missed for so long.
const HOLD: Duration = Duration::from_secs(5);
/// A scheduler that cannot be reached is tried again after this.
pub const RETRY: Duration = Duration::from_secs(1);
/// One that has not answered by then, besides the time it may hold an answer back, is passed over: the next is asked.
const ANSWERED_WITHIN: Duration = Duration::from_millis(1200);
pub const LAST_ANSWERED_WITHIN: Duration = Duration::from_secs(3);
const REFRESH_MIN: Duration = Duration::from_millis(100);
const REFRESH_MAX: Duration = Duration::from_secs(5);
/// More parents than a task ever has.
const COMPLAINTS_MAX: usize = 256;

/// Reports one task while it downloads; stops when dropped.
pub(crate) struct Sync {
    shared: Arc<Shared>,
    advice: watch::Receiver<Advice>,
    task: AbortHandle,
}

struct Shared {
    peer: Arc<Peer>,
    task: Arc<Task>,
    complaints: Mutex<Vec<Complaint>>,
    /// Who has brought any marked piece.
    suppliers: Mutex<BTreeMap<PeerId, Parent>>,
    poke: Notify,
}

/// What the last answer was: told back, so that it need not be repeated, and is known to a scheduler that has just
/// started.
#[derive(Clone, Copy, Default)]
struct Last {
    version: Option<u64>,
    row: Option<Row>,
    hold: Duration,
}

/// How long the scheduler may hold back its answer to the report after this decision. It answers sooner when the row
/// changes: whoever knows its new mates half a second late reads meanwhile what they would have brought.
pub fn hold_after(told: &PeerDecision) -> Duration {
    match told.decision {
        Decision::Wait => HOLD,
        // The scheduler does not hold it back for longer.
        Decision::Parents => refresh(told).min(HOLD),
        Decision::Origin | Decision::Nobody | Decision::Unchanged => Duration::ZERO,
    }
}

/// After which pause to report again. The answer took so long, and may be held back for `hold` the next time.
pub fn pause_after(decision: &PeerDecision, hold: Duration, took: Duration) -> Duration {
    let refresh = refresh(decision);
    // A poll that was not held back, of one task among many, is not repeated at once.
    let in_time = decision.decision != Decision::Unchanged || took >= refresh;
    if !hold.is_zero() && in_time { REFRESH_MIN } else { refresh }
}

fn refresh(decision: &PeerDecision) -> Duration {
    Duration::from_millis(decision.refresh_after_ms).clamp(REFRESH_MIN, REFRESH_MAX)
}

// === impl Sync ===

impl Sync {
    pub fn start(peer: Arc<Peer>, task: Arc<Task>) -> Self {
        let shared = Arc::new(Shared::new(peer, task));
        let (sender, advice) = watch::channel(Advice::Pending);
        let reporting = tokio::spawn(shared.clone().run(sender).in_current_span());
        Self { shared, advice, task: reporting.abort_handle() }
    }

    pub fn advice(&self) -> watch::Receiver<Advice> {
        self.advice.clone()
    }

    /// Something has changed that the cluster should know at once.
    pub fn poke(&self) {
        self.shared.poke.notify_one();
    }

    /// About parents; they count until the task ends. The worst said of each stands.
    pub fn complain(&self, complaint: Complaint) {
        let mut complaints = self.shared.complaints.lock();
        let full = complaints.len() >= COMPLAINTS_MAX;
        match complaints.iter_mut().find(|known| known.peer_id == complaint.peer_id) {
            Some(known) if known.reason == complaint.reason => return,
            Some(known) if known.reason == ComplaintReason::WrongBytes => return,
            Some(known) => *known = complaint,
            None if full => return,
            None => complaints.push(complaint),
        }
        drop(complaints);
        self.shared.poke.notify_one();
    }

    /// A parent that was full, or seemed to be gone, is asked again.
    pub fn retract(&self, peer: &PeerId, reason: ComplaintReason) -> bool {
        let mut complaints = self.shared.complaints.lock();
        let before = complaints.len();
        complaints.retain(|complaint| complaint.peer_id != *peer || complaint.reason != reason);
        complaints.len() < before
    }

    /// Whether it is not to be asked any more.
    pub fn complained_of(&self, peer: &PeerId) -> bool {
        let is = |complaint: &Complaint| complaint.peer_id == *peer && complaint.reason != ComplaintReason::Busy;
        self.shared.complaints.lock().iter().any(is)
    }

    /// Also that it is full.
    pub fn has_complaint_about(&self, peer: &PeerId) -> bool {
        self.shared.complaints.lock().iter().any(|complaint| complaint.peer_id == *peer)
    }

    /// A piece of it is marked.
    pub fn supplied(&self, parent: &Parent) {
        let mut suppliers = self.shared.suppliers.lock();
        if !suppliers.contains_key(&parent.peer_id) {
            suppliers.insert(parent.peer_id.clone(), parent.clone());
        }
    }

    pub fn suppliers(&self) -> Vec<Parent> {
        self.shared.suppliers.lock().values().cloned().collect()
    }

    /// The last word on this task. Tried a few times, because others may wait for it.
    pub async fn end(self, state: PeerState) {
        self.task.abort();
        self.shared.end(state).await;
    }

    /// This peer is no part of the task any more, neither as a parent nor at the origin.
    pub async fn leave(self) {
        self.task.abort();
        leave(&self.shared.peer, self.shared.task.id()).await;
    }
}

/// Tells the cluster that this host has all of a task, wherever it is from.
pub(crate) async fn tell_complete(peer: &Arc<Peer>, task: &Arc<Task>) {
    task.set_at_origin(false);
    Shared::new(peer.clone(), task.clone()).end(PeerState::Complete).await;
}

/// Tells the cluster that this host has nothing of a task any more.
pub(crate) async fn leave(peer: &Peer, id: &TaskId) {
    let seq = peer.numbers.next();
    for scheduler in peer.schedulers_of(id) {
        match scheduler.delete_peer(id, &peer.peer_id(), seq).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, "a scheduler was not told that a peer leaves"),
        }
    }
}

impl Drop for Sync {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Shared ===

impl Shared {
    fn new(peer: Arc<Peer>, task: Arc<Task>) -> Self {
        Self { peer, task, complaints: Mutex::default(), suppliers: Mutex::default(), poke: Notify::new() }
    }

    async fn end(&self, state: PeerState) {
        for _ in 0..3 {
            match self.report(state, Last::default(), Duration::ZERO).await {
                Some(Err(error)) => tracing::debug!(%error, "the end of a task was not reported"),
                _ => return,
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn run(self: Arc<Self>, advice: watch::Sender<Advice>) {
        let mut last = Last::default();
        let mut schedulers = self.peer.schedulers().subscribe();
        let mut cluster = self.cluster();
        loop {
            // What another cluster has said means nothing in this one.
            if self.cluster() != cluster {
                (cluster, last) = (self.cluster(), Last::default());
            }
            let asked = Instant::now();
            let reported = tokio::select! {
                reported = self.report(PeerState::Running, last, last.hold) => reported,
                // What is to be said now does not wait for the answer to what was said before.
                () = self.poke.notified(), if !last.hold.is_zero() => continue,
                // Who is no longer asked is not waited for.
                Ok(()) = schedulers.changed() => {
                    last = Last { version: None, ..last };
                    continue;
                }
            };
            let pause = match reported {
                None => {
                    advice.send_replace(Advice::Alone);
                    last = Last { version: None, ..last };
                    RETRY
                }
                Some(Err(error)) => {
                    tracing::debug!(error = df_http::error::chain(&error), "no scheduler answers");
                    advice.send_replace(Advice::Alone);
                    last = Last { version: None, ..last };
                    RETRY
                }
                Some(Ok(decision)) => {
                    if decision.decision != Decision::Unchanged {
                        let (version, hold) = (Some(decision.version), hold_after(&decision));
                        last = Last { version, row: decision.row, hold };
                    }
                    let pause = pause_after(&decision, last.hold, asked.elapsed());
                    match decision.decision {
                        // Who reads may find that it can be followed by now.
                        Decision::Unchanged => advice.send_modify(|_| {}),
                        _ => drop(advice.send_replace(Advice::Decided(Arc::new(decision)))),
                    }
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.poke.notified() => {}
                Ok(()) = schedulers.changed() => {}
            }
        }
    }

    fn cluster(&self) -> Option<i64> {
        self.peer.gate().membership().map(|membership| membership.cluster_id)
    }

    fn wants(&self) -> Wants {
        match (self.task.wants_whole(), self.task.no_origin()) {
            (false, _) => Wants::Part,
            (true, Some(_)) => Wants::FromPeers,
            (true, None) => Wants::All,
        }
    }

    /// `None` without any scheduler. Asks them in rendezvous order; the first that answers decides.
    async fn report(&self, state: PeerState, last: Last, hold: Duration) -> Option<Result<PeerDecision, ReportError>> {
        let (seq, spec) = (self.peer.numbers.next(), self.task.spec());
        let snapshot = self.task.stored().snapshot();
        let report = PeerReport {
            host_id: self.peer.host_id().clone(),
            seq,
            state,
            origin: spec.origin.for_the_cluster(),
            digest: spec.digest,
            length: snapshot.meta.as_ref().and_then(|meta| meta.length),
            piece_length: snapshot.meta.as_ref().map(|meta| meta.piece_length),
            pieces: snapshot.pieces,
            received_bytes: snapshot.landed_bytes,
            complaints: self.complaints.lock().clone(),
            at_origin: self.task.is_at_origin(),
            known: last.version,
            row: last.row,
            wants: self.wants(),
        };
        let mut failure = None;
        let mut reporters = self.peer.reporters_of(self.task.id()).into_iter().peekable();
        while let Some(reporter) = reporters.next() {
            let asked = reporter.report(&self.peer, self.task.id(), report.clone(), hold);
            let patience = if reporters.peek().is_some() { ANSWERED_WITHIN } else { LAST_ANSWERED_WITHIN };
            match tokio::time::timeout(hold + patience, asked).await {
                Ok(Ok(decision)) => {
                    self.peer.numbers.go_on_from(decision.seq);
                    if decision.decision == Decision::Nobody {
                        self.task.set_cached_only(report.origin.priority);
                    }
                    return Some(Ok(decision));
                }
                Ok(Err(error)) => match blocked(&error) {
                    // No other scheduler of the cluster would say anything else.
                    Some(rule) => {
                        self.task.set_blocked(rule);
                        return Some(Ok(nobody()));
                    }
                    None => {
                        if error.is_silence() {
                            self.peer.schedulers().set_silent(reporter.url());
                        }
                        failure = Some(Err(error));
                    }
                },
                Err(_) => self.peer.schedulers().set_silent(reporter.url()),
            }
        }
        failure
    }
}

/// The rule of the cluster that forbids a download.
fn blocked(error: &ReportError) -> Option<&str> {
    error.problem().filter(|problem| problem.code == Code::Blocked).map(|problem| problem.detail.as_str())
}

/// There is nobody to read from, and that is final.
fn nobody() -> PeerDecision {
    PeerDecision {
        decision: Decision::Nobody,
        parents: Vec::new(),
        row: None,
        task: TaskFacts::default(),
        refresh_after_ms: 0,
        version: 0,
        seq: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_gets_lost_is_not_missed_for_longer_than_it_may_be_held_back() {
        let told = |decision, refresh_after_ms| PeerDecision { decision, refresh_after_ms, ..nobody() };
        let hold = |decision, refresh_after_ms| hold_after(&told(decision, refresh_after_ms)).as_millis();
        assert_eq!((hold(Decision::Parents, 500), hold(Decision::Parents, 60_000)), (500, 5_000));
        assert_eq!((hold(Decision::Wait, 500), hold(Decision::Origin, 500)), (5_000, 0));
        let pause = |decision, took_ms| {
            let took = Duration::from_millis(took_ms);
            pause_after(&told(decision, 500), Duration::from_millis(500), took).as_millis()
        };
        assert_eq!((pause(Decision::Parents, 0), pause(Decision::Unchanged, 500)), (100, 100));
        assert_eq!(pause(Decision::Unchanged, 0), 500, "it was not held back");
    }
}
