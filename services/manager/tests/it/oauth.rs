//! Signing in with a provider. A real one is asked in `tests/browser`; this one here misbehaves on request.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use df_api::manager::{CreateOauthRequest, UpdateOauthRequest, UpdateUserRequest, User, UserState};
use df_client::http_client;
use df_testkit::TestDatabase;
use parking_lot::Mutex;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::running::{Running, SQLITE, new_user, on_every_database, refusal};

on_every_database! {
    somebody_at_a_provider_is_one_user_here,
    a_name_or_an_address_makes_nobody_another_user,
    providers_are_written_down_without_showing_their_secret,
}

const SECRET: &str = "providers-secret-0123456789";

/// What the provider says, and what it was asked.
struct Said {
    issuer: String,
    person: Value,
    token: StatusCode,
    asked: Vec<Vec<(String, String)>>,
}

#[derive(Clone)]
struct Fake {
    url: String,
    said: Arc<Mutex<Said>>,
}

impl Fake {
    /// GitHub's paths and those of OpenID Connect.
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let person = json!({ "sub": "1", "preferred_username": "alice", "email": "alice@example.com" });
        let said = Said { issuer: url.clone(), person, token: StatusCode::OK, asked: Vec::new() };
        let fake = Self { url, said: Arc::new(Mutex::new(said)) };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/token", post(token))
            .route("/login/oauth/access_token", post(token))
            .route("/userinfo", get(person_of))
            .route("/api/v3/user", get(person_of))
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    fn provider(&self, name: &str, manager: &Running) -> CreateOauthRequest {
        CreateOauthRequest {
            name: name.to_owned(),
            bio: String::new(),
            client_id: "dragonfly".to_owned(),
            client_secret: SECRET.to_owned(),
            redirect_url: format!("{}/api/v1/users/signin/{name}/callback", manager.url),
            issuer: self.url.clone(),
        }
    }
}

async fn metadata(State(fake): State<Fake>) -> Json<Value> {
    let (issuer, url) = (fake.said.lock().issuer.clone(), fake.url);
    let at = |path: &str| format!("{url}/{path}");
    Json(json!({
        "issuer": issuer, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
        "userinfo_endpoint": at("userinfo"),
    }))
}

async fn token(State(fake): State<Fake>, form: String) -> (StatusCode, Json<Value>) {
    let form = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    let mut said = fake.said.lock();
    said.asked.push(form);
    (said.token, Json(json!({ "access_token": "provider-token", "token_type": "bearer" })))
}

async fn person_of(State(fake): State<Fake>) -> Json<Value> {
    Json(fake.said.lock().person.clone())
}

/// One that takes whoever a provider lets in.
async fn with_newcomers(database: TestDatabase) -> Running {
    Running::start_with(database, |config| config.sign_up = true).await
}

/// A browser on its way to the provider: where it is sent, and its cookie.
async fn leave(manager: &Running, name: &str) -> (Url, String) {
    let away = get_as(manager, &format!("/api/v1/users/signin/{name}"), "").await;
    assert_eq!(away.status(), 302);
    let cookie = away.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    for part in ["df_oauth=", "HttpOnly", "SameSite=Lax", "Path=/api/v1/users/signin", "Max-Age=600"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let location = Url::parse(away.headers()[LOCATION].to_str().unwrap()).unwrap();
    (location, cookie.split(';').next().unwrap().to_owned())
}

async fn get_as(manager: &Running, path: &str, cookie: &str) -> Response {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    http.get(format!("{}{path}", manager.url)).header(COOKIE, cookie).send().await.unwrap()
}

fn parameter(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name} in {url}")).1.into_owned()
}

/// There and back.
async fn sign_in_with(manager: &Running, name: &str) -> Response {
    let (away, cookie) = leave(manager, name).await;
    let state = parameter(&away, "state");
    get_as(manager, &format!("/api/v1/users/signin/{name}/callback?code=a-code&state={state}"), &cookie).await
}

/// The user of the session that was begun.
async fn user_of(manager: &Running, back: Response) -> User {
    assert_eq!((back.status().as_u16(), back.headers()[LOCATION].to_str().unwrap()), (302, "/"));
    let cookies: Vec<&str> = back.headers().get_all(SET_COOKIE).iter().map(|one| one.to_str().unwrap()).collect();
    assert!(cookies.iter().any(|one| one.starts_with("df_oauth=;") && one.contains("Max-Age=0")), "{cookies:?}");
    let session = cookies.iter().find(|one| one.starts_with("df_session=")).unwrap().split(';').next().unwrap();
    get_as(manager, "/api/v1/session", session).await.json().await.unwrap()
}

