//! `X-Dragonfly-*` request headers: what a request wishes of this node. Pure, and the same for the registry mirror and the
//! forward proxy.
//!
//! **Invariant.** A wish says how a content is fetched, or makes it another task. None says who may read, or what a content
//! is: not its bytes, nor its identity, nor which upstream may be asked.

use df_api::rules::Priority;
use df_api::task::is_explicit_piece_length;
use http::{HeaderMap, StatusCode};

/// None of them is sent on.
pub const PREFIX: &str = "x-dragonfly-";

/// Longer values are refused.
const VALUE_BYTES_MAX: usize = 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Contents of one URL with different tags are different tasks …
    pub tag: Option<String>,
    /// … and so are those of different applications.
    pub application: Option<String>,
    /// Query parameters that say nothing about the content, besides those of the rule.
    pub filtered_query_params: Vec<String>,
    /// Through the peers or not, where the rules leave it open.
    pub use_peers: Option<bool>,
    /// Fetch the whole content although a range of it is asked for. `None`: as configured.
    pub prefetch: Option<bool>,
    /// Bytes per piece; makes it another task.
    pub piece_length: Option<u64>,
    /// Never [`Priority::FORBIDDEN`].
    pub priority: Priority,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    #[error("header {0} is longer than {VALUE_BYTES_MAX} bytes, or not plain text")]
    Value(&'static str),
    #[error("header {0} is true or false")]
    Flag(&'static str),
    #[error("header {0} is a power of two from 262144 to 67108864")]
    PieceLength(&'static str),
    #[error("header {0} is a number from 0 to 6")]
    Priority(&'static str),
    /// 1, in the incumbent's numbers.
    #[error("header {0} is 1: this is not to be downloaded")]
    Forbidden(&'static str),
}

const PIECE_LENGTH: &str = "x-dragonfly-piece-length";
const PRIORITY: &str = "x-dragonfly-priority";

// === impl WishError ===

impl WishError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

// === impl Wishes ===

impl Wishes {
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, WishError> {
        let list = text(headers, "x-dragonfly-filtered-query-params")?.unwrap_or_default();
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(Self {
            tag: text(headers, "x-dragonfly-tag")?,
            application: text(headers, "x-dragonfly-application")?,
            filtered_query_params: names.map(str::to_owned).collect(),
            use_peers: flag(headers, "x-dragonfly-use-p2p")?,
            prefetch: flag(headers, "x-dragonfly-prefetch")?,
            piece_length: piece_length(headers)?,
            priority: priority(headers)?,
        })
    }
}

fn text(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, WishError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let value = value.to_str().ok().filter(|value| value.len() <= VALUE_BYTES_MAX).ok_or(WishError::Value(name))?;
    Ok(Some(value.to_owned()).filter(|value| !value.is_empty()))
}

fn flag(headers: &HeaderMap, name: &'static str) -> Result<Option<bool>, WishError> {
    match text(headers, name)? {
        None => Ok(None),
        Some(value) if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Some(value) if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
        Some(_) => Err(WishError::Flag(name)),
    }
}

fn piece_length(headers: &HeaderMap) -> Result<Option<u64>, WishError> {
    let Some(value) = text(headers, PIECE_LENGTH)? else { return Ok(None) };
    let bytes = value.parse().ok().filter(|bytes| is_explicit_piece_length(*bytes));
    bytes.map(Some).ok_or(WishError::PieceLength(PIECE_LENGTH))
}

fn priority(headers: &HeaderMap) -> Result<Priority, WishError> {
    let Some(value) = text(headers, PRIORITY)? else { return Ok(Priority::default()) };
    let [digit @ b'0'..=b'6'] = value.as_bytes() else { return Err(WishError::Priority(PRIORITY)) };
    match Priority::try_from(digit - b'0') {
        Ok(Priority::FORBIDDEN) => Err(WishError::Forbidden(PRIORITY)),
        other => other.map_err(|_| WishError::Priority(PRIORITY)),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn wishes(given: &[(&'static str, &str)]) -> Result<Wishes, WishError> {
        let header = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        Wishes::from_headers(&given.iter().map(header).collect())
    }

    #[test]
    fn wishes_are_read() {
        let read = wishes(&[
            ("x-dragonfly-tag", "t"),
            ("x-dragonfly-application", ""),
            ("x-dragonfly-filtered-query-params", "a, token,,b"),
            ("x-dragonfly-use-p2p", "True"),
            ("x-dragonfly-prefetch", "false"),
            ("x-dragonfly-piece-length", "4194304"),
        ]);
        let filtered_query_params = ["a", "token", "b"].map(str::to_owned).to_vec();
        let expected = Wishes {
            tag: Some("t".to_owned()),
            application: None,
            filtered_query_params,
            use_peers: Some(true),
            prefetch: Some(false),
            piece_length: Some(4 << 20),
            priority: Priority::default(),
        };
        assert_eq!(read, Ok(expected));
        assert_eq!(wishes(&[]), Ok(Wishes::default()));
    }

    #[test]
    fn a_priority_says_who_asks_the_origin() {
        let of = |level: &str| wishes(&[(PRIORITY, level)]).map(|wishes| wishes.priority);
        assert_eq!((of(""), of("0")), (Ok(Priority::default()), Ok(Priority::default())));
        assert_eq!((of("2"), of("3")), (Ok(Priority::CACHED_ONLY), Ok(Priority::NODE_ITSELF)));
        assert_eq!(of("6").map(u8::from), Ok(6));
        let forbidden = of("1").unwrap_err();
        assert_eq!((forbidden.status(), forbidden), (StatusCode::FORBIDDEN, WishError::Forbidden(PRIORITY)));
    }

    #[test]
    fn nonsense_is_named() {
        for odd in ["4MiB", "0", "-1", "5000000", "18446744073709551616"] {
            assert_eq!(wishes(&[(PIECE_LENGTH, odd)]), Err(WishError::PieceLength(PIECE_LENGTH)), "{odd}");
        }
        for odd in ["7", "-1", "high", "06"] {
            assert_eq!(wishes(&[(PRIORITY, odd)]), Err(WishError::Priority(PRIORITY)), "{odd}");
        }
        assert_eq!(wishes(&[("x-dragonfly-use-p2p", "yes")]), Err(WishError::Flag("x-dragonfly-use-p2p")));
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        assert_eq!(wishes(&[("x-dragonfly-tag", &long)]), Err(WishError::Value("x-dragonfly-tag")));
    }
}
