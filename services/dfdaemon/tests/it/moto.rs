//! `s3://` origins before moto.

use std::collections::BTreeMap;

use df_api::dfdaemon::{CreateTaskRequest, ListObjectsRequest, ObjectEntry};
use df_api::task::StorageAccess;
use df_client::ClientError;
use df_testkit::registry::RegistryAccess;
use df_testkit::{MotoServer, random_bytes, read_whole, skip};
use dfdaemon::config::S3Config;
use futures_util::StreamExt as _;
use secrecy::SecretString;

use crate::node::Node;
use crate::proxied::through;

/// A moto with an empty `bucket`, and a node that may ask it.
async fn start(configured: impl FnOnce(&str) -> Vec<S3Config>) -> Option<(MotoServer, Node)> {
    let folder = match MotoServer::folder().await {
        Ok(folder) => folder,
        Err(error) => {
            skip(&format!("{error:#}"));
            return None;
        }
    };
    let moto = MotoServer::start(&folder).await.unwrap();
    moto.make_bucket("bucket").await.unwrap();
    let node = Node::with(RegistryAccess::Open, |config| {
        config.upstream.allow.push(moto.endpoint().to_owned());
        config.upstream.s3 = configured(moto.endpoint());
    })
    .await;
    Some((moto, node))
}

fn of_the_node(endpoint: &str) -> Vec<S3Config> {
    vec![S3Config {
        endpoint: Some(endpoint.to_owned()),
        region: Some("eu-north-1".to_owned()),
        access_key_id: Some("id-of-the-node".to_owned()),
        secret_access_key: Some(SecretString::from("secret-of-the-node")),
        session_token: Some(SecretString::from("token-of-the-node")),
        ..S3Config::default()
    }]
}

async fn list(node: &Node, url: &str, max_objects: u32) -> Result<BTreeMap<String, ObjectEntry>, ClientError> {
    let request = ListObjectsRequest { url: url.to_owned(), storage: None, max_objects };
    let objects = node.client().list_objects(&request).await?.objects;
    Ok(objects.into_iter().map(|object| (object.name.clone(), object)).collect())
}

async fn fetch(node: &Node, request: &CreateTaskRequest) -> Result<bytes::Bytes, ClientError> {
    let id = node.client().create_task(request).await?.id;
    let answer = node.client().get_task_content(&id, None).await?;
    Ok(read_whole(answer).await.unwrap())
}

async fn fetch_url(node: &Node, url: &str) -> Result<bytes::Bytes, ClientError> {
    fetch(node, &CreateTaskRequest::new(url)).await
}

#[tokio::test]
async fn folders_of_more_than_one_page_and_names_of_any_kind_are_listed_and_fetched() {
    let Some((moto, node)) = start(of_the_node).await else { return };
    let many: Vec<_> = (0..1203).map(|number| format!("many/object {number:04}")).collect();
    let odd = "a+b %25&=?#ü/";
    let names =
        ["plain", "a b", "a+b", "100%", "%41", "ü/日本", "q?x=1&y#z", "'(quoted)'!*", "back\\slash", "a;b,c:d@e"];
    let keys: Vec<_> = many.iter().cloned().chain(names.iter().map(|name| format!("{odd}{name}"))).collect();
    let puts = keys.iter().map(|key| moto.put("bucket", key, key.clone()));
    let put: Vec<_> = futures_util::stream::iter(puts).buffer_unordered(4).collect().await;
    assert!(put.iter().all(Result::is_ok), "{put:?}");

    let listed = list(&node, "s3://bucket/many", 100_000).await.unwrap();
    let expected: Vec<_> = many.iter().map(|key| key.trim_start_matches("many/")).collect();
    assert_eq!(listed.keys().collect::<Vec<_>>(), expected);
    let too_many = list(&node, "s3://bucket/many", 1202).await.unwrap_err();
    assert_eq!(too_many.status(), Some(422));

    let prefix = "s3://bucket/a+b%20%2525&=%3F%23%C3%BC";
    let listed = list(&node, prefix, 100).await.unwrap();
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(listed.keys().collect::<Vec<_>>(), expected);
    for (name, object) in &listed {
        assert_eq!(object.length_bytes, Some((odd.len() + name.len()) as u64), "{name}");
        assert_eq!(fetch_url(&node, &object.url).await.unwrap(), format!("{odd}{name}"), "{name}");
    }
    // As somebody types it.
    assert_eq!(fetch_url(&node, "s3://bucket/many/object 0007").await.unwrap(), "many/object 0007");
    assert_eq!(fetch_url(&node, &format!("{prefix}/a+b")).await.unwrap(), format!("{odd}a+b"));
}

