//! A client that hangs up: the download goes on while others want it, and stops otherwise.

use std::time::Duration;

use df_api::dfdaemon::{CreateTaskRequest, TaskState};
use df_client::{DfdaemonClient, Transport, http_client};
use df_testkit::until;
use dfdaemon::Dfdaemon;
use futures_util::StreamExt as _;

use crate::cluster::{Cluster, task_id};

const MIB: usize = 1024 * 1024;
const BOUND: Duration = Duration::from_secs(60);
/// Longer than a download goes on that nobody wants. What must not happen by then cannot be waited for otherwise.
const UNWANTED: Duration = Duration::from_secs(12);

/// Reads some of the layer and hangs up.
async fn read_some(cluster: &Cluster, peer: usize) {
    let mut body = cluster.get(peer, cluster.layer()).send().await.unwrap().bytes_stream();
    body.next().await.unwrap().unwrap();
}

fn state(cluster: &Cluster, daemon: &Dfdaemon) -> TaskState {
    daemon.peer.task(&task_id(cluster.layer())).unwrap().status().state
}

async fn until_state(cluster: &Cluster, daemon: &Dfdaemon, wanted: TaskState) {
    let reached = async || Ok((state(cluster, daemon) == wanted).then_some(()));
    until(&format!("the task is {wanted:?}"), BOUND, reached).await.unwrap();
}

/// Because nobody wants it; or, on a busy machine, because the origin has been silent for too long by then.
async fn until_stopped(cluster: &Cluster, daemon: &Dfdaemon) {
    let stopped = async || Ok((state(cluster, daemon) != TaskState::Running).then_some(()));
    until("the task has stopped", BOUND, stopped).await.unwrap();
}

#[tokio::test]
async fn a_download_that_nobody_wants_stops_and_can_be_taken_up_again() {
    let cluster = Cluster::start(40 * MIB).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.hold_at(layer.size_bytes() / 2));
    read_some(&cluster, 1).await;
    until_stopped(&cluster, cluster.peer(1)).await;
    until_stopped(&cluster, &cluster.platform.seed).await;
    let kept = cluster.platform.seed.peer.task(&task_id(&layer)).unwrap().status().held_bytes;
    assert!(kept > layer.size_bytes() / 4, "{kept}");

    cluster.release(&layer);
    assert_eq!(cluster.pull(1, &layer).await, layer.bytes);
    assert!(cluster.served_bytes(&layer) < layer.size_bytes() * 5 / 4, "what was there is not fetched again");
}

#[tokio::test]
async fn one_that_is_nearly_done_goes_on() {
    let cluster = Cluster::start(40 * MIB).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.hold_at(layer.size_bytes() * 39 / 40));
    read_some(&cluster, 1).await;
    let most = async || {
        let held = cluster.peer(1).peer.task(&task_id(&layer)).unwrap().status().held_bytes;
        Ok((held >= layer.size_bytes() * 4 / 5).then_some(()))
    };
    until("most of it is there", BOUND, most).await.unwrap();
    tokio::time::sleep(UNWANTED).await;
    cluster.release(&layer);
    until_state(&cluster, cluster.peer(1), TaskState::Complete).await;
    assert!(cluster.served_bytes(&layer) < layer.size_bytes() * 11 / 10);
}

#[tokio::test]
async fn one_that_somebody_else_reads_goes_on() {
    let cluster = Cluster::start(40 * MIB).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.rate(2 * MIB as u64));
    let reads_on = cluster.pull(2, &layer);
    let hangs_up = read_some(&cluster, 1);
    let (body, ()) = tokio::join!(reads_on, hangs_up);
    assert_eq!(body, layer.bytes);
    assert_eq!(cluster.served_bytes(&layer), layer.size_bytes());
}

/// As a preheated node: whoever started it has not taken that back.
#[tokio::test]
async fn what_was_started_without_a_reader_goes_on_after_children_have_come_and_gone() {
    let cluster = Cluster::start(MIB).await;
    let origin = cluster.registry.origin();
    let body = df_testkit::random_bytes(1, 16 * MIB);
    origin.put("file", df_testkit::Content::new(body).hold_at(9 * MIB as u64));
    let peer = cluster.peer(1);
    let daemon = DfdaemonClient::new(Transport::new(&format!("http://{}", peer.local_addr), http_client()).unwrap());
    let request = CreateTaskRequest::new(origin.url("file"));
    let id = daemon.create_task(&request).await.unwrap().id;
    let status = async || anyhow::Ok(Some(daemon.get_task(&id).await?));
    let some = async || Ok(status().await?.filter(|status| status.held_bytes >= 4 * MIB as u64));
    until("some of it is there", BOUND, some).await.unwrap();
    let content = format!("{}/v1/tasks/{id}/content", peer.peer.config().url);
    let credential = cluster.peer(2).peer.gate().credential().unwrap();
    let child = cluster.http.get(content).bearer_auth(credential).header("range", "bytes=0-999").send().await.unwrap();
    assert_eq!(child.bytes().await.unwrap().len(), 1000);
    tokio::time::sleep(UNWANTED).await;
    origin.release("file");
    let complete = async || Ok(status().await?.filter(|status| status.state == TaskState::Complete));
    until("all of it is there", BOUND, complete).await.unwrap();
}
