//! Jobs that are questions: answered from what the scheduler knows. Pure.

use std::collections::BTreeMap;

use df_api::manager::{
    CachedLayer, ClusterResult, JOB_ENTRIES_MAX, JobArgs, JobPeer, PeerType, PersistentCacheHost, PersistentCachePeer,
    PersistentCacheTask,
};
use df_api::scheduler::{PeerState, ResolvedContent};
use df_api::task::{Origin, TaskSpec, piece_count};
use df_api::{Digest, HostId, TaskId};
use url::Url;

use crate::host::Host;
use crate::state::State;
use crate::task::Task;

/// Of a file, or of one task that is named.
pub fn task_specs(args: &JobArgs) -> Vec<TaskSpec> {
    args.all_urls().map(|url| task_spec(args, url)).collect()
}

/// As programs of a node make it; a blob of a registry is the content of its digest, wherever it comes from.
fn task_spec(args: &JobArgs, url: &str) -> TaskSpec {
    let names = args.filtered_query_params.as_deref().unwrap_or_default().split('&');
    let names = names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let origin = Origin {
        tag: args.tag.clone(),
        application: args.application.clone(),
        filtered_query_params: names,
        piece_length: args.piece_length,
        ..Origin::new(url)
    };
    match blob_digest(url) {
        Some(digest) => TaskSpec::new(origin, Some(digest)),
        None => TaskSpec::for_programs(origin, None),
    }
}

fn blob_digest(url: &str) -> Option<Digest> {
    let url = Url::parse(url).ok()?;
    let (_, digest) = url.path().strip_prefix("/v2/")?.rsplit_once("/blobs/")?;
    digest.parse().ok()
}

/// The one that `get_task` and `delete_task` are about.
pub fn named_task(args: &JobArgs) -> Option<TaskId> {
    match &args.task_id {
        Some(id) => id.parse().ok(),
        None => task_specs(args).into_iter().next().map(|spec| spec.id),
    }
}

/// Who has all of it, or a part.
pub fn holders(state: &State, id: &TaskId) -> Vec<HostId> {
    let Some(task) = state.tasks.get(id) else { return Vec::new() };
    let mut holders: Vec<HostId> = task.whole().iter().chain(task.peers.keys()).cloned().collect();
    holders.sort_unstable();
    holders.dedup();
    holders
}

pub fn who_has(state: &State, id: &TaskId) -> ClusterResult {
    let whole = |host: &HostId| state.tasks.get(id).is_some_and(|task| task.whole().contains(host));
    let peers = holders(state, id).into_iter().filter_map(|host| {
        Some(JobPeer { task_finished: whole(&host), ..peer(&host, state.hosts.announced.get(&host)?) })
    });
    listed(peers.collect())
}

pub fn all_hosts(state: &State) -> ClusterResult {
    let mut peers: Vec<JobPeer> = state.hosts.announced.iter().map(|(id, host)| peer(id, host)).collect();
    peers.sort_by(|a, b| a.id.cmp(&b.id));
    listed(peers)
}

/// Who has which layers.
pub fn distribution(state: &State, contents: &[ResolvedContent]) -> ClusterResult {
    let mut peers: BTreeMap<HostId, JobPeer> = BTreeMap::new();
    for content in contents.iter().filter(|content| content.is_layer) {
        let Some(task) = state.tasks.get(&content.task.id) else { continue };
        for id in task.whole() {
            let Some(host) = state.hosts.announced.get(id) else { continue };
            let entry = peers.entry(id.clone()).or_insert_with(|| peer(id, host));
            entry.cached_layers.push(CachedLayer { url: content.task.origin.shown_url() });
        }
    }
    let layers = contents.iter().filter(|content| content.is_layer).count();
    let finished =
        peers.into_values().map(|peer| JobPeer { task_finished: peer.cached_layers.len() == layers, ..peer });
    listed(finished.collect())
}

pub fn imported(state: &State) -> ClusterResult {
    let mut tasks: Vec<&Task> = state.tasks.values().filter(|task| task.imported).collect();
    tasks.sort_by(|a, b| a.id.cmp(&b.id));
    let omitted = tasks.len().saturating_sub(JOB_ENTRIES_MAX);
    tasks.truncate(JOB_ENTRIES_MAX);
    let persistent_cache_tasks = tasks.into_iter().map(|task| persistent(state, task)).collect();
    ClusterResult { persistent_cache_tasks, omitted: count(omitted), ..ClusterResult::default() }
}

fn persistent(state: &State, task: &Task) -> PersistentCacheTask {
    let (length, piece_length) = (task.facts.length.unwrap_or(0), task.facts.piece_length.unwrap_or(0));
    let pieces = if piece_length == 0 { 0 } else { piece_count(length, piece_length) };
    let peers: Vec<PersistentCachePeer> = holders(state, &task.id)
        .into_iter()
        .filter_map(|id| {
            let known = peer(&id, state.hosts.announced.get(&id)?);
            let whole = task.whole().contains(&id);
            let failed = task.peers.get(&id).is_some_and(|peer| peer.report.state == PeerState::Failed);
            Some(PersistentCachePeer {
                id: known.id.clone(),
                persistent: whole,
                state: if whole {
                    "Succeeded"
                } else if failed {
                    "Failed"
                } else {
                    "Running"
                }
                .to_owned(),
                host: PersistentCacheHost {
                    id: known.id,
                    kind: if known.seed { PeerType::Super } else { PeerType::Normal },
                    hostname: known.hostname,
                    ip: known.ip,
                    port: port(&state.hosts.announced.get(&id)?.report.url),
                },
            })
        })
        .collect();
    PersistentCacheTask {
        id: task.id.to_string(),
        persistent_replica_count: count(task.whole().len()),
        piece_length,
        content_length: length,
        total_piece_count: pieces,
        state: if task.whole().is_empty() { "Running" } else { "Succeeded" }.to_owned(),
        peers,
    }
}

fn port(url: &str) -> u16 {
    Url::parse(url).ok().and_then(|url| url.port_or_known_default()).unwrap_or(0)
}

fn peer(id: &HostId, host: &Host) -> JobPeer {
    let place = &host.report.place;
    JobPeer {
        id: id.to_string(),
        hostname: place.hostname.clone(),
        ip: place.ip.clone(),
        seed: host.report.seed,
        task_finished: false,
        cached_layers: Vec::new(),
    }
}

fn listed(mut peers: Vec<JobPeer>) -> ClusterResult {
    let omitted = peers.len().saturating_sub(JOB_ENTRIES_MAX);
    peers.truncate(JOB_ENTRIES_MAX);
    ClusterResult { peers, omitted: count(omitted), ..ClusterResult::default() }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
