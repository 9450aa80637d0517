//! Base URL, bearer token, `traceparent`, and problem+json → [`ClientError`]. Each call is one attempt: what may be
//! repeated, and for how long, only the caller knows.

use std::time::Duration;

use df_api::Problem;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

/// A component to talk to. Cheap to clone; connections are pooled per [`Client`].
#[derive(Clone, Debug)]
pub struct Transport {
    base: Url,
    http: Client,
    bearer: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered, and said no.
    #[error("{method} {url} answered {status}: {detail}", status = .problem.status, detail = .problem.detail)]
    Refused { method: Method, url: String, problem: Box<Problem>, retry_after: Option<Duration> },
    /// No answer, or not one of ours.
    #[error("{method} {url} failed")]
    Transport { method: Method, url: String, source: reqwest::Error },
    /// An answer that is too long, or says something else than it should.
    #[error("{url} answered nonsense: {reason}")]
    Malformed { url: String, reason: String },
}

/// Answers are read up to this size: the largest are the lists of a fleet of thousands.
const JSON_BYTES_MAX: usize = 16 << 20;
/// What a refusal says is read up to this size.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Clone, thiserror::Error)]
#[error("{0:?} is not an http:// or https:// URL, nor unix:/path of a socket")]
pub struct InvalidUrl(pub String);

/// For calls between components: quick to notice a dead host, keep-alive, no proxy of the environment, no redirects.
pub fn http_client() -> Client {
    #[cfg(not(target_family = "wasm"))]
    let builder = client_builder();
    #[cfg(target_family = "wasm")]
    let builder = Client::builder();
    builder.build().unwrap_or_default()
}

/// [`http_client`], for those who add certificates to it.
#[cfg(not(target_family = "wasm"))]
pub fn client_builder() -> reqwest::ClientBuilder {
    Client::builder()
        .connect_timeout(Duration::from_secs(3))
        // Longer than any long poll: silence beyond it is a dead host.
        .read_timeout(Duration::from_secs(40))
        .pool_idle_timeout(Duration::from_secs(60))
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
}

/// The `traceparent` of the current span, so that the next hop's span becomes its child.
#[cfg(not(target_family = "wasm"))]
pub fn trace_headers() -> reqwest::header::HeaderMap {
    use opentelemetry_http::HeaderInjector;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    let mut headers = reqwest::header::HeaderMap::new();
    let context = tracing::Span::current().context();
    opentelemetry::global::get_text_map_propagator(|p| p.inject_context(&context, &mut HeaderInjector(&mut headers)));
    headers
}

// === impl Transport ===

impl Transport {
    pub fn new(base: &str, http: Client) -> Result<Self, InvalidUrl> {
        let invalid = || InvalidUrl(base.to_owned());
        let base = Url::parse(base).map_err(|_| invalid())?;
        matches!(base.scheme(), "http" | "https").then_some(Self { base, http, bearer: None }).ok_or_else(invalid)
    }

    /// `http://…`, `https://…`, or `unix:/path` for a socket of this machine.
    #[cfg(unix)]
    pub fn open(address: &str) -> Result<Self, InvalidUrl> {
        Self::open_with(address, client_builder())
    }

    /// As [`Transport::open`], with another client.
    #[cfg(unix)]
    pub fn open_with(address: &str, builder: reqwest::ClientBuilder) -> Result<Self, InvalidUrl> {
        let invalid = || InvalidUrl(address.to_owned());
        let Some(path) = address.strip_prefix("unix:") else {
            return Self::new(address, builder.build().map_err(|_| invalid())?);
        };
        if !path.starts_with('/') {
            return Err(invalid());
        }
        let http = builder.unix_socket(path).build().map_err(|_| invalid())?;
        Self::new("http://localhost/", http)
    }

    /// Whether it answers at all within this time.
    #[cfg(not(target_family = "wasm"))]
    pub async fn answers(&self, within: Duration) -> bool {
        let asked = self.request(Method::GET, "/healthz").timeout(within).send().await;
        asked.is_ok_and(|answer| !is_of_a_gateway(answer.status().as_u16()))
    }

    pub fn with_bearer(mut self, token: Option<String>) -> Self {
        self.bearer = token;
        self
    }

    pub fn base(&self) -> &Url {
        &self.base
    }

