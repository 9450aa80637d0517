//! What schedulers have this host do for jobs.

mod control;

use std::net::SocketAddr;

use df_api::cluster::{Jwks, Membership};
use df_api::dfdaemon::CreateTaskRequest;
use df_api::scheduler::{DutyOutcome, DutyReport, DutyState, HoldDuty, ImageDuty, Work};
use df_api::task::{Origin, TaskSpec};
use df_testkit::registry::{RegistryAccess, blob_name, manifest_name};
use df_testkit::{Content, DockerRegistry, Image, Layer, free_port, push_image, random_bytes, skip};
use dfdaemon::config::NetAddr;

use crate::node::{Node, REPOSITORY, wait_until};
use control::{ASSIGNMENT, CREDENTIAL, FakeManager, FakeScheduler};

const ANN: &str = "ann";
const PASSWORD: &str = "do-not-tell";

struct Site {
    node: Node,
    scheduler: FakeScheduler,
    manager: FakeManager,
    /// Of two platforms, `v2` in the registry.
    image: Image,
}

impl Site {
    async fn start(access: RegistryAccess) -> Self {
        Self::beside(access, None).await
    }

    /// With another registry that may be asked.
    async fn beside(access: RegistryAccess, other: Option<&DockerRegistry>) -> Self {
        let scheduler = FakeScheduler::start().await;
        let manager = FakeManager::start(ANN, PASSWORD).await;
        let address = |url: &str| NetAddr { kind: "tcp".to_owned(), addr: url.to_owned() };
        let node = Node::with(access, |config| {
            config.scheduler.net_addrs = vec![address(&scheduler.url)];
            config.scheduler.manager.net_addrs = vec![address(&manager.url)];
            config.upstream.allow.extend(other.map(DockerRegistry::base_url));
            config.scheduler.manager.join_token = Some("not-for-this".to_owned());
        })
        .await;
        let membership = Membership {
            cluster_id: 1,
            cluster_name: "a".to_owned(),
            credential: CREDENTIAL.to_owned(),
            jwks: Jwks { keys: Vec::new() },
        };
        node.daemon.peer.gate().admit(membership);
        let image = Image::build(7, &[Layer::gzip(3_000_000), Layer::zstd(2_000_000)]).unwrap().in_index();
        node.registry.add(REPOSITORY, "v2", &image);
        Self { node, scheduler, manager, image }
    }

    fn image_duty(&self, reference: &str, platform: Option<&str>) -> ImageDuty {
        let url = format!("{}/v2/{REPOSITORY}/manifests/{reference}", self.node.registry.base_url());
        ImageDuty { url, platform: platform.map(str::to_owned), secrets_of: None }
    }

    async fn resolve(&self, reference: &str, platform: Option<&str>) -> DutyReport {
        self.scheduler.done(Work::Resolve(self.image_duty(reference, platform))).await
    }

    async fn refusal(&self, reference: &str, platform: Option<&str>) -> String {
        let report = self.resolve(reference, platform).await;
        assert_eq!(report.state, DutyState::Failed, "{report:?}");
        report.error
    }

    fn file(&self, name: &str) -> TaskSpec {
        TaskSpec::for_programs(Origin::new(self.node.registry.origin().url(name)), None)
    }

    async fn hold(&self, duty: HoldDuty) -> DutyReport {
        self.scheduler.done(Work::Hold(duty)).await
    }

    /// GETs of all blobs of the image.
    fn gets(&self) -> u64 {
        let stats = |digest: &str| self.node.registry.blob_stats(REPOSITORY, digest);
        self.image.all_blobs().map(|blob| stats(&blob.digest)).map(|stats| stats.requests - stats.heads).sum()
    }

    /// As containerd pulls this platform's, with what opens the registry.
    async fn pull(&self, authorization: Option<&str>) {
        let get = async |path: String| {
            let request = self.node.get(&path);
            let request =
                authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            answer.bytes().await.unwrap()
        };
        assert_eq!(get(format!("{REPOSITORY}/manifests/v2")).await, self.image.top().bytes);
        let manifest = &self.image.manifest;
        assert_eq!(get(format!("{REPOSITORY}/manifests/{}", manifest.digest)).await, manifest.bytes);
        for blob in self.image.blobs() {
            assert!(get(self.node.blob_path(blob)).await == blob.bytes);
        }
    }
}

