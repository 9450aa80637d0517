//! An HTTP origin on a port of its own that serves [`Content`]s by name and counts what it was asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::{Mutex, MutexGuard};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::answer;
use crate::content::{Content, ContentStats};
use crate::pace::Pace;
use crate::wire::Wire;

/// Runs until dropped; its connections end with it.
#[derive(Debug)]
pub struct FakeOrigin {
    address: SocketAddr,
    shelf: Arc<Shelf>,
    server: JoinHandle<()>,
}

/// All contents by name (the path without its first `/`; the query does not count).
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    entries: Mutex<HashMap<String, Arc<Entry>>>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    state: Mutex<State>,
    pub(crate) pace: Pace,
    pub(crate) released: watch::Sender<bool>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) content: Content,
    pub(crate) stats: ContentStats,
}

// === impl FakeOrigin ===

impl FakeOrigin {
    /// On 127.0.0.1, any free port.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub async fn start_at(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let shelf = Arc::new(Shelf::default());
        let server = tokio::spawn(accept(listener, shelf.clone()));
        Ok(Self { address, shelf, server })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`, no `/` at the end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// Serves `content` under `name` from now on, with fresh counts; replaces what was there.
    pub fn put(&self, name: &str, content: Content) {
        let stats = ContentStats::default();
        let entry = Entry {
            state: Mutex::new(State { content, stats }),
            pace: Pace::default(),
            released: watch::Sender::new(false),
        };
        self.shelf.entries.lock().insert(name.to_owned(), Arc::new(entry));
    }

    /// Changes a content in place and keeps its counts; answers on their way stay as they began.
    pub fn change(&self, name: &str, change: impl FnOnce(Content) -> Content) {
        if let Some(entry) = self.shelf.find(name) {
            let mut state = entry.state();
            state.content = change(state.content.clone());
        }
    }

    /// 404 from now on.
    pub fn remove(&self, name: &str) {
        self.shelf.entries.lock().remove(name);
    }

    /// Lets go what [`Content::hold_at`] holds back, in answers on their way and in all later ones.
    pub fn release(&self, name: &str) {
        if let Some(entry) = self.shelf.find(name) {
            entry.released.send_replace(true);
        }
    }

    /// All zero for a name that is not there.
    pub fn stats(&self, name: &str) -> ContentStats {
        self.shelf.find(name).map(|entry| entry.state().stats.clone()).unwrap_or_default()
    }

    pub fn names(&self) -> Vec<String> {
        self.shelf.entries.lock().keys().cloned().collect()
    }

    /// Ends the server and all its connections; connecting is refused from then on.
    pub async fn stop(&mut self) {
        self.server.abort();
        // Aborted on purpose: the only outcome is the cancellation.
        let _ = (&mut self.server).await;
    }
}

impl Drop for FakeOrigin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

// === impl Shelf ===

impl Shelf {
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Entry>> {
        self.entries.lock().get(name).cloned()
    }
}

// === impl Entry ===

impl Entry {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

async fn accept(listener: TcpListener, shelf: Arc<Shelf>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // A failed accept is that of a client that has gone.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let (wire, control) = Wire::new(stream);
        let shelf = shelf.clone();
        let service = service_fn(move |request| {
            let (shelf, control) = (shelf.clone(), control.clone());
            async move { Ok::<_, Infallible>(answer::answer(&shelf, control, request).await) }
        });
        let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(wire), service);
        // A connection that ends badly is what the tests are about.
        connections.spawn(async move { drop(connection.await) });
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use http::{HeaderMap, StatusCode};
    use reqwest::Client;

    use super::*;
    use crate::bytes::random_bytes;
    use crate::wire::Cut;

    const LENGTH: usize = 200_000;

    async fn serve(change: impl FnOnce(Content) -> Content) -> (FakeOrigin, bytes::Bytes) {
        let bytes = random_bytes(1, LENGTH);
        let origin = FakeOrigin::start().await.unwrap();
        origin.put("a/b", change(Content::new(bytes.clone())));
        (origin, bytes)
    }

    fn client() -> Client {
        Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
    }

    async fn get(origin: &FakeOrigin, headers: &[(&'static str, &str)]) -> (StatusCode, HeaderMap, bytes::Bytes) {
        let mut request = client().get(origin.url("a/b"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, response.bytes().await.unwrap())
    }

    /// What arrived before the body broke.
    async fn read_until_broken(origin: &FakeOrigin) -> (usize, String) {
        let mut response = client().get(origin.url("a/b")).send().await.unwrap();
        let mut length = 0;
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => length += chunk.len(),
                Ok(None) => return (length, String::new()),
                Err(error) => return (length, format!("{error:?}")),
            }
        }
    }

    #[tokio::test]
    async fn a_good_content_is_served_whole_and_in_parts() {
        let (origin, bytes) = serve(|content| content.header("content-type", "image/png")).await;
        let (status, headers, body) = get(&origin, &[]).await;
        assert_eq!((status.as_u16(), &body), (200, &bytes));
        assert_eq!(headers["content-length"], "200000");
        assert_eq!(headers["content-type"], "image/png");
        let (status, headers, body) = get(&origin, &[("range", "bytes=10-19")]).await;
        assert_eq!((status.as_u16(), &body[..]), (206, &bytes[10..20]));
        assert_eq!(headers["content-range"], "bytes 10-19/200000");
        let (status, headers, _) = get(&origin, &[("range", "bytes=200000-")]).await;
        assert_eq!(status.as_u16(), 416);
        assert_eq!(headers["content-range"], "bytes */200000");
        let etag = headers_of(&origin).await["etag"].to_str().unwrap().to_owned();
        assert_eq!(get(&origin, &[("range", "bytes=1-2"), ("if-range", &etag)]).await.0, 206);
        assert_eq!(get(&origin, &[("range", "bytes=1-2"), ("if-range", "\"old\"")]).await.0, 200);
        assert_eq!(get(&origin, &[("if-none-match", &etag)]).await.0, 304);
        let stats = origin.stats("a/b");
        assert_eq!((stats.requests, stats.heads, stats.ranges.len()), (7, 1, 4));
        assert_eq!(stats.bytes, 2 * 200_000 + 10 + 2);
        assert_eq!(stats.ranges[0], "bytes=10-19");
    }

    async fn headers_of(origin: &FakeOrigin) -> HeaderMap {
        let response = client().head(origin.url("a/b")).send().await.unwrap();
        assert_eq!(response.headers()["content-length"], "200000");
        response.headers().clone()
    }

    #[tokio::test]
    async fn without_ranges_and_length_the_whole_comes_in_chunks() {
        let (origin, bytes) = serve(|content| content.without_ranges().without_length()).await;
        let (status, headers, body) = get(&origin, &[("range", "bytes=10-19")]).await;
        assert_eq!((status.as_u16(), body), (200, bytes));
        assert!(!headers.contains_key("content-length") && !headers.contains_key("accept-ranges"));
    }

    #[tokio::test]
    async fn a_cut_happens_as_often_as_told_and_after_exactly_that_many_bytes() {
        let (origin, bytes) = serve(|content| content.cut_first(1, 50_001, Cut::Fin)).await;
        let (length, error) = read_until_broken(&origin).await;
        assert_eq!(length, 50_001);
        assert!(!error.is_empty() && !error.contains("ConnectionReset"), "{error}");
        assert_eq!(get(&origin, &[]).await.2, bytes);
    }

    #[tokio::test]
    async fn a_reset_is_a_reset() {
        let (origin, _) = serve(|content| content.cut_first(1, 50_000, Cut::Reset)).await;
        let (_, error) = read_until_broken(&origin).await;
        assert!(error.contains("ConnectionReset"), "{error}");
    }

    #[tokio::test]
    async fn the_first_requests_get_the_status_and_the_others_the_content() {
        let (origin, _) = serve(|content| content.status_first(2, 429, Some("7"))).await;
        for _ in 0..2 {
            let (status, headers, _) = get(&origin, &[]).await;
            assert_eq!(status.as_u16(), 429);
            assert_eq!(headers["retry-after"], "7");
        }
        assert_eq!(get(&origin, &[]).await.0, 200);
    }

    #[tokio::test]
    async fn only_the_right_authorization_gets_in() {
        let (origin, _) = serve(|content| content.require_authorization("Bearer x", "Basic realm=\"r\"")).await;
        let (status, headers, _) = get(&origin, &[("authorization", "Bearer y")]).await;
        assert_eq!(status.as_u16(), 401);
        assert_eq!(headers["www-authenticate"], "Basic realm=\"r\"");
        assert_eq!(get(&origin, &[("authorization", "Bearer x")]).await.0, 200);
        assert_eq!(origin.stats("a/b").authorizations, ["Bearer y", "Bearer x"]);
    }

    #[tokio::test]
    async fn wrong_bytes_come_once_and_look_right() {
        let (origin, bytes) = serve(|content| content.wrong_bytes_first(1)).await;
        let (status, headers, body) = get(&origin, &[]).await;
        assert_eq!(status.as_u16(), 200);
        assert_eq!(headers["content-length"], "200000");
        assert!(body[0] != bytes[0] && body[1..] == bytes[1..]);
        assert_eq!(get(&origin, &[]).await.2, bytes);
    }

    #[tokio::test]
    async fn a_redirect_names_the_other_place() {
        let (origin, _) = serve(|content| content.redirect_to("/other")).await;
        let (status, headers, _) = get(&origin, &[]).await;
        assert_eq!(status.as_u16(), 307);
        assert_eq!(headers["location"], "/other");
    }

    #[tokio::test]
    async fn held_bytes_come_after_the_release() {
        let (origin, bytes) = serve(|content| content.hold_at(60_000)).await;
        let mut response = client().get(origin.url("a/b")).send().await.unwrap();
        let mut body = Vec::new();
        while body.len() < 60_000 {
            body.extend(response.chunk().await.unwrap().unwrap());
        }
        assert_eq!((body.len(), origin.stats("a/b").active), (60_000, 1));
        origin.release("a/b");
        while let Some(chunk) = response.chunk().await.unwrap() {
            body.extend(chunk);
        }
        assert_eq!(body, bytes);
    }

    #[tokio::test]
    async fn rate_and_delay_take_their_time() {
        let (origin, _) = serve(|content| content.rate(1_000_000).first_byte_delay(Duration::from_millis(100))).await;
        let start = Instant::now();
        get(&origin, &[]).await;
        assert!(start.elapsed() > Duration::from_millis(290), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_stopped_origin_refuses_and_breaks_what_it_was_sending() {
        let (mut origin, _) = serve(|content| content.hold_at(10)).await;
        let mut response = client().get(origin.url("a/b")).send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap().len(), 10);
        origin.stop().await;
        assert!(response.chunk().await.is_err());
        assert!(client().get(origin.url("a/b")).send().await.unwrap_err().is_connect());
    }

    #[tokio::test]
    async fn what_is_not_there_is_404_and_oci_under_v2() {
        let origin = FakeOrigin::start().await.unwrap();
        let body = client().get(origin.url("v2/x/blobs/y")).send().await.unwrap().text().await.unwrap();
        assert!(body.contains("\"errors\""), "{body}");
        assert_eq!(get(&origin, &[]).await.0, 404);
    }
}
