//! Whose word a piece is held against. Pure.
//!
//! **Invariant.** Nobody vouches for what it has sent itself, but a seed, or the only one above.

use std::time::Duration;

use df_api::Digest;

use super::links::{Linked, Links};
use crate::plan::Key;

/// A witness that does not know a piece by then is not the only one asked.
const WITNESS_ALONE: Duration = Duration::from_millis(500);
/// And after this whom its sender may have it from is believed, too.
const WORD_INDEPENDENT: Duration = Duration::from_secs(2);

// === impl Links ===

impl<L: Linked> Links<L> {
    /// Who says what the piece is: somebody else than who sent it, above and near; a seed, or the only one above, for
    /// itself. `waited` long enough, also whom the sender may have it from.
    pub fn word(&self, index: u32, senders: &[Key], waited: Duration) -> Option<(Key, Digest)> {
        let told = |key: Key| Some((key, self.get(key)?.told(index)?));
        if let Some(key) = self.vouches_for_itself(senders) {
            return told(key);
        }
        let all: Vec<Key> = self.all().map(Linked::key).collect();
        let linked = self.linked();
        let named = linked.witness(index).into_iter();
        // A helper has it from the piece's relay.
        let behind = [linked.behind(index), linked.source(index)];
        let besides: Vec<Key> = all.iter().copied().filter(|key| !senders.contains(key)).collect();
        // Whom the senders may have it from counts only where nobody else above is left, or says anything.
        let others_above = self.above().iter().any(|key| !senders.contains(key) && !behind.contains(&Some(*key)));
        let independent = |key: &Key| !behind.contains(&Some(*key)) || !others_above || waited > WORD_INDEPENDENT;
        let mut others = named.filter(|key| !senders.contains(key)).chain(besides.iter().copied().filter(independent));
        others.find_map(told).or_else(|| {
            // Several have sent parts of it, and nobody else is there: what they all say.
            let mut theirs = all.iter().filter(|key| senders.contains(key)).map(|key| told(*key));
            let (key, digest) = theirs.next()??;
            let alone = all.iter().all(|key| senders.contains(key));
            (alone && theirs.all(|other| other.is_some_and(|(_, other)| other == digest))).then_some((key, digest))
        })
    }

    fn vouches_for_itself(&self, senders: &[Key]) -> Option<Key> {
        let [sender] = senders else { return None };
        let link = self.get(*sender)?;
        (link.parent().seed || self.above() == [*sender]).then_some(*sender)
    }

    /// The witness; after a while everybody.
    pub fn who_could_vouch(&self, index: u32, senders: &[Key], waited: Duration) -> Vec<Key> {
        if let Some(key) = self.vouches_for_itself(senders) {
            return vec![key];
        }
        let others = || self.all().map(Linked::key).filter(|key| !senders.contains(key));
        let witness = self.linked().witness(index).filter(|key| !senders.contains(key));
        match witness.or_else(|| others().next()) {
            Some(witness) if waited <= WITNESS_ALONE => vec![witness],
            Some(_) => others().collect(),
            None => self.all().map(Linked::key).collect(),
        }
    }
}
