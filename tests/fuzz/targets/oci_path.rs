//! The target of a mirror request: whatever it says, what is asked of a registry stays below its `/v2/`.

#![no_main]

use dfdaemon::namespace::locate;
use dfdaemon::oci::{OciPath, Reference};
use http::{HeaderMap, Uri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, bool)| {
    let (target, known) = input;
    let Ok(uri) = target.parse::<Uri>() else { return };
    let Some(located) = locate(&uri, &HeaderMap::new(), |_| known) else { return };
    assert!(uri.path().ends_with(&located.path), "{target:?}: {located:?}");
    let repository = match OciPath::parse(&located.path) {
        Ok(OciPath::Blob { repository, .. }) => repository,
        Ok(OciPath::Manifest { repository, reference }) => {
            if let Reference::Tag(tag) = reference {
                assert!(tag.len() <= 128 && !tag.contains(['/', '%', '?', '#']) && !tag.starts_with('.'), "{target:?}");
            }
            repository
        }
        Ok(OciPath::Listing { repository }) => repository.unwrap_or_default(),
        Err(_) => return,
    };
    assert!(
        repository.len() <= 255 && !repository.contains("..") && !repository.contains(['%', '?', '#']),
        "{target:?}"
    );
});
