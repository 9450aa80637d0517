//! The glue of `df-peer`'s `download`, `sync` and `announce`: how a download begins, what the cluster is told and when, and
//! what is done of its answers.

use std::rc::Rc;
use std::time::Duration;

use df_api::scheduler::{
    Decision, HeldTask, HostDecision, HostReport, PeerDecision, PeerReport, PeerState, Wants, Work,
};
use df_api::task::Origin;
use df_peer::decisions::{FIRST_ADVICE, LAST_ANSWERED_WITHIN, PATIENCE_ADVISED, RETRY, hold_after, pause_after};

use crate::events::{Call, Event, HostIndex, PartId};
use crate::flights::{Flight, Kind};
use crate::part::{Advice, Phase, Small};
use crate::world::World;

/// Longer than the scheduler, the seed may take.
const GRACE_MS: u64 = 30;
/// An announcement is given up so much later than its answer is due.
const CLIENT_PATIENCE_MS: u64 = 5_000;
/// Longer than this it is not waited until an announcement is repeated.
const AGAIN_MAX_MS: u64 = 1_000;
/// After a change of what a host holds.
const SETTLING_MS: u64 = 1_000;
/// A host's long poll.
const HOLD_MS: u64 = 5_000;

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

// === impl World ===

impl World {
    // --- a download ---

    /// Somebody asks for the content: of this node, or a child of a seed.
    pub fn start(&mut self, p: PartId, child: bool) {
        let now_ms = self.now_ms;
        if self.parts[p].phase != Phase::Absent || self.host_of(p).manner.dead {
            return;
        }
        let part = &mut self.parts[p];
        part.phase = Phase::Asking;
        (part.times.start_ms, part.moved_ms, part.began_ms) = (now_ms, now_ms, now_ms);
        self.report(p);
        self.stir(p);
        let task = self.parts[p].task;
        let own = self.parts[p].host;
        let seed = self.seed_of(task).filter(|(host, _)| *host != own && !child);
        if let Some((_, seed)) = seed {
            self.parts[p].small = Small::Asking;
            let flight = Flight::new(p, Some(seed), 0, Kind::Small);
            self.launch_flight(flight);
            self.parts[p].counts.requests += 1;
        }
        self.events.plan(now_ms + ms(FIRST_ADVICE), Event::NoMoreSmall(p));
    }

    fn duty(&mut self, p: PartId) {
        if self.parts[p].phase == Phase::Absent {
            let now_ms = self.now_ms;
            let part = &mut self.parts[p];
            (part.times.start_ms, part.moved_ms, part.began_ms) = (now_ms, now_ms, now_ms);
            self.go_to_origin(p);
        }
    }

    /// It is clear that the content is not small, or not at once.
    pub fn no_more_small(&mut self, p: PartId) {
        self.parts[p].small = Small::No;
        if self.parts[p].phase == Phase::Asking {
            self.stir(p);
        }
    }

    pub fn not_small(&mut self, flight: u32, number: u32) {
        let known = &self.flights.all[flight as usize];
        if known.live && known.number == number {
            self.drop_flight(flight);
        }
    }

    /// What the cluster says is done, once it has said something.
    pub fn follow(&mut self, p: PartId) {
        let now_ms = self.now_ms;
        let part = &mut self.parts[p];
        if part.small != Small::No {
            let knows = matches!(&part.sync.advice, Advice::Decided(it) if it.decision != Decision::Wait);
            if part.small == Small::Asking && (knows || matches!(part.sync.advice, Advice::Alone)) {
                part.small = Small::Leaving;
                self.events.plan(now_ms + GRACE_MS, Event::NoMoreSmall(p));
            }
            return;
        }
        match part.sync.advice.clone() {
            Advice::Pending if now_ms - part.began_ms < ms(FIRST_ADVICE) => {}
            Advice::Pending | Advice::Alone => self.begin_alone(p),
            Advice::Decided(decision) => match decision.decision {
                Decision::Origin => self.go_to_origin(p),
                _ if decision.parents.is_empty() => {
                    if !part.is_moving_within(now_ms, ms(PATIENCE_ADVISED)) {
                        self.go_to_origin(p);
                    }
                }
                Decision::Wait | Decision::Parents | Decision::Unchanged | Decision::Nobody => self.begin_swarm(p),
            },
        }
    }

