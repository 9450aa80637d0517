//! A file that one node imports: the others get it from there, and there is no origin to ask.

use bytes::Bytes;
use df_api::dfdaemon::{ImportTaskRequest, TaskStatus};
use df_client::{ClientError, DfdaemonClient, Transport, http_client};
use df_testkit::{RegistryAccess, STANDSTILL, random_bytes, sha256_hex};
use dfdaemon::Dfdaemon;

use crate::cluster::Cluster;

pub fn client(daemon: &Dfdaemon) -> DfdaemonClient {
    DfdaemonClient::new(Transport::new(&format!("http://{}", daemon.local_addr), http_client()).unwrap())
}

fn request(body: &[u8]) -> ImportTaskRequest {
    let digest = format!("sha256:{}", sha256_hex(body)).parse().unwrap();
    ImportTaskRequest { digest, tag: Some("t".to_owned()), application: None, piece_length: None }
}

async fn import(daemon: &Dfdaemon, body: &Bytes) -> TaskStatus {
    client(daemon).import_task(&request(body), body.len() as u64, body.clone()).await.unwrap()
}

async fn export(daemon: &Dfdaemon, request: &ImportTaskRequest) -> Result<Bytes, ClientError> {
    let client = client(daemon);
    let id = client.create_task(&request.to_create()).await?.id;
    Ok(client.get_task_content(&id, None).await?.bytes().await.unwrap())
}

#[tokio::test]
async fn what_one_node_imports_every_other_gets_from_it() {
    let cluster = Cluster::changed(RegistryAccess::Open, 1000, |options| options.peers = 5).await;
    for length in [0, 1000, 20_000_000] {
        let body = random_bytes(length as u64, length);
        let id = import(cluster.peer(1), &body).await.id;
        let request = request(&body);
        let exports = (2..=5).map(|peer| export(cluster.peer(peer), &request));
        for exported in futures_util::future::join_all(exports).await {
            assert!(exported.unwrap() == body, "wrong bytes");
        }
        let mut received = 0;
        for peer in 2..=5 {
            let task = client(cluster.peer(peer)).get_task(&id).await.unwrap();
            assert_eq!((task.received.origin_bytes, task.received.seed_bytes), (0, 0));
            received += task.received.peer_bytes;
        }
        assert!(received >= 4 * length as u64);
        assert!(cluster.platform.seed.peer.task(&id).is_none(), "no seed is needed");
    }
}

#[tokio::test]
async fn what_nobody_holds_any_more_is_said_so_in_bounded_time() {
    let cluster = Cluster::start(1000).await;
    let body = random_bytes(1, 3_000_000);
    let id = import(cluster.peer(1), &body).await.id;
    client(cluster.peer(1)).delete_task(&id).await.unwrap();
    let request_of = request(&body);
    let asked = tokio::time::timeout(STANDSTILL, export(cluster.peer(2), &request_of));
    let refused = asked.await.expect("an answer").unwrap_err();
    assert_eq!(refused.status(), Some(404));
    let said = refused.to_string();
    assert!(said.contains("nobody in this cluster has it") && said.contains("import it again"), "{said}");
    import(cluster.peer(2), &body).await;
    assert!(export(cluster.peer(1), &request(&body)).await.unwrap() == body, "imported again, elsewhere");
}

#[tokio::test]
async fn an_import_outlives_its_node_where_another_has_it() {
    let cluster = Cluster::changed(RegistryAccess::Open, 1000, |options| options.peers = 3).await;
    let body = random_bytes(2, 9_000_000);
    import(cluster.peer(1), &body).await;
    assert!(export(cluster.peer(2), &request(&body)).await.unwrap() == body);
    cluster.platform.peer_stops[0].cancel();
    assert!(export(cluster.peer(3), &request(&body)).await.unwrap() == body, "from the second");
}
