//! Asking a provider who somebody is: OAuth 2.0 with PKCE (RFC 7636), then the provider's word about the bearer.
//! **Invariant:** a provider is asked over TLS (loopback excepted), follows nobody to another place, and its answers are
//! bounded in time and size. What it says is data: names and addresses are cut to what a user may have.

use std::sync::Arc;
use std::time::Duration;

use df_api::manager::Oauth;
use moka::future::Cache;
use oauth2::basic::BasicClient;
use oauth2::{
    AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope, TokenResponse as _, TokenUrl,
};
use reqwest::header::{ACCEPT, USER_AGENT};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::{Host, Url};

use crate::check_user::check_email;
use crate::db::oauth::Person;

pub const GITHUB: &str = "github";
pub const GOOGLE: &str = "google";

const GITHUB_URL: &str = "https://github.com";
const GOOGLE_ISSUER: &str = "https://accounts.google.com";
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
const FOUND_KEPT: Duration = Duration::from_secs(600);
const FOUND_MAX: u64 = 100;
/// With a number behind it, as a user's name may be.
const NAME_CHARS_MAX: usize = 36;
const NAME_CHARS_MIN: usize = 3;
/// As the table takes them.
const SUBJECT_BYTES_MAX: usize = 255;

#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("{0} is no URL that a provider can have: https, or http on this machine")]
    Url(String),
    #[error("the provider cannot be asked")]
    Unreachable(#[from] reqwest::Error),
    #[error("the provider answers {0}")]
    Status(u16),
    #[error("the provider's answer is longer than {ANSWER_BYTES_MAX} bytes")]
    Long,
    #[error("the provider's answer makes no sense")]
    Nonsense(#[from] serde_json::Error),
    #[error("the provider calls itself {0}")]
    AnotherIssuer(String),
    #[error("the provider lets nobody in: {0}")]
    Refused(String),
    #[error(transparent)]
    NotFound(#[from] Arc<ProviderError>),
}

/// Where to go, and what to remember until the answer.
pub struct Start {
    pub url: Url,
    pub state: String,
    pub verifier: String,
}

/// Where a provider is asked for what.
#[derive(Clone, Debug, Deserialize)]
struct Endpoints {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: String,
}

/// What GitHub says of a person.
#[derive(Deserialize)]
struct GithubTold {
    id: u64,
    login: String,
    email: Option<String>,
    avatar_url: Option<String>,
}

/// What the others say (OpenID Connect Core §5.1).
#[derive(Deserialize)]
struct Told {
    sub: String,
    preferred_username: Option<String>,
    name: Option<String>,
    email: Option<String>,
    picture: Option<String>,
}

/// Asks them. What they say of themselves is remembered for a while: anybody can have it asked for.
pub struct Providers {
    /// Follows no redirect.
    http: reqwest::Client,
    found: Cache<String, Endpoints>,
}

/// https; or http on this machine, for a provider that one tries out.
pub fn check_url(text: &str) -> Result<Url, ProviderError> {
    let wrong = || ProviderError::Url(text.to_owned());
    let url = Url::parse(text).map_err(|_| wrong())?;
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let safe = url.scheme() == "https" || url.scheme() == "http" && here;
    if plain && safe && url.host().is_some() { Ok(url) } else { Err(wrong()) }
}

// === impl Providers ===

impl Providers {
    pub fn new() -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build()?;
        Ok(Self { http, found: Cache::builder().max_capacity(FOUND_MAX).time_to_live(FOUND_KEPT).build() })
    }

    pub async fn start(&self, oauth: &Oauth) -> Result<Start, ProviderError> {
        let endpoints = self.find(oauth).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let auth_url = AuthUrl::new(endpoints.authorization_endpoint.clone())
            .map_err(|_| ProviderError::Url(endpoints.authorization_endpoint))?;
        let client = BasicClient::new(ClientId::new(oauth.client_id.clone()))
            .set_auth_uri(auth_url)
            .set_redirect_uri(back(oauth)?);
        let scopes: &[&str] = if oauth.name == GITHUB { &["read:user"] } else { &["openid", "profile", "email"] };
        let request = client.authorize_url(CsrfToken::new_random).set_pkce_challenge(challenge);
        let request = scopes.iter().fold(request, |request, scope| request.add_scope(Scope::new((*scope).to_owned())));
        let (url, state) = request.url();
        Ok(Start { url, state: state.secret().clone(), verifier: verifier.secret().clone() })
    }

    /// Who it is that came back with this code.
    pub async fn finish(
        &self,
        oauth: &Oauth,
        secret: &SecretString,
        code: String,
        verifier: String,
    ) -> Result<Person, ProviderError> {
        let endpoints = self.find(oauth).await?;
        let token_url = TokenUrl::new(endpoints.token_endpoint.clone())
            .map_err(|_| ProviderError::Url(endpoints.token_endpoint))?;
        let client = BasicClient::new(ClientId::new(oauth.client_id.clone()))
            .set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            .set_token_uri(token_url)
            .set_redirect_uri(back(oauth)?);
        let request =
            client.exchange_code(AuthorizationCode::new(code)).set_pkce_verifier(PkceCodeVerifier::new(verifier));
        let carrier = self.http.clone();
        let token = request.request_async(&move |request| exchange(carrier.clone(), request)).await;
        let token = token.map_err(|error| ProviderError::Refused(error.to_string()))?;
        let (url, bearer) = (&endpoints.userinfo_endpoint, Some(token.access_token().secret().as_str()));
        if oauth.name == GITHUB {
            return Ok(get::<GithubTold>(&self.http, url, bearer).await?.into_person());
        }
        get::<Told>(&self.http, url, bearer).await?.into_person()
    }

    async fn find(&self, oauth: &Oauth) -> Result<Endpoints, Arc<ProviderError>> {
        if oauth.name == GITHUB {
            return Ok(github(&oauth.issuer));
        }
        let issuer = if oauth.name == GOOGLE { GOOGLE_ISSUER } else { oauth.issuer.trim_end_matches('/') };
        self.found.try_get_with(issuer.to_owned(), discover(&self.http, issuer)).await
    }
}

async fn discover(http: &reqwest::Client, issuer: &str) -> Result<Endpoints, ProviderError> {
    let found: Endpoints = get(http, &format!("{issuer}/.well-known/openid-configuration"), None).await?;
    // OpenID Connect Discovery §4.3: it must be the one that was asked for.
    if found.issuer.trim_end_matches('/') != issuer {
        return Err(ProviderError::AnotherIssuer(found.issuer));
    }
    let here = issuer.starts_with("http://");
    for url in [&found.authorization_endpoint, &found.token_endpoint, &found.userinfo_endpoint] {
        // A provider elsewhere has nothing to send anybody to on this machine.
        if check_url(url)?.scheme() == "http" && !here {
            return Err(ProviderError::Url(url.clone()));
        }
    }
    Ok(found)
}

/// Of github.com, or of an enterprise's own.
fn github(own: &str) -> Endpoints {
    let (base, api) = match own.trim_end_matches('/') {
        "" => (GITHUB_URL, "https://api.github.com".to_owned()),
        own => (own, format!("{own}/api/v3")),
    };
    Endpoints {
        issuer: base.to_owned(),
        authorization_endpoint: format!("{base}/login/oauth/authorize"),
        token_endpoint: format!("{base}/login/oauth/access_token"),
        userinfo_endpoint: format!("{api}/user"),
    }
}

fn back(oauth: &Oauth) -> Result<RedirectUrl, ProviderError> {
    RedirectUrl::new(oauth.redirect_url.clone()).map_err(|_| ProviderError::Url(oauth.redirect_url.clone()))
}

async fn exchange(http: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, ProviderError> {
    let (parts, body) = request.into_parts();
    let asked = http.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
    let answer = asked.send().await?;
    let mut response = HttpResponse::new(Vec::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    *response.body_mut() = bounded(answer).await?;
    Ok(response)
}

async fn get<T: DeserializeOwned>(http: &reqwest::Client, url: &str, bearer: Option<&str>) -> Result<T, ProviderError> {
    // GitHub answers nobody without a name.
    let mut request = http.get(url).header(ACCEPT, "application/json").header(USER_AGENT, "dragonfly-manager");
    if let Some(token) = bearer {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await?;
    if !answer.status().is_success() {
        return Err(ProviderError::Status(answer.status().as_u16()));
    }
    Ok(serde_json::from_slice(&bounded(answer).await?)?)
}

async fn bounded(mut answer: reqwest::Response) -> Result<Vec<u8>, ProviderError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(ProviderError::Long);
        }
    }
    Ok(body)
}

// === impl GithubTold ===

impl GithubTold {
    fn into_person(self) -> Person {
        let Self { id, login, email, avatar_url } = self;
        person(id.to_string(), [Some(login)], email, avatar_url)
    }
}

// === impl Told ===

impl Told {
    fn into_person(self) -> Result<Person, ProviderError> {
        let Self { sub, preferred_username, name, email, picture } = self;
        if !(1..=SUBJECT_BYTES_MAX).contains(&sub.len()) {
            return Err(ProviderError::Refused("it does not say who that is".to_owned()));
        }
        let local = email.as_deref().and_then(|email| email.split_once('@')).map(|(local, _)| local.to_owned());
        Ok(person(sub, [preferred_username, local, name], email, picture))
    }
}

fn person<const N: usize>(
    subject: String,
    names: [Option<String>; N],
    email: Option<String>,
    picture: Option<String>,
) -> Person {
    let name = names.into_iter().flatten().map(|name| usable(&name)).find(|name| name.len() >= NAME_CHARS_MIN);
    let numbered = || usable(&format!("user-{}", usable(&subject)));
    Person {
        name: name.unwrap_or_else(numbered),
        subject,
        email: email.filter(|email| check_email(email).is_ok()).unwrap_or_default(),
        avatar: picture.filter(|url| url.starts_with("https://") && url.len() <= 255).unwrap_or_default(),
    }
}

/// What of it a user's name may be made of.
fn usable(name: &str) -> String {
    let sane = name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c));
    sane.skip_while(|c| *c == '.').take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> Person {
        serde_json::from_str::<Told>(json).unwrap().into_person().unwrap()
    }

    #[test]
    fn a_person_is_told_by_the_providers_own_id_and_gets_a_name_that_fits() {
        let octocat = r#"{"id":583231,"login":"octocat","email":null,"avatar_url":"https://x/y.png","name":"The Cat"}"#;
        let octocat = serde_json::from_str::<GithubTold>(octocat).unwrap().into_person();
        assert_eq!((octocat.subject.as_str(), octocat.name.as_str()), ("583231", "octocat"));
        assert_eq!((octocat.email.as_str(), octocat.avatar.as_str()), ("", "https://x/y.png"));
        let alice = told(r#"{"sub":"a|1","email":"al.ice+x@example.com","picture":"javascript:alert(1)"}"#);
        assert_eq!((alice.name.as_str(), alice.avatar.as_str()), ("al.icex", ""));
        assert_eq!(told(r#"{"sub":"7","name":"李"}"#).name, "user-7");
        assert_eq!(told(r#"{"sub":"7","preferred_username":"../../etc"}"#).name, "etc");
        assert!(serde_json::from_str::<Told>("{}").is_err(), "who that is must be said");
        // An id of its own is nobody's subject.
        assert_eq!(told(r#"{"sub":"7","id":1,"name":"bob"}"#).subject, "7");
    }

    #[test]
    fn a_provider_is_asked_over_tls() {
        for good in ["https://id.example.com", "http://localhost:5556/dex", "http://127.0.0.1:1", "http://[::1]:1/a"] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in ["http://id.example.com", "http://169.254.169.254/", "file:///etc/passwd", "https://u:p@x", "x", ""]
        {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn github_has_its_own_paths() {
        assert_eq!(github("").userinfo_endpoint, "https://api.github.com/user");
        assert_eq!(github("https://git.example.com/").userinfo_endpoint, "https://git.example.com/api/v3/user");
    }
}