async fn somebody_at_a_provider_is_one_user_here(database: TestDatabase) {
    let (manager, fake) = (with_newcomers(database).await, Fake::start().await);
    let root = manager.root().await;
    root.create_oauth(&fake.provider("acme", &manager)).await.unwrap();
    let (away, _) = leave(&manager, "acme").await;
    assert_eq!(
        (parameter(&away, "client_id").as_str(), parameter(&away, "response_type").as_str()),
        ("dragonfly", "code")
    );
    assert_eq!(parameter(&away, "code_challenge_method"), "S256");
    assert!(
        parameter(&away, "scope").contains("openid") && away.as_str().starts_with(&format!("{}/authorize?", fake.url))
    );

    let first = user_of(&manager, sign_in_with(&manager, "acme").await).await;
    assert_eq!(
        (first.name.as_str(), first.email.as_str(), first.roles.as_slice()),
        ("alice", "alice@example.com", &["guest".to_owned()][..])
    );
    let form = fake.said.lock().asked[0].clone();
    for (name, value) in [("grant_type", "authorization_code"), ("code", "a-code")] {
        assert!(form.contains(&(name.to_owned(), value.to_owned())), "{form:?}");
    }
    assert!(form.iter().any(|(name, value)| name == "code_verifier" && value.len() >= 43));
    // Called otherwise by now.
    fake.said.lock().person["preferred_username"] = json!("alicia");
    assert_eq!(user_of(&manager, sign_in_with(&manager, "acme").await).await.id, first.id);
    let disable = UpdateUserRequest { state: Some(UserState::Disable), ..UpdateUserRequest::default() };
    root.update_user(first.id, &disable).await.unwrap();
    assert_eq!(sign_in_with(&manager, "acme").await.status(), 403);
    let audits = root.list_audits().await.unwrap();
    let mine: Vec<u16> =
        audits.iter().filter(|one| one.path.ends_with("/acme/callback")).map(|one| one.status_code).collect();
    assert_eq!(
        (mine.as_slice(), audits.iter().filter(|one| one.actor_name == "alice").count()),
        (&[403, 302, 302][..], 2)
    );
}

async fn a_name_or_an_address_makes_nobody_another_user(database: TestDatabase) {
    let (manager, fake) = (with_newcomers(database).await, Fake::start().await);
    let root = manager.root().await;
    let known = root.sign_up(&new_user("alice")).await.unwrap();
    root.create_oauth(&fake.provider("acme", &manager)).await.unwrap();
    root.create_oauth(&fake.provider("github", &manager)).await.unwrap();
    let new = user_of(&manager, sign_in_with(&manager, "acme").await).await;
    assert!(new.id != known.id && new.name == "alice-2" && new.email.is_empty(), "{new:?}");
    fake.said.lock().person = json!({ "id": 1, "login": "root", "email": null, "avatar_url": "https://x/y.png" });
    let other = user_of(&manager, sign_in_with(&manager, "github").await).await;
    assert_eq!(
        (other.name.as_str(), other.avatar.as_str(), other.roles.as_slice()),
        ("root-2", "https://x/y.png", &["guest".to_owned()][..])
    );
    // Nobody has a password for them.
    let tried = manager.anonymous().sign_in(&crate::running::sign_in("root-2", "")).await;
    assert_eq!(refusal(tried).0, 401);
}

async fn providers_are_written_down_without_showing_their_secret(database: TestDatabase) {
    let (manager, fake) = (with_newcomers(database).await, Fake::start().await);
    manager.add_guest().await;
    let (root, guest) = (manager.root().await, manager.guest().await);
    let made = root.create_oauth(&fake.provider("acme", &manager)).await.unwrap();
    let shown = serde_json::to_string(&(guest.list_oauth().await.unwrap(), guest.get_oauth(made.id).await.unwrap()));
    assert!(!shown.unwrap().contains(SECRET));
    assert!(!crate::logs::has_line(&[SECRET]));
    assert_eq!(refusal(guest.create_oauth(&fake.provider("other", &manager)).await).0, 403);
    assert_eq!(refusal(root.create_oauth(&fake.provider("acme", &manager)).await).0, 409);
    let change = UpdateOauthRequest { bio: Some("ours".into()), ..UpdateOauthRequest::default() };
    assert_eq!(root.update_oauth(made.id, &change).await.unwrap().bio, "ours");
    user_of(&manager, sign_in_with(&manager, "acme").await).await;
    let form = fake.said.lock().asked[0].clone();
    let sent = form.iter().any(|(name, value)| name == "client_secret" && value == SECRET);
    assert!(sent || form.iter().all(|(name, _)| name != "client_secret"), "the secret goes by header or by form");
    root.delete_oauth(made.id).await.unwrap();
    assert_eq!(get_as(&manager, "/api/v1/users/signin/acme", "").await.status(), 404);
}

