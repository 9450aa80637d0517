//! What a job has been given to show its origins: fetched of the manager when it is needed first.
//!
//! **Invariant.** A password is shown to a registry as a runtime shows it, and exchanged for a token where that gives one.
//! Nothing of this is logged, written down or told.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use df_api::dfdaemon::CreateTaskRequest;
use df_api::manager::JobSecrets;
use df_peer::announce;
use df_peer::upstream::{LogIn, LogInError, Token};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use secrecy::ExposeSecret as _;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::Jobs;

/// Of one duty.
pub struct Secrets<'a> {
    jobs: &'a Jobs,
    /// The assignment that has them; none has none.
    of: Option<i64>,
    fetched: OnceCell<Result<Fetched, SecretsError>>,
    /// By registry and repository.
    logins: Mutex<HashMap<(String, String), Login>>,
}

/// What an origin gets to see.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Shown {
    pub authorization: Option<String>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

struct Fetched {
    /// From user name and password.
    basic: Option<String>,
    /// As headers have it, which says how it is to be shown.
    shown: Shown,
}

struct Login {
    shown: Shown,
    until: Option<Instant>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("the job's secrets are at the manager, and this node has none configured")]
    NoManager,
    #[error("the manager does not give the job's secrets: {0}")]
    Manager(String),
    #[error("the job's secrets cannot be shown: {0}")]
    Unfit(String),
    #[error("{registry} does not take the job's user name and password: {why}")]
    Refused { registry: String, why: String },
    #[error("{registry} cannot be asked whether it takes the job's user name and password: {why}")]
    Unanswered { registry: String, why: String },
}

const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// A token has to arrive before it expires.
const TOKEN_MARGIN: Duration = Duration::from_secs(5);

// === impl Secrets ===

impl<'a> Secrets<'a> {
    pub fn new(jobs: &'a Jobs, of: Option<i64>) -> Self {
        Self { jobs, of, fetched: OnceCell::new(), logins: Mutex::default() }
    }

    pub fn exist(&self) -> bool {
        self.of.is_some()
    }

    /// For a file, wherever it is.
    pub async fn for_file(&self) -> Result<Shown, SecretsError> {
        let Some(Fetched { basic, shown }) = self.fetched().await? else { return Ok(Shown::default()) };
        let authorization = shown.authorization.clone().or_else(|| basic.clone());
        Ok(Shown { authorization, ..shown.clone() })
    }

    /// For a repository of the registry of `url`: not `refused`, which was no good.
    pub async fn for_repository(
        &self,
        url: &Url,
        repository: &str,
        refused: Option<&Shown>,
    ) -> Result<Shown, SecretsError> {
        let Some(Fetched { basic, shown }) = self.fetched().await? else { return Ok(Shown::default()) };
        let Some(basic) = basic.as_ref().filter(|_| shown.authorization.is_none()) else { return Ok(shown.clone()) };
        let registry = url.origin().ascii_serialization();
        let mut logins = self.logins.lock().await;
        let key = (registry.clone(), repository.to_owned());
        let good =
            |login: &&Login| login.until.is_none_or(|until| until > Instant::now()) && refused != Some(&login.shown);
        if let Some(login) = logins.get(&key).filter(good) {
            return Ok(login.shown.clone());
        }
        let (authorization, kept) = self.log_in(url, registry, repository, basic).await?;
        let login = Login {
            shown: Shown { authorization, ..shown.clone() },
            until: kept.map(|kept| Instant::now() + kept.saturating_sub(TOKEN_MARGIN)),
        };
        let shown = login.shown.clone();
        logins.insert(key, login);
        Ok(shown)
    }

