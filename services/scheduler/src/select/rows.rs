//! Whom the asker reads from: its row mates, the row above, and somebody in reserve.
//!
//! A newcomer gets a place where everybody it would read from has room for one more child, so that nobody is given more
//! than it can serve as long as somebody else will do: a slot in a row, else it reads from a row, or from who has the
//! content. When all are full it gets a place as if they were not: nobody waits for ever. Who has a place keeps it.
//!
//! **Invariant.** Every candidate stands in a smaller row, or in the asker's own, or reads from nobody: it is whole, or
//! holds the right to the origin. Who has nobody above gets no slot: its row mates would wait for it.

use std::ops::Bound;

use df_api::HostId;
use df_api::rendezvous::weight;
use df_api::scheduler::{ParentRole, Row, RowPlace, Wants};

use super::score::{HostType, Load, Terms, idc_term, location_term};
use super::{Effect, Question, Trust, View};
use crate::policy::Policy;
use crate::task::{Source, Sources};

/// Rows without anybody to read from that are passed on the way up.
const CLIMB_MAX: usize = 16;
/// Where so many are full, all count as full: a decision is not to take longer than a download's first byte.
const ROOM_LOOK: usize = 1_000;
/// Rows that are looked at for one that only reads.
const ROWS_LOOK: usize = 4;

type Member<'a> = (u32, &'a HostId);

/// Whom the asker would read from at some place.
struct Around<'a> {
    mates: Vec<Member<'a>>,
    above: Vec<Member<'a>>,
}

/// Who may be named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Crowd {
    /// Only those with room for one more child.
    WithRoom,
    /// Also the full.
    Any,
}

// === impl Question ===

impl<'a> Question<'a> {
    /// `None` when nobody can be read from. Leaves in the effects where the asker stands from now on.
    pub(super) fn find_sources(&mut self) -> Option<Sources> {
        let width = self.width();
        let sources = match self.standing() {
            Some(place) => match self.around_relay(width, place) {
                Some(around) => Some(self.as_relay(width, place, around)),
                None => self.as_reader(width, Some(place.row), Crowd::Any),
            },
            None => self.as_newcomer(width),
        };
        if sources.is_none() {
            self.stand_nowhere();
        }
        sources
    }

    fn width(&self) -> u32 {
        let View { task, hosts, policy, .. } = self.view;
        let told = self.peer.report.row.filter(|row| task.table().echoed(row, &None).is_some()).map(|row| row.width);
        task.table().width().or(told).unwrap_or_else(|| policy.row_width(hosts.announced.len()))
    }

    fn idc(&self) -> Option<String> {
        Some(self.own?.report.place.idc.to_ascii_lowercase())
    }

    fn relays(&self) -> bool {
        self.shares() && self.may_relay(self.id) && self.peer.report.wants != Wants::Part
    }

    /// Where the asker does stand, or where another scheduler has put it.
    fn standing(&self) -> Option<RowPlace> {
        if !self.relays() {
            return None;
        }
        let (table, idc) = (self.view.task.table(), self.idc());
        let own = table.place(self.id).filter(|place| table.suits(place.row, &idc));
        own.or_else(|| self.peer.report.row.and_then(|row| table.echoed(&row, &idc)))
    }

    /// Where there is room; when there is none, as if there were.
    fn as_newcomer(&mut self, width: u32) -> Option<Sources> {
        let place = self.free_place(width);
        let around = place.and_then(|place| Some((place, self.around_relay(width, place)?)));
        let fits = around.as_ref().is_some_and(|(_, around)| around.members().all(|id| self.has_room(id)));
        match around {
            Some((place, around)) if fits => Some(self.as_relay(width, place, around)),
            around => self.as_reader(width, None, Crowd::WithRoom).or_else(|| match around {
                Some((place, around)) => Some(self.as_relay(width, place, around)),
                None => self.as_reader(width, None, Crowd::Any),
            }),
        }
    }

