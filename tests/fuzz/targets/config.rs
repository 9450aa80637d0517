//! `dfdaemon.yaml`: whatever it says, it is a configuration or an error that names the place.

#![no_main]

use df_http::config::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = parse::<dfdaemon::Config>("dfdaemon", "the file", text, std::iter::empty()) {
        assert!(error.to_string().contains("the file"), "{error}");
    }
});
