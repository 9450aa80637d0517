//! What a parent says it has, and a peer's bitmap: bounded, and the same after a round trip.

#![no_main]

use df_api::Bitmap;
use df_api::dfdaemon::PieceList;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(bitmap) = serde_json::from_slice::<Bitmap>(input) {
        assert!(bitmap.count() as usize <= Bitmap::PIECES_MAX + 7);
        assert_eq!(bitmap.iter().count(), bitmap.count() as usize);
        assert!(!bitmap.has(bitmap.first_missing(0)));
        assert_eq!(Bitmap::try_from(String::from(bitmap.clone())).as_ref(), Ok(&bitmap));
    }
    if let Ok(list) = serde_json::from_slice::<PieceList>(input) {
        let written = serde_json::to_vec(&list).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<PieceList>(&written).ok(), Some(list));
    }
});
