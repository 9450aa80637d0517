//! Manifests by tag. A tag may move, so the registry is asked each time; when it cannot answer, the last known digest is.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use df_api::Digest;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, WARNING};
use http::{Method, StatusCode};
use moka::future::Cache;
use tokio::time::Instant;

use super::Mirror;
use super::access::Proof;
use super::caller::Caller;
use super::refusal::Refusal;
use super::{content, relay};

/// What a tag last meant, by (registry, repository, tag).
#[derive(Clone)]
pub struct Tags {
    known: Cache<(String, String, String), Known>,
}

#[derive(Clone)]
struct Known {
    digest: Digest,
    content_type: String,
    length: String,
}

const ENTRIES_MAX: u64 = 50_000;
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// RFC 7234 §5.5.3: revalidation failed.
const STALE: HeaderValue =
    HeaderValue::from_static("111 dragonfly \"the registry does not answer; this is the last known\"");

// === impl Tags ===

impl Tags {
    pub fn new() -> Self {
        Self { known: Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(KEPT).build() }
    }
}

pub async fn answer(mirror: &Mirror, caller: &Caller, repository: &str, tag: &str) -> Result<Response, Refusal> {
    let registry = caller.registry();
    let key = (registry.clone(), repository.to_owned(), tag.to_owned());
    let answered = relay::forward(mirror, caller, Some(repository)).await;
    let outage = answered.as_ref().map_or_else(Refusal::is_outage, relay::Relayed::is_outage);
    if outage && let Some(response) = last_known(mirror, caller, &key).await {
        return response;
    }
    let answer = answered?;
    if answer.status() == StatusCode::OK {
        mirror.access.prove(&registry, repository, caller.authorization()).await;
        if let Some(known) = Known::from_answer(&answer) {
            mirror.access.add_member(&registry, repository, &known.digest).await;
            mirror.tags.known.insert(key, known).await;
        }
    }
    Ok(answer.respond(&caller.method))
}

/// For a caller the registry has accepted before. HEAD from memory; GET from the content of the digest.
async fn last_known(
    mirror: &Mirror,
    caller: &Caller,
    key: &(String, String, String),
) -> Option<Result<Response, Refusal>> {
    let (registry, repository, tag) = key;
    let known = mirror.tags.known.get(key).await?;
    if mirror.access.proof(registry, repository, caller.authorization()).await == Proof::None {
        return None;
    }
    tracing::warn!(registry, repository, tag, digest = %known.digest, "the registry does not answer; serving the last known digest");
    metrics::counter!("dragonfly_client_stale_tags_total").increment(1);
    let response = if caller.method == Method::HEAD {
        Ok(known.head())
    } else {
        let mut url = caller.url.clone();
        url.set_path(&format!("/v2/{repository}/manifests/{}", known.digest));
        let (method, headers, range) = (Method::GET, caller.headers.clone(), caller.range);
        // The registry has used up its part of the time.
        let deadline = Instant::now() + mirror.first_byte_timeout;
        let by_digest = Caller { method, headers, url, range, deadline, sendfile: caller.sendfile };
        content::answer(mirror, &by_digest, repository, known.digest).await
    };
    Some(response.map(|mut response| {
        response.headers_mut().insert(WARNING, STALE);
        response
    }))
}

// === impl Known ===

impl Known {
    fn from_answer(answer: &relay::Relayed) -> Option<Self> {
        Some(Self {
            digest: answer.header("docker-content-digest")?.parse().ok()?,
            content_type: answer.header(CONTENT_TYPE.as_str())?.to_owned(),
            length: answer.header(CONTENT_LENGTH.as_str())?.to_owned(),
        })
    }

    fn head(&self) -> Response {
        let digest = self.digest.to_string();
        let headers = [
            (CONTENT_TYPE.as_str(), self.content_type.as_str()),
            (CONTENT_LENGTH.as_str(), self.length.as_str()),
            ("docker-content-digest", digest.as_str()),
        ];
        (StatusCode::OK, headers).into_response()
    }
}
