//! What makes a content the same content. Pure, and hashed alike on every node.
//!
//! **Invariant.** No two different sets of (URL without its signature, tag, application, piece length, digest, scope) have one
//! id. Nor has what somebody filters and what nobody does: whoever filters a parameter that matters mixes up only his own
//! contents.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::digest::{Algorithm, Digest};
use crate::ids::TaskId;
use crate::task::Origin;

/// How stores sign a URL. The same content has another signature for every asker and hour.
struct Signature {
    /// There is a signature of this kind when the query has them all: names as plain as `Expires` mean something else
    /// elsewhere.
    marks: &'static [&'static str],
    /// What belongs to it. Begins a name when it ends in `-`.
    names: &'static [&'static str],
}

const SIGNATURES: &[Signature] = &[
    // AWS and all that is compatible, version 4. `x-id` is the name of the operation, which some of its SDKs add.
    Signature { marks: &["X-Amz-Signature"], names: &["X-Amz-", "x-id"] },
    // AWS, version 2.
    Signature {
        marks: &["AWSAccessKeyId", "Signature"],
        names: &["AWSAccessKeyId", "Expires", "Signature", "x-amz-security-token"],
    },
    // Google, version 4 and version 2.
    Signature { marks: &["X-Goog-Signature"], names: &["X-Goog-"] },
    Signature { marks: &["GoogleAccessId", "Signature"], names: &["GoogleAccessId", "Expires", "Signature"] },
    // Alibaba OSS, version 1 and version 4.
    Signature {
        marks: &["OSSAccessKeyId", "Signature"],
        names: &["OSSAccessKeyId", "Expires", "Signature", "SecurityToken", "security-token"],
    },
    Signature {
        marks: &["x-oss-signature"],
        names: &[
            "x-oss-signature",
            "x-oss-signature-",
            "x-oss-credential",
            "x-oss-date",
            "x-oss-expires",
            "x-oss-security-token",
            "x-oss-additional-headers",
        ],
    },
    // Huawei OBS, of its own and after version 4.
    Signature {
        marks: &["AccessKeyId", "Signature"],
        names: &["AccessKeyId", "Expires", "Signature", "x-obs-security-token"],
    },
    Signature { marks: &["X-Obs-Signature"], names: &["X-Obs-"] },
    // Tencent COS.
    Signature {
        marks: &["q-signature"],
        names: &[
            "q-sign-",
            "q-ak",
            "q-key-time",
            "q-header-list",
            "q-url-param-list",
            "q-signature",
            "x-cos-security-token",
        ],
    },
    // Azure's shared access signature.
    Signature {
        marks: &["sig", "sv"],
        names: &[
            "sig", "sv", "st", "se", "sr", "sp", "sip", "spr", "ss", "srt", "sdd", "ses", "scid", "saoid", "suoid",
            "skoid", "sktid", "skt", "ske", "sks", "skv",
        ],
    },
];

/// The URL that stands for the content: without its fragment, without what signs it, and without the parameters of these
/// names. The order of what stays is kept: to an origin it may mean something. Names are compared as they are written.
pub fn content_url(url: &str, filtered_query_params: &[String]) -> String {
    filtered(url, filtered_query_params).0
}

/// Besides, the names that were there and are filtered, each once and in order.
fn filtered(url: &str, filtered_query_params: &[String]) -> (String, BTreeSet<String>) {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let Some((place, query)) = url.split_once('?') else { return (url.to_owned(), BTreeSet::new()) };
    let name = |part: &str| part.split_once('=').map_or(part, |(name, _)| name).to_owned();
    let has = |wanted: &&str| query.split('&').any(|part| name(part).eq_ignore_ascii_case(wanted));
    let signed: Vec<&str> =
        SIGNATURES.iter().filter(|one| one.marks.iter().all(has)).flat_map(|one| one.names).copied().collect();
    let unsigned = |part: &&str| !signed.iter().any(|pattern| is_named(&name(part), pattern));
    let (removed, kept): (Vec<&str>, Vec<&str>) =
        query.split('&').filter(unsigned).partition(|part| filtered_query_params.contains(&name(part)));
    let url = if kept.is_empty() { place.to_owned() } else { format!("{place}?{}", kept.join("&")) };
    (url, removed.into_iter().map(name).collect())
}

