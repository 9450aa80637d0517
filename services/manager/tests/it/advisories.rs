//! What was published about the incumbent's manager, each as a test that ours refuses it.
//! Beside these: `oauth.rs` (a missing `state`, an open redirect), `tokens.rs` (tokens in the query), `laws.rs` (every
//! operation as nobody, guest, token and root).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use df_api::manager::CreateOauthRequest;
use df_client::http_client;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use reqwest::header::ORIGIN;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::running::{Running, SQLITE, refusal, with};

fn session_claims() -> Value {
    let now = chrono::Utc::now().timestamp();
    json!({ "iss": "dragonfly-manager", "aud": "console", "sub": "1", "jti": "s", "iat": now, "exp": now + 3600, "id": 1 })
}

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

/// CVE-2026-24124 (GHSA-j8hf-cp34-g4j7), and its like for configs and oauth: operations that nobody guarded.
#[tokio::test]
async fn nobody_reads_or_changes_configs_and_providers_without_signing_in() {
    let manager = Running::start(SQLITE).await;
    for path in ["configs", "configs/1", "oauth", "oauth/1", "users", "personal-access-tokens", "audits"] {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE] {
            for base in ["api", "oapi"] {
                let url = format!("{}/{base}/v1/{path}", manager.url);
                let answer = http_client().request(method.clone(), &url).json(&json!({})).send().await.unwrap();
                let status = answer.status().as_u16();
                assert!([401, 404, 405].contains(&status), "{method} {url}: {status}");
            }
        }
    }
}

/// GHSA-g2rq-jv54-wcpr: a job was a way to have the manager ask any address, with any headers.
#[tokio::test]
async fn the_manager_asks_no_address_that_a_job_names() {
    let manager = Running::start(SQLITE).await;
    let (root, component) = (manager.root().await, manager.component().await);
    component.renew_scheduler_lease(&crate::running::scheduler("s1", 1)).await.unwrap();
    let inside = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = inside.local_addr().unwrap();
    for (subject, path) in [("image", "v2/a/manifests/1"), ("file", "latest/meta-data")] {
        let args = json!({ "type": subject, "url": format!("http://{address}/{path}"), "headers": { "x-a": "b" } });
        let job = serde_json::from_value(json!({ "type": "preheat", "args": args })).unwrap();
        root.create_job(&job).await.unwrap();
        let url = format!("{}/preheats", manager.url);
        let hook = json!({ "type": subject, "url": format!("http://{address}/{path}") });
        let token = manager.token_of("root").await;
        assert!(http_client().post(url).bearer_auth(&token).json(&hook).send().await.unwrap().status().is_success());
    }
    for (args, named) in [
        (json!({ "type": "file", "url": "http://a.example/x", "headers": { "x-a": "b\r\nhost: evil" } }), "x-a"),
        (json!({ "type": "file", "url": "gopher://127.0.0.1/x" }), "args.url"),
        (json!({ "type": "file", "url": "file:///etc/shadow" }), "args.url"),
    ] {
        let job = serde_json::from_value(json!({ "type": "preheat", "args": args })).unwrap();
        let (status, why) = refusal(root.create_job(&job).await);
        assert!(status == 422 && why.contains(named), "{status} {why}");
    }
    let asked = tokio::time::timeout(std::time::Duration::from_millis(500), inside.accept()).await;
    assert!(asked.is_err(), "somebody was asked");
}

/// GHSA-4q9j-6299-gxmr: secrets of providers were readable.
#[tokio::test]
async fn the_secret_of_a_provider_is_in_no_answer() {
    let manager = Running::start(SQLITE).await;
    let root = manager.root().await;
    let secret = "github-client-secret-0123456789";
    let new = CreateOauthRequest {
        name: "github".into(),
        client_id: "id".into(),
        client_secret: secret.into(),
        redirect_url: "https://manager.example/api/v1/users/signin/github/callback".into(),
        ..CreateOauthRequest::default()
    };
    root.create_oauth(&new).await.unwrap();
    manager.add_guest().await;
    for token in [manager.token_of("root").await, manager.token_of("guest").await] {
        for path in ["oauth", "oauth/1", "audits?per_page=1000", "configs", "users"] {
            let url = format!("{}/api/v1/{path}", manager.url);
            let text = http_client().get(url).bearer_auth(&token).send().await.unwrap().text().await.unwrap();
            assert!(
                text.starts_with(['[', '{']) && !text.contains(secret) && !text.contains("argon2"),
                "{path}: {text}"
            );
        }
    }
}