    /// What opens the repository, and for how long.
    async fn log_in(
        &self,
        url: &Url,
        registry: String,
        repository: &str,
        basic: &str,
    ) -> Result<(Option<String>, Option<Duration>), SecretsError> {
        let upstream = self.jobs.peer.upstream();
        let unanswered = |why: String| SecretsError::Unanswered { registry: registry.clone(), why };
        upstream.check(url).map_err(|refused| unanswered(refused.to_string()))?;
        let mut value = HeaderValue::from_str(basic).map_err(|error| SecretsError::Unfit(error.to_string()))?;
        value.set_sensitive(true);
        let scope = format!("repository:{repository}:pull");
        match timeout(self.jobs.patience, upstream.log_in(url, &scope, value)).await {
            Ok(Ok(LogIn::Open)) => Ok((None, None)),
            Ok(Ok(LogIn::Password)) => Ok((Some(basic.to_owned()), None)),
            Ok(Ok(LogIn::Token(Token { token, expires_in }))) => {
                Ok((Some(format!("Bearer {}", token.expose_secret())), Some(expires_in)))
            }
            Ok(Err(LogInError::Refused(why))) => Err(SecretsError::Refused { registry, why }),
            Ok(Err(LogInError::Unanswered(why))) => Err(unanswered(why)),
            Err(_) => Err(unanswered("it does not answer".to_owned())),
        }
    }

    /// Once per duty, also when that fails: all its tasks would ask in vain.
    async fn fetched(&self) -> Result<Option<&Fetched>, SecretsError> {
        let Some(assignment) = self.of else { return Ok(None) };
        let fetched = self.fetched.get_or_init(async || Fetched::of(fetch(self.jobs, assignment).await?)).await;
        fetched.as_ref().map(Some).map_err(Clone::clone)
    }
}

async fn fetch(jobs: &Jobs, assignment: i64) -> Result<JobSecrets, SecretsError> {
    let access = jobs.manager.as_ref().ok_or(SecretsError::NoManager)?;
    let mut tries = 1;
    loop {
        let client = announce::member_client(&jobs.peer, access, &jobs.http);
        let client = client.map_err(|error| SecretsError::Manager(error.to_string()))?;
        match client.get_job_secrets(assignment).await {
            Ok(secrets) => return Ok(secrets),
            Err(error) if error.is_silence() && tries < TRIES => tries += 1,
            Err(error) => return Err(SecretsError::Manager(df_http::error::chain(&error))),
        }
        sleep(PAUSE).await;
    }
}

// === impl Fetched ===

impl Fetched {
    fn of(secrets: JobSecrets) -> Result<Self, SecretsError> {
        let JobSecrets { username, password, headers } = secrets;
        let (authorization, headers): (BTreeMap<_, _>, BTreeMap<_, _>) =
            headers.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case(AUTHORIZATION.as_str()));
        // As a program of this node may give them, so that none breaks a request.
        let checked = CreateTaskRequest { headers, ..CreateTaskRequest::new("https://origin") }.into_spec();
        let headers = checked.map_err(|error| SecretsError::Unfit(error.to_string()))?.origin.headers;
        let basic = username.map(|username| {
            let password = password.unwrap_or_default();
            format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
        });
        Ok(Self { basic, shown: Shown { authorization: authorization.into_values().next(), headers } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(headers: &[(&str, &str)]) -> Result<Fetched, SecretsError> {
        let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Fetched::of(JobSecrets { username: Some("u".to_owned()), password: Some("p".to_owned()), headers })
    }

    #[test]
    fn an_authorization_among_the_headers_is_one() {
        let fetched = fetched(&[("Authorization", "Bearer x"), ("X-Tenant", "a")]).unwrap_or_else(|_| panic!("unfit"));
        assert_eq!(fetched.basic.as_deref(), Some("Basic dTpw"));
        assert_eq!(fetched.shown.authorization.as_deref(), Some("Bearer x"));
        assert_eq!(fetched.shown.headers, BTreeMap::from([("x-tenant".to_owned(), "a".to_owned())]));
    }

    #[test]
    fn a_header_that_would_break_the_request_is_named() {
        let Err(error) = fetched(&[("Range", "bytes=0-1")]) else { panic!("it was taken") };
        assert!(error.to_string().contains("range"), "{error}");
    }
}
