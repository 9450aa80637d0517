//! The HTTP client for origins, with all that guards it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::Method;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy, retry};
use secrecy::ExposeSecret as _;

use super::rules::{GuardedResolver, Rules};
use super::{UpstreamConfig, UpstreamError};

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence of an origin within a body; a slow origin is fine, a dead one is not.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: usize = 10;

/// How origins are asked.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    /// Goes where redirects lead, if that may be asked.
    pub following: Client,
    pub straight: Client,
    /// For requests of others, passed on as they are: their sender follows redirects and knows how long to wait.
    pub relaying: Client,
}

pub(super) fn build(
    config: &UpstreamConfig,
    rules: &Arc<Rules>,
    ca_certs: &[PathBuf],
) -> Result<Clients, UpstreamError> {
    let redirect_rules = rules.clone();
    let following = Policy::custom(move |attempt| match redirect_rules.check(attempt.url()) {
        Err(refused) => attempt.error(refused),
        Ok(()) if attempt.previous().len() > REDIRECTS_MAX => attempt.error("more than 10 redirects"),
        Ok(()) => attempt.follow(),
    });
    let fetching = |policy| -> Result<Client, UpstreamError> {
        let client = guarded(config, rules, ca_certs)?
            .redirect(policy)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("dragonfly/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(client)
    };
    Ok(Clients {
        following: fetching(following)?,
        straight: fetching(Policy::none())?,
        relaying: guarded(config, rules, ca_certs)?.redirect(Policy::none()).build()?,
    })
}

fn guarded(config: &UpstreamConfig, rules: &Arc<Rules>, ca_certs: &[PathBuf]) -> Result<ClientBuilder, UpstreamError> {
    let mut http = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .retry(once_more())
        // Where a redirect leads must not see the URL that led there: it may be signed.
        .referer(false)
        .dns_resolver(Arc::new(GuardedResolver::new(rules.clone(), config)));
    if let Some(proxy) = &config.proxy {
        let exceptions = NoProxy::from_string(&config.no_proxy.join(","));
        let proxy = Proxy::all(proxy.expose_secret()).map_err(|_| UpstreamError::Proxy)?;
        http = http.proxy(proxy.no_proxy(exceptions));
    }
    for path in config.ca_certs.iter().chain(ca_certs) {
        let unreadable = |source| UpstreamError::CaCerts { path: path.clone(), source };
        let pem = std::fs::read(path).map_err(unreadable)?;
        let bundle = Certificate::from_pem_bundle(&pem)?;
        if bundle.is_empty() {
            return Err(unreadable(std::io::Error::other("no PEM certificate in it")));
        }
        http = bundle.into_iter().fold(http, |http, certificate| http.add_root_certificate(certificate));
    }
    Ok(http)
}

/// A server may close a connection that it has kept at the very moment of the next request, which no client can see
/// coming: what changes nothing there is asked once more, as Go's clients do.
fn once_more() -> retry::Builder {
    retry::for_host(AnyHost).max_retries_per_request(1).classify_fn(|tried| {
        let broken = tried.error().and_then(|error| error.downcast_ref::<reqwest::Error>());
        let broken = broken.is_some_and(|error| error.is_request() && !error.is_connect() && !error.is_timeout());
        let changes_nothing = matches!(*tried.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if broken && changes_nothing { tried.retryable() } else { tried.success() }
    })
}

struct AnyHost;

// === impl AnyHost ===

impl PartialEq<&str> for AnyHost {
    fn eq(&self, _: &&str) -> bool {
        true
    }
}

/// A body that need not be whole: what has come of it, up to `max_bytes` and within `patience`.
pub async fn read_at_most(response: reqwest::Response, max_bytes: usize, patience: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    let reading = async {
        while let Some(Ok(chunk)) = chunks.next().await
            && body.len() + chunk.len() <= max_bytes
        {
            body.extend_from_slice(&chunk);
        }
    };
    let _ = tokio::time::timeout(patience, reading).await;
    body
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    async fn answer_once(connection: &mut TcpStream) {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(connection.read_u8().await.unwrap());
        }
        connection.write_all(ANSWER).await.unwrap();
    }

    /// Answers once on each connection, and breaks it when it is asked again.
    async fn serve(listener: TcpListener) {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            answer_once(&mut connection).await;
            // With the rest unread, closing is a reset.
            let _ = connection.read_u8().await;
        }
    }

    #[tokio::test]
    async fn a_kept_connection_that_breaks_at_the_next_request_costs_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v2/", listener.local_addr().unwrap());
        let served = tokio::spawn(serve(listener));
        let config =
            UpstreamConfig { allow: vec![url.trim_end_matches("/v2/").to_owned()], ..UpstreamConfig::default() };
        let rules = Arc::new(Rules::new(&config).unwrap());
        let client = build(&config, &rules, &[]).unwrap().following;
        for method in [Method::GET, Method::HEAD, Method::GET] {
            client.request(method, &url).send().await.unwrap();
        }
        client.post(&url).send().await.expect_err("it may have done something");
        served.abort();
    }
}
