//! Who lied: what was sent of a piece, who vouched for another digest, and what the piece turned out to be. Pure.
//!
//! A mismatch alone does not tell whether the sender or the witness is wrong. The piece itself, sent by somebody else,
//! does: whoever stands alone against two others has lied.

use df_api::Digest;

use crate::plan::Key;

/// So often the same contradiction is heard before nobody else is waited for.
const REPEATED: usize = 3;

/// One mismatch of a piece that came from one sender alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Testimony {
    pub piece: u32,
    pub sender: Key,
    /// It had checked the piece before it sent it. Otherwise it may only have passed on what it got, as a relay does.
    pub checked: bool,
    /// What the bytes were.
    pub found: Digest,
    /// Who said that they should be something else. The sender itself, when there is nobody else to ask.
    pub witness: Key,
    pub told: Digest,
}

/// Whom not to read from any more, as far as it can be told by now. `told_by` are digests that others tell. What a sender
/// had not checked proves nothing.
pub fn liars(of_piece: &[Testimony], told_by: &[(Key, Digest)], others: Others<'_>) -> Found {
    let (mut liars, mut doubted, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for testimony in of_piece.iter().filter(|testimony| testimony.checked) {
        let Testimony { sender, found, witness, told, .. } = testimony;
        // It sends something else than it says itself.
        let contradicts = told_by.iter().any(|(key, digest)| key == sender && digest != found);
        let third = |digest: &Digest| {
            told_by.iter().any(|(key, by)| key != sender && key != witness && by == digest)
                || of_piece.iter().any(|other| {
                    let apart = other.sender != *sender && other.sender != *witness;
                    apart && other.checked && other.found == *digest
                })
        };
        match (third(found), third(told)) {
            _ if witness == sender || contradicts => liars.push(*sender),
            (true, false) => liars.push(*witness),
            (false, true) => liars.push(*sender),
            (false, false) => open.push(testimony),
            (true, true) => {}
        }
    }
    if let Others::Silent { seeds } = others {
        open.retain(|testimony| !liars.contains(&testimony.witness) && !liars.contains(&testimony.sender));
        // Nobody can tell, so neither is believed; but a seed before a peer.
        for testimony in open {
            match seeds.contains(&testimony.witness) {
                true => liars.push(testimony.sender),
                false => doubted.extend([testimony.sender, testimony.witness]),
            }
        }
    }
    doubted.retain(|key| !liars.contains(key));
    for keys in [&mut liars, &mut doubted] {
        keys.sort_unstable();
        keys.dedup();
    }
    Found { liars, doubted }
}

/// Whom not to read from any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub liars: Vec<Key>,
    /// One of two has lied, and nobody can tell which.
    pub doubted: Vec<Key>,
}

/// Those who have not taken sides about a piece.
#[derive(Clone, Copy, Debug)]
pub enum Others<'a> {
    MaySpeak,
    /// There are none, or they say nothing. `seeds` of those who have are believed.
    Silent {
        seeds: &'a [Key],
    },
}

/// Whether somebody has taken sides about a piece, and answers for it.
pub fn is_involved(of_piece: &[Testimony], key: Key) -> bool {
    of_piece.iter().any(|one| one.witness == key || (one.sender == key && one.checked))
}

/// The same two stand against each other again and again: whoever else might know does not say so.
pub fn is_repeated(of_piece: &[Testimony]) -> bool {
    let pair = |one: &Testimony| (one.sender, one.witness);
    let times = |one: &Testimony| of_piece.iter().filter(|other| other.checked && pair(other) == pair(one)).count();
    of_piece.iter().any(|one| times(one) >= REPEATED)
}

