//! Several schedulers behind one URL: any of them answers any request, and any of them may vanish.

use df_api::rules::{BlockList, Blocked, TaskBlockList};
use df_api::scheduler::Decision;
use df_testkit::{Postgres, STANDSTILL, until};
use sqlx::{Connection as _, PgConnection};

use super::*;

/// Larger than what is kept without a saved state.
const MANY: usize = 400;

async fn postgres() -> Option<Postgres> {
    if Postgres::program_path().is_none() {
        df_testkit::skip("PostgreSQL is missing (infra/scripts/setup.sh test)");
        return None;
    }
    Some(Postgres::start().await.unwrap())
}

/// One of those that share a database.
async fn instance(postgres: &Postgres) -> Running {
    let sharing = |config: &mut Config| {
        config.database.url = Some(postgres.url());
        config.host_request_rate_limit = 0;
    };
    Running::start(sharing).await
}

/// A line of a report longer than usual.
fn wordy(name: &str) -> PeerReport {
    let mut report = peer_report(name);
    report.origin.url = format!("http://origin.example/{}", "x".repeat(1_000));
    report
}

async fn number(postgres: &Postgres, sql: &'static str) -> i64 {
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn whatever_one_of_them_is_told_the_others_know() {
    let Some(postgres) = postgres().await else { return };
    let [a, mut b, c] = [instance(&postgres).await, instance(&postgres).await, instance(&postgres).await];
    a.client.report_host(&host("node-1"), &holding("node-1"), Duration::ZERO).await.unwrap();
    b.announce("node-2").await;
    let told = c.ask("node-2").await;
    assert_eq!(told.decision, Decision::Parents);
    assert_eq!(told.parents[0].host_id, host("node-1"));
    b.stop().await;
    let hosts = a.client.list_hosts().await.unwrap();
    assert_eq!(hosts.iter().map(|host| host.id.as_str()).collect::<Vec<_>>(), ["node-1", "node-2"]);
    // Its answer has the same version, wherever it is given.
    let same = PeerReport { known: Some(told.version), row: told.row, ..peer_report("node-2") };
    assert_eq!(a.report(&same, Duration::ZERO).await.decision, Decision::Unchanged);
}

#[tokio::test]
async fn who_waits_at_one_is_woken_by_what_another_is_told() {
    let Some(postgres) = postgres().await else { return };
    let [a, b] = [instance(&postgres).await, instance(&postgres).await];
    for name in ["seed-1", "node-2"] {
        a.announce(name).await;
    }
    let duty = async {
        let report = HostReport { tasks: None, ..host_report("seed-1") };
        a.client.report_host(&host("seed-1"), &report, LONG).await.unwrap()
    };
    let ask = async {
        until("the seed waits", STANDSTILL, async || Ok((b.client.list_hosts().await?.len() == 2).then_some(())))
            .await
            .unwrap();
        b.ask("node-2").await
    };
    let (duty, told) = tokio::time::timeout(LONG, async { tokio::join!(duty, ask) }).await.unwrap();
    assert_eq!(fetched(&duty.duties[0]).id, task());
    assert_eq!((told.decision, told.parents[0].seed), (Decision::Parents, true));
}

#[tokio::test]
async fn a_fresh_one_for_every_request_decides_as_one_that_has_seen_everything() {
    let Some(postgres) = postgres().await else { return };
    instance(&postgres).await.announce("seed-1").await;
    let names: Vec<_> = (0..6).map(|number| format!("node-{number}")).collect();
    for name in &names {
        instance(&postgres).await.announce(name).await;
    }
    let mut rows = Vec::new();
    for name in &names {
        let told = instance(&postgres).await.ask(name).await;
        assert_eq!(told.decision, Decision::Parents, "{name}");
        rows.extend(told.row.and_then(|row| row.place));
    }
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), names.len(), "each has a slot of its own");
    let seed = instance(&postgres).await.client.report_host(&host("seed-1"), &host_report("seed-1"), SOON).await;
    assert_eq!(seed.unwrap().duties.len(), 1, "one duty, however many ask");
}

#[tokio::test]
async fn a_long_history_is_saved_as_a_state_and_forgotten() {
    let Some(postgres) = postgres().await else { return };
    let [a, behind] = [instance(&postgres).await, instance(&postgres).await];
    behind.announce("node-0").await;
    a.announce("node-1").await;
    let mut last = a.report(&wordy("node-1"), Duration::ZERO).await;
    for _ in 0..MANY {
        last = a.report(&obeying(&wordy("node-1"), &last), Duration::ZERO).await;
    }
    assert_eq!(number(&postgres, "SELECT count(*) FROM dragonfly_scheduler.saved").await, 1);
    assert!(number(&postgres, "SELECT count(*) FROM dragonfly_scheduler.entry").await < MANY as i64);
    let views = [a.client.get_task(&task()).await, behind.client.get_task(&task()).await];
    let fresh = instance(&postgres).await.client.get_task(&task()).await.unwrap();
    for view in views {
        let view = view.unwrap();
        assert_eq!((&view.facts, view.peers.len()), (&fresh.facts, fresh.peers.len()));
        assert_eq!(view.lease.map(|lease| lease.holder), fresh.lease.as_ref().map(|lease| lease.holder.clone()));
    }
}

