//! Many nodes at once stand in rows, each reading from the one above; a relay in the middle goes.

use std::collections::BTreeSet;

use df_api::scheduler::{RowPlace, TaskView};
use df_testkit::registry::RegistryAccess;
use futures_util::future::join_all;

use crate::cluster::{Cluster, received, task_id};
use crate::lab::PATIENCE;

const MIB: usize = 1024 * 1024;
const NODES: usize = 13;

/// Where a node stands, by its number from 1.
fn place(view: &TaskView, node: usize) -> Option<RowPlace> {
    let name = format!("peer-{node}-");
    view.peers.iter().find(|peer| peer.host_id.as_str().starts_with(&name))?.place
}

#[tokio::test]
async fn rows_below_a_relay_that_goes_get_every_byte_and_the_origin_is_asked_once() {
    let cluster = Cluster::changed(RegistryAccess::Open, 24 * MIB, |options| options.peers = NODES).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.rate(8 * MIB as u64));
    let scheduler = cluster.platform.scheduler_client().unwrap();
    let fault = async {
        let mut seen = None;
        df_testkit::until("all stand in rows and have begun", PATIENCE, async || {
            let Ok(view) = scheduler.get_task(&task_id(&layer)).await else { return Ok(None) };
            let stands = (1..=NODES).all(|node| place(&view, node).is_some());
            let begun = (1..=NODES).all(|node| received(cluster.peer(node), &layer).peer_bytes > 0);
            seen = (stands && begun).then_some(view);
            Ok(seen.is_some().then_some(()))
        })
        .await
        .unwrap();
        let view = seen.unwrap();
        let rows: BTreeSet<_> = (1..=NODES).filter_map(|node| place(&view, node)).map(|place| place.row).collect();
        assert!(rows.len() >= 3, "{NODES} nodes stand in {rows:?}");
        let second = *rows.iter().nth(1).unwrap();
        let relay = (1..=NODES).find(|&node| place(&view, node).is_some_and(|place| place.row == second)).unwrap();
        cluster.platform.peer_stops[relay - 1].cancel();
        (rows.len(), relay)
    };
    let pulls = join_all((1..=NODES).map(|node| cluster.try_pull(node, &layer)));
    let (bodies, (rows, relay)) = tokio::join!(pulls, fault);
    let mut peers = 0;
    for (node, body) in (1..).zip(bodies).filter(|(node, _)| *node != relay) {
        assert!(body.unwrap() == layer.bytes, "wrong bytes at node {node}");
        let got = received(cluster.peer(node), &layer);
        assert_eq!(got.origin_bytes, 0, "node {node}");
        peers += got.peer_bytes;
    }
    let share = peers as f64 / (layer.size_bytes() * (NODES as u64 - 1)) as f64;
    println!("{rows} rows, a relay of the second goes: each of the others received {share:.3} of the layer from peers");
    assert_eq!(cluster.served_bytes(&layer), layer.size_bytes());
}
