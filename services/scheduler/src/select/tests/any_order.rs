//! Events in any order: what must hold whatever happens.

use std::collections::BTreeSet;

use super::*;
use crate::task::Source;

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "s1", "s2"];

#[derive(Clone, Debug)]
enum Event {
    Announce {
        who: usize,
        sharing_off: bool,
        holds: bool,
    },
    Leave {
        who: usize,
    },
    Quit {
        who: usize,
    },
    Ask {
        who: usize,
        forgets: bool,
    },
    End {
        who: usize,
        complete: bool,
    },
    Complain {
        who: usize,
        about: usize,
        reason: ComplaintReason,
    },
    Want {
        who: usize,
        wants: Wants,
    },
    /// What it said comes once more, or only now.
    Echo {
        who: usize,
        what: Echo,
    },
    Pass {
        ms: u64,
    },
}

#[derive(Clone, Copy, Debug)]
enum Echo {
    Announcement,
    Report,
    /// Before the last.
    OldReport,
    Quit,
}

fn event(hosts: usize) -> impl Strategy<Value = Event> {
    let who = 0..hosts;
    let reason = prop_oneof![Just(Gone), Just(Silent), Just(Busy), Just(WrongBytes)];
    prop_oneof![
        2 => (who.clone(), prop::bool::weighted(0.1), prop::bool::weighted(0.1))
            .prop_map(|(who, sharing_off, holds)| Event::Announce { who, sharing_off, holds }),
        1 => who.clone().prop_map(|who| Event::Leave { who }),
        1 => who.clone().prop_map(|who| Event::Quit { who }),
        12 => (who.clone(), prop::bool::weighted(0.1)).prop_map(|(who, forgets)| Event::Ask { who, forgets }),
        2 => (who.clone(), any::<bool>()).prop_map(|(who, complete)| Event::End { who, complete }),
        2 => (who.clone(), who.clone(), reason).prop_map(|(who, about, reason)| Event::Complain { who, about, reason }),
        1 => (who.clone(), prop_oneof![Just(Wants::All), Just(Wants::FromPeers), Just(Wants::Part)])
            .prop_map(|(who, wants)| Event::Want { who, wants }),
        3 => (who.clone(), prop_oneof![Just(Echo::Announcement), Just(Echo::Report), Just(Echo::OldReport), Just(Echo::Quit)])
            .prop_map(|(who, what)| Event::Echo { who, what }),
        2 => (1..6_000u64).prop_map(|ms| Event::Pass { ms }),
    ]
}

/// A cluster whose peers do as they are told and report it.
struct Play {
    sim: Sim,
    reports: Vec<PeerReport>,
    /// By host: its last announcement, last reports and last farewell, as they were sent.
    sent: Vec<Sent>,
}

#[derive(Clone, Default)]
struct Sent {
    announcement: Option<HostReport>,
    reports: Vec<PeerReport>,
    quit: Option<u64>,
}

impl Play {
    fn new(hosts: usize) -> Self {
        let reports = NAMES[..hosts].iter().map(|name| peer_report(name, PeerState::Running)).collect();
        Self { sim: Sim::with(&NAMES[..hosts]), reports, sent: vec![Sent::default(); hosts] }
    }

    fn send(&mut self, who: usize, report: PeerReport) {
        self.sim.seq += 1;
        let report = PeerReport { seq: self.sim.seq, ..report };
        self.sent[who].reports.push(report.clone());
        self.sim.state.report_peer(self.sim.now_ms, &task(), &host(NAMES[who]), report).unwrap();
    }

