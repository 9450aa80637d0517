//! A `Content-Range` header of an origin or a parent: what is taken is consistent, and says the same when written again.

#![no_main]

use df_api::ContentRange;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &str| {
    let Ok(parsed) = header.parse::<ContentRange>() else { return };
    if let Some(range) = parsed.range {
        assert!(
            range.start < range.end && parsed.total.is_none_or(|total| range.end <= total),
            "{header:?}: {parsed:?}"
        );
    }
    assert_eq!(parsed.to_string().parse(), Ok(parsed), "{header:?}");
});