fn hold_of(tasks: Vec<TaskSpec>) -> HoldDuty {
    HoldDuty { tasks, from_peers: false, at_once: 4, secrets_of: None }
}

fn tasks_of(report: &DutyReport) -> Vec<TaskSpec> {
    assert_eq!(report.state, DutyState::Done, "{report:?}");
    report.contents.iter().map(|content| content.task.clone()).collect()
}

/// Digest, length, and whether it is a layer.
fn told(report: &DutyReport) -> Vec<(String, u64, bool)> {
    assert_eq!(report.state, DutyState::Done, "{report:?}");
    let told = |content: &df_api::scheduler::ResolvedContent| {
        (content.task.digest.clone().unwrap().to_string(), content.length, content.is_layer)
    };
    let mut told: Vec<_> = report.contents.iter().map(told).collect();
    told.sort();
    told
}

fn expected(manifests: &[&df_testkit::Blob], images: &[&Image]) -> Vec<(String, u64, bool)> {
    let small = manifests.iter().copied().chain(images.iter().flat_map(|image| [&image.manifest, &image.config]));
    let small = small.map(|blob| (blob.digest.clone(), blob.size_bytes(), false));
    let layers = images.iter().flat_map(|image| &image.layers);
    let mut all: Vec<_> = small.chain(layers.map(|blob| (blob.digest.clone(), blob.size_bytes(), true))).collect();
    all.sort();
    all
}

#[tokio::test]
async fn an_image_is_what_its_index_names_for_the_platform() {
    let site = Site::start(RegistryAccess::Open).await;
    let (index, image, other) = (site.image.top(), &site.image, site.image.other().unwrap());
    for reference in ["v2", &index.digest] {
        let report = site.resolve(reference, Some("linux/s390x")).await;
        assert_eq!(told(&report), expected(&[index], &[other]), "{reference}");
    }
    assert_eq!(told(&site.resolve("v2", None).await), expected(&[index], &[image, other]));
    // One without an index is for whoever pulls it.
    assert_eq!(told(&site.resolve("v1", Some("linux/arm64")).await), expected(&[], &[&site.node.image]));
    assert_eq!(site.gets(), 0, "what blobs are is not asked of the registry");
}

#[tokio::test]
async fn why_an_image_cannot_be_resolved_is_said() {
    let site = Site::start(RegistryAccess::Open).await;
    let registry = site.node.registry.base_url();
    let unknown = site.refusal("v9", None).await;
    for named in [&registry, "v9", "404", REPOSITORY] {
        assert!(unknown.contains(named), "{unknown}");
    }
    let platform = site.refusal("v2", Some("linux/riscv64")).await;
    assert!(platform.contains("linux/riscv64; there is linux/s390x, linux/"), "{platform}");
    assert!(site.refusal("v2", Some("linux")).await.contains("os/architecture"));
    for (url, named) in [
        ("http://127.0.0.1:1/v2/a/manifests/v1", "upstream.allow"),
        ("https://10.0.0.1/v2/a/manifests/v1", "upstream.allow"),
        ("https://ghcr.io/a:v1", "is not https://REGISTRY/v2/"),
    ] {
        let duty = ImageDuty { url: url.to_owned(), platform: None, secrets_of: None };
        let report = site.scheduler.done(Work::Resolve(duty)).await;
        assert!(report.state == DutyState::Failed && report.error.contains(named), "{report:?}");
    }
    let five_mib = vec![b' '; 5 << 20];
    let digest = format!("sha256:{}", df_testkit::sha256_hex(&five_mib));
    let manifest = |bytes: Vec<u8>| Content::new(bytes).header("content-type", df_testkit::image::MANIFEST_TYPE);
    let origin = site.node.registry.origin();
    origin.put(&manifest_name(REPOSITORY, "big"), manifest(five_mib).header("docker-content-digest", &digest));
    let long = site.refusal("big", None).await;
    assert!(long.contains("5242880") && long.contains("4194304") && long.contains(&digest), "{long}");
    let old = br#"{"schemaVersion":1,"fsLayers":[]}"#.to_vec();
    let digest = format!("sha256:{}", df_testkit::sha256_hex(&old));
    for name in ["old", &digest] {
        origin.put(&manifest_name(REPOSITORY, name), manifest(old.clone()).header("docker-content-digest", &digest));
    }
    assert!(site.refusal("old", None).await.contains("schema 1"));
}

