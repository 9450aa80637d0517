//! Which headers pass a proxy (RFC 9110 §7.6), and which of them a server may decide by. Pure.

use std::collections::BTreeMap;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, EXPECT, HOST, HeaderMap,
    HeaderName, HeaderValue, PRAGMA, RANGE, REFERER, USER_AGENT, VIA,
};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::hop_by_hop::end_to_end;
use crate::wishes::PREFIX;

/// What no server decides by who may read. Any other header may be a credential.
const HARMLESS: [HeaderName; 10] =
    [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LENGTH, PRAGMA, RANGE, REFERER, USER_AGENT, VIA];
const HARMLESS_PREFIXES: [&str; 4] = ["if-", "sec-", "trace", "x-request-id"];
/// But what it gives, even where it does not say so: two who differ in these are two callers.
const NEGOTIATED: [HeaderName; 2] = [ACCEPT, ACCEPT_LANGUAGE];

/// What a request shows to be let in, in its headers and its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Kept only as this, with the media types and languages that are wanted. Nothing is a credential, too: that of the
    /// public.
    pub hash: String,
    /// What there is besides `Authorization`, for the server; names in lower case.
    pub headers: BTreeMap<String, String>,
    /// There is anything of it in the headers.
    pub is_shown: bool,
    /// Something of it cannot be written down as text, or comes twice.
    pub is_unusual: bool,
}

/// Of a request, for the next server; `via` is this node's name.
pub fn request_headers(headers: &HeaderMap, via: &HeaderValue) -> HeaderMap {
    let mut forwarded = end_to_end(headers);
    // The URL says it (RFC 9112 §3.2.2); and this node has answered it already, or will with the first byte.
    forwarded.remove(HOST);
    forwarded.remove(EXPECT);
    let ours: Vec<_> = forwarded.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in ours {
        forwarded.remove(name);
    }
    forwarded.append(VIA, via.clone());
    forwarded
}

/// Of an answer, for the client.
pub fn response_headers(headers: &HeaderMap, via: &HeaderValue) -> HeaderMap {
    let mut forwarded = end_to_end(headers);
    forwarded.append(VIA, via.clone());
    forwarded
}

/// Of headers as they are forwarded.
pub fn credential(headers: &HeaderMap, url: &Url) -> Credential {
    let mut told_by: Vec<_> = headers.iter().filter(|(name, _)| is_told_apart_by(name)).collect();
    told_by.sort_by_key(|(name, _)| name.as_str());
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    // Whole, signature and all: the task's own identity may leave a part of it out.
    field(url.as_str().as_bytes());
    for (name, value) in &told_by {
        field(name.as_str().as_bytes());
        field(value.as_bytes());
    }
    let hash = hex::encode(hash.finalize());
    let shown: Vec<_> = told_by.into_iter().filter(|(name, _)| !is_harmless(name)).collect();
    let texts: BTreeMap<_, _> =
        shown.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect();
    let (is_shown, is_unusual) = (!shown.is_empty(), texts.len() != shown.len());
    let headers = texts.into_iter().filter(|(name, _)| name != AUTHORIZATION.as_str()).collect();
    Credential { hash, headers, is_shown, is_unusual }
}

/// Whether callers with two values of this header are two to us.
pub fn is_told_apart_by(name: &HeaderName) -> bool {
    !is_harmless(name) || NEGOTIATED.contains(name)
}

fn is_harmless(name: &HeaderName) -> bool {
    HARMLESS.contains(name) || HARMLESS_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use http::header::CONNECTION;
    use proptest::prelude::*;

    use super::*;

    fn headers(given: &[(&str, &str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    fn forwarded(given: &[(&str, &str)]) -> HeaderMap {
        request_headers(&headers(given), &HeaderValue::from_static("1.1 us"))
    }

    #[test]
    fn what_is_between_two_neither_passes_nor_is_added() {
        let passed = forwarded(&[
            ("host", "h"),
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("x-dragonfly-tag", "t"),
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("via", "1.1 them"),
        ]);
        let expected =
            headers(&[("authorization", "Bearer x"), ("cookie", "a=b"), ("via", "1.1 them"), ("via", "1.1 us")]);
        assert_eq!(passed, expected);
    }

    #[test]
    fn whatever_a_server_may_decide_by_is_a_credential() {
        let url: Url = "http://h/x?sig=1".parse().unwrap();
        let of = |given: &[(&str, &str)]| credential(&headers(given), &url);
        let public = of(&[]);
        assert_eq!(of(&[("user-agent", "curl"), ("range", "bytes=0-1"), ("if-none-match", "x")]), public);
        for (name, value) in [("accept", "text/html"), ("accept-language", "de")] {
            let other = of(&[(name, value)]);
            assert_eq!(Credential { hash: public.hash.clone(), ..other.clone() }, public, "no credential");
            assert_ne!(other.hash, public.hash, "but given something else, maybe");
        }
        assert_ne!(of(&[("authorization", "")]).hash, public.hash);
        assert!(!public.is_shown && of(&[("authorization", "")]).is_shown && of(&[("cookie", "x")]).is_shown);
        assert!(of(&[("authorization", "x")]).headers.is_empty());
        assert!(!of(&[("cookie", "x")]).is_unusual && of(&[("cookie", "x"), ("cookie", "y")]).is_unusual);
        for name in ["cookie", "private-token", "x-api-key", "x-amz-security-token"] {
            assert_eq!(of(&[(name, "x")]).headers[name], "x");
            assert_ne!(of(&[(name, "x")]), of(&[(name, "y")]));
        }
        assert_ne!(credential(&headers(&[]), &"http://h/x?sig=2".parse().unwrap()), public);
    }

    proptest! {
        #[test]
        fn what_connection_names_never_passes(name in "[a-z][a-z-]{0,10}", more in "[ -~]{0,20}") {
            let Ok(value) = HeaderValue::from_str(&format!("{name},{more}")) else { return Ok(()) };
            let mut given = headers(&[(&name, "1")]);
            given.append(CONNECTION, value);
            let passed = request_headers(&given, &HeaderValue::from_static("1.1 us"));
            prop_assert!(!passed.contains_key(CONNECTION) && (name == "via" || !passed.contains_key(&name)));
        }
    }
}
