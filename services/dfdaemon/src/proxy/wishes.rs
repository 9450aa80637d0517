//! `X-Dragonfly-*` request headers: what a request wishes of this node. Pure.

use http::HeaderMap;

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
    /// Bytes per piece; checked with the task.
    pub piece_length: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    #[error("header {0} is longer than {VALUE_BYTES_MAX} bytes, or not plain text")]
    Value(&'static str),
    #[error("header {0} is true or false")]
    Flag(&'static str),
    #[error("header {0} is a number of bytes")]
    Number(&'static str),
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
            piece_length: number(headers, "x-dragonfly-piece-length")?,
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

fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, WishError> {
    let parse = |value: String| value.parse().map_err(|_| WishError::Number(name));
    text(headers, name)?.map(parse).transpose()
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
        };
        assert_eq!(read, Ok(expected));
        assert_eq!(wishes(&[]), Ok(Wishes::default()));
    }

    #[test]
    fn nonsense_is_named() {
        let number = "x-dragonfly-piece-length";
        assert_eq!(wishes(&[(number, "4MiB")]), Err(WishError::Number(number)));
        assert_eq!(wishes(&[("x-dragonfly-use-p2p", "yes")]), Err(WishError::Flag("x-dragonfly-use-p2p")));
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        assert_eq!(wishes(&[("x-dragonfly-tag", &long)]), Err(WishError::Value("x-dragonfly-tag")));
    }
}
