//! The table of a task: who stands where in its rows of relays (see [`df_api::rows`]).
//!
//! The rows of one IDC are a chain: each reads from the one before, or, where rows are wide, from one half as far from the
//! start. The first of a chain reads from the first of the chain that began before it, so that one copy crosses between two
//! IDCs; the first of all reads from who has the content.
//!
//! **Invariants.** A row reads from a row with a smaller number, so nothing goes round in circles. A host stands in one
//! slot, or reads from one row, or neither. A row has a member; the last that leaves takes it away. New rows get numbers
//! above all others, also above those an earlier scheduler gave.

use std::collections::{BTreeMap, BTreeSet};

use df_api::HostId;
use df_api::scheduler::{Row, RowPlace};
use serde::{Deserialize, Serialize};

use crate::maps::Map;

/// Slots of a row at most; also of what a peer claims to have been told.
const WIDTH_MAX: u32 = 32;
/// Row numbers stay below: exact in a JavaScript number, with room above.
const ROW_MAX: u64 = 1 << 53;
/// From this width on, two rows read from each. That costs one part in `width` of everybody's link, and then a content
/// passes ten rows on its way to ten thousand peers, instead of a thousand.
pub const BRANCHING_WIDTH: u32 = 10;
/// Newest rows of a chain that are looked at for an empty slot: older ones are ahead of any newcomer.
const OPEN_ROWS: usize = 4;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// Of all rows; means nothing while there is none.
    width: u32,
    rows: BTreeMap<u64, Relays>,
    /// Rows by IDC. `None`: no member's host has announced itself yet.
    chains: BTreeMap<Idc, Chain>,
    /// The first row of each chain.
    heads: BTreeSet<u64>,
    stands: Map<HostId, Stand>,
    next_row: u64,
}

