//! One file, or many at a time: fetched, checked, put in its place, and reported.

use std::path::Path;

use df_api::dfdaemon::{CreateTaskRequest, ReceivedBytes};
use df_api::{ByteRange, Digest, TaskId};
use df_store::ContentHasher;
use futures_util::StreamExt as _;
use indicatif::MultiProgress;
use serde_json::json;

use crate::arguments::Arguments;
use crate::error::FetchError;
use crate::jobs::{self, Job};
use crate::output::Output;
use crate::progress::Progress;
use crate::source::Source;

/// A file that is in its place.
pub struct Fetched {
    pub id: TaskId,
    pub bytes: u64,
    pub received: ReceivedBytes,
    /// It shares the store's bytes.
    pub shared: bool,
}

/// What is wanted of a task, and of the file it becomes.
pub struct Wish {
    pub task: Which,
    pub range: Option<ByteRange>,
    pub digest: Option<Digest>,
    pub overwrite: bool,
}

pub enum Which {
    /// Started, or joined.
    New(Box<CreateTaskRequest>),
    /// On this node.
    Known(TaskId),
}

pub async fn fetch(arguments: &Arguments) -> Result<(), FetchError> {
    let named = jobs::named(arguments)?;
    // What cannot be is said before anything is asked; whatever the URL, the options are the same.
    let asked = arguments.url.as_ref().map_or("https://localhost/", |url| url.as_str());
    arguments.request(asked)?;
    let talk = &arguments.talk;
    let daemon = talk.daemon();
    let storage = arguments.storage();
    let urls: Vec<&str> = named.iter().map(|job| job.url.as_str()).collect();
    let source = match arguments.disable_origin {
        true => Source::daemon(&daemon).await?.ok_or_else(|| FetchError::no_daemon(&daemon, "--disable-origin"))?,
        false => Source::open(&daemon, &urls, storage.as_ref(), talk.quiet).await?,
    };
    let several = arguments.recursive || arguments.list.is_some();
    let jobs = if arguments.recursive { jobs::below(&source, arguments).await? } else { named };
    let bars = MultiProgress::new();
    let one = async |job: &Job| {
        if several {
            let failed = |error| FetchError::Output { path: job.path.clone(), error };
            jobs::make_folders(arguments.output(), &job.path).map_err(failed)?;
        }
        let wish = Wish {
            task: Which::New(Box::new(arguments.request(&job.url)?)),
            range: arguments.range,
            digest: arguments.digest.clone(),
            overwrite: arguments.overwrite,
        };
        fetch_one(&source, wish, &job.path, talk.has_progress().then_some(&bars)).await
    };
    let results: Vec<_> = futures_util::stream::iter(&jobs)
        .map(async |job| (job, one(job).await))
        .buffer_unordered(arguments.max_concurrent as usize)
        .inspect(|(job, result)| report(arguments, several, job, result))
        .map(|(_, result)| result)
        .collect()
        .await;
    let bytes: u64 = results.iter().flatten().map(|fetched| fetched.bytes).sum();
    let failed = results.iter().filter(|result| result.is_err()).count();
    if talk.json {
        println!("{}", json!({ "files": results.len(), "failed": failed, "bytes": bytes }));
    }
    results.into_iter().find_map(Result::err).map_or(Ok(()), Err)
}

fn report(arguments: &Arguments, several: bool, job: &Job, result: &Result<Fetched, FetchError>) {
    match result {
        Ok(fetched) if arguments.talk.json => {
            println!("{}", fetched_line(fetched, Some(&shown(&job.url)), &job.path));
        }
        Err(error) if arguments.talk.json => {
            let line = json!({
                "url": shown(&job.url), "output": job.path.to_string_lossy(), "error": error.to_string(),
            });
            println!("{line}");
        }
        // Of one file, whoever called says it.
        Err(error) if several => eprintln!("dfget: {}: {error}", job.path.display()),
        _ => {}
    }
}

pub fn fetched_line(fetched: &Fetched, url: Option<&str>, path: &Path) -> serde_json::Value {
    let ReceivedBytes { origin_bytes, seed_bytes, peer_bytes } = fetched.received;
    json!({
        "url": url, "output": path.to_string_lossy(), "task_id": fetched.id.as_str(), "bytes": fetched.bytes,
        "origin_bytes": origin_bytes, "seed_bytes": seed_bytes, "peer_bytes": peer_bytes, "shared": fetched.shared,
    })
}

/// Without what signs it.
fn shown(url: &str) -> String {
    df_api::task::content_url(url, &[])
}

pub async fn fetch_one(
    source: &Source,
    wish: Wish,
    path: &Path,
    bars: Option<&MultiProgress>,
) -> Result<Fetched, FetchError> {
    let mut output = Output::create(path, wish.overwrite)?;
    let id = match wish.task {
        Which::New(request) => source.start(*request).await?,
        Which::Known(id) => id,
    };
    if wish.range.is_none()
        && let Some(shared) = share(source, &id, &output, bars).await
    {
        let received = shared?;
        let bytes = output.length();
        output.keep()?;
        return Ok(Fetched { id, bytes, received, shared: true });
    }
    let (length, mut content) = source.content(&id, wish.range).await?;
    let mut progress = Progress::new(length, bars);
    let mut hasher = wish.digest.as_ref().map(|digest| ContentHasher::new(digest.algorithm()));
    let mut ticks = tokio::time::interval(Progress::REFRESH);
    let mut bytes = 0;
    loop {
        tokio::select! {
            chunk = content.next() => {
                let Some(chunk) = chunk else { break };
                let chunk = chunk?;
                if let Some(hasher) = &mut hasher { hasher.update(&chunk) }
                output.write(&chunk)?;
                bytes += chunk.len() as u64;
                progress.add(chunk.len() as u64);
            }
            _ = ticks.tick() => progress.show(source.status(&id).await.map(|status| status.received)),
        }
    }
    let received = source.status(&id).await.map(|status| status.received);
    progress.finish(received);
    let found = hasher.map(ContentHasher::finish);
    match (found, wish.digest) {
        (Some(found), Some(expected)) if found != expected => Err(FetchError::WrongDigest { found, expected }),
        _ => {
            output.keep()?;
            Ok(Fetched { id, bytes, received: received.unwrap_or_default(), shared: false })
        }
    }
}

/// Without copying a byte, where the file system can: the daemon has compared the whole with its digest by then. `None`
/// where it cannot.
async fn share(
    source: &Source,
    id: &TaskId,
    output: &Output,
    bars: Option<&MultiProgress>,
) -> Option<Result<ReceivedBytes, FetchError>> {
    let mut progress = Progress::new(None, bars);
    let mut ticks = tokio::time::interval(Progress::REFRESH);
    ticks.tick().await;
    let mut sharing = std::pin::pin!(source.share(id, std::os::fd::AsFd::as_fd(output)));
    let shared = loop {
        tokio::select! {
            shared = &mut sharing => break shared,
            _ = ticks.tick() => progress.set(source.status(id).await.as_ref()),
        }
    };
    let Some(Ok(())) = shared else {
        progress.give_up();
        return shared.map(|shared| shared.map(|()| ReceivedBytes::default()));
    };
    let status = source.status(id).await;
    progress.set(status.as_ref());
    let received = status.map(|status| status.received);
    progress.finish(received);
    Some(Ok(received.unwrap_or_default()))
}
