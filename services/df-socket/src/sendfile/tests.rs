//! The reader of a connection gets exactly the bytes, however they are mixed, and whatever happens to the file meanwhile.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use df_testkit::random_bytes;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::Mapping;

const FILE_BYTES: usize = 600_000;

/// A connection whose sending side buffers little, so that writes are partial.
async fn pair() -> (SendfileStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(8 * 1024).unwrap();
    let sender = socket.connect(listener.local_addr().unwrap()).await.unwrap();
    (SendfileStream::new(sender), listener.accept().await.unwrap().0)
}

fn mapped(content: &[u8]) -> (tempfile::NamedTempFile, Bytes) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let bytes = Mapping::new(Arc::new(file.reopen().unwrap()), content.len()).unwrap().bytes();
    (file, bytes)
}

/// As hyper does: a few buffers at a time, advanced by what was taken.
async fn send_all(stream: &mut SendfileStream, mut parts: Vec<Bytes>, at_once: usize) {
    while !parts.is_empty() {
        let slices: Vec<IoSlice<'_>> = parts.iter().take(at_once).map(|part| IoSlice::new(part)).collect();
        let mut sent = stream.write_vectored(&slices).await.unwrap();
        while let Some(first) = parts.first_mut() {
            let taken = sent.min(first.len());
            first.advance(taken);
            sent -= taken;
            if !first.is_empty() {
                break;
            }
            parts.remove(0);
        }
    }
    stream.shutdown().await.unwrap();
}

async fn exchange(parts: Vec<Bytes>, at_once: usize) -> Vec<u8> {
    let (mut stream, mut reader) = pair().await;
    let sending = tokio::spawn(async move { send_all(&mut stream, parts, at_once).await });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).await.unwrap();
    sending.await.unwrap();
    received
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Which file (the last is no file), from where, how much.
fn parts() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
    let length = prop_oneof![Just(0usize), 1..64usize, 1..5_000usize, 1..FILE_BYTES];
    prop::collection::vec((0..4usize, 0..FILE_BYTES, length), 1..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_reader_gets_exactly_the_bytes(parts in parts(), at_once in 1..5usize) {
        let contents: Vec<Bytes> = (0..4).map(|seed| random_bytes(seed, FILE_BYTES)).collect();
        let files: Vec<_> = contents[..3].iter().map(|content| mapped(content)).collect();
        let slice = |from: usize, length: usize| from..(from + length).min(FILE_BYTES);
        let expected: Vec<u8> =
            parts.iter().flat_map(|&(of, from, length)| contents[of][slice(from, length)].to_vec()).collect();
        let sent: Vec<Bytes> = parts
            .iter()
            .map(|&(of, from, length)| files.get(of).map_or(&contents[3], |(_, bytes)| bytes).slice(slice(from, length)))
            .collect();
        // From here on only the slices hold the mappings, and nobody the names.
        drop(files);
        let received = runtime().block_on(exchange(sent, at_once));
        prop_assert!(received == expected, "{} bytes of {}", received.len(), expected.len());
    }
}

#[tokio::test]
async fn a_file_may_be_unlinked_and_may_grow_while_it_is_sent() {
    let content = random_bytes(9, FILE_BYTES);
    let name = tempfile::NamedTempFile::new().unwrap();
    let file = Arc::new(name.reopen().unwrap());
    file.write_all_at(&content[..1_000], 0).unwrap();
    // Mapped at full length while it is short.
    let whole = Mapping::new(file.clone(), FILE_BYTES).unwrap().bytes();
    let (mut stream, mut reader) = pair().await;
    let receiving = tokio::spawn(async move {
        let mut received = Vec::new();
        reader.read_to_end(&mut received).await.unwrap();
        received
    });
    stream.write_all(&whole.slice(..1_000)).await.unwrap();
    std::fs::remove_file(name.path()).unwrap();
    file.write_all_at(&content[1_000..], 1_000).unwrap();
    send_all(&mut stream, vec![whole.slice(1_000..)], 1).await;
    assert!(receiving.await.unwrap() == content);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_file_that_is_too_short_is_an_error() {
    let file: File = tempfile::tempfile().unwrap();
    let bytes = Mapping::new(Arc::new(file), 5_000).unwrap().bytes();
    let (mut stream, _reader) = pair().await;
    let error = stream.write_all(&bytes).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_flush_lets_go_what_does_not_fill_a_segment() {
    let content = random_bytes(3, 100);
    let (_file, bytes) = mapped(&content);
    let (mut stream, mut reader) = pair().await;
    let is_corked = |stream: &SendfileStream| rustix::net::sockopt::tcp_cork(&stream.socket).unwrap();
    stream.write_all(&bytes).await.unwrap();
    assert!(is_corked(&stream));
    stream.flush().await.unwrap();
    assert!(!is_corked(&stream));
    let mut received = vec![0; content.len()];
    reader.read_exact(&mut received).await.unwrap();
    assert!(received == content);
    stream.write_all(b"no file").await.unwrap();
    assert!(!is_corked(&stream));
}

#[test]
#[cfg(target_os = "linux")]
fn only_what_sendfile_cannot_do_at_all_is_copied_instead() {
    let unsupported = |error| is_unsupported(&io::Error::from(error));
    assert!(unsupported(rustix::io::Errno::INVAL) && unsupported(rustix::io::Errno::NOSYS));
    assert!(!unsupported(rustix::io::Errno::PIPE) && !unsupported(rustix::io::Errno::IO));
}
