//! Fetching what is missing from parents: `plan` says what, flights bring it, witnesses vouch for it, and who does not
//! deliver is hedged, complained of, replaced.
//!
//! **Invariants.** A piece is marked only when it is what somebody else than its sender says it is; a seed, or the only
//! parent that is no row mate, vouches for itself. A request for bytes that are not there yet waits, and that is nobody's
//! fault: a parent is blamed for what it has and does not send. Every wait ends: with bytes, with other advice, or at the
//! origin.

mod description;
mod draft;
mod flight;
mod links;
mod meter;
mod testimony;
mod vouching;
mod watch;
mod words;

pub use self::links::{Linked, Links, Struck};
pub use self::meter::{Meter, TICK, mean};
pub use self::testimony::{Found, Others, Testimony, is_involved, is_repeated, liars, refuted};
pub use self::watch::{ASKED_AROUND, Look, Seen, hedge_budget, look};
pub use self::words::{ASKED_TO_DESCRIBE, HOLD, PROBE, PROBE_USUAL, REST, SECOND_VOICE};

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use df_api::PeerId;
use df_api::scheduler::{Complaint, ComplaintReason, Decision, Parent};
use df_api::task::piece_count;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch as watching;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::description::Description;
use self::draft::Draft;
use self::flight::{Advance, Ended, Flight};
use self::words::Queries;
use crate::from_origin::{piece, storage};
use crate::parent::ParentLink;
use crate::peer::Peer;
use crate::plan::{Flying, Key, Step, View, plan};
use crate::sync::{Advice, Sync};
use crate::task::{Failure, Task};

/// Requests at one parent: with one, a single parent idles between two pieces. A third made eight nodes on one small
/// machine 5 % faster, and left a layer of six pieces with none when its two parents died half-way.
pub const PER_PARENT: usize = 2;
/// Without a scheduler, and without a byte from any parent for this long: whoever asked is better served by the origin.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// As long as a scheduler says to wait for parents: it knows whether somebody is at the origin, which may be slow. All
/// children of a slow one would go there at once.
pub const PATIENCE_ADVISED: Duration = Duration::from_secs(20);
/// When all parents have failed, the scheduler's word is waited for this long: it may have to find out first that whoever
/// was at the origin is dead, and all who go there by themselves meanwhile fetch the same.
pub const NEW_ADVICE: Duration = Duration::from_secs(3);
/// And asked for this often meanwhile.
const ASKED_AGAIN: Duration = Duration::from_millis(150);
/// Whom the scheduler still names by then, it has heard of since: it was only slow to answer.
const FORGIVEN_AFTER: Duration = Duration::from_millis(1200);
/// A parent that waited for the bytes as long as it may is left alone for a moment.
pub const AGAIN_AFTER: Duration = Duration::from_millis(200);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every piece is marked.
    Done,
    /// Nobody is left to ask: all that were named have failed.
    Refused,
    /// Nobody delivers.
    Stuck,
    /// The advice is no longer to read from parents.
    Redirected,
}

/// Reads from the advised parents until all is there, or it cannot go on.
pub(crate) async fn fetch(
    peer: &Arc<Peer>,
    task: &Arc<Task>,
    sync: &Sync,
    advice: watching::Receiver<Advice>,
    patience: Duration,
) -> Result<Outcome, Failure> {
    let mut swarm = Swarm {
        peer,
        task,
        sync,
        advice,
        patience,
        links: Links::default(),
        flights: FuturesUnordered::new(),
        in_flight: Vec::new(),
        launched: 0,
        works: BTreeMap::new(),
        queries: Queries::default(),
        said: Vec::new(),
        said_since: None,
        began: Instant::now(),
        testimonies: Vec::new(),
        from_one: HashSet::new(),
        hedged_bytes: 0,
        hedged_in_vain: false,
        orphaned: None,
        forgiven: HashSet::new(),
    };
    let outcome = swarm.run().await;
    swarm.end().await;
    outcome
}

