//! Signing in and out.

use df_api::manager::{CreateClusterRequest, UpdateUserRequest, UserState};
use df_client::http_client;
use df_testkit::TestDatabase;
use reqwest::StatusCode;
use reqwest::header::{COOKIE, HOST, ORIGIN, RETRY_AFTER, SET_COOKIE};
use serde_json::json;

use crate::running::{PASSWORD, Running, USERS_PASSWORD, on_every_database, refusal, sign_in};

on_every_database! {
    root_signs_in_with_the_known_password_and_is_told_to_change_it,
    a_password_of_the_environment_is_the_only_one,
    five_wrong_tries_pause_that_account_only,
    signing_out_ends_that_session_and_no_other,
    a_disabled_account_neither_signs_in_nor_goes_on,
    a_guest_reads_and_does_not_write,
    a_session_that_was_refreshed_is_over,
    the_cookie_is_out_of_reach_of_scripts_and_of_other_sites,
}

async fn root_signs_in_with_the_known_password_and_is_told_to_change_it(database: TestDatabase) {
    let manager = Running::start(database).await;
    let answer = manager.anonymous().sign_in(&sign_in("root", PASSWORD)).await.unwrap();
    assert!(answer.user.password_is_default && answer.user.roles == ["root"]);
    assert_eq!((answer.expire - chrono::Utc::now()).num_hours(), 11);
    assert_eq!(manager.with(&answer.token).get_session().await.unwrap(), answer.user);
}

async fn a_password_of_the_environment_is_the_only_one(database: TestDatabase) {
    let manager =
        Running::start_with(database, |config| config.initial_root_password = Some("not the default".into())).await;
    assert_eq!(refusal(manager.anonymous().sign_in(&sign_in("root", PASSWORD)).await).0, 401);
    let answer = manager.anonymous().sign_in(&sign_in("root", "not the default")).await.unwrap();
    assert!(!answer.user.password_is_default);
    // It is root's first password only: a later start does not change it.
    let manager = manager.restart(|config| config.initial_root_password = Some("another one".into())).await;
    assert_eq!(refusal(manager.anonymous().sign_in(&sign_in("root", "another one")).await).0, 401);
    manager.anonymous().sign_in(&sign_in("root", "not the default")).await.unwrap();
}

async fn five_wrong_tries_pause_that_account_only(database: TestDatabase) {
    let manager = Running::start(database).await;
    let wrong = async |name: &str| refusal(manager.anonymous().sign_in(&sign_in(name, "wrong")).await);
    let said = "Account or password is wrong. After 5 tries sign-in pauses for a minute; 4 are left.";
    assert_eq!(wrong("root").await, (401, said.to_owned()));
    // Signing in starts the count anew.
    manager.root().await;
    assert_eq!(wrong("root").await, (401, said.to_owned()));
    assert_eq!(wrong("nobody").await, (401, said.to_owned()), "who does not exist gets the same words");
    for left in ["3 are left", "2 are left", "1 is left", "now pauses for a minute"] {
        let (status, detail) = wrong("root").await;
        assert!(status == 401 && detail.contains(left), "{detail}");
    }
    let body = json!({ "name": "root", "password": PASSWORD });
    let paused = http_client().post(format!("{}/api/v1/users/signin", manager.url)).json(&body).send().await.unwrap();
    assert_eq!(paused.status(), StatusCode::TOO_MANY_REQUESTS, "even the right password");
    let seconds: u64 = paused.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(wrong("nobody").await.0, 401, "others go on");
}

async fn signing_out_ends_that_session_and_no_other(database: TestDatabase) {
    let manager = Running::start(database).await;
    let (one, other) = (manager.root().await, manager.root().await);
    one.sign_out().await.unwrap();
    assert_eq!(refusal(one.get_session().await).0, 401);
    other.get_session().await.unwrap();
    // Also after a restart: it is in the database.
    let token = manager.token_of("root").await;
    let manager = manager.restart(|_| ()).await;
    manager.with(&token).sign_out().await.unwrap();
    let manager = manager.restart(|_| ()).await;
    assert_eq!(refusal(manager.with(&token).get_session().await).0, 401);
}

