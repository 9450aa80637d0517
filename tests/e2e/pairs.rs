//! Who has sent packets to whom in a network: the addresses in every frame that its bridge carries.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tests::netns::Network;

use crate::wire;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// Both headers; the rest of a frame is not read.
const HEADERS_BYTES: usize = 34;

/// From whom to whom, and how often seen: at each port of the bridge that a packet passes.
type Sightings = BTreeMap<(Ipv4Addr, Ipv4Addr), u64>;

/// Ends when dropped.
#[derive(Debug)]
pub(crate) struct Pairs {
    seen: Arc<Mutex<Sightings>>,
}

// === impl Pairs ===

impl Pairs {
    /// From now on.
    pub(crate) async fn watch(network: &Network) -> anyhow::Result<Self> {
        let socket = wire::open(network).await?;
        let seen = Arc::new(Mutex::default());
        let kept = Arc::downgrade(&seen);
        std::thread::Builder::new().name("pairs".to_owned()).spawn(move || read(socket, &kept))?;
        Ok(Self { seen })
    }

    /// In either direction, between any of the one and any of the other.
    pub(crate) fn between(&self, one: &[Ipv4Addr], other: &[Ipv4Addr]) -> u64 {
        let seen = self.seen.lock();
        let counted = seen.iter().filter(|((from, to), _)| {
            (one.contains(from) && other.contains(to)) || (other.contains(from) && one.contains(to))
        });
        counted.map(|(_, times)| times).sum()
    }
}

fn read(mut socket: File, seen: &Weak<Mutex<Sightings>>) {
    let mut frame = [0; HEADERS_BYTES];
    while let Some(seen) = seen.upgrade() {
        // An error is only that nothing came.
        let length = socket.read(&mut frame).unwrap_or(0);
        if let Some(pair) = addresses(&frame[..length]) {
            *seen.lock().entry(pair).or_default() += 1;
        }
    }
}

/// Of an IPv4 packet (RFC 791 §3.1) in Ethernet.
fn addresses(frame: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?));
    (frame.get(12..14)? == ETHERTYPE_IPV4).then_some(())?;
    Some((address(26)?, address(30)?))
}
