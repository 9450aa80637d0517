//! A small content in one round trip: the task's seed is asked for its first bytes while the scheduler is asked for advice.
//!
//! **Invariant.** It costs nothing that the ordinary way would not: it ends a moment after the advice is there, whatever
//! the seed does, and nothing of what came is kept unless it is all.

use std::sync::Arc;
use std::time::Duration;

use df_api::dfdaemon::{PIECE_LENGTH_HEADER, VALIDATOR_HEADER};
use df_api::rules::Priority;
use df_api::scheduler::Decision;
use df_api::task::TaskSpec;
use df_api::{ByteRange, ContentRange};
use df_store::Meta;
use futures_util::StreamExt as _;
use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use reqwest::Response;
use tokio::sync::watch;

use crate::download::FIRST_ADVICE;
use crate::from_origin::{piece, storage};
use crate::peer::Peer;
use crate::sync::{Advice, Sync};
use crate::task::{Failure, Source, Task};

/// What is asked for; a content that fits is small.
const SMALL: ByteRange = ByteRange { start: 0, end: 64 * 1024 };
/// How much longer than the scheduler the seed may take.
const GRACE: Duration = Duration::from_millis(30);

/// `true` when all of it is here.
pub(crate) async fn fetch(peer: &Peer, task: &Arc<Task>, sync: &Sync) -> Result<bool, Failure> {
    let spec = task.spec();
    let origin = spec.origin.for_the_cluster();
    // A rule may forbid it, or who asks wants only what is there.
    if peer.asks_first() || origin.priority == Priority::CACHED_ONLY {
        return Ok(false);
    }
    // The seed would begin to fetch all of it.
    if origin.node_only || task.no_origin().is_some() || !task.wants_whole() || task.stored().meta().is_some() {
        return Ok(false);
    }
    let Some(seed) = peer.seed_of(task.id()) else { return Ok(false) };
    let Some(client) = peer.parent_client(&seed) else { return Ok(false) };
    let spec = TaskSpec { origin, ..spec };
    let asking = async {
        match client.fetch_task_content(&spec, SMALL).await {
            Ok(answer) => whole(task, answer).await,
            Err(error) => {
                tracing::debug!(task = %task.id(), error = df_http::error::chain(&error), "the seed has nothing at once");
                None
            }
        }
    };
    let found = tokio::select! {
        found = asking => found,
        () = advised(sync.advice()) => None,
    };
    let Some((meta, body)) = found else { return Ok(false) };
    let length = body.len() as u64;
    let stored = task.stored();
    if stored.describe(meta).map_err(storage)?.is_err() {
        return Ok(false);
    }
    let Some(mut writer) = stored.begin_piece(0) else { return Ok(false) };
    writer.write(&body).map_err(piece)?;
    writer.finish(None).map_err(piece)?;
    peer.limits().received(Source::Seed, task, length).await;
    sync.supplied(&seed);
    Ok(stored.has_all_pieces())
}

/// The content, if this is all of it.
async fn whole(task: &Task, answer: Response) -> Option<(Meta, Vec<u8>)> {
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let range: ContentRange = header(CONTENT_RANGE.as_str())?.parse().ok()?;
    let length = range.total.filter(|total| *total <= SMALL.end)?;
    let piece_length: u64 = header(PIECE_LENGTH_HEADER)?.parse().ok()?;
    let all = range.range == ByteRange::new(0, length);
    let spec = task.spec();
    if !all || !spec.is_piece_length(piece_length, Some(length)) {
        return None;
    }
    let content_type = header(CONTENT_TYPE.as_str()).map(str::to_owned);
    let digest = spec.digest;
    let validator = header(VALIDATOR_HEADER).filter(|_| digest.is_none()).map(str::to_owned);
    let meta = Meta { length: Some(length), piece_length, content_type, digest, validator };
    let mut body = Vec::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.ok()?);
        if body.len() as u64 > length {
            return None;
        }
    }
    (body.len() as u64 == length).then_some((meta, body))
}

/// The scheduler has said where to read, and the seed has had its moment; a scheduler that says `wait` knows no better
/// than to wait for that seed.
async fn advised(mut advice: watch::Receiver<Advice>) {
    let knows = |advice: &Advice| match advice {
        Advice::Pending => false,
        Advice::Alone => true,
        Advice::Decided(decision) => decision.decision != Decision::Wait,
    };
    let _ = tokio::time::timeout(FIRST_ADVICE, advice.wait_for(knows)).await;
    tokio::time::sleep(GRACE).await;
}
