//! Memory that this machine has at hand when a row needs it.
//!
//! A virtual machine gets memory from its host when it is first touched, and may give it back when it is free: there, a
//! page costs ten times as much to be given as to be written. This keeps so much touched memory, and frees it as fast as
//! the row takes it: who takes it gets what was freed last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;

const CHUNK_BYTES: usize = 32 << 20;
const PAGE_BYTES: usize = 4096;
/// Free, and at hand, at any time.
const AHEAD_MIB: u64 = 128;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// What is left is freed when dropped.
pub(crate) struct Reservoir {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    chunks: Mutex<Vec<Vec<u8>>>,
    most: usize,
    wanted_free_mib: u64,
    ended: AtomicBool,
}

// === impl Reservoir ===

impl Reservoir {
    /// Blocks while the memory is touched.
    pub(crate) fn fill(mib: u64) -> anyhow::Result<Self> {
        let most = usize::try_from((mib << 20).div_ceil(CHUNK_BYTES as u64))?;
        let chunks = Mutex::new((0..most).map(|_| touched(CHUNK_BYTES)).collect());
        let shared =
            Arc::new(Shared { chunks, most, wanted_free_mib: free_mib()? + AHEAD_MIB, ended: AtomicBool::new(false) });
        let giving = shared.clone();
        let thread = std::thread::Builder::new().name("reservoir".to_owned()).spawn(move || giving.give())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes back what has been freed since, before the host does. Blocks while it is touched.
    pub(crate) fn refill(&self) {
        let Shared { chunks, most, wanted_free_mib, .. } = &*self.shared;
        while free_mib().is_ok_and(|free| free > wanted_free_mib + AHEAD_MIB) && chunks.lock().len() < *most {
            let chunk = touched(CHUNK_BYTES);
            chunks.lock().push(chunk);
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn give(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            while free_mib().is_ok_and(|free| free < self.wanted_free_mib) && self.chunks.lock().pop().is_some() {}
            // With nothing to give it must not disturb what is measured.
            let empty = self.chunks.lock().is_empty();
            if empty {
                std::thread::park();
            } else {
                std::thread::park_timeout(BETWEEN_LOOKS);
            }
        }
    }
}

impl Drop for Reservoir {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.wake();
        // It panics only when it has nothing to free.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn touched(bytes: usize) -> Vec<u8> {
    let mut chunk = vec![0; bytes];
    chunk.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    // Nobody reads it; without this nobody need write it either.
    std::hint::black_box(chunk)
}

fn free_mib() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:")).context("no MemFree")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}
