//! Files that programs of a node import, and what they may do with the tasks that are theirs.

use bytes::Bytes;
use df_api::TaskId;
use df_api::dfdaemon::{CloneTaskRequest, CreateTaskRequest, ImportTaskRequest, TaskState, TaskStatus};
use df_client::{ClientError, DfdaemonClient, Transport};
use df_testkit::registry::RegistryAccess;
use df_testkit::{Content, SmallDisk, random_bytes, sha256_hex};
use dfdaemon::{Config, Dfdaemon};
use futures_util::StreamExt as _;
use std::os::fd::AsRawFd as _;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use crate::node::{self, Node};

fn request(body: &[u8]) -> ImportTaskRequest {
    let digest = format!("sha256:{}", sha256_hex(body)).parse().unwrap();
    ImportTaskRequest { digest, tag: None, application: None, piece_length: None }
}

async fn import(node: &Node, body: &Bytes) -> Result<TaskStatus, ClientError> {
    node.client().import_task(&request(body), body.len() as u64, body.clone()).await
}

async fn read(node: &Node, id: &TaskId) -> Bytes {
    node.client().get_task_content(id, None).await.unwrap().bytes().await.unwrap()
}

async fn start() -> Node {
    Node::start(RegistryAccess::Open).await
}

fn status_of<T: std::fmt::Debug>(result: Result<T, ClientError>) -> u16 {
    result.unwrap_err().status().unwrap()
}

#[tokio::test]
async fn an_imported_file_is_a_complete_task_without_an_origin() {
    let node = start().await;
    for length in [0, 1, 262_144, 3_000_000] {
        let body = random_bytes(length as u64, length);
        let task = import(&node, &body).await.unwrap();
        assert_eq!(
            (task.state, task.length, task.held_bytes),
            (TaskState::Complete, Some(length as u64), length as u64)
        );
        assert_eq!((task.url, task.digest), (None, Some(request(&body).digest)));
        assert!(read(&node, &task.id).await == body, "{length}");
        let again = import(&node, &body).await.unwrap();
        assert_eq!(again.id, task.id, "twice is once");
        let asked = node.client().create_task(&request(&body).to_create()).await.unwrap();
        assert_eq!((asked.id, asked.state), (task.id, TaskState::Complete), "its digest names it");
    }
}

#[tokio::test]
async fn what_is_not_the_file_that_was_announced_is_not_kept() {
    let node = start().await;
    let (client, body) = (node.client(), random_bytes(1, 3_000_000));
    let length = body.len() as u64;
    let wrong = random_bytes(2, 3_000_000);
    assert_eq!(status_of(client.import_task(&request(&body), length, wrong).await), 422);
    let base = format!("http://{}/v1/tasks/import", node.daemon.local_addr);
    let long = [body.clone(), body.clone()].concat();
    let posted = node.http.post(&base).query(&request(&body)).body(long).send().await.unwrap();
    assert_eq!(posted.status(), 422);
    let stream = futures_util::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"x")) });
    let unknown = node.http.post(&base).query(&request(&body)).body(reqwest::Body::wrap_stream(stream));
    assert_eq!(unknown.send().await.unwrap().status(), 400, "no length");
    let broken = futures_util::stream::iter([Ok(body.slice(..2_000_000)), Err(std::io::Error::other("gone"))]);
    assert!(client.import_task(&request(&body), length, reqwest::Body::wrap_stream(broken)).await.is_err());
    for query in ["", "?digest=sha256:ab", "?digest=md5:ab", "?other=1"] {
        assert_eq!(node.http.post(format!("{base}{query}")).body("x").send().await.unwrap().status(), 400, "{query}");
    }
    let odd = ImportTaskRequest { piece_length: Some(7), ..request(&body) };
    assert_eq!(status_of(client.import_task(&odd, length, body.clone()).await), 422);
    // The one that broke off may still be noticing it.
    df_testkit::until("it can be imported again", Duration::from_secs(60), async || {
        Ok(import(&node, &body).await.ok())
    })
    .await
    .unwrap();
    assert_eq!(client.list_tasks(None, 10).await.unwrap().tasks.len(), 1);
}

#[tokio::test]
async fn what_keeps_contents_apart_keeps_imports_apart() {
    let node = start().await;
    let (client, body) = (node.client(), random_bytes(3, 600_000));
    let plain = request(&body);
    let requests = [
        plain.clone(),
        ImportTaskRequest { tag: Some("t".to_owned()), ..plain.clone() },
        ImportTaskRequest { application: Some("t".to_owned()), ..plain.clone() },
        ImportTaskRequest { piece_length: Some(1 << 18), ..plain },
    ];
    let mut ids = std::collections::BTreeSet::new();
    for request in &requests {
        let task = client.import_task(request, body.len() as u64, body.clone()).await.unwrap();
        assert_eq!((&task.tag, &task.application), (&request.tag, &request.application));
        ids.insert(task.id);
    }
    assert_eq!(ids.len(), 4);
    let first = client.list_tasks(None, 3).await.unwrap();
    let rest = client.list_tasks(first.next.as_ref(), 3).await.unwrap();
    let listed: Vec<_> = first.tasks.iter().chain(&rest.tasks).map(|task| task.id.clone()).collect();
    assert_eq!((listed, rest.next), (ids.into_iter().collect(), None));
    assert_eq!(status_of(client.list_tasks(None, 0).await), 422);
    assert_eq!(status_of(client.list_tasks(None, 1001).await), 422);
}

