//! Parents whose lines break while a child reads from them: it gets the right bytes, and what the fault cost is printed.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use df_testkit::{Cut, Faults};

use crate::cluster::{Cluster, received};
use crate::lab::{Lab, PATIENCE};

const MIB: usize = 1024 * 1024;
/// Slow enough that a fault in the middle is one.
const LINE: u64 = 24 * MIB as u64;

/// Breaks something when the child has a third of it.
async fn pull_while(lab: &Lab, what: &str, breaks: impl AsyncFnOnce()) {
    let fault = async {
        lab.until_received(lab.layer.size_bytes() / 3).await;
        breaks().await;
    };
    let ((body, took), ()) = tokio::join!(lab.pull(&lab.child), fault);
    assert!(body == lab.layer.bytes, "wrong bytes");
    println!("{what}: {took:?}, {:?}", lab.received());
}

async fn paced(parents: usize) -> Lab {
    let lab = Lab::start(parents, 48 * MIB).await;
    for parent in &lab.parents {
        parent.line.set(Faults { bytes_per_second: Some(LINE), ..Faults::default() }).await.unwrap();
    }
    lab
}

#[tokio::test]
async fn nothing_is_wrong_for_comparison() {
    let lab = paced(2).await;
    pull_while(&lab, "no fault", async || {}).await;
    assert_eq!(lab.received().origin_bytes, 0);
    let most = lab.layer.size_bytes() * 21 / 20;
    assert!(lab.received().peer_bytes <= most, "hardly a byte comes twice: {:?}", lab.received());
}

#[tokio::test]
async fn a_parent_that_dies_in_the_middle_of_a_piece_costs_nothing_but_time() {
    let lab = paced(2).await;
    pull_while(&lab, "a parent dies", async || {
        lab.parents[0].line.set(Faults { refuse: true, ..Faults::default() }).await.unwrap();
        lab.parents[0].line.sever(Cut::Reset);
    })
    .await;
    assert_eq!(lab.received().origin_bytes, 0);
}

#[tokio::test]
async fn a_parent_that_falls_silent_is_worked_around() {
    let lab = paced(2).await;
    pull_while(&lab, "a parent stalls", async || {
        lab.parents[0].line.set(Faults { black_hole: true, ..Faults::default() }).await.unwrap();
    })
    .await;
    assert_eq!(lab.received().origin_bytes, 0);
}

#[tokio::test]
async fn the_only_parent_that_falls_silent_is_left_for_the_origin() {
    let lab = paced(1).await;
    pull_while(&lab, "the only parent stalls", async || {
        lab.parents[0].line.set(Faults { black_hole: true, ..Faults::default() }).await.unwrap();
    })
    .await;
    assert!(lab.received().origin_bytes < lab.layer.size_bytes(), "what had come is kept");
}

#[tokio::test]
async fn a_parent_at_ten_megabits_does_not_hold_the_others_up() {
    let lab = paced(2).await;
    pull_while(&lab, "a parent at 10 Mbit/s", async || {
        lab.parents[0].line.set(Faults { bytes_per_second: Some(1_250_000), ..Faults::default() }).await.unwrap();
    })
    .await;
    assert_eq!(lab.received().origin_bytes, 0);
}

#[tokio::test]
async fn when_all_parents_die_the_origin_has_the_rest() {
    let lab = paced(2).await;
    pull_while(&lab, "all parents die", async || {
        for parent in &lab.parents {
            parent.line.set(Faults { refuse: true, ..Faults::default() }).await.unwrap();
            parent.line.sever(Cut::Reset);
        }
    })
    .await;
    assert!(lab.received().origin_bytes < lab.layer.size_bytes(), "what had come is kept");
}

#[tokio::test]
async fn a_scheduler_that_dies_is_not_missed() {
    let lab = paced(2).await;
    pull_while(&lab, "the scheduler dies", async || lab.scheduler_stop.cancel()).await;
    assert_eq!(lab.received().origin_bytes, 0);
}

#[tokio::test]
async fn a_parent_that_dies_after_the_scheduler_is_replaced_by_the_other() {
    let lab = paced(2).await;
    pull_while(&lab, "the scheduler dies, and then a parent", async || {
        lab.scheduler_stop.cancel();
        lab.parents[0].line.set(Faults { refuse: true, ..Faults::default() }).await.unwrap();
        lab.parents[0].line.sever(Cut::Fin);
    })
    .await;
    assert_eq!(lab.received().origin_bytes, 0);
}

/// The lease on the origin passes on, and what the children have of it is not fetched again.
#[tokio::test]
async fn a_seed_that_dies_while_it_fetches_is_followed_by_a_peer() {
    let cluster = Cluster::start(24 * MIB).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.rate(16 * MIB as u64));
    let started = Instant::now();
    let fault = async {
        let half = async || Ok((cluster.served_bytes(&layer) >= layer.size_bytes() / 2).then_some(()));
        df_testkit::until("the seed has half of it", PATIENCE, half).await.unwrap();
        cluster.platform.seed_stop.cancel();
    };
    let (first, second, ()) = tokio::join!(cluster.pull(1, &layer), cluster.pull(2, &layer), fault);
    assert!(first == layer.bytes && second == layer.bytes, "wrong bytes");
    // Its listeners are gone, but in this process its download goes on: only the children's bytes say who followed.
    let took = [1, 2].map(|peer| received(cluster.peer(peer), &layer).origin_bytes as f64 / layer.size_bytes() as f64);
    println!(
        "the seed dies half-way: {:?}, the children took {took:.2?} of the layer from the origin",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_slow_line_of_the_only_parent_is_no_reason_to_leave_it() {
    let lab = Lab::start(1, 4 * MIB).await;
    let faults =
        Faults { bytes_per_second: Some(2 * MIB as u64), latency: Duration::from_millis(50), ..Faults::default() };
    lab.parents[0].line.set(faults).await.unwrap();
    pull_while(&lab, "one parent at 16 Mbit/s", async || {}).await;
    assert_eq!(lab.received().origin_bytes, 0);
}

/// Of peers as of origins; the parent is not to blame for it.
#[tokio::test]
async fn the_childs_own_limits_hold_for_peers_too() {
    const LIMIT: Option<NonZeroU64> = NonZeroU64::new(MIB as u64);
    let limits: [fn(&mut dfdaemon::Config); 2] =
        [|config| config.download.task_bandwidth_limit = LIMIT, |config| config.download.bandwidth_limit = LIMIT];
    let pulls = limits.map(async |limit| {
        let lab = Lab::with(1, 3 * MIB, limit).await;
        let (body, took) = lab.pull(&lab.child).await;
        assert!(body == lab.layer.bytes, "wrong bytes");
        assert!(took >= Duration::from_millis(2000), "{took:?}");
        assert_eq!(lab.received().origin_bytes, 0);
    });
    futures_util::future::join_all(pulls).await;
}
