//! The files of a build: named, compressed, written, measured.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

#[derive(Default)]
pub struct Dist {
    files: Vec<File>,
}

struct File {
    name: String,
    plain: Vec<u8>,
    br: Vec<u8>,
    gz: Vec<u8>,
}

// === impl Dist ===

impl Dist {
    pub fn add(&mut self, name: &str, plain: Vec<u8>) {
        let (br, gz) = (brotli(&plain), gzip(&plain));
        self.files.push(File { name: name.to_owned(), plain, br, gz });
    }

    /// Returns the name: `<stem>-<16 hex digits><end>`.
    pub fn add_hashed(&mut self, stem: &str, end: &str, plain: Vec<u8>) -> String {
        let hash = hex::encode(Sha256::digest(&plain));
        let name = format!("{stem}-{}{end}", &hash[..16]);
        self.add(&name, plain);
        name
    }

    pub fn total_br(&self) -> usize {
        self.files.iter().map(|file| file.br.len()).sum()
    }

    /// Replaces what the folder held; names of an older build do not pile up. `index.html` comes last: it names the others.
    pub fn write(&self, folder: &Path) -> Result<()> {
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| format!("emptying {}", folder.display()))?;
        }
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let (index, named): (Vec<&File>, Vec<&File>) = self.files.iter().partition(|file| file.name == "index.html");
        for file in named.into_iter().chain(index) {
            for (end, bytes) in [(".br", &file.br), (".gz", &file.gz), ("", &file.plain)] {
                let path = folder.join(format!("{}{end}", file.name));
                std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Sizes in bytes, for people.
    pub fn table(&self) -> String {
        let mut table = format!("{:<36}{:>10}{:>10}{:>10}\n", "file", "plain", "gzip", "brotli");
        let (mut plain, mut gz) = (0, 0);
        for file in &self.files {
            plain += file.plain.len();
            gz += file.gz.len();
            let (p, g, b) = (file.plain.len(), file.gz.len(), file.br.len());
            let _ = writeln!(table, "{:<36}{p:>10}{g:>10}{b:>10}", file.name);
        }
        let _ = write!(table, "{:<36}{plain:>10}{gz:>10}{:>10}", "total", self.total_br());
        table
    }
}

fn brotli(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    {
        let mut writer = brotli::CompressorWriter::new(&mut packed, 64 * 1024, 11, 22);
        // Into memory: it cannot fail.
        let _ = writer.write_all(plain);
    }
    packed
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::best());
    let _ = writer.write_all(plain);
    writer.finish().unwrap_or_default()
}
