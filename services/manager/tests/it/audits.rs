//! The audit log.

use df_api::manager::{ActorType, Audit, AuditState, CreateClusterRequest, Scope};
use df_client::http_client;
use df_testkit::TestDatabase;

use crate::running::{Running, new_token, on_every_database, refusal, scheduler, sign_in};

on_every_database! {
    every_call_that_would_change_something_is_written_down,
    what_cannot_be_written_down_is_not_done,
    the_log_is_filtered_and_paged,
}

fn lines(audits: &[Audit]) -> Vec<(ActorType, &str, &str, &str, u16)> {
    let line = |one: &'_ Audit| (one.actor_type, one.status_code);
    audits
        .iter()
        .rev()
        .map(|one| (line(one).0, one.actor_name.as_str(), one.operation.as_str(), one.path.as_str(), line(one).1))
        .collect()
}

async fn every_call_that_would_change_something_is_written_down(database: TestDatabase) {
    let manager = Running::start(database).await;
    manager.add_guest().await;
    let (root, guest) = (manager.root().await, manager.guest().await);
    let new = |name: &str| CreateClusterRequest { name: name.to_owned(), ..CreateClusterRequest::default() };
    refusal(manager.anonymous().sign_in(&sign_in("eve", "password")).await);
    refusal(guest.create_cluster(&new("b")).await);
    root.create_cluster(&new("b")).await.unwrap();
    refusal(root.create_cluster(&new("b")).await);
    let token = root.create_personal_access_token(&new_token("ci", vec![Scope::Cluster])).await.unwrap().token.unwrap();
    manager.with(&token).delete_cluster(2).await.unwrap();
    // Reading, strangers and the components' own calls are not.
    root.list_clusters().await.unwrap();
    refusal(manager.anonymous().delete_cluster(1).await);
    manager.component().await.renew_scheduler_lease(&scheduler("s", 1)).await.unwrap();

    let audits = root.list_audits().await.unwrap();
    use ActorType::{Pat, Unknown, User};
    assert_eq!(
        lines(&audits),
        [
            (User, "root", "POST", "/api/v1/users/signin", 200),
            (User, "root", "POST", "/api/v1/users/signup", 200),
            (User, "root", "POST", "/api/v1/users/signin", 200),
            (User, "guest", "POST", "/api/v1/users/signin", 200),
            (Unknown, "eve", "POST", "/api/v1/users/signin", 401),
            (User, "guest", "POST", "/api/v1/clusters", 403),
            (User, "root", "POST", "/api/v1/clusters", 200),
            (User, "root", "POST", "/api/v1/clusters", 409),
            (User, "root", "POST", "/api/v1/personal-access-tokens", 200),
            (Pat, "root/ci", "DELETE", "/api/v1/clusters/2", 200),
        ]
    );
    let taken = &audits[2];
    assert!(taken.state == AuditState::Failure && taken.detail.contains("is taken"), "{taken:?}");
    assert!(!serde_json::to_string(&audits).unwrap().contains(&token));
}

async fn what_cannot_be_written_down_is_not_done(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    manager.sql("ALTER TABLE audits RENAME TO lost").await;
    let new = CreateClusterRequest { name: "b".into(), ..CreateClusterRequest::default() };
    assert_eq!(refusal(root.create_cluster(&new).await).0, 500);
    assert_eq!(root.list_clusters().await.unwrap().len(), 1);
}

async fn the_log_is_filtered_and_paged(database: TestDatabase) {
    let manager = Running::start(database).await;
    manager.add_guest().await;
    let token = manager.token_of("root").await;
    for _ in 0..3 {
        refusal(manager.anonymous().sign_in(&sign_in("eve", "password")).await);
    }
    let get = async |query: &str| {
        let url = format!("{}/api/v1/audits?{query}", manager.url);
        let answer = http_client().get(url).bearer_auth(&token).send().await.unwrap();
        (answer.headers().get("link").cloned(), answer.json::<Vec<Audit>>().await.unwrap())
    };
    assert_eq!(get("state=FAILURE").await.1.len(), 3);
    assert_eq!(get("status_code=401&operation=POST&path=/api/v1/users/signin").await.1.len(), 3);
    assert_eq!(get("actor_name=root&event_type=API&actor_type=USER").await.1.len(), 3);
    assert_eq!(get("actor_type=PAT").await.1.len(), 0);
    let (link, page) = get("per_page=2&page=2").await;
    assert!(link.unwrap().to_str().unwrap().contains("page=3&per_page=2>; rel=last"));
    let all = get("per_page=100").await.1;
    assert_eq!(page, all[2..4]);
    assert!(all.is_sorted_by(|one, next| one.id > next.id), "the newest first");
}
