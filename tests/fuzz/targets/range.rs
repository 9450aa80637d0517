//! A `Range` header of a runtime or a peer: whatever it says, the bytes meant lie within the content.

#![no_main]

use df_api::range::Requested;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, u64)| {
    let (header, total) = input;
    if let Ok(Requested::One(spec)) = Requested::parse(Some(header))
        && let Some(range) = spec.resolve(total)
    {
        assert!(range.start < range.end && range.end <= total, "{header:?} of {total}: {range:?}");
        let again = Requested::parse(Some(&range.to_header()));
        assert!(
            matches!(again, Ok(Requested::One(spec)) if spec.resolve(total) == Some(range)),
            "{header:?} of {total}"
        );
    }
});