    fn seed_of(&self, task: usize) -> Option<(HostIndex, PartId)> {
        let seeds = self.hosts[..self.scenario.seeds].iter().enumerate().filter(|(_, host)| !host.manner.dead);
        let id = self.control.task_id(task);
        let (host, _) = seeds.max_by_key(|(_, host)| df_api::rendezvous::weight(id, &host.id))?;
        Some((host, *self.places.get(&(host, task))?))
    }

    pub fn complete(&mut self, p: PartId) {
        self.leave_swarm(p);
        let now_ms = self.now_ms;
        let part = &mut self.parts[p];
        part.phase = Phase::Whole;
        part.times.whole_ms = Some(now_ms);
        (part.sync.at_origin, part.sync.over) = (false, true);
        let host = part.host;
        self.report(p);
        if !self.hosts[host].seed && !self.hosts[host].manner.uncounted {
            self.unfinished -= 1;
        }
        self.held_changed(host);
    }

    // --- what is told of a task ---

    pub fn poke(&mut self, p: PartId) {
        let sync = &self.parts[p].sync;
        if sync.calling && sync.hold_ms == 0 {
            self.parts[p].sync.poked = true;
        } else {
            self.report(p);
        }
    }

    pub fn report_due(&mut self, p: PartId, serial: u64) {
        let sync = &self.parts[p].sync;
        if serial == sync.serial && !sync.calling && self.parts[p].phase != Phase::Dead {
            self.report(p);
        }
    }

    fn report(&mut self, p: PartId) {
        if self.is_passed_over(self.parts[p].host) {
            return self.goes_unreported(p);
        }
        let (host_id, now_ms) = (self.host_of(p).id.clone(), self.now_ms);
        let seq = self.next_number(self.parts[p].host);
        let origin = Origin::new(self.control.origin_url(self.parts[p].task));
        let piece_length = u64::from(self.scenario.piece_bytes);
        let length = piece_length * u64::from(self.scenario.pieces);
        let part = &mut self.parts[p];
        part.counts.reports += 1;
        part.sync.serial += 1;
        (part.sync.calling, part.sync.poked, part.sync.asked_ms) = (true, false, now_ms);
        let over = part.sync.over;
        let report = PeerReport {
            host_id,
            seq,
            state: if over { PeerState::Complete } else { PeerState::Running },
            origin,
            digest: None,
            length: part.described.then_some(length),
            piece_length: part.described.then_some(piece_length),
            pieces: part.marked.clone(),
            received_bytes: part.landed_bytes(),
            complaints: part.sync.complaints.clone(),
            at_origin: part.sync.at_origin,
            known: part.sync.known.filter(|_| !over),
            row: part.sync.row.filter(|_| !over),
            wants: Wants::All,
        };
        let wait_ms = if over { 0 } else { part.sync.hold_ms };
        let serial = part.sync.serial;
        let call = Rc::new(Call { report, serial, wait_ms });
        self.send(|| Event::Report(p, call.clone()));
        self.events.plan(self.now_ms + wait_ms + ms(LAST_ANSWERED_WITHIN), Event::Decided(p, serial, None));
    }

    /// There is no scheduler that it would be worth to ask.
    fn goes_unreported(&mut self, p: PartId) {
        let sync = &mut self.parts[p].sync;
        sync.serial += 1;
        (sync.calling, sync.poked) = (false, false);
        if !sync.over {
            (sync.advice, sync.known, sync.news) = (Advice::Alone, None, true);
            self.events.plan(self.now_ms + ms(RETRY), Event::ReportDue(p, self.parts[p].sync.serial));
            self.stir(p);
        }
    }

    /// Rises with each report of a host.
    fn next_number(&mut self, host: HostIndex) -> u64 {
        self.hosts[host].numbers += 1;
        self.hosts[host].numbers
    }

    pub fn decided(&mut self, p: PartId, serial: u64, decision: Option<Rc<PeerDecision>>) {
        let now_ms = self.now_ms;
        let part = &mut self.parts[p];
        if serial != part.sync.serial || !part.sync.calling || part.phase == Phase::Dead {
            return;
        }
        part.sync.calling = false;
        // What the host holds is told by its announcement, too.
        if part.sync.over {
            return;
        }
        let pause = match decision {
            None => {
                part.sync.advice = Advice::Alone;
                part.sync.known = None;
                let host = part.host;
                self.doubt(host);
                RETRY
            }
            Some(decision) => {
                let host = part.host;
                self.hosts[host].numbers = self.hosts[host].numbers.max(decision.seq);
                let news = decision.decision != Decision::Unchanged;
                if news {
                    (part.sync.known, part.sync.row) = (Some(decision.version), decision.row);
                    part.sync.hold_ms = ms(hold_after(&decision));
                }
                let took = Duration::from_millis(now_ms - part.sync.asked_ms);
                let pause = pause_after(&decision, Duration::from_millis(part.sync.hold_ms), took);
                if news {
                    self.parts[p].sync.advice = Advice::Decided(decision);
                }
                pause
            }
        };
        let part = &mut self.parts[p];
        part.sync.news = true;
        let poked = part.sync.poked;
        self.stir(p);
        if poked {
            self.report(p);
        } else {
            self.events.plan(now_ms + ms(pause), Event::ReportDue(p, serial));
        }
    }

