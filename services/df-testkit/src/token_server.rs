//! A token server for a real registry (distribution: `spec/auth/token.md`, `jwt.md`, `oauth.md`): GET with Basic or
//! without, POST with a password; each user reads the repositories of its own tenants, everybody the public ones.
//!
//! What nobody may have is granted with an empty `access`, as Docker Hub and distribution's own server do: the registry
//! then refuses.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use url::form_urlencoded;

/// What the registry calls itself and its issuer.
pub const SERVICE: &str = "df-testkit";
pub const ISSUER: &str = "df-testkit-tokens";
/// Whose repositories are everybody's; the second is what Docker Hub calls its own.
const PUBLIC: [&str; 2] = ["public", "library"];
/// What registries and their clients take for granted (`spec/auth/token.md`).
const DEFAULT_EXPIRY: Duration = Duration::from_secs(60);
const FORM_BYTES_MAX: usize = 64 * 1024;

/// Runs until dropped.
#[derive(Debug)]
pub struct TokenServer {
    address: SocketAddr,
    desk: Arc<Desk>,
    server: JoinHandle<()>,
}

/// Who may read what begins with `tenant/`.
#[derive(Clone, Debug)]
pub struct User {
    pub name: String,
    pub password: String,
    pub tenant: String,
}

/// One request for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: Method,
    /// Whoever it says it is; `None` is anonymous.
    pub user: Option<String>,
    pub scopes: Vec<String>,
    /// Of the answer.
    pub status: StatusCode,
}

struct Desk {
    users: Vec<User>,
    key: EncodingKey,
    /// The registry's trust, and each token's.
    certificate_pem: String,
    certificate_der: Vec<u8>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    expires_in: Duration,
    issued: Vec<String>,
    asked: Vec<Asked>,
}

/// A request as either method has it.
#[derive(Debug, Default)]
struct Wanted {
    login: Option<(String, String)>,
    scopes: Vec<String>,
}

// === impl TokenServer ===

impl TokenServer {
    /// Over plain HTTP; whatever begins with `public/` or `library/` is everybody's.
    pub async fn start_at(address: SocketAddr, users: Vec<User>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![ISSUER.to_owned()])?.self_signed(&key)?;
        let desk = Arc::new(Desk {
            users,
            key: EncodingKey::from_ec_der(&key.serialize_der()),
            certificate_pem: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            state: Mutex::new(State { expires_in: DEFAULT_EXPIRY, issued: Vec::new(), asked: Vec::new() }),
        });
        let server = tokio::spawn(accept(listener, desk.clone()));
        Ok(Self { address, desk, server })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whoever shows a token signed with this is let in.
    pub fn certificate_pem(&self) -> &str {
        &self.desk.certificate_pem
    }

    /// Tokens issued from now on live so long; the registry is patient for another minute.
    pub fn set_expires_in(&self, expires_in: Duration) {
        self.desk.state.lock().expires_in = expires_in;
    }

    /// Every token that was ever given, in order.
    pub fn issued(&self) -> Vec<String> {
        self.desk.state.lock().issued.clone()
    }

    /// Every request, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.desk.state.lock().asked.clone()
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

// === impl Desk ===

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("users", &self.users).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let method = request.method().clone();
        let wanted = match Wanted::read(request).await {
            Ok(wanted) => wanted,
            Err(reason) => return respond(StatusCode::BAD_REQUEST, &json!({ "details": reason })),
        };
        let (status, body) = self.decide(&wanted);
        let user = wanted.login.map(|(name, _)| name);
        self.state.lock().asked.push(Asked { method, user, scopes: wanted.scopes, status });
        respond(status, &body)
    }

    fn decide(&self, wanted: &Wanted) -> (StatusCode, Value) {
        let user = wanted
            .login
            .as_ref()
            .map(|(name, password)| self.users.iter().find(|user| user.name == *name && user.password == *password));
        if let Some(None) = user {
            return (StatusCode::UNAUTHORIZED, json!({ "details": "incorrect username or password" }));
        }
        let user = user.flatten();
        let readable = |repository: &&str| {
            let tenant = repository.split('/').next().unwrap_or_default();
            PUBLIC.contains(&tenant) || user.is_some_and(|user| user.tenant == tenant)
        };
        let granted: Vec<Value> = wanted
            .scopes
            .iter()
            .flat_map(|scopes| scopes.split(' '))
            .filter_map(|scope| scope.strip_prefix("repository:")?.split(':').next())
            .filter(readable)
            .map(|repository| json!({ "type": "repository", "name": repository, "actions": ["pull"] }))
            .collect();
        match self.token(user.map_or("", |user| &user.name), &granted) {
            Ok(token) => {
                let seconds = self.state.lock().expires_in.as_secs();
                (StatusCode::OK, json!({ "token": token, "access_token": token, "expires_in": seconds }))
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, json!({ "details": error.to_string() })),
        }
    }

    fn token(&self, subject: &str, granted: &[Value]) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let mut state = self.state.lock();
        let (expires_in, number) = (state.expires_in, state.issued.len());
        let mut header = Header::new(Algorithm::ES256);
        header.x5c = Some(vec![STANDARD.encode(&self.certificate_der)]);
        let claims = json!({
            "iss": ISSUER,
            "sub": subject,
            "aud": SERVICE,
            "nbf": now,
            "iat": now,
            "exp": now + expires_in.as_secs(),
            // No two are the same.
            "jti": number.to_string(),
            "access": granted,
        });
        let token = jsonwebtoken::encode(&header, &claims, &self.key)?;
        state.issued.push(token.clone());
        Ok(token)
    }
}