    /// Whatever comes late or twice changes nothing of what is known. Time may have passed since, and whoever speaks is
    /// alive: but only who said it last.
    fn echo(&mut self, who: usize, what: Echo) -> Result<(), TestCaseError> {
        let (now_ms, id, sent) = (self.sim.now_ms, host(NAMES[who]), self.sent[who].clone());
        let before = format!("{:?}", self.sim.state);
        let last = sent.reports.last().map(|report| report.seq);
        let state = &mut self.sim.state;
        let known = state.tasks.get(&task()).is_some_and(|task| task.peers.contains_key(&id));
        match what {
            Echo::Announcement => {
                let newer = state.hosts.announced.get(&id).map(|host| host.report.seq);
                let old = sent.announcement.filter(|report| newer > Some(report.seq));
                old.into_iter().for_each(|report| state.report_host(now_ms, &id, report).unwrap());
            }
            Echo::OldReport => {
                let old = sent.reports.iter().rev().nth(1).filter(|_| known);
                old.into_iter().for_each(|report| state.report_peer(now_ms, &task(), &id, report.clone()).unwrap());
            }
            Echo::Quit => {
                let old = sent.quit.filter(|quit| known && last > Some(*quit));
                old.into_iter().for_each(|seq| state.end_peer(now_ms, &task(), &id, seq));
            }
            Echo::Report => {
                // The same once more is as if it came only now.
                let Some(report) = sent.reports.last().filter(|_| known && sent.quit < last) else { return Ok(()) };
                state.report_peer(now_ms, &task(), &id, report.clone()).unwrap();
                return Ok(());
            }
        }
        prop_assert_eq!(format!("{:?}", self.sim.state), before, "{:?} of {}", what, NAMES[who]);
        Ok(())
    }

    fn run(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match *event {
            Event::Announce { who, sharing_off, holds } => {
                let held = HeldTask { id: task(), length: 1 << 20, piece_length: 1 << 18, imported: false };
                let tasks = holds.then(|| vec![held]);
                let mut said = None;
                self.sim.announce(NAMES[who], |report| {
                    (report.sharing_off, report.tasks) = (sharing_off, tasks);
                    said = Some(report.clone());
                });
                self.sent[who].announcement = said;
            }
            Event::Leave { who } => {
                self.sim.seq += 1;
                self.sim.state.end_host(self.sim.now_ms, &host(NAMES[who]), self.sim.seq);
            }
            Event::Quit { who } => {
                self.sim.seq += 1;
                self.sent[who].quit = Some(self.sim.seq);
                self.sim.state.end_peer(self.sim.now_ms, &task(), &host(NAMES[who]), self.sim.seq);
                self.reports[who] = peer_report(NAMES[who], PeerState::Running);
            }
            Event::Ask { who, forgets } => {
                self.reports[who].state = PeerState::Running;
                self.reports[who].received_bytes += 1;
                if forgets {
                    self.reports[who].row = None;
                }
                self.ask(who)?;
            }
            Event::End { who, complete } => {
                let state = if complete { PeerState::Complete } else { PeerState::Failed };
                let report = PeerReport { state, at_origin: false, ..self.reports[who].clone() };
                self.reports[who] = report.clone();
                self.send(who, report);
            }
            Event::Complain { who, about, reason } => {
                self.reports[who].complaints.push(Complaint { peer_id: host(NAMES[about]).peer(), reason });
            }
            Event::Want { who, wants } => self.reports[who].wants = wants,
            Event::Echo { who, what } => self.echo(who, what)?,
            Event::Pass { ms } => {
                self.sim.now_ms += ms;
                self.sim.state.expire(self.sim.now_ms);
            }
        }
        self.check_counts()
    }

    fn ask(&mut self, who: usize) -> Result<Verdict, TestCaseError> {
        let (now_ms, id) = (self.sim.now_ms, host(NAMES[who]));
        self.send(who, self.reports[who].clone());
        let State { tasks, hosts, policy, .. } = &self.sim.state;
        let view = View { now_ms, task: &tasks[&task()], hosts, policy };
        let selection = select(view, &id);
        prop_assert_eq!(&selection, &select(view, &id), "deterministic");
        let decided = self.sim.state.decide(now_ms, &task(), &id).unwrap();
        prop_assert_eq!(&selection, &decided);
        self.check(who, &decided.verdict)?;
        let report = &mut self.reports[who];
        report.at_origin = decided.verdict == Verdict::Origin;
        report.row = match &decided.verdict {
            Verdict::Parents(told) => Some(told.row),
            Verdict::Origin | Verdict::Wait | Verdict::Nobody => None,
        };
        Ok(decided.verdict)
    }

