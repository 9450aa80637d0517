//! Buckets and objects, in two storages of other people: one in this process, and moto.

use df_api::manager::{CreateBucketRequest, ObjectList};
use df_client::http_client;
use df_testkit::{MotoServer, S3Server, random_bytes, skip};
use manager::Config;
use reqwest::header::{CONTENT_RANGE, ETAG, RANGE};
use secrecy::SecretString;

use crate::running::{Running, SQLITE, refusal};

/// A manager whose storage is there.
async fn with_storage(endpoint: &str, [access, secret]: [&str; 2]) -> Running {
    Running::start_with(SQLITE, |config: &mut Config| {
        config.object_storage.endpoint = Some(endpoint.to_owned());
        config.object_storage_keys = Some([access, secret].map(SecretString::from));
    })
    .await
}

async fn a_bucket_is_made_filled_listed_emptied_and_deleted(manager: &Running) {
    let root = manager.root().await;
    let bucket = CreateBucketRequest { name: "models".to_owned() };
    root.create_bucket(&bucket).await.unwrap();
    assert_eq!(root.list_buckets().await.unwrap()[0].name, "models");
    assert_eq!(root.get_bucket("models").await.unwrap().name, "models");
    let (status, detail) = refusal(root.get_bucket("none").await);
    assert_eq!((status, detail.as_str()), (404, "there is no bucket none"));

    let bytes = random_bytes(3, 9 << 20);
    for key in ["a/one", "a/two words ß", "b/three", "four"] {
        root.put_object("models", key, bytes.clone()).await.unwrap();
    }
    let names = |list: &ObjectList| list.metadatas.iter().map(|one| one.key.clone()).collect::<Vec<_>>();
    let all = root.list_objects("models", "", "").await.unwrap();
    assert_eq!(names(&all), ["a/one", "a/two words ß", "b/three", "four"]);
    assert_eq!(all.metadatas[0].content_length, 9 << 20);
    assert_eq!(names(&root.list_objects("models", "a/", "").await.unwrap()), ["a/one", "a/two words ß"]);
    assert_eq!(names(&root.list_objects("models", "", "b/three").await.unwrap()), ["four"]);

    assert_eq!(root.get_object("models", "a/two words ß").await.unwrap().bytes().await.unwrap(), bytes);
    assert_eq!(root.stat_object("models", "four").await.unwrap(), 9 << 20);
    let url = format!("{}/api/v1/buckets/models/objects/a%2Fone", manager.url);
    let part = http_client().get(&url).bearer_auth(manager.token_of("root").await).header(RANGE, "bytes=5-9");
    let part = part.send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.headers()[CONTENT_RANGE].to_str().unwrap()), (206, "bytes 5-9/9437184"));
    assert!(part.headers().contains_key(ETAG));
    assert_eq!(part.bytes().await.unwrap(), bytes[5..10]);
    let (status, detail) = refusal(root.get_object("models", "none").await);
    assert_eq!((status, detail.as_str()), (404, r#"there is no object "none" in bucket models"#));

    for key in names(&all) {
        root.delete_object("models", &key).await.unwrap();
    }
    root.delete_object("models", "four").await.unwrap();
    root.delete_bucket("models").await.unwrap();
    assert!(root.list_buckets().await.unwrap().is_empty());
}

#[tokio::test]
async fn in_a_storage_of_this_process() {
    let storage = S3Server::start().await.unwrap();
    let manager = with_storage(&storage.endpoint(), [S3Server::ACCESS_KEY_ID, S3Server::ACCESS_KEY_SECRET]).await;
    a_bucket_is_made_filled_listed_emptied_and_deleted(&manager).await;
}

#[tokio::test]
async fn in_moto() {
    let folder = match MotoServer::folder().await {
        Ok(folder) => folder,
        Err(missing) => return skip(&format!("{missing:#}")),
    };
    let moto = MotoServer::start(&folder).await.unwrap();
    let manager = with_storage(moto.endpoint(), ["access", "secret"]).await;
    a_bucket_is_made_filled_listed_emptied_and_deleted(&manager).await;
    let root = manager.root().await;
    let bucket = CreateBucketRequest { name: "models".to_owned() };
    root.create_bucket(&bucket).await.unwrap();
    root.put_object("models", "one", b"1".to_vec()).await.unwrap();
    let (status, detail) = refusal(root.delete_bucket("models").await);
    assert_eq!((status, detail.as_str()), (409, "bucket models is not empty; delete what is in it first"));
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_the_storage_is_asked() {
    let manager = with_storage("http://127.0.0.1:9", ["access", "secret"]).await;
    manager.add_guest().await;
    let (root, guest) = (manager.root().await, manager.guest().await);
    let (status, detail) = refusal(root.create_bucket(&CreateBucketRequest { name: "A/b".into() }).await);
    assert!(status == 422 && detail.starts_with("name \"A/b\": 3 to 63"), "{detail}");
    let (status, detail) = refusal(root.get_object("models", "a/../../b").await);
    assert!(status == 422 && detail.starts_with("object_key"), "{detail}");
    assert_eq!(refusal(guest.put_object("models", "a", b"1".to_vec()).await).0, 403);
    let (status, detail) = refusal(root.list_buckets().await);
    assert!(status == 502 && !detail.contains("secret"), "{detail}");
}

#[tokio::test]
async fn without_a_storage_there_are_no_buckets() {
    let manager = Running::start(SQLITE).await;
    let (status, detail) = refusal(manager.root().await.list_buckets().await);
    assert!(status == 404 && detail.contains("objectStorage"), "{detail}");
}
