//! `algorithm:hex`, as OCI writes it (image-spec, descriptor.md § Digests). Computing one is `df-store`'s work.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a digest is made with. `sha256` and `sha512` name whole contents; `blake3` checks single pieces between peers,
/// where it is three times as fast and nobody outside sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Sha256,
    Sha512,
    Blake3,
}

/// A checked digest: known algorithm, right number of lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("digest {0:?} is not sha256:, sha512: or blake3: with lower-case hex digits of its length")]
pub struct InvalidDigest(String);

crate::text_schema!(Digest, "^(sha256|blake3):[0-9a-f]{64}$|^sha512:[0-9a-f]{128}$", "algorithm:hex");

// === impl Algorithm ===

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
            Algorithm::Blake3 => "blake3",
        }
    }

    fn hex_length(self) -> usize {
        match self {
            Algorithm::Sha256 | Algorithm::Blake3 => 64,
            Algorithm::Sha512 => 128,
        }
    }
}

// === impl Digest ===

impl Digest {
    /// From the raw output of a hash function of this algorithm.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Self {
        debug_assert_eq!(bytes.len() * 2, algorithm.hex_length());
        Self { algorithm, hex: hex::encode(bytes) }
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;
    fn from_str(value: &str) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest(value.chars().take(300).collect());
        let (name, hex) = value.split_once(':').ok_or_else(invalid)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            "blake3" => Algorithm::Blake3,
            _ => return Err(invalid()),
        };
        let right = hex.len() == algorithm.hex_length() && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        right.then(|| Self { algorithm, hex: hex.to_owned() }).ok_or_else(invalid)
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(value: String) -> Result<Self, InvalidDigest> {
        value.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_prints_as_it_was_read() {
        for (name, digits) in [("sha256", 64), ("sha512", 128), ("blake3", 64)] {
            let text = format!("{name}:{}", "0f".repeat(digits / 2));
            assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_malformed_digest_is_named_in_the_error() {
        for wrong in ["sha256", "sha256:", "sha256:abc", "md5:00", &format!("sha256:{}", "AB".repeat(32))] {
            assert!(wrong.parse::<Digest>().unwrap_err().to_string().contains(wrong));
        }
    }
}
