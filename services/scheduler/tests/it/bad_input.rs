//! Whoever claims too much, or what is not theirs, is told so, and nobody else notices.

use std::time::Duration;

use df_api::Bitmap;
use df_api::cluster::Role;
use df_api::scheduler::{Decision, HELD_MAX, HeldTask, HostReport, PeerReport};
use scheduler::config::Join;

use crate::access::start_under;
use crate::fake_manager::FakeManager;
use crate::{Running, client, host, host_report, peer, peer_report, task};

#[tokio::test]
async fn a_host_reports_for_itself_only() {
    let manager = FakeManager::start().await;
    let scheduler = start_under(&manager, Join::Token).await;
    let red = client(&scheduler.url, Some(&manager.credential_of("red", 2, Role::Peer)));
    let own = "red-10.0.0.1-65002";
    red.report_host(&host(own), &host_report(own), Duration::ZERO).await.unwrap();
    red.report_peer(&task(), &peer(own), &peer_report(own), Duration::ZERO).await.unwrap();
    for other in ["blue-10.0.0.2-65002", "red", "red-blue-10.0.0.2-65002"] {
        let refusals = [
            red.report_host(&host(other), &host_report(other), Duration::ZERO).await.unwrap_err(),
            red.report_peer(&task(), &peer(other), &peer_report(other), Duration::ZERO).await.unwrap_err(),
            red.report_peers(&host(other), &Default::default()).await.unwrap_err(),
            red.delete_peer(&task(), &peer(other), u64::MAX).await.unwrap_err(),
            red.delete_host(&host(other), u64::MAX).await.unwrap_err(),
        ];
        for refusal in refusals {
            assert_eq!(refusal.status(), Some(403), "{other}");
            assert!(refusal.problem().unwrap().detail.contains(other), "{refusal}");
        }
    }
}

#[tokio::test]
async fn only_a_seed_peer_is_believed_to_be_one() {
    let manager = FakeManager::start().await;
    let scheduler = start_under(&manager, Join::Token).await;
    let name = "red-10.0.0.1-65002";
    let as_seed = || HostReport { seed: true, ..host_report(name) };
    let reported = async |role: Role, report: HostReport| {
        let red = client(&scheduler.url, Some(&manager.credential_of("red", 2, role)));
        let answered = red.report_host(&host(name), &report, Duration::ZERO).await;
        answered.map(|_| red.list_hosts())?.await
    };
    for role in [Role::Peer, Role::Scheduler] {
        let refused = reported(role, as_seed()).await.unwrap_err();
        assert_eq!(refused.status(), Some(403));
        let said = &refused.problem().unwrap().detail;
        assert!(said.contains(name) && said.contains("seedPeer.enable"), "{said}");
    }
    assert!(!reported(Role::Peer, host_report(name)).await.unwrap()[0].seed);
    assert!(reported(Role::SeedPeer, as_seed()).await.unwrap()[0].seed);

    // Who asks nobody for a credential believes everybody.
    let open = start_under(&manager, Join::Open).await;
    open.client.report_host(&host(name), &as_seed(), Duration::ZERO).await.unwrap();
    assert!(open.client.list_hosts().await.unwrap()[0].seed);
}

#[tokio::test]
async fn an_address_belongs_to_one_host_as_long_as_it_lives() {
    let scheduler = Running::start(|_| {}).await;
    scheduler.announce("a").await;
    let thief = HostReport { url: host_report("a").url, ..host_report("b") };
    let refused = scheduler.client.report_host(&host("b"), &thief, Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.status(), Some(409));
    assert!(refused.problem().unwrap().detail.contains("host a"), "{refused}");
    scheduler.client.delete_host(&host("a"), crate::seq()).await.unwrap();
    let heir = HostReport { seq: crate::seq(), ..thief };
    scheduler.client.report_host(&host("b"), &heir, Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn more_than_there_can_be_is_refused_by_name() {
    let scheduler = Running::start(|_| {}).await;
    scheduler.announce("a").await;
    let mut pieces = Bitmap::default();
    pieces.set(4);
    let beyond = PeerReport { length: Some(1 << 20), piece_length: Some(1 << 18), pieces, ..peer_report("a") };
    let refused = scheduler.client.report_peer(&task(), &peer("a"), &beyond, Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.status(), Some(422));
    assert!(refused.problem().unwrap().detail.contains("piece 4"), "{refused}");

    let id = |at: usize| format!("{at:064x}").parse().unwrap();
    let held = |at: usize| HeldTask { id: id(at), length: 1, piece_length: 1 << 18, imported: false };
    let greedy = HostReport { tasks: Some((0..=HELD_MAX).map(held).collect()), ..host_report("a") };
    let refused = scheduler.client.report_host(&host("a"), &greedy, Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.status(), Some(422));
    assert!(refused.problem().unwrap().detail.contains("50001"), "{refused}");
    assert_eq!(scheduler.client.list_hosts().await.unwrap()[0].tasks, 0);

    let text =
        serde_json::to_string(&peer_report("a")).unwrap().replace("\"received_bytes\":0", "\"received_bytes\":-1");
    let url = format!("{}/v1/tasks/{}/peers/a", scheduler.url, task());
    let put = reqwest::Client::new().put(url).header("content-type", "application/json").body(text);
    let answer = put.send().await.unwrap();
    assert_eq!(answer.status(), 422);
    assert!(answer.text().await.unwrap().contains("received_bytes"));
    assert_eq!(scheduler.ask("a").await.decision, Decision::Origin, "and it is heard as before");
}

#[tokio::test]
async fn who_floods_is_told_to_wait_and_others_are_not() {
    let scheduler = Running::start(|config| config.host_request_rate_limit = 50).await;
    for name in ["loud", "calm"] {
        scheduler.announce(name).await;
    }
    let mut refused = None;
    for _ in 0..1_000 {
        if let Err(error) =
            scheduler.client.report_peer(&task(), &peer("loud"), &peer_report("loud"), Duration::ZERO).await
        {
            refused = Some(error);
            break;
        }
    }
    let refused = refused.expect("a thousand at once are too many");
    assert_eq!((refused.status(), refused.retry_after()), (Some(429), Some(Duration::from_secs(1))));
    assert!(refused.problem().unwrap().detail.contains("loud"), "{refused}");
    scheduler.ask("calm").await;
}
