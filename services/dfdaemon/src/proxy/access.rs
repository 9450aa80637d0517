//! Who may read what is cached of a URL: to whom its server gives that content, asked once in a while per caller.
//!
//! **Invariant.** A yes is for one version of one content. Who is sent to a page to sign in has been given that page, and
//! nothing that somebody else has fetched.

use bytes::Bytes;
use df_api::ContentRange;
use df_api::task::TaskSpec;
use df_peer::{Failure, Task};
use df_store::Meta;
use http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, RANGE,
};
use http::{Method, StatusCode};
use url::Url;

use super::Proxy;
use super::content::says;
use super::forwarded::Credential;
use crate::mirror::{Proof, Refused};

/// One caller, as its server would see it.
pub struct Asker<'a> {
    pub url: &'a Url,
    /// As they are sent on.
    pub headers: &'a HeaderMap,
    pub credential: &'a Credential,
}

/// Why a caller may read.
#[derive(Debug, PartialEq, Eq)]
pub enum Leave {
    /// Its server gave it this version a while ago.
    Remembered(String),
    /// Its server has given it this just now.
    Given(Version),
}

/// What an answer tells of the content it is of.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Version {
    validators: Vec<String>,
    length: Option<u64>,
    /// It came from another place than was asked.
    is_elsewhere: bool,
}

enum Probe {
    Given(Version),
    /// Its client gets it from the server itself.
    Refused(StatusCode),
    Silent,
}

/// `None`: its server has to be asked for all of it.
pub async fn leave(proxy: &Proxy, spec: &TaskSpec, asker: &Asker<'_>) -> Option<Leave> {
    let (access, id, shown) = (&proxy.0.access, spec.id.as_str(), Some(asker.credential.hash.as_str()));
    let known = proxy.0.peer.task(&spec.id).and_then(|task| task.stored().meta());
    let version = known.as_ref().map(name_of).unwrap_or_default();
    let proof = match &known {
        Some(_) => access.proof(id, &version, shown).await,
        None => Proof::None,
    };
    if proof == Proof::Fresh && !says(asker.headers, &["no-cache", "max-age=0"]) {
        return Some(Leave::Remembered(version));
    }
    if access.refusal(id, &version, shown).await.is_some() {
        return None;
    }
    match probe(proxy, asker).await {
        Probe::Given(told) => known.is_none_or(|known| told.is_of(&known)).then_some(Leave::Given(told)),
        Probe::Refused(status) => {
            let refused = Refused { status, headers: HeaderMap::new(), body: Bytes::new() };
            access.refuse(id, &version, shown, refused).await;
            None
        }
        // Who was let in before still is, while it is down.
        Probe::Silent => (proof != Proof::None).then_some(Leave::Remembered(version)),
    }
}

/// Whether what has been opened is what the leave is for: others may have begun it meanwhile.
pub async fn is_for(proxy: &Proxy, task: &Task, asker: &Asker<'_>, leave: &Leave) -> bool {
    let Some(meta) = task.stored().meta() else { return false };
    let name = name_of(&meta);
    match leave {
        Leave::Remembered(version) => *version == name,
        Leave::Given(told) => {
            let given = told.is_of(&meta);
            if given {
                proxy.0.access.prove(task.id().as_str(), &name, Some(&asker.credential.hash)).await;
            }
            given
        }
    }
}

/// Asks for the first byte, with all that the caller shows.
async fn probe(proxy: &Proxy, asker: &Asker<'_>) -> Probe {
    let mut headers = asker.headers.clone();
    headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let (upstream, url) = (proxy.0.peer.upstream(), asker.url.clone());
    let sent = async {
        let _turn = upstream.turn_unless_held(&url, |_| true).await?;
        let sent = match asker.credential.headers.is_empty() {
            true => upstream.send(Method::GET, url, headers).await,
            // They are for this place only: where it redirects is for the client to go.
            false => upstream.relay(Method::GET, url, headers, None).await,
        };
        sent.map_err(Failure::from)
    };
    match tokio::time::timeout(proxy.0.first_byte_timeout, sent).await {
        Ok(Ok(answer)) => match answer.status() {
            // An empty content has no first byte.
            status @ (StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE) => {
                Probe::Given(Version::of(status, answer.headers(), answer.url() != asker.url))
            }
            status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                upstream.heard(answer.url(), status, answer.headers());
                Probe::Silent
            }
            status => Probe::Refused(status),
        },
        Ok(Err(Failure::Refused(_))) => Probe::Refused(StatusCode::FORBIDDEN),
        Ok(Err(_)) | Err(_) => Probe::Silent,
    }
}

/// Of what is stored.
fn name_of(meta: &Meta) -> String {
    format!("{:?} {:?}", meta.length, meta.validator)
}

fn strong(tag: &str) -> &str {
    tag.trim_start_matches("W/")
}

// === impl Version ===

impl Version {
    fn of(status: StatusCode, headers: &HeaderMap, is_elsewhere: bool) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let validators = [ETAG, LAST_MODIFIED].into_iter().filter_map(text).map(|it| strong(it).to_owned()).collect();
        let length = match status {
            StatusCode::OK => text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            _ => text(CONTENT_RANGE).and_then(|it| it.parse::<ContentRange>().ok()).and_then(|range| range.total),
        };
        Self { validators, length, is_elsewhere }
    }

    /// Whether what is stored is of this version. Where nothing tells versions apart, the place must be the same.
    fn is_of(&self, known: &Meta) -> bool {
        let length = self.length.zip(known.length).is_none_or(|(told, known)| told == known);
        let validator = match &known.validator {
            Some(validator) => self.validators.iter().any(|told| told == strong(validator)),
            None => self.validators.is_empty() && !self.is_elsewhere,
        };
        length && validator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(length: Option<u64>, validator: Option<&str>) -> Meta {
        let validator = validator.map(str::to_owned);
        Meta { length, piece_length: 1 << 20, content_type: None, digest: None, validator }
    }

    fn told(given: &[(HeaderName, &str)]) -> Version {
        let headers = given.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        Version::of(StatusCode::PARTIAL_CONTENT, &headers, false)
    }

    #[test]
    fn a_version_is_told_by_length_and_validator() {
        let range = (CONTENT_RANGE, "bytes 0-0/7");
        let both = told(&[(ETAG, "W/\"a\""), (LAST_MODIFIED, "then"), range.clone()]);
        assert!(both.is_of(&known(Some(7), Some("\"a\""))) && both.is_of(&known(None, Some("then"))));
        assert!(!both.is_of(&known(Some(8), Some("\"a\""))) && !both.is_of(&known(Some(7), Some("\"b\""))));
        assert!(!both.is_of(&known(Some(7), None)), "it would have been told");
        let bare = told(&[range]);
        assert!(bare.is_of(&known(Some(7), None)) && !bare.is_of(&known(Some(7), Some("\"a\""))));
        assert!(!Version { is_elsewhere: true, ..bare }.is_of(&known(Some(7), None)));
        assert_eq!(told(&[(CONTENT_RANGE, "bytes */0")]).length, Some(0));
        let whole = HeaderMap::from_iter([(CONTENT_LENGTH, 9.into())]);
        assert_eq!(Version::of(StatusCode::OK, &whole, false).length, Some(9));
    }
}