async fn a_disabled_account_neither_signs_in_nor_goes_on(database: TestDatabase) {
    let manager = Running::start(database).await;
    let user = manager.add_guest().await;
    let (root, guest) = (manager.root().await, manager.guest().await);
    guest.list_clusters().await.unwrap();
    let state = |state| UpdateUserRequest { state: Some(state), ..UpdateUserRequest::default() };
    root.update_user(user.id, &state(UserState::Disable)).await.unwrap();
    assert_eq!(refusal(guest.list_clusters().await).0, 401);
    let (status, detail) = refusal(manager.anonymous().sign_in(&sign_in("guest", USERS_PASSWORD)).await);
    assert!(status == 403 && detail.contains("disabled"), "{detail}");
    root.update_user(user.id, &state(UserState::Enable)).await.unwrap();
    assert_eq!(refusal(guest.list_clusters().await).0, 401, "the former session is over");
    manager.guest().await.list_clusters().await.unwrap();
}

async fn a_guest_reads_and_does_not_write(database: TestDatabase) {
    let manager = Running::start(database).await;
    manager.add_guest().await;
    let guest = manager.guest().await;
    assert_eq!(guest.list_clusters().await.unwrap().len(), 1);
    let new = CreateClusterRequest { name: "b".into(), ..CreateClusterRequest::default() };
    let (status, detail) = refusal(guest.create_cluster(&new).await);
    assert!(status == 403 && detail.contains("clusters:*") && detail.contains("guest"), "{detail}");
    assert_eq!(refusal(guest.delete_cluster(1).await).0, 403);
}

async fn a_session_that_was_refreshed_is_over(database: TestDatabase) {
    let manager = Running::start(database).await;
    let former = manager.root().await;
    let answer = former.refresh_token().await.unwrap();
    assert_eq!(refusal(former.get_session().await).0, 401);
    assert_eq!(manager.with(&answer.token).get_session().await.unwrap().name, "root");
}

async fn the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(database: TestDatabase) {
    let manager = Running::start(database).await;
    let http = http_client();
    let body = json!({ "name": "root", "password": PASSWORD });
    let signin = format!("{}/api/v1/users/signin", manager.url);
    let plain = http.post(&signin).json(&body).send().await.unwrap();
    let cookie = plain.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    for part in ["df_session=", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"));
    let proxied = http.post(&signin).header("x-forwarded-proto", "https").json(&body).send().await.unwrap();
    assert!(proxied.headers()[SET_COOKIE].to_str().unwrap().ends_with("; Secure"));

    let cookie = cookie.split(';').next().unwrap();
    let session = format!("{}/api/v1/session", manager.url);
    assert_eq!(http.get(&session).header(COOKIE, cookie).send().await.unwrap().status(), 200);
    let create = |name: &str| {
        let body = json!({ "name": name });
        http.post(format!("{}/api/v1/clusters", manager.url)).header(COOKIE, cookie).json(&body)
    };
    let host = manager.url.strip_prefix("http://").unwrap().to_owned();
    let foreign = create("b").header("sec-fetch-site", "cross-site").header(ORIGIN, "http://evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    let old_browser = create("b").header(ORIGIN, "http://evil.example").header(HOST, &host);
    let refused = old_browser.send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["content-type"]),
        (403, &"application/problem+json".parse().unwrap())
    );
    assert_eq!(create("b").header(ORIGIN, &manager.url).send().await.unwrap().status(), 200);
    assert_eq!(create("c").header("sec-fetch-site", "same-origin").send().await.unwrap().status(), 200);
    let over = http.post(format!("{}/api/v1/users/signout", manager.url)).header(COOKIE, cookie).send().await.unwrap();
    assert!(over.headers()[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(http.get(&session).header(COOKIE, cookie).send().await.unwrap().status(), 401);
}
