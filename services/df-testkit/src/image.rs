//! OCI images made in memory: the same call makes the same digests (image-spec: `manifest.md`, `config.md`, `layer.md`).

use std::io::Write;

use anyhow::Context;
use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use serde_json::json;
use sha2::{Digest as _, Sha512};

use crate::bytes::{random_bytes, sha256_hex};

pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const TAR_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// What Docker calls them (image manifest version 2, schema 2).
const DOCKER_TYPES: [(&str, &str); 5] = [
    (MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json"),
    (INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json"),
    (CONFIG_TYPE, "application/vnd.docker.container.image.v1+json"),
    (TAR_TYPE, "application/vnd.docker.image.rootfs.diff.tar"),
    (GZIP_TYPE, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
];
/// No machine that this runs on takes images of it for its own.
const OTHER_ARCHITECTURE: &str = "s390x";
/// Behind the layers of every image: the other one's layer is none of them.
const OTHER_POSITION: u64 = 999;

/// A layer to be: one file of bytes that do not compress.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    file_bytes: usize,
    packing: Packing,
}

#[derive(Clone, Copy, Debug)]
enum Packing {
    /// No byte at all, which unpacks as no file.
    Empty,
    Tar,
    Gzip,
    Zstd,
}

/// An image for the architecture this runs on.
#[derive(Clone, Debug)]
pub struct Image {
    /// Inner first; a tag names the last, or the manifest when there is none.
    pub indexes: Vec<Blob>,
    pub manifest: Blob,
    pub config: Blob,
    pub layers: Vec<Blob>,
    /// The same for another architecture, which its index names first: who takes what comes first takes the wrong one.
    other: Option<Box<Image>>,
}

#[derive(Clone, Debug)]
pub struct Blob {
    pub media_type: &'static str,
    /// `sha256:…`, or `sha512:…`.
    pub digest: String,
    pub bytes: Bytes,
}

// === impl Layer ===

impl Layer {
    pub fn tar(file_bytes: usize) -> Self {
        Self { file_bytes, packing: Packing::Tar }
    }

    /// A blob of zero bytes.
    pub fn empty() -> Self {
        Self { file_bytes: 0, packing: Packing::Empty }
    }

    /// Compressed as most real layers are; the size stays, because the bytes do not compress.
    pub fn gzip(file_bytes: usize) -> Self {
        Self { file_bytes, packing: Packing::Gzip }
    }

    /// As [`Layer::gzip`], in the newer format.
    pub fn zstd(file_bytes: usize) -> Self {
        Self { file_bytes, packing: Packing::Zstd }
    }

    /// The layer's uncompressed tar, which the config names by its digest.
    fn pack(self, seed: u64, name: &str) -> anyhow::Result<Vec<u8>> {
        if matches!(self.packing, Packing::Empty) {
            return Ok(Vec::new());
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(self.file_bytes as u64);
        header.set_mode(0o644);
        let mut archive = tar::Builder::new(Vec::with_capacity(self.file_bytes + 4096));
        archive.append_data(&mut header, name, &random_bytes(seed, self.file_bytes)[..])?;
        archive.into_inner().context("cannot pack a layer")
    }

    /// Stored, not deflated: the bytes do not compress, and trying takes a second per 50 MB.
    fn compress(self, tar: Vec<u8>) -> anyhow::Result<Blob> {
        Ok(match self.packing {
            Packing::Empty | Packing::Tar => Blob::new(TAR_TYPE, tar),
            Packing::Gzip => Blob::new(GZIP_TYPE, gzip(&tar)?),
            Packing::Zstd => Blob::new(ZSTD_TYPE, zstd(&tar)),
        })
    }
}

// === impl Image ===

impl Image {
    /// Layers differ when their place or the seed does.
    pub fn build(seed: u64, layers: &[Layer]) -> anyhow::Result<Self> {
        let other = Self::build_for(OTHER_ARCHITECTURE, seed, &[(OTHER_POSITION, &Layer::gzip(9000))])?;
        let placed: Vec<(u64, &Layer)> = (0..).zip(layers).collect();
        Ok(Self { other: Some(Box::new(other)), ..Self::build_for(architecture(), seed, &placed)? })
    }

    fn build_for(architecture: &str, seed: u64, layers: &[(u64, &Layer)]) -> anyhow::Result<Self> {
        let mut blobs = Vec::new();
        let mut diff_ids = Vec::new();
        for (position, layer) in layers {
            let tar = layer.pack(seed.wrapping_mul(1000).wrapping_add(*position), &format!("layer-{position}.bin"))?;
            diff_ids.push(format!("sha256:{}", sha256_hex(&tar)));
            blobs.push(layer.compress(tar)?);
        }
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": { "Cmd": ["/layer-0.bin"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": layers.iter().map(|_| json!({ "created_by": "df-testkit" })).collect::<Vec<_>>(),
        });
        let config = Blob::new(CONFIG_TYPE, config.to_string());
        let manifest = manifest(MANIFEST_TYPE, &config, &blobs);
        Ok(Self { indexes: Vec::new(), manifest, config, layers: blobs, other: None })
    }

    /// With an index of two platforms above it; again for an index of indexes.
    #[must_use]
    pub fn in_index(mut self) -> Self {
        let named = |blob: &Blob, architecture: &str| {
            let mut descriptor = blob.descriptor();
            descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
            descriptor
        };
        let other = self.other.as_ref().filter(|_| self.indexes.is_empty());
        let other = other.map(|other| named(&other.manifest, OTHER_ARCHITECTURE));
        let manifests: Vec<_> = other.into_iter().chain([named(self.top(), architecture())]).collect();
        // An index is of the same family as what it names.
        let media_type = if self.manifest.media_type == MANIFEST_TYPE { INDEX_TYPE } else { docker_type(INDEX_TYPE) };
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
        self.indexes.push(Blob::new(media_type, index.to_string()));
        self
    }

    /// The same image in Docker's media types, which know no zstd; before it is put in an index.
    #[must_use]
    pub fn in_docker_types(mut self) -> Self {
        self.config.media_type = docker_type(self.config.media_type);
        for layer in &mut self.layers {
            layer.media_type = docker_type(layer.media_type);
        }
        self.manifest = manifest(docker_type(MANIFEST_TYPE), &self.config, &self.layers);
        self.other = self.other.map(|other| Box::new(other.in_docker_types()));
        self
    }

    /// The same image whose layers are called by their SHA-512; before it is put in an index.
    #[must_use]
    pub fn with_sha512_layers(mut self) -> Self {
        for layer in &mut self.layers {
            layer.digest = format!("sha512:{}", hex::encode(Sha512::digest(&layer.bytes)));
        }
        self.manifest = manifest(self.manifest.media_type, &self.config, &self.layers);
        self
    }

    pub fn top(&self) -> &Blob {
        self.indexes.last().unwrap_or(&self.manifest)
    }

    /// Config and layers: what is fetched from `/blobs/`.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// Also those of the other platform.
    pub fn all_blobs(&self) -> impl Iterator<Item = &Blob> {
        self.blobs().chain(self.other().into_iter().flat_map(Image::blobs))
    }

    /// Manifests and indexes: what is fetched from `/manifests/`, inner first.
    pub fn manifests(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&self.manifest).chain(self.other().map(|other| &other.manifest)).chain(&self.indexes)
    }

    /// What an index, when there is one, names besides.
    pub fn other(&self) -> Option<&Image> {
        self.other.as_deref().filter(|_| !self.indexes.is_empty())
    }

    pub fn blob_bytes(&self) -> u64 {
        self.blobs().map(Blob::size_bytes).sum()
    }
}

