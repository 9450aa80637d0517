//! Reports in, decisions out, and long polls that end when there is something to say.

use std::sync::Arc;
use std::time::Duration;

use df_api::scheduler::{Complaint, ComplaintReason, Decision, HostReport, ParentRole, PeerReport, PeerState};
use tokio::time::timeout;

use crate::{LONG, Running, SOON, fetched, holding, host, host_report, names, obeying, peer, peer_report, seq, task};

#[tokio::test]
async fn a_cold_ask_names_the_seed_and_wakes_it_with_a_duty() {
    let scheduler = Running::start(|_| {}).await;
    scheduler.announce("seed").await;
    scheduler.announce("a").await;
    let client = scheduler.client.clone();
    let poll = tokio::spawn(async move { client.report_host(&host("seed"), &host_report("seed"), LONG).await });

    let decision = scheduler.ask("a").await;

    assert_eq!((decision.decision, names(&decision)), (Decision::Parents, vec!["seed"]));
    assert_eq!((decision.parents[0].url.as_str(), decision.parents[0].seed), ("http://seed:4001", true));
    let told = timeout(SOON, poll).await.expect("the poll is woken").unwrap().unwrap();
    assert_eq!(told.duties.len(), 1);
    let fetched = fetched(&told.duties[0]);
    assert_eq!((&fetched.id, &fetched.origin), (&task(), &peer_report("a").origin));
}

#[tokio::test]
async fn the_second_asker_stands_beside_the_first_and_both_read_from_the_seed() {
    let scheduler = Running::start(|_| {}).await;
    for name in ["seed", "a", "b"] {
        scheduler.announce(name).await;
    }
    scheduler.ask("a").await;
    let told = scheduler.ask("b").await;
    let roles: Vec<_> = told.parents.iter().map(|parent| (parent.peer_id.as_str(), parent.role, parent.slot)).collect();
    assert_eq!(roles, [("a", ParentRole::Mate, 0), ("seed", ParentRole::Above, 0)]);
    let row = told.row.unwrap();
    assert_eq!((row.width, row.place.unwrap().slot), (4, 1));
    let view = scheduler.client.get_task(&task()).await.unwrap();
    let places: Vec<_> = view.peers.iter().map(|peer| peer.place.map(|place| place.slot)).collect();
    assert_eq!((places, view.peers[1].place), (vec![Some(0), Some(1)], row.place));
}

#[tokio::test]
async fn a_herd_is_told_in_few_answers_and_only_by_those_it_concerns() {
    let scheduler = Running::start(|_| {}).await;
    scheduler.client.report_host(&host("seed"), &holding("seed"), Duration::ZERO).await.unwrap();
    let names: Vec<String> = (0..9).map(|at| format!("p{at}")).collect();
    for name in &names {
        scheduler.announce(name).await;
    }
    let mut first = peer_report("p0");
    let told = scheduler.report(&first, Duration::ZERO).await;
    first = obeying(&first, &told);
    let mut parents = told.parents.len();
    let herd = async {
        for name in &names[1..] {
            scheduler.ask(name).await;
        }
    };
    let (mut answers, _) = (0, herd.await);
    while parents < 4 {
        let told = timeout(SOON, scheduler.report(&first, LONG)).await.expect("mates are news");
        (first, parents) = (obeying(&first, &told), told.parents.len());
        answers += 1;
    }
    assert!(answers <= 3, "{answers} answers for three mates");
    let complete = PeerReport { state: PeerState::Failed, ..peer_report("p8") };
    let held = async { timeout(Duration::from_millis(200), scheduler.report(&first, LONG)).await };
    let (held, _) = tokio::join!(held, scheduler.report(&complete, Duration::ZERO));
    assert!(held.is_err(), "two rows below is none of its business");
}

#[tokio::test]
async fn a_lost_duty_answer_is_repeated_until_it_is_acknowledged() {
    let scheduler = Running::start(|_| {}).await;
    scheduler.announce("seed").await;
    scheduler.ask("a").await;
    let lost = scheduler.client.report_host(&host("seed"), &host_report("seed"), LONG).await.unwrap().duties;
    let again = scheduler.client.report_host(&host("seed"), &host_report("seed"), LONG).await.unwrap().duties;
    assert_eq!((lost.len(), &lost), (1, &again));
    let taken = HostReport { duties_taken: vec![lost[0].id], ..host_report("seed") };
    let after = scheduler.client.report_host(&host("seed"), &taken, Duration::ZERO).await.unwrap();
    assert_eq!(after.duties, []);
}

#[tokio::test]
async fn a_poll_is_held_while_nothing_is_new_and_ends_with_a_fact_or_a_better_parent() {
    let scheduler = Running::start(|_| {}).await;
    for name in ["a", "b"] {
        scheduler.announce(name).await;
    }
    let a = obeying(&peer_report("a"), &scheduler.ask("a").await);
    let b = obeying(&peer_report("b"), &scheduler.ask("b").await);
    assert!(a.at_origin);

    let learns = PeerReport { length: Some(4_000_000), piece_length: Some(1 << 18), ..a };
    let (told, _) = timeout(SOON, async {
        let told = async { scheduler.report(&b, LONG).await };
        let learn = async { scheduler.report(&learns, Duration::ZERO).await };
        tokio::join!(told, learn)
    })
    .await
    .expect("the length is news");
    assert_eq!(told.task.length, Some(4_000_000));

    let b = obeying(&b, &told);
    let held = timeout(Duration::from_millis(300), scheduler.report(&b, LONG)).await;
    assert!(held.is_err(), "nothing is new");

    let failed = PeerReport { state: PeerState::Failed, ..learns };
    let (told, _) = timeout(SOON, async {
        let told = async { scheduler.report(&b, LONG).await };
        let fail = async { scheduler.report(&failed, Duration::ZERO).await };
        tokio::join!(told, fail)
    })
    .await
    .expect("the only parent is gone");
    assert_eq!(told.decision, Decision::Origin);
}

