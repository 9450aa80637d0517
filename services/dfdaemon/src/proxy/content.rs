//! What comes through the peers: the task of a URL, for whom its server gives it to.
//!
//! **Invariant.** This way is never worse than none: what it cannot bring before the first byte is asked of the server.

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use df_api::Code;
use df_api::dfdaemon::{CreateTaskRequest, ERROR_TYPE_HEADER, InvalidTask};
use df_api::range::Requested;
use df_api::rules::Priority;
use df_api::task::TaskSpec;
use df_http::serve::Sendfile;
use df_http::{ApiError, error};
use df_peer::download::Start;
use df_peer::{Content, Delivery, Failure, ReadError, Task};
use df_store::Trust;
use http::StatusCode;
use http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    LAST_MODIFIED, RANGE,
};
use url::Url;

use super::access::{self, Asker};
use super::forwarded::{self, Credential};
use super::{Proxy, relay};
use crate::mirror;
use crate::task_headers::task_headers;
use crate::wishes::Wishes;

/// Of contents that were asked for with a credential or a signature; see [`df_api::task::Origin::scope`].
const SCOPE: &str = "forward proxy";

/// A GET that the rules send here.
pub struct Asked {
    pub url: Url,
    pub filtered_query_params: Vec<String>,
    pub wishes: Wishes,
}

pub async fn answer(proxy: &Proxy, request: Request, asked: Asked) -> Result<Response, ApiError> {
    let Some(range) = plain_range(&request) else { return relay::answer(proxy, request, asked.url).await };
    if let Some(wanted) = mirror::by_digest(&asked.url) {
        let url = asked.url.clone();
        return match mirror::answer_url(&proxy.0.mirror, &request, (asked.url, asked.wishes), wanted).await {
            Some(response) => Ok(response),
            None => fall_back(proxy, request, url).await,
        };
    }
    let headers = forwarded::request_headers(request.headers(), &proxy.0.via);
    let credential = forwarded::credential(&headers, &asked.url);
    if credential.is_unusual {
        return relay::answer(proxy, request, asked.url).await;
    }
    let Wishes { prefetch, priority, .. } = asked.wishes;
    let (url, spec) = (asked.url.clone(), spec(asked, &headers, &credential));
    let spec = match spec {
        Ok(spec) => spec,
        // What this node cannot keep in mind, its server may take.
        Err(InvalidTask::LongUrl | InvalidTask::LongHeaders) => return relay::answer(proxy, request, url).await,
        Err(error) => return Err(ApiError::invalid(error)),
    };
    tracing::Span::current().record("dragonfly.task_id", spec.id.as_str());
    let asker = Asker { url: &url, headers: &headers, credential: &credential };
    let Some(leave) = access::leave(proxy, &spec, &asker).await else {
        return relay::answer(proxy, request, url).await;
    };
    if priority == Priority::CACHED_ONLY && !proxy.0.peer.is_cached(&spec.id).await {
        return Err(ApiError::new(Code::NotFound, "X-Dragonfly-Priority is 2, and this is not cached in the cluster"));
    }
    let Sendfile(sendfile) = request.extensions().get().copied().unwrap_or_default();
    let task = match proxy.0.peer.start(spec, Start::Ask) {
        Ok(task) => task,
        Err(error) => {
            tracing::warn!(error = error::chain(&error), "a content is not stored; its server is asked instead");
            return fall_back(proxy, request, url).await;
        }
    };
    match task.open(&proxy.0.peer, range, Trust::HoldLast, proxy.0.first_byte_timeout).await {
        Ok(content) => {
            if !access::is_for(proxy, &task, &asker, &leave).await {
                return relay::answer(proxy, request, url).await;
            }
            if range != Requested::Whole {
                proxy.0.mirror.prefetch().begin(&task, prefetch);
            }
            Ok(respond(proxy, &task, content, sendfile))
        }
        Err(ReadError::Unsatisfiable { .. }) => relay::answer(proxy, request, url).await,
        Err(error) if let Some(response) = told(proxy, &error)? => Ok(response),
        Err(error) => {
            tracing::warn!(task = %task.id(), %error, "the peers do not bring a content; its server is asked instead");
            fall_back(proxy, request, url).await
        }
    }
}

async fn fall_back(proxy: &Proxy, request: Request, url: Url) -> Result<Response, ApiError> {
    metrics::counter!("dragonfly_proxy_fallbacks_total").increment(1);
    relay::answer(proxy, request, url).await
}

