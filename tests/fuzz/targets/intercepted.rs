//! An entry of `proxy.intercept` and a URL: nothing breaks, and what an entry matches ends as the entry does.

#![no_main]

use dfdaemon::proxy::Intercepted;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some((entry, url)) = text.split_once('\n') else { return };
    let (Ok(intercepted), Ok(url)) = (Intercepted::new(&[entry.to_owned()]), url.parse()) else { return };
    if intercepted.matches(&url) {
        assert!(url.host_str().is_some_and(|host| !host.is_empty()), "{text:?}");
    }
});