/// The piece is marked, so everybody who said or sent something else was wrong.
pub fn refuted(of_piece: &[Testimony], marked: &Digest) -> Vec<Key> {
    let wrong = |testimony: &Testimony| {
        let sender = (testimony.found != *marked && testimony.checked).then_some(testimony.sender);
        let witness = (testimony.told != *marked).then_some(testimony.witness);
        sender.into_iter().chain(witness)
    };
    let mut liars: Vec<Key> = of_piece.iter().flat_map(wrong).collect();
    liars.sort_unstable();
    liars.dedup();
    liars
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Others<'static> = Others::Silent { seeds: &[] };

    fn certain(of_piece: &[Testimony], told_by: &[(Key, Digest)], others: Others<'_>) -> Vec<Key> {
        liars(of_piece, told_by, others).liars
    }

    fn digest(byte: &str) -> Digest {
        format!("blake3:{}", byte.repeat(32)).parse().unwrap()
    }

    fn mismatch(sender: Key, found: &str, witness: Key, told: &str) -> Testimony {
        Testimony { piece: 0, sender, checked: true, found: digest(found), witness, told: digest(told) }
    }

    fn passed_on(sender: Key, found: &str, witness: Key, told: &str) -> Testimony {
        Testimony { checked: false, ..mismatch(sender, found, witness, told) }
    }

    #[test]
    fn one_against_one_is_open_until_somebody_else_speaks() {
        let case = [mismatch(1, "aa", 2, "bb")];
        assert!(certain(&case, &[], Others::MaySpeak).is_empty());
        assert_eq!(certain(&case, &[(3, digest("bb"))], Others::MaySpeak), [1]);
        assert_eq!(certain(&case, &[(3, digest("aa"))], Others::MaySpeak), [2]);
        let found = liars(&case, &[], NOBODY);
        assert_eq!(found, Found { liars: Vec::new(), doubted: vec![1, 2] }, "neither is believed");
        assert_eq!(certain(&case, &[], Others::Silent { seeds: &[2] }), [1], "but a seed is");
    }

    #[test]
    fn a_sender_is_held_to_its_own_word() {
        assert_eq!(certain(&[mismatch(1, "aa", 1, "bb")], &[], Others::MaySpeak), [1]);
        assert_eq!(certain(&[mismatch(1, "aa", 2, "bb")], &[(1, digest("bb"))], Others::MaySpeak), [1]);
        assert!(certain(&[mismatch(1, "aa", 2, "bb")], &[(1, digest("aa"))], Others::MaySpeak).is_empty());
    }

    #[test]
    fn a_witness_that_contradicts_two_senders_lies() {
        let case = [mismatch(1, "aa", 2, "bb"), mismatch(3, "aa", 2, "bb")];
        assert_eq!(certain(&case, &[], Others::MaySpeak), [2]);
    }

    #[test]
    fn nobody_answers_for_what_only_passed_through() {
        let case = [passed_on(1, "aa", 2, "bb")];
        assert!(certain(&case, &[(3, digest("bb"))], Others::MaySpeak).is_empty());
        assert!(certain(&case, &[(1, digest("bb"))], NOBODY).is_empty());
        assert!(certain(&[passed_on(1, "aa", 1, "bb")], &[], NOBODY).is_empty());
        assert!(refuted(&case, &digest("bb")).is_empty());
    }

    #[test]
    fn two_relays_of_one_liar_are_no_witnesses_against_the_honest() {
        let case = [passed_on(1, "aa", 2, "bb"), passed_on(3, "aa", 2, "bb")];
        assert!(certain(&case, &[], NOBODY).is_empty());
        assert_eq!(refuted(&case, &digest("aa")), [2]);
    }

    #[test]
    fn a_liar_that_is_found_out_convicts_nobody() {
        let case = [passed_on(1, "aa", 2, "bb"), mismatch(3, "aa", 2, "bb"), mismatch(4, "aa", 2, "bb")];
        assert_eq!(certain(&case, &[], NOBODY), [2]);
        let unchecked_is_no_voice = [passed_on(1, "bb", 4, "aa"), mismatch(3, "cc", 2, "bb")];
        assert!(certain(&unchecked_is_no_voice, &[(4, digest("aa"))], Others::MaySpeak).is_empty());
    }

    #[test]
    fn what_is_marked_refutes_the_others() {
        let case = [mismatch(1, "aa", 2, "bb"), mismatch(3, "cc", 4, "bb")];
        assert_eq!(refuted(&case, &digest("bb")), [1, 3]);
        assert_eq!(refuted(&case, &digest("aa")), [2, 3, 4]);
    }
}
