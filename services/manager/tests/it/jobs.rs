//! Jobs, from asking to the end: the schedulers here are calls of the client, so that every moment can be looked at.

use std::time::Duration;

use df_api::cluster::Role;
use df_api::manager::{
    ClusterResult, CreateClusterRequest, CreateJobRequest, CreatePreheatRequest, Job, JobArgs, JobProgress, JobReport,
    JobState, JobSubject, JobSyncRequest, JobSyncResponse, JobTask, JobType, PersistentCacheTask, PreheatStatus, Scope,
    UpdateClusterRequest,
};
use df_client::{ClientError, ManagerClient, http_client};
use df_testkit::TestDatabase;
use manager::Join;
use serde_json::{Value, json};

use crate::running::{
    Running, SQLITE, ask, eventually, new_token, on_every_database, place, refusal, scheduler, seed_peer, with,
};

on_every_database! {
    a_job_is_taken_done_and_told,
    a_job_waits_for_whoever_comes_and_moves_on_when_its_holder_is_silent,
    what_a_former_holder_says_changes_nothing,
    answers_that_got_lost_do_not_pile_up,
    a_job_of_several_clusters_is_what_they_are,
    one_that_is_cancelled_is_taken_away_and_can_be_retried,
    what_is_overdue_has_failed,
    secrets_are_for_seed_peers_and_end_with_the_job,
    nobody_waits_for_a_job_that_nobody_can_do,
    a_cluster_takes_so_many_jobs_per_second,
    a_job_goes_with_its_cluster,
    a_waiting_scheduler_is_answered_when_a_job_comes_at_another_manager,
    imported_contents_are_asked_of_a_scheduler,
}

const NOW: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(20);
const IMAGE: &str = "https://registry.example/v2/library/alpine/manifests/3.20";

fn preheat() -> CreateJobRequest {
    let args = JobArgs { subject: Some(JobSubject::Image), url: Some(IMAGE.to_owned()), ..JobArgs::default() };
    CreateJobRequest {
        kind: JobType::Preheat,
        args,
        bio: String::new(),
        user_id: None,
        scheduler_cluster_ids: Vec::new(),
        seed_peer_cluster_ids: Vec::new(),
    }
}

fn syncing(cluster: i64, name: &str, jobs: Vec<JobReport>) -> JobSyncRequest {
    JobSyncRequest {
        scheduler_cluster_id: cluster,
        hostname: name.into(),
        holder: format!("{name}-process"),
        room: 10,
        jobs,
    }
}

fn report(told: &JobSyncResponse, state: JobState) -> JobReport {
    let job = &told.jobs[0];
    let progress = JobProgress { tasks: 3, tasks_done: 1, peers: 1, peers_done: 0, bytes: 10, bytes_done: 4 };
    let (error, result) = match state {
        JobState::Failure => ("no such tag".to_owned(), None),
        JobState::Success => (String::new(), Some(done())),
        _ => (String::new(), None),
    };
    JobReport { id: job.id, attempt: job.attempt, state, error, progress, result }
}

fn done() -> ClusterResult {
    let task = JobTask {
        url: "https://registry.example/v2/library/alpine/blobs/x".into(),
        hostname: "seed".into(),
        ..JobTask::default()
    };
    ClusterResult { scheduler_cluster_id: 1, success_tasks: vec![task], ..ClusterResult::default() }
}

/// A manager with one live scheduler in cluster 1.
async fn manned(database: TestDatabase) -> (Running, ManagerClient, ManagerClient) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    component.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    (manager, root, component)
}

fn part(job: &Job) -> (JobState, String) {
    let part = &job.result.job_states[0];
    (part.state, part.error.clone())
}

