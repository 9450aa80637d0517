//! Who may use the forward proxy: `Proxy-Authorization` (RFC 9110 §11.7), apart from what is shown to servers.

use std::path::PathBuf;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use df_api::Code;
use df_http::ApiError;
use http::header::{HeaderMap, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// One user, with either `password` or `passwordFile`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuthConfig {
    pub username: String,
    #[serde(default, skip_serializing)]
    pub password: Option<SecretString>,
    /// Read at start. Default: none.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum BasicAuthError {
    #[error("proxy.basicAuth: give a username without a colon, and either password or passwordFile")]
    Incomplete,
    #[error("proxy.basicAuth: cannot read the password in {path}")]
    PasswordFile { path: PathBuf, source: std::io::Error },
}

/// The one credential that is accepted, as its hash: comparing takes the same time whatever is shown.
#[derive(Clone)]
pub struct BasicAuth([u8; 32]);

// === impl BasicAuth ===

impl BasicAuth {
    pub fn new(config: &BasicAuthConfig) -> Result<Self, BasicAuthError> {
        let password = match (&config.password, &config.password_file) {
            (Some(password), None) => password.clone(),
            (None, Some(path)) => {
                let unreadable = |source| BasicAuthError::PasswordFile { path: path.clone(), source };
                let text = std::fs::read_to_string(path).map_err(unreadable)?;
                SecretString::from(text.trim_end_matches(['\r', '\n']))
            }
            _ => return Err(BasicAuthError::Incomplete),
        };
        match config.username.is_empty() || config.username.contains(':') {
            true => Err(BasicAuthError::Incomplete),
            false => Ok(Self(hash(format!("{}:{}", config.username, password.expose_secret()).as_bytes()))),
        }
    }

    /// 407 when it is not the one.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let shown = headers.get(PROXY_AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(credential);
        match shown.is_some_and(|shown| verify_slices_are_equal(&hash(&shown), &self.0).is_ok()) {
            true => Ok(()),
            false => {
                let detail = "this proxy wants Proxy-Authorization: Basic, with proxy.basicAuth of its configuration";
                let challenge = HeaderValue::from_static("Basic realm=\"dragonfly\", charset=\"UTF-8\"");
                Err(ApiError::new(Code::ProxyAuthenticationRequired, detail).with_header(PROXY_AUTHENTICATE, challenge))
            }
        }
    }
}

fn credential(value: &str) -> Option<Vec<u8>> {
    let (scheme, encoded) = value.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    STANDARD.decode(encoded.trim()).ok()
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(value: serde_json::Value) -> BasicAuthConfig {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_the_right_user_and_password_get_in() {
        let auth = BasicAuth::new(&config(serde_json::json!({ "username": "u", "password": "p:w" }))).unwrap();
        let check =
            |value: &str| auth.check(&HeaderMap::from_iter([(PROXY_AUTHORIZATION, value.parse().unwrap())])).is_ok();
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert!(check(&basic("u:p:w")) && check(&basic("u:p:w").replace("Basic", "basic")));
        for wrong in [basic("u:p"), basic("u:p:w "), basic(""), "Basic !".to_owned(), "Bearer dTpwOnc=".to_owned()] {
            assert!(!check(&wrong), "{wrong}");
        }
        assert!(auth.check(&HeaderMap::new()).is_err());
    }

    #[test]
    fn an_incomplete_setting_is_named_and_no_secret_shown() {
        for incomplete in [
            serde_json::json!({ "username": "u" }),
            serde_json::json!({ "username": "", "password": "hidden" }),
            serde_json::json!({ "username": "u", "password": "hidden", "passwordFile": "/x" }),
        ] {
            let config = config(incomplete);
            let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
            assert!(!shown.contains("hidden"), "{shown}");
            assert!(matches!(BasicAuth::new(&config), Err(BasicAuthError::Incomplete)));
        }
    }
}
