//! Users: adding, changing, passwords.

use df_api::manager::{ResetPasswordRequest, UpdateUserRequest, UserState};
use df_testkit::TestDatabase;

use crate::running::{PASSWORD, Running, USERS_PASSWORD, new_user, on_every_database, refusal, sign_in};

on_every_database! {
    root_adds_users_and_nobody_else_does,
    where_it_is_switched_on_everybody_may_sign_up,
    a_name_and_an_address_are_one_users,
    a_user_changes_the_own_account_and_no_other,
    a_new_password_takes_the_old_one_and_ends_other_sessions,
    wrong_old_passwords_count_as_tries,
    somebody_stays_root,
}

fn passwords(old: &str, new: &str) -> ResetPasswordRequest {
    ResetPasswordRequest { old_password: old.to_owned(), new_password: new.to_owned() }
}

async fn root_adds_users_and_nobody_else_does(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (status, detail) = refusal(manager.anonymous().sign_up(&new_user("alice")).await);
    assert!(status == 403 && detail.contains("switched off"), "{detail}");
    let alice = manager.root().await.sign_up(&new_user("alice")).await.unwrap();
    assert_eq!((alice.roles.as_slice(), alice.state), (&["guest".to_owned()][..], UserState::Enable));
    assert!(!alice.password_is_default);
    let guest = manager.with(&manager.token_of("alice").await);
    assert_eq!(refusal(guest.sign_up(&new_user("bob")).await).0, 403);
    let names: Vec<_> = guest.list_users().await.unwrap().into_iter().map(|user| user.name).collect();
    assert_eq!(names, ["root", "alice"]);
}

async fn where_it_is_switched_on_everybody_may_sign_up(database: TestDatabase) {
    let manager = Running::start_with(database, |config| config.sign_up = true).await;
    let alice = manager.anonymous().sign_up(&new_user("alice")).await.unwrap();
    assert_eq!(manager.with(&manager.token_of("alice").await).get_session().await.unwrap(), alice);
    let mut weak = new_user("bob");
    weak.password = "hunter2".to_owned();
    let (status, detail) = refusal(manager.anonymous().sign_up(&weak).await);
    assert!(status == 422 && detail.contains("8 to 128") && !detail.contains("hunter2"), "{detail}");
}

async fn a_name_and_an_address_are_one_users(database: TestDatabase) {
    let manager = Running::start(database).await;
    let root = manager.root().await;
    let alice = root.sign_up(&new_user("alice")).await.unwrap();
    let (status, detail) = refusal(
        root.sign_up(&{
            let mut new = new_user("alice");
            new.email = "b@x".into();
            new
        })
        .await,
    );
    assert!(status == 409 && detail.contains("name \"alice\""), "{detail}");
    let (status, detail) = refusal(
        root.sign_up(&{
            let mut new = new_user("bob");
            new.email = alice.email.clone();
            new
        })
        .await,
    );
    assert!(status == 409 && detail.contains("email"), "{detail}");
    let change = UpdateUserRequest { email: Some(alice.email.clone()), ..UpdateUserRequest::default() };
    assert_eq!(refusal(root.update_user(1, &change).await).0, 409);
    assert_eq!(root.update_user(alice.id, &change).await.unwrap().email, alice.email, "the own one is no other's");
}

async fn a_user_changes_the_own_account_and_no_other(database: TestDatabase) {
    let manager = Running::start(database).await;
    let own = manager.add_guest().await;
    let guest = manager.guest().await;
    let change = UpdateUserRequest { bio: Some("on call".into()), phone: Some("+49".into()), ..Default::default() };
    let changed = guest.update_user(own.id, &change).await.unwrap();
    assert_eq!((changed.bio.as_str(), changed.phone.as_str(), &changed.email), ("on call", "+49", &own.email));
    assert_eq!(guest.get_user(own.id).await.unwrap(), changed);
    assert_eq!(refusal(guest.update_user(1, &change).await).0, 403);
    let enable = UpdateUserRequest { state: Some(UserState::Enable), ..Default::default() };
    let (status, detail) = refusal(guest.update_user(own.id, &enable).await);
    assert!(status == 422 && detail.starts_with("state"), "{detail}");
    assert_eq!(refusal(guest.get_user(77).await), (404, "there is no user 77".to_owned()));
}

async fn a_new_password_takes_the_old_one_and_ends_other_sessions(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (root, other) = (manager.root().await, manager.root().await);
    let (status, detail) = refusal(root.reset_password(1, &passwords(PASSWORD, "dragonfly")).await);
    assert!(status == 422 && detail.contains("everybody knows"), "{detail}");
    assert_eq!(refusal(root.reset_password(1, &passwords("wrong", "new password")).await).0, 401);
    root.reset_password(1, &passwords(PASSWORD, "new password")).await.unwrap();
    assert!(!root.get_session().await.unwrap().password_is_default);
    assert_eq!(refusal(other.get_session().await).0, 401);
    assert_eq!(refusal(manager.anonymous().sign_in(&sign_in("root", PASSWORD)).await).0, 401);
    manager.anonymous().sign_in(&sign_in("root", "new password")).await.unwrap();

    // For another, root needs none.
    let guest = root.sign_up(&new_user("guest")).await.unwrap();
    let session = manager.guest().await;
    assert_eq!(refusal(session.reset_password(1, &passwords("new password", "my password")).await).0, 403);
    root.reset_password(guest.id, &passwords("", "another password")).await.unwrap();
    assert_eq!(refusal(session.get_session().await).0, 401);
    manager.anonymous().sign_in(&sign_in("guest", "another password")).await.unwrap();
    assert_eq!(refusal(root.reset_password(77, &passwords("", "another password")).await).0, 404);
}

async fn wrong_old_passwords_count_as_tries(database: TestDatabase) {
    let manager = Running::start(database).await;
    let own = manager.add_guest().await;
    let guest = manager.guest().await;
    for _ in 0..5 {
        assert_eq!(refusal(guest.reset_password(own.id, &passwords("wrong", "new password")).await).0, 401);
    }
    let right = passwords(USERS_PASSWORD, "new password");
    assert_eq!(refusal(guest.reset_password(own.id, &right).await).0, 429);
    guest.get_session().await.unwrap();
}

async fn somebody_stays_root(database: TestDatabase) {
    let manager = Running::start(database).await;
    let own = manager.add_guest().await;
    let (root, guest) = (manager.root().await, manager.guest().await);
    let (status, detail) = refusal(root.delete_user_role(1, "root").await);
    assert!(status == 409 && detail.contains("last who can sign in as root"), "{detail}");
    root.add_user_role(own.id, "root").await.unwrap();
    root.add_user_role(own.id, "root").await.unwrap();
    assert_eq!(root.list_user_roles(own.id).await.unwrap(), ["guest", "root"]);
    let disable = UpdateUserRequest { state: Some(UserState::Disable), ..Default::default() };
    guest.update_user(1, &disable).await.unwrap();
    assert_eq!(refusal(root.get_session().await).0, 401);
    assert_eq!(refusal(guest.delete_user_role(own.id, "root").await).0, 409, "the other is disabled");
    let (status, detail) = refusal(guest.add_user_role(1, "captain").await);
    assert!(status == 404 && detail.contains("captain"), "{detail}");
}