async fn a_job_is_taken_done_and_told(database: TestDatabase) {
    let (_manager, root, component) = manned(database).await;
    let job = root.create_job(&preheat()).await.unwrap();
    assert_eq!((job.state, job.user_id, job.scheduler_clusters.len()), (JobState::Pending, 1, 1));
    assert!(job.task_id.starts_with("group_") && job.result.group_uuid == job.task_id);

    let told = component.sync_jobs(&syncing(1, "s1", Vec::new()), NOW).await.unwrap();
    let given = &told.jobs[0];
    assert_eq!((given.job_id, given.kind, given.has_secrets), (job.id, JobType::Preheat, false));
    assert_eq!(given.args.url.as_deref(), Some(IMAGE));
    assert!(given.left_ms > 3_500_000, "{}", given.left_ms);
    assert_eq!(root.get_job(job.id).await.unwrap().state, JobState::Started);
    let again = component.sync_jobs(&syncing(1, "s1", Vec::new()), NOW).await.unwrap();
    assert_eq!(
        (again.jobs[0].id, again.jobs[0].attempt),
        (given.id, given.attempt),
        "an answer that got lost is given again"
    );
    assert!(component.sync_jobs(&syncing(1, "s2", Vec::new()), NOW).await.unwrap().jobs.is_empty(), "it has a holder");

    let running = report(&told, JobState::Started);
    component.sync_jobs(&syncing(1, "s1", vec![running.clone()]), NOW).await.unwrap();
    assert_eq!(root.get_job(job.id).await.unwrap().result.job_states[0].progress, running.progress);

    let ended = syncing(1, "s1", vec![report(&told, JobState::Success)]);
    assert!(component.sync_jobs(&ended, NOW).await.unwrap().jobs.is_empty());
    assert!(component.sync_jobs(&ended, NOW).await.unwrap().jobs.is_empty(), "said twice, ended once");
    let job = root.get_job(job.id).await.unwrap();
    assert_eq!((job.state, part(&job)), (JobState::Success, (JobState::Success, String::new())));
    assert_eq!(job.result.job_states[0].results, [done()]);

    let listed = root.list_jobs().await.unwrap();
    assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), [job.id]);
    root.delete_job(job.id).await.unwrap();
    assert_eq!(refusal(root.get_job(job.id).await), (404, format!("there is no job {}", job.id)));
}

async fn a_job_waits_for_whoever_comes_and_moves_on_when_its_holder_is_silent(database: TestDatabase) {
    let (manager, root, component) = manned(database).await;
    let asking = tokio::spawn({
        let component = component.clone();
        async move { component.sync_jobs(&syncing(1, "s1", Vec::new()), LONG).await }
    });
    let job = root.create_job(&preheat()).await.unwrap();
    let first = asking.await.unwrap().unwrap();
    assert_eq!(first.jobs[0].job_id, job.id, "who waits is answered");
    manager.sql("UPDATE job_parts SET lease_until_ms = 1").await;
    let second = component.sync_jobs(&syncing(1, "s2", Vec::new()), NOW).await.unwrap();
    assert_eq!((second.jobs[0].id, second.jobs[0].attempt), (first.jobs[0].id, first.jobs[0].attempt + 1));
    // The clock was set back by a month while the second had it, and the second is gone.
    manager.sql("UPDATE job_parts SET lease_until_ms = lease_until_ms + 2592000000").await;
    let third = component.sync_jobs(&syncing(1, "s3", Vec::new()), NOW).await.unwrap();
    assert_eq!(third.jobs[0].attempt, second.jobs[0].attempt + 1, "no lease lasts for ever");
}

async fn what_a_former_holder_says_changes_nothing(database: TestDatabase) {
    let (manager, root, component) = manned(database).await;
    let job = root.create_job(&preheat()).await.unwrap();
    let first = component.sync_jobs(&syncing(1, "s1", Vec::new()), NOW).await.unwrap();
    manager.sql("UPDATE job_parts SET lease_until_ms = 1").await;
    let second = component.sync_jobs(&syncing(1, "s2", Vec::new()), NOW).await.unwrap();
    let late = component.sync_jobs(&syncing(1, "s1", vec![report(&first, JobState::Failure)]), NOW).await.unwrap();
    assert!(late.jobs.is_empty(), "it is told to drop it");
    assert_eq!(root.get_job(job.id).await.unwrap().state, JobState::Started);
    component.sync_jobs(&syncing(1, "s2", vec![report(&second, JobState::Success)]), NOW).await.unwrap();
    assert_eq!(root.get_job(job.id).await.unwrap().state, JobState::Success);
}

async fn answers_that_got_lost_do_not_pile_up(database: TestDatabase) {
    let (_manager, root, component) = manned(database).await;
    let mut limits = root.get_cluster(1).await.unwrap().scheduler_cluster_config;
    limits.job_rate_limit = 1_000;
    let change = UpdateClusterRequest { scheduler_cluster_config: Some(limits), ..UpdateClusterRequest::default() };
    root.update_cluster(1, &change).await.unwrap();
    for _ in 0..110 {
        root.create_job(&preheat()).await.unwrap();
    }
    let greedy = JobSyncRequest { room: 60, ..syncing(1, "s1", Vec::new()) };
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(component.sync_jobs(&greedy, NOW).await.unwrap().jobs.len());
    }
    assert_eq!(told, [60, 100, 100]);
}

