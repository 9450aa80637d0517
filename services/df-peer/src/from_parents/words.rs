//! What parents say of their pieces: asked when it is needed, held against what was sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use df_api::Digest;
use df_api::dfdaemon::PieceList;
use df_api::scheduler::ComplaintReason;
use df_store::PieceError;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::Swarm;
use super::description::{self, Description, agreed, agreed_end, dissenters};
use super::flight::busy_for;
use super::testimony::{Found, Others, Testimony, is_involved, is_repeated, liars, refuted};
use crate::from_origin::{piece, storage};
use crate::parent::{ListError, ParentLink};
use crate::plan::Key;
use crate::sync::Advice;
use crate::task::{Failure, Task};

/// A question that is answered when there is something new.
pub const HOLD: Duration = Duration::from_secs(5);
/// One that is answered at once, by a parent that lives.
pub const PROBE: Duration = Duration::from_millis(700);
/// A probe that takes longer than this makes suspicious.
pub const PROBE_USUAL: Duration = Duration::from_millis(300);
/// Whoever has nothing new is not asked again before this.
pub const REST: Duration = Duration::from_millis(200);
/// A parent that describes the content is believed alone after this, when nobody else speaks.
pub const SECOND_VOICE: Duration = Duration::from_millis(400);
/// Parents asked at once what the content is.
pub const ASKED_TO_DESCRIBE: usize = 3;

/// Questions on their way, one of each kind at a parent.
#[derive(Default)]
pub(super) struct Queries {
    open: FuturesUnordered<AbortOnDropHandle<(Key, bool, Heard)>>,
    polled: HashMap<Key, Instant>,
    probed: HashMap<Key, Instant>,
    rests: HashMap<Key, Instant>,
}

pub(super) enum Heard {
    List(PieceList),
    /// It did not even answer.
    Silence,
    Error(ListError),
}

// === impl Queries ===

impl Queries {
    /// With whether it was a probe.
    pub async fn next(&mut self) -> Option<(Key, bool, Heard)> {
        let (key, probe, heard) = self.open.next().await?.ok()?;
        let asked = if probe { &mut self.probed } else { &mut self.polled };
        asked.remove(&key);
        if !probe && matches!(&heard, Heard::List(list) if list.pieces.is_empty()) {
            self.rests.insert(key, Instant::now() + REST);
        }
        Some((key, probe, heard))
    }

    fn poll(&mut self, task: &Arc<Task>, link: &Arc<ParentLink>) {
        let now = Instant::now();
        let rests = self.rests.get(&link.key).is_some_and(|until| *until > now);
        if !rests && self.polled.insert(link.key, now).is_none() {
            self.ask(task, link.clone(), HOLD, false);
        }
    }

    pub fn probe(&mut self, task: &Arc<Task>, link: Arc<ParentLink>) {
        if !self.is_probing(link.key) {
            self.probed.insert(link.key, Instant::now());
            self.ask(task, link, Duration::ZERO, true);
        }
    }

    pub fn is_probing(&self, key: Key) -> bool {
        self.probed.contains_key(&key)
    }

    /// Those who take their time to say anything at all.
    pub fn unanswered(&self) -> Vec<Key> {
        self.probed.iter().filter(|(_, asked)| asked.elapsed() > PROBE_USUAL).map(|(key, _)| *key).collect()
    }

    fn ask(&mut self, task: &Arc<Task>, link: Arc<ParentLink>, hold: Duration, probe: bool) {
        let task = task.clone();
        let asking = async move {
            let limit = if probe { PROBE } else { HOLD * 2 };
            let heard = match tokio::time::timeout(limit, link.list(&task, hold)).await {
                Ok(Ok(list)) => Heard::List(list),
                Ok(Err(error)) => Heard::Error(error),
                Err(_) => Heard::Silence,
            };
            (link.key, probe, heard)
        };
        self.open.push(AbortOnDropHandle::new(tokio::spawn(asking.in_current_span())));
    }
}

// === impl Swarm ===

