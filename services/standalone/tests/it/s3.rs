//! An object of a store in a cluster.

use df_api::dfdaemon::CreateTaskRequest;
use df_api::task::StorageAccess;
use df_client::{DfdaemonClient, Transport, http_client};
use df_testkit::registry::RegistryAccess;
use df_testkit::{S3Server, random_bytes, read_whole};

use crate::cluster::Cluster;

/// Keys never leave a node, so that one of the two asks the store itself, and the other one asks it.
#[tokio::test]
async fn two_nodes_with_keys_of_their_own_take_an_object_from_its_store_once() {
    let server = S3Server::start().await.unwrap();
    let body = random_bytes(1, 120_000_000);
    server.put("bucket", "big", &body).unwrap();
    let cluster = Cluster::changed(RegistryAccess::Open, 1000, |options| options.allow.push(server.endpoint())).await;
    let storage = StorageAccess {
        endpoint: Some(server.endpoint()),
        access_key_id: Some(S3Server::ACCESS_KEY_ID.to_owned()),
        access_key_secret: Some(S3Server::ACCESS_KEY_SECRET.to_owned()),
        ..StorageAccess::default()
    };
    let request = CreateTaskRequest { storage: Some(storage), ..CreateTaskRequest::new("s3://bucket/big") };
    let fetch = async |number: usize| {
        let base = format!("http://{}", cluster.peer(number).local_addr);
        let client = DfdaemonClient::new(Transport::new(&base, http_client()).unwrap());
        let id = client.create_task(&request).await.unwrap().id;
        let answer = client.get_task_content(&id, None).await.unwrap();
        assert!(read_whole(answer).await.unwrap() == body, "wrong bytes on node {number}");
        client.get_task(&id).await.unwrap().received
    };
    let (one, two) = tokio::join!(fetch(1), fetch(2));
    assert_eq!(server.sent_bytes(), body.len() as u64, "{one:?} {two:?}");
    assert_eq!(one.origin_bytes + two.origin_bytes, body.len() as u64);
    assert_eq!(one.peer_bytes + two.peer_bytes, body.len() as u64);
}
