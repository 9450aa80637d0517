//! Who wants only what peers have, and who wants only a part: for them nobody is sent to the origin.

use bytes::Bytes;
use df_api::ByteRange;
use df_api::dfdaemon::{CreateTaskRequest, TaskStatus};
use df_client::ClientError;
use df_testkit::{Content, random_bytes};
use dfdaemon::Dfdaemon;

use crate::cluster::Cluster;
use crate::imports::client;

async fn fetch(daemon: &Dfdaemon, request: &CreateTaskRequest) -> Result<(Bytes, TaskStatus), ClientError> {
    let client = client(daemon);
    let id = client.create_task(request).await?.id;
    let body = client.get_task_content(&id, request.range).await?.bytes().await.unwrap();
    Ok((body, client.get_task(&id).await?))
}

#[tokio::test]
async fn with_the_origin_disabled_only_peers_give_it() {
    let cluster = Cluster::start(1000).await;
    let origin = cluster.registry.origin();
    // Small ones are asked of the seed at once, others later.
    for (name, length) in [("small", 1000), ("big", 9_000_000)] {
        let body = random_bytes(length as u64, length);
        origin.put(name, Content::new(body.clone()));
        let all = CreateTaskRequest::new(origin.url(name));
        let disabled = CreateTaskRequest { disable_origin: true, ..all.clone() };
        let refused = fetch(cluster.peer(1), &disabled).await.unwrap_err();
        assert_eq!(refused.status(), Some(404));
        assert!(refused.to_string().contains("origin"), "{refused}");
        assert_eq!(origin.stats(name).requests, 0, "neither here nor by the seed");

        assert!(fetch(cluster.peer(2), &all).await.unwrap().0 == body);
        let asked = origin.stats(name).requests;
        let (found, task) = fetch(cluster.peer(1), &disabled).await.unwrap();
        assert!(found == body && task.received.origin_bytes == 0);
        assert_eq!(origin.stats(name).requests, asked);
    }
}

/// Whoever allows it gets it, also when it joins somebody who does not.
#[tokio::test]
async fn who_lets_the_origin_be_asked_is_not_held_back_by_who_does_not() {
    let cluster = Cluster::start(1000).await;
    let body = random_bytes(3, 3_000_000);
    cluster.registry.origin().put("file", Content::new(body.clone()));
    let all = CreateTaskRequest::new(cluster.registry.origin().url("file"));
    let disabled = CreateTaskRequest { disable_origin: true, ..all.clone() };
    client(cluster.peer(1)).create_task(&disabled).await.unwrap();
    assert!(fetch(cluster.peer(1), &all).await.unwrap().0 == body);
}

#[tokio::test]
async fn a_part_comes_from_who_has_it_else_from_the_origin_and_no_seed_fetches_the_rest() {
    let cluster = Cluster::start(1000).await;
    let origin = cluster.registry.origin();
    let body = random_bytes(4, 80_000_000);
    origin.put("file", Content::new(body.clone()));
    let all = CreateTaskRequest::new(origin.url("file"));
    let part = |start: u64| CreateTaskRequest { range: ByteRange::new(start, start + 1000), ..all.clone() };
    let (found, task) = fetch(cluster.peer(1), &part(50_000_000)).await.unwrap();
    assert!(found == body.slice(50_000_000..50_001_000));
    assert!(cluster.platform.seed.peer.task(&task.id).is_none());
    assert!(origin.stats("file").bytes < 5_000_000, "one piece, and a byte");

    // Who wants all of it is not held up, nor served by who has a part.
    assert!(fetch(cluster.peer(2), &all).await.unwrap().0 == body);
    let sent = origin.stats("file").bytes;
    let (found, task) = fetch(cluster.peer(1), &part(10_000_000)).await.unwrap();
    assert!(found == body.slice(10_000_000..10_001_000));
    assert_eq!(origin.stats("file").bytes, sent, "from the peers");
    assert!(task.received.peer_bytes + task.received.seed_bytes < 5_000_000);
}
