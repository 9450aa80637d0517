//! Who lied: what was sent of a piece, who vouched for another digest, and what the piece turned out to be. Pure.
//!
//! A mismatch alone does not tell whether the sender or the witness is wrong. The piece itself, sent by somebody else,
//! does: whoever stands alone against two others has lied.

use df_api::Digest;

use crate::plan::Key;

/// One mismatch of a piece that came from one sender alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Testimony {
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

/// Those who have lied for certain, as far as it can be told by now. `told_by` are digests that others tell, `alone`
/// says that nobody else is left who could be asked.
pub(super) fn liars(of_piece: &[Testimony], told_by: &[(Key, Digest)], alone: bool) -> Vec<Key> {
    let mut liars = Vec::new();
    for testimony in of_piece {
        let Testimony { sender, checked, found, witness, told, .. } = testimony;
        // It sends something else than it says itself.
        let contradicts = told_by.iter().any(|(key, digest)| key == sender && digest != found);
        let third = |digest: &Digest| {
            told_by.iter().any(|(key, by)| key != sender && key != witness && by == digest)
                || of_piece.iter().any(|other| {
                    let apart = other.sender != *sender && other.sender != *witness;
                    apart && other.checked && other.found == *digest
                })
        };
        let liar = match (third(found), third(told)) {
            _ if witness == sender || contradicts => Some(*sender),
            (true, false) => Some(*witness),
            (false, true) => Some(*sender),
            // Nobody can tell: the one above, who is ahead, is believed.
            (false, false) if alone => Some(*sender),
            _ => None,
        };
        liars.extend(liar.filter(|liar| liar != sender || *checked));
    }
    liars.sort_unstable();
    liars.dedup();
    liars
}

/// The piece is marked, so everybody who said or sent something else was wrong.
pub(super) fn refuted(of_piece: &[Testimony], marked: &Digest) -> Vec<Key> {
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
        assert!(liars(&case, &[], false).is_empty());
        assert_eq!(liars(&case, &[(3, digest("bb"))], false), [1]);
        assert_eq!(liars(&case, &[(3, digest("aa"))], false), [2]);
        assert_eq!(liars(&case, &[], true), [1]);
    }

    #[test]
    fn a_sender_is_held_to_its_own_word() {
        assert_eq!(liars(&[mismatch(1, "aa", 1, "bb")], &[], false), [1]);
        assert_eq!(liars(&[mismatch(1, "aa", 2, "bb")], &[(1, digest("bb"))], false), [1]);
        assert!(liars(&[mismatch(1, "aa", 2, "bb")], &[(1, digest("aa"))], false).is_empty());
    }

    #[test]
    fn a_witness_that_contradicts_two_senders_lies() {
        let case = [mismatch(1, "aa", 2, "bb"), mismatch(3, "aa", 2, "bb")];
        assert_eq!(liars(&case, &[], false), [2]);
    }

    #[test]
    fn nobody_answers_for_what_only_passed_through() {
        let case = [passed_on(1, "aa", 2, "bb")];
        assert!(liars(&case, &[(3, digest("bb"))], false).is_empty());
        assert!(liars(&case, &[(1, digest("bb"))], true).is_empty());
        assert!(liars(&[passed_on(1, "aa", 1, "bb")], &[], true).is_empty());
        assert!(refuted(&case, &digest("bb")).is_empty());
    }

    #[test]
    fn two_relays_of_one_liar_are_no_witnesses_against_the_honest() {
        let case = [passed_on(1, "aa", 2, "bb"), passed_on(3, "aa", 2, "bb")];
        assert!(liars(&case, &[], true).is_empty());
        assert_eq!(refuted(&case, &digest("aa")), [2]);
    }

    #[test]
    fn what_is_marked_refutes_the_others() {
        let case = [mismatch(1, "aa", 2, "bb"), mismatch(3, "cc", 4, "bb")];
        assert_eq!(refuted(&case, &digest("bb")), [1, 3]);
        assert_eq!(refuted(&case, &digest("aa")), [2, 3, 4]);
    }
}
