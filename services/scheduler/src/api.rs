//! Handlers: check what was sent, ask the swarm, answer. One per operation, named like it.

pub mod hosts;
pub mod tasks;

use df_api::Code;
use df_http::ApiError;
use http::HeaderValue;
use http::header::RETRY_AFTER;
use serde::Deserialize;
use url::Url;

use crate::ensemble::Unreachable;
use crate::policy::LIST_MAX;
use crate::state::Refused;
use crate::swarm::Unanswered;

/// Of who leaves.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Farewell {
    /// As of a report: what is said with a larger one is newer, and stays.
    pub seq: u64,
}

/// `field` must be a URL that others can use as it stands.
fn check_url(field: &str, value: &str) -> Result<(), ApiError> {
    let url = Url::parse(value).map_err(|error| ApiError::unprocessable(format!("{field} {value:?}: {error}")))?;
    if !matches!(url.scheme(), "http" | "https" | "s3") || !url.has_host() {
        return Err(ApiError::unprocessable(format!("{field} {value:?} is not an http://, https:// or s3:// URL")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ApiError::unprocessable(format!("{field} has credentials in it; they must not leave the node")));
    }
    Ok(())
}

fn check_length(field: &str, length: usize) -> Result<(), ApiError> {
    match length <= LIST_MAX {
        true => Ok(()),
        false => Err(ApiError::unprocessable(format!("{field} has {length} entries; at most {LIST_MAX} are taken"))),
    }
}

fn unanswered(error: Unanswered) -> ApiError {
    let code = match &error {
        Unanswered::Refused(Refused::Taken { .. }) => Code::Conflict,
        Unanswered::Refused(Refused::Forbidden(_)) => Code::Blocked,
        Unanswered::Refused(Refused::Tasks | Refused::Peers | Refused::Hosts) => Code::Unavailable,
        Unanswered::Shared(error) => return unreachable(*error),
    };
    ApiError::new(code, error.to_string())
}

fn unreachable(error: Unreachable) -> ApiError {
    ApiError::new(Code::Unavailable, error.to_string()).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}
