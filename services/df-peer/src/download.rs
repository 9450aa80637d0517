//! The one download of a task: ask the cluster, follow its decision, verify, tell how it ended.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use df_api::dfdaemon::Piece;
use df_api::scheduler::{Complaint, ComplaintReason, Decision, PeerState};
use df_api::{ByteRange, Digest};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::alone;
use crate::from_origin;
use crate::from_parents::{self, Outcome, PATIENCE_ADVISED};
use crate::hashing::verify;
use crate::peer::Peer;
use crate::small;
use crate::sync::{Advice, Sync};
use crate::task::{Failure, Task};

/// How a download begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Somebody of this node asks: the cluster decides where from.
    Ask,
    /// As [`Start::Ask`], for this part alone.
    AskPart(ByteRange),
    /// A child asks this seed peer: as [`Start::Ask`], and nobody wants it once the children have gone.
    Child,
    /// The scheduler has told this host to fetch from the origin.
    Duty,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    All,
    Part,
}

/// How one try of a download is over.
enum Turn {
    Ended(Result<(), Failure>),
    /// Whoever wanted it has left.
    Abandoned,
    /// A part was wanted when it began, and all of it now.
    Widened,
}

/// A scheduler that has not answered by then is worked around.
pub const FIRST_ADVICE: Duration = Duration::from_millis(1500);
/// Suppliers of a wrong content are asked for so long whether they have compared the whole.
const WHOLE_PATIENCE: Duration = Duration::from_millis(500);
const ABANDONED_CHECK: Duration = Duration::from_millis(200);
/// An origin that brings less than this within such a time is left, if there is another of the same content.
const PACE_CHECK: Duration = Duration::from_secs(5);
const PACE_BYTES_MIN: u64 = 256 * 1024;
/// Where the origin is not asked and nobody has it, somebody may be about to say that it does: a scheduler that has just
/// started is told by everybody within this time.
const NOBODY_AFTER: Duration = Duration::from_secs(4);

// === impl Start ===

impl Start {
    /// `None`: all of it.
    pub fn part(self) -> Option<ByteRange> {
        match self {
            Self::AskPart(part) => Some(part),
            Self::Ask | Self::Child | Self::Duty => None,
        }
    }
}

/// Runs to the end, and leaves the task complete or failed, or with the part that was wanted.
pub(crate) async fn run(peer: Arc<Peer>, task: Arc<Task>, start: Start) {
    let _pin = task.stored().pin();
    if let Err(error) = task.stored().settle().await {
        tracing::warn!(task = %task.id(), %error, "what is stored of a task cannot be checked");
        return task.ended(Some(from_origin::storage(error)));
    }
    if task.stored().is_complete() {
        return task.ended(None);
    }
    task.set_at_origin(start == Start::Duty);
    let sync = Sync::start(peer.clone(), task.clone());
    let result = turns(&peer, &task, &sync, start).await;
    task.stored().pause();
    let Some(result) = result else { return sync.leave().await };
    let state = match result.and_then(|()| task.stored().mark_complete().map_err(from_origin::storage)) {
        Ok(()) => {
            let received = task.received();
            tracing::info!(task = %task.id(), ?received, "a task is complete");
            peer.trust_parents_of(task.id());
            task.ended(None);
            PeerState::Complete
        }
        Err(failure) => {
            tracing::warn!(task = %task.id(), %failure, "a task has failed");
            let useless = matches!(failure, Failure::WrongDigest { .. } | Failure::Malformed(_));
            let received = task.received();
            if matches!(failure, Failure::WrongDigest { .. }) && received.seed_bytes + received.peer_bytes > 0 {
                blame_for_the_whole(&peer, &task, &sync).await;
            }
            if useless || task.stored().meta().is_none() {
                peer.discard(&task);
            }
            task.ended(Some(failure));
            PeerState::Failed
        }
    };
    sync.end(state).await;
}

/// Tries until it is over: a failure, or a part of it that was all that was wanted, or nobody who wants it (`None`). Leaves
/// a task of which all pieces are here, or that has failed, running.
async fn turns(peer: &Arc<Peer>, task: &Arc<Task>, sync: &Sync, start: Start) -> Option<Result<(), Failure>> {
    loop {
        task.stillness().end();
        let whole = task.wants_whole();
        let turn = tokio::select! {
            result = download(peer, task, sync, start) => Turn::Ended(result),
            () = abandoned(task) => Turn::Abandoned,
            () = widened(task), if !whole => Turn::Widened,
        };
        task.stored().without_writers().await;
        match turn {
            Turn::Widened => sync.poke(),
            // Somebody may have come while it was being stopped.
            Turn::Abandoned if task.readers().unwanted_in() != Some(Duration::ZERO) => {}
            Turn::Abandoned => {
                tracing::info!(task = %task.id(), "a download stops: whoever wanted it has left");
                task.ended(None);
                return None;
            }
            Turn::Ended(Ok(())) if !task.stored().has_all_pieces() => {
                if task.ended_with_part() {
                    return None;
                }
            }
            // Somebody has come for whom the origin may be asked.
            Turn::Ended(Err(Failure::Nobody(_))) if task.no_origin().is_none() => {}
            Turn::Ended(result) => return Some(result),
        }
    }
}