struct Swarm<'a> {
    peer: &'a Arc<Peer>,
    task: &'a Arc<Task>,
    sync: &'a Sync,
    advice: watching::Receiver<Advice>,
    /// Without a byte, as long as the advice stands.
    patience: Duration,
    links: Links<Arc<ParentLink>>,
    flights: FuturesUnordered<JoinHandle<(u64, Ended)>>,
    in_flight: Vec<InFlight>,
    launched: u64,
    /// Pieces that have begun to arrive and are not marked.
    works: BTreeMap<u32, Work>,
    queries: Queries,
    /// Until one of them is believed.
    said: Vec<Description>,
    /// When the first of them was heard.
    said_since: Option<Instant>,
    began: Instant,
    testimonies: Vec<Testimony>,
    /// Pieces that were wrong when they came from several: nobody could be blamed, so they come from one.
    from_one: HashSet<u32>,
    hedged_bytes: u64,
    /// A second source was no faster than the first: this host is the slow one.
    hedged_in_vain: bool,
    /// Since when there is no parent at all.
    orphaned: Option<Instant>,
    forgiven: HashSet<PeerId>,
}

struct InFlight {
    id: u64,
    piece: u32,
    link: Arc<ParentLink>,
    hedge: bool,
    advance: Arc<Advance>,
    meter: Meter,
    cancelled: CancellationToken,
}

struct Work {
    draft: Arc<Draft>,
    /// All of it has landed; its digest is waited for.
    whole: Option<Instant>,
}

// === impl Swarm ===

/// Also when the download is dropped in the middle: its flights are tasks of their own.
impl Drop for Swarm<'_> {
    fn drop(&mut self) {
        self.in_flight.iter().for_each(|flight| flight.cancelled.cancel());
    }
}