#[tokio::test]
async fn an_index_in_an_index_is_followed_and_no_deeper() {
    let site = Site::start(RegistryAccess::Open).await;
    let twice = site.image.clone().in_index();
    site.node.registry.add(REPOSITORY, "twice", &twice);
    site.node.registry.add(REPOSITORY, "thrice", &twice.clone().in_index());
    let indexes: Vec<_> = twice.indexes.iter().collect();
    assert_eq!(told(&site.resolve("twice", None).await), expected(&indexes, &[&twice, twice.other().unwrap()]));
    assert!(site.refusal("thrice", None).await.contains("index in an index"));
}

#[tokio::test]
async fn what_was_held_is_pulled_without_asking_for_a_blob() {
    for access in [RegistryAccess::Open, RegistryAccess::AnonymousToken] {
        let site = Site::start(access).await;
        let resolved = tasks_of(&site.resolve("v2", None).await);
        let held = site.hold(hold_of(resolved)).await;
        assert_eq!(held.state, DutyState::Done, "{held:?}");
        assert!(
            held.tasks.iter().all(|task| task.outcome == DutyOutcome::Done && task.length == Some(task.held_bytes))
        );
        let before = site.gets();
        site.pull(None).await;
        assert_eq!(site.gets(), before);
    }
}

/// As a user names it: that it speaks plain HTTP is this node's to know.
#[tokio::test]
async fn an_image_of_a_real_registry_is_held_and_pulled() {
    if DockerRegistry::program_path().is_none() {
        return skip("docker-registry is not installed: `just setup test`");
    }
    let dir = tempfile::tempdir().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let registry = DockerRegistry::start(dir.path(), address, None).await.unwrap();
    let image = Image::build(5, &[Layer::gzip(2_000_000)]).unwrap().in_docker_types().in_index();
    push_image(&registry.base_url(), REPOSITORY, "v1", &image).await.unwrap();
    let site = Site::beside(RegistryAccess::Open, Some(&registry)).await;
    let url = format!("https://{address}/v2/{REPOSITORY}/manifests/v1");
    let duty = ImageDuty { url, platform: Some("linux/s390x".to_owned()), secrets_of: None };
    let resolved = site.scheduler.done(Work::Resolve(duty)).await;
    let other = image.other().unwrap();
    assert_eq!(told(&resolved), expected(&[image.top()], &[other]));
    let held = site.hold(hold_of(tasks_of(&resolved))).await;
    assert_eq!(held.state, DutyState::Done, "{held:?}");
    let gets = || {
        let accesses = registry.accesses().unwrap();
        accesses.iter().filter(|access| access.method == "GET" && access.path.contains("/blobs/")).count()
    };
    wait_until("the registry has logged what it gave", || gets() >= 2).await;
    let before = gets();
    for (folder, blob) in
        std::iter::once(("manifests", &other.manifest)).chain(other.blobs().map(|blob| ("blobs", blob)))
    {
        let mirror = site.node.daemon.local_addr;
        let pulled = format!("http://{mirror}/v2/{REPOSITORY}/{folder}/{}?ns={address}", blob.digest);
        assert!(site.node.http.get(pulled).send().await.unwrap().bytes().await.unwrap() == blob.bytes);
    }
    assert_eq!(gets(), before);
}