#[tokio::test]
async fn one_who_waits_is_told_when_somebody_can_be_read_from() {
    let scheduler = Running::start(|_| {}).await;
    for name in ["a", "b", "c"] {
        scheduler.announce(name).await;
    }
    scheduler.ask("a").await;
    let complaint = Complaint { peer_id: peer("a"), reason: ComplaintReason::WrongBytes };
    let b = PeerReport { complaints: vec![complaint], ..peer_report("b") };
    assert_eq!(scheduler.report(&b, Duration::ZERO).await.decision, Decision::Wait);
    let (told, _) = timeout(SOON, async {
        tokio::join!(scheduler.report(&b, LONG), async {
            scheduler.client.report_host(&host("c"), &holding("c"), Duration::ZERO).await.unwrap()
        })
    })
    .await
    .expect("`c` has it");
    assert_eq!(names(&told), ["c"]);
}

#[tokio::test]
async fn a_new_scheduler_knows_everything_again_after_one_round_of_reports() {
    let mut first = Running::start(|_| {}).await;
    for name in ["seed", "a", "b"] {
        first.announce(name).await;
    }
    let b = obeying(&peer_report("b"), &first.ask("b").await);
    first.stop().await;

    let second = Running::start(|_| {}).await;
    let silent_about_tasks = |name| HostReport { tasks: None, ..host_report(name) };
    let told = second.client.report_host(&host("a"), &silent_about_tasks("a"), LONG).await.unwrap();
    assert!(told.resend_tasks, "and the poll is not held");
    let told = second.client.report_host(&host("a"), &holding("a"), Duration::ZERO).await.unwrap();
    assert!(!told.resend_tasks);
    second.announce("b").await;
    second.announce("seed").await;
    assert_eq!(names(&second.report(&b, Duration::ZERO).await), ["a"], "found again, and the seed is not sent");

    let view = second.client.get_task(&task()).await.unwrap();
    let seen: Vec<_> = view.peers.iter().map(|peer| (peer.peer_id.as_str(), peer.state)).collect();
    assert_eq!(seen, [("a", PeerState::Complete), ("b", PeerState::Running)]);
    assert_eq!(view.facts.length, Some(1 << 20));
    let hosts = second.client.list_hosts().await.unwrap();
    assert_eq!(
        hosts.iter().map(|host| (host.id.as_str(), host.tasks)).collect::<Vec<_>>(),
        [("a", 1), ("b", 0), ("seed", 0)]
    );
}

#[tokio::test]
async fn when_the_seed_dies_one_of_many_askers_goes_to_the_origin() {
    let scheduler = Arc::new(Running::start(|config| config.host_lease_ms = 1_000).await);
    scheduler.client.report_host(&host("seed"), &holding("seed"), Duration::ZERO).await.unwrap();
    let askers = ["a", "b", "c", "d", "e"];
    // Held for half a lease each, so this neither spins nor lets the askers expire.
    let refresh = async || {
        let polls = askers.map(|name| {
            let scheduler = scheduler.clone();
            tokio::spawn(async move { scheduler.client.report_host(&host(name), &host_report(name), LONG).await })
        });
        for poll in polls {
            poll.await.unwrap().unwrap();
        }
    };
    timeout(SOON, async {
        while scheduler.client.list_hosts().await.unwrap().iter().any(|host| host.seed) {
            refresh().await;
        }
    })
    .await
    .expect("the seed's lease runs out");

    let asks = askers.map(|name| {
        let scheduler = scheduler.clone();
        tokio::spawn(async move { (name, scheduler.ask(name).await) })
    });
    let mut told = Vec::new();
    for ask in asks {
        told.push(ask.await.unwrap());
    }
    let origin: Vec<_> = told.iter().filter(|(_, told)| told.decision == Decision::Origin).collect();
    assert_eq!(origin.len(), 1);
    for (_, others) in told.iter().filter(|(_, told)| told.decision != Decision::Origin) {
        assert!(names(others).contains(&origin[0].0));
    }
}

#[tokio::test]
async fn who_leaves_is_no_parent_any_more() {
    let scheduler = Running::start(|_| {}).await;
    for name in ["a", "b", "c"] {
        scheduler.client.report_host(&host(name), &holding(name), Duration::ZERO).await.unwrap();
    }
    scheduler.announce("d").await;
    scheduler.client.delete_peer(&task(), &peer("a"), seq()).await.unwrap();
    scheduler.client.delete_host(&host("b"), seq()).await.unwrap();
    scheduler.client.delete_host(&host("b"), seq()).await.unwrap();
    assert_eq!(names(&scheduler.ask("d").await), ["c"]);
}

#[tokio::test]
async fn stopping_ends_the_polls() {
    let mut scheduler = Running::start(|_| {}).await;
    scheduler.announce("a").await;
    let client = scheduler.client.clone();
    let poll = tokio::spawn(async move { client.report_host(&host("a"), &host_report("a"), LONG).await });
    // The poll has arrived when the host is announced with what only it says.
    let other = HostReport { sharing_off: true, ..host_report("b") };
    scheduler.client.report_host(&host("b"), &other, Duration::ZERO).await.unwrap();
    scheduler.stop().await;
    // Answered, or refused because the listener was closed before it arrived; but not held.
    let _ = timeout(SOON, poll).await.expect("the poll ends").unwrap();
}
