//! Fetching what is missing from parents: `plan` says what, this asks, times, and drops who does not deliver.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use df_api::scheduler::{Complaint, ComplaintReason, Parent};
use df_api::task::{piece_count, piece_length as piece_length_of};
use df_store::Meta;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument as _;

use crate::from_origin::{piece, storage};
use crate::parent::{Landed, ParentLink};
use crate::peer::Peer;
use crate::plan::{View, plan};
use crate::sync::{Advice, Sync};
use crate::task::{Failure, Task};

/// Requests at one parent: with one, a single parent idles between two pieces.
const PER_PARENT: usize = 2;
/// A parent silent for this long is asked whether it is ahead of us.
const SILENCE: Duration = Duration::from_secs(2);
const PROBE: Duration = Duration::from_secs(1);
/// No byte from any parent for this long: whoever asked is better served by the origin.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

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
    advice: watch::Receiver<Advice>,
) -> Result<Outcome, Failure> {
    let mut swarm = Swarm {
        peer,
        task,
        sync,
        advice,
        links: Vec::new(),
        flights: FuturesUnordered::new(),
        in_flight: Vec::new(),
        progress: Progress { bytes: 0, at: Instant::now() },
    };
    let outcome = swarm.run().await;
    swarm.end().await;
    outcome
}

/// A task of its own, so that bytes go on landing while a parent is asked something.
type Flight = JoinHandle<(Arc<ParentLink>, u32, Landed)>;

struct Swarm<'a> {
    peer: &'a Arc<Peer>,
    task: &'a Arc<Task>,
    sync: &'a Sync,
    advice: watch::Receiver<Advice>,
    links: Vec<Arc<ParentLink>>,
    flights: FuturesUnordered<Flight>,
    in_flight: Vec<(u32, Arc<ParentLink>)>,
    progress: Progress,
}

/// Bytes from all parents, and when they last grew.
struct Progress {
    bytes: u64,
    at: Instant,
}

// === impl Swarm ===

/// Also when the download is dropped in the middle: its flights are tasks of their own.
impl Drop for Swarm<'_> {
    fn drop(&mut self) {
        self.links.iter().for_each(|link| link.cancel());
        self.in_flight.iter().for_each(|(_, link)| link.cancel());
    }
}