/// Whoever knows the digest of a private layer must not get it by asking for a file of that digest.
#[tokio::test]
async fn a_digest_opens_nothing_that_a_registry_guards() {
    let node = start().await;
    let layer = node.layer().clone();
    node.get(&node.blob_path(&layer)).send().await.unwrap().bytes().await.unwrap();
    let (client, digest) = (node.client(), Some(layer.digest.parse().unwrap()));
    let imported = client.create_task(&CreateTaskRequest { digest, ..CreateTaskRequest::default() }).await.unwrap();
    assert_eq!(status_of(client.get_task_content(&imported.id, None).await), 404);
    let digest = Some(layer.digest.parse().unwrap());
    node.registry.origin().put("mine", Content::new("something else"));
    let url = node.registry.origin().url("mine");
    let named = client.create_task(&CreateTaskRequest { digest, ..CreateTaskRequest::new(url) }).await.unwrap();
    assert_ne!(named.id, node.task_id(&layer));
    assert_eq!(status_of(client.get_task_content(&named.id, None).await), 502, "its own bytes, which are others");
    let id = node.task_id(&layer);
    assert_eq!(status_of(client.get_task_content(&id, None).await), 404);
    assert_eq!(status_of(client.delete_task(&id).await), 404);
    assert!(client.list_tasks(None, 10).await.unwrap().tasks.iter().all(|task| task.id != id));
}

#[tokio::test]
async fn what_was_asked_for_with_a_credential_is_for_who_has_it() {
    let node = start().await;
    let body = df_testkit::random_bytes(1, 1000);
    let content = df_testkit::Content::new(body.clone()).require_authorization("Bearer good", "Bearer realm=\"r\"");
    node.registry.origin().put("file", content);
    assert_eq!(node.fetch_with("file", Some("Bearer good")).await.unwrap(), body);
    assert!(node.client().list_tasks(None, 10).await.unwrap().tasks.is_empty());
    for other in [None, Some("Bearer bad")] {
        let refused = node.fetch_with("file", other).await.unwrap_err();
        assert!(refused.contains("401"), "{other:?}: {refused}");
    }
    let asked = node.registry.origin().stats("file").requests;
    assert_eq!(node.fetch_with("file", Some("Bearer good")).await.unwrap(), body);
    assert_eq!(node.registry.origin().stats("file").requests, asked);
}

#[tokio::test]
async fn what_is_removed_is_gone_and_its_readers_read_on() {
    let node = start().await;
    let (client, body) = (node.client(), random_bytes(4, 30_000_000));
    let task = import(&node, &body).await.unwrap();
    let mut reading = client.get_task_content(&task.id, None).await.unwrap().bytes_stream();
    let first = reading.next().await.unwrap().unwrap();
    client.delete_task(&task.id).await.unwrap();
    assert_eq!(status_of(client.get_task(&task.id).await), 404);
    assert_eq!(status_of(client.get_task_content(&task.id, None).await), 404);
    assert_eq!(status_of(client.delete_task(&task.id).await), 404);
    // Other bytes are where they were.
    let other = random_bytes(5, 30_000_000);
    import(&node, &other).await.unwrap();
    let mut got = first.to_vec();
    while let Some(chunk) = reading.next().await {
        got.extend_from_slice(&chunk.unwrap());
    }
    assert!(got == body, "wrong bytes");
    let folders = node.daemon.peer.store().usage().tasks;
    assert_eq!(folders, 1);
}

