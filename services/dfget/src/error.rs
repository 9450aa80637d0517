//! Why there is no file, as an exit code and in words.

use std::path::PathBuf;

use df_api::Digest;
use df_client::ClientError;
use df_peer::{Failure, ReadError};

/// Shown by `--help`; [`FetchError::exit_code`] says the same.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 something else, 2 wrong usage (the message names the option), \
    3 the origin or the daemon says no, also that nobody has it, 4 nothing answers, 5 the digest does not match, \
    6 a file cannot be written or read, 130 interrupted. Of several files, the first that failed decides.";

/// Each kind has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// 2: the option, and what is wrong with its value.
    #[error("{0}")]
    Usage(String),
    /// 3: whoever was asked says no.
    #[error("{0}")]
    Refused(String),
    /// 4: nobody answers, or not in time.
    #[error("{0}")]
    Unanswered(String),
    /// 5
    #[error("the content is {found}, expected {expected}; nothing was written")]
    WrongDigest { found: Digest, expected: Digest },
    /// 6
    #[error("cannot write {path}: {error}")]
    Output { path: PathBuf, error: std::io::Error },
    /// 6: of a file that is to be imported.
    #[error("cannot read {path}: {error}")]
    Input { path: PathBuf, error: std::io::Error },
    /// 130, as shells have it.
    #[error("interrupted; nothing is left at the output's name")]
    Interrupted,
    /// 1
    #[error("{0}")]
    Other(String),
}

// === impl FetchError ===

impl FetchError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::Unanswered(_) => 4,
            Self::WrongDigest { .. } => 5,
            Self::Output { .. } | Self::Input { .. } => 6,
            Self::Interrupted => 130,
        }
    }

    /// Of what can be done only with a daemon.
    pub fn no_daemon(daemon: &str, what: &str) -> Self {
        Self::Unanswered(format!(
            "no daemon answers at {daemon}, and {what} needs one: start dfdaemon on this node, or name its socket or \
             address with --daemon"
        ))
    }
}

impl From<ClientError> for FetchError {
    fn from(error: ClientError) -> Self {
        let text = match error.problem() {
            Some(problem) => problem.detail.clone(),
            None => df_http::error::chain(&error),
        };
        match error.status() {
            Some(502..=504) | None => Self::Unanswered(text),
            Some(400..500) => Self::Refused(text),
            Some(_) => Self::Other(text),
        }
    }
}

impl From<ReadError> for FetchError {
    fn from(error: ReadError) -> Self {
        let text = error.to_string();
        match error {
            ReadError::Timeout(_) | ReadError::Idle => Self::Unanswered(text),
            ReadError::Unsatisfiable { .. } => Self::Refused(text),
            ReadError::Failed(failure) => match &*failure {
                Failure::Origin { status: 400..500, .. }
                | Failure::Refused(_)
                | Failure::Nobody(_)
                | Failure::Blocked(_) => Self::Refused(text),
                Failure::Origin { .. } | Failure::Unreachable(_) => Self::Unanswered(text),
                Failure::WrongDigest { found, expected } => {
                    Self::WrongDigest { found: found.clone(), expected: expected.clone() }
                }
                Failure::Malformed(_) | Failure::Storage(_) => Self::Other(text),
            },
        }
    }
}
