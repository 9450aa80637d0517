//! Digests of whole contents, as they stream by.

use df_api::{Algorithm, Digest};
use sha2::Digest as _;

/// Computes a digest of a given algorithm over bytes fed in order.
pub enum ContentHasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Blake3(Box<blake3::Hasher>),
}

// === impl ContentHasher ===

impl ContentHasher {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
            Algorithm::Blake3 => Self::Blake3(Box::default()),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
            Self::Blake3(hash) => {
                hash.update(bytes);
            }
        }
    }

    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::from_bytes(Algorithm::Sha256, &hash.finalize()),
            Self::Sha512(hash) => Digest::from_bytes(Algorithm::Sha512, &hash.finalize()),
            Self::Blake3(hash) => Digest::from_bytes(Algorithm::Blake3, hash.finalize().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_content_has_its_known_digests() {
        let empty = |algorithm| ContentHasher::new(algorithm).finish().to_string();
        assert_eq!(empty(Algorithm::Sha256), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(empty(Algorithm::Sha512).starts_with("sha512:cf83e1357eefb8bd"));
        assert!(empty(Algorithm::Blake3).starts_with("blake3:af1349b9f5f9a1a6"));
    }
}
