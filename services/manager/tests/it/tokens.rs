//! Personal access tokens.

use chrono::{Duration, Utc};
use df_api::manager::{
    CreateClusterRequest, Scope, TokenState, UpdatePersonalAccessTokenRequest, UpdateUserRequest, UserState,
};
use df_client::http_client;
use df_testkit::TestDatabase;

use crate::running::{Running, new_token, on_every_database, refusal};

on_every_database! {
    a_token_is_shown_once_and_opens_its_scopes,
    a_token_opens_no_more_than_its_user_may,
    a_token_that_is_over_opens_nothing,
    a_token_in_the_query_opens_nothing,
    a_token_is_made_and_changed_by_its_user,
}

async fn a_token_is_shown_once_and_opens_its_scopes(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let made = root.create_personal_access_token(&new_token("ci", vec![Scope::Cluster])).await.unwrap();
    let secret = made.token.clone().unwrap();
    assert!(secret.starts_with("dfp_") && made.user_id == 1, "{secret}");
    let read = root.get_personal_access_token(made.id).await.unwrap();
    assert!(read.token.is_none() && read.name == "ci" && read.scopes == [Scope::Cluster]);
    assert!(root.list_personal_access_tokens().await.unwrap()[0].token.is_none());
    let program = manager.with(&secret);
    program.list_clusters().await.unwrap();
    program.create_cluster(&CreateClusterRequest { name: "b".into(), ..Default::default() }).await.unwrap();
    let (status, detail) = refusal(program.list_users().await);
    assert_eq!((status, detail.as_str()), (403, "token ci opens clusters, not users"));
    assert_eq!(refusal(program.sign_out().await).0, 403);
    root.delete_personal_access_token(made.id).await.unwrap();
    assert_eq!(refusal(program.list_clusters().await).0, 401);
    assert_eq!(refusal(root.delete_personal_access_token(made.id).await).0, 404);
}

async fn a_token_opens_no_more_than_its_user_may(database: TestDatabase) {
    let manager = Running::start(database).await;
    let user = manager.add_guest().await;
    let root = manager.root().await;
    let mut new = new_token("ci", vec![Scope::Cluster]);
    new.user_id = Some(user.id);
    let program = manager.with(&root.create_personal_access_token(&new).await.unwrap().token.unwrap());
    program.list_clusters().await.unwrap();
    let cluster = CreateClusterRequest { name: "b".into(), ..Default::default() };
    assert_eq!(refusal(program.create_cluster(&cluster).await).0, 403, "its user is a guest");
    let disable = UpdateUserRequest { state: Some(UserState::Disable), ..Default::default() };
    root.update_user(user.id, &disable).await.unwrap();
    assert_eq!(refusal(program.list_clusters().await).0, 401);
}

async fn a_token_that_is_over_opens_nothing(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let made = root.create_personal_access_token(&new_token("ci", vec![Scope::Cluster])).await.unwrap();
    let program = manager.with(&made.token.unwrap());
    let change = |state| UpdatePersonalAccessTokenRequest { state: Some(state), ..Default::default() };
    root.update_personal_access_token(made.id, &change(TokenState::Inactive)).await.unwrap();
    assert_eq!(refusal(program.list_clusters().await).0, 401);
    let changed = root.update_personal_access_token(made.id, &change(TokenState::Active)).await.unwrap();
    assert_eq!((changed.scopes.as_slice(), changed.expired_at), (&[Scope::Cluster][..], made.expired_at));
    program.list_clusters().await.unwrap();
    manager.sql("UPDATE personal_access_tokens SET expires_at_ms = 1").await;
    // A manager with a SQLite file knows of writes of its own only.
    root.delete_cluster(99).await.unwrap_err();
    assert_eq!(refusal(program.list_clusters().await).0, 401);
    let mut past = new_token("past", Vec::new());
    past.expired_at = Utc::now() - Duration::seconds(1);
    let (status, detail) = refusal(root.create_personal_access_token(&past).await);
    assert!(status == 422 && detail.starts_with("expired_at"), "{detail}");
}

/// CVE-like: addresses end up in logs and histories.
async fn a_token_in_the_query_opens_nothing(database: TestDatabase) {
    let manager = Running::start(database).await;
    let made = manager.root().await.create_personal_access_token(&new_token("ci", vec![Scope::Cluster])).await.unwrap();
    let secret = made.token.unwrap();
    for name in ["access_token", "token", "jwt"] {
        let url = format!("{}/api/v1/clusters?{name}={secret}", manager.url);
        assert_eq!(http_client().get(url).send().await.unwrap().status(), 401);
    }
    assert!(!crate::logs::has_line(&[&secret]), "a secret of a query is in the log");
}

async fn a_token_is_made_and_changed_by_its_user(database: TestDatabase) {
    let manager = Running::start(database).await;
    let user = manager.add_guest().await;
    let (root, guest) = (manager.root().await, manager.guest().await);
    assert_eq!(refusal(guest.create_personal_access_token(&new_token("ci", Vec::new())).await).0, 403);
    let role = df_api::manager::CreateRoleRequest {
        role: "tokens".into(),
        permissions: vec!["personal-access-tokens"]
            .into_iter()
            .map(|object| df_api::manager::Permission { object: object.into(), action: df_api::manager::Action::All })
            .collect(),
    };
    root.create_role(&role).await.unwrap();
    root.add_user_role(user.id, "tokens").await.unwrap();
    let own = guest.create_personal_access_token(&new_token("ci", Vec::new())).await.unwrap();
    assert_eq!(own.user_id, user.id);
    let (status, detail) = refusal(guest.create_personal_access_token(&new_token("ci", Vec::new())).await);
    assert!(status == 409 && detail.contains("\"ci\""), "{detail}");
    let roots = root.create_personal_access_token(&new_token("ci", Vec::new())).await.unwrap();
    let more = UpdatePersonalAccessTokenRequest { scopes: Some(vec![Scope::Job]), ..Default::default() };
    guest.update_personal_access_token(own.id, &more).await.unwrap();
    assert_eq!(refusal(guest.update_personal_access_token(roots.id, &more).await).0, 403);
    assert_eq!(refusal(guest.delete_personal_access_token(roots.id).await).0, 403);
    let mut for_root = new_token("sly", vec![Scope::Cluster]);
    for_root.user_id = Some(1);
    assert_eq!(refusal(guest.create_personal_access_token(&for_root).await).0, 403);
    let twice = new_token("twice", vec![Scope::Job, Scope::Job]);
    assert_eq!(refusal(root.create_personal_access_token(&twice).await), (422, "scopes jobs: is listed twice".into()));
}
