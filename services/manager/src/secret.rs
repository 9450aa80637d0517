//! The text of tokens that are no JWT: made here, shown once, kept as a hash.
//! **Invariant:** 256 random bits, so a plain SHA-256 is as good as a slow hash, and looking one up by hash tells nothing.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// What a token is for, told by how it begins, so that one that leaked is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Join,
    PersonalAccess,
}

#[derive(Debug, thiserror::Error)]
#[error("no randomness for a token")]
pub struct NoRandomness;

// === impl Purpose ===

impl Purpose {
    const fn prefix(self) -> &'static str {
        match self {
            Purpose::Join => "dfj_",
            Purpose::PersonalAccess => "dfp_",
        }
    }

    pub fn is_of(self, token: &str) -> bool {
        token.starts_with(self.prefix())
    }
}

pub fn generate(purpose: Purpose) -> Result<String, NoRandomness> {
    let mut secret = [0; 32];
    rand::fill(&mut secret).map_err(|_| NoRandomness)?;
    Ok(format!("{}{}", purpose.prefix(), BASE64_URL_SAFE_NO_PAD.encode(secret)))
}

/// No secret: a name that no other platform has.
pub fn generate_job_id() -> Result<String, NoRandomness> {
    let mut id = [0; 16];
    rand::fill(&mut id).map_err(|_| NoRandomness)?;
    Ok(format!("group_{}", hex::encode(id)))
}

pub fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_by_its_prefix_and_is_never_the_same() {
        let (one, other) = (generate(Purpose::Join).unwrap(), generate(Purpose::Join).unwrap());
        assert!(one.starts_with("dfj_") && one.len() == 4 + 43, "{one}");
        assert!(one != other && hash(&one) != hash(&other) && hash(&one) == hash(&one));
        let personal = generate(Purpose::PersonalAccess).unwrap();
        assert!(Purpose::PersonalAccess.is_of(&personal) && !Purpose::PersonalAccess.is_of(&one));
    }
}
