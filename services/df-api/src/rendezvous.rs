//! Which seed peer a task belongs to. Pure, so that schedulers and peers agree without asking each other.

use sha2::{Digest as _, Sha256};

use crate::ids::{HostId, TaskId};

/// Rendezvous (highest random weight) hashing: the heaviest seed has the task; when one comes or goes, only its own share
/// of the tasks moves.
pub fn weight(task: &TaskId, seed: &HostId) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(task.as_str());
    hash.update([0]);
    hash.update(seed.as_str());
    let hash: [u8; 32] = hash.finalize().into();
    hash[..8].try_into().unwrap_or_default()
}

/// A place among all hosts of a cluster, whatever the task: in the order of these, the first few are from everywhere.
pub fn rank(host: &HostId) -> [u8; 8] {
    let hash: [u8; 32] = Sha256::digest(host.as_str()).into();
    hash[..8].try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losing_a_seed_moves_only_its_tasks() {
        let seeds: Vec<HostId> = (0..4).map(|i| format!("seed-{i}").parse().unwrap()).collect();
        let heaviest = |task: &TaskId, seeds: &[HostId]| seeds.iter().max_by_key(|seed| weight(task, seed)).cloned();
        let mut moved = 0;
        for i in 0..200u32 {
            let task: TaskId = format!("{i:064x}").parse().unwrap();
            let (before, after) = (heaviest(&task, &seeds), heaviest(&task, &seeds[..3]));
            moved += u32::from(before != after);
            assert!(before == after || before.as_ref() == Some(&seeds[3]));
        }
        assert!((20..80).contains(&moved), "{moved} of 200");
    }
}