// === impl Wanted ===

impl Wanted {
    async fn read(request: Request<Incoming>) -> Result<Self, &'static str> {
        let basic = request.headers().get(AUTHORIZATION).map(|value| basic(value.as_bytes()));
        let login = basic.map(|login| login.ok_or("Authorization is not Basic")).transpose()?;
        match *request.method() {
            Method::GET => {
                let query = request.uri().query().unwrap_or_default().as_bytes().to_vec();
                Ok(Self { login, ..Self::form(&query) })
            }
            Method::POST => {
                let body = Limited::new(request.into_body(), FORM_BYTES_MAX).collect().await;
                Ok(Self::form(&body.map_err(|_| "the form does not arrive")?.to_bytes()))
            }
            _ => Err("neither GET nor POST"),
        }
    }

    fn form(encoded: &[u8]) -> Self {
        let mut wanted = Self::default();
        let (mut name, mut password) = (None, String::new());
        for (key, value) in form_urlencoded::parse(encoded) {
            match &*key {
                "scope" => wanted.scopes.push(value.into_owned()),
                "username" => name = Some(value.into_owned()),
                "password" => password = value.into_owned(),
                _ => {}
            }
        }
        wanted.login = name.map(|name| (name, password));
        wanted
    }
}

fn basic(value: &[u8]) -> Option<(String, String)> {
    let decoded = STANDARD.decode(value.strip_prefix(b"Basic ")?).ok()?;
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn respond(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        let desk = desk.clone();
        let service = service_fn(move |request| {
            let desk = desk.clone();
            async move { Ok::<_, Infallible>(desk.answer(request).await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A client that hangs up notices by itself.
        connections.spawn(async move { drop(connection.await) });
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Client;

    use super::*;
    use crate::docker_registry::{DockerRegistry, RegistryAuth, RegistryOptions};
    use crate::image::{Image, Layer};
    use crate::process::free_port;
    use crate::push::push_image;

    async fn start() -> TokenServer {
        let user = |name: &str| User { name: name.to_owned(), password: format!("{name}-pw"), tenant: name.to_owned() };
        TokenServer::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), vec![user("red"), user("blue")]).await.unwrap()
    }

    async fn token(server: &TokenServer, scope: &str, login: Option<(&str, &str)>) -> Option<String> {
        let mut request = Client::builder().no_proxy().build().unwrap().get(format!("http://{}/t", server.address()));
        if let Some((name, password)) = login {
            request = request.basic_auth(name, Some(password));
        }
        let response = request.query(&[("service", SERVICE), ("scope", scope)]).send().await.unwrap();
        let granted: Value = response.json().await.unwrap();
        granted["token"].as_str().map(str::to_owned)
    }

    #[tokio::test]
    async fn a_real_registry_lets_in_whom_the_server_lets_in() {
        if DockerRegistry::program_path().is_none() {
            crate::skip("docker-registry is missing (infra/scripts/setup.sh test)");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let server = start().await;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let realm = format!("http://{}/token", server.address());
        let auth = RegistryAuth::Token { server: &server, realm: &realm };
        let options = RegistryOptions { auth, ..RegistryOptions::default() };
        let registry = DockerRegistry::start_with(dir.path(), address, options).await.unwrap();
        let open = DockerRegistry::start(dir.path(), SocketAddr::from(([127, 0, 0, 1], free_port().unwrap())), None);
        let open = open.await.unwrap();
        let image = Image::build(1, &[Layer::tar(10)]).unwrap();
        for repository in ["red/app", "public/app"] {
            push_image(&open.base_url(), repository, "v1", &image).await.unwrap();
        }
        let client = Client::builder().no_proxy().build().unwrap();
        let status = async |repository: &str, login| {
            let granted = token(&server, &format!("repository:{repository}:pull"), login).await;
            let url = format!("{}/v2/{repository}/manifests/v1", registry.base_url());
            let request = client.get(url).header("accept", crate::image::MANIFEST_TYPE);
            request.bearer_auth(granted.unwrap_or_default()).send().await.unwrap().status().as_u16()
        };
        assert_eq!(status("public/app", None).await, 200);
        assert_eq!(status("red/app", Some(("red", "red-pw"))).await, 200);
        assert_eq!(status("red/app", None).await, 401);
        assert_eq!(status("red/app", Some(("blue", "blue-pw"))).await, 401);
        assert_eq!(token(&server, "repository:red/app:pull", Some(("red", "wrong"))).await, None);
        let last = server.asked().pop().unwrap();
        assert_eq!((last.user.as_deref(), last.status.as_u16()), (Some("red"), 401));
    }

    #[tokio::test]
    async fn a_password_in_a_form_is_as_good_as_a_header() {
        let server = start().await;
        let client = Client::builder().no_proxy().build().unwrap();
        let scope = "repository:red/app:pull";
        let form = [("grant_type", "password"), ("username", "red"), ("password", "red-pw"), ("scope", scope)];
        let response = client.post(format!("http://{}/token", server.address())).form(&form).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let asked = server.asked();
        let expected = Asked {
            method: Method::POST,
            user: Some("red".to_owned()),
            scopes: vec![scope.to_owned()],
            status: StatusCode::OK,
        };
        assert_eq!(asked, [expected]);
    }
}