#[tokio::test]
async fn what_is_being_fetched_is_not_removed() {
    let node = start().await;
    let body = random_bytes(6, 3_000_000);
    node.registry.origin().put("file", Content::new(body.clone()).hold_at(1_000_000));
    let id = node.create("file").await.unwrap();
    assert_eq!(status_of(node.client().delete_task(&id).await), 409);
    node.registry.origin().release("file");
    assert!(read(&node, &id).await == body);
    df_testkit::until("it is complete", Duration::from_secs(60), async || {
        Ok(node.client().delete_task(&id).await.is_ok().then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_programs_asked_for_is_theirs_after_a_restart() {
    let node = start().await;
    let body = random_bytes(7, 3_000_000);
    node.registry.origin().put("file", Content::new(body.clone()));
    let url = format!("{}?token=hidden", node.registry.origin().url("file"));
    let asked = CreateTaskRequest { tag: Some("t".to_owned()), ..CreateTaskRequest::new(url) };
    let id = node.client().create_task(&asked).await.unwrap().id;
    assert!(read(&node, &id).await == body);
    let imported = import(&node, &body).await.unwrap().id;
    let layer = node.layer().clone();
    node.get(&node.blob_path(&layer)).send().await.unwrap().bytes().await.unwrap();
    node.stop.cancel();
    node.daemon.stopped().await;

    let stop = CancellationToken::new();
    let daemon = Dfdaemon::start(node::config(&node.dir, &node.registry), stop.clone()).await.unwrap();
    let node = Node { daemon, stop, ..node };
    let tasks = node.client().list_tasks(None, 10).await.unwrap().tasks;
    assert_eq!(tasks.len(), 2, "{tasks:?}");
    let fetched = tasks.iter().find(|task| task.id == id).unwrap();
    assert_eq!((fetched.state, fetched.tag.as_deref()), (TaskState::Complete, Some("t")));
    let shown = fetched.url.clone().unwrap();
    assert!(shown.ends_with("/file?…"), "{shown}");
    assert!(read(&node, &id).await == body && read(&node, &imported).await == body);
    assert_eq!(status_of(node.client().get_task_content(&node.task_id(&layer), None).await), 404);
    let record = node.dir.path().join("tasks").join(&id.as_str()[..2]).join(id.as_str()).join("record");
    assert!(!std::fs::read_to_string(record).unwrap().contains("hidden"));
    node.stop.cancel();
}

/// A daemon whose store is there, and a client over its socket.
async fn with_socket(storage: &std::path::Path, sockets: &tempfile::TempDir) -> (Node, DfdaemonClient) {
    let socket = sockets.path().join("dfdaemon.sock");
    let change = |config: &mut Config| {
        config.local.socket = Some(socket.clone());
        config.storage.dir = storage.join("store");
    };
    let node = Node::with(RegistryAccess::Open, change).await;
    let transport = Transport::open(&format!("unix:{}", socket.display())).unwrap();
    (node, DfdaemonClient::new(transport))
}

fn descriptor(file: &std::fs::File) -> CloneTaskRequest {
    CloneTaskRequest { descriptor: file.as_raw_fd().cast_unsigned() }
}

#[tokio::test]
async fn a_file_on_the_stores_own_file_system_shares_its_bytes() {
    let Some(disk) = SmallDisk::mount_xfs().unwrap() else { return };
    let sockets = tempfile::tempdir().unwrap();
    let (node, client) = with_socket(disk.path(), &sockets).await;
    let body = random_bytes(8, 40_000_000);
    node.registry.origin().put("file", Content::new(body.clone()).hold_at(20_000_000));
    let id = node.create("file").await.unwrap();
    let path = disk.path().join("out");
    let file = std::fs::File::create(&path).unwrap();
    let early = client.clone_task(&id, &descriptor(&file), Duration::from_secs(1)).await.unwrap();
    assert!(!early.cloned && file.metadata().unwrap().len() == 0, "not complete yet");
    node.registry.origin().release("file");
    let complete = async || Ok((node.client().get_task(&id).await?.state == TaskState::Complete).then_some(()));
    df_testkit::until("it is complete", Duration::from_secs(60), complete).await.unwrap();
    let used = || {
        let disk = rustix::fs::statvfs(disk.path()).unwrap();
        (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    };
    let before = used();
    assert!(client.clone_task(&id, &descriptor(&file), Duration::from_secs(20)).await.unwrap().cloned);
    assert!(used() < before + 20_000_000, "{} after {before}: the bytes are there once", used());
    assert!(std::fs::read(&path).unwrap() == body, "wrong bytes");

    // Whoever owns the file may write to it, and the store keeps what it had.
    std::fs::write(&path, "mine now").unwrap();
    assert!(read(&node, &id).await == body, "wrong bytes");
    let full = client.clone_task(&id, &descriptor(&file), Duration::ZERO).await;
    assert_eq!(status_of(full), 409, "not empty any more");
}

#[tokio::test]
async fn where_bytes_cannot_be_shared_the_caller_is_told_to_copy() {
    let (folder, sockets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (node, client) = with_socket(folder.path(), &sockets).await;
    let body = random_bytes(9, 3_000_000);
    let id = import(&node, &body).await.unwrap().id;
    let Some(elsewhere) = SmallDisk::mount(1 << 20).unwrap() else { return };
    let file = std::fs::File::create(elsewhere.path().join("out")).unwrap();
    assert_eq!(status_of(client.clone_task(&id, &descriptor(&file), Duration::ZERO).await), 409);
    assert_eq!(file.metadata().unwrap().len(), 0);
    let by_port = node.client().clone_task(&id, &descriptor(&file), Duration::ZERO).await;
    assert_eq!(status_of(by_port), 409, "nobody knows whose descriptor that is");
    let nothing = CloneTaskRequest { descriptor: 1_000_000 };
    assert_eq!(status_of(client.clone_task(&id, &nothing, Duration::ZERO).await), 409);
}