    // --- hosts ---

    /// What it holds has changed: its long poll ends, and everything is told anew.
    fn held_changed(&mut self, host: HostIndex) {
        let (now_ms, it) = (self.now_ms, &mut self.hosts[host].announcement);
        if it.full {
            return;
        }
        it.full = true;
        it.serial += 1;
        it.calling = false;
        let pause_ms = if it.told { SETTLING_MS } else { 0 };
        self.events.plan(now_ms + pause_ms, Event::HostDue(host, it.serial));
    }

    pub fn host_due(&mut self, at: HostIndex, serial: u64) {
        let host = &self.hosts[at];
        if host.manner.dead || host.announcement.serial != serial || host.announcement.calling {
            return;
        }
        let piece_length = u64::from(self.scenario.piece_bytes);
        let length = piece_length * u64::from(self.scenario.pieces);
        let whole = host.parts.iter().filter(|p| self.parts[**p].phase == Phase::Whole);
        let held = whole.map(|p| self.control.task_id(self.parts[*p].task).clone());
        let held: Vec<HeldTask> = held.map(|id| HeldTask { id, length, piece_length, imported: false }).collect();
        let (now_ms, seq, doubted) = (self.now_ms, self.next_number(at), self.is_passed_over(at));
        let host = &mut self.hosts[at];
        let it = &mut host.announcement;
        it.serial += 1;
        it.wait_ms = if it.full || doubted { 0 } else { HOLD_MS };
        (it.calling, it.asked_ms, it.sent_full) = (true, now_ms, it.full);
        let report = HostReport {
            seq,
            place: host.place.clone(),
            url: format!("http://{}", host.id),
            seed: host.seed,
            sharing_off: false,
            storing: true,
            upload_slots: 200,
            sent_bytes_per_s: 0,
            sent_bytes_per_s_max: None,
            tasks: it.full.then_some(held),
            duties_taken: it.duties_taken.clone(),
            hosts_known: 0,
        };
        it.full = false;
        let (serial, wait_ms) = (it.serial, it.wait_ms);
        let call = Rc::new(Call { report, serial, wait_ms });
        self.send(|| Event::HostReport(at, call.clone()));
        self.events.plan(now_ms + wait_ms + CLIENT_PATIENCE_MS, Event::HostDecided(at, serial, None));
    }

    pub fn host_decided(&mut self, at: HostIndex, serial: u64, decision: Option<&HostDecision>) {
        let now_ms = self.now_ms;
        let it = &mut self.hosts[at].announcement;
        if it.serial != serial || !it.calling {
            return;
        }
        it.calling = false;
        self.hosts[at].silent_since_ms = if decision.is_some() { None } else { Some(now_ms) };
        let it = &mut self.hosts[at].announcement;
        let Some(decision) = decision else {
            it.full = true;
            it.failures += 1;
            let pause_ms = (250u64 << it.failures.min(8)).min(AGAIN_MAX_MS);
            return self.events.plan(now_ms + pause_ms, Event::HostDue(at, serial));
        };
        it.failures = 0;
        if let Some(list) = &decision.hosts {
            self.directory = list.hosts.as_slice().into();
        }
        it.duties_taken.clear();
        it.told |= it.sent_full;
        it.full |= decision.resend_tasks && it.sent_full;
        let hasty = decision.duties.is_empty() && it.wait_ms > 0 && now_ms - it.asked_ms < 1_000;
        it.duties_taken.extend(decision.duties.iter().map(|duty| duty.id));
        self.events.plan(now_ms + if hasty { 1_000 } else { 0 }, Event::HostDue(at, serial));
        self.hosts[at].numbers = self.hosts[at].numbers.max(decision.seq);
        for duty in &decision.duties {
            let Work::Fetch(fetched) = &duty.work else { continue };
            let task = self.control.task_index(&fetched.id);
            if let Some(&p) = task.and_then(|task| self.places.get(&(at, task))) {
                self.duty(p);
            }
        }
    }
}
