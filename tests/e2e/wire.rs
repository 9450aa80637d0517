//! Every frame that a network's bridge carries, and what the programs in `ctl` say to each other: to whom a text was sent
//! in the clear. What a node's programs say to each other is on loopback, and not seen.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use regex::bytes::Regex;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with, sockopt};
use tests::netns::Network;

const ETH_P_ALL: u16 = 3;
const ETHERNET_BYTES: usize = 14;
const TCP: u8 = 6;
/// A frame before segmentation has up to 64 KiB.
const FRAME_BYTES_MAX: usize = 128 * 1024;
/// So that the kernel drops none while this looks at one.
const BUFFER_BYTES: usize = 64 << 20;
/// How soon a dropped one ends.
const LOOK_UP: Duration = Duration::from_millis(200);

/// A text, and who was sent it.
type Told = BTreeSet<(String, SocketAddr)>;

/// Ends when dropped.
#[derive(Debug)]
pub(crate) struct Wire {
    told: Arc<Mutex<Told>>,
}

// === impl Wire ===

impl Wire {
    /// From now on.
    pub(crate) async fn watch(network: &Network, texts: Regex) -> anyhow::Result<Self> {
        let socket = open(network).await?;
        let told = Arc::new(Mutex::default());
        let kept = Arc::downgrade(&told);
        std::thread::Builder::new().name("wire".to_owned()).spawn(move || read(socket, &texts, &kept))?;
        Ok(Self { told })
    }

    pub(crate) fn told(&self) -> Told {
        self.told.lock().clone()
    }
}

/// Reads give one frame each, or an error when none has come for a moment.
pub(crate) async fn open(network: &Network) -> anyhow::Result<File> {
    let opening = network.ctl().inside(|| {
        let all = Protocol::from_raw(NonZeroU32::new(ETH_P_ALL.to_be().into()).context("no protocol")?);
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, Some(all))?;
        sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(LOOK_UP))?;
        Ok(File::from(socket))
    });
    opening.await
}

fn read(mut socket: File, texts: &Regex, told: &Weak<Mutex<Told>>) {
    let mut frame = vec![0; FRAME_BYTES_MAX];
    while let Some(told) = told.upgrade() {
        // An error is only that nothing came.
        let length = socket.read(&mut frame).unwrap_or(0);
        let Some((to, payload)) = segment(&frame[..length]) else { continue };
        for found in texts.find_iter(payload) {
            told.lock().insert((String::from_utf8_lossy(found.as_bytes()).into_owned(), to));
        }
    }
}

/// Where a TCP segment goes, and the rest of it (RFC 791 §3.1, RFC 9293 §3.1).
fn segment(frame: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let packet = frame.get(ETHERNET_BYTES..)?;
    let (version, words) = (packet.first()? >> 4, packet[0] & 0xf);
    if version != 4 || *packet.get(9)? != TCP {
        return None;
    }
    let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    let tcp = packet.get(usize::from(words) * 4..)?;
    let port = u16::from_be_bytes(tcp.get(2..4)?.try_into().ok()?);
    Some(((Ipv4Addr::from(to), port).into(), tcp))
}
