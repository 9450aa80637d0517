//! A server that goes away or stands still while somebody writes.

use std::time::{Duration, Instant};

use df_api::manager::CreateClusterRequest;
use df_testkit::{DatabaseKind, DatabaseServer, until};
use sea_query::{Expr, ExprTrait as _, Query};

use super::Db;

const BOUND: Duration = Duration::from_secs(30);

fn named(name: &str) -> CreateClusterRequest {
    CreateClusterRequest { name: name.to_owned(), ..CreateClusterRequest::default() }
}

async fn names(db: &Db) -> Vec<String> {
    db.all_clusters().await.unwrap().into_iter().map(|cluster| cluster.name).collect()
}

/// Begins to write, `breaks` the server, and goes on when it is `mended`.
async fn write_through(
    kind: DatabaseKind,
    breaks: impl AsyncFnOnce(&mut DatabaseServer),
    mended: impl AsyncFnOnce(&mut DatabaseServer),
) {
    let Some(mut server) = DatabaseServer::start(kind).await.unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = server.new_database().await.unwrap().url;
    let db = Db::open(url.as_deref(), folder.path()).await.unwrap();
    let other = Db::open(url.as_deref(), folder.path()).await.unwrap();
    db.create_cluster(&named("a"), 0).await.unwrap();

    let mut tx = db.begin().await.unwrap();
    let rename =
        |name: &str| Query::update().table("clusters").value("name", name).and_where(Expr::col("id").gt(0)).to_owned();
    tx.execute(&rename("half")).await.unwrap();
    breaks(&mut server).await;
    let (begun, failed) = (Instant::now(), tx.execute(&rename("whole")).await.unwrap_err());
    assert!(failed.is_unavailable() && begun.elapsed() < Duration::from_secs(8), "{failed:?} {:?}", begun.elapsed());
    drop(tx);
    let (begun, failed) = (Instant::now(), db.create_cluster(&named("b"), 0).await.unwrap_err());
    assert!(begun.elapsed() < Duration::from_secs(15), "{failed:?} {:?}", begun.elapsed());
    assert!(db.check().await.unwrap_err().to_string().contains("does not answer"));

    mended(&mut server).await;
    until("it is ready", BOUND, async || Ok(db.check().await.ok())).await.unwrap();
    let written = async || Ok(other.create_cluster(&named("c"), 0).await.ok());
    until("another manager writes", BOUND, written).await.unwrap();
    db.create_cluster(&named("d"), 0).await.unwrap();
    // What was asked of a frozen server and given up may be done when it wakes, but whole.
    let names = names(&db).await;
    let told: Vec<_> = names.iter().map(String::as_str).filter(|name| *name != "b").collect();
    assert_eq!(told, ["a", "c", "d"]);
}

async fn stops(kind: DatabaseKind) {
    write_through(kind, async |server| server.stop().await.unwrap(), async |server| server.resume().await.unwrap())
        .await;
}

async fn stands_still(kind: DatabaseKind) {
    write_through(kind, async |server| server.freeze().unwrap(), async |server| server.thaw().unwrap()).await;
}

#[tokio::test]
async fn postgres_is_stopped_in_the_midst_of_a_transaction() {
    stops(DatabaseKind::Postgres).await;
}

#[tokio::test]
async fn mariadb_is_stopped_in_the_midst_of_a_transaction() {
    stops(DatabaseKind::MariaDb).await;
}

#[tokio::test]
async fn postgres_stands_still_in_the_midst_of_a_transaction() {
    stands_still(DatabaseKind::Postgres).await;
}

#[tokio::test]
async fn mariadb_stands_still_in_the_midst_of_a_transaction() {
    stands_still(DatabaseKind::MariaDb).await;
}