    /// In a row that begins, or in a new one.
    fn free_place(&self, width: u32) -> Option<RowPlace> {
        if !self.relays() || self.is_leaf(width) {
            return None;
        }
        let (task, idc) = (self.view.task, self.idc());
        let table = task.table();
        let open = task.at_start(self.id).then(|| table.open_slot(&idc, |id| task.at_start(id))).flatten();
        debug_assert!(open.is_none_or(|place| place.slot < width));
        Some(open.unwrap_or_else(|| table.new_row()))
    }

    /// It could not serve all who read from a relay: it has too few free slots, or a link much slower than is usual here.
    fn is_leaf(&self, width: u32) -> bool {
        let View { task, hosts, policy, .. } = self.view;
        self.own.is_some_and(|own| {
            let free = policy.slots(&own.report).saturating_sub(hosts.children(self.id));
            free < Policy::children_in_rows(width) || task.reference.is_weak(own.report.sent_bytes_per_s_max)
        })
    }

    fn around_relay(&self, width: u32, place: RowPlace) -> Option<Around<'a>> {
        let mates = self.members(place.row, Trust::Clean);
        // Nobody doubted as long as mates can bring everything.
        let doubted = mates.is_empty().then_some(Trust::Doubted);
        let trusts = [Some(Trust::Clean), doubted].into_iter().flatten();
        let up = self.view.task.table().up(place.row, &self.idc());
        let above = trusts.map(|trust| self.above(width, up, trust, &mates)).find(|above| !above.is_empty())?;
        Some(Around { mates, above })
    }

    fn as_relay(&mut self, width: u32, place: RowPlace, around: Around<'_>) -> Sources {
        let (table, idc) = (self.view.task.table(), self.idc());
        let known = table.place(self.id) == Some(place) && (idc.is_none() || table.idc(place.row) == Some(&idc));
        if !known {
            self.effects.push(Effect::Take { place, width, idc });
        }
        self.sources(Row { width, place: Some(place) }, around)
    }

    /// From a whole row: the one it reads from already, or was in, or any; else from who has the content.
    fn as_reader(&mut self, width: u32, was_in: Option<u64>, crowd: Crowd) -> Option<Sources> {
        let table = self.view.task.table();
        let kept = was_in.filter(|row| table.members(*row).any(|(_, id)| id != self.id));
        let kept = kept.or_else(|| table.reads(self.id));
        let crowd = if kept.is_some() { Crowd::Any } else { crowd };
        let chosen = kept.or_else(|| self.row_to_read(crowd));
        let mut row = chosen;
        for _ in 0..CLIMB_MAX {
            let Some(at) = row else { break };
            let mates = self.members(at, Trust::Clean);
            if !mates.is_empty() && self.fits(mates.iter().map(|(_, id)| *id), crowd) {
                let above = self.above(width, table.above(at), Trust::Clean, &mates);
                self.read(at);
                return Some(self.sources(Row { width, place: None }, Around { mates, above }));
            }
            row = table.above(at);
        }
        let tops = [Trust::Clean, Trust::Doubted].into_iter().map(|trust| match crowd {
            // A row that is full has been passed over.
            Crowd::WithRoom => self.top(width, trust, &[]),
            Crowd::Any => self.above(width, chosen, trust, &[]),
        });
        let above = tops.into_iter().find(|top| !top.is_empty())?;
        if !self.fits(above.iter().map(|(_, id)| *id), crowd) {
            return None;
        }
        match chosen.filter(|_| crowd == Crowd::Any) {
            Some(row) => self.read(row),
            None => self.stand_nowhere(),
        }
        Some(self.sources(Row { width, place: None }, Around { mates: Vec::new(), above }))
    }

    /// The best of a few rows, each asker's own few.
    fn row_to_read(&self, crowd: Crowd) -> Option<u64> {
        let View { task, .. } = self.view;
        let spread = u64::from_be_bytes(weight(&task.id, self.id));
        let first = task.table().row_to_read(&self.idc(), spread)?;
        if crowd == Crowd::Any {
            return Some(first);
        }
        let near = task.table().rows_from(first).take(ROWS_LOOK);
        let with_room = near.filter(|row| self.fits(task.table().members(*row).map(|(_, id)| id), crowd));
        let scored = with_room.map(|row| {
            let scores = task.table().members(row).map(|(_, id)| self.score(id));
            (row, scores.fold(1.0, f64::min))
        });
        best(scored).or(Some(first))
    }

    fn fits<'b>(&self, mut parents: impl Iterator<Item = &'b HostId>, crowd: Crowd) -> bool {
        crowd == Crowd::Any || parents.all(|id| self.has_room(id))
    }

    fn read(&mut self, row: u64) {
        if self.view.task.table().reads(self.id) != Some(row) {
            self.effects.push(Effect::Read { row });
        }
    }

    /// Who can be read from in a row.
    fn members(&self, row: u64, trust: Trust) -> Vec<Member<'a>> {
        let members = self.view.task.table().members(row);
        // A seed that is sent just now leaves its slot.
        members.filter(|(_, id)| self.usable(id, trust) && self.holder.as_ref() != Some(*id)).collect()
    }

    /// The next row up with somebody in it, else who has the content.
    fn above(&self, width: u32, mut row: Option<u64>, trust: Trust, mates: &[Member<'_>]) -> Vec<Member<'a>> {
        for _ in 0..CLIMB_MAX {
            let Some(at) = row else { break };
            let members = self.members(at, trust);
            if !members.is_empty() {
                return members;
            }
            row = self.view.task.table().above(at);
        }
        self.top(width, trust, mates)
    }

    /// The best of those who have the content, each with a slot: they share the pieces out, so each byte is sent once.
    fn top(&self, width: u32, trust: Trust, mates: &[Member<'_>]) -> Vec<Member<'a>> {
        let limit = self.view.policy.candidate_parent_limit.clamp(1, width.max(1) as usize);
        let is_mate = |id: &HostId| mates.iter().any(|(_, mate)| *mate == id);
        let fit = |id: &&HostId| self.usable(id, trust);
        let whole = || self.whole_near(self.id).filter(|id| !is_mate(id));
        let mut top = self.best_apart(limit, |id| self.has_room(id) && fit(&id));
        if top.is_empty() {
            top.extend(whole().take(ROOM_LOOK).filter(|id| self.has_room(id)).filter(fit).take(limit));
        }
        if top.is_empty() {
            top = self.best_apart(limit, |id| fit(&id));
        }
        if top.is_empty() {
            // It may be a seed that is sent just now.
            let holder = self.holder.as_ref().and_then(|id| self.view.hosts.announced.get_key_value(id));
            top.extend(holder.map(|(id, _)| id).filter(fit));
        }
        if top.is_empty() {
            top.extend(whole().filter(fit).take(limit));
        }
        top.sort_unstable();
        (0..).zip(top).collect()
    }

    /// Of a few, each task's own few, and of those the asker reads from.
    fn best_apart(&self, limit: usize, fit: impl Fn(&HostId) -> bool) -> Vec<&'a HostId> {
        let View { task, policy, .. } = self.view;
        let told = self.peer.told.iter().flat_map(Sources::serving).filter_map(|id| task.whole().get(id));
        let mine: Vec<_> = told.filter(|id| task.is_apart(id)).collect();
        let others = task.apart().filter(|id| !mine.contains(id));
        let few = mine.iter().copied().chain(others).take(ROOM_LOOK).filter(|id| fit(id));
        let few = few.take(policy.filter_parent_limit);
        let mut scored: Vec<_> = few.map(|id| (self.score(id), id)).collect();
        // Stable: hosts alike stay in rendezvous order, those that it reads from first.
        scored.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        scored.into_iter().map(|(_, id)| id).take(limit).collect()
    }

    pub(super) fn score(&self, id: &HostId) -> f64 {
        self.terms(id).score(&self.view.policy.weights)
    }

    pub(super) fn terms(&self, id: &HostId) -> Terms {
        let View { task, hosts, policy, .. } = self.view;
        let Some(host) = hosts.announced.get(id) else {
            return Terms { load: 0.0, idc: 0.0, location: 0.0, host_type: 0.0 };
        };
        let report = &host.report;
        let load = Load {
            children: hosts.children(id),
            slots: policy.slots(report),
            sent: report.sent_bytes_per_s,
            sent_limit: report.sent_bytes_per_s_max,
        };
        let kind = match (report.seed, task.whole().contains(id)) {
            (false, _) => HostType::Peer,
            (true, true) => HostType::SeedHaving,
            (true, false) => HostType::SeedGetting,
        };
        let place = self.own.map(|own| &own.report.place);
        Terms {
            load: if self.peer.was_told(id) { 1.0 } else { load.term() },
            idc: place.map_or(0.0, |own| idc_term(own, &report.place)),
            location: place.map_or(0.0, |own| location_term(own, &report.place)),
            host_type: kind.term(),
        }
    }

    /// In the order of their ids, from the asker on: each begins with others.
    fn whole_near(&self, id: &HostId) -> impl Iterator<Item = &'a HostId> {
        let whole = self.view.task.whole();
        let after = whole.range((Bound::Excluded(id.clone()), Bound::Unbounded));
        after.chain(whole.range(..id.clone()))
    }

    fn sources(&self, row: Row, around: Around<'_>) -> Sources {
        let mates = around.mates.into_iter().map(|mate| (ParentRole::Mate, mate));
        let above = around.above.into_iter().map(|parent| (ParentRole::Above, parent));
        let listed = mates.chain(above).map(|(role, (slot, id))| Source { id: id.clone(), role, slot });
        let mut parents: Vec<_> = listed.collect();
        let reserve = self.reserve(&parents);
        parents.extend(reserve.into_iter().map(|id| Source { id, role: ParentRole::Reserve, slot: 0 }));
        Sources { row, parents }
    }

    /// A complete peer, then a seed that has the content or is getting it: the best of a few. What was told before stays.
    fn reserve(&self, chosen: &[Source]) -> Vec<HostId> {
        let View { now_ms, task, hosts, policy } = self.view;
        let told = self.peer.told.iter().flat_map(|told| &told.parents);
        let kept: Vec<_> = told.filter(|it| it.role == ParentRole::Reserve).map(|it| &it.id).collect();
        let has = |id: &HostId| task.whole().contains(id) || self.holder.as_ref() == Some(id);
        let is_new = |id: &HostId| chosen.iter().all(|source| source.id != *id);
        let fit = |id: &&HostId, seed: bool| {
            hosts.is_seed(id) == seed && has(id) && is_new(id) && self.usable(id, Trust::Clean)
        };
        let of = |seed: bool, few: &mut dyn Iterator<Item = &'a HostId>| {
            let kept = kept.iter().copied().find(|id| fit(id, seed));
            let few = few.take(policy.filter_parent_limit).filter(|id| fit(id, seed));
            kept.or_else(|| best(few.map(|id| (id, self.score(id)))))
        };
        let peer = of(false, &mut self.whole_near(self.id));
        let seed = of(true, &mut hosts.live_seeds_near(self.id, now_ms));
        peer.into_iter().chain(seed).cloned().collect()
    }
}

// === impl Around ===

impl<'a> Around<'a> {
    fn members(&self) -> impl Iterator<Item = &'a HostId> {
        self.mates.iter().chain(&self.above).map(|(_, id)| *id)
    }
}

/// The first of the best.
fn best<T>(scored: impl Iterator<Item = (T, f64)>) -> Option<T> {
    let best = scored.min_by(|(_, one), (_, other)| other.total_cmp(one));
    best.map(|(it, _)| it)
}
