//! The parents of a download: where each stands, and whether it is to be asked now. Pure: it is told the time, and what a
//! link is besides its [`Linked`] part is nothing to it.
//!
//! **Invariant.** Whatever a scheduler names, there are at most [`PARENTS_MAX`] of them, each once, and no two in one slot.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use df_api::rows::Surroundings;
use df_api::scheduler::{Parent, ParentRole, Row};
use df_api::{Digest, HostId, PeerId};

use crate::parent::ParentLink;
use crate::plan::Key;

/// Two full rows of 32 and some reserve; no scheduler has a reason to name more.
const PARENTS_MAX: usize = 80;
const WIDTH_MAX: u32 = 64;
/// Windows in which a parent was ahead and slow, until it is complained of.
const STRIKES_MAX: u32 = 4;
/// A suspected parent is left out for this long, twice as long at each strike.
const SUSPECTED: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_millis(500);

/// One parent, as far as decisions look at it.
pub trait Linked {
    fn key(&self) -> Key;
    fn parent(&self) -> &Parent;
    /// What it has told a piece to be.
    fn told(&self, piece: u32) -> Option<Digest>;
    fn has_told(&self, piece: u32) -> bool;
}

pub struct Links<L> {
    members: Vec<Member<L>>,
    row: Option<Row>,
    next_key: Key,
}

struct Member<L> {
    link: L,
    role: ParentRole,
    slot: u32,
    busy_until: Option<Instant>,
    suspected_until: Option<Instant>,
    strikes: u32,
    struck: Option<Instant>,
    /// When its connections broke first, since it last brought a piece.
    broke: Option<Instant>,
}

/// What a strike amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Struck {
    Suspected,
    Out,
}

// === impl Links ===

impl<L> Default for Links<L> {
    fn default() -> Self {
        Self { members: Vec::new(), row: None, next_key: 0 }
    }
}

impl<L: Linked> Links<L> {
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn all(&self) -> impl Iterator<Item = &L> {
        self.members.iter().map(|member| &member.link)
    }

    pub fn get(&self, key: Key) -> Option<&L> {
        self.all().find(|link| link.key() == key)
    }

    /// Links exactly the advised parents; who was linked before stays who it is. `connect` makes a link of one that is new,
    /// unless nothing can be asked of it.
    pub fn follow(
        &mut self,
        own: &HostId,
        advised: Vec<Parent>,
        row: Option<Row>,
        mut connect: impl FnMut(Key, Parent) -> Option<L>,
    ) {
        let wanted = sensible(advised, own);
        let is = |member: &Member<L>, parent: &Parent| {
            let known = member.link.parent();
            known.peer_id == parent.peer_id && known.url == parent.url
        };
        self.row = row;
        self.members.retain(|member| wanted.iter().any(|parent| is(member, parent)));
        for parent in wanted {
            if let Some(known) = self.members.iter_mut().find(|member| is(member, &parent)) {
                known.role = parent.role;
                known.slot = if row.is_some() { parent.slot } else { known.slot };
                continue;
            }
            let (role, told_slot) = (parent.role, parent.slot);
            let Some(link) = connect(self.next_key, parent) else { continue };
            self.next_key += 1;
            // Parents alike get a slot each, which stays theirs when others come and go.
            let free = (0..).find(|slot| self.members.iter().all(|member| member.slot != *slot));
            let slot = if row.is_some() { told_slot } else { free.unwrap_or(0) };
            let (busy_until, suspected_until, struck, broke) = (None, None, None, None);
            self.members.push(Member { link, role, slot, busy_until, suspected_until, strikes: 0, struck, broke });
        }
    }

    /// Those who do not read from where this host reads: its row mates do, and are nobody without the others.
    pub fn above(&self) -> Vec<Key> {
        let above = self.members.iter().filter(|member| member.role != ParentRole::Mate || self.members.len() == 1);
        above.map(|member| member.link.key()).collect()
    }

    pub fn remove(&mut self, key: Key) {
        self.members.retain(|member| member.link.key() != key);
    }

    // --- where they stand ---

    pub fn linked(&self) -> Surroundings<Key> {
        self.around(|_| true)
    }

    /// Those to ask now. When all are suspected, suspicion is no help.
    pub fn usable(&self, now: Instant) -> Surroundings<Key> {
        let trusted = self.around(|member| !member.is_busy(now) && !member.is_suspected(now));
        if trusted.mates.is_empty() && trusted.above.is_empty() && self.reserve(now).is_empty() {
            return self.around(|member| !member.is_busy(now));
        }
        trusted
    }

    /// Who stands in when a relay is missing; those of the row before the seeds.
    pub fn reserve(&self, now: Instant) -> Vec<Key> {
        let placed = self.placed();
        let fit = |member: &&Member<L>| {
            !placed.contains(&member.link.key()) && !member.is_busy(now) && !member.is_suspected(now)
        };
        let mut reserve: Vec<&Member<L>> = self.members.iter().filter(fit).collect();
        reserve.sort_by_key(|member| member.link.parent().seed);
        reserve.into_iter().map(|member| member.link.key()).collect()
    }

    fn placed(&self) -> HashSet<Key> {
        let linked = self.linked();
        linked.mates.iter().chain(&linked.above).map(|(_, key)| *key).collect()
    }

