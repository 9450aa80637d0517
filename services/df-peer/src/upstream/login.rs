//! Logging in at a registry with a caller's password: what the caller may show it from then on.

use http::header::HeaderMap;
use http::{HeaderValue, Method, StatusCode};
use url::Url;

use super::Upstream;
use super::challenge::{Challenge, challenge};
use super::tokens::{self, Token, TokenError};

/// What a registry wants to see.
pub enum LogIn {
    /// Nothing.
    Open,
    /// This, instead of the password.
    Token(Token),
    /// The password itself, which it has accepted.
    Password,
}

#[derive(Debug, thiserror::Error)]
pub enum LogInError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unanswered(String),
}

// === impl Upstream ===

impl Upstream {
    /// `registry` is its base URL, which has been checked; `scope` as in distribution's `spec/auth/token.md`.
    pub async fn log_in(&self, registry: &Url, scope: &str, basic: HeaderValue) -> Result<LogIn, LogInError> {
        let mut base = registry.clone();
        base.set_path("/v2/");
        let ask =
            |headers: HeaderMap| self.client_for(&base).request(Method::GET, base.clone()).headers(headers).send();
        let unanswered = |error: reqwest::Error| LogInError::Unanswered(df_http::error::chain(&error.without_url()));
        let stranger = ask(HeaderMap::new()).await.map_err(unanswered)?;
        if stranger.status() != StatusCode::UNAUTHORIZED || stranger.url().origin() != base.origin() {
            return match stranger.status().is_success() {
                true => Ok(LogIn::Open),
                false => Err(LogInError::Unanswered(format!("the registry answered {} to /v2/", stranger.status()))),
            };
        }
        match challenge(stranger.headers()) {
            Some(Challenge::Bearer { realm, service, .. }) => {
                let parameters = [("service", service), ("scope", Some(scope.to_owned()))];
                let realm = tokens::realm_url(self, &base, &realm, &parameters)?;
                Ok(LogIn::Token(tokens::fetch(self, realm, Some(basic)).await?))
            }
            Some(Challenge::Basic) => {
                let shown = HeaderMap::from_iter([(http::header::AUTHORIZATION, basic)]);
                match ask(shown).await.map_err(unanswered)?.status() {
                    status if status.is_success() => Ok(LogIn::Password),
                    status => Err(LogInError::Refused(format!("the registry answered {status}"))),
                }
            }
            None => Err(LogInError::Refused("the registry wants to be answered in a way nobody knows".to_owned())),
        }
    }
}

impl From<TokenError> for LogInError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Refused(why) => Self::Refused(why),
            TokenError::Down(why) => Self::Unanswered(why),
        }
    }
}