/// CVE-2023-27584 (GHSA-hpc8-7wpm-889w): everybody had the same signing key.
#[tokio::test]
async fn a_token_of_another_manager_or_of_a_known_key_opens_nothing() {
    let (manager, other) = (Running::start(SQLITE).await, Running::start(SQLITE).await);
    assert_ne!(manager.app.jwks(), other.app.jwks(), "each has its own, by chance");
    let foreign = other.token_of("root").await;
    assert_eq!(refusal(with(&manager.url, &foreign).get_session().await).0, 401);
    // The incumbent's, and the public half of our own taken for a shared secret.
    let ours = manager.app.jwks().keys[0].clone();
    for secret in ["Secret Key", "ZHJhZ29uZmx5Cg==", &ours.x] {
        let header = Header { kid: Some(ours.kid.clone()), ..Header::new(Algorithm::HS256) };
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = jsonwebtoken::encode(&header, &session_claims(), &key).unwrap();
        assert_eq!(refusal(with(&manager.url, &token).get_session().await).0, 401, "{secret}");
    }
}

#[tokio::test]
async fn a_token_without_a_signature_opens_nothing() {
    let manager = Running::start(SQLITE).await;
    let kid = &manager.app.jwks().keys[0].kid;
    for alg in ["none", "None", "NONE", "EdDSA"] {
        let head = part(&json!({ "alg": alg, "typ": "JWT", "kid": kid }));
        for tail in ["", "."] {
            let token = format!("{head}.{}{tail}", part(&session_claims()));
            assert_eq!(refusal(with(&manager.url, &token).get_session().await).0, 401, "{alg}");
        }
    }
    let (head, tail) =
        manager.token_of("root").await.rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let other = format!("{header}.{}.{tail}", part(&session_claims()));
    assert_eq!(refusal(with(&manager.url, &other).get_session().await).0, 401, "another's claims under a signature");
}

/// Paths that climb out of the console's files; sent as they are, which no URL library does.
#[tokio::test]
async fn no_path_leads_out_of_the_console() {
    let manager = Running::start(SQLITE).await;
    let address = manager.url.strip_prefix("http://").unwrap();
    for path in [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/....//....//etc/passwd",
        "/assets/..\\..\\etc\\passwd",
        "/console/../../Cargo.toml",
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
        assert!(!answer.contains("root:") && !answer.contains("[package]"), "{path}");
    }
}

/// The incumbent allows every origin that asks, with credentials.
#[tokio::test]
async fn no_other_origin_is_let_in() {
    let manager = Running::start(SQLITE).await;
    let url = format!("{}/api/v1/clusters", manager.url);
    let token = manager.token_of("root").await;
    let preflight = http_client()
        .request(Method::OPTIONS, &url)
        .header(ORIGIN, "https://evil.example")
        .header("access-control-request-method", "POST");
    let read = http_client().get(&url).bearer_auth(token).header(ORIGIN, "https://evil.example");
    for request in [preflight, read] {
        let answer = request.send().await.unwrap();
        let allowed: Vec<_> =
            answer.headers().keys().filter(|name| name.as_str().starts_with("access-control")).collect();
        assert!(allowed.is_empty(), "{allowed:?}");
    }
}

#[tokio::test]
async fn every_answer_says_how_it_may_be_used() {
    let manager = Running::start(SQLITE).await;
    let get = async |path: &str| http_client().get(format!("{}{path}", manager.url)).send().await.unwrap();
    for path in ["/", "/api/v1/clusters", "/api/v1/jwks", "/healthz", "/nothing", "/docs/", "/openapi.json"] {
        let answer = get(path).await;
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(answer.headers()["referrer-policy"], "no-referrer", "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("'unsafe-eval'"), "{path}: {policy}");
    }
    let console = get("/").await;
    assert!(
        console.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self' 'wasm-unsafe-eval'")
    );
    assert_eq!(get("/api/v1/clusters").await.headers()["cache-control"], "no-store");
}
