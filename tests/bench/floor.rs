//! What the bare system calls and hashes cost on this machine, now: below this nobody gets.

use std::fs::File;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use sha2::{Digest as _, Sha256};

use crate::ground::Ground;
use crate::made::{Blob, GIB};
use crate::options::Options;
use crate::row::{Part, Unit};
use tests::process::thread_cpu_seconds;

const BUFFER_BYTES: usize = 1024 * 1024;
const HASHED_BYTES: usize = 128 * 1024;

pub(crate) async fn measure(options: &Options) -> anyhow::Result<Vec<Part>> {
    let ground = Ground::prepare(options, 1, 3 * options.hit_mib).await?;
    let blob = Blob::random(ground.folder(), 0, options.hit_mib * 1024 * 1024)?;
    let mut parts = [
        Part::new("sendfile over loopback, sender", Unit::CpuPerGib),
        Part::new("recv + pwrite, receiver", Unit::CpuPerGib),
        Part::new("sendfile → recv + pwrite", Unit::GibPerSecond),
        Part::new("SHA-256, in the cache", Unit::CpuPerGib),
        Part::new("BLAKE3, in the cache", Unit::CpuPerGib),
    ];
    for run in 0..options.runs_with_warm_up() {
        let (source, target) = (blob.clone(), ground.folder().join("received"));
        let sent = ground.node(0).inside(move || transfer(&source, &target)).await?;
        let bytes = blob.bytes;
        let hashed = tokio::task::spawn_blocking(move || hash(bytes)).await?;
        if !options.is_warm_up(run) {
            let values = sent.into_iter().chain(hashed);
            parts.iter_mut().zip(values).for_each(|(part, value)| part.values.push(value));
        }
    }
    Ok(parts.into())
}

/// CPU of the sender, CPU of the receiver, and GiB per second.
fn transfer(blob: &Blob, target: &Path) -> anyhow::Result<[f64; 3]> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let path = blob.path.clone();
    let began = Instant::now();
    let sender = std::thread::spawn(move || -> anyhow::Result<f64> {
        let before = thread_cpu_seconds();
        let (file, stream) = (File::open(path)?, TcpStream::connect(address)?);
        let (mut at, length) = (0, file.metadata()?.len());
        while at < length {
            rustix::fs::sendfile(&stream, &file, Some(&mut at), BUFFER_BYTES)?;
        }
        Ok(thread_cpu_seconds() - before)
    });
    let before = thread_cpu_seconds();
    let (mut stream, file) = (listener.accept()?.0, File::create(target)?);
    let (mut buffer, mut at) = (vec![0; BUFFER_BYTES], 0);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        file.write_all_at(&buffer[..read], at)?;
        at += read as u64;
    }
    let received = thread_cpu_seconds() - before;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(at == blob.bytes, "{at} of {} bytes have come", blob.bytes);
    std::fs::remove_file(target)?;
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender has panicked"))??;
    Ok([sent / blob.gib(), received / blob.gib(), blob.gib() / seconds])
}

/// CPU of SHA-256 and of BLAKE3, of so many bytes that are in the processor's cache.
fn hash(bytes: u64) -> [f64; 2] {
    let chunk = vec![0xa5; HASHED_BYTES];
    let rounds = bytes / HASHED_BYTES as u64;
    let gib = (rounds * HASHED_BYTES as u64) as f64 / GIB;
    let (mut sha256, mut blake3) = (Sha256::new(), blake3::Hasher::new());
    let before = thread_cpu_seconds();
    (0..rounds).for_each(|_| sha256.update(&chunk));
    std::hint::black_box(sha256.finalize());
    let between = thread_cpu_seconds();
    (0..rounds).for_each(|_| {
        blake3.update(&chunk);
    });
    std::hint::black_box(blake3.finalize());
    [(between - before) / gib, (thread_cpu_seconds() - between) / gib]
}
