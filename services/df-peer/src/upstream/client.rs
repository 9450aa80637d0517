//! The HTTP client for origins, with all that guards it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy};
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
