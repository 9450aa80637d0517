//! Jobs on a whole platform: what was preheated is there, and the origin is not asked again.

use df_api::manager::{CreateJobRequest, Job, JobArgs, JobState, JobSubject, JobType, PreheatScope, SignInRequest};
use df_client::{ManagerClient, Transport, http_client};
use df_testkit::registry::RegistryAccess;
use df_testkit::{Content, FakeOrigin, random_bytes, until};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, REPOSITORY, fetch_file};
use crate::lab::PATIENCE;

const MIB: usize = 1024 * 1024;

async fn root(cluster: &Cluster) -> ManagerClient {
    let transport = Transport::new(&format!("http://{}", cluster.platform.manager_addr), http_client()).unwrap();
    let credentials = SignInRequest { name: "root".to_owned(), password: "dragonfly".to_owned() };
    let token = ManagerClient::new(transport.clone()).sign_in(&credentials).await.unwrap().token;
    ManagerClient::new(transport.with_bearer(Some(token)))
}

fn job(kind: JobType, args: JobArgs) -> CreateJobRequest {
    CreateJobRequest {
        kind,
        args,
        bio: String::new(),
        user_id: None,
        scheduler_cluster_ids: Vec::new(),
        seed_peer_cluster_ids: Vec::new(),
    }
}

fn image(cluster: &Cluster, reference: &str, scope: PreheatScope) -> JobArgs {
    let url = format!("{}/v2/{REPOSITORY}/manifests/{reference}", cluster.registry.base_url());
    let (subject, url, scope) = (Some(JobSubject::Image), Some(url), Some(scope));
    JobArgs { subject, url, scope, ..JobArgs::default() }
}

async fn ended(root: &ManagerClient, id: i64) -> Job {
    let look = async || Ok(Some(root.get_job(id).await?).filter(|job| job.state.has_ended()));
    until("the job ends", PATIENCE, look).await.unwrap()
}

async fn done(root: &ManagerClient, kind: JobType, args: JobArgs) -> Job {
    let asked = root.create_job(&job(kind, args)).await.unwrap();
    let job = ended(root, asked.id).await;
    assert_eq!(job.state, JobState::Success, "{:?}", job.result);
    job
}

async fn failed(root: &ManagerClient, args: JobArgs) -> String {
    let asked = root.create_job(&job(JobType::Preheat, args)).await.unwrap();
    let job = ended(root, asked.id).await;
    assert_eq!(job.state, JobState::Failure, "{:?}", job.result);
    job.result.job_states[0].error.clone()
}

/// Body bytes that the registry has sent of all layers.
fn served(cluster: &Cluster) -> Vec<u64> {
    cluster.image.blobs().map(|blob| cluster.served_bytes(blob)).collect()
}