fn is_named(name: &str, pattern: &str) -> bool {
    match pattern.ends_with('-') {
        true => name.get(..pattern.len()).is_some_and(|start| start.eq_ignore_ascii_case(pattern)),
        false => name.eq_ignore_ascii_case(pattern),
    }
}

/// A content with a digest is that content, wherever it comes from; cut in an unusual way it is a task of its own,
/// because pieces of two cuts do not fit together, and so it is for those whom one place judges.
pub(super) fn id_by_digest(origin: &Origin, digest: &Digest) -> TaskId {
    let cut = origin.piece_length.map(|bytes| bytes.to_string());
    match (cut, marked_scope(origin)) {
        (None, None) => task_id_of_digest(digest),
        (cut, scope) => hash_fields([digest.to_string()].into_iter().chain(cut).chain(scope)),
    }
}

/// A cut is digits, a digest has a colon and begins with a letter, a filtered name is written behind a question mark and a
/// scope behind an at: none passes for another.
pub(super) fn id_by_origin(origin: &Origin, digest: Option<&Digest>) -> TaskId {
    let (url, removed) = filtered(&origin.url, &origin.filtered_query_params);
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let mut fields = vec![url, name(&origin.tag), name(&origin.application)];
    fields.extend(origin.piece_length.map(|bytes| bytes.to_string()));
    fields.extend(digest.map(ToString::to_string));
    fields.extend(removed.into_iter().map(|name| format!("?{name}")));
    fields.extend(marked_scope(origin));
    hash_fields(fields)
}

fn marked_scope(origin: &Origin) -> Option<String> {
    origin.scope.as_ref().map(|scope| format!("@{scope}"))
}

/// The id of a content known by its digest: the digest's own hex, so that one public blob is one task across
/// registries.
pub fn task_id_of_digest(digest: &Digest) -> TaskId {
    match digest.algorithm() {
        Algorithm::Sha256 | Algorithm::Sha512 => match TaskId::try_from(digest.hex().to_owned()) {
            Ok(id) => id,
            Err(_) => hash_fields([digest.hex()]),
        },
        Algorithm::Blake3 => hash_fields(["blake3", digest.hex()]),
    }
}

