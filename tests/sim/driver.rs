//! The glue of `df-peer`'s `from_parents` around its decisions, without its sockets: what is asked next, what has come, who
//! does not deliver. Whatever decides is the real code; what is here only carries its answers out.

use std::time::Duration;

use df_api::scheduler::{Complaint, ComplaintReason, Decision, Parent};
use df_peer::decisions::{
    ASKED_AROUND, Flying, Key, Linked as _, Look, NEW_ADVICE, OriginView, PATIENCE, PATIENCE_ADVISED, PER_PARENT,
    PROBE_USUAL, Seen, Step, Struck, TICK, View, hedge, hedge_budget, look, mean, plan,
};

use crate::events::{Event, PartId};
use crate::flights::{Flight, Kind};
use crate::part::{Advice, InFlight, Link, Part, Phase, Small, Work};
use crate::world::World;

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

// === impl World ===

impl World {
    /// A part goes on, as far as it can.
    pub fn drive(&mut self, p: PartId) {
        match self.parts[p].phase {
            Phase::Asking => self.follow(p),
            Phase::Swarm => self.swarm(p),
            Phase::Origin => self.at_origin(p),
            Phase::Absent | Phase::Whole | Phase::Dead => {}
        }
    }

    /// One turn of the loop.
    fn swarm(&mut self, p: PartId) {
        if !self.follow_advice(p) {
            self.leave_swarm(p);
            self.parts[p].phase = Phase::Asking;
            return self.follow(p);
        }
        for landing in std::mem::take(&mut self.parts[p].landings) {
            self.land(p, landing.number);
        }
        self.judge(p);
        if self.parts[p].is_whole() {
            return self.complete(p);
        }
        if self.parts[p].links.is_empty() {
            let now_ms = self.now_ms;
            let part = &mut self.parts[p];
            let since_ms = *part.orphaned_ms.get_or_insert(now_ms);
            if !matches!(part.sync.advice, Advice::Decided(_)) && part.alone.is_none() {
                self.leave_swarm(p);
                self.parts[p].phase = Phase::Asking;
                return self.follow(p);
            }
            if now_ms - since_ms >= ms(NEW_ADVICE) {
                self.go_to_origin(p);
            }
            return;
        }
        self.parts[p].orphaned_ms = None;
        self.launch(p);
        self.ask_around(p);
    }

    pub fn begin_swarm(&mut self, p: PartId) {
        let now_ms = self.now_ms;
        let part = &mut self.parts[p];
        (part.phase, part.began_ms, part.orphaned_ms) = (Phase::Swarm, now_ms, None);
        part.sync.news = true;
        part.tries += 1;
        self.events.plan(now_ms + ms(TICK), Event::Look(p, part.tries));
        self.stir(p);
    }

    /// All its requests end; what has landed stays.
    pub fn leave_swarm(&mut self, p: PartId) {
        self.cancel(p, |_| true);
        let part = &mut self.parts[p];
        part.works.clear();
        part.links = Default::default();
        part.questions.clear();
        part.landings.clear();
        (part.hedged_bytes, part.hedged_in_vain) = (0, false);
        (part.said, part.said_since_ms) = (Vec::new(), None);
        (part.testimonies, part.from_one) = (Vec::new(), Default::default());
        part.alone = None;
    }

    /// `false` when the advice is not to read from parents.
    fn follow_advice(&mut self, p: PartId) -> bool {
        let part = &mut self.parts[p];
        if !std::mem::take(&mut part.sync.news) {
            return true;
        }
        // The last answer stays valid while no scheduler answers.
        let Advice::Decided(decision) = part.sync.advice.clone() else { return true };
        part.alone = None;
        // Whoever delivers meanwhile is read on.
        if decision.decision == Decision::Wait && !part.links.is_empty() {
            return true;
        }
        if decision.decision == Decision::Origin || decision.parents.is_empty() {
            return false;
        }
        let fit = |parent: &&Parent| !part.sync.complained_of(&parent.peer_id);
        let wanted: Vec<Parent> = decision.parents.iter().filter(fit).cloned().collect();
        self.link(p, wanted, decision.row);
        true
    }

    pub fn link(&mut self, p: PartId, wanted: Vec<Parent>, row: Option<df_api::scheduler::Row>) {
        let task = self.parts[p].task;
        let mut links = std::mem::take(&mut self.parts[p].links);
        let own = self.host_of(p).id.clone();
        links.follow(&own, wanted, row, |key, parent| {
            let host = parent.host_id.as_str().strip_prefix("h-")?.parse().ok()?;
            let part = *self.places.get(&(host, task))?;
            Some(Link::new(key, parent, part, self.hosts[host].manner.lies, self.digests.clone()))
        });
        self.parts[p].links = links;
        self.cancel_unlinked(p);
    }

