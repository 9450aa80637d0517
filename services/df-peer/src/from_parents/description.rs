//! What the content is, by those who say so: one liar must not make liars of the others. Pure.

use df_api::Digest;
use df_store::Meta;

use crate::origin::is_same_version;
use crate::plan::Key;

/// What a parent says of the whole.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub by: Key,
    pub seed: bool,
    pub meta: Meta,
}

/// What is to be believed, as soon as that can be said. `known_length` is what the cluster knows, which says nothing of
/// versions; `heard_all` says that nobody else will speak, or nobody has for too long. Of equals whoever claims less is
/// believed: a length that is missing is asked for later.
pub(super) fn agreed(said: &[Description], known_length: Option<u64>, heard_all: bool) -> Option<Meta> {
    let alike = |one: &Meta, other: &Meta| {
        (one.length, one.piece_length, &one.validator) == (other.length, other.piece_length, &other.validator)
    };
    let votes = |meta: &Meta| said.iter().filter(|other| alike(meta, &other.meta)).count();
    let known = |meta: &Meta| known_length.is_some() && meta.length == known_length;
    let rank = |one: &&Description| (known(&one.meta), votes(&one.meta), one.seed, one.meta.length.is_none());
    let best = said.iter().max_by_key(rank)?;
    let known = known(&best.meta) && best.meta.validator.is_none();
    let sure = known || votes(&best.meta) > 1 || best.seed || heard_all;
    sure.then(|| best.meta.clone())
}

/// Where a content ends whose start is here already. A seed says it, or two; or all of `above`, which are not readers of
/// the same sources as this host: whoever says it alone and first might cut it off.
pub(super) fn agreed_end(said: &[Description], known_length: Option<u64>, above: &[Key]) -> Option<Meta> {
    let heard_all = above.iter().all(|key| said.iter().any(|one| one.by == *key));
    let agree = said.windows(2).all(|pair| pair[0].meta.length == pair[1].meta.length);
    agreed(said, known_length, heard_all && agree)
}

/// Those who say something else of the same version.
pub(super) fn dissenters(said: &[Description], meta: &Meta) -> Vec<Key> {
    let differs = |one: &&Description| {
        let version = one.meta.validator.as_deref().zip(meta.validator.as_deref());
        let length = one.meta.length.is_some() && meta.length.is_some() && one.meta.length != meta.length;
        version.is_none_or(|(one, other)| is_same_version(one, other))
            && (length || one.meta.piece_length != meta.piece_length)
    };
    said.iter().filter(differs).map(|one| one.by).collect()
}

/// The digest of the task, where it has one, is not for a parent to say; and then there is but one version.
pub(super) fn meta(list: &df_api::dfdaemon::PieceList, digest: Option<Digest>) -> Option<Meta> {
    let (length, content_type) = (list.length, list.content_type.clone());
    Some(Meta {
        length,
        piece_length: list.piece_length?,
        content_type,
        validator: list.validator.clone().filter(|_| digest.is_none()),
        digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(by: Key, length: u64) -> Description {
        let meta = Meta { length: Some(length), piece_length: 4, content_type: None, digest: None, validator: None };
        Description { by, seed: false, meta }
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

    #[test]
    fn a_known_length_does_not_make_a_version_known() {
        let version = |by: Key, validator: &str| {
            let mut said = says(by, 9);
            said.meta.validator = Some(validator.to_owned());
            said
        };
        let [liar, honest, other] = [version(1, "evil"), version(2, "v1"), version(3, "v1")];
        assert_eq!(agreed(std::slice::from_ref(&liar), Some(9), false), None);
        let meta = agreed(&[liar.clone(), honest, other], Some(9), false).unwrap();
        assert_eq!(meta.validator.as_deref(), Some("v1"));
        assert!(dissenters(&[liar], &meta).is_empty());
    }

    #[test]
    fn nobody_cuts_a_content_off_alone() {
        assert_eq!(length(agreed_end(&[says(1, 9)], None, &[1, 2])), None);
        assert_eq!(length(agreed_end(&[says(1, 9), says(2, 10)], None, &[1, 2])), None);
        assert_eq!(length(agreed_end(&[says(1, 9), says(2, 9)], None, &[1, 2, 3])), Some(9));
        assert_eq!(length(agreed_end(&[says(1, 9)], None, &[1])), Some(9));
        let unknown = |by: Key| {
            let mut said = says(by, 0);
            said.meta.length = None;
            said
        };
        assert_eq!(length(agreed(&[unknown(1), says(2, 9)], None, true)), None);
        assert_eq!(length(agreed(&[says(2, 9), unknown(1)], None, true)), None);
    }
}