/// SHA-256 over length-prefixed fields, so that no two lists of fields collide.
fn hash_fields(fields: impl IntoIterator<Item: AsRef<str>>) -> TaskId {
    let mut hash = Sha256::new();
    for field in fields {
        let field = field.as_ref();
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    let hex = hex::encode(hash.finalize());
    match TaskId::try_from(hex) {
        Ok(id) => id,
        Err(error) => unreachable!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::new(url)
    }

    #[test]
    fn a_blob_is_its_digest() {
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        assert_eq!(task_id_of_digest(&digest).as_str(), digest.hex());
        let cut = Origin { piece_length: Some(1 << 20), ..origin("https://f/x") };
        assert_ne!(id_by_digest(&cut, &digest), task_id_of_digest(&digest), "pieces of two cuts do not fit together");
    }

    #[test]
    fn a_signature_is_not_the_content() {
        let url = |query: &str| content_url(&format!("https://b.example/k?{query}#part"), &[]);
        for signature in [
            "x-id=GetObject&X-Amz-Signature=ff",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2Fb&X-Amz-Date=1&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature=ff&X-Amz-Security-Token=t",
            "AWSAccessKeyId=a&Expires=1&Signature=s",
            "X-Goog-Algorithm=g&X-Goog-Credential=c&X-Goog-Date=1&X-Goog-Expires=9&X-Goog-Signature=ff",
            "GoogleAccessId=a&Expires=1&Signature=s",
            "OSSAccessKeyId=a&Expires=1&Signature=s&security-token=t",
            "x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-credential=c&x-oss-date=1&x-oss-expires=9&x-oss-signature=ff",
            "AccessKeyId=a&Expires=1&Signature=s",
            "X-Obs-Date=1&X-Obs-Signature=ff",
            "q-sign-algorithm=sha1&q-ak=a&q-sign-time=1;2&q-key-time=1;2&q-header-list=host&q-url-param-list=&q-signature=ff",
            "sv=2024&st=1&se=2&sr=b&sp=r&sig=ff",
        ] {
            assert_eq!(url(signature), "https://b.example/k", "{signature}");
            assert_eq!(url(&format!("versionId=7&{signature}")), "https://b.example/k?versionId=7");
        }
        assert_eq!(
            url("Expires=1&se=2&x-id=3&x-oss-process=resize"),
            "https://b.example/k?Expires=1&se=2&x-id=3&x-oss-process=resize"
        );
        assert_eq!(content_url("https://b.example/k#part", &[]), "https://b.example/k");
    }

    fn param() -> impl Strategy<Value = (String, String)> {
        ("[a-d]{1,2}", "[a-z=]{0,3}")
    }

    fn url_of(params: &[(String, String)]) -> String {
        let query: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if query.is_empty() { "https://f/x".to_owned() } else { format!("https://f/x?{}", query.join("&")) }
    }

    type Fields = (Vec<(String, String)>, [Option<String>; 3], Option<u64>, Option<u8>);

    fn fields() -> impl Strategy<Value = Fields> {
        let name = || proptest::option::of("[a-c]{1,2}");
        let digest = proptest::option::of(0u8..3);
        (prop::collection::vec(param(), 0..3), [name(), name(), name()], proptest::option::of(18u64..21), digest)
    }

    fn digest_of(byte: u8) -> Digest {
        format!("sha256:{}", format!("{byte:02x}").repeat(32)).parse().unwrap()
    }

    fn origin_of((params, names, cut, _): &Fields) -> Origin {
        let (piece_length, [tag, application, scope]) = (cut.map(|bits| 1 << bits), names.clone());
        Origin { tag, application, scope, piece_length, ..origin(&url_of(params)) }
    }

    fn id_of(fields: &Fields) -> TaskId {
        id_by_origin(&origin_of(fields), fields.3.map(digest_of).as_ref())
    }

    proptest! {
        #[test]
        fn what_is_filtered_changes_the_id_neither_by_its_value_nor_by_its_place(
            kept in prop::collection::vec(param(), 0..5),
            names in prop::collection::btree_set("z[a-d]", 0..5),
            values in prop::collection::vec("[a-z]{0,3}", 10),
            places in prop::collection::vec(any::<prop::sample::Index>(), 10),
        ) {
            let id = |from: usize| {
                let mut all = kept.clone();
                for (at, name) in names.iter().enumerate() {
                    all.insert(places[from + at].index(all.len() + 1), (name.clone(), values[from + at].clone()));
                }
                let unused = "unused".to_owned();
                let filtered_query_params = names.iter().cloned().chain([unused]).collect();
                id_by_origin(&Origin { filtered_query_params, ..origin(&url_of(&all)) }, None)
            };
            prop_assert_eq!(id(0), id(5));
            let bare = id_by_origin(&origin(&url_of(&kept)), None);
            prop_assert_eq!(id(0) == bare, names.is_empty(), "who filters nothing meets nobody who does");
        }

        #[test]
        fn what_differs_has_another_id(one in fields(), other in fields()) {
            prop_assert_eq!(one == other, id_of(&one) == id_of(&other));
            let by_digest = |fields: &Fields| id_by_digest(&origin_of(fields), &digest_of(0));
            prop_assert_eq!((&one.1[2], one.2) == (&other.1[2], other.2), by_digest(&one) == by_digest(&other));
            prop_assert!(by_digest(&one) != id_of(&other));
        }

        #[test]
        fn the_content_url_of_a_content_url_is_itself(url in ".{0,40}", names in prop::collection::vec("[a-c]{1,2}", 0..3)) {
            let once = content_url(&url, &names);
            prop_assert_eq!(content_url(&once, &names), once);
        }
    }
}
