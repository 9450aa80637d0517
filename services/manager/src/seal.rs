//! Secrets of others that the manager must be able to read again: sealed before they are written (AES-256-GCM).
//! **Invariant:** who has the database without the key reads none of them, and what was sealed for one row opens in no
//! other. The key is `DRAGONFLY_SECRET_KEY`; without it, it comes from the signing key, which is in the database too: that
//! is no protection from who has all of it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

pub struct Seal {
    key: RandomizedNonceKey,
}

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("a secret cannot be sealed")]
    Close,
    #[error("a secret cannot be opened: DRAGONFLY_SECRET_KEY is not the one that it was sealed with")]
    Open,
}

// === impl Seal ===

impl Seal {
    /// Any text of enough chance in it.
    pub fn new(secret: &[u8]) -> Result<Self, SealError> {
        let mut hash = Sha256::new();
        hash.update(b"dragonfly manager seal\0");
        hash.update(secret);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &hash.finalize()).map_err(|_| SealError::Close)?;
        Ok(Self { key })
    }

    /// `of` names the row.
    pub fn close(&self, of: &str, secret: &SecretString) -> Result<String, SealError> {
        let mut sealed = secret.expose_secret().as_bytes().to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(of), &mut sealed).map_err(|_| SealError::Close)?;
        let whole = [nonce.as_ref().as_slice(), &sealed].concat();
        Ok(BASE64_STANDARD_NO_PAD.encode(whole))
    }

    pub fn open(&self, of: &str, sealed: &str) -> Result<SecretString, SealError> {
        let mut whole = BASE64_STANDARD_NO_PAD.decode(sealed).map_err(|_| SealError::Open)?;
        let (nonce, sealed) = whole.split_at_mut_checked(NONCE_LEN).ok_or(SealError::Open)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Open)?;
        let plain = self.key.open_in_place(nonce, Aad::from(of), sealed).map_err(|_| SealError::Open)?;
        let plain = std::str::from_utf8(plain).map_err(|_| SealError::Open)?;
        Ok(SecretString::from(plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_with_its_key_and_for_its_row_only() {
        let (seal, other) = (Seal::new(b"one").unwrap(), Seal::new(b"other").unwrap());
        let secret = SecretString::from("hunter2");
        let sealed = seal.close("oauth/github", &secret).unwrap();
        assert!(sealed != seal.close("oauth/github", &secret).unwrap() && !sealed.contains("hunter2"));
        assert_eq!(seal.open("oauth/github", &sealed).unwrap().expose_secret(), "hunter2");
        assert!(seal.open("oauth/google", &sealed).is_err() && other.open("oauth/github", &sealed).is_err());
        assert!(seal.open("oauth/github", "").is_err() && seal.open("oauth/github", "?").is_err());
    }
}
