//! Which tasks go: pure. By age always; by room only above the high mark, and then down to the low one.

use df_api::TaskId;

/// What is looked at of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: TaskId,
    /// Our own bytes in it, whatever else is on the disk.
    pub bytes: u64,
    /// Unix seconds.
    pub last_read_s: u64,
    /// Somebody reads, writes or downloads it: it stays.
    pub pinned: bool,
    pub complete: bool,
}

/// What may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// More than this, and room is made …
    pub high_bytes: u64,
    /// … until no more than this is left.
    pub low_bytes: u64,
    /// What nobody has read for longer goes in any case.
    pub ttl_s: u64,
}

/// What to remove, in this order: first what is too old, then the least recently read; of equals first the incomplete.
/// Never a pinned one, and for the sake of room never more than needed.
pub fn evict(candidates: &[Candidate], limits: Limits, now_s: u64) -> Vec<TaskId> {
    let mut loose: Vec<&Candidate> = candidates.iter().filter(|candidate| !candidate.pinned).collect();
    loose.sort_unstable_by_key(|candidate| (candidate.last_read_s, candidate.complete, &candidate.id));
    let mut left = candidates.iter().fold(0u64, |sum, candidate| sum.saturating_add(candidate.bytes));
    let expired = |candidate: &Candidate| now_s.saturating_sub(candidate.last_read_s) > limits.ttl_s;
    let aged = loose.iter().take_while(|candidate| expired(candidate)).count();
    let (old, young) = loose.split_at(aged);
    left = old.iter().fold(left, |left, candidate| left.saturating_sub(candidate.bytes));
    let crowded = left > limits.high_bytes;
    let for_room = young.iter().filter(|candidate| candidate.bytes > 0).take_while(|candidate| {
        let needed = crowded && left > limits.low_bytes;
        left = left.saturating_sub(if needed { candidate.bytes } else { 0 });
        needed
    });
    old.iter().chain(for_room).map(|candidate| candidate.id.clone()).collect()
}

#[cfg(test)]
mod tests;
