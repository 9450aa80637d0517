//! Roles of one's own.

use df_api::manager::{
    Action, CreateClusterRequest, CreateRoleRequest, Permission, ResetPasswordRequest, Scope, UpdateUserRequest,
    UserState,
};
use df_testkit::TestDatabase;

use crate::running::{Running, new_token, new_user, on_every_database, refusal};

on_every_database! {
    a_role_of_ones_own_permits_what_it_says_at_once,
    built_in_roles_and_roles_in_use_stay,
    a_role_permits_only_what_there_is,
    nobody_gives_or_takes_over_more_than_the_own_rights,
}

fn permission(object: &str, action: Action) -> Permission {
    Permission { object: object.to_owned(), action }
}

fn ops() -> CreateRoleRequest {
    CreateRoleRequest { role: "ops".to_owned(), permissions: vec![permission("clusters", Action::All)] }
}

async fn a_role_of_ones_own_permits_what_it_says_at_once(database: TestDatabase) {
    let manager = Running::start(database).await;
    let user = manager.add_guest().await;
    let (root, session) = (manager.root().await, manager.guest().await);
    root.create_role(&ops()).await.unwrap();
    assert_eq!(root.list_roles().await.unwrap(), ["guest", "ops", "root"]);
    assert_eq!(root.get_role("ops").await.unwrap(), [["ops", "clusters", "*"]]);
    let new = |name: &str| CreateClusterRequest { name: name.to_owned(), ..CreateClusterRequest::default() };
    assert_eq!(refusal(session.create_cluster(&new("b")).await).0, 403);
    root.add_user_role(user.id, "ops").await.unwrap();
    root.delete_user_role(user.id, "guest").await.unwrap();
    session.create_cluster(&new("b")).await.unwrap();
    assert_eq!(refusal(session.list_users().await).0, 403, "it is no guest any more");
    root.add_permission("ops", &permission("users", Action::Read)).await.unwrap();
    session.list_users().await.unwrap();
    root.delete_permission("ops", &permission("clusters", Action::All)).await.unwrap();
    let (status, detail) = refusal(session.list_clusters().await);
    assert!(status == 403 && detail.contains("clusters:read") && detail.contains("ops"), "{detail}");
}

async fn built_in_roles_and_roles_in_use_stay(database: TestDatabase) {
    let manager = Running::start(database).await;
    let user = manager.add_guest().await;
    let root = manager.root().await;
    assert_eq!(refusal(root.delete_role("root").await).0, 409);
    assert_eq!(refusal(root.delete_role("guest").await).0, 409);
    assert_eq!(refusal(root.delete_permission("root", &permission("*", Action::All)).await).0, 409);
    root.create_role(&ops()).await.unwrap();
    assert_eq!(refusal(root.create_role(&ops()).await).0, 409);
    assert_eq!(refusal(root.add_permission("ops", &permission("clusters", Action::All)).await).0, 409);
    assert_eq!(refusal(root.delete_permission("ops", &permission("clusters", Action::Read)).await).0, 404);
    root.add_user_role(user.id, "ops").await.unwrap();
    let (status, detail) = refusal(root.delete_role("ops").await);
    assert!(status == 409 && detail.contains("1 users"), "{detail}");
    root.delete_user_role(user.id, "ops").await.unwrap();
    root.delete_role("ops").await.unwrap();
    assert_eq!(refusal(root.get_role("ops").await).0, 404);
}

async fn a_role_permits_only_what_there_is(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let known = root.list_permissions().await.unwrap();
    for object in ["applications", "audits", "clusters", "personal-access-tokens", "roles", "users"] {
        assert!(known.contains(&permission(object, Action::All)), "{object}: {known:?}");
    }
    let (status, detail) = refusal(root.add_permission("guest", &permission("cluster", Action::All)).await);
    assert!(status == 422 && detail.contains("\"cluster\""), "{detail}");
    let mut misspelt = ops();
    misspelt.permissions.push(permission("user", Action::Read));
    assert_eq!(refusal(root.create_role(&misspelt).await).0, 422);
    assert_eq!(root.list_roles().await.unwrap(), ["guest", "root"], "nothing of it was written");
}

/// Whoever may write users or roles is not root by that.
async fn nobody_gives_or_takes_over_more_than_the_own_rights(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, own) = (manager.root().await, manager.add_guest().await);
    let admin = CreateRoleRequest {
        role: "admin".to_owned(),
        permissions: ["users", "roles", "personal-access-tokens"].map(|one| permission(one, Action::All)).to_vec(),
    };
    root.create_role(&admin).await.unwrap();
    root.add_user_role(own.id, "admin").await.unwrap();
    let session = manager.guest().await;
    let (status, detail) = refusal(session.add_user_role(own.id, "root").await);
    assert!(status == 403 && detail.contains("*:*"), "{detail}");
    assert_eq!(refusal(session.add_permission("admin", &permission("*", Action::All)).await).0, 403);
    assert_eq!(refusal(session.create_role(&ops()).await).0, 403);
    let password = ResetPasswordRequest { old_password: String::new(), new_password: "another one".to_owned() };
    assert_eq!(refusal(session.reset_password(1, &password).await).0, 403);
    let disable = UpdateUserRequest { state: Some(UserState::Disable), ..UpdateUserRequest::default() };
    assert_eq!(refusal(session.update_user(1, &disable).await).0, 403);
    assert_eq!(refusal(session.delete_user_role(1, "root").await).0, 403);
    let mut token = new_token("sly", vec![Scope::Cluster]);
    token.user_id = Some(1);
    assert_eq!(refusal(session.create_personal_access_token(&token).await).0, 403);
    // Of those who may no more, all of it.
    let other = session.sign_up(&new_user("bob")).await.unwrap();
    session.add_user_role(other.id, "admin").await.unwrap();
    session.reset_password(other.id, &password).await.unwrap();
    session.update_user(other.id, &disable).await.unwrap();
}
