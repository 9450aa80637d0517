//! A file of this node becomes a content of the cluster: read twice, once for its digest and once for the daemon.

use std::io::{self, Read as _};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use df_api::Digest;
use df_api::dfdaemon::{ImportTaskRequest, TaskState};
use df_api::digest::Algorithm;
use df_client::{DfdaemonClient, Transport, client_builder};
use df_store::ContentHasher;
use futures_util::stream::{Stream, try_unfold};
use indicatif::{MultiProgress, ProgressBar};
use reqwest::Body;
use serde_json::json;

use crate::arguments::wrong_option;
use crate::commands::ImportArguments;
use crate::error::FetchError;
use crate::progress::Progress;
use crate::source::Source;

const READ_BYTES: usize = 256 * 1024;

/// Prints the digest, with which any node gets it.
pub async fn import(arguments: &ImportArguments) -> Result<(), FetchError> {
    let (path, talk) = (&arguments.file, &arguments.talk);
    let unreadable = |error| FetchError::Input { path: path.clone(), error };
    let daemon = talk.daemon();
    // Before a long file is read in vain.
    Source::daemon(&daemon).await?.ok_or_else(|| FetchError::no_daemon(&daemon, "import"))?;
    let reading = path.clone();
    let hashed = tokio::task::spawn_blocking(move || digest_of(&reading)).await.map_err(io::Error::other);
    let (digest, length) = hashed.and_then(|hashed| hashed).map_err(unreadable)?;
    let names = &arguments.names;
    let request = ImportTaskRequest {
        digest,
        tag: names.tag.clone(),
        application: names.application.clone(),
        piece_length: names.piece_length,
    };
    let spec = request.to_create().into_spec().map_err(wrong_option)?;
    // It hears nothing while it sends, for as long as that takes.
    let patient = Transport::open_with(&daemon, client_builder().read_timeout(talk.timeout));
    let client = DfdaemonClient::new(patient.map_err(|error| FetchError::Usage(format!("--daemon: {error}")))?);
    let known = client.get_task(&spec.id).await.ok().filter(|task| task.state == TaskState::Complete);
    let bars = MultiProgress::new();
    let progress = Progress::new(Some(length), talk.has_progress().then_some(&bars));
    // What is here already is only made this node's own, which needs no bytes.
    let (sent, body) = match known {
        Some(_) => (0, Body::from(Vec::new())),
        None => (length, Body::wrap_stream(bytes_of(path, progress.bar()).map_err(unreadable)?)),
    };
    let task = client.import_task(&request, sent, body).await?;
    progress.bar().finish();
    match talk.json {
        true => {
            let digest = request.digest.to_string();
            let file = path.to_string_lossy();
            println!("{}", json!({ "file": file, "digest": digest, "task_id": task.id.as_str(), "bytes": length }));
        }
        false if !talk.quiet => println!("{}", request.digest),
        false => {}
    }
    Ok(())
}

/// Of a regular file, which has an end.
fn digest_of(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut hasher = ContentHasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; READ_BYTES];
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hasher.finish(), length)),
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

/// Read beside the threads that send.
fn bytes_of(path: &Path, bar: ProgressBar) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
    let file = std::fs::File::open(path)?;
    Ok(try_unfold((file, bar), |(mut file, bar)| async move {
        let read = move || -> io::Result<_> {
            let mut buffer = BytesMut::zeroed(READ_BYTES);
            let read = file.read(&mut buffer)?;
            buffer.truncate(read);
            Ok((file, buffer.freeze()))
        };
        let (file, bytes) = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
        bar.inc(bytes.len() as u64);
        Ok((!bytes.is_empty()).then_some((bytes, (file, bar))))
    }))
}