async fn a_job_of_several_clusters_is_what_they_are(database: TestDatabase) {
    let (_manager, root, component) = manned(database).await;
    let other = CreateClusterRequest { name: "b".into(), ..CreateClusterRequest::default() };
    let other = root.create_cluster(&other).await.unwrap().id;
    component.renew_scheduler_lease(&scheduler("s2", other)).await.unwrap();
    let job = root.create_job(&preheat()).await.unwrap();
    assert_eq!(job.scheduler_clusters.iter().map(|cluster| cluster.id).collect::<Vec<_>>(), [1, other]);
    let here = component.sync_jobs(&syncing(1, "s1", Vec::new()), NOW).await.unwrap();
    component.sync_jobs(&syncing(1, "s1", vec![report(&here, JobState::Success)]), NOW).await.unwrap();
    assert_eq!(root.get_job(job.id).await.unwrap().state, JobState::Started, "one has ended, one has not begun");
    let there = component.sync_jobs(&syncing(other, "s2", Vec::new()), NOW).await.unwrap();
    component.sync_jobs(&syncing(other, "s2", vec![report(&there, JobState::Failure)]), NOW).await.unwrap();
    let ended = root.get_job(job.id).await.unwrap();
    assert_eq!((ended.state, &*ended.result.job_states[1].error), (JobState::Failure, "no such tag"));

    let retried = root.retry_job(job.id).await.unwrap();
    let states: Vec<_> = retried.result.job_states.iter().map(|part| part.state).collect();
    assert_eq!(states, [JobState::Success, JobState::Pending], "what has succeeded stays");
    assert!(component.sync_jobs(&syncing(1, "s1", Vec::new()), NOW).await.unwrap().jobs.is_empty());
    let again = component.sync_jobs(&syncing(other, "s2", Vec::new()), NOW).await.unwrap();
    component.sync_jobs(&syncing(other, "s2", vec![report(&again, JobState::Success)]), NOW).await.unwrap();
    assert_eq!(root.get_job(job.id).await.unwrap().state, JobState::Success);
    assert_eq!(refusal(root.retry_job(job.id).await).0, 409, "it has succeeded");
}

async fn one_that_is_cancelled_is_taken_away_and_can_be_retried(database: TestDatabase) {
    let (_manager, root, component) = manned(database).await;
    let waiting = root.create_job(&preheat()).await.unwrap();
    assert_eq!(part(&root.cancel_job(waiting.id).await.unwrap()), (JobState::Failure, "cancelled by root".to_owned()));
    assert!(component.sync_jobs(&syncing(1, "s1", Vec::new()), NOW).await.unwrap().jobs.is_empty());

    root.retry_job(waiting.id).await.unwrap();
    let told = component.sync_jobs(&syncing(1, "s1", Vec::new()), NOW).await.unwrap();
    let holding = syncing(1, "s1", vec![report(&told, JobState::Started)]);
    let held = tokio::spawn({
        let (component, holding) = (component.clone(), holding.clone());
        async move { component.sync_jobs(&holding, LONG).await }
    });
    root.cancel_job(waiting.id).await.unwrap();
    assert!(held.await.unwrap().unwrap().jobs.is_empty(), "who has it hears of it");
    component.sync_jobs(&syncing(1, "s1", vec![report(&told, JobState::Success)]), NOW).await.unwrap();
    assert_eq!(root.get_job(waiting.id).await.unwrap().state, JobState::Failure, "it came too late");
    assert_eq!(refusal(root.cancel_job(waiting.id).await).0, 409);

    let running = root.create_job(&preheat()).await.unwrap();
    let told = component.sync_jobs(&syncing(1, "s1", Vec::new()), NOW).await.unwrap();
    root.delete_job(running.id).await.unwrap();
    let after = component.sync_jobs(&syncing(1, "s1", vec![report(&told, JobState::Started)]), NOW).await.unwrap();
    assert!(after.jobs.is_empty(), "deleted is cancelled");
}