    fn cancel_unlinked(&mut self, p: PartId) {
        let gone: Vec<Key> = {
            let part = &self.parts[p];
            part.in_flight.iter().map(|flight| flight.key).filter(|key| part.links.get(*key).is_none()).collect()
        };
        if !gone.is_empty() {
            self.cancel(p, |flight| gone.contains(&flight.key));
        }
    }

    pub fn cancel(&mut self, p: PartId, which: impl Fn(&InFlight) -> bool) {
        let mut ended = Vec::new();
        self.parts[p].in_flight.retain(|flight| {
            let ends = which(flight);
            if ends {
                ended.push(flight.id);
            }
            !ends
        });
        ended.into_iter().for_each(|id| self.drop_flight(id));
    }

    // --- asking ---

    fn launch(&mut self, p: PartId) {
        for step in self.view(p, plan).unwrap_or_default() {
            match step {
                Step::Cancel { piece, parent } => {
                    self.cancel(p, |flight| flight.piece == piece && flight.key == parent);
                }
                Step::Fetch { piece, parent } => drop(self.ask(p, piece, parent, false)),
            }
        }
    }

    fn view<T>(&self, p: PartId, look: impl FnOnce(&View<'_>) -> T) -> Option<T> {
        let part = &self.parts[p];
        if !part.described {
            return None;
        }
        let mut here = part.marked.clone();
        part.works.iter().filter(|(_, work)| work.whole_ms.is_some()).for_each(|(piece, _)| here.set(*piece));
        let (readers, fronts) = part.readers();
        let flying = |flight: &InFlight| Flying {
            piece: flight.piece,
            parent: flight.key,
            moving: flight.meter.is_moving(),
            hedge: flight.hedge,
        };
        let now = self.instant();
        Some(look(&View {
            here: &here,
            pieces: part.pieces(),
            readers: &readers,
            fronts: &fronts,
            linked: &part.links.linked(),
            usable: &part.links.usable(now),
            reserve: &part.links.reserve(now),
            avoid: &part.testimonies.iter().map(|one| (one.piece, one.sender)).collect::<Vec<_>>(),
            in_flight: &part.in_flight.iter().map(flying).collect::<Vec<_>>(),
            per_parent: PER_PARENT,
        }))
    }

    /// How many bytes were asked for.
    fn ask(&mut self, p: PartId, piece: u32, key: Key, hedge: bool) -> Option<u64> {
        let piece_bytes = self.scenario.piece_bytes;
        let part = &mut self.parts[p];
        let link = part.links.get(key)?;
        let (parent, checked) = (link.part, link.must_check.get());
        let mixed = |work: &Work| work.senders.iter().any(|sender| *sender != key);
        if part.from_one.contains(&piece) && part.works.get(&piece).is_some_and(mixed) {
            part.works.remove(&piece);
            (part.slots[piece as usize].landed, part.taint[piece as usize]) = (0, 0);
        }
        part.works.entry(piece).or_default();
        let at = part.slots[piece as usize].landed;
        let rest = piece_bytes.checked_sub(at).filter(|rest| *rest > 0)?;
        part.counts.requests += 1;
        let flight = Flight { key, at, checked, ..Flight::new(p, Some(parent), piece, Kind::Piece) };
        let (id, number) = self.launch_flight(flight);
        let meter = Default::default();
        self.parts[p].in_flight.push(InFlight { id, number, piece, key, hedge, meter });
        Some(u64::from(rest))
    }

    // --- what has come ---

    fn land(&mut self, p: PartId, number: u32) {
        let part = &mut self.parts[p];
        let Some(at) = part.in_flight.iter().position(|flight| flight.number == number) else { return };
        let winner = part.in_flight.swap_remove(at);
        if let Some(work) = part.works.get_mut(&winner.piece) {
            work.whole_ms = Some(self.now_ms);
        }
        let beaten: Vec<(Key, bool)> = part
            .in_flight
            .iter()
            .filter(|other| other.piece == winner.piece)
            .map(|other| (other.key, other.hedge))
            .collect();
        let told = self.flights.all[winner.id as usize].told;
        if told && let Some(link) = self.parts[p].links.get(winner.key) {
            link.told.borrow_mut().set(winner.piece);
        }
        self.drop_flight(winner.id);
        self.cancel(p, |other| other.piece == winner.piece);
        self.outrun(p, &winner, &beaten);
    }

    fn outrun(&mut self, p: PartId, winner: &InFlight, beaten: &[(Key, bool)]) {
        let now = self.instant();
        let part = &mut self.parts[p];
        match beaten {
            [] => part.links.forgive(winner.key),
            [(slow, false), ..] => {
                let had_it = part.links.get(*slow).is_some_and(|link| link.has_told(winner.piece));
                if had_it && part.links.strike(*slow, now) == Some(Struck::Out) {
                    self.complain(p, *slow, ComplaintReason::Silent);
                }
            }
            [(_, true), ..] => part.hedged_in_vain = true,
        }
    }

    pub fn complain(&mut self, p: PartId, key: Key, reason: ComplaintReason) {
        let part = &mut self.parts[p];
        let Some(link) = part.links.get(key) else { return };
        let peer_id = link.parent.peer_id.clone();
        let news = part.sync.complain(Complaint { peer_id, reason });
        part.links.remove(key);
        if reason == ComplaintReason::WrongBytes {
            let touched = part.works.iter().filter(|(_, work)| work.senders.contains(&key)).map(|(piece, _)| *piece);
            part.from_one.extend(touched);
        }
        self.cancel(p, |flight| flight.key == key);
        if news {
            self.poke(p);
        }
        self.stir(p);
    }

    // --- ten times a second ---

    pub fn look(&mut self, p: PartId, series: u32) {
        if self.parts[p].phase != Phase::Swarm || self.parts[p].tries != series {
            return;
        }
        self.events.plan(self.now_ms + ms(TICK), Event::Look(p, series));
        self.stir(p);
        let part = &self.parts[p];
        let advised = matches!(part.sync.advice, Advice::Decided(_)) || part.alone.is_some();
        let patience = if advised { PATIENCE_ADVISED } else { PATIENCE };
        let young = self.now_ms - part.began_ms < ms(PATIENCE);
        if !part.is_moving_within(self.now_ms, ms(patience)) && !young {
            return self.go_to_origin(p);
        }
        self.look_after(p);
        self.agree(p);
        self.expire_questions(p);
        self.watch(p);
    }

    fn watch(&mut self, p: PartId) {
        let now = self.instant();
        let piece_bytes = self.scenario.piece_bytes;
        let part = &mut self.parts[p];
        part.links.no_longer_busy(now);
        for flight in &mut part.in_flight {
            flight.meter.tick(self.flights.all[flight.id as usize].bytes);
        }
        let mean = mean(part.in_flight.iter().map(|flight| &flight.meter));
        let looks = part.in_flight.iter().filter(|flight| !flight.hedge).filter_map(|flight| {
            let rest_bytes = u64::from(piece_bytes - part.slots[flight.piece as usize].landed);
            let has_told = part.links.get(flight.key).is_some_and(|link| link.has_told(flight.piece));
            let look = Look { piece: flight.piece, parent: flight.key, meter: &flight.meter, rest_bytes, has_told };
            (rest_bytes > 0).then_some(look)
        });
        let Seen { stalled, mut ahead, probed } = look(looks, mean, part.hedged_in_vain);
        for (key, piece) in probed {
            self.probe(p, key, piece);
        }
        let unanswered = self.parts[p].questions.iter().filter(|open| open.probe);
        let late = unanswered.filter(|open| self.now_ms - open.asked_ms > ms(PROBE_USUAL));
        ahead.extend(late.map(|open| open.key));
        for key in ahead {
            let part = &mut self.parts[p];
            let probing = part.questions.iter().any(|open| open.probe && open.key == key);
            if part.links.strike(key, now) == Some(Struck::Out) && !probing {
                self.complain(p, key, ComplaintReason::Silent);
            }
        }
        if !stalled.is_empty() {
            self.hedge(p, &stalled);
        }
    }

    fn probe(&mut self, p: PartId, key: Key, piece: u32) {
        let others = self.parts[p].links.all().filter(|link| link.key != key && !link.has_told(piece));
        let keys: Vec<Key> = [key].into_iter().chain(others.map(|link| link.key).take(ASKED_AROUND)).collect();
        keys.into_iter().for_each(|key| self.question(p, key, true));
    }

    fn hedge(&mut self, p: PartId, stalled: &[df_peer::decisions::Stalled]) {
        let part = &self.parts[p];
        let left = hedge_budget(part.landed_bytes(), u64::from(self.scenario.piece_bytes), part.hedged_bytes);
        let has = |key: Key, piece: u32| part.links.get(key).is_some_and(|link| link.has_told(piece));
        for step in self.view(p, |view| hedge(view, stalled, has, left)).unwrap_or_default() {
            let Step::Fetch { piece, parent } = step else { continue };
            let alone = self.parts[p].from_one.contains(&piece);
            if alone {
                self.cancel(p, |flight| flight.piece == piece);
            }
            if let Some(asked) = self.ask(p, piece, parent, !alone) {
                self.parts[p].hedged_bytes += asked;
            }
        }
    }

    // --- the origin ---

    pub fn go_to_origin(&mut self, p: PartId) {
        if self.parts[p].phase == Phase::Swarm {
            self.leave_swarm(p);
        }
        let seed = self.host_of(p).seed;
        let part = &mut self.parts[p];
        (part.phase, part.sent, part.small) = (Phase::Origin, false, Small::No);
        part.sync.at_origin = true;
        part.sync.news = true;
        part.counts.went_to_origin += u32::from(!seed);
        self.poke(p);
        self.stir(p);
    }

    fn at_origin(&mut self, p: PartId) {
        for landing in std::mem::take(&mut self.parts[p].landings) {
            self.mark(p, landing.piece);
        }
        if self.parts[p].is_whole() {
            return self.complete(p);
        }
        if std::mem::take(&mut self.parts[p].sync.news) && self.is_dismissed(p) {
            self.cancel(p, |_| true);
            let part = &mut self.parts[p];
            (part.sync.at_origin, part.sync.news, part.phase) = (false, true, Phase::Asking);
            self.poke(p);
            return self.follow(p);
        }
        self.launch_runs(p);
    }

    fn is_dismissed(&mut self, p: PartId) -> bool {
        let part = &mut self.parts[p];
        let Advice::Decided(decision) = &part.sync.advice else { return false };
        if decision.decision == Decision::Origin {
            part.sent = true;
            return false;
        }
        let trusted = |parent: &Parent| part.sync.complaints.iter().all(|one| one.peer_id != parent.peer_id);
        part.sent && decision.parents.iter().any(trusted)
    }

    fn launch_runs(&mut self, p: PartId) {
        let piece_bytes = self.scenario.piece_bytes;
        let part = &mut self.parts[p];
        // What a run has brought whole is no longer of interest.
        let flights = &self.flights.all;
        let over = |flight: &InFlight| flights[flight.id as usize].at == piece_bytes;
        let ended: Vec<u32> = part.in_flight.iter().filter(|flight| over(flight)).map(|flight| flight.number).collect();
        self.cancel(p, |flight| ended.contains(&flight.number));
        let part = &self.parts[p];
        let runs: Vec<_> = part.in_flight.iter().map(|flight| self.run_of(flight)).collect();
        let is_in = |piece: u32| runs.iter().any(|run| run.contains(&piece));
        let begun: Vec<u32> = (0..part.pieces())
            .filter(|&piece| part.slots[piece as usize].landed > 0 && !part.marked.has(piece) && !is_in(piece))
            .collect();
        let run_pieces = (df_peer::decisions::RUN_BYTES / u64::from(piece_bytes)).max(1) as u32;
        let first = !part.described;
        let elapsed_s = ((self.now_ms - part.began_ms) as f64 / 1000.0).max(0.001);
        let pace = part.counts.origin_bytes as f64 / elapsed_s;
        let ahead = pace * df_peer::decisions::AHEAD.as_secs_f64() / df_peer::decisions::RUN_BYTES as f64;
        let (readers, _) = part.readers();
        let view = OriginView {
            held: &part.marked,
            pieces: part.pieces(),
            in_flight: &runs,
            begun: &begun,
            readers: &readers,
            run_pieces,
            streams: if first { 1 } else { ORIGIN_STREAMS },
            ahead: ahead as usize,
        };
        let planned = if first && !runs.is_empty() { Vec::new() } else { df_peer::decisions::plan_origin(&view) };
        for run in planned {
            let at = self.parts[p].slots[run.start as usize].landed;
            let flight = Flight { at, ..Flight::new(p, None, run.start, Kind::Run(run.end)) };
            let (id, number) = self.launch_flight(flight);
            let (piece, key, hedge, meter) = (run.start, 0, false, Default::default());
            self.parts[p].in_flight.push(InFlight { id, number, piece, key, hedge, meter });
        }
    }

    fn run_of(&self, flight: &InFlight) -> std::ops::Range<u32> {
        let flight = &self.flights.all[flight.id as usize];
        let Kind::Run(end) = flight.kind else { return flight.piece..flight.piece + 1 };
        flight.piece..end
    }
}

/// As `DownloadConfig` has it.
const ORIGIN_STREAMS: usize = 4;

/// Bytes of a part that is whole from the start.
pub fn fill(part: &mut Part, piece_bytes: u32) {
    (part.phase, part.described) = (Phase::Whole, true);
    part.slots.iter_mut().for_each(|slot| slot.landed = piece_bytes);
    for piece in 0..part.pieces() {
        part.marked.set(piece);
        part.log.push(piece);
    }
}
