//! What the content is, by those who say so: one liar must not make liars of the others. Pure.

use std::time::Instant;

use df_api::Digest;
use df_store::Meta;

use crate::plan::Key;

/// What a parent says of the whole.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub by: Key,
    pub seed: bool,
    pub meta: Meta,
    pub at: Instant,
}

/// What is to be believed, as soon as that can be said. `known_length` is what the cluster knows; `heard_all` says that
/// nobody else will speak, or nobody has for too long.
pub(super) fn agreed(said: &[Description], known_length: Option<u64>, heard_all: bool) -> Option<Meta> {
    let alike = |one: &Meta, other: &Meta| {
        (one.length, one.piece_length, &one.validator) == (other.length, other.piece_length, &other.validator)
    };
    let votes = |meta: &Meta| said.iter().filter(|other| alike(meta, &other.meta)).count();
    let known = |meta: &Meta| known_length.is_some() && meta.length == known_length;
    let best = said.iter().max_by_key(|one| (known(&one.meta), votes(&one.meta), one.seed))?;
    let sure = known(&best.meta) || votes(&best.meta) > 1 || best.seed || heard_all;
    sure.then(|| best.meta.clone())
}

/// Those who say something else.
pub(super) fn dissenters(said: &[Description], meta: &Meta) -> Vec<Key> {
    let differs = |one: &&Description| {
        let length = one.meta.length.is_some() && meta.length.is_some() && one.meta.length != meta.length;
        length || one.meta.piece_length != meta.piece_length
    };
    said.iter().filter(differs).map(|one| one.by).collect()
}

/// The digest of the task, where it has one, is not for a parent to say.
pub(super) fn meta(list: &df_api::dfdaemon::PieceList, digest: Option<Digest>) -> Option<Meta> {
    let (length, content_type) = (list.length, list.content_type.clone());
    Some(Meta {
        length,
        piece_length: list.piece_length?,
        content_type,
        digest: digest.or(list.digest.clone()),
        validator: list.validator.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(by: Key, length: u64) -> Description {
        let meta = Meta { length: Some(length), piece_length: 4, content_type: None, digest: None, validator: None };
        Description { by, seed: false, meta, at: Instant::now() }
    }

    fn length(meta: Option<Meta>) -> Option<u64> {
        meta?.length
    }

    #[test]
    fn what_the_cluster_knows_is_believed_at_once() {
        let said = [says(1, 9), says(2, 10)];
        assert_eq!(length(agreed(&said, Some(10), false)), Some(10));
        assert_eq!(dissenters(&said, &said[1].meta), [1]);
    }

    #[test]
    fn otherwise_a_second_voice_is_waited_for() {
        assert_eq!(length(agreed(&[says(1, 9)], None, false)), None);
        assert_eq!(length(agreed(&[says(1, 9)], None, true)), Some(9));
        assert_eq!(length(agreed(&[says(1, 9), says(2, 10), says(3, 10)], None, false)), Some(10));
        assert_eq!(length(agreed(&[Description { seed: true, ..says(1, 9) }], None, false)), Some(9));
    }
}
