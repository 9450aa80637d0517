//! One file, or many at a time: fetched, checked, put in its place, and reported.

use df_api::TaskId;
use df_api::dfdaemon::ReceivedBytes;
use df_store::ContentHasher;
use futures_util::StreamExt as _;
use indicatif::MultiProgress;
use serde_json::json;

use crate::arguments::Arguments;
use crate::jobs::{self, Job};
use crate::output::Output;
use crate::progress::Progress;
use crate::source::{FetchError, Source};

/// A file that is in its place.
struct Fetched {
    id: TaskId,
    bytes: u64,
    received: ReceivedBytes,
}

pub async fn fetch(arguments: &Arguments) -> Result<(), FetchError> {
    let named = jobs::named(arguments)?;
    let daemon = arguments.daemon.clone().unwrap_or_else(crate::source::default_daemon);
    let storage = arguments.storage();
    let urls: Vec<&str> = named.iter().map(|job| job.url.as_str()).collect();
    let source = Source::open(&daemon, &urls, storage.as_ref(), arguments.quiet).await?;
    let several = arguments.recursive || arguments.list.is_some();
    let jobs = if arguments.recursive { jobs::below(&source, arguments).await? } else { named };
    let bars = MultiProgress::new();
    let one = async |job: &Job| {
        if several {
            let failed = |error| FetchError::Output { path: job.path.clone(), error };
            jobs::make_folders(&arguments.output, &job.path).map_err(failed)?;
        }
        fetch_one(&source, arguments, job, &bars).await
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
    if arguments.json {
        println!("{}", json!({ "files": results.len(), "failed": failed, "bytes": bytes }));
    }
    results.into_iter().find_map(Result::err).map_or(Ok(()), Err)
}

fn report(arguments: &Arguments, several: bool, job: &Job, result: &Result<Fetched, FetchError>) {
    match result {
        Ok(fetched) if arguments.json => {
            let ReceivedBytes { origin_bytes, seed_bytes, peer_bytes } = fetched.received;
            let line = json!({
                "url": shown(&job.url), "output": job.path.to_string_lossy(), "task_id": fetched.id.as_str(),
                "bytes": fetched.bytes, "origin_bytes": origin_bytes, "seed_bytes": seed_bytes, "peer_bytes": peer_bytes,
            });
            println!("{line}");
        }
        Err(error) if arguments.json => {
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

/// Without what signs it.
fn shown(url: &str) -> String {
    df_api::task::content_url(url, &[])
}

async fn fetch_one(
    source: &Source,
    arguments: &Arguments,
    job: &Job,
    bars: &MultiProgress,
) -> Result<Fetched, FetchError> {
    let mut output = Output::create(&job.path, arguments.overwrite)?;
    let id = source.start(arguments.request(&job.url)).await?;
    let (length, mut content) = source.content(&id, arguments.range).await?;
    let mut progress = Progress::new(length, arguments.has_progress().then_some(bars));
    let mut hasher = arguments.digest.as_ref().map(|digest| ContentHasher::new(digest.algorithm()));
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
            _ = ticks.tick() => progress.show(source.received(&id).await),
        }
    }
    let received = source.received(&id).await;
    progress.finish(received);
    let found = hasher.map(ContentHasher::finish);
    match (found, arguments.digest.clone()) {
        (Some(found), Some(expected)) if found != expected => Err(FetchError::WrongDigest { found, expected }),
        _ => {
            output.keep()?;
            Ok(Fetched { id, bytes, received: received.unwrap_or_default() })
        }
    }
}