#[tokio::test]
async fn a_private_image_is_held_with_the_secrets_of_its_job() {
    let (user, password) = (ANN.to_owned(), PASSWORD.to_owned());
    for access in [
        RegistryAccess::Token { user: user.clone(), password: password.clone() },
        RegistryAccess::Basic { user, password },
    ] {
        let site = Site::start(access.clone()).await;
        let refused = site.refusal("v2", None).await;
        assert!(refused.contains("401") && refused.contains(&site.node.registry.base_url()), "{refused}");
        let duty = ImageDuty { secrets_of: Some(ASSIGNMENT), ..site.image_duty("v2", None) };
        let resolved = site.scheduler.done(Work::Resolve(duty)).await;
        let tasks = tasks_of(&resolved);
        let as_text = serde_json::to_string(&resolved).unwrap();
        assert!(!as_text.contains("fake-token") && !as_text.contains("Basic"), "{as_text}");
        let held = site.hold(HoldDuty { secrets_of: Some(ASSIGNMENT), ..hold_of(tasks) }).await;
        assert_eq!(held.state, DutyState::Done, "{held:?}");
        assert!(site.manager.asked() >= 2, "one for each duty");
        let before = site.gets();
        match access {
            RegistryAccess::Token { .. } => site.pull(Some("Bearer fake-token-0")).await,
            _ => {
                let request = site.node.http.get("http://x").basic_auth(ANN, Some(PASSWORD)).build().unwrap();
                site.pull(request.headers()["authorization"].to_str().ok()).await;
            }
        }
        assert_eq!(site.gets(), before);
        assert_eq!(site.node.get(&site.node.blob_path(&site.image.layers[0])).send().await.unwrap().status(), 401);
    }
}

#[tokio::test]
async fn secrets_that_open_nothing_are_said_to() {
    let access = RegistryAccess::Token { user: ANN.to_owned(), password: "another".to_owned() };
    let site = Site::start(access).await;
    for (secrets_of, named) in [(ASSIGNMENT, "does not take the job's user name"), (ASSIGNMENT + 1, "manager")] {
        let duty = ImageDuty { secrets_of: Some(secrets_of), ..site.image_duty("v2", None) };
        let report = site.scheduler.done(Work::Resolve(duty)).await;
        assert!(report.error.contains(named) && !report.error.contains(PASSWORD), "{report:?}");
    }
}

#[tokio::test]
async fn a_token_that_expires_half_way_is_replaced() {
    let site = Site::start(RegistryAccess::Token { user: ANN.to_owned(), password: PASSWORD.to_owned() }).await;
    let duty = ImageDuty { secrets_of: Some(ASSIGNMENT), ..site.image_duty("v2", None) };
    let mut tasks = tasks_of(&site.scheduler.done(Work::Resolve(duty)).await);
    let slow = blob_name(REPOSITORY, &site.image.layers[0].digest);
    tasks.sort_by_key(|task| !task.origin.url.ends_with(&slow));
    let origin = site.node.registry.origin();
    origin.change(&slow, |content| content.hold_at(1_000_000));
    let id = site.scheduler.give(Work::Hold(HoldDuty { secrets_of: Some(ASSIGNMENT), at_once: 1, ..hold_of(tasks) }));
    wait_until("the first is on its way", || origin.stats(&slow).active > 0).await;
    site.node.registry.expire_token();
    origin.release(&slow);
    let held = site.scheduler.end_of(id).await;
    assert_eq!(held.state, DutyState::Done, "{held:?}");
}

#[tokio::test]
async fn a_file_that_was_held_is_what_dfget_gets() {
    let site = Site::start(RegistryAccess::Open).await;
    let body = random_bytes(1, 3_000_000);
    let (origin, request) = (site.node.registry.origin(), site.node.http.get("http://x"));
    let basic = request.basic_auth(ANN, Some(PASSWORD)).build().unwrap().headers()["authorization"].clone();
    origin.put("file", Content::new(body.clone()).require_authorization(basic.to_str().unwrap(), "Basic realm=\"x\""));
    let held = site.hold(HoldDuty { secrets_of: Some(ASSIGNMENT), ..hold_of(vec![site.file("file")]) }).await;
    assert_eq!(held.state, DutyState::Done, "{held:?}");
    assert_eq!((held.tasks[0].length, held.tasks[0].held_bytes), (Some(3_000_000), 3_000_000));
    let asked = origin.stats("file").requests;
    assert_eq!(site.node.fetch("file").await.unwrap(), body);
    assert_eq!(origin.stats("file").requests, asked);
    let listed = site.node.client().list_tasks(None, 10).await.unwrap().tasks;
    assert_eq!(listed.iter().map(|task| task.url.clone()).collect::<Vec<_>>(), [Some(origin.url("file"))]);
    let shown = site.node.client().get_task(&site.file("file").id).await.unwrap();
    assert_eq!(shown.id, CreateTaskRequest::new(origin.url("file")).into_spec().unwrap().id);
}