#[tokio::test]
async fn an_object_is_asked_for_with_the_keys_region_and_token_of_the_request_else_of_the_node() {
    let Some((moto, node)) = start(of_the_node).await else { return };
    let body = random_bytes(1, 20_000_000);
    moto.put("bucket", "one", body.clone()).await.unwrap();
    moto.put("bucket", "two", "two").await.unwrap();
    assert!(fetch_url(&node, "s3://bucket/one").await.unwrap() == body, "wrong bytes");
    let storage = StorageAccess {
        region: Some("ap-east-1".to_owned()),
        access_key_id: Some("id-of-the-request".to_owned()),
        access_key_secret: Some("secret-of-the-request".to_owned()),
        session_token: Some("token-of-the-request".to_owned()),
        ..StorageAccess::default()
    };
    let request = CreateTaskRequest { storage: Some(storage), ..CreateTaskRequest::new("s3://bucket/two") };
    assert_eq!(fetch(&node, &request).await.unwrap(), "two");
    let asked = moto.requests().unwrap();
    for (key, whose, region) in [("one", "node", "eu-north-1"), ("two", "request", "ap-east-1")] {
        let gets: Vec<_> = asked.iter().filter(|line| line.starts_with(&format!("GET /bucket/{key}?"))).collect();
        assert!(!gets.is_empty(), "by path: {asked:?}");
        for shown in [format!("id-of-the-{whose}/"), format!("/{region}/s3/"), format!("token-of-the-{whose}")] {
            assert!(gets.iter().all(|line| line.contains(&shown)), "{shown} {gets:?}");
        }
        assert!(!format!("{gets:?}").contains("secret-of"));
    }
    // HEAD is for other clients, through the proxy; moto only looks whether there is a signature.
    let head = || through(&node).head(moto.url("bucket", "one"));
    assert_eq!(head().send().await.unwrap().status(), 403);
    let signed = head().header("authorization", "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request");
    assert_eq!(signed.send().await.unwrap().headers()["content-length"], body.len().to_string());
}

#[tokio::test]
async fn what_is_not_there_and_whom_the_store_does_not_know_is_said() {
    let Some((moto, node)) = start(of_the_node).await else { return };
    moto.put("bucket", "key", "x").await.unwrap();
    for (url, word) in [("s3://bucket/none", "NoSuchKey"), ("s3://no-bucket/key", "NoSuchBucket")] {
        let missing = fetch_url(&node, url).await.unwrap_err();
        assert_eq!(missing.status(), Some(404), "{missing}");
        assert!(missing.to_string().contains(url) && missing.to_string().contains(word), "{missing}");
    }
    let missing = list(&node, "s3://no-bucket/folder", 10).await.unwrap_err();
    assert_eq!(missing.status(), Some(404), "{missing}");
    assert!(missing.to_string().contains("s3://no-bucket/folder/: the store says 404: NoSuchBucket"), "{missing}");
    assert!(list(&node, "s3://bucket/empty", 10).await.unwrap().is_empty());
    moto.demand_keys().await.unwrap();
    let stranger = list(&node, "s3://bucket/", 10).await.unwrap_err();
    assert_eq!(stranger.status(), Some(403), "{stranger}");
    assert!(stranger.to_string().contains("InvalidAccessKeyId"), "{stranger}");
    assert!(!stranger.to_string().contains("of-the-node"), "{stranger}");
}