    fn around(&self, fit: impl Fn(&Member<L>) -> bool) -> Surroundings<Key> {
        let fit = |member: &&Member<L>| fit(member);
        let slotted = |member: &Member<L>| (member.slot, member.link.key());
        let Some(row) = self.row.filter(|row| (1..=WIDTH_MAX).contains(&row.width)) else {
            let mut above: Vec<_> = self.members.iter().filter(fit).map(slotted).collect();
            above.sort_unstable();
            let width = self.members.iter().map(|member| member.slot + 1).max().unwrap_or(1);
            return Surroundings { width, slot: None, mates: Vec::new(), above };
        };
        let slot = row.place.map(|place| place.slot).filter(|slot| *slot < row.width);
        let in_row = |role: ParentRole| {
            let mut taken: Vec<u32> = Vec::new();
            if role == ParentRole::Mate {
                taken.extend(slot);
            }
            let mut members = Vec::new();
            for member in self.members.iter().filter(|member| member.role == role && member.slot < row.width) {
                if !taken.contains(&member.slot) {
                    taken.push(member.slot);
                    members.extend(Some(member).filter(fit).map(slotted));
                }
            }
            members.sort_unstable();
            members
        };
        let (mates, above) = (in_row(ParentRole::Mate), in_row(ParentRole::Above));
        Surroundings { width: row.width, slot, mates, above }
    }

    // --- how they do ---

    pub fn busy(&mut self, key: Key, until: Instant) {
        if let Some(member) = self.members.iter_mut().find(|member| member.link.key() == key) {
            member.busy_until = Some(until);
        }
    }

    /// Those whose time has come to be asked again.
    pub fn no_longer_busy(&mut self, now: Instant) -> Vec<PeerId> {
        let rested = |member: &&mut Member<L>| member.busy_until.is_some_and(|until| until <= now);
        let back = self.members.iter_mut().filter(rested).map(|member| {
            member.busy_until = None;
            member.link.parent().peer_id.clone()
        });
        back.collect()
    }

    /// It has what it was asked for and does not send it, or much slower than the others; counted once per window.
    pub fn strike(&mut self, key: Key, now: Instant) -> Option<Struck> {
        let member = self.members.iter_mut().find(|member| member.link.key() == key)?;
        if member.struck.is_some_and(|struck| now.duration_since(struck) < WINDOW) {
            return None;
        }
        member.struck = Some(now);
        member.strikes += 1;
        member.suspected_until = Some(now + SUSPECTED * 2u32.pow(member.strikes.min(STRIKES_MAX)) / 2);
        Some(if member.strikes >= STRIKES_MAX { Struck::Out } else { Struck::Suspected })
    }

    /// A piece came from it as it should.
    pub fn forgive(&mut self, key: Key) {
        if let Some(member) = self.members.iter_mut().find(|member| member.link.key() == key) {
            (member.strikes, member.suspected_until, member.struck, member.broke) = (0, None, None, None);
        }
    }

    /// `false` when it has broken off before, and has brought nothing since. What breaks together counts once.
    pub fn is_first_break(&mut self, key: Key, now: Instant) -> bool {
        let Some(member) = self.members.iter_mut().find(|member| member.link.key() == key) else { return false };
        now.duration_since(*member.broke.get_or_insert(now)) < WINDOW
    }
}

// === impl Member ===

impl<L> Member<L> {
    fn is_busy(&self, now: Instant) -> bool {
        self.busy_until.is_some_and(|until| until > now)
    }

    fn is_suspected(&self, now: Instant) -> bool {
        self.suspected_until.is_some_and(|until| until > now)
    }
}

// === impl ParentLink ===

impl Linked for Arc<ParentLink> {
    fn key(&self) -> Key {
        self.key
    }

    fn parent(&self) -> &Parent {
        &self.parent
    }

    fn told(&self, piece: u32) -> Option<Digest> {
        ParentLink::told(self, piece)
    }

    fn has_told(&self, piece: u32) -> bool {
        ParentLink::has_told(self, piece)
    }
}

/// Each once, without this host, and not too many.
fn sensible(advised: Vec<Parent>, own: &HostId) -> Vec<Parent> {
    let mut known = HashSet::new();
    let others = advised.into_iter().filter(|parent| parent.host_id != *own && parent.peer_id.as_str() != own.as_str());
    others.filter(|parent| known.insert(parent.peer_id.clone())).take(PARENTS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(name: &str) -> Parent {
        let (peer_id, host_id) = (name.parse().unwrap(), name.parse().unwrap());
        let url = format!("http://{name}:1");
        Parent { peer_id, host_id, url, seed: false, role: ParentRole::Reserve, slot: 0 }
    }

    #[test]
    fn a_million_parents_are_a_few_each_once_and_never_ourselves() {
        let named = |i: u32| parent(&format!("h-{}", i % 100));
        let kept = sensible((0..1_000_000).map(named).collect(), &"h-7".parse().unwrap());
        assert_eq!(kept.len(), PARENTS_MAX);
        assert!(kept.iter().all(|parent| parent.host_id.as_str() != "h-7"));
        let distinct: HashSet<_> = kept.iter().map(|parent| &parent.peer_id).collect();
        assert_eq!(distinct.len(), kept.len());
    }
}
