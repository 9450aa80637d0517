//! What a caller wants an answer to depend on (RFC 9110 §13): pure. A content named by its digest has that as its `ETag`.

use http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go {
        /// It wants a range of this very content, and not of another.
        range_counts: bool,
    },
    /// 304: it has that already. Only who asked for it gets it, so that containerd, for whom it is the end, never does.
    NotModified,
    /// 412
    Failed,
}

/// `etag` is strong, with its quotes.
pub fn judge(headers: &HeaderMap, etag: &str) -> Verdict {
    if headers.contains_key(IF_MATCH) && !names(headers, &IF_MATCH, |tag| tag == etag) {
        return Verdict::Failed;
    }
    if names(headers, &IF_NONE_MATCH, |tag| tag.strip_prefix("W/").unwrap_or(tag) == etag) {
        return Verdict::NotModified;
    }
    // A date does not tell one content from another.
    let range_counts = headers.get(IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes());
    Verdict::Go { range_counts }
}

fn names(headers: &HeaderMap, name: &HeaderName, is_it: impl Fn(&str) -> bool) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    // No digest has a comma in it.
    lines.flat_map(|line| line.split(',')).map(str::trim).any(|tag| tag == "*" || is_it(tag))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ETAG: &str = "\"sha256:aa\"";
    const GO: Verdict = Verdict::Go { range_counts: true };

    fn judged(given: &[(HeaderName, &str)]) -> Verdict {
        judge(&given.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect(), ETAG)
    }

    #[test]
    fn a_condition_is_about_this_content() {
        assert_eq!(judged(&[]), GO);
        for tag in ["*", ETAG, "W/\"sha256:aa\"", "\"x\", \"sha256:aa\""] {
            assert_eq!(judged(&[(IF_NONE_MATCH, tag)]), Verdict::NotModified, "{tag}");
        }
        assert_eq!(judged(&[(IF_NONE_MATCH, "\"x\"")]), GO);
        assert_eq!(judged(&[(IF_MATCH, ETAG)]), GO);
        assert_eq!(judged(&[(IF_MATCH, "\"x\", *")]), GO);
        for other in ["\"x\"", "W/\"sha256:aa\""] {
            assert_eq!(judged(&[(IF_MATCH, other)]), Verdict::Failed, "{other}");
        }
        assert_eq!(judged(&[(IF_RANGE, ETAG)]), GO);
        for other in ["\"x\"", "W/\"sha256:aa\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(judged(&[(IF_RANGE, other)]), Verdict::Go { range_counts: false }, "{other}");
        }
    }

    proptest! {
        /// Names of contents as they may be listed; `aa` is this one.
        #[test]
        fn this_content_is_found_among_others_and_no_other_is_taken_for_it(
            listed in proptest::collection::vec((any::<bool>(), "[ab]{1,2}"), 0..5),
            space in " {0,2}",
        ) {
            let tag = |(weak, hex): &(bool, String)| format!("{}\"sha256:{hex}\"", if *weak { "W/" } else { "" });
            let line = listed.iter().map(tag).collect::<Vec<_>>().join(&format!("{space},{space}"));
            let (weakly, strongly) = (
                listed.iter().any(|(_, hex)| hex == "aa"),
                listed.iter().any(|(weak, hex)| !weak && hex == "aa"),
            );
            prop_assert_eq!(judged(&[(IF_NONE_MATCH, &line)]), if weakly { Verdict::NotModified } else { GO });
            prop_assert_eq!(judged(&[(IF_MATCH, &line)]), if strongly { GO } else { Verdict::Failed });
            // There is only one content that a range can be of.
            let range_counts = listed.len() == 1 && strongly;
            prop_assert_eq!(judged(&[(IF_RANGE, &line)]), Verdict::Go { range_counts });
        }
    }
}
