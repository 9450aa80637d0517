//! A database that is down, stands still or is full: what callers are told meanwhile, and that nobody has to restart.

use std::time::{Duration, Instant};

use df_client::http_client;
use df_testkit::{DatabaseKind, DatabaseServer, SmallDisk};
use reqwest::Response;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};

use crate::running::{Running, SQLITE, eventually};

async fn get(manager: &Running, path: &str) -> (u16, Value) {
    let answer = http_client().get(format!("{}{path}", manager.url)).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

/// A cluster that would be the default one: two rows change.
async fn create(manager: &Running, token: &str, name: &str) -> Response {
    let body = json!({ "name": name, "is_default": true });
    let sent = http_client().post(format!("{}/api/v1/clusters", manager.url)).bearer_auth(token).json(&body);
    sent.send().await.unwrap()
}

async fn refused(answer: Response) {
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let seconds: u64 = answer.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

async fn is_whole(manager: &Running, token: &str) {
    let all = manager.with(token).list_clusters().await.unwrap();
    assert_eq!(all.iter().filter(|one| one.is_default).count(), 1, "{all:?}");
    assert!(all.iter().all(|one| one.name != "meanwhile" || one.is_default), "{all:?}");
}

/// A manager on a server of its own, while that is broken and after it is mended.
async fn lives_through(
    kind: DatabaseKind,
    breaks: impl AsyncFnOnce(&mut DatabaseServer),
    mended: impl AsyncFnOnce(&mut DatabaseServer),
) {
    let Some(mut server) = DatabaseServer::start(kind).await.unwrap() else { return };
    let manager = Running::start(server.new_database().await.unwrap()).await;
    let token = manager.token_of("root").await;
    assert_eq!(get(&manager, "/readyz").await.0, 200);

    breaks(&mut server).await;
    let begun = Instant::now();
    let (asked, ready) = tokio::join!(create(&manager, &token, "meanwhile"), get(&manager, "/readyz"));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    refused(asked).await;
    let name = if kind == DatabaseKind::Postgres { "PostgreSQL" } else { "MySQL" };
    assert_eq!((ready.0, &ready.1["detail"]), (503, &json!(format!("the database ({name}) does not answer"))));
    assert_eq!(get(&manager, "/healthz").await.0, 200, "it is alive, and not to be restarted");

    mended(&mut server).await;
    eventually("it is ready", async || (get(&manager, "/readyz").await.0 == 200).then_some(())).await;
    is_whole(&manager, &token).await;
    assert_eq!(create(&manager, &token, "after").await.status(), 200);
    is_whole(&manager, &token).await;
}

async fn lives_through_a_stop(kind: DatabaseKind) {
    lives_through(kind, async |server| server.stop().await.unwrap(), async |server| server.resume().await.unwrap())
        .await;
}

async fn lives_through_standstill(kind: DatabaseKind) {
    lives_through(kind, async |server| server.freeze().unwrap(), async |server| server.thaw().unwrap()).await;
}

#[tokio::test]
async fn postgres_is_down_and_up_again() {
    lives_through_a_stop(DatabaseKind::Postgres).await;
}

#[tokio::test]
async fn mariadb_is_down_and_up_again() {
    lives_through_a_stop(DatabaseKind::MariaDb).await;
}

#[tokio::test]
async fn postgres_stands_still_and_goes_on() {
    lives_through_standstill(DatabaseKind::Postgres).await;
}

#[tokio::test]
async fn mariadb_stands_still_and_goes_on() {
    lives_through_standstill(DatabaseKind::MariaDb).await;
}

#[tokio::test]
async fn a_disk_that_is_full_takes_no_writes_until_there_is_room() {
    let Some(disk) = SmallDisk::mount(4 << 20).unwrap() else { return };
    let data_dir = disk.path().join("data");
    let manager = Running::start_with(SQLITE, |config| config.data_dir.clone_from(&data_dir)).await;
    let token = manager.token_of("root").await;
    let filler = disk.path().join("filler");
    fill(&filler);
    // What SQLite has reserved on the disk is used up first.
    for number in 0.. {
        let answer = create(&manager, &token, &format!("filling-{number}")).await;
        if answer.status() != 200 {
            refused(answer).await;
            break;
        }
    }
    let (status, problem) = get(&manager, "/readyz").await;
    assert!(status == 503 && problem["detail"].as_str().unwrap().contains("takes no writes"), "{problem}");
    refused(create(&manager, &token, "meanwhile").await).await;
    is_whole(&manager, &token).await;
    let all = manager.with(&token).list_clusters().await.unwrap();
    assert!(all.iter().all(|one| one.name != "meanwhile"), "{all:?}");

    std::fs::remove_file(filler).unwrap();
    eventually("there is room", async || (get(&manager, "/readyz").await.0 == 200).then_some(())).await;
    assert_eq!(create(&manager, &token, "after").await.status(), 200);
    is_whole(&manager, &token).await;
}

/// To the last byte.
fn fill(path: &std::path::Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write(&[1; 4096]).is_ok() {}
}
