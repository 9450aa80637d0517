//! The text of a join token: made here, shown once, kept as a hash.
//! **Invariant:** 256 random bits, so a plain SHA-256 is as good as a slow hash, and looking one up by hash tells nothing.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "dfj_";

#[derive(Debug, thiserror::Error)]
#[error("no randomness for a join token")]
pub struct NoRandomness;

pub fn generate() -> Result<String, NoRandomness> {
    let mut secret = [0; 32];
    rand::fill(&mut secret).map_err(|_| NoRandomness)?;
    Ok(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(secret)))
}

pub fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_by_its_prefix_and_is_never_the_same() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert!(one.starts_with("dfj_") && one.len() == 4 + 43, "{one}");
        assert!(one != other && hash(&one) != hash(&other) && hash(&one) == hash(&one));
    }
}