// === impl Blob ===

impl Blob {
    pub fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { media_type, digest: format!("sha256:{}", sha256_hex(&bytes)), bytes }
    }

    pub fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn descriptor(&self) -> serde_json::Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.size_bytes() })
    }
}

fn manifest(media_type: &'static str, config: &Blob, layers: &[Blob]) -> Blob {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.descriptor(),
        "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
    });
    Blob::new(media_type, manifest.to_string())
}

fn docker_type(oci_type: &'static str) -> &'static str {
    DOCKER_TYPES.iter().find(|(oci, _)| *oci == oci_type).map_or(oci_type, |(_, docker)| *docker)
}

fn gzip(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::with_capacity(bytes.len() + 4096), Compression::none());
    encoder.write_all(bytes)?;
    encoder.finish().context("cannot compress a layer")
}

/// One frame of raw blocks (RFC 8878 §3.1.1), with a window of 1 MiB, and neither length nor checksum.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    const BLOCK_BYTES_MAX: usize = 128 << 10;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 10 << 3];
    let blocks = bytes.chunks(BLOCK_BYTES_MAX);
    let last = blocks.len().saturating_sub(1);
    for (number, block) in blocks.enumerate() {
        // Three bytes, the lowest first: the size, two bits of type (0 is raw), and whether it is the last.
        let head = (block.len() as u32) << 3 | u32::from(number == last);
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    frame
}

/// As Go and OCI call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_same_call_makes_the_same_image() {
        let build = |seed| Image::build(seed, &[Layer::tar(10), Layer::gzip(10)]).unwrap().in_index();
        assert_eq!(build(1).top().digest, build(1).top().digest);
        assert_ne!(build(1).top().digest, build(2).top().digest);
    }

    #[test]
    fn an_index_names_another_platform_before_this_one() {
        let image = Image::build(1, &[Layer::gzip(10)]).unwrap().in_docker_types().in_index().in_index();
        let inner: serde_json::Value = serde_json::from_slice(&image.indexes[0].bytes).unwrap();
        let named = inner["manifests"].as_array().unwrap().iter().map(|named| named["digest"].as_str().unwrap());
        let manifests: Vec<&Blob> = image.manifests().collect();
        assert_eq!(named.collect::<Vec<_>>(), [&manifests[1].digest, &manifests[0].digest]);
        assert_eq!(manifests[1].media_type, manifests[0].media_type);
        assert_eq!((image.blobs().count(), image.all_blobs().count(), manifests.len()), (2, 4, 4));
    }

    #[test]
    fn manifest_config_and_layers_name_each_other_rightly() {
        let image = Image::build(1, &[Layer::gzip(100_000), Layer::tar(5)]).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&image.manifest.bytes).unwrap();
        assert_eq!(manifest["config"]["digest"], image.config.digest);
        for (named, layer) in manifest["layers"].as_array().unwrap().iter().zip(&image.layers) {
            assert_eq!(
                (named["digest"].as_str(), named["size"].as_u64()),
                (Some(&*layer.digest), Some(layer.size_bytes()))
            );
        }
        let config: serde_json::Value = serde_json::from_slice(&image.config.bytes).unwrap();
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&image.layers[0].bytes[..]).read_to_end(&mut tar).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256_hex(&tar)));
        assert_eq!(config["rootfs"]["diff_ids"][1], image.layers[1].digest);
        let mut archive = tar::Archive::new(&tar[..]);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let mut file = Vec::new();
        entry.read_to_end(&mut file).unwrap();
        assert_eq!(file, random_bytes(1000, 100_000));
    }
}
