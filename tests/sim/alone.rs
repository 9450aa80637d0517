//! The glue of `df-peer`'s `alone` and `schedulers`: whom a peer reads from while no scheduler answers, and when one is
//! asked again.

use std::time::Duration;

use df_api::dfdaemon::PieceList;
use df_api::scheduler::{KnownHost, Parent};
use df_peer::decisions::{FoundAlone, Heard, LOOK_MAX, LOOK_MIN, Order, SILENT_FOR, arranged, choose, row_of};

use crate::events::{HostIndex, PartId};
use crate::part::{Advice, Alone, Phase};
use crate::world::World;

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

// === impl World ===

impl World {
    /// The scheduler has not answered this host: its announcement finds out whether it is there.
    pub fn doubt(&mut self, at: HostIndex) {
        if self.hosts[at].silent_since_ms.replace(self.now_ms).is_none() {
            let it = &mut self.hosts[at].announcement;
            it.serial += 1;
            it.calling = false;
            let serial = it.serial;
            self.host_due(at, serial);
        }
    }

    pub fn is_passed_over(&self, at: HostIndex) -> bool {
        self.hosts[at].silent_since_ms.is_some_and(|since_ms| self.now_ms - since_ms < ms(SILENT_FOR))
    }

    /// It reads from hosts that it knows from before.
    pub fn begin_alone(&mut self, p: PartId) {
        let Some(told) = self.known_parents(p) else { return self.go_to_origin(p) };
        let row = row_of(&told);
        let pause_ms = ms(LOOK_MIN);
        self.parts[p].alone = Some(Alone { told: told.clone(), pause_ms, next_ms: self.now_ms + pause_ms });
        self.link(p, told, row);
        self.begin_swarm(p);
    }

    /// Finds others when those read from have failed, and better ones from time to time.
    pub fn look_after(&mut self, p: PartId) {
        let part = &mut self.parts[p];
        if matches!(part.sync.advice, Advice::Decided(_)) {
            part.sync.news = true;
            return;
        }
        let Some(alone) = &mut part.alone else { return };
        let failed = alone.told.iter().all(|parent| part.sync.complained_of(&parent.peer_id));
        if !failed && self.now_ms < alone.next_ms {
            return;
        }
        alone.pause_ms = (alone.pause_ms * 2).min(ms(LOOK_MAX));
        alone.next_ms = self.now_ms + alone.pause_ms;
        let known = alone.told.clone();
        match self.known_parents(p) {
            Some(found) if found != known => {
                if let Some(alone) = &mut self.parts[p].alone {
                    alone.told.clone_from(&found);
                }
                let row = row_of(&found);
                self.link(p, found, row);
            }
            None if failed => self.go_to_origin(p),
            _ => {}
        }
    }

    /// `None`: the origin is for this host. They answer at once here.
    fn known_parents(&mut self, p: PartId) -> Option<Vec<Parent>> {
        let part = &self.parts[p];
        let (task, own) = (part.task, &self.hosts[part.host].id);
        let order = Order::of(self.control.task_id(task), self.directory.to_vec(), own);
        let usable = |host: &KnownHost| part.sync.complaints.iter().all(|one| one.peer_id.as_str() != host.id.as_str());
        let asked = order.to_ask().into_iter().filter(usable);
        let heard = asked.filter_map(|host| Some((self.hear_of(task, &host)?, host)));
        let heard = heard.map(|(heard, host)| (host, heard)).collect();
        let parents = match choose(&order, heard) {
            FoundAlone::Parents(above, relays) => arranged(above, relays),
            FoundAlone::ToSend(first, relays) => {
                if let Some(part) = self.part_of(task, first.host_id.as_str()) {
                    self.start(part, true);
                }
                arranged(vec![first], relays)
            }
            FoundAlone::Nobody => return None,
        };
        Some(parents).filter(|parents| !parents.is_empty())
    }

    /// `None` when it does not answer.
    fn hear_of(&self, task: usize, host: &KnownHost) -> Option<Heard> {
        let Some(part) = self.part_of(task, host.id.as_str()) else { return Some(Heard::Nothing) };
        if self.host_of(part).manner.dead {
            return None;
        }
        let complete = match self.parts[part].phase {
            Phase::Absent | Phase::Dead => return Some(Heard::Nothing),
            phase => phase == Phase::Whole,
        };
        let (running, at_origin) = (!complete, self.parts[part].phase == Phase::Origin);
        Some(Heard::List(PieceList { complete, running, at_origin, ..PieceList::default() }))
    }

    fn part_of(&self, task: usize, host: &str) -> Option<PartId> {
        let host = host.strip_prefix("h-")?.parse().ok()?;
        self.places.get(&(host, task)).copied()
    }
}