    /// `path` is absolute; its variable parts are ids that need no escaping.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(path);
        let request = self.http.request(method, url);
        #[cfg(not(target_family = "wasm"))]
        let request = request.headers(trace_headers());
        match &self.bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        json(send(self.request(Method::GET, path)).await?).await
    }

    pub(crate) async fn send<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        json(send(self.request(method, path).json(body)).await?).await
    }

    /// For operations that answer with no body.
    pub(crate) async fn tell<B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<(), ClientError> {
        send(self.request(method, path).json(body)).await.map(drop)
    }

    /// For operations that answer with no body.
    pub(crate) async fn call(&self, method: Method, path: &str) -> Result<(), ClientError> {
        send(self.request(method, path)).await.map(drop)
    }

    /// With `Prefer: wait`, and a deadline a little later, so that a hung server does not hang the caller.
    pub(crate) fn waiting(request: RequestBuilder, wait: Duration) -> RequestBuilder {
        let request = request.header("prefer", format!("wait={}", wait.as_secs()));
        #[cfg(not(target_family = "wasm"))]
        let request = request.timeout(wait + Duration::from_secs(5));
        request
    }
}

/// Sends; any answer that is not 2xx becomes [`ClientError::Refused`].
pub(crate) async fn send(request: RequestBuilder) -> Result<Response, ClientError> {
    let (client, request) = request.build_split();
    let request = request.map_err(|source| failed(Method::GET, String::new(), source))?;
    let (method, url) = (request.method().clone(), request.url().to_string());
    let response = client.execute(request).await.map_err(|source| failed(method.clone(), url.clone(), source))?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let body = body_within(response, PROBLEM_BYTES_MAX).await.unwrap_or_default();
    let problem = serde_json::from_slice(&body).unwrap_or_else(|_| foreign(status, &body));
    let retry_after = seconds.map(Duration::from_secs);
    Err(ClientError::Refused { method, url, problem: Box::new(problem), retry_after })
}

pub(crate) async fn json<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    json_within(response, JSON_BYTES_MAX).await
}

/// For answers of those who are not to be trusted: they end at `limit` bytes, whatever comes.
pub(crate) async fn json_within<T: DeserializeOwned>(response: Response, limit: usize) -> Result<T, ClientError> {
    let url = response.url().to_string();
    let body = body_within(response, limit).await?;
    serde_json::from_slice(&body).map_err(|error| ClientError::Malformed { url, reason: error.to_string() })
}

#[cfg(not(target_family = "wasm"))]
async fn body_within(mut response: Response, limit: usize) -> Result<Vec<u8>, ClientError> {
    let url = response.url().to_string();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| failed(Method::GET, url.clone(), source))? {
        if body.len() + chunk.len() > limit {
            return Err(ClientError::Malformed { url, reason: format!("more than {limit} bytes") });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A browser guards its own memory.
#[cfg(target_family = "wasm")]
async fn body_within(response: Response, _: usize) -> Result<Vec<u8>, ClientError> {
    let url = response.url().to_string();
    response.bytes().await.map(|body| body.to_vec()).map_err(|source| failed(Method::GET, url, source))
}

fn failed(method: Method, url: String, source: reqwest::Error) -> ClientError {
    ClientError::Transport { method, url, source: source.without_url() }
}

/// What somebody in between says who has reached nobody.
fn is_of_a_gateway(status: u16) -> bool {
    matches!(status, 502..=504)
}

/// An error of something in between that does not speak problem+json.
fn foreign(status: StatusCode, body: &[u8]) -> Problem {
    let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
    let mut problem = Problem::new(df_api::Code::BadGateway, text);
    problem.status = status.as_u16();
    problem.title = status.canonical_reason().unwrap_or_default().to_owned();
    problem
}

// === impl ClientError ===

impl ClientError {
    /// The status when the server answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            ClientError::Refused { problem, .. } => Some(problem.status),
            ClientError::Transport { .. } | ClientError::Malformed { .. } => None,
        }
    }

    /// Nobody has answered, or only somebody in between who does not speak as we do and has reached nobody.
    pub fn is_silence(&self) -> bool {
        match self {
            ClientError::Refused { problem, .. } => {
                problem.code == df_api::Code::BadGateway && is_of_a_gateway(problem.status)
            }
            ClientError::Transport { .. } | ClientError::Malformed { .. } => true,
        }
    }

    /// `Retry-After` of a refusal.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ClientError::Refused { retry_after, .. } => *retry_after,
            ClientError::Transport { .. } | ClientError::Malformed { .. } => None,
        }
    }

    pub fn problem(&self) -> Option<&Problem> {
        match self {
            ClientError::Refused { problem, .. } => Some(problem),
            ClientError::Transport { .. } | ClientError::Malformed { .. } => None,
        }
    }
}