/// Resolves when all of it is wanted.
async fn widened(task: &Task) {
    let mut changes = task.stored().subscribe();
    while !task.wants_whole() {
        // Fails only when the task is gone.
        let _ = changes.changed().await;
    }
}

/// The whole is wrong although every piece was vouched for. A supplier that says it has it all, of these very pieces, has
/// compared the whole with its digest, or lies. The others may only have passed on what the origin sent, and find out
/// themselves: once.
async fn blame_for_the_whole(peer: &Peer, task: &Task, sync: &Sync) {
    let suppliers = sync.suppliers();
    let ours: HashMap<u32, Digest> = pieces(task.stored().events_since(0).0);
    let says_whole = suppliers.iter().map(async |parent| {
        let client = peer.parent_client(parent)?;
        let asked = client.list_pieces(task.id(), 0, Duration::ZERO);
        let list = tokio::time::timeout(WHOLE_PATIENCE, asked).await.ok()?.ok()?;
        (list.complete && pieces(list.pieces) == ours).then_some(parent)
    });
    let liars: Vec<_> = futures_util::future::join_all(says_whole).await.into_iter().flatten().collect();
    peer.doubt_parents_of(task.id());
    if !liars.is_empty() {
        peer.distrust_parents_of(task.id());
    }
    for parent in liars {
        sync.complain(Complaint { peer_id: parent.peer_id.clone(), reason: ComplaintReason::WrongBytes });
    }
}

fn pieces(listed: Vec<Piece>) -> HashMap<u32, Digest> {
    listed.into_iter().map(|piece| (piece.index, piece.digest)).collect()
}

async fn download(peer: &Arc<Peer>, task: &Arc<Task>, sync: &Sync, start: Start) -> Result<(), Failure> {
    let verifying = task
        .spec()
        .digest
        .map(|digest| AbortOnDropHandle::new(tokio::spawn(verify(peer.clone(), task.stored().clone(), digest))));
    let fetched = fetch(peer, task, sync, start).await;
    let Some(verifying) = verifying else { return fetched };
    fetched?;
    verifying.await.unwrap_or_else(|panic| Err(from_origin::storage(io::Error::other(panic))))
}

/// In turns, as the cluster decides.
async fn fetch(peer: &Arc<Peer>, task: &Arc<Task>, sync: &Sync, start: Start) -> Result<(), Failure> {
    let mut from_origin = start == Start::Duty;
    let mut advice = sync.advice();
    let mut nobody = None;
    while !task.has_wanted() {
        advice.borrow_and_update();
        let fetched = match (from_origin, task.no_origin()) {
            (false, _) => follow(peer, task, sync).await?,
            (true, None) => at_origin(peer, task, sync).await?,
            (true, Some(why)) => {
                let landed = task.stored().snapshot().landed_bytes;
                let last = nobody.filter(|(_, seen)| *seen == landed).map(|(until, _)| until);
                let until: Instant = last.unwrap_or_else(|| Instant::now() + NOBODY_AFTER);
                nobody = Some((until, landed));
                if !changed(&mut advice, until.saturating_duration_since(Instant::now())).await {
                    return Err(Failure::Nobody(why));
                }
                Fetched::Part
            }
        };
        if fetched == Fetched::All {
            return Ok(());
        }
        from_origin = !from_origin;
    }
    Ok(())
}

