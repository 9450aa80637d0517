//! `s3://` origins before a real S3 server that checks signatures.

use df_api::dfdaemon::{CreateTaskRequest, ListObjectsRequest};
use df_api::task::StorageAccess;
use df_client::ClientError;
use df_testkit::registry::RegistryAccess;
use df_testkit::{Content, FakeOrigin, S3Server, random_bytes, read_whole};
use dfdaemon::config::S3Config;
use secrecy::SecretString;

use crate::node::Node;

fn access(server: &S3Server, secret: &str) -> StorageAccess {
    StorageAccess {
        endpoint: Some(server.endpoint()),
        access_key_id: Some(S3Server::ACCESS_KEY_ID.to_owned()),
        access_key_secret: Some(secret.to_owned()),
        ..StorageAccess::default()
    }
}

fn request(server: &S3Server, url: &str) -> CreateTaskRequest {
    let storage = Some(access(server, S3Server::ACCESS_KEY_SECRET));
    CreateTaskRequest { storage, ..CreateTaskRequest::new(url) }
}

async fn node(server: &S3Server) -> Node {
    Node::with(RegistryAccess::Open, |config| config.upstream.allow.push(server.endpoint())).await
}

async fn fetch(node: &Node, asked: &CreateTaskRequest) -> Result<bytes::Bytes, ClientError> {
    let id = node.client().create_task(asked).await?.id;
    let answer = node.client().get_task_content(&id, None).await?;
    Ok(read_whole(answer).await.unwrap())
}

#[tokio::test]
async fn an_object_comes_in_ranges_and_once() {
    let server = S3Server::start().await.unwrap();
    let body = random_bytes(1, 120_000_000);
    server.put("bucket", "a folder/big", &body).unwrap();
    let node = node(&server).await;
    let asked = request(&server, "s3://bucket/a folder/big");
    assert!(fetch(&node, &asked).await.unwrap() == body, "wrong bytes");
    assert!(server.requests() > 1, "ranges");
    assert_eq!(server.sent_bytes(), body.len() as u64);
    assert!(fetch(&node, &asked).await.unwrap() == body);
    assert_eq!(server.sent_bytes(), body.len() as u64, "once");
}

#[tokio::test]
async fn keys_of_the_configuration_are_used_where_a_request_brings_none() {
    let server = S3Server::start().await.unwrap();
    server.put("bucket", "key", b"configured").unwrap();
    let node = Node::with(RegistryAccess::Open, |config| {
        config.upstream.allow.push(server.endpoint());
        config.upstream.s3 = vec![S3Config {
            endpoint: Some(server.endpoint()),
            access_key_id: Some(S3Server::ACCESS_KEY_ID.to_owned()),
            secret_access_key: Some(SecretString::from(S3Server::ACCESS_KEY_SECRET)),
            ..S3Config::default()
        }];
    })
    .await;
    assert_eq!(fetch(&node, &CreateTaskRequest::new("s3://bucket/key")).await.unwrap(), "configured");
}

#[tokio::test]
async fn what_the_store_refuses_is_said_in_its_word() {
    let server = S3Server::start().await.unwrap();
    server.put("bucket", "key", b"x").unwrap();
    let node = node(&server).await;
    let missing = fetch(&node, &request(&server, "s3://bucket/none")).await.unwrap_err();
    assert_eq!(missing.status(), Some(404));
    assert!(missing.to_string().contains("NoSuchKey"), "{missing}");
    let storage = Some(access(&server, "wrong"));
    let wrong = fetch(&node, &CreateTaskRequest { storage, ..CreateTaskRequest::new("s3://bucket/key") }).await;
    let wrong = wrong.unwrap_err();
    assert_eq!(wrong.status(), Some(403));
    assert!(wrong.to_string().contains("SignatureDoesNotMatch"), "{wrong}");
}

#[tokio::test]
async fn a_store_is_no_way_around_the_rules_of_upstreams() {
    let server = S3Server::start().await.unwrap();
    let node = Node::start(RegistryAccess::Open).await;
    let refused = fetch(&node, &request(&server, "s3://bucket/key")).await.unwrap_err();
    assert_eq!(refused.status(), Some(403));
    let list = |url: &str, max_objects| ListObjectsRequest {
        url: url.to_owned(),
        storage: Some(access(&server, S3Server::ACCESS_KEY_SECRET)),
        max_objects,
    };
    assert_eq!(node.client().list_objects(&list("s3://bucket/", 10)).await.unwrap_err().status(), Some(403));
    assert_eq!(node.client().list_objects(&list("http://bucket/", 10)).await.unwrap_err().status(), Some(422));
    assert_eq!(node.client().list_objects(&list("s3://bucket/", 0)).await.unwrap_err().status(), Some(422));
    assert_eq!(server.requests(), 0);
    for wrong in ["s3://bucket/", "s3:///key", "s3://bucket/folder/", "s3://u:p@bucket/key", "s3://bucket/key?x=1"] {
        let refused = node.client().create_task(&CreateTaskRequest::new(wrong)).await;
        let failed = match refused {
            Err(error) => error,
            Ok(task) => node.client().get_task_content(&task.id, None).await.unwrap_err(),
        };
        assert!(matches!(failed.status(), Some(403 | 422)), "{wrong}: {failed}");
    }
}