impl Swarm<'_> {
    /// Asks whoever has to say something before this can go on.
    pub(super) fn ask_around(&mut self) {
        let mut wanted: Vec<Key> = Vec::new();
        match self.task.stored().meta() {
            None => wanted.extend(self.links.all().take(ASKED_TO_DESCRIBE).map(|link| link.key)),
            Some(meta) if meta.length.is_none() => wanted.extend(self.links.all().map(|link| link.key)),
            Some(_) => {}
        }
        for (index, work) in &self.works {
            if let Some(since) = work.whole {
                wanted.extend(self.links.who_could_vouch(*index, &work.draft.senders(), since.elapsed()));
            }
        }
        // Whoever has not taken sides about a piece may know who is right.
        for testimony in &self.testimonies {
            let silent = self.links.all().filter(|link| !link.has_told(testimony.piece));
            wanted.extend(silent.map(|link| link.key));
        }
        wanted.sort_unstable();
        wanted.dedup();
        for key in wanted {
            if let Some(link) = self.links.get(key).cloned() {
                self.queries.poll(self.task, &link);
            }
        }
    }

    pub(super) fn hear(&mut self, key: Key, probe: bool, heard: Heard) -> Result<(), Failure> {
        let Some(link) = self.links.get(key).cloned() else { return Ok(()) };
        match heard {
            Heard::List(list) => return self.describe(&link, list),
            Heard::Silence => self.complain(key, ComplaintReason::Gone, "it does not answer"),
            Heard::Error(other @ (ListError::OtherVersion(_) | ListError::BeganAnew)) => {
                self.complain(key, ComplaintReason::Gone, &other.to_string());
            }
            Heard::Error(ListError::Lie(lie)) => self.complain(key, ComplaintReason::WrongBytes, &lie),
            Heard::Error(ListError::Refused(error)) => match error.status() {
                // Not yet, perhaps: whoever is only asked what it has need not have begun.
                Some(404) if probe => {}
                Some(429 | 503) => self.busy(key, busy_for(error.retry_after())),
                _ => self.complain(key, ComplaintReason::Gone, &df_http::error::chain(&error)),
            },
        }
        Ok(())
    }

    /// What the content is, or where it ends.
    fn describe(&mut self, link: &Arc<ParentLink>, list: PieceList) -> Result<(), Failure> {
        if self.task.stored().meta().is_some_and(|meta| meta.length.is_some() || list.length.is_none()) {
            return Ok(());
        }
        let spec = self.task.spec();
        let Some(meta) = description::meta(&list, spec.digest.clone()) else { return Ok(()) };
        // What a content is cut into follows from its length; anything else is not the task everybody has.
        if !spec.is_piece_length(meta.piece_length, meta.length) || !meta.is_sound() {
            let why = format!("its {:?} bytes in pieces of {}", meta.length, meta.piece_length);
            self.complain(link.key, ComplaintReason::WrongBytes, &why);
            return Ok(());
        }
        self.said.retain(|one| one.by != link.key);
        self.said.push(Description { by: link.key, seed: link.parent.seed, meta });
        self.said_since.get_or_insert_with(Instant::now);
        self.agree()
    }

    /// Takes over what the parents say of the whole, as soon as it can be believed.
    pub(super) fn agree(&mut self) -> Result<(), Failure> {
        self.said.retain(|one| self.links.get(one.by).is_some());
        let Some(since) = self.said_since.filter(|_| !self.said.is_empty()) else { return Ok(()) };
        let known = match &*self.advice.borrow() {
            Advice::Decided(decision) => decision.task.length,
            Advice::Pending | Advice::Alone => None,
        };
        let asked = self.links.all().count().min(ASKED_TO_DESCRIBE);
        let heard_all = self.said.len() >= asked || since.elapsed() > SECOND_VOICE;
        let agreed = match self.task.stored().meta() {
            Some(_) => agreed_end(&self.said, known, &self.links.above()),
            None => agreed(&self.said, known, heard_all),
        };
        let Some(meta) = agreed else { return Ok(()) };
        let said = std::mem::take(&mut self.said);
        self.said_since = None;
        for key in dissenters(&said, &meta) {
            self.complain(key, ComplaintReason::WrongBytes, "it describes another content");
        }
        if let Err(conflict) = self.task.stored().describe(meta).map_err(storage)? {
            for one in said {
                self.complain(one.by, ComplaintReason::WrongBytes, &conflict.to_string());
            }
        }
        Ok(())
    }

    /// Marks what is whole and vouched for, and finds out who lied.
    pub(super) fn judge(&mut self) -> Result<(), Failure> {
        // Also of flights that were given up when their last bytes had just landed.
        let landed = self.works.values_mut().filter(|work| work.whole.is_none() && work.draft.rest().is_none());
        landed.for_each(|work| work.whole = Some(Instant::now()));
        let whole: Vec<u32> =
            self.works.iter().filter(|(_, work)| work.whole.is_some()).map(|(index, _)| *index).collect();
        for index in whole {
            let Some(work) = self.works.get(&index) else { continue };
            let (senders, checked) = (work.draft.senders(), work.draft.is_checked());
            let waited = work.whole.map_or(Duration::ZERO, |since| since.elapsed());
            let Some((witness, told)) = self.links.word(index, &senders, waited) else { continue };
            let finished = work.draft.finish(&told);
            self.works.remove(&index);
            match finished {
                Some(Ok(marked)) => {
                    let names = senders.iter().filter_map(|key| self.links.get(*key));
                    names.for_each(|link| self.sync.supplied(&link.parent));
                    self.settle(index, &marked);
                }
                Some(Err(PieceError::Wrong { found, .. })) => match senders[..] {
                    [sender] => self.dispute(Testimony { piece: index, sender, checked, found, witness, told }),
                    _ => drop(self.from_one.insert(index)),
                },
                Some(Err(error @ PieceError::Write { .. })) => return Err(piece(error)),
                // Its writer is gone, or its end has moved: it is begun anew.
                Some(Err(PieceError::Short { .. })) | None => {}
            }
        }
        self.convict();
        Ok(())
    }

    /// A piece is not what its witness says: it is fetched anew, from others, and whoever is found to have lied goes.
    fn dispute(&mut self, testimony: Testimony) {
        let index = testimony.piece;
        tracing::warn!(task = %self.task.id(), piece = index, ?testimony, "a piece is not what it should be");
        if let Some(link) = self.links.get(testimony.sender).filter(|_| !testimony.checked) {
            link.set_must_check();
        }
        self.testimonies.push(testimony);
    }

    /// Finds the liars, as far as it can be told by what everybody has sent and said by now.
    fn convict(&mut self) {
        let mut disputed: Vec<u32> = self.testimonies.iter().map(|testimony| testimony.piece).collect();
        disputed.sort_unstable();
        disputed.dedup();
        let seeds: Vec<Key> = self.links.all().filter(|link| link.parent.seed).map(|link| link.key).collect();
        for index in disputed {
            let of_piece = self.testimonies_of(index);
            let told_by: Vec<(Key, Digest)> =
                self.links.all().filter_map(|link| Some((link.key, link.told(index)?))).collect();
            let silent = self.links.all().all(|link| is_involved(&of_piece, link.key)) || is_repeated(&of_piece);
            let others = if silent { Others::Silent { seeds: &seeds } } else { Others::MaySpeak };
            let Found { liars, doubted } = liars(&of_piece, &told_by, others);
            self.blame(&liars, index);
            for key in doubted {
                self.complain(
                    key,
                    ComplaintReason::Gone,
                    &format!("its word stands against another's about piece {index}"),
                );
            }
        }
    }

    /// The piece is marked: who had it otherwise was wrong.
    fn settle(&mut self, index: u32, marked: &Digest) {
        self.from_one.remove(&index);
        let of_piece = self.testimonies_of(index);
        self.testimonies.retain(|testimony| testimony.piece != index);
        self.blame(&refuted(&of_piece, marked), index);
    }

    fn testimonies_of(&self, index: u32) -> Vec<Testimony> {
        self.testimonies.iter().filter(|testimony| testimony.piece == index).cloned().collect()
    }

    fn blame(&mut self, liars: &[Key], index: u32) {
        for key in liars {
            self.complain(*key, ComplaintReason::WrongBytes, &format!("it lies about piece {index}"));
            // What a liar said against others counts no more.
            self.testimonies.retain(|testimony| testimony.witness != *key);
        }
    }
}