impl Swarm<'_> {
    async fn run(&mut self) -> Result<Outcome, Failure> {
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            if !self.follow_advice() {
                return Ok(Outcome::Redirected);
            }
            if self.links.is_empty() {
                return Ok(Outcome::Refused);
            }
            if self.task.stored().meta().is_none() {
                self.learn().await?;
                continue;
            }
            if self.task.stored().has_all_pieces() {
                return Ok(Outcome::Done);
            }
            self.launch();
            if self.flights.is_empty() {
                // The length is not known yet, and all that parents have told of is here.
                self.learn().await?;
                continue;
            }
            tokio::select! {
                Some(landed) = self.flights.next() => self.land(landed)?,
                Ok(()) = self.advice.changed() => {}
                _ = tick.tick() => {
                    if !self.moves() { return Ok(Outcome::Stuck) }
                    self.drop_the_silent().await;
                }
            }
        }
    }

    /// Links to exactly the advised parents that nobody complained of; `false` when the advice is another.
    fn follow_advice(&mut self) -> bool {
        let advised: Vec<Parent> = match &*self.advice.borrow_and_update() {
            Advice::Decided(decision) if decision.parents.is_empty() => return false,
            Advice::Decided(decision) => decision.parents.clone(),
            // The last answer stays valid while no scheduler answers.
            Advice::Pending | Advice::Alone => self.links.iter().map(|link| link.parent.clone()).collect(),
        };
        let usable = |parent: &Parent| !self.sync.complained_of(&parent.peer_id);
        let wanted: Vec<Parent> = advised.into_iter().filter(usable).collect();
        self.links.retain(|link| {
            let stays = wanted.contains(&link.parent);
            if !stays {
                link.cancel();
            }
            stays
        });
        for parent in wanted {
            if !self.links.iter().any(|link| link.parent == parent)
                && let Some(client) = self.peer.parent_client(&parent)
            {
                self.links.push(Arc::new(ParentLink::new(parent, client)));
            }
        }
        true
    }

    /// Asks the parents in turn what the content is.
    async fn learn(&mut self) -> Result<(), Failure> {
        let Some(link) = self.links.first().cloned() else { return Ok(()) };
        let listed = tokio::select! {
            listed = link.list(self.task, PATIENCE) => listed,
            Ok(()) = self.advice.changed() => return Ok(()),
        };
        let list = match listed {
            Ok(list) => list,
            Err(error) => {
                self.complain(&link, ComplaintReason::Gone, &df_http::error::chain(&error));
                return Ok(());
            }
        };
        if self.task.stored().meta().is_some() {
            let known = list.length.map_or(Ok(()), |length| self.task.stored().set_length(length));
            known.map_err(storage)?;
        }
        let Some(piece_length) = list.piece_length.filter(|_| self.task.stored().meta().is_none()) else {
            if !self.moves() {
                self.complain(&link, ComplaintReason::Silent, "it does not know the content");
            }
            return Ok(());
        };
        // What a content is cut into follows from its length; anything else is not the task everybody has.
        if ![piece_length_of(list.length), piece_length_of(None)].contains(&piece_length) {
            self.complain(&link, ComplaintReason::WrongBytes, &format!("its pieces have {piece_length} bytes"));
            return Ok(());
        }
        let digest = self.task.spec().digest.or(list.digest);
        let meta = Meta { length: list.length, piece_length, content_type: list.content_type, digest, validator: None };
        let described = self.task.stored().describe(meta).map_err(storage)?;
        if let Err(conflict) = described {
            self.complain(&link, ComplaintReason::WrongBytes, &conflict.to_string());
        }
        Ok(())
    }

    fn launch(&mut self) {
        let snapshot = self.task.stored().snapshot();
        let Some(meta) = snapshot.meta else { return };
        // Without a length pieces are asked as far as some parent has told of them.
        let pieces = match meta.length {
            Some(length) => piece_count(length, meta.piece_length),
            None => (0..).find(|index| !self.links.iter().any(|link| link.has_told(*index))).unwrap_or(0),
        };
        let at = |link: &Arc<ParentLink>| self.links.iter().position(|known| Arc::ptr_eq(known, link));
        let in_flight: Vec<_> =
            self.in_flight.iter().map(|(index, link)| (*index, at(link).unwrap_or(usize::MAX))).collect();
        let view = View {
            held: &snapshot.pieces,
            pieces,
            in_flight: &in_flight,
            parents: self.links.len(),
            reader: u32::try_from(self.task.readers().offsets().first().unwrap_or(&0) / meta.piece_length).unwrap_or(0),
            per_parent: PER_PARENT,
        };
        for fetch in plan(&view) {
            let Some(writer) = self.task.stored().begin_piece(fetch.piece) else { continue };
            let (link, task) = (self.links[fetch.parent].clone(), self.task.clone());
            if !self.in_flight.iter().any(|(_, at)| Arc::ptr_eq(at, &link)) {
                link.excuse();
            }
            self.in_flight.push((fetch.piece, link.clone()));
            let flight = async move {
                let landed = link.fetch(&task, writer).await;
                (link, fetch.piece, landed)
            };
            self.flights.push(tokio::spawn(flight.in_current_span()));
        }
    }

    /// Gives every parent up and waits until no piece has a writer any more: whoever goes on begins them anew.
    async fn end(mut self) {
        self.links.iter().for_each(|link| link.cancel());
        self.in_flight.iter().for_each(|(_, link)| link.cancel());
        while self.flights.next().await.is_some() {}
    }

    fn land(&mut self, landed: Result<(Arc<ParentLink>, u32, Landed), JoinError>) -> Result<(), Failure> {
        let (link, index, landed) = landed.map_err(|panic| storage(io::Error::other(panic)))?;
        self.in_flight.retain(|(flying, _)| *flying != index);
        match landed {
            Landed::Marked | Landed::Cancelled => {}
            Landed::Broken(reason, why) => self.complain(&link, reason, &why),
            Landed::Storage(error) => return Err(piece(error)),
        }
        Ok(())
    }

    fn complain(&mut self, link: &Arc<ParentLink>, reason: ComplaintReason, why: &str) {
        if !self.sync.complained_of(&link.parent.peer_id) {
            tracing::info!(task = %self.task.id(), parent = %link.parent.peer_id, ?reason, why, "a parent is dropped");
            self.sync.complain(Complaint { peer_id: link.parent.peer_id.clone(), reason });
        }
        link.cancel();
        self.links.retain(|known| !Arc::ptr_eq(known, link));
    }

    /// Whether bytes have come lately.
    fn moves(&mut self) -> bool {
        let received = self.task.received();
        let bytes = received.seed_bytes + received.peer_bytes;
        if bytes > self.progress.bytes {
            self.progress = Progress { bytes, at: Instant::now() };
        }
        self.progress.at.elapsed() < PATIENCE
    }

    /// "My parent has it and does not send it" is the only complaint: a parent that waits as we do is left alone.
    async fn drop_the_silent(&mut self) {
        let asked: Vec<_> = self.in_flight.clone();
        for link in self.links.clone() {
            let Some((index, _)) = asked.iter().find(|(_, at)| Arc::ptr_eq(at, &link)) else { continue };
            if link.silence() < SILENCE {
                continue;
            }
            match tokio::time::timeout(PROBE, link.list(self.task, Duration::ZERO)).await {
                Ok(Ok(_)) if !link.has_told(*index) || link.silence() < SILENCE => link.excuse(),
                Ok(Ok(_)) => self.complain(&link, ComplaintReason::Silent, "it has the piece and does not send it"),
                Ok(Err(error)) => self.complain(&link, ComplaintReason::Gone, &df_http::error::chain(&error)),
                Err(_) => self.complain(&link, ComplaintReason::Gone, "it does not answer"),
            }
        }
    }
}