async fn what_is_overdue_has_failed(database: TestDatabase) {
    let (manager, root, _) = manned(database).await;
    let (one, other) = (root.create_job(&preheat()).await.unwrap(), root.create_job(&preheat()).await.unwrap());
    manager.sql("UPDATE jobs SET ends_at_ms = 1").await;
    assert_eq!(
        part(&root.get_job(one.id).await.unwrap()),
        (JobState::Failure, "its time is over (timeout)".to_owned())
    );
    assert_eq!(root.list_jobs().await.unwrap().iter().find(|job| job.id == other.id).unwrap().state, JobState::Failure);
}

async fn secrets_are_for_seed_peers_and_end_with_the_job(database: TestDatabase) {
    let (manager, root, component) = manned(database).await;
    component.renew_seed_peer_lease(&seed_peer("p1", 1)).await.unwrap();
    let mut new = preheat();
    (new.args.username, new.args.password) = (Some("bot".into()), Some("hunter2-hunter2".into()));
    new.args.headers.insert("x-token".into(), "hunter2-header".into());
    let job = root.create_job(&new).await.unwrap();
    let told = component.sync_jobs(&syncing(1, "s1", Vec::new()), NOW).await.unwrap();
    assert!(told.jobs[0].has_secrets && !told.jobs[0].args.has_secrets(), "schedulers get none");
    let id = told.jobs[0].id;

    let credential = async |hostname: &str, seed_peer: bool| {
        let mut asked = df_api::manager::DiscoveryRequest { place: place(hostname, "10.9.9.9"), ..Default::default() };
        asked.seed_peer = seed_peer;
        with(&manager.url, &ask(&component, &asked).await.unwrap().membership.credential)
    };
    let secrets = credential("p1", true).await.get_job_secrets(id).await.unwrap();
    assert_eq!((secrets.username.as_deref(), secrets.password.as_deref()), (Some("bot"), Some("hunter2-hunter2")));
    assert_eq!(secrets.headers["x-token"], "hunter2-header");
    for other in [credential("n1", false).await, component.clone(), root.clone()] {
        assert!(matches!(refusal(other.get_job_secrets(id).await).0, 401 | 403));
    }
    let stranger = manager.app.jwks();
    assert!(!serde_json::to_string(&stranger).unwrap().contains("hunter2"));
    let http = http_client();
    let token = manager.token_of("root").await;
    for path in ["jobs", &format!("jobs/{}", job.id), "audits"] {
        let url = format!("{}/api/v1/{path}", manager.url);
        let text = http.get(url).bearer_auth(&token).send().await.unwrap().text().await.unwrap();
        assert!(text.contains("created_at") && !text.contains("hunter2"), "{path}: {text}");
    }
    component.sync_jobs(&syncing(1, "s1", vec![report(&told, JobState::Failure)]), NOW).await.unwrap();
    assert_eq!(refusal(credential("p1", true).await.get_job_secrets(id).await).0, 404, "they are erased");
    assert_eq!(refusal(root.retry_job(job.id).await).0, 409, "and nobody has them any more");
}

async fn nobody_waits_for_a_job_that_nobody_can_do(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, component) = (manager.root().await, manager.component().await);
    let (status, why) = refusal(root.create_job(&preheat()).await);
    assert!(status == 409 && why.contains("no cluster has an active scheduler"), "{status} {why}");
    let named = |id: i64| CreateJobRequest { scheduler_cluster_ids: vec![id], ..preheat() };
    let (status, why) = refusal(root.create_job(&named(1)).await);
    assert!(status == 409 && why.contains("has no active scheduler"), "{status} {why}");
    component.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    assert_eq!(refusal(root.create_job(&named(77)).await), (404, "there is no cluster 77".to_owned()));
    assert!(root.list_jobs().await.unwrap().is_empty(), "nothing was written");
    let wrong = CreateJobRequest { args: JobArgs { percentage: Some(101), ..preheat().args }, ..preheat() };
    let (status, why) = refusal(root.create_job(&wrong).await);
    assert!(status == 422 && why.contains("percentage"), "{status} {why}");
    assert_eq!(root.create_job(&named(1)).await.unwrap().state, JobState::Pending);
}

