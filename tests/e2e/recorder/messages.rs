//! Where HTTP/1.1 messages begin and end (RFC 9112 §6): as much of it as clients and mirror use.

use std::time::{Duration, Instant};

use super::{End, Exchange};

/// What a client sends. Bytes wait here until they make a whole head.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: Vec<u8>,
    /// Of the body that is being sent.
    body_left: usize,
    /// May be passed on.
    passing: usize,
}

/// What the mirror answers.
#[derive(Debug, Default)]
pub(super) struct Answers {
    head: Vec<u8>,
    to_head: bool,
    body: Body,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Body {
    /// The head is not whole yet.
    #[default]
    NotYet,
    Left(u64),
    /// Chunked; with its last bytes.
    Chunks(Vec<u8>),
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

// === impl Requests ===

impl Requests {
    /// The request whose head has become whole with these bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<Exchange> {
        self.waiting.extend_from_slice(bytes);
        let body = self.body_left.min(self.waiting.len() - self.passing);
        self.body_left -= body;
        self.passing += body;
        let head = head_of(&self.waiting[self.passing..])?;
        let (line, fields) = parse(&self.waiting[self.passing..self.passing + head]);
        self.passing += head;
        self.body_left = field(&fields, "content-length").parse().unwrap_or(0);
        let body = self.body_left.min(self.waiting.len() - self.passing);
        self.body_left -= body;
        self.passing += body;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let now = Instant::now();
        Some(Exchange {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            range: Some(field(&fields, "range").to_owned()).filter(|range| !range.is_empty()),
            authorized: !field(&fields, "authorization").is_empty(),
            status: 0,
            challenge: String::new(),
            body_bytes: 0,
            end: End::NotYet,
            answered_after: None,
            longest_pause: Duration::ZERO,
            asked: now,
            moved: now,
        })
    }

    /// What belongs to whole heads, and bodies.
    pub(super) fn pass(&mut self) -> Vec<u8> {
        self.waiting.drain(..std::mem::take(&mut self.passing)).collect()
    }
}

// === impl Answers ===

impl Answers {
    /// The next answer is to this method.
    pub(super) fn expect(&mut self, method: &str) {
        (self.to_head, self.body) = (method == "HEAD", Body::NotYet);
        self.head.clear();
    }

    pub(super) fn take(&mut self, bytes: &[u8], exchange: &mut Exchange) {
        let now = Instant::now();
        let mut rest = bytes.to_vec();
        if self.body == Body::NotYet {
            self.head.extend_from_slice(&rest);
            let Some(length) = head_of(&self.head) else { return };
            rest = self.head.split_off(length);
            self.begin(exchange, now);
        } else {
            exchange.longest_pause = exchange.longest_pause.max(now - exchange.moved);
        }
        exchange.moved = now;
        exchange.body_bytes += rest.len() as u64;
        let whole = match &mut self.body {
            Body::NotYet => false,
            Body::Left(left) => {
                *left = left.saturating_sub(rest.len() as u64);
                *left == 0
            }
            Body::Chunks(tail) => {
                tail.extend_from_slice(&rest);
                tail.drain(..tail.len().saturating_sub(LAST_CHUNK.len()));
                tail == LAST_CHUNK
            }
        };
        if whole {
            exchange.end = End::Whole;
        }
    }

    fn begin(&mut self, exchange: &mut Exchange, now: Instant) {
        let (line, fields) = parse(&self.head);
        exchange.status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        exchange.challenge = field(&fields, "www-authenticate").to_owned();
        exchange.answered_after = Some(now - exchange.asked);
        let empty = self.to_head || matches!(exchange.status, 204 | 304);
        self.body = match field(&fields, "transfer-encoding") {
            _ if empty => Body::Left(0),
            "chunked" => Body::Chunks(Vec::new()),
            _ => Body::Left(field(&fields, "content-length").parse().unwrap_or(0)),
        };
    }
}

/// How long the head is, when it is whole.
fn head_of(bytes: &[u8]) -> Option<usize> {
    Some(bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4)
}

/// The first line, and the fields with names in lower case.
fn parse(head: &[u8]) -> (String, Vec<(String, String)>) {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let fields = lines.filter_map(|line| line.split_once(": "));
    (first, fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect())
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

#[test]
fn messages_are_told_apart_however_they_are_cut() {
    let (request, answer) =
        ("GET /v2/a?ns=b HTTP/1.1\r\nRange: bytes=5-\r\n\r\n", "HTTP/1.1 206 P\r\nContent-Length: 3\r\n\r\nabc");
    for cut in 1..request.len() {
        let mut requests = Requests::default();
        let (first, second) = request.as_bytes().split_at(cut);
        assert!(requests.take(first).is_none() && requests.pass().is_empty());
        let mut exchange = requests.take(second).unwrap();
        let asked = (&*exchange.path, &*exchange.query, exchange.range.as_deref());
        assert_eq!(asked, ("/v2/a", "ns=b", Some("bytes=5-")));
        assert_eq!(requests.pass(), request.as_bytes());
        let mut answers = Answers::default();
        answers.expect(&exchange.method);
        let (first, second) = answer.as_bytes().split_at(cut.min(answer.len() - 1));
        answers.take(first, &mut exchange);
        assert_eq!(exchange.end, End::NotYet);
        answers.take(second, &mut exchange);
        assert_eq!((exchange.status, exchange.body_bytes, exchange.end), (206, 3, End::Whole));
    }
}