impl Swarm<'_> {
    async fn run(&mut self) -> Result<Outcome, Failure> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if !self.follow_advice() {
                return Ok(Outcome::Redirected);
            }
            self.judge()?;
            if self.task.has_wanted() {
                return Ok(Outcome::Done);
            }
            if self.links.is_empty() {
                if !self.has_new_advice().await {
                    return Ok(Outcome::Refused);
                }
                continue;
            }
            self.orphaned = None;
            self.launch();
            self.ask_around();
            tokio::select! {
                Some(landed) = self.flights.next() => self.land(landed)?,
                Some((key, probe, heard)) = self.queries.next() => self.hear(key, probe, heard)?,
                Ok(()) = self.advice.changed() => {}
                _ = tick.tick() => {
                    if !self.moves() { return Ok(Outcome::Stuck) }
                    self.agree()?;
                    self.watch();
                }
            }
        }
    }

    /// Links to exactly the advised parents that nobody complained of; `false` when the advice is another.
    fn follow_advice(&mut self) -> bool {
        let decision = match &*self.advice.borrow_and_update() {
            // Whoever delivers meanwhile is read on.
            Advice::Decided(decision) if decision.decision == Decision::Wait && !self.links.is_empty() => return true,
            Advice::Decided(decision) if decision.decision == Decision::Origin || decision.parents.is_empty() => {
                return false;
            }
            Advice::Decided(decision) => decision.clone(),
            // The last answer stays valid while no scheduler answers.
            Advice::Pending | Advice::Alone => return true,
        };
        let usable = |parent: &&Parent| !self.sync.complained_of(&parent.peer_id);
        let wanted = decision.parents.iter().filter(usable).cloned().collect();
        let peer = self.peer;
        self.links.follow(peer.host_id(), wanted, decision.row, |key, parent| {
            let client = peer.parent_client(&parent)?;
            Some(Arc::new(ParentLink::new(key, parent, client)))
        });
        let links = &self.links;
        self.in_flight.retain(|flight| {
            let stays = links.get(flight.link.key).is_some();
            if !stays {
                flight.cancelled.cancel();
            }
            stays
        });
        true
    }

    /// Waits for other parents, what has landed being kept. Complaints are on their way: the scheduler may know better.
    async fn has_new_advice(&mut self) -> bool {
        if !matches!(&*self.advice.borrow(), Advice::Decided(_)) {
            return false;
        }
        let orphaned = *self.orphaned.get_or_insert_with(Instant::now);
        loop {
            // For those who fail a second time there is less time.
            let patience = if self.forgiven.is_empty() { NEW_ADVICE } else { FORGIVEN_AFTER };
            let left = patience.saturating_sub(orphaned.elapsed());
            match tokio::time::timeout(left.min(ASKED_AGAIN), self.advice.changed()).await {
                Ok(changed) => return changed.is_ok(),
                Err(_) if left.is_zero() => return false,
                Err(_) if orphaned.elapsed() > FORGIVEN_AFTER && self.forgive() => return true,
                // It may have been found out meanwhile that those who were named are dead.
                Err(_) => self.sync.poke(),
            }
        }
    }

    /// Those that seemed to be gone are asked again, each once: they may have been too busy to answer.
    fn forgive(&mut self) -> bool {
        let named = match &*self.advice.borrow() {
            Advice::Decided(decision) => decision.clone(),
            Advice::Pending | Advice::Alone => return false,
        };
        let mut any = false;
        for parent in &named.parents {
            if !self.forgiven.contains(&parent.peer_id) && self.sync.retract(&parent.peer_id, ComplaintReason::Gone) {
                self.forgiven.insert(parent.peer_id.clone());
                any = true;
            }
        }
        any
    }

    /// Calls `look` with what there is to plan with; `None` while the content is not described.
    fn view<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> Option<T> {
        let snapshot = self.task.stored().snapshot();
        let meta = snapshot.meta?;
        // Not the last one of whoever tells where the content ends, before that is agreed on.
        let is_full = |link: &ParentLink, index: u32| {
            link.told_length().is_none_or(|end| u64::from(index) < end / meta.piece_length)
        };
        let told = |index: &u32| {
            self.links.all().any(|link| link.has_told(*index) && is_full(link, *index)) || snapshot.pieces.has(*index)
        };
        let pieces = match meta.length {
            Some(length) => piece_count(length, meta.piece_length),
            // As far as some parent has told of them.
            None => (0..).find(|index| !told(index)).unwrap_or(0),
        };
        let mut here = self.task.wanted().spare(&snapshot.pieces, &meta, pieces);
        self.works.iter().filter(|(_, work)| work.whole.is_some()).for_each(|(index, _)| here.set(*index));
        let index = |offset: u64| u32::try_from(offset / meta.piece_length).unwrap_or(u32::MAX);
        let pieces_at = |offsets: Vec<u64>| {
            let mut pieces: Vec<u32> = offsets.into_iter().map(index).collect();
            pieces.dedup();
            pieces
        };
        let (readers, fronts) = (pieces_at(self.task.readers().offsets()), pieces_at(self.task.readers().fronts()));
        let now = Instant::now();
        let flying = |flight: &InFlight| Flying {
            piece: flight.piece,
            parent: flight.link.key,
            moving: flight.meter.is_moving(),
            hedge: flight.hedge,
        };
        Some(look(&View {
            here: &here,
            pieces,
            readers: &readers,
            fronts: &fronts,
            linked: &self.links.linked(),
            usable: &self.links.usable(now),
            reserve: &self.links.reserve(now),
            avoid: &self.testimonies.iter().map(|testimony| (testimony.piece, testimony.sender)).collect::<Vec<_>>(),
            in_flight: &self.in_flight.iter().map(flying).collect::<Vec<_>>(),
            per_parent: PER_PARENT,
        }))
    }

    fn launch(&mut self) {
        for step in self.view(plan).unwrap_or_default() {
            match step {
                Step::Cancel { piece, parent } => {
                    self.cancel(|flight| flight.piece == piece && flight.link.key == parent);
                }
                Step::Fetch { piece, parent } => drop(self.start(piece, parent, false)),
            }
        }
    }

    /// How many bytes were asked for.
    fn start(&mut self, index: u32, parent: Key, hedge: bool) -> Option<u64> {
        let link = self.links.get(parent)?.clone();
        if self.from_one.contains(&index)
            && let Some(work) = self.works.get(&index)
            && work.draft.senders().iter().any(|sender| *sender != parent)
        {
            work.draft.discard();
            self.works.remove(&index);
        }
        if !self.works.contains_key(&index) {
            let draft = Arc::new(Draft::begin(self.task.stored(), index)?);
            self.works.insert(index, Work { draft, whole: None });
        }
        let draft = self.works.get(&index)?.draft.clone();
        let asked = draft.rest()?.length();
        let (advance, cancelled, id) = (Arc::new(Advance::default()), CancellationToken::new(), self.launched);
        self.launched += 1;
        let flight = Flight {
            task: self.task.clone(),
            link: link.clone(),
            draft,
            peer: self.peer.clone(),
            advance: advance.clone(),
            cancelled: cancelled.clone(),
        };
        self.flights.push(tokio::spawn(async move { (id, flight.fly().await) }.in_current_span()));
        let meter = Meter::default();
        self.in_flight.push(InFlight { id, piece: index, link, hedge, advance, meter, cancelled });
        Some(asked)
    }

    fn cancel(&mut self, which: impl Fn(&InFlight) -> bool) {
        self.in_flight.retain(|flight| {
            let ends = which(flight);
            if ends {
                flight.cancelled.cancel();
            }
            !ends
        });
    }

    /// Gives every parent up and waits until no piece has a writer any more: whoever goes on begins them anew.
    async fn end(mut self) {
        self.cancel(|_| true);
        self.works.clear();
        while self.flights.next().await.is_some() {}
    }

    fn land(&mut self, landed: Result<(u64, Ended), JoinError>) -> Result<(), Failure> {
        let (id, ended) = landed.map_err(|panic| storage(io::Error::other(panic)))?;
        if let Ended::Storage(error) = ended {
            return Err(piece(error));
        }
        let Some(at) = self.in_flight.iter().position(|flight| flight.id == id) else { return Ok(()) };
        let flight = self.in_flight.swap_remove(at);
        let key = flight.link.key;
        match ended {
            Ended::Whole(digest) => self.arrived(&flight, digest),
            Ended::Broken(reason, why) => self.complain(key, reason, &why),
            // Connections break; whoever is still there answers the next question.
            Ended::Interrupted(_) if self.links.is_first_break(key, Instant::now()) => {}
            Ended::Interrupted(why) => self.complain(key, ComplaintReason::Gone, &why),
            Ended::Busy(pause) => self.busy(key, pause),
            Ended::Again => self.links.busy(key, Instant::now() + AGAIN_AFTER),
            Ended::Cancelled | Ended::Storage(_) => {}
        }
        Ok(())
    }

    fn arrived(&mut self, flight: &InFlight, digest: Option<df_api::Digest>) {
        if let Some(work) = self.works.get_mut(&flight.piece) {
            work.whole = Some(Instant::now());
        }
        let beaten: Vec<(Key, bool)> = self
            .in_flight
            .iter()
            .filter(|other| other.piece == flight.piece)
            .map(|other| (other.link.key, other.hedge))
            .collect();
        self.cancel(|other| other.piece == flight.piece);
        self.outrun(flight, &beaten);
        if let Some(Err(lie)) = digest.map(|digest| flight.link.tell(flight.piece, digest)) {
            self.complain(flight.link.key, ComplaintReason::WrongBytes, &lie.to_string());
        }
    }

    /// It is full, and says so: no fault of its own, and it is asked again later.
    fn busy(&mut self, key: Key, pause: Duration) {
        let Some(link) = self.links.get(key) else { return };
        let complaint = Complaint { peer_id: link.parent.peer_id.clone(), reason: ComplaintReason::Busy };
        self.sync.complain(complaint);
        self.cancel(|flight| flight.link.key == key && !flight.meter.is_moving());
        self.links.busy(key, Instant::now() + pause);
    }

    fn complain(&mut self, key: Key, reason: ComplaintReason, why: &str) {
        let Some(link) = self.links.get(key).cloned() else { return };
        tracing::info!(task = %self.task.id(), parent = %link.parent.peer_id, ?reason, why, "a parent is dropped");
        self.sync.complain(Complaint { peer_id: link.parent.peer_id.clone(), reason });
        self.cancel(|flight| flight.link.key == key);
        self.links.remove(key);
        if reason == ComplaintReason::WrongBytes {
            // What it has sent of other pieces is not gone on with.
            let touched = self.works.iter().filter(|(_, work)| work.draft.senders().contains(&key));
            self.from_one.extend(touched.map(|(index, _)| *index));
        }
    }

    /// Whether bytes have come lately.
    fn moves(&self) -> bool {
        // Our own limits are no fault of the parents.
        if self.in_flight.iter().any(|flight| flight.advance.held_back.load(Ordering::Relaxed)) {
            self.task.stillness().end();
        }
        let advised = matches!(&*self.advice.borrow(), Advice::Decided(_));
        let patience = if advised { self.patience } else { PATIENCE };
        self.task.stillness().lasts() < patience || self.began.elapsed() < PATIENCE
    }
}
