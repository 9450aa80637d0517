//! What is the same on every database, besides what the modules beside this one test.

use df_api::manager::{CreateApplicationRequest, CreateClusterRequest, SignUpRequest};
use sea_query::{Expr, ExprTrait as _, Query};

use super::applications::ApplicationError;
use super::clusters::ClusterError;
use super::scratch::{Scratch, on_every_database};
use super::tries::Try;
use super::{Db, DbError, Page};

on_every_database! {
    a_name_is_its_bytes,
    a_name_that_is_taken_is_recognised,
    the_longest_texts_are_kept_whole,
    a_text_with_a_nul_is_refused,
    what_is_not_committed_never_was,
    who_writes_is_alone,
    a_database_that_answers_is_ready,
}

fn named(name: &str) -> CreateClusterRequest {
    CreateClusterRequest { name: name.to_owned(), ..CreateClusterRequest::default() }
}

fn application(name: &str) -> CreateApplicationRequest {
    CreateApplicationRequest { name: name.to_owned(), ..CreateApplicationRequest::default() }
}

async fn user(db: &Db) -> i64 {
    let new = SignUpRequest { name: "alice".to_owned(), ..SignUpRequest::default() };
    db.create_user(&new, "", 0).await.unwrap().id
}

async fn names(db: &Db) -> Vec<String> {
    db.all_clusters().await.unwrap().into_iter().map(|cluster| cluster.name).collect()
}

async fn a_name_is_its_bytes(scratch: Scratch) {
    let db = &scratch.db;
    let all = ["b", "B", "b ", "ß", "ss", "é", "e\u{301}", "🦀"];
    for name in all {
        db.create_cluster(&named(name), 0).await.unwrap();
        assert!(matches!(db.begin_try(name, 0).await.unwrap(), Try::Counted { left: 4 }), "{name:?}");
    }
    assert_eq!(names(db).await, all, "in the order of their ids");
    for name in all {
        let found = db.list_clusters(Some(name), Page { page: 1, per_page: 10 }).await.unwrap();
        assert!(found.total == 1 && found.items[0].name == name, "{name:?}");
    }
    let second = db.list_clusters(None, Page { page: 2, per_page: 3 }).await.unwrap();
    let second: Vec<_> = second.items.into_iter().map(|cluster| cluster.name).collect();
    assert_eq!(second, ["ß", "ss", "é"]);
}

async fn a_name_that_is_taken_is_recognised(scratch: Scratch) {
    let db = &scratch.db;
    let user = user(db).await;
    db.create_cluster(&named("a"), 0).await.unwrap();
    let again = db.create_cluster(&named("a"), 0).await.unwrap_err();
    assert!(matches!(again, ClusterError::NameTaken(_)), "{again:?}");
    db.create_application(&application("a"), user, 0).await.unwrap();
    let again = db.create_application(&application("a"), user, 0).await.unwrap_err();
    assert!(matches!(again, ApplicationError::NameTaken(_)), "{again:?}");
    db.create_application(&application("A"), user, 0).await.unwrap();
}

async fn the_longest_texts_are_kept_whole(scratch: Scratch) {
    let db = &scratch.db;
    let user = user(db).await;
    // Of four bytes each.
    let long = |chars: usize| "🦀".repeat(chars);
    let mut new = application(&long(1024));
    (new.url, new.bio) = (long(1024), long(400));
    let made = db.create_application(&new, user, i64::MAX).await.unwrap();
    assert_eq!((made.name.as_str(), made.url.as_str(), made.bio.as_str()), (&*new.name, &*new.url, &*new.bio));
    let again = db.create_application(&new, user, 0).await.unwrap_err();
    assert!(matches!(again, ApplicationError::NameTaken(_)), "{again:?}");

    let mut big = named(&long(40));
    big.bio = long(400);
    big.scopes.hostnames = vec![long(253); 30];
    big.scopes.cidrs = vec!["2001:db8:1111:2222:3333:4444:5555:6666/128".parse().unwrap(); 1000];
    big.peer_cluster_config.block_list.task.download.urls = vec![long(1024); 100];
    let made = db.create_cluster(&big, 0).await.unwrap();
    assert_eq!((&made.scopes, &made.peer_cluster_config), (&big.scopes, &big.peer_cluster_config));
    assert_eq!(db.cluster(made.id).await.unwrap(), made);
    assert!(matches!(db.begin_try(&long(100), 0).await.unwrap(), Try::Counted { .. }));
}

