//! Jobs: from the manager, through the hosts, back to the manager. The hosts here are calls of the client.

use std::time::Duration;

use df_api::HostId;
use df_api::cluster::{Place, Role};
use df_api::manager::{JobArgs, JobAssignment, JobReport, JobState, JobSubject, JobType, PreheatScope};
use df_api::scheduler::{
    Duty, DutyOutcome, DutyReport, DutyState, DutyTask, HostReport, ImageDuty, ResolvedContent, Work,
};
use df_api::task::{Origin, TaskSpec};
use df_client::SchedulerClient;
use df_testkit::until;
use scheduler::config::Join;

use crate::access::start_under;
use crate::fake_manager::FakeManager;
use crate::{LONG, Running, client, holding, host_report, task};

const IMAGE: &str = "https://registry.example/v2/team/app/manifests/1";

struct Lab {
    manager: FakeManager,
    scheduler: Running,
}

/// A host, by its own credential.
struct Node {
    id: HostId,
    client: SchedulerClient,
    report: HostReport,
}

impl Lab {
    async fn start() -> Self {
        let manager = FakeManager::start().await;
        let scheduler = start_under(&manager, Join::Token).await;
        Self { manager, scheduler }
    }

    async fn node(&self, name: &str, report: HostReport) -> Node {
        let role = if report.seed { Role::SeedPeer } else { Role::Peer };
        let place = Place { hostname: name.to_owned(), ip: "10.0.0.7".to_owned(), ..Place::default() };
        let report = HostReport { place, ..report };
        let credential = self.manager.credential_of(name, 2, role);
        let node = Node { id: id(name), client: client(&self.scheduler.url, Some(&credential)), report };
        node.announce(Duration::ZERO, Vec::new()).await;
        node
    }

    /// Its number.
    fn give(&self, kind: JobType, args: JobArgs, has_secrets: bool) -> i64 {
        let id = i64::try_from(crate::seq()).unwrap();
        let job = JobAssignment { id, attempt: 1, job_id: 3, kind, args, has_secrets, left_ms: 60_000 };
        self.manager.jobs.lock().push(job);
        id
    }

    async fn ended(&self) -> JobReport {
        eventually("the job ends", async || self.manager.jobs.lock().is_empty()).await;
        let reports = self.manager.reports.lock();
        reports.iter().find(|report| report.state.has_ended()).cloned().expect("it was told how")
    }
}

impl Node {
    async fn announce(&self, wait: Duration, duties_taken: Vec<u64>) -> Vec<Duty> {
        let report = HostReport { seq: crate::seq(), duties_taken, ..self.report.clone() };
        self.client.report_host(&self.id, &report, wait).await.unwrap().duties
    }

    /// The next that it is to do.
    async fn duty(&self) -> Duty {
        loop {
            if let Some(duty) = self.announce(LONG, Vec::new()).await.into_iter().next() {
                self.announce(Duration::ZERO, vec![duty.id]).await;
                return duty;
            }
        }
    }

    async fn say(&self, duty: &Duty, report: &DutyReport) -> Option<u16> {
        self.client.report_duty(&self.id, duty.id, report).await.err().and_then(|error| error.status())
    }

    async fn resolve(&self) {
        let duty = self.duty().await;
        assert!(matches!(&duty.work, Work::Resolve(ImageDuty { url, .. }) if url == IMAGE), "{duty:?}");
        let contents = vec![content("a", 10), content("b", 20)];
        assert_eq!(self.say(&duty, &DutyReport { contents, ..said(DutyState::Done, "") }).await, None);
    }

    async fn hold(&self) -> Duty {
        let duty = self.duty().await;
        assert!(matches!(&duty.work, Work::Hold(hold) if hold.tasks.len() == 2), "{duty:?}");
        duty
    }

    async fn has(&self, duty: &Duty) {
        let task = DutyTask { outcome: DutyOutcome::Done, length: Some(10), held_bytes: 10, error: String::new() };
        let report = DutyReport { tasks: vec![task.clone(), task], ..said(DutyState::Done, "") };
        assert_eq!(self.say(duty, &report).await, None);
    }
}

/// As a daemon is called.
fn id(name: &str) -> HostId {
    HostId::of(name, "10.0.0.7:4001".parse().unwrap()).unwrap()
}

async fn eventually(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    until(what, LONG, async || Ok(probe().await.then_some(()))).await.unwrap();
}

fn content(name: &str, length: u64) -> ResolvedContent {
    let digest = format!("sha256:{}", name.repeat(64)).parse().unwrap();
    let origin = Origin::new(format!("https://registry.example/v2/team/app/blobs/{digest}"));
    ResolvedContent { task: TaskSpec::new(origin, Some(digest)), length, is_layer: true }
}

fn said(state: DutyState, error: &str) -> DutyReport {
    DutyReport { state, error: error.to_owned(), contents: Vec::new(), tasks: Vec::new() }
}

fn image(scope: PreheatScope) -> JobArgs {
    let (subject, url, scope) = (Some(JobSubject::Image), Some(IMAGE.to_owned()), Some(scope));
    JobArgs { subject, url, scope, ..JobArgs::default() }
}