/// In lower case.
pub type Idc = Option<String>;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Chain {
    /// The lowest number that any row of it has had: who reads from whom does not change when the first row goes.
    base: u64,
    rows: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stand {
    Slot(RowPlace),
    /// It only reads.
    Reads(u64),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Relays {
    idc: Idc,
    slots: BTreeMap<u32, HostId>,
    readers: BTreeSet<HostId>,
}

// === impl Chain ===

impl Chain {
    /// The row that a row reads from, of those that are there.
    fn up(&self, row: u64, branches: bool) -> Option<u64> {
        let half = if branches { self.base + row.saturating_sub(self.base) / 2 } else { row };
        let above = self.rows.range(..=half.min(row.checked_sub(1)?)).next_back();
        above.or_else(|| self.rows.range(..row).next()).copied()
    }

    /// The rows that read from a row.
    fn below(&self, row: u64, branches: bool) -> impl Iterator<Item = u64> {
        let reads = move |below: &u64| self.up(*below, branches) == Some(row);
        // They are together: none reads from an earlier row than one before it.
        let twice = self.base + 2 * row.saturating_sub(self.base);
        let is_first = self.rows.first().is_none_or(|first| *first >= row);
        let from = if branches && !is_first { twice.max(row + 1) } else { row + 1 };
        self.rows.range(from..).copied().take_while(reads)
    }
}

// === impl Table ===

impl Table {
    /// `first_row` is above all numbers that an earlier scheduler gave.
    pub fn new(first_row: u64) -> Self {
        Self {
            width: 0,
            rows: BTreeMap::new(),
            chains: BTreeMap::new(),
            heads: BTreeSet::new(),
            stands: Map::default(),
            next_row: first_row,
        }
    }

    /// `None` while there is no row, and so none is fixed.
    pub fn width(&self) -> Option<u32> {
        (!self.rows.is_empty()).then_some(self.width)
    }

    pub fn place(&self, host: &HostId) -> Option<RowPlace> {
        match self.stands.get(host) {
            Some(Stand::Slot(place)) => Some(*place),
            Some(Stand::Reads(_)) | None => None,
        }
    }

    /// The row that a host without a slot reads from.
    pub fn reads(&self, host: &HostId) -> Option<u64> {
        match self.stands.get(host) {
            Some(Stand::Reads(row)) => Some(*row),
            Some(Stand::Slot(_)) | None => None,
        }
    }

    /// By slot.
    pub fn members(&self, row: u64) -> impl Iterator<Item = (u32, &HostId)> {
        self.rows.get(&row).into_iter().flat_map(|relays| relays.slots.iter().map(|(slot, host)| (*slot, host)))
    }

    /// The row that a row reads from, or would if it were there. `None` for the first of all.
    pub fn up(&self, row: u64, idc: &Idc) -> Option<u64> {
        let branches = self.width >= BRANCHING_WIDTH;
        let in_chain = self.chains.get(idc).and_then(|chain| chain.up(row, branches));
        in_chain.or_else(|| self.heads.range(..row).next_back().copied())
    }

    /// The row above an existing one.
    pub fn above(&self, row: u64) -> Option<u64> {
        self.up(row, &self.rows.get(&row)?.idc)
    }

    pub fn idc(&self, row: u64) -> Option<&Idc> {
        Some(&self.rows.get(&row)?.idc)
    }

    /// A host of this IDC may stand there. Nobody knows yet where a host is that has not announced itself.
    pub fn suits(&self, row: u64, idc: &Idc) -> bool {
        self.rows.get(&row).is_none_or(|relays| relays.idc == *idc || relays.idc.is_none() || idc.is_none())
    }

    /// What a host was told by another scheduler, if it can have it.
    pub fn echoed(&self, told: &Row, idc: &Idc) -> Option<RowPlace> {
        let place = told.place.filter(|place| place.slot < told.width && place.row < ROW_MAX)?;
        let width = self.width().unwrap_or(told.width);
        let free = self.members(place.row).all(|(slot, _)| slot != place.slot);
        (free && width == told.width && told.width <= WIDTH_MAX && self.suits(place.row, idc)).then_some(place)
    }

    /// An empty slot of a row whose members are all at the start, in a chain.
    pub fn open_slot(&self, idc: &Idc, at_start: impl Fn(&HostId) -> bool) -> Option<RowPlace> {
        let newest = self.chains.get(idc)?.rows.iter().rev().take(OPEN_ROWS);
        let empty = newest.filter_map(|&row| {
            let slots = &self.rows.get(&row)?.slots;
            let slot = (0..self.width).find(|slot| !slots.contains_key(slot))?;
            slots.values().all(&at_start).then_some(RowPlace { row, slot })
        });
        empty.last()
    }

    pub fn new_row(&self) -> RowPlace {
        RowPlace { row: self.next_row, slot: 0 }
    }

    /// Some row for one that only reads, of its own IDC if there is one; `spread` shares them out.
    pub fn row_to_read(&self, idc: &Idc, spread: u64) -> Option<u64> {
        let rows = self.chains.get(idc).map(|chain| &chain.rows);
        let near = |row: u64| rows.and_then(|rows| rows.range(row..).next().or_else(|| rows.last()));
        let (first, last) = (*self.rows.first_key_value()?.0, *self.rows.last_key_value()?.0);
        let row = first + spread % (last - first + 1);
        near(row).copied().or_else(|| self.rows.range(row..).next().map(|(row, _)| *row))
    }

    /// Rows of one IDC, from one of them on, and then those before it.
    pub fn rows_from(&self, row: u64) -> impl Iterator<Item = u64> {
        let chain = self.rows.get(&row).and_then(|relays| self.chains.get(&relays.idc)).into_iter();
        let around = chain.flat_map(move |chain| chain.rows.range(row..).chain(chain.rows.range(..row)));
        around.copied()
    }

    /// A host takes a slot that is free. Says who should look again.
    pub fn take(&mut self, host: &HostId, place: RowPlace, width: u32, idc: &Idc) -> BTreeSet<HostId> {
        let mut concerned = self.leave(host);
        if self.rows.is_empty() {
            self.width = width;
        }
        let relays = self.rows.entry(place.row).or_default();
        let unknown = relays.idc.is_none() && idc.is_some();
        if relays.slots.is_empty() || unknown {
            let former = std::mem::replace(&mut relays.idc, idc.clone());
            concerned.extend(self.around(place.row));
            self.unchain(place.row, &former);
            self.chain(place.row, idc);
        }
        self.next_row = self.next_row.max(place.row + 1);
        concerned.extend(self.around(place.row));
        if let Some(relays) = self.rows.get_mut(&place.row) {
            relays.slots.insert(place.slot, host.clone());
        }
        self.stands.insert(host.clone(), Stand::Slot(place));
        concerned
    }

    /// A host has no slot, and reads from a row. Says who should look again.
    pub fn read(&mut self, host: &HostId, row: u64) -> BTreeSet<HostId> {
        let concerned = self.leave(host);
        if let Some(relays) = self.rows.get_mut(&row) {
            relays.readers.insert(host.clone());
            self.stands.insert(host.clone(), Stand::Reads(row));
        }
        concerned
    }

    /// A host is nowhere any more. Says who should look again.
    pub fn leave(&mut self, host: &HostId) -> BTreeSet<HostId> {
        let place = match self.stands.remove(host) {
            None => return BTreeSet::new(),
            Some(Stand::Reads(row)) => {
                self.rows.get_mut(&row).map(|relays| relays.readers.remove(host));
                return BTreeSet::new();
            }
            Some(Stand::Slot(place)) => place,
        };
        let mut concerned = self.around(place.row);
        concerned.remove(host);
        let Some(relays) = self.rows.get_mut(&place.row) else { return concerned };
        relays.slots.remove(&place.slot);
        if !relays.slots.is_empty() {
            return concerned;
        }
        let Some(Relays { idc, readers, .. }) = self.rows.remove(&place.row) else { return concerned };
        for reader in &readers {
            self.stands.remove(reader);
        }
        if let Some(head) = self.unchain(place.row, &idc) {
            concerned.extend(self.around(head));
        }
        concerned
    }

    /// Who reads from a row, or stands in it.
    fn around(&self, row: u64) -> BTreeSet<HostId> {
        let chain = self.rows.get(&row).and_then(|relays| self.chains.get(&relays.idc));
        let below = chain.into_iter().flat_map(|chain| chain.below(row, self.width >= BRANCHING_WIDTH));
        let branch = self.heads.contains(&row).then(|| self.heads.range(row + 1..).next()).flatten();
        let rows = [row].into_iter().chain(below).chain(branch.copied());
        let all = rows.filter_map(|row| self.rows.get(&row));
        all.flat_map(|relays| relays.slots.values().chain(&relays.readers)).cloned().collect()
    }

    fn chain(&mut self, row: u64, idc: &Idc) {
        let new = || Chain { base: row, rows: BTreeSet::new() };
        let chain = self.chains.entry(idc.clone()).or_insert_with(new);
        let former = chain.rows.first().copied();
        chain.base = chain.base.min(row);
        chain.rows.insert(row);
        if former.is_none_or(|former| row < former) {
            former.map(|former| self.heads.remove(&former));
            self.heads.insert(row);
        }
    }

    /// Says which row begins the chain now, if it is another.
    fn unchain(&mut self, row: u64, idc: &Idc) -> Option<u64> {
        let rows = &mut self.chains.get_mut(idc)?.rows;
        if !rows.remove(&row) {
            return None;
        }
        let head = rows.first().copied();
        if head.is_none() {
            self.chains.remove(idc);
        }
        if !self.heads.remove(&row) {
            return None;
        }
        self.heads.extend(head);
        head
    }

    /// Its invariants.
    #[cfg(test)]
    pub fn check(&self) {
        let mut stands = Map::default();
        for (&row, relays) in &self.rows {
            assert!(!relays.slots.is_empty() && row < self.next_row);
            assert!(self.chains[&relays.idc].rows.contains(&row));
            assert!(self.above(row).is_none_or(|above| above < row && self.rows.contains_key(&above)));
            for (&slot, host) in &relays.slots {
                assert!(slot < self.width);
                assert!(stands.insert(host.clone(), Stand::Slot(RowPlace { row, slot })).is_none());
            }
            for host in &relays.readers {
                assert!(stands.insert(host.clone(), Stand::Reads(row)).is_none());
            }
        }
        assert_eq!(stands, self.stands);
        let chains = || self.chains.values().map(|chain| &chain.rows);
        assert_eq!(chains().map(BTreeSet::len).sum::<usize>(), self.rows.len());
        let heads: BTreeSet<u64> = chains().filter_map(|rows| rows.first().copied()).collect();
        assert_eq!(heads, self.heads);
    }

    /// Everybody's slot.
    #[cfg(test)]
    pub fn places(&self) -> BTreeMap<HostId, RowPlace> {
        let slot = |host: &HostId| Some((host.clone(), self.place(host)?));
        self.stands.keys().filter_map(slot).collect()
    }
}