async fn a_text_with_a_nul_is_refused(scratch: Scratch) {
    let db = &scratch.db;
    assert!(matches!(db.begin_try("a\0b", 0).await, Err(DbError::Nul)));
    assert!(matches!(db.account("a\0b").await, Err(DbError::Nul)));
    assert!(matches!(db.begin_try("ab", 0).await, Ok(Try::Counted { left: 4 })), "the connection is sound");
}

async fn what_is_not_committed_never_was(scratch: Scratch) {
    let db = &scratch.db;
    db.create_cluster(&CreateClusterRequest { is_default: true, ..named("a") }, 0).await.unwrap();
    // The mark of the default is moved before the name is found to be taken.
    db.create_cluster(&CreateClusterRequest { is_default: true, ..named("a") }, 0).await.unwrap_err();
    assert!(db.all_clusters().await.unwrap()[0].is_default);
    let mut tx = db.begin().await.unwrap();
    let renamed = Query::update().table("clusters").value("name", "b").and_where(Expr::col("id").gt(0)).to_owned();
    assert_eq!(tx.execute(&renamed).await.unwrap(), 1);
    assert_eq!(names(db).await, ["a"]);
    drop(tx);
    db.create_cluster(&named("c"), 0).await.unwrap();
    assert_eq!(names(db).await, ["a", "c"]);
}

/// A number that is read, and written one higher, by two managers at once: none is lost.
async fn who_writes_is_alone(scratch: Scratch) {
    let count = async |db: &Db| {
        for _ in 0..20 {
            let mut tx = db.begin().await.unwrap();
            let read = Query::select().column("tried_at_ms").from("writer").to_owned();
            let (now,): (i64,) = tx.fetch_optional(&read).await.unwrap().unwrap();
            tokio::task::yield_now().await;
            let write = Query::update().table("writer").value("tried_at_ms", now + 1).to_owned();
            tx.execute(&write).await.unwrap();
            tx.commit().await.unwrap();
        }
    };
    let (one, other) = (scratch.second().await, scratch.second().await);
    tokio::join!(count(&one), count(&one), count(&other), count(&other));
    let read = Query::select().column("tried_at_ms").from("writer").to_owned();
    let (counted,): (i64,) = scratch.db.reading().await.unwrap().fetch_optional(&read).await.unwrap().unwrap();
    assert_eq!(counted, 80);
}

async fn a_database_that_answers_is_ready(scratch: Scratch) {
    scratch.db.check().await.unwrap();
    scratch.db.close().await;
    let why = scratch.db.check().await.unwrap_err();
    assert!(why.to_string().contains("does not answer"), "{why}");
}

/// On its way a migration of MySQL may break off between two tables.
#[tokio::test]
async fn a_migration_that_broke_off_is_done_again() {
    use sqlx::{Connection as _, Executor as _};
    let Some(scratch) = Scratch::new(df_testkit::DatabaseKind::MariaDb).await else { return };
    let mut on = sqlx::MySqlConnection::connect(scratch.database.url.as_deref().unwrap()).await.unwrap();
    on.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 3; DROP TABLE writer").await.unwrap();
    on.close().await.unwrap();
    scratch.second().await.check().await.unwrap();
}

#[tokio::test]
async fn the_file_is_ours_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new(df_testkit::DatabaseKind::Sqlite).await.unwrap();
    scratch.db.check().await.unwrap();
    for file in std::fs::read_dir(scratch.folder.path()).unwrap().map(Result::unwrap) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
    }
}
