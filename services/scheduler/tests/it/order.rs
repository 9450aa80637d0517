//! Requests that are lost, late or doubled change nothing of the outcome.

use std::time::Duration;

use df_api::scheduler::{Decision, PeerReport, PeerState};
use tokio::time::timeout;

use crate::{LONG, Running, SOON, holding, host, host_report, names, obeying, peer, peer_report, seq, task};

#[tokio::test]
async fn a_report_that_comes_late_is_answered_by_what_is_known() {
    let scheduler = Running::start(|_| {}).await;
    scheduler.client.report_host(&host("seed"), &holding("seed"), Duration::ZERO).await.unwrap();
    scheduler.announce("a").await;
    let late = peer_report("a");
    let complete = PeerReport { state: PeerState::Complete, length: Some(1 << 20), ..peer_report("a") };
    scheduler.report(&complete, Duration::ZERO).await;
    let told = scheduler.report(&late, LONG).await;
    assert!(told.seq == complete.seq && late.seq < complete.seq, "{told:?}");
    let view = scheduler.client.get_task(&task()).await.unwrap();
    assert!(view.peers.iter().all(|peer| peer.state == PeerState::Complete), "{view:?}");
    let told = scheduler.client.report_host(&host("seed"), &host_report("seed"), Duration::ZERO).await.unwrap();
    let mut old = holding("seed");
    old.seq = told.seq - 1;
    assert_eq!(scheduler.client.report_host(&host("seed"), &old, Duration::ZERO).await.unwrap().seq, told.seq);
}

#[tokio::test]
async fn who_left_is_not_brought_back_by_what_it_said_before_nor_sent_away_by_an_old_farewell() {
    let scheduler = Running::start(|_| {}).await;
    scheduler.announce("a").await;
    let (late, farewell) = (peer_report("a"), seq());
    scheduler.client.delete_peer(&task(), &peer("a"), farewell).await.unwrap();
    let refused = scheduler.client.report_peer(&task(), &peer("a"), &late, Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.status(), Some(404));
    assert_eq!(scheduler.ask("a").await.decision, Decision::Origin, "it is back, and its farewell is not");
    scheduler.client.delete_peer(&task(), &peer("a"), farewell).await.unwrap();
    assert_eq!(scheduler.client.get_task(&task()).await.unwrap().peers.len(), 1);

    let (late, farewell) = (host_report("a"), seq());
    scheduler.client.delete_host(&host("a"), farewell).await.unwrap();
    let refused = scheduler.client.report_host(&host("a"), &late, Duration::ZERO).await.unwrap_err();
    assert_eq!((refused.status(), scheduler.client.list_hosts().await.unwrap().len()), (Some(404), 0));
    scheduler.announce("a").await;
    scheduler.client.delete_host(&host("a"), farewell).await.unwrap();
    assert_eq!(scheduler.client.list_hosts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_has_not_changed_is_said_in_short_and_is_worth_waiting_for() {
    let (scheduler, other) = (Running::start(|_| {}).await, Running::start(|_| {}).await);
    for scheduler in [&scheduler, &other] {
        scheduler.client.report_host(&host("seed"), &holding("seed"), Duration::ZERO).await.unwrap();
        scheduler.announce("a").await;
    }
    scheduler.announce("b").await;
    let told = scheduler.ask("a").await;
    let a = obeying(&peer_report("a"), &told);
    let short = scheduler.report(&a, Duration::ZERO).await;
    assert_eq!((short.decision, short.parents.len(), short.row), (Decision::Unchanged, 0, None));
    assert_eq!((short.version, short.refresh_after_ms > 0), (told.version, true));
    // A scheduler that has just started has the same to say of it.
    assert_eq!(other.report(&obeying(&a, &told), Duration::ZERO).await.decision, Decision::Unchanged);
    let client = scheduler.client.clone();
    let waits = obeying(&a, &told);
    let poll = tokio::spawn(async move { client.report_peer(&task(), &peer("a"), &waits, LONG).await });
    scheduler.ask("b").await;
    let news = timeout(SOON, poll).await.expect("a mate is news").unwrap().unwrap();
    assert_eq!((news.decision, names(&news)), (Decision::Parents, vec!["b", "seed"]));
    assert_ne!(news.version, told.version);
}
