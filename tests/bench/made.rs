//! Contents made on the spot, in the folder that an nginx serves, under a registry's path for a blob.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

pub(crate) const MIB: u64 = 1024 * 1024;
pub(crate) const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
/// A registry's repository.
pub(crate) const REPOSITORY: &str = "bench";

/// A file of known digest.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) path: PathBuf,
    /// `sha256:…`
    pub(crate) digest: String,
    pub(crate) bytes: u64,
}

// === impl Blob ===

impl Blob {
    /// Incompressible, and another one for every `seed`.
    pub(crate) fn random(root: &Path, seed: u64, bytes: u64) -> anyhow::Result<Self> {
        let being_made = being_made(root)?;
        let mut file = File::create(&being_made)?;
        let mut stream = blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof();
        let mut hash = Sha256::new();
        let mut chunk = vec![0; MIB as usize];
        let mut left = bytes;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(chunk.len()).min(chunk.len());
            stream.fill(&mut chunk[..part]);
            hash.update(&chunk[..part]);
            file.write_all(&chunk[..part])?;
            left -= part as u64;
        }
        Self::named(root, &being_made, hash, bytes)
    }

    /// Holes up to a last line of their own: content that an origin has in any amount, and a store pays for in full.
    pub(crate) fn sparse(root: &Path, count: usize, bytes: u64) -> anyhow::Result<Vec<Self>> {
        let last_line = |number: usize| format!("{number:>63}\n");
        let holes = bytes.saturating_sub(last_line(0).len() as u64);
        let mut hash = Sha256::new();
        let chunk = vec![0; MIB as usize];
        for _ in 0..holes / MIB {
            hash.update(&chunk);
        }
        hash.update(&chunk[..usize::try_from(holes % MIB)?]);
        let one = |number| {
            let being_made = being_made(root)?;
            let mut file = File::create(&being_made)?;
            file.seek(SeekFrom::Start(holes))?;
            file.write_all(last_line(number).as_bytes())?;
            Self::named(root, &being_made, hash.clone().chain_update(last_line(number)), bytes)
        };
        (0..count).map(one).collect()
    }

    fn named(root: &Path, being_made: &Path, hash: Sha256, bytes: u64) -> anyhow::Result<Self> {
        let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = format!("sha256:{hex}");
        let path = root.join(target(&digest).trim_start_matches('/'));
        std::fs::rename(being_made, &path)?;
        Ok(Self { path, digest, bytes })
    }

    /// The path of its URL, at nginx, at a registry, at the mirror.
    pub(crate) fn target(&self) -> String {
        target(&self.digest)
    }

    pub(crate) fn gib(&self) -> f64 {
        self.bytes as f64 / GIB
    }
}

fn target(digest: &str) -> String {
    format!("/v2/{REPOSITORY}/blobs/{digest}")
}

fn being_made(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = root.join("v2").join(REPOSITORY).join("blobs");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join("being-made"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_what_its_digest_says() {
        let root = tempfile::tempdir().unwrap();
        let random = Blob::random(root.path(), 1, MIB + 7).unwrap();
        let mut all = Blob::sparse(root.path(), 2, MIB + 3).unwrap();
        all.push(random);
        for blob in &all {
            let bytes = std::fs::read(&blob.path).unwrap();
            assert_eq!(bytes.len() as u64, blob.bytes);
            assert_eq!(blob.digest, format!("sha256:{}", df_testkit::sha256_hex(&bytes)));
        }
        assert_ne!(all[0].digest, all[1].digest);
    }
}
