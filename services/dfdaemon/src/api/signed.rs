//! Contents whose URL is signed: for whom the origin names the content to, by whatever signature.
//!
//! **Invariant.** Who knows a signed URL without its signature gets nothing by it. The id of such a task has the entity tag
//! in it that the origin tells only to those whom it lets in; where it tells none, all of the URL.

use std::time::Duration;

use df_api::task::Origin;
use df_peer::Peer;
use http::header::{ACCEPT_ENCODING, ETAG, HeaderMap, HeaderValue, RANGE};
use http::{Method, StatusCode};
use moka::future::Cache;
use sha2::{Digest as _, Sha256};
use url::Url;

/// What was made of signed URLs a while ago.
#[derive(Clone)]
pub struct Signed {
    scopes: Cache<[u8; 32], String>,
    patience: Duration,
}

const ENTRIES_MAX: u64 = 10_000;

// === impl Signed ===

impl Signed {
    /// A signature is taken to be good for `ttl`; the origin may think for `patience`.
    pub fn new(ttl: Duration, patience: Duration) -> Self {
        Self { scopes: Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(ttl).build(), patience }
    }

    /// See [`Origin::scope`].
    pub async fn scope(&self, peer: &Peer, origin: &Origin) -> String {
        let all: [u8; 32] = Sha256::digest(&origin.url).into();
        if let Some(scope) = self.scopes.get(&all).await {
            return scope;
        }
        match tokio::time::timeout(self.patience, entity_tag(peer, origin)).await.ok().flatten() {
            Some(tag) => {
                let scope = format!("signed {}", hex::encode(Sha256::digest(&tag)));
                self.scopes.insert(all, scope.clone()).await;
                scope
            }
            // The download finds out why.
            None => format!("holder {}", hex::encode(all)),
        }
    }
}

/// As the origin gives it with the first byte.
async fn entity_tag(peer: &Peer, origin: &Origin) -> Option<HeaderValue> {
    let url = Url::parse(&origin.url).ok().filter(|_| origin.may_be_asked())?;
    let one_byte = [(RANGE, "bytes=0-0"), (ACCEPT_ENCODING, "identity")];
    let headers: HeaderMap =
        one_byte.map(|(name, value)| (name, HeaderValue::from_static(value))).into_iter().collect();
    let _turn = peer.upstream().turn_unless_held(&url, |_| true).await.ok()?;
    let mut answer = peer.upstream().send(Method::GET, url, headers).await.ok()?;
    // An empty content has no first byte.
    let given = [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];
    given.contains(&answer.status()).then(|| answer.headers_mut().remove(ETAG)).flatten()
}