/// GHSA-like: `state` was made and not looked at.
#[tokio::test]
async fn who_comes_back_must_have_gone() {
    let (manager, fake) = (with_newcomers(SQLITE).await, Fake::start().await);
    manager.root().await.create_oauth(&fake.provider("acme", &manager)).await.unwrap();
    let (away, cookie) = leave(&manager, "acme").await;
    let state = parameter(&away, "state");
    let back = |query: String| format!("/api/v1/users/signin/acme/callback?{query}");
    for (query, cookie) in [
        (format!("code=a&state={state}"), ""),
        ("code=a".to_owned(), cookie.as_str()),
        ("code=a&state=other".to_owned(), cookie.as_str()),
        (format!("code=a&state={state}"), "df_oauth=other.verifier"),
        (format!("error=access_denied&state={state}"), cookie.as_str()),
    ] {
        let refused = get_as(&manager, &back(query.clone()), cookie).await;
        assert_eq!(refused.status(), 403, "{query} {cookie}");
        assert!(refused.headers().get(SET_COOKIE).is_none());
    }
    assert!(fake.said.lock().asked.is_empty(), "no code was taken to the provider");
    // Wherever a query says.
    let elsewhere = format!("code=a&state={state}&redirect=https://evil.example&next=//evil.example");
    let home = get_as(&manager, &back(elsewhere), &cookie).await;
    assert_eq!(home.headers()[LOCATION], "/");
}

#[tokio::test]
async fn a_provider_that_fails_lets_nobody_in() {
    let (manager, fake) = (Running::start(SQLITE).await, Fake::start().await);
    let root = manager.root().await;
    root.create_oauth(&fake.provider("acme", &manager)).await.unwrap();
    assert_eq!(sign_in_with(&manager, "acme").await.status(), 403, "sign-up is switched off");
    fake.said.lock().token = StatusCode::BAD_REQUEST;
    assert_eq!(sign_in_with(&manager, "acme").await.status(), 403, "nobody has that code");
    (fake.said.lock().token, fake.said.lock().person) = (StatusCode::OK, json!({ "name": "nobody" }));
    assert_eq!(sign_in_with(&manager, "acme").await.status(), 502);
    assert_eq!(get_as(&manager, "/api/v1/users/signin/nobody", "").await.status(), 404);
    assert_eq!(root.list_users().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_provider_that_calls_itself_another_is_none() {
    let (manager, fake) = (Running::start(SQLITE).await, Fake::start().await);
    manager.root().await.create_oauth(&fake.provider("acme", &manager)).await.unwrap();
    let own = std::mem::replace(&mut fake.said.lock().issuer, "https://evil.example".to_owned());
    assert_eq!(get_as(&manager, "/api/v1/users/signin/acme", "").await.status(), 502);
    fake.said.lock().issuer = own;
    assert_eq!(get_as(&manager, "/api/v1/users/signin/acme", "").await.status(), 302, "what failed is asked again");
}

#[tokio::test]
async fn a_provider_that_cannot_be_is_refused_by_name() {
    let (manager, fake) = (Running::start(SQLITE).await, Fake::start().await);
    let root = manager.root().await;
    let refused = async |field: &str, change: &dyn Fn(&mut CreateOauthRequest)| {
        let mut new = fake.provider("acme", &manager);
        change(&mut new);
        let (status, detail) = refusal(root.create_oauth(&new).await);
        assert!(status == 422 && detail.starts_with(field), "{field}: {detail}");
        assert!(!detail.contains(SECRET));
    };
    refused("name", &|new| new.name = "Acme!".into()).await;
    refused("client_id", &|new| new.client_id.clear()).await;
    refused("client_secret", &|new| new.client_secret.clear()).await;
    refused("redirect_url", &|new| new.redirect_url = "https://evil.example/".into()).await;
    refused("issuer", &|new| new.issuer = "http://169.254.169.254".into()).await;
    refused("issuer", &|new| new.issuer.clear()).await;
    let unknown =
        http_client().post(format!("{}/api/v1/oauth", manager.url)).bearer_auth(manager.token_of("root").await);
    let unknown = unknown.json(&json!({ "name": "acme", "secret": "x" })).send().await.unwrap();
    assert!(unknown.status() == 422 && unknown.text().await.unwrap().contains("secret"));
}