#[tokio::test]
async fn an_image_is_resolved_and_held_by_a_seed() {
    let lab = Lab::start().await;
    let seed = lab.node("seed", host_report("seed")).await;
    lab.give(JobType::Preheat, image(PreheatScope::SingleSeedPeer), false);
    seed.resolve().await;
    let duty = seed.hold().await;
    let begun = DutyTask { outcome: DutyOutcome::Running, length: Some(10), held_bytes: 4, error: String::new() };
    assert_eq!(seed.say(&duty, &DutyReport { tasks: vec![begun], ..said(DutyState::Running, "") }).await, None);
    eventually("progress is told", async || {
        lab.manager.reports.lock().iter().any(|report| report.progress.bytes_done == 4 && report.progress.bytes == 30)
    })
    .await;
    seed.has(&duty).await;
    let report = lab.ended().await;
    assert_eq!((report.state, report.error.as_str()), (JobState::Success, ""));
    let result = report.result.unwrap();
    assert_eq!((result.scheduler_cluster_id, result.success_tasks.len(), result.failure_tasks.len()), (2, 2, 0));
    assert_eq!(result.success_tasks[0].hostname, "seed");
    assert_eq!(seed.say(&duty, &said(DutyState::Running, "")).await, Some(404), "nobody wants to know any more");
}

#[tokio::test]
async fn a_seed_that_fails_is_followed_by_another_and_the_last_reason_is_told() {
    let lab = Lab::start().await;
    let seeds = [lab.node("seed1", host_report("seed1")).await, lab.node("seed2", host_report("seed2")).await];
    lab.give(JobType::Preheat, image(PreheatScope::SingleSeedPeer), false);
    let fail = async |node: &Node| {
        let duty = node.duty().await;
        node.say(&duty, &said(DutyState::Failed, "there is no\0 tag 1")).await;
    };
    tokio::join!(fail(&seeds[0]), fail(&seeds[1]));
    let report = lab.ended().await;
    assert!(report.state == JobState::Failure && report.error.ends_with(": there is no tag 1"), "{}", report.error);
}

#[tokio::test]
async fn with_secrets_peers_begin_when_a_seed_leads_and_get_none() {
    let lab = Lab::start().await;
    let (seed, peer) = (lab.node("seed", host_report("seed")).await, lab.node("a", host_report("a")).await);
    let id = lab.give(JobType::Preheat, image(PreheatScope::AllPeers), true);
    seed.resolve().await;
    let duty = seed.hold().await;
    let Work::Hold(hold) = &duty.work else { panic!() };
    assert_eq!((hold.from_peers, hold.secrets_of), (false, Some(id)));
    assert!(peer.announce(Duration::from_secs(1), Vec::new()).await.is_empty(), "there is no source yet");
    seed.has(&duty).await;
    let duty = peer.hold().await;
    let Work::Hold(hold) = &duty.work else { panic!() };
    assert_eq!((hold.from_peers, hold.secrets_of), (true, None));
    peer.has(&duty).await;
    let result = lab.ended().await.result.unwrap();
    assert_eq!(result.success_tasks.len(), 4);
}

#[tokio::test]
async fn who_leaves_has_failed_and_the_others_count() {
    let lab = Lab::start().await;
    let (seed, peer) = (lab.node("seed", host_report("seed")).await, lab.node("a", host_report("a")).await);
    lab.give(JobType::Preheat, image(PreheatScope::AllPeers), false);
    seed.resolve().await;
    let (at_seed, _) = tokio::join!(seed.hold(), peer.hold());
    peer.client.delete_host(&peer.id, crate::seq()).await.unwrap();
    seed.has(&at_seed).await;
    let report = lab.ended().await;
    assert_eq!((report.state, report.error.as_str()), (JobState::Failure, "1 of 2 hosts failed; a: it has left"));
    let result = report.result.unwrap();
    assert_eq!((result.success_tasks.len(), result.failure_tasks.len()), (2, 2));
}

#[tokio::test]
async fn without_a_seed_nobody_is_sent_with_secrets() {
    let lab = Lab::start().await;
    let _peer = lab.node("a", host_report("a")).await;
    lab.give(JobType::Preheat, image(PreheatScope::AllPeers), true);
    let report = lab.ended().await;
    assert_eq!(report.error, "this cluster has no seed peer that can store it");
}

#[tokio::test]
async fn a_task_is_found_and_deleted_where_it_is() {
    let lab = Lab::start().await;
    let holder = lab.node("a", holding("a")).await;
    let _other = lab.node("b", host_report("b")).await;
    let named = || JobArgs { task_id: Some(task().to_string()), ..JobArgs::default() };
    lab.give(JobType::GetTask, named(), false);
    let peers = lab.ended().await.result.unwrap().peers;
    assert_eq!(peers.iter().map(|peer| (&*peer.hostname, peer.task_finished)).collect::<Vec<_>>(), [("a", true)]);
    lab.manager.reports.lock().clear();

    lab.give(JobType::DeleteTask, named(), false);
    let duty = holder.duty().await;
    assert_eq!(duty.work, Work::Drop(vec![task()]));
    let gone = DutyTask { outcome: DutyOutcome::Done, length: None, held_bytes: 0, error: String::new() };
    holder.say(&duty, &DutyReport { tasks: vec![gone], ..said(DutyState::Done, "") }).await;
    assert_eq!(lab.ended().await.result.unwrap().success_tasks.len(), 1);
}

#[tokio::test]
async fn what_the_manager_takes_away_is_dropped() {
    let lab = Lab::start().await;
    let seed = lab.node("seed", host_report("seed")).await;
    lab.give(JobType::Preheat, image(PreheatScope::SingleSeedPeer), false);
    let duty = seed.duty().await;
    lab.manager.jobs.lock().clear();
    eventually("the host is told", async || seed.say(&duty, &said(DutyState::Running, "")).await == Some(404)).await;
}
