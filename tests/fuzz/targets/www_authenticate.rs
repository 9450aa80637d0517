//! What a registry challenges with: whatever it says, each line told to a client is a header, and says no more than it.

#![no_main]

use df_peer::upstream::relayed_challenges;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: Vec<&[u8]>| {
    let values = lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok());
    let headers: HeaderMap = values.map(|value| (WWW_AUTHENTICATE, value)).collect();
    let given: usize = headers.values().map(HeaderValue::len).sum();
    for error in [None, Some("invalid_token")] {
        let told = relayed_challenges(&headers, error);
        let length: usize = told.iter().map(HeaderValue::len).sum();
        // Quotes and their escapes at most, and the error for each.
        assert!(length <= given * 3 + told.len() * 24, "{lines:?}: {told:?}");
        let again: HeaderMap = told.iter().map(|value| (WWW_AUTHENTICATE, value.clone())).collect();
        assert_eq!(relayed_challenges(&again, error), told, "{lines:?}");
    }
});