/// The one range, or all of it. `None` for what only its server can answer: conditions, several ranges, a request with a
/// body, and what must not be stored.
fn plain_range(request: &Request) -> Option<Requested> {
    let headers = request.headers();
    let conditional = headers.keys().any(|name| name.as_str().starts_with("if-"));
    if conditional || !request.body().is_end_stream() || says(headers, &["no-store"]) {
        return None;
    }
    let Some(range) = headers.get(RANGE) else { return Some(Requested::Whole) };
    Requested::parse(range.to_str().ok()).ok().filter(|range| *range != Requested::Whole)
}

pub fn says(headers: &HeaderMap, wanted: &[&str]) -> bool {
    directives(headers).any(|word| wanted.iter().any(|it| word.eq_ignore_ascii_case(it)))
}

/// Of `Cache-Control`.
pub fn directives(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// What a caller shows besides `Authorization` and a signature never leaves this node.
fn spec(asked: Asked, headers: &HeaderMap, credential: &Credential) -> Result<TaskSpec, InvalidTask> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Wishes { tag, application, piece_length, priority, .. } = asked.wishes;
    let filtered_query_params = [asked.filtered_query_params, asked.wishes.filtered_query_params].concat();
    let request = CreateTaskRequest {
        authorization: text(AUTHORIZATION),
        tag,
        application,
        piece_length,
        filtered_query_params,
        headers: credential.headers.clone(),
        ..CreateTaskRequest::new(asked.url)
    };
    let mut spec = request.into_spec()?;
    spec.origin.accept = text(ACCEPT);
    spec.origin.priority = priority;
    spec.origin.node_only = priority == Priority::NODE_ITSELF;
    // Who may read it, this proxy asks its server: nobody gets it by another way.
    if spec.origin.scope.is_some() || spec.origin.is_signed() {
        spec.origin.scope = Some(SCOPE.to_owned());
    }
    Ok(TaskSpec::for_programs(spec.origin, spec.digest))
}

/// What the server itself has said, when asking it again would get the same, or nothing better.
fn told(proxy: &Proxy, error: &ReadError) -> Result<Option<Response>, ApiError> {
    let ReadError::Failed(failure) = error else { return Ok(None) };
    match &**failure {
        Failure::Refused(refused) => Err(ApiError::forbidden(refused)),
        Failure::Blocked(rule) => Err(ApiError::new(Code::Blocked, rule)),
        Failure::Origin { status, headers, body } if matches!(*status, 429 | 500..) => {
            let mut response = Body::from(body.clone()).into_response();
            *response.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
            *response.headers_mut() = forwarded::response_headers(headers, &proxy.0.via);
            // The body may have been cut short.
            response.headers_mut().remove(CONTENT_LENGTH);
            response.headers_mut().insert(ERROR_TYPE_HEADER, HeaderValue::from_static("upstream"));
            Ok(Some(response))
        }
        _ => Ok(None),
    }
}

fn respond(proxy: &Proxy, task: &Task, content: Content, sendfile: bool) -> Response {
    let validator = task.stored().meta().and_then(|meta| meta.validator);
    let validator_name = validator.as_deref().map(|it| if it.ends_with('"') { ETAG } else { LAST_MODIFIED });
    let mut response = content.slice.map_or_else(|| Response::new(Body::empty()), |slice| slice.respond(Body::empty()));
    let headers = response.headers_mut();
    headers.extend(task_headers(&proxy.0.peer, task));
    for (name, value) in [(Some(CONTENT_TYPE), content.content_type.clone()), (validator_name, validator)] {
        if let (Some(name), Some(value)) = (name, value.and_then(|value| HeaderValue::try_from(value).ok())) {
            headers.insert(name, value);
        }
    }
    *response.body_mut() = Body::from_stream(content.stream(Delivery { sendfile, upload: None }));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(given: &[(&str, &str)]) -> Request {
        let request =
            given.iter().fold(http::Request::builder(), |request, (name, value)| request.header(*name, *value));
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn only_what_a_content_can_answer_goes_through_the_peers() {
        assert_eq!(plain_range(&request(&[])), Some(Requested::Whole));
        assert!(matches!(plain_range(&request(&[("range", "bytes=1-2")])), Some(Requested::One(_))));
        for other in [
            ("range", "bytes=1-2,4-5"),
            ("range", "nonsense"),
            ("if-none-match", "\"x\""),
            ("if-range", "\"x\""),
            ("cache-control", "max-age=0, no-store"),
        ] {
            assert_eq!(plain_range(&request(&[other])), None, "{other:?}");
        }
        let with_body = http::Request::builder().body(Body::from("x")).unwrap();
        assert_eq!(plain_range(&with_body), None);
    }
}
