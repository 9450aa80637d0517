//! Who may read what is cached of a URL: to whom its server gives that content, asked once in a while per caller.
//!
//! **Invariant.** A yes is for one version of one content. Who is sent to a page to sign in has been given that page, and
//! nothing that somebody else has fetched. What a server makes for one caller, or may do so, is neither kept nor shared.

use bytes::Bytes;
use df_api::ContentRange;
use df_api::task::TaskSpec;
use df_peer::{Failure, Task};
use df_store::Meta;
use http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    LAST_MODIFIED, RANGE, VARY,
};
use http::{Method, StatusCode};
use url::Url;

use super::Proxy;
use super::content::{directives, says};
use super::forwarded::{self, Credential};
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
    content_type: Option<String>,
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
    match probe(proxy, asker, spec.origin.is_signed()).await {
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

/// Asks for the first byte, with all that the caller shows; its URL may be a part of that.
async fn probe(proxy: &Proxy, asker: &Asker<'_>, is_signed: bool) -> Probe {
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
                let told = Version::of(status, answer.headers(), answer.url() != asker.url);
                let for_one = told.validators.is_empty() && (is_signed || asker.credential.is_shown);
                match for_one || is_for_one(answer.headers(), asker.headers) {
                    true => Probe::Refused(status),
                    false => Probe::Given(told),
                }
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

/// Whether an answer is meant for its asker alone (RFC 9111 §5.2.2.5 and §5.2.2.7), or may be, as far as it says so.
fn is_for_one(answer: &HeaderMap, asked: &HeaderMap) -> bool {
    // `private="field"` is not worth to be told apart.
    let name = |word: &'_ str| word.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut names = directives(answer).map(name);
    let mut varied = answer.get_all(VARY).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    names.any(|name| name == "private" || name == "no-store")
        || varied.any(|name| is_varied_by(name.trim_ascii(), asked))
}

/// Whether two who are one to us may get two contents because of this header (RFC 9110 §12.5.5), or it is in this request.
fn is_varied_by(name: &[u8], asked: &HeaderMap) -> bool {
    if name.is_empty() {
        return false;
    }
    match HeaderName::from_bytes(name) {
        // Everybody gets what is not encoded.
        Ok(name) if name == ACCEPT_ENCODING => false,
        // Such as `Origin`: who does not send it shares with who does not.
        Ok(name) => name.as_str() == "*" || asked.contains_key(&name) || !forwarded::is_told_apart_by(&name),
        Err(_) => true,
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
        let content_type = text(CONTENT_TYPE).filter(|_| status != StatusCode::RANGE_NOT_SATISFIABLE);
        Self { validators, length, content_type: content_type.map(str::to_owned), is_elsewhere }
    }

    /// Whether what is stored is of this version. Where nothing tells versions apart, place and type must be the same.
    fn is_of(&self, known: &Meta) -> bool {
        let length = self.length.zip(known.length).is_none_or(|(told, known)| told == known);
        let validator = match &known.validator {
            Some(validator) => self.validators.iter().any(|told| told == strong(validator)),
            None => self.validators.is_empty() && !self.is_elsewhere && self.content_type == known.content_type,
        };
        length && validator
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, CACHE_CONTROL, COOKIE};
    use proptest::prelude::*;

    use super::*;

    fn known(length: Option<u64>, validator: Option<&str>) -> Meta {
        let validator = validator.map(str::to_owned);
        Meta { length, piece_length: 1 << 20, content_type: None, digest: None, validator }
    }

    fn headers(given: &[(HeaderName, &str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn told(given: &[(HeaderName, &str)]) -> Version {
        Version::of(StatusCode::PARTIAL_CONTENT, &headers(given), false)
    }

    #[test]
    fn a_version_is_told_by_length_and_validator() {
        let range = (CONTENT_RANGE, "bytes 0-0/7");
        let both = told(&[(ETAG, "W/\"a\""), (LAST_MODIFIED, "then"), range.clone()]);
        assert!(both.is_of(&known(Some(7), Some("\"a\""))) && both.is_of(&known(None, Some("then"))));
        assert!(!both.is_of(&known(Some(8), Some("\"a\""))) && !both.is_of(&known(Some(7), Some("\"b\""))));
        assert!(!both.is_of(&known(Some(7), None)), "it would have been told");
        let bare = told(std::slice::from_ref(&range));
        assert!(bare.is_of(&known(Some(7), None)) && !bare.is_of(&known(Some(7), Some("\"a\""))));
        assert!(!Version { is_elsewhere: true, ..bare }.is_of(&known(Some(7), None)));
        assert!(!told(&[range, (CONTENT_TYPE, "text/html")]).is_of(&known(Some(7), None)), "of another type");
        assert_eq!(told(&[(CONTENT_RANGE, "bytes */0")]).length, Some(0));
        let whole = HeaderMap::from_iter([(CONTENT_LENGTH, 9.into())]);
        assert_eq!(Version::of(StatusCode::OK, &whole, false).length, Some(9));
    }
    #[test]
    fn what_may_be_made_for_one_is_told_by_its_answer() {
        let asked = headers(&[(ACCEPT, "*/*"), (COOKIE, "a")]);
        let for_one = |given: &[(HeaderName, &str)]| is_for_one(&headers(given), &asked);
        for shared in [
            &[][..],
            &[(CACHE_CONTROL, "public, max-age=600"), (VARY, "Accept-Encoding")],
            &[(CACHE_CONTROL, "no-cache"), (VARY, "Origin, , Access-Control-Request-Headers,accept-encoding")],
        ] {
            assert!(!for_one(shared), "{shared:?}");
        }
        for personal in [
            (CACHE_CONTROL, "max-age=0, Private"),
            (CACHE_CONTROL, "private=\"set-cookie\""),
            (CACHE_CONTROL, "no-store"),
            (VARY, "*"),
            (VARY, "Accept-Encoding, Accept"),
            (VARY, "Cookie"),
            (VARY, "user-agent"),
            (VARY, "no header"),
        ] {
            assert!(for_one(std::slice::from_ref(&personal)), "{personal:?}");
        }
        assert!(!is_for_one(&headers(&[(VARY, "Cookie")]), &HeaderMap::new()), "without one all are the same");
    }

    proptest! {
        #[test]
        fn whatever_else_is_said_a_private_answer_is_for_one(before in "[ -~]{0,10}", after in "[ -~]{0,10}") {
            let value = format!("{before},private,{after}");
            prop_assert!(is_for_one(&headers(&[(CACHE_CONTROL, &value)]), &HeaderMap::new()));
            let value = format!("{before},*,{after}");
            prop_assert!(is_for_one(&headers(&[(VARY, &value)]), &HeaderMap::new()));
        }
    }
}