fn sizes(cluster: &Cluster) -> Vec<u64> {
    cluster.image.blobs().map(|blob| blob.size_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_after_a_preheat_takes_nothing_from_the_registry() {
    let cluster = Cluster::start(5 * MIB).await;
    let root = root(&cluster).await;
    let job = done(&root, JobType::Preheat, image(&cluster, "v1", PreheatScope::AllPeers)).await;
    assert_eq!(served(&cluster), sizes(&cluster), "each once");
    let progress = job.result.job_states[0].progress;
    assert_eq!((progress.peers, progress.peers_done, progress.tasks), (3, 3, progress.tasks_done));
    assert_eq!(progress.bytes, progress.bytes_done);
    let result = &job.result.job_states[0].results[0];
    assert_eq!((result.success_tasks.len() as u32, result.failure_tasks.len()), (3 * progress.tasks, 0));
    for peer in 1..=2 {
        cluster.pull_manifest(peer).await;
        for layer in &cluster.image.layers {
            assert_eq!(cluster.pull(peer, layer).await, layer.bytes);
            assert_eq!(crate::cluster::received(cluster.peer(peer), layer).origin_bytes, 0);
        }
    }
    assert_eq!(served(&cluster), sizes(&cluster), "and never again");

    let distribution = done(
        &root,
        JobType::GetImageDistribution,
        JobArgs { subject: None, scope: None, ..image(&cluster, "v1", PreheatScope::AllPeers) },
    )
    .await;
    let peers = &distribution.result.job_states[0].results[0].peers;
    assert!(
        peers.len() == 3 && peers.iter().all(|peer| peer.task_finished && peer.cached_layers.len() == 2),
        "{peers:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_seed_is_enough_for_all_who_come_later() {
    let cluster = Cluster::start(5 * MIB).await;
    let root = root(&cluster).await;
    let job = done(&root, JobType::Preheat, image(&cluster, "v1", PreheatScope::SingleSeedPeer)).await;
    let tasks = &job.result.job_states[0].results[0].success_tasks;
    assert!(tasks.iter().all(|task| task.hostname == "seed-peer"), "{tasks:?}");
    assert_eq!(cluster.pull(1, cluster.layer()).await, cluster.layer().bytes);
    assert_eq!(served(&cluster), sizes(&cluster));
    done(&root, JobType::Preheat, image(&cluster, "v1", PreheatScope::AllPeers)).await;
    assert_eq!(served(&cluster), sizes(&cluster), "what the cluster has is not fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_is_preheated_with_its_credentials_and_with_no_others() {
    let access = || RegistryAccess::Token { user: "ann".to_owned(), password: "secret".to_owned() };
    let cluster = Cluster::with(access(), 3 * MIB).await;
    let root = root(&cluster).await;
    let args = || image(&cluster, "v1", PreheatScope::AllPeers);
    let with = |password: &str| JobArgs { username: Some("ann".into()), password: Some(password.into()), ..args() };
    for wrong in [args(), with("wrong")] {
        let why = failed(&root, wrong).await;
        assert!(why.contains("401") && !why.contains("wrong"), "{why}");
    }
    assert_eq!(served(&cluster).iter().sum::<u64>(), 0);
    done(&root, JobType::Preheat, with("secret")).await;
    assert_eq!(served(&cluster), sizes(&cluster), "each once, and by the seed");
    assert_eq!(cluster.get(1, cluster.layer()).send().await.unwrap().status(), 401, "a stranger gets nothing of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_image_is_the_reason() {
    let cluster = Cluster::start(MIB).await;
    let root = root(&cluster).await;
    let why = failed(&root, image(&cluster, "v9", PreheatScope::SingleSeedPeer)).await;
    assert!(why.contains("v9") && why.contains("404"), "{why}");
    let elsewhere = JobArgs {
        url: Some("http://127.0.0.1:1/v2/a/manifests/1".into()),
        ..image(&cluster, "v1", PreheatScope::SingleSeedPeer)
    };
    let why = failed(&root, elsewhere).await;
    assert!(why.contains("127.0.0.1") && why.contains("not allowed"), "{why}");
    let absent = JobArgs { ips: vec!["192.0.2.7".into()], ..image(&cluster, "v1", PreheatScope::AllPeers) };
    let why = failed(&root, absent).await;
    assert!(why.contains("192.0.2.7"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_preheated_found_and_deleted() {
    let origin = FakeOrigin::start().await.unwrap();
    let body = random_bytes(1, 3 * MIB);
    origin.put("a", Content::new(body.clone()));
    let base = origin.base_url();
    let cluster = Cluster::changed(RegistryAccess::Open, 1000, move |options| options.allow.push(base)).await;
    let root = root(&cluster).await;
    let url = origin.url("a");
    let named = || JobArgs { url: Some(url.clone()), tag: Some("t".into()), ..JobArgs::default() };
    let preheat = JobArgs { subject: Some(JobSubject::File), scope: Some(PreheatScope::AllPeers), ..named() };
    done(&root, JobType::Preheat, preheat).await;
    let sent = origin.stats("a").bytes;
    assert_eq!(sent, body.len() as u64);
    let (fetched, status) = fetch_file(cluster.peer(1), url.clone()).await;
    assert!(fetched.unwrap() == body && status.received.origin_bytes == 0);
    assert_eq!(origin.stats("a").bytes, sent);

    let found = done(&root, JobType::GetTask, named()).await;
    assert_eq!(found.result.job_states[0].results[0].peers.len(), 3);
    done(&root, JobType::DeleteTask, named()).await;
    let gone = async || {
        let found = done(&root, JobType::GetTask, named()).await;
        Ok(found.result.job_states[0].results[0].peers.is_empty().then_some(()))
    };
    until("nobody has it any more", PATIENCE, gone).await.unwrap();
    let hosts = done(&root, JobType::SyncPeers, JobArgs::default()).await;
    assert_eq!(hosts.result.job_states[0].results[0].peers.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_outlives_its_scheduler() {
    let cluster = Cluster::start(6 * MIB).await;
    let root = root(&cluster).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.hold_at(2 * MIB as u64));
    let asked = root.create_job(&job(JobType::Preheat, image(&cluster, "v1", PreheatScope::AllPeers))).await.unwrap();
    let begun = async || Ok((cluster.served_bytes(&layer) > 0).then_some(()));
    until("the layer is on its way", PATIENCE, begun).await.unwrap();
    cluster.platform.scheduler_stop.cancel();
    let _second = cluster.platform.start_scheduler(CancellationToken::new()).await.unwrap();
    cluster.release(&layer);
    let job = ended(&root, asked.id).await;
    assert_eq!(job.state, JobState::Success, "{:?}", job.result);
    assert_eq!(cluster.served_bytes(&layer), layer.size_bytes(), "what was there is not fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_ends_at_once_and_everywhere() {
    let cluster = Cluster::start(6 * MIB).await;
    let root = root(&cluster).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.hold_at(2 * MIB as u64));
    let asked =
        root.create_job(&job(JobType::Preheat, image(&cluster, "v1", PreheatScope::SingleSeedPeer))).await.unwrap();
    let begun = async || Ok((cluster.served_bytes(&layer) > 0).then_some(()));
    until("the layer is on its way", PATIENCE, begun).await.unwrap();
    assert_eq!(root.cancel_job(asked.id).await.unwrap().state, JobState::Failure);
    let idle = async || {
        let active = cluster.registry.blob_stats(REPOSITORY, &layer.digest).active;
        Ok((active == 0).then_some(()))
    };
    until("nobody fetches it any more", PATIENCE, idle).await.unwrap();
    assert_eq!(root.get_job(asked.id).await.unwrap().result.job_states[0].error, "cancelled by root");
}