#[tokio::test]
async fn each_task_that_is_not_held_says_why() {
    let site = Site::start(RegistryAccess::Open).await;
    let origin = site.node.registry.origin();
    origin.put("file", Content::new(random_bytes(1, 1000)));
    let another = TaskSpec { id: site.file("another").id, ..site.file("file") };
    let report = site.hold(hold_of(vec![site.file("file"), site.file("missing"), another])).await;
    let outcomes: Vec<_> = report.tasks.iter().map(|task| task.outcome).collect();
    assert_eq!(outcomes, [DutyOutcome::Done, DutyOutcome::Failed, DutyOutcome::Failed], "{report:?}");
    assert!(report.tasks[1].error.contains("404") && report.tasks[2].error.contains("another content"), "{report:?}");
    assert!(report.error.contains("missing: ") && report.error.contains("404"), "{}", report.error);
    origin.put("elsewhere", Content::new("x"));
    let from_peers = HoldDuty { from_peers: true, ..hold_of(vec![site.file("elsewhere")]) };
    let report = site.hold(from_peers).await;
    assert!(report.error.contains("nobody in this cluster has it"), "{report:?}");
    assert_eq!(origin.stats("elsewhere").requests, 0);
}

#[tokio::test]
async fn what_is_dropped_is_gone_and_what_is_being_fetched_stays() {
    let site = Site::start(RegistryAccess::Open).await;
    let origin = site.node.registry.origin();
    origin.put("file", Content::new(random_bytes(1, 1000)));
    let mut tasks = tasks_of(&site.resolve("v2", None).await);
    tasks.push(site.file("file"));
    let mut ids: Vec<_> = tasks.iter().map(|task| task.id.clone()).collect();
    assert_eq!(site.hold(hold_of(tasks)).await.state, DutyState::Done);
    ids.push(site.file("never-here").id);
    let dropped = site.scheduler.done(Work::Drop(ids)).await;
    assert_eq!(dropped.state, DutyState::Done, "{dropped:?}");
    assert!(dropped.tasks.iter().all(|task| task.outcome == DutyOutcome::Done && task.held_bytes == 0));
    assert_eq!(site.node.task_folders(), 0);
    origin.put("slow", Content::new(random_bytes(2, 3_000_000)).hold_at(1_000_000));
    let id = site.node.create("slow").await.unwrap();
    let refused = site.scheduler.done(Work::Drop(vec![id])).await;
    assert!(refused.state == DutyState::Failed && refused.error.contains("being fetched"), "{refused:?}");
}

#[tokio::test]
async fn a_duty_given_twice_is_done_once_and_told_of_while_nothing_changes() {
    let site = Site::start(RegistryAccess::Open).await;
    let origin = site.node.registry.origin();
    origin.put("file", Content::new(random_bytes(1, 3_000_000)).hold_at(1_000_000));
    let id = site.scheduler.give(Work::Hold(hold_of(vec![site.file("file")])));
    let running = |reports: &[DutyReport]| reports.iter().filter(|report| report.tasks[0].held_bytes > 0).count();
    wait_until("it is told of again", || running(&site.scheduler.reports_of(id)) > 2).await;
    origin.release("file");
    assert_eq!(site.scheduler.end_of(id).await.state, DutyState::Done);
    assert!(site.scheduler.times_given(id) > 1);
    let ends = site.scheduler.reports_of(id).iter().filter(|report| report.state != DutyState::Running).count();
    assert_eq!(ends, 1);
}

#[tokio::test]
async fn what_its_scheduler_knows_no_more_is_done_no_more() {
    let site = Site::start(RegistryAccess::Open).await;
    let origin = site.node.registry.origin();
    origin.put("file", Content::new(random_bytes(1, 3_000_000)).hold_at(1_000_000));
    site.scheduler.give(Work::Hold(hold_of(vec![site.file("file")])));
    wait_until("it is on its way", || origin.stats("file").active > 0).await;
    site.scheduler.forget_duties();
    let id = site.file("file").id;
    let runs = || site.node.daemon.peer.task(&id).is_some_and(|task| task.is_running());
    wait_until("nobody waits for it", || !runs() && origin.stats("file").active == 0).await;
}