#[tokio::test]
async fn a_database_that_is_away_costs_a_clear_answer_and_nobodys_lease() {
    let Some(mut postgres) = postgres().await else { return };
    let a = instance(&postgres).await;
    a.client.report_host(&host("node-1"), &holding("node-1"), Duration::ZERO).await.unwrap();
    a.announce("node-2").await;
    postgres.stop().await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v1/hosts/node-2", a.url);
    let answer = http.put(url).json(&host_report("node-2")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    assert!(answer.text().await.unwrap().contains("database"));
    let ready = http.get(format!("{}/readyz", a.url)).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    postgres.resume().await.unwrap();
    let back = async || Ok(a.client.list_hosts().await.ok());
    let hosts = until("it answers again", STANDSTILL, back).await.unwrap();
    assert_eq!(hosts.len(), 2);
    assert_eq!(a.ask("node-2").await.parents[0].host_id, host("node-1"));
}

#[tokio::test]
async fn what_a_crash_of_the_database_has_lost_the_next_reports_bring_again() {
    let Some(mut postgres) = postgres().await else { return };
    let [a, b] = [instance(&postgres).await, instance(&postgres).await];
    for scheduler in [&a, &b] {
        scheduler.client.report_host(&host("node-1"), &holding("node-1"), Duration::ZERO).await.unwrap();
    }
    postgres.kill();
    postgres.resume().await.unwrap();
    for name in ["node-2", "node-3"] {
        // What was lost may be the beginning, so both hosts announce themselves.
        let told = until("it answers again", STANDSTILL, async || {
            a.client.report_host(&host("node-1"), &holding("node-1"), Duration::ZERO).await.ok();
            b.client.report_host(&host(name), &host_report(name), Duration::ZERO).await.ok();
            let asked = b.client.report_peer(&task(), &peer(name), &peer_report(name), Duration::ZERO).await;
            Ok(asked.ok().filter(|told| told.decision == Decision::Parents))
        });
        assert!(told.await.unwrap().parents.iter().any(|parent| parent.host_id == host("node-1")));
    }
    let views = [a.client.list_hosts().await.unwrap(), b.client.list_hosts().await.unwrap()];
    assert_eq!((&views[0], views[0].len()), (&views[1], 3));
}

#[tokio::test]
async fn a_history_that_nobody_can_read_is_begun_anew() {
    let Some(postgres) = postgres().await else { return };
    let a = instance(&postgres).await;
    a.announce("node-1").await;
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    let spoil = "UPDATE dragonfly_scheduler.entry SET events = 'rubbish'";
    sqlx::query(spoil).execute(&mut connection).await.unwrap();
    let b = instance(&postgres).await;
    let hosts = until("a fresh one answers", STANDSTILL, async || Ok(b.client.list_hosts().await.ok()));
    assert!(hosts.await.unwrap().is_empty());
    // The one that knew everything goes along.
    a.announce("node-2").await;
    assert_eq!(b.client.list_hosts().await.unwrap().len(), 1);
    assert_eq!(a.client.list_hosts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn credentials_are_not_written_down_and_who_has_them_goes_itself() {
    let Some(postgres) = postgres().await else { return };
    let a = instance(&postgres).await;
    a.announce("seed-1").await;
    let mut with_token = peer_report("node-1");
    with_token.origin.authorization = Some("Bearer very-secret".to_owned());
    let mut signed = peer_report("node-2");
    signed.origin.url += "?X-Amz-Signature=very-secret&X-Amz-Expires=60";
    for (number, report) in [with_token, signed].into_iter().enumerate() {
        a.announce(report.host_id.as_str()).await;
        let (task, peer) = (TaskId::try_from(format!("{number:064}")).unwrap(), peer(report.host_id.as_str()));
        let told = a.client.report_peer(&task, &peer, &report, Duration::ZERO).await.unwrap();
        assert_eq!(told.decision, Decision::Origin, "{number}");
    }
    let found = "SELECT count(*) FROM dragonfly_scheduler.entry WHERE position('very-secret' in events) > 0";
    assert_eq!(number(&postgres, found).await, 0);
    assert!(number(&postgres, "SELECT count(*) FROM dragonfly_scheduler.entry").await > 0);
}

#[tokio::test]
async fn what_the_file_says_is_in_force_for_all_of_them() {
    let Some(postgres) = postgres().await else { return };
    let a = instance(&postgres).await;
    a.announce("node-1").await;
    assert_ne!(a.ask("node-1").await.decision, Decision::Nobody);
    let blocked = Blocked { urls: vec!["origin\\.example".to_owned()], ..Blocked::default() };
    let b = Running::start(|config| {
        config.database.url = Some(postgres.url());
        let download = TaskBlockList { download: blocked, ..TaskBlockList::default() };
        config.cluster.peer.block_list = BlockList { task: download };
    });
    let b = b.await;
    b.announce("node-2").await;
    for scheduler in [&b, &a] {
        let refused =
            scheduler.client.report_peer(&task(), &peer("node-2"), &peer_report("node-2"), Duration::ZERO).await;
        assert_eq!(refused.unwrap_err().status(), Some(403));
    }
}
