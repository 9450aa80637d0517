//! Bytes that nobody can compress and everybody can make again from a seed: SplitMix64 in counter mode, so that any part
//! of them can be made without the rest.

use bytes::Bytes;
use sha2::{Digest, Sha256};

const WORD_BYTES: u64 = size_of::<u64>() as u64;

/// The first `length` bytes of the stream that `seed` names.
pub fn random_bytes(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    fill_random(seed, 0, &mut bytes);
    bytes.into()
}

/// Fills `buffer` with the part of the stream that begins at byte `offset`.
pub fn fill_random(seed: u64, offset: u64, buffer: &mut [u8]) {
    let skip = (offset % WORD_BYTES) as usize;
    let mut index = offset / WORD_BYTES;
    let head = (WORD_BYTES as usize - skip).min(buffer.len());
    let (head, rest) = buffer.split_at_mut(head);
    head.copy_from_slice(&word(seed, index)[skip..skip + head.len()]);
    for chunk in rest.chunks_mut(WORD_BYTES as usize) {
        index += 1;
        chunk.copy_from_slice(&word(seed, index)[..chunk.len()]);
    }
}

/// SHA-256 as lower-case hex, without the `sha256:`.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn word(seed: u64, index: u64) -> [u8; WORD_BYTES as usize] {
    let mut z = seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_seed_always_names_the_same_bytes() {
        assert_eq!(random_bytes(7, 1000), random_bytes(7, 1000));
        assert_ne!(random_bytes(7, 1000), random_bytes(8, 1000));
    }

    #[test]
    fn any_part_is_the_part_of_the_whole() {
        let whole = random_bytes(3, 300);
        for offset in 0..40 {
            for length in [0, 1, 5, 8, 9, 64, 200] {
                let mut part = vec![0; length];
                fill_random(3, offset as u64, &mut part);
                assert_eq!(part, whole[offset..offset + length], "{offset}+{length}");
            }
        }
    }

    #[test]
    fn the_bytes_do_not_compress() {
        let bytes = random_bytes(1, 1 << 20);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&bytes).unwrap();
        assert!(encoder.finish().unwrap().len() > bytes.len());
    }

    #[test]
    fn the_hash_is_sha256() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
