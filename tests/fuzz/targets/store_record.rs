//! A task's record as a disk may give it back, and as a forger may write it: what is believed of it is consistent.

#![no_main]

use df_api::Bitmap;
use df_store::Recovered;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|record: &[u8]| {
    check(record);
    // No input finds its own checksums: here they are.
    let mut signed = Vec::new();
    for json in record.split(|byte| *byte == b'\n') {
        signed.extend_from_slice(&blake3::hash(json).to_hex().as_bytes()[..16]);
        signed.push(b' ');
        signed.extend_from_slice(json);
        signed.push(b'\n');
    }
    check(&signed);
});

fn check(record: &[u8]) {
    let found = Recovered::parse(record).expect("memory can be read");
    assert!(found.piece_count() <= Bitmap::PIECES_MAX);
    assert!(found.held_bytes() == 0 || found.piece_count() > 0);
}
