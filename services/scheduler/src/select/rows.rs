//! Whom the asker reads from: its row mates, the row above, and somebody in reserve.
//!
//! **Invariant.** Every candidate stands in a smaller row, or in the asker's own, or reads from nobody: it is whole, or
//! holds the right to the origin. Who has nobody above gets no slot: its row mates would wait for it.

use std::ops::Bound;

use df_api::HostId;
use df_api::rendezvous::weight;
use df_api::scheduler::{ParentRole, Row, RowPlace, Wants};

use super::{Effect, Question, Trust, View};
use crate::task::{Source, Sources};

/// Rows without anybody to read from that are passed on the way up.
const CLIMB_MAX: usize = 16;
/// Whole peers looked at for a reserve.
const RESERVES_LOOK: usize = 16;
/// Whole peers looked at for the first row, times how many it needs.
const TOP_LOOK: usize = 4;

type Member<'a> = (u32, &'a HostId);

/// Whom the asker would read from at some place.
struct Around<'a> {
    mates: Vec<Member<'a>>,
    above: Vec<Member<'a>>,
}

// === impl Question ===

impl<'a> Question<'a> {
    /// `None` when nobody can be read from. Leaves in the effects where the asker stands from now on.
    pub(super) fn find_sources(&mut self) -> Option<Sources> {
        let width = self.width();
        let sources = match self.find_place(width) {
            Some(place) => self.as_relay(width, place).or_else(|| self.as_reader(width, Some(place.row))),
            None => self.as_reader(width, None),
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
        let host = self.view.hosts.announced.get(self.id)?;
        Some(host.report.place.idc.to_ascii_lowercase())
    }

    /// Where the asker may stand: where it does, where another scheduler put it, in a row that begins, in a new one.
    fn find_place(&self, width: u32) -> Option<RowPlace> {
        let task = self.view.task;
        if !self.shares() || !self.may_relay(self.id) || self.peer.report.wants == Wants::Part {
            return None;
        }
        let (table, idc) = (task.table(), self.idc());
        if let Some(place) = table.place(self.id).filter(|place| table.suits(place.row, &idc)) {
            return Some(place);
        }
        if let Some(place) = self.peer.report.row.and_then(|row| table.echoed(&row, &idc)) {
            return Some(place);
        }
        let open = task.at_start(self.id).then(|| table.open_slot(&idc, |id| task.at_start(id))).flatten();
        debug_assert!(open.is_none_or(|place| place.slot < width));
        Some(open.unwrap_or_else(|| table.new_row()))
    }

    fn as_relay(&mut self, width: u32, place: RowPlace) -> Option<Sources> {
        let (task, idc) = (self.view.task, self.idc());
        let mates = self.members(place.row, Trust::Clean);
        // Nobody doubted as long as mates can bring everything.
        let doubted = mates.is_empty().then_some(Trust::Doubted);
        let trusts = [Some(Trust::Clean), doubted].into_iter().flatten();
        let above = trusts.map(|trust| self.above(width, task.table().up(place.row, &idc), trust, &mates));
        let above = above.into_iter().find(|above| !above.is_empty())?;
        let known =
            task.table().place(self.id) == Some(place) && (idc.is_none() || task.table().idc(place.row) == Some(&idc));
        if !known {
            self.effects.push(Effect::Take { place, width, idc });
        }
        Some(self.sources(Row { width, place: Some(place) }, Around { mates, above }))
    }

    /// From a whole row: the one it reads from already, or was in, or any.
    fn as_reader(&mut self, width: u32, was_in: Option<u64>) -> Option<Sources> {
        let table = self.view.task.table();
        let spread = u64::from_be_bytes(weight(&self.view.task.id, self.id));
        let chosen = was_in.filter(|row| table.members(*row).any(|(_, id)| id != self.id));
        let chosen = chosen.or_else(|| table.reads(self.id)).or_else(|| table.row_to_read(&self.idc(), spread));
        let mut row = chosen;
        for _ in 0..CLIMB_MAX {
            let Some(at) = row else { break };
            let mates = self.members(at, Trust::Clean);
            if !mates.is_empty() {
                let above = self.above(width, table.above(at), Trust::Clean, &mates);
                self.read(at);
                return Some(self.sources(Row { width, place: None }, Around { mates, above }));
            }
            row = table.above(at);
        }
        let tops = [Trust::Clean, Trust::Doubted].into_iter().map(|trust| self.above(width, chosen, trust, &[]));
        let above = tops.into_iter().find(|top| !top.is_empty())?;
        match chosen {
            Some(row) => self.read(row),
            None => self.stand_nowhere(),
        }
        Some(self.sources(Row { width, place: None }, Around { mates: Vec::new(), above }))
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
        let task = self.view.task;
        let limit = self.view.policy.candidate_parent_limit.clamp(1, width.max(1) as usize);
        let mut best: Vec<_> = task
            .apart()
            .filter(|id| self.usable(id, trust))
            .take(limit * TOP_LOOK)
            .map(|id| (self.rank(id), id))
            .collect();
        // Stable: hosts alike stay in rendezvous order.
        best.sort_by_key(|(rank, _)| *rank);
        let mut top: Vec<_> = best.into_iter().map(|(_, id)| id).take(limit).collect();
        if top.is_empty() {
            // It may be a seed that is sent just now.
            let holder = self.holder.as_ref().and_then(|id| self.view.hosts.announced.get_key_value(id));
            top.extend(holder.map(|(id, _)| id).filter(|id| self.usable(id, trust)));
        }
        if top.is_empty() {
            let is_mate = |id: &HostId| mates.iter().any(|(_, mate)| *mate == id);
            top.extend(self.whole_near(self.id).filter(|id| self.usable(id, trust) && !is_mate(id)).take(limit));
        }
        top.sort_unstable();
        (0..).zip(top).collect()
    }

    /// Smaller is better.
    fn rank(&self, id: &HostId) -> (bool, bool, bool, u32, bool) {
        let View { hosts, .. } = self.view;
        let Some(host) = hosts.announced.get(id) else { return (true, true, true, u32::MAX, true) };
        let (children, slots) = (hosts.children(id), host.report.upload_slots.max(1));
        let own_idc = hosts.announced.get(self.id).map(|own| own.report.place.idc.as_str()).unwrap_or_default();
        let elsewhere = !host.report.place.idc.eq_ignore_ascii_case(own_idc);
        // Coarse: a few children more or less must not move anybody.
        let load = children.saturating_mul(4) / slots;
        (children >= slots && !self.peer.was_told(id), elsewhere, !self.peer.was_told(id), load, host.report.seed)
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

    /// A complete peer, then a seed that has the content or is getting it. What was told before stays.
    fn reserve(&self, chosen: &[Source]) -> Vec<HostId> {
        let View { now_ms, task, hosts, .. } = self.view;
        let told = self.peer.told.iter().flat_map(|told| &told.parents);
        let kept: Vec<_> = told.filter(|it| it.role == ParentRole::Reserve).map(|it| &it.id).collect();
        let is_new = |id: &HostId| chosen.iter().all(|source| source.id != *id) && self.usable(id, Trust::Clean);
        let has = |id: &HostId| task.whole().contains(id) || self.holder.as_ref() == Some(id);
        let peers = kept.iter().copied().chain(self.whole_near(self.id).take(RESERVES_LOOK));
        let peer = peers.into_iter().find(|id| !hosts.is_seed(id) && has(id) && is_new(id));
        let seeds = hosts.live_seeds_near(self.id, now_ms).take(RESERVES_LOOK);
        let seed = kept.iter().copied().chain(seeds).find(|id| hosts.is_seed(id) && has(id) && is_new(id));
        peer.into_iter().chain(seed).cloned().collect()
    }
}
