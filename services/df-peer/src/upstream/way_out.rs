//! A bare connection through the proxy for upstreams: by `CONNECT` (RFC 9110 §9.3.6) or SOCKS5 (RFC 1928).
//!
//! **Invariant.** Where this node resolves names, what is connected to was checked; where the proxy does, that is its duty.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use df_http::pem::certificates;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Request, Uri};
use http_body_util::Empty;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::Verifier;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::Service as _;
use url::{Position, Url};

use super::UpstreamConfig;
use super::connect::Connection;

/// Which proxy leads where.
#[derive(Clone, Debug)]
pub(super) struct WayOut {
    matcher: Arc<Matcher>,
    /// To trust a proxy by, besides the system's authorities.
    ca_certs: Vec<PathBuf>,
}

type Failed = Box<dyn StdError + Send + Sync>;

// === impl WayOut ===

impl WayOut {
    /// As the HTTP clients for upstreams find theirs: what is configured, else the environment's.
    pub fn new(config: &UpstreamConfig) -> Self {
        let matcher = match &config.proxy {
            Some(proxy) => Matcher::builder().all(proxy.expose_secret()).no(config.no_proxy.join(",")).build(),
            None => Matcher::from_env(),
        };
        Self { matcher: Arc::new(matcher), ca_certs: config.ca_certs.clone() }
    }

    /// For `https://host:port/`; none when it is to be connected to directly.
    pub fn proxy(&self, url: &Url) -> Option<Intercept> {
        self.matcher.intercept(&url.as_str().parse().ok()?)
    }

    /// To host and port of `url`, which may be an address already.
    pub async fn connect(&self, proxy: &Intercept, url: &Url) -> Result<Connection, Failed> {
        match proxy.uri().scheme_str() {
            Some("socks5" | "socks5h") => socks(proxy, url).await,
            Some("https") => {
                let (host, port) = place(proxy, 443)?;
                let name = ServerName::try_from(host.clone())?;
                let stream = TcpStream::connect((host, port)).await?;
                let stream = TlsConnector::from(Arc::new(self.tls()?)).connect(name, stream).await?;
                by_connect(stream, proxy, url).await
            }
            Some("http") => {
                let stream = TcpStream::connect(place(proxy, 80)?).await?;
                stream.set_nodelay(true)?;
                by_connect(stream, proxy, url).await
            }
            _ => Err("it is not an http://, https:// or socks5:// URL".into()),
        }
    }

    /// Made for each tunnel: a proxy that speaks TLS is rare.
    fn tls(&self) -> Result<ClientConfig, Failed> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut authorities = Vec::new();
        for path in &self.ca_certs {
            authorities.extend(certificates(path)?);
        }
        let verifier = Verifier::new_with_extra_roots(authorities, provider.clone())?;
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        // The name is rustls's; what it takes is the platform's own check.
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        Ok(builder.with_no_client_auth())
    }
}

fn place(proxy: &Intercept, usual_port: u16) -> Result<(String, u16), Failed> {
    let host = proxy.uri().host().ok_or("it names no host")?.trim_matches(['[', ']']).to_owned();
    Ok((host, proxy.uri().port_u16().unwrap_or(usual_port)))
}

async fn by_connect<S>(stream: S, proxy: &Intercept, url: &Url) -> Result<Connection, Failed>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the tunnel, or with this sender.
    tokio::spawn(connection.with_upgrades());
    let port = url.port_or_known_default().unwrap_or_default();
    let target = format!("{}:{port}", url.host_str().unwrap_or_default());
    let mut request = Request::connect(&target).header(HOST, &target).body(Empty::<Bytes>::new())?;
    request.headers_mut().extend(proxy.basic_auth().map(|auth| (PROXY_AUTHORIZATION, auth.clone())));
    let answer = sender.send_request(request).await?;
    if !answer.status().is_success() {
        return Err(format!("it answered {}", answer.status()).into());
    }
    Ok(Box::new(TokioIo::new(hyper::upgrade::on(answer).await?)))
}

async fn socks(proxy: &Intercept, url: &Url) -> Result<Connection, Failed> {
    let mut direct = HttpConnector::new();
    direct.enforce_http(false);
    direct.set_nodelay(true);
    let mut socks = SocksV5::new(proxy.uri().clone(), direct);
    if let Some((user, password)) = proxy.raw_auth() {
        socks = socks.with_auth(user.to_owned(), password.to_owned());
    }
    let target: Uri = url[..Position::AfterPort].parse()?;
    let stream = socks.call(target).await.map_err(|error| error.to_string())?;
    Ok(Box::new(stream.into_inner()))
}