/// Does what the cluster says, or asks known hosts when it says nothing; the rest is for the origin.
async fn follow(peer: &Arc<Peer>, task: &Arc<Task>, sync: &Sync) -> Result<Fetched, Failure> {
    if peer.distrusts_parents_of(task.id()) {
        return Ok(Fetched::Part);
    }
    if small::fetch(peer, task, sync).await? {
        return Ok(Fetched::All);
    }
    let mut advice = sync.advice();
    loop {
        let current = advice.borrow_and_update().clone();
        let decision = match current {
            Advice::Pending if changed(&mut advice, FIRST_ADVICE).await => continue,
            Advice::Pending | Advice::Alone => match alone::fetch(peer, task, sync).await? {
                Some(fetched) => return Ok(fetched),
                None => continue,
            },
            Advice::Decided(decision) => decision,
        };
        match decision.decision {
            Decision::Origin => return Ok(Fetched::Part),
            Decision::Nobody if task.no_origin().is_some() => return Ok(Fetched::Part),
            Decision::Nobody if let Some(rule) = task.blocked() => return Err(Failure::Blocked(rule)),
            _ if decision.parents.is_empty() => {
                if decision.decision == Decision::Nobody {
                    // That was said of a wish which others have widened since.
                    sync.poke();
                }
                let left = PATIENCE_ADVISED.saturating_sub(task.stillness().lasts());
                if left.is_zero() || !changed(&mut advice, left).await {
                    return Ok(Fetched::Part);
                }
            }
            _ => match from_parents::fetch(peer, task, sync, sync.advice(), PATIENCE_ADVISED).await? {
                Outcome::Done => return Ok(Fetched::All),
                Outcome::Redirected => {}
                Outcome::Refused if matches!(*advice.borrow(), Advice::Alone) => {}
                Outcome::Refused | Outcome::Stuck => return Ok(Fetched::Part),
            },
        }
    }
}

/// Tells the cluster, and asks the origin itself, until the right to it has passed on.
async fn at_origin(peer: &Arc<Peer>, task: &Arc<Task>, sync: &Sync) -> Result<Fetched, Failure> {
    task.set_at_origin(true);
    sync.poke();
    tokio::select! {
        fetched = from_origins(peer, task) => return fetched.map(|()| Fetched::All),
        () = dismissed(task, sync) => {}
    }
    tracing::info!(task = %task.id(), "somebody else brings the rest from the origin");
    task.set_at_origin(false);
    sync.poke();
    task.stored().without_writers().await;
    Ok(Fetched::Part)
}

/// From the one that is known, and from those that other readers have named when it fails or creeps.
async fn from_origins(peer: &Arc<Peer>, task: &Arc<Task>) -> Result<(), Failure> {
    loop {
        let ended = tokio::select! {
            fetched = from_origin::fetch(peer, task) => fetched,
            () = outpaced(task) => Err(Failure::Unreachable("it sends next to nothing".to_owned())),
        };
        match ended {
            Err(failure) if task.go_elsewhere(&failure) => {
                tracing::info!(task = %task.id(), %failure, "another origin of a content is asked");
                task.stored().without_writers().await;
            }
            ended => return ended,
        }
    }
}

/// Resolves when next to nothing comes, although this host takes whatever comes, and another origin is known.
async fn outpaced(task: &Task) {
    let bytes = || task.received().origin_bytes;
    loop {
        let (before, held) = (bytes(), task.stillness().held());
        tokio::time::sleep(PACE_CHECK).await;
        let free = held.zip(task.stillness().held()).is_some_and(|(before, now)| now - before < PACE_CHECK / 10);
        if free && bytes().saturating_sub(before) < PACE_BYTES_MIN && task.has_other_origin() {
            return;
        }
    }
}

/// Resolves when the cluster had this host at the origin, and now names others to read from. Whoever went there by itself
/// knows why, and stays; so does who could not tell whether theirs is the same version.
async fn dismissed(task: &Task, sync: &Sync) {
    let mut advice = sync.advice();
    let mut sent = false;
    loop {
        if let Advice::Decided(decision) = &*advice.borrow_and_update() {
            let versioned =
                || task.stored().meta().is_none_or(|meta| meta.digest.is_some() || meta.validator.is_some());
            let welcome = || decision.parents.iter().any(|parent| !sync.has_complaint_about(&parent.peer_id));
            match decision.decision {
                Decision::Origin => sent = true,
                Decision::Nobody => return,
                _ if sent && welcome() && versioned() => return,
                Decision::Wait | Decision::Parents | Decision::Unchanged => {}
            }
        }
        if advice.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Resolves when the download is worth nobody's while any more.
async fn abandoned(task: &Task) {
    loop {
        let leaves = task.readers().leaves();
        match task.readers().unwanted_in() {
            None => leaves.await,
            Some(Duration::ZERO) => {
                let snapshot = task.stored().snapshot();
                if !nearly_done(snapshot.landed_bytes, snapshot.meta.and_then(|meta| meta.length)) {
                    return;
                }
                tokio::time::sleep(ABANDONED_CHECK).await;
            }
            Some(rest) => tokio::time::sleep(rest).await,
        }
    }
}

/// The rest costs less than what it would cost to fetch it all again.
fn nearly_done(landed: u64, length: Option<u64>) -> bool {
    length.is_some_and(|length| length - landed.min(length) <= length / 10)
}

async fn changed(advice: &mut watch::Receiver<Advice>, patience: Duration) -> bool {
    matches!(tokio::time::timeout(patience, advice.changed()).await, Ok(Ok(())))
}