async fn a_cluster_takes_so_many_jobs_per_second(database: TestDatabase) {
    let (manager, root, _) = manned(database).await;
    let mut limited = root.get_cluster(1).await.unwrap().scheduler_cluster_config;
    limited.job_rate_limit = 2;
    let change = UpdateClusterRequest { scheduler_cluster_config: Some(limited), ..UpdateClusterRequest::default() };
    root.update_cluster(1, &change).await.unwrap();
    // However slow this machine is.
    let far = "UPDATE job_parts SET created_at_ms = created_at_ms + 800";
    for _ in 0..2 {
        root.create_job(&preheat()).await.unwrap();
    }
    manager.sql(far).await;
    let (status, why) = eventually("the clock reaches them", async || {
        root.create_job(&preheat()).await.err().map(|error| refusal::<()>(Err(error)))
    })
    .await;
    assert!(status == 429 && why.contains("job_rate_limit"), "{status} {why}");
}

async fn a_job_goes_with_its_cluster(database: TestDatabase) {
    let (_manager, root, component) = manned(database).await;
    let other = CreateClusterRequest { name: "b".into(), ..CreateClusterRequest::default() };
    let other = root.create_cluster(&other).await.unwrap().id;
    let lease = component.renew_scheduler_lease(&scheduler("s2", other)).await.unwrap();
    let job = root.create_job(&CreateJobRequest { scheduler_cluster_ids: vec![other], ..preheat() }).await.unwrap();
    component.end_scheduler_lease(lease.id).await.unwrap();
    root.delete_cluster(other).await.unwrap();
    let job = root.get_job(job.id).await.unwrap();
    assert_eq!(part(&job), (JobState::Failure, "the cluster was deleted".to_owned()));
    assert_eq!(job.scheduler_clusters[0].name, "b", "it is told as it was");
}

async fn a_waiting_scheduler_is_answered_when_a_job_comes_at_another_manager(database: TestDatabase) {
    let (manager, root, _) = manned(database).await;
    let second = manager.second().await;
    let there = with(&second.url, &manager.app.mint_join_token("second", None).await.unwrap());
    let asking = tokio::spawn(async move { there.sync_jobs(&syncing(1, "s1", Vec::new()), LONG).await });
    let job = root.create_job(&preheat()).await.unwrap();
    assert_eq!(asking.await.unwrap().unwrap().jobs[0].job_id, job.id);
}

/// A scheduler that answers every job at once.
async fn answer_jobs(component: ManagerClient, answer: ClusterResult) -> Result<(), ClientError> {
    let mut reports = Vec::new();
    loop {
        let told = component.sync_jobs(&syncing(1, "s1", reports), LONG).await?;
        let ended = |job: &df_api::manager::JobAssignment| JobReport {
            id: job.id,
            attempt: job.attempt,
            state: JobState::Success,
            error: String::new(),
            progress: JobProgress::default(),
            result: Some(answer.clone()),
        };
        reports = told.jobs.iter().map(ended).collect();
    }
}

async fn imported_contents_are_asked_of_a_scheduler(database: TestDatabase) {
    let (_manager, root, component) = manned(database).await;
    let id = "ab".repeat(32);
    let task = PersistentCacheTask {
        id: id.clone(),
        persistent_replica_count: 1,
        piece_length: 4 << 20,
        content_length: 10,
        total_piece_count: 1,
        state: "Succeeded".into(),
        peers: Vec::new(),
    };
    let answer = ClusterResult { persistent_cache_tasks: vec![task.clone()], ..ClusterResult::default() };
    let scheduler = tokio::spawn(answer_jobs(component, answer));
    assert_eq!(root.list_persistent_cache_tasks(1).await.unwrap(), std::slice::from_ref(&task));
    assert_eq!(root.get_persistent_cache_task(1, &id).await.unwrap(), task);
    assert_eq!(refusal(root.get_persistent_cache_task(1, &"cd".repeat(32)).await).0, 404);
    root.delete_persistent_cache_task(1, &id).await.unwrap();
    assert!(root.list_jobs().await.unwrap().is_empty(), "questions leave nothing behind");
    scheduler.abort();
}

