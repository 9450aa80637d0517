//! A file of this node becomes a task that is complete here, and has no origin.
//!
//! **Invariant.** Nobody is told of it before all of it is here and its digest has matched.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use df_api::Digest;
use df_api::task::TaskSpec;
use df_store::{ContentHasher, Meta, PieceError, StoreError};
use futures_util::{Stream, StreamExt as _};

use crate::download::Start;
use crate::from_origin::piece;
use crate::peer::Peer;
use crate::sync;
use crate::task::{Failure, Task};

/// Why a file is not taken. Nothing of it is kept then.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("this node is just fetching it, or another import of it runs; try again when that is over")]
    Busy,
    #[error("the body has {found} bytes, and {expected} were announced")]
    Length { found: u64, expected: u64 },
    #[error("the file is {found}, and {expected} was announced; it may have changed meanwhile")]
    WrongDigest { found: Digest, expected: Digest },
    #[error("the body broke off: {0}")]
    Body(io::Error),
    #[error("the description makes no sense: {0}")]
    Malformed(String),
    #[error("cannot store it: {}", df_http::error::chain(.0))]
    Storage(StoreError),
}

/// Whoever sends nothing for this long has gone.
const BODY_PATIENCE: Duration = Duration::from_secs(60);
/// How long schedulers are waited for: they learn of it later, too.
const TELL_PATIENCE: Duration = Duration::from_secs(3);

/// Stores `body`, of `length` bytes, as the task, and tells the cluster. What is here already is not read again.
pub async fn import<S>(peer: &Arc<Peer>, spec: TaskSpec, length: u64, body: S) -> Result<Arc<Task>, ImportError>
where
    S: Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
{
    let task = peer.get_or_create(&spec).map_err(ImportError::Storage)?;
    if task.stored().is_complete() {
        return Ok(task);
    }
    if !task.claim(spec.clone(), Start::Ask) {
        return Err(ImportError::Busy);
    }
    let storing = peer.intake.spawn(store(peer.clone(), task.clone(), spec, length, body));
    let stored = match storing {
        Some(storing) => storing.await.unwrap_or_else(|panic| Err(ImportError::Body(io::Error::other(panic)))),
        None => Err(ImportError::Body(io::Error::other("the daemon is ending"))),
    };
    if let Err(error) = stored {
        // Also after a panic, which left it running.
        task.ended(Some(Failure::Malformed(error.to_string())));
        return Err(error);
    }
    Ok(task)
}

/// Runs to its end also when nobody waits for it any more.
async fn store<S>(peer: Arc<Peer>, task: Arc<Task>, spec: TaskSpec, length: u64, body: S) -> Result<(), ImportError>
where
    S: Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
{
    let _pin = task.stored().pin();
    let stored = take(&task, &spec, length, body).await;
    task.stored().pause();
    match stored {
        Ok(()) => {
            tracing::info!(task = %task.id(), bytes = length, "a file was imported");
            task.ended(None);
            peer.store().tell_change();
            if tokio::time::timeout(TELL_PATIENCE, sync::tell_complete(&peer, &task)).await.is_err() {
                tracing::info!(task = %task.id(), "no scheduler was told of it yet");
            }
            Ok(())
        }
        Err(error) => {
            tracing::warn!(task = %task.id(), %error, "a file was not imported");
            peer.discard(&task);
            task.ended(Some(Failure::Malformed(format!("its import failed: {error}"))));
            Err(error)
        }
    }
}

async fn take<S>(task: &Arc<Task>, spec: &TaskSpec, length: u64, mut body: S) -> Result<(), ImportError>
where
    S: Stream<Item = io::Result<Bytes>> + Send + Unpin,
{
    let stored = task.stored();
    stored.settle().await.map_err(ImportError::Storage)?;
    let Some(expected) = spec.digest.clone() else {
        return Err(ImportError::Malformed("it has no digest".to_owned()));
    };
    let piece_length = spec.piece_length(Some(length));
    let meta = Meta {
        length: Some(length),
        piece_length,
        content_type: None,
        digest: Some(expected.clone()),
        validator: None,
    };
    let described = stored.describe(meta).map_err(ImportError::Storage)?;
    described.map_err(|conflict| ImportError::Malformed(conflict.to_string()))?;
    let mut hasher = ContentHasher::new(expected.algorithm());
    let (mut at, mut writer) = (0, None);
    while let Some(chunk) = next(&mut body).await? {
        let found = at + chunk.len() as u64;
        if found > length {
            return Err(ImportError::Length { found, expected: length });
        }
        hasher.update(&chunk);
        let mut rest = chunk;
        while !rest.is_empty() {
            let (index, within) = (at / piece_length, at % piece_length);
            if within == 0 {
                // `None` when it is here already.
                writer = u32::try_from(index).ok().and_then(|index| stored.begin_piece(index));
            }
            let room = (piece_length - within).min(length - at);
            let part = rest.split_to(usize::try_from(room).unwrap_or(usize::MAX).min(rest.len()));
            at += part.len() as u64;
            if let Some(writer) = &mut writer {
                writer.write(&part)?;
            }
            if at.is_multiple_of(piece_length) || at == length {
                writer.take().map(|writer| writer.finish(None)).transpose()?;
            }
        }
    }
    if at != length {
        return Err(ImportError::Length { found: at, expected: length });
    }
    let found = hasher.finish();
    if found != expected {
        return Err(ImportError::WrongDigest { found, expected });
    }
    stored.mark_complete().map_err(ImportError::Storage)
}

async fn next<S>(body: &mut S) -> Result<Option<Bytes>, ImportError>
where
    S: Stream<Item = io::Result<Bytes>> + Unpin,
{
    match tokio::time::timeout(BODY_PATIENCE, body.next()).await {
        Ok(chunk) => chunk.transpose().map_err(ImportError::Body),
        Err(_) => Err(ImportError::Body(io::ErrorKind::TimedOut.into())),
    }
}

// === impl ImportError ===

impl From<PieceError> for ImportError {
    fn from(error: PieceError) -> Self {
        match piece(error) {
            Failure::Storage(error) => Self::Storage(error),
            failure => Self::Malformed(failure.to_string()),
        }
    }
}
