//! A parent that is still downloading is a good parent.

use std::time::Instant;

use futures_util::StreamExt as _;

use crate::cluster::{Cluster, received};

const MIB: usize = 1024 * 1024;

/// The registry stops at 30 % until told to go on: what the child has by then came through a parent that was not done.
#[tokio::test]
async fn a_child_reads_from_a_parent_that_is_at_thirty_per_cent() {
    let cluster = Cluster::start(20 * MIB).await;
    let layer = cluster.layer().clone();
    let held = layer.size_bytes() * 3 / 10;
    cluster.change(&layer, |content| content.hold_at(held));
    let mut first = cluster.get(1, &layer).send().await.unwrap().bytes_stream();
    let mut at_parent = 0;
    while at_parent < held - MIB as u64 {
        at_parent += first.next().await.unwrap().unwrap().len() as u64;
    }
    let mut second = cluster.get(2, &layer).send().await.unwrap().bytes_stream();
    let mut at_child = 0;
    while at_child < held - MIB as u64 {
        at_child += second.next().await.unwrap().unwrap().len() as u64;
    }
    assert!(!cluster.peer(1).peer.task(&crate::cluster::task_id(&layer)).unwrap().stored().is_complete());

    cluster.release(&layer);
    for (mut body, mut received) in [(first, at_parent), (second, at_child)] {
        while let Some(chunk) = body.next().await {
            received += chunk.unwrap().len() as u64;
        }
        assert_eq!(received, layer.size_bytes());
    }
    assert_eq!(cluster.served_bytes(&layer), layer.size_bytes());
}

/// Both times in one run, the origin setting the pace: a child that starts at 30 % ends within 1.2 × the parent's time.
#[tokio::test]
async fn a_late_child_ends_with_its_parent() {
    let cluster = Cluster::start(40 * MIB).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.rate(8 * MIB as u64));
    let started = Instant::now();
    let mut parent = cluster.get(1, &layer).send().await.unwrap().bytes_stream();
    let mut at_parent = 0;
    while at_parent < layer.size_bytes() * 3 / 10 {
        at_parent += parent.next().await.unwrap().unwrap().len() as u64;
    }
    let child_started = Instant::now();
    let child = async {
        let mut body = cluster.get(2, &layer).send().await.unwrap().bytes_stream();
        body.next().await.unwrap().unwrap();
        let first_byte = Instant::now();
        while let Some(chunk) = body.next().await {
            chunk.unwrap();
        }
        (first_byte, Instant::now())
    };
    let parent = async {
        while let Some(chunk) = parent.next().await {
            chunk.unwrap();
        }
        Instant::now()
    };
    let ((child_first_byte, child_ended), parent_ended) = tokio::join!(child, parent);
    assert!(child_first_byte < parent_ended);
    let (parent_took, both_took) = (parent_ended - started, parent_ended.max(child_ended) - started);
    let ratio = both_took.as_secs_f64() / parent_took.as_secs_f64();
    println!("parent {parent_took:?}, child {:?}, both within {ratio:.3} x the parent", child_ended - child_started);
    assert!(ratio <= 1.2, "{ratio}");
    assert_eq!(received(cluster.peer(2), &layer).origin_bytes, 0);
    assert_eq!(cluster.served_bytes(&layer), layer.size_bytes());
}

/// Also within a piece: what has landed is handed on long before its piece can be checked.
#[tokio::test]
async fn bytes_pass_through_in_small_steps() {
    const STEP: u64 = 256 * 1024;
    let cluster = Cluster::start(20 * MIB).await;
    let layer = cluster.layer().clone();
    let piece_length = df_api::task::piece_length(Some(layer.size_bytes()));
    let held = 2 * piece_length + 5 * STEP / 2;
    cluster.change(&layer, |content| content.hold_at(held));
    let mut runtime = cluster.get(1, &layer).send().await.unwrap().bytes_stream();
    runtime.next().await.unwrap().unwrap();
    let seed = cluster.platform.seed.peer.config().url.clone();
    let url = format!("{seed}/v1/tasks/{}/content", crate::cluster::task_id(&layer));
    let credential = cluster.peer(1).peer.gate().credential().unwrap();
    let range = format!("bytes={}-{}", 2 * piece_length, 3 * piece_length - 1);
    let answer = cluster.http.get(url).bearer_auth(credential).header("range", range).send().await.unwrap();
    assert_eq!(answer.status(), 206);
    let mut child = answer.bytes_stream();
    let mut passed = 0;
    while passed < held - 2 * piece_length - STEP {
        passed += child.next().await.unwrap().unwrap().len() as u64;
    }
    cluster.release(&layer);
}