#[tokio::test]
async fn registries_speak_the_first_protocol() {
    let (manager, root, component) = manned(SQLITE).await;
    let token = root.create_personal_access_token(&new_token("harbor", vec![Scope::Job])).await.unwrap().token.unwrap();
    let harbor = manager.with(&token);
    manager.anonymous().get_ping().await.unwrap();
    let body = json!({ "type": "image", "url": IMAGE, "headers": { "Authorization": "Bearer x" }, "name": "library/alpine",
        "tag": "3.20", "digest": "sha256:0" });
    let asked = http_client().post(format!("{}/preheats", manager.url)).bearer_auth(&token).json(&body).send();
    let made: Value = asked.await.unwrap().json().await.unwrap();
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(harbor.get_preheat(&id).await.unwrap().status, PreheatStatus::Waiting);
    let told = component.sync_jobs(&syncing(1, "s1", Vec::new()), NOW).await.unwrap();
    assert_eq!(harbor.get_preheat(&id).await.unwrap().status, PreheatStatus::Running);
    component.sync_jobs(&syncing(1, "s1", vec![report(&told, JobState::Success)]), NOW).await.unwrap();
    let ended = harbor.get_preheat(&id).await.unwrap();
    assert!(ended.status == PreheatStatus::Success && !ended.finish_time.is_empty() && !ended.start_time.is_empty());
    assert_eq!(refusal(harbor.get_preheat("99").await).0, 404);
    let stranger = CreatePreheatRequest {
        subject: JobSubject::Image,
        url: IMAGE.into(),
        filtered_query_params: None,
        headers: Default::default(),
    };
    assert_eq!(refusal(manager.anonymous().create_preheat(&stranger).await).0, 401);
    let clusters = root.create_personal_access_token(&new_token("clusters", vec![Scope::Cluster])).await.unwrap();
    assert_eq!(refusal(manager.with(&clusters.token.unwrap()).create_preheat(&stranger).await).0, 403);
}

#[tokio::test]
async fn an_open_manager_keeps_no_secrets() {
    let manager = Running::start_with(SQLITE, |config| config.join = Join::Open).await;
    let (root, component) = (manager.root().await, manager.anonymous());
    component.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap();
    let mut new = preheat();
    (new.args.username, new.args.password) = (Some("bot".into()), Some("hunter2".into()));
    let (status, why) = refusal(root.create_job(&new).await);
    assert!(status == 422 && why.contains("join: open") && !why.contains("hunter2"), "{status} {why}");
}

#[tokio::test]
async fn a_member_takes_jobs_of_its_own_cluster_in_its_own_name_as_a_scheduler() {
    let (manager, root, component) = manned(SQLITE).await;
    root.create_job(&preheat()).await.unwrap();
    let credential = component.renew_scheduler_lease(&scheduler("s1", 1)).await.unwrap().membership.credential;
    let own = manager.with(&credential);
    assert_eq!(own.sync_jobs(&syncing(1, "s1", Vec::new()), NOW).await.unwrap().jobs.len(), 1);
    for (cluster, name) in [(1, "s2"), (2, "s1")] {
        assert_eq!(refusal(own.sync_jobs(&syncing(cluster, name, Vec::new()), NOW).await).0, 403);
    }
    let asked = df_api::manager::DiscoveryRequest { place: place("n1", "10.9.9.9"), ..Default::default() };
    let peer = ask(&component, &asked).await.unwrap().membership;
    assert_eq!(df_http::credential::verify(&peer.credential, &peer.jwks, 1).unwrap().role, Role::Peer);
    assert_eq!(refusal(manager.with(&peer.credential).sync_jobs(&syncing(1, "n1", Vec::new()), NOW).await).0, 403);
}

#[tokio::test]
async fn garbage_is_collected_when_somebody_asks() {
    let (manager, root, component) = manned(SQLITE).await;
    let old = root.create_job(&preheat()).await.unwrap();
    let told = component.sync_jobs(&syncing(1, "s1", Vec::new()), NOW).await.unwrap();
    component.sync_jobs(&syncing(1, "s1", vec![report(&told, JobState::Success)]), NOW).await.unwrap();
    let open = root.create_job(&preheat()).await.unwrap();
    manager.sql("UPDATE jobs SET updated_at_ms = 1").await;
    let args = JobArgs { subject: Some(JobSubject::Job), ..JobArgs::default() };
    let gc = root.create_job(&CreateJobRequest { kind: JobType::Gc, args, ..preheat() }).await.unwrap();
    assert_eq!(gc.state, JobState::Success);
    let left: Vec<i64> = root.list_jobs().await.unwrap().iter().map(|job| job.id).collect();
    assert_eq!(left, [gc.id, open.id], "{} is forgotten; what has not ended stays", old.id);
}