#[tokio::test]
async fn a_folder_is_listed_and_its_objects_are_tasks() {
    let server = S3Server::start().await.unwrap();
    for key in ["top", "dir/one", "dir/sub/two?", "dir2/three"] {
        server.put("bucket", key, key.as_bytes()).unwrap();
    }
    let node = node(&server).await;
    let list = |max_objects| ListObjectsRequest {
        url: "s3://bucket/dir".to_owned(),
        storage: Some(access(&server, S3Server::ACCESS_KEY_SECRET)),
        max_objects,
    };
    let mut objects = node.client().list_objects(&list(10)).await.unwrap().objects;
    objects.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<_> = objects.iter().map(|object| object.name.as_str()).collect();
    assert_eq!(names, ["one", "sub/two?"]);
    let two = CreateTaskRequest {
        storage: Some(StorageAccess { endpoint: None, ..access(&server, S3Server::ACCESS_KEY_SECRET) }),
        ..CreateTaskRequest::new(&objects[1].url)
    };
    assert_eq!(fetch(&node, &two).await.unwrap(), "dir/sub/two?");
    let many = node.client().list_objects(&list(1)).await.unwrap_err();
    assert!(many.to_string().contains("more than 1"), "{many}");
}

/// Without keys an object is asked for like any other URL.
#[tokio::test]
async fn a_broken_store_costs_another_no_retry() {
    let (broken, sound) = (FakeOrigin::start().await.unwrap(), FakeOrigin::start().await.unwrap());
    let node = Node::with(RegistryAccess::Open, |config| {
        config.upstream.allow.extend([broken.base_url(), sound.base_url()]);
    })
    .await;
    let ask = |store: &FakeOrigin, key: String| {
        let storage = Some(StorageAccess { endpoint: Some(store.base_url()), ..StorageAccess::default() });
        CreateTaskRequest { storage, ..CreateTaskRequest::new(format!("s3://bucket/{key}")) }
    };
    let names: Vec<_> = (0..30).map(|number| format!("broken-{number}")).collect();
    for name in &names {
        broken.put(&format!("bucket/{name}"), Content::new("x").status_first(1000, 500, None));
    }
    let failed =
        futures_util::future::join_all(names.iter().map(|name| fetch_or_fail(&node, ask(&broken, name.clone()))));
    assert!(failed.await.iter().all(Option::is_none));
    let asked: u64 = names.iter().map(|name| broken.stats(&format!("bucket/{name}")).requests).sum();
    assert!(asked < 2 * names.len() as u64, "its retries are used up: {asked} requests for {} objects", names.len());
    sound.put("bucket/key", Content::new("sound").status_first(1, 500, None));
    assert_eq!(fetch_or_fail(&node, ask(&sound, "key".to_owned())).await.unwrap(), "sound");
}

async fn fetch_or_fail(node: &Node, asked: CreateTaskRequest) -> Option<bytes::Bytes> {
    fetch(node, &asked).await.ok()
}

#[tokio::test]
async fn a_store_that_wants_to_be_left_alone_is_asked_for_no_list_either() {
    let store = FakeOrigin::start().await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| config.upstream.allow.push(store.base_url())).await;
    let storage = Some(StorageAccess { endpoint: Some(store.base_url()), ..StorageAccess::default() });
    store.put("bucket/", Content::new("x").status_first(1000, 503, Some("60")));
    store.put("bucket/key", Content::new("x"));
    let list = ListObjectsRequest { url: "s3://bucket/".to_owned(), storage: storage.clone(), max_objects: 10 };
    for _ in 0..2 {
        let failed = node.client().list_objects(&list).await.unwrap_err();
        assert_eq!(failed.status(), Some(502), "{failed}");
        assert!(failed.to_string().contains("503"), "{failed}");
    }
    assert_eq!(store.stats("bucket/").requests, 1);
    let object = CreateTaskRequest { storage, ..CreateTaskRequest::new("s3://bucket/key") };
    assert!(fetch_or_fail(&node, object).await.is_none());
    assert_eq!(store.stats("bucket/key").requests, 0);
}