    fn check(&self, who: usize, verdict: &Verdict) -> Result<(), TestCaseError> {
        let State { tasks, hosts, .. } = &self.sim.state;
        let (task, id) = (&tasks[&task()], host(NAMES[who]));
        let Verdict::Parents(Sources { row, parents }) = verdict else {
            let held = task.lease.as_ref().is_some_and(|lease| lease.holder != id);
            let since_ms = task.peers[&id].joined_ms;
            let moved =
                self.reports[who].row.is_some() && self.sim.now_ms < since_ms + self.sim.state.policy.takeover_ms;
            prop_assert!(held || moved || *verdict == Verdict::Origin, "who waits, waits for somebody");
            prop_assert!(task.table().place(&id).is_none(), "and nobody for it");
            return Ok(());
        };
        prop_assert!(!parents.is_empty() && parents.len() < 2 * row.width as usize + 2);
        prop_assert_eq!(row.place, task.table().place(&id), "who is told a place has it");
        prop_assert!(row.place.is_none() || self.reports[who].wants != Wants::Part, "nobody reads through it");
        task.table().check();
        let ids: BTreeSet<&HostId> = parents.iter().map(|parent| &parent.id).collect();
        prop_assert_eq!(ids.len(), parents.len(), "nobody twice");
        for Source { id: parent, role, .. } in parents {
            prop_assert!(*parent != id, "never itself");
            let host = hosts.live(parent, self.sim.now_ms);
            prop_assert!(host.is_some_and(|host| !host.report.sharing_off), "alive and sharing");
            let complaint = task.complaints.standing(parent, &id).map(|standing| standing.reason);
            let complaint = complaint.filter(|reason| *reason != Busy);
            prop_assert!(complaint != Some(WrongBytes));
            prop_assert!(
                complaint.is_none() || *role == ParentRole::Above,
                "the doubted only when nobody else is there"
            );
            prop_assert!(task.complaints.count(parent, WrongBytes) < 2);
            let failed = task.peers.get(parent).is_some_and(|peer| peer.report.state == PeerState::Failed);
            prop_assert!(
                !failed || task.holds_lease(parent),
                "a failed peer is no parent, unless it was told to try again"
            );
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), TestCaseError> {
        let State { tasks, hosts, .. } = &self.sim.state;
        for name in NAMES {
            let named = tasks.values().flat_map(|task| task.peers.values()).flat_map(|peer| &peer.told);
            let count = named.flat_map(Sources::serving).filter(|parent| **parent == host(name)).count();
            prop_assert_eq!(hosts.children(&host(name)) as usize, count, "children of {}", name);
        }
        for task in tasks.values() {
            prop_assert!(!task.peers.is_empty() || !task.whole().is_empty(), "no empty task is kept");
            let idle = task.peers.values().filter(|peer| !peer.is_running());
            prop_assert!(idle.into_iter().all(|peer| peer.told.is_none()));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn parents_are_fit_and_places_are_theirs(events in prop::collection::vec(event(7), 1..120)) {
        let mut play = Play::new(7);
        for event in &events {
            play.run(event)?;
        }
    }

    #[test]
    fn without_seeds_one_at_most_is_at_the_origin(events in prop::collection::vec(event(5), 1..80)) {
        let mut play = Play::new(5);
        for event in &events {
            play.run(event)?;
        }
        // All share and nobody complains now; who is asked in one round is told of one holder.
        for name in &NAMES[..5] {
            play.sim.announce(name, |_| {});
        }
        let mut at_origin = 0;
        for round in 0..2 {
            at_origin = 0;
            // Nobody waits any more for those whom another scheduler named.
            play.sim.now_ms += play.sim.state.policy.takeover_ms;
            for who in 0..5 {
                play.reports[who].complaints.clear();
                play.reports[who].state = PeerState::Running;
                play.reports[who].wants = Wants::All;
                play.reports[who].received_bytes += 1;
                at_origin += usize::from(play.ask(who)? == Verdict::Origin);
            }
            prop_assert!(round == 0 || at_origin <= 1);
        }
        prop_assert_eq!(at_origin, 1, "all are running, so one has to");
    }

    #[test]
    fn with_a_seed_any_number_of_askers_cause_one_duty(askers in prop::collection::vec(0..5usize, 1..40)) {
        let mut play = Play::new(7);
        for who in askers {
            let verdict = play.ask(who)?;
            prop_assert!(matches!(verdict, Verdict::Parents(_)));
            prop_assert_eq!(play.sim.duties("s1") + play.sim.duties("s2"), 1);
        }
    }
}
