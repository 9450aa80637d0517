//! Parents that lie: a small server with the real protocol, wrong on request. Whatever they say or send, the child gets the
//! right bytes, blocks them, and says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use df_api::dfdaemon::{PIECE_DIGEST_HEADER, Piece, PieceList};
use df_api::range::{RangeSpec, Requested};
use df_api::scheduler::ComplaintReason;
use df_api::task::piece_length;
use df_api::{ContentRange, Digest};
use http::HeaderMap;
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::cluster::{Cluster, task_id};
use crate::lab::Lab;

const MIB: usize = 1024 * 1024;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// Other bytes, and the digests of the right ones.
    Corrupt,
    /// Other bytes, and their digests.
    Consistent,
    /// The right bytes, and other digests.
    Slander,
    PieceBeyondTheEnd,
    MillionsOfPieces,
    OtherAlgorithm,
    TakenBack,
    NextBackwards,
    OtherLength,
    OtherPieceLength,
    LongerBody,
    ShorterBody,
    OtherRange,
    NoRange,
    /// Other bytes, as if they had only passed through; the right ones when they must be checked. No lie: a relay below a
    /// liar does so.
    PassedOn,
    /// The same without repentance.
    PassedOnAlways,
    EndlessList,
    Nonsense,
    /// Numbers that are none.
    NegativePiece,
    HugeLength,
    /// One that is a number, and cannot be.
    LargestLength,
    /// No lie at all.
    None,
    /// No lie: it serves as many as it can, or is asked too often.
    Busy {
        status: u16,
        retry_after: &'static str,
    },
}

struct Liar {
    lie: Lie,
    right: Bytes,
    wrong: Bytes,
    listed: AtomicU64,
    sent: AtomicU64,
}

/// At an address of its own, for as long as the test.
async fn start(lie: Lie, right: &Bytes) -> (Arc<Liar>, String) {
    let wrong: Vec<u8> = right.iter().map(|byte| byte ^ 0x55).collect();
    let (listed, sent) = (AtomicU64::new(0), AtomicU64::new(0));
    let liar = Arc::new(Liar { lie, right: right.clone(), wrong: wrong.into(), listed, sent });
    let router = Router::new()
        .route("/v1/tasks/{task_id}/pieces", get(list_pieces))
        .route("/v1/tasks/{task_id}/content", get(get_task_content))
        .with_state(liar.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(df_http::serve::serve(listener, router, tokio_util::sync::CancellationToken::new()));
    (liar, url)
}

#[derive(Deserialize)]
struct Since {
    since: u64,
}

// === impl Liar ===

impl Liar {
    fn length(&self) -> u64 {
        self.right.len() as u64
    }

    fn piece_length(&self) -> u64 {
        piece_length(Some(self.length()))
    }

    fn digest(bytes: &[u8]) -> Digest {
        format!("blake3:{}", blake3::hash(bytes).to_hex()).parse().unwrap()
    }

    fn pieces(&self) -> Vec<Piece> {
        let told = if matches!(self.lie, Lie::Consistent | Lie::Slander) { &self.wrong } else { &self.right };
        let chunks = told.chunks(self.piece_length() as usize).enumerate();
        chunks.map(|(index, chunk)| Piece { index: index as u32, digest: Self::digest(chunk) }).collect()
    }

    fn list(&self, since: u64) -> PieceList {
        let pieces = self.pieces();
        let next = pieces.len() as u64 + 1;
        let from = since.saturating_sub(1).min(pieces.len() as u64) as usize;
        let mut list = PieceList {
            length: Some(self.length()),
            piece_length: Some(self.piece_length()),
            content_type: None,
            digest: None,
            validator: None,
            pieces: pieces[from..].to_vec(),
            next,
            complete: true,
            running: false,
            at_origin: false,
        };
        let first = pieces[0].clone();
        match self.lie {
            Lie::PieceBeyondTheEnd => list.pieces.push(Piece { index: u32::MAX, ..first }),
            Lie::OtherAlgorithm => {
                list.pieces[0].digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
            }
            Lie::TakenBack => list.pieces.push(Piece { index: 0, digest: Self::digest(b"another") }),
            Lie::NextBackwards => list.next = u64::MAX,
            Lie::OtherLength => list.length = Some(self.length() - 1),
            Lie::OtherPieceLength => list.piece_length = Some(1),
            Lie::LargestLength => list.length = Some(i64::MAX as u64),
            _ => {}
        }
        list
    }
}

async fn list_pieces(State(liar): State<Arc<Liar>>, Query(Since { since }): Query<Since>) -> Response {
    liar.listed.fetch_add(1, Ordering::Relaxed);
    let endless = |part: String| {
        let open = Bytes::from_static(br#"{"next":1,"complete":false,"pieces":["#);
        let parts = [open].into_iter().chain(std::iter::repeat_n(Bytes::from(part), 100_000));
        Response::new(Body::from_stream(futures_util::stream::iter(parts.map(std::io::Result::Ok))))
    };
    match liar.lie {
        Lie::EndlessList => endless(" ".repeat(MIB)),
        Lie::MillionsOfPieces => {
            let piece = serde_json::to_string(&liar.pieces()[0]).unwrap();
            endless(format!("{piece},").repeat(10_000))
        }
        Lie::Nonsense => Response::new(Body::from("<html>")),
        Lie::NegativePiece | Lie::HugeLength => {
            let list = serde_json::to_string(&liar.list(since)).unwrap();
            let length = format!("\"length\":{}", liar.length());
            let (from, to) = match liar.lie {
                Lie::NegativePiece => ("\"index\":1,", "\"index\":-1,"),
                _ => (length.as_str(), "\"length\":1e300"),
            };
            assert!(list.contains(from), "{list}");
            Response::new(Body::from(list.replace(from, to)))
        }
        _ => Response::new(Body::from(serde_json::to_vec(&liar.list(since)).unwrap())),
    }
}

#[derive(Deserialize)]
struct Checked {
    #[serde(default)]
    checked: bool,
}

async fn get_task_content(
    State(liar): State<Arc<Liar>>,
    Query(Checked { checked }): Query<Checked>,
    headers: HeaderMap,
) -> Response {
    liar.sent.fetch_add(1, Ordering::Relaxed);
    if let Lie::Busy { status, retry_after } = liar.lie {
        let answer = Response::builder().status(status).header("retry-after", retry_after);
        return answer.body(Body::empty()).unwrap();
    }
    let asked = Requested::parse(headers.get("range").map(|value| value.to_str().unwrap())).unwrap();
    let Requested::One(asked @ RangeSpec::Bounded { .. }) = asked else { panic!("{asked:?}") };
    let range = asked.resolve(liar.length()).unwrap();
    let passes_on = liar.lie == Lie::PassedOnAlways || (liar.lie == Lie::PassedOn && !checked);
    let wrong = passes_on || matches!(liar.lie, Lie::Corrupt | Lie::Consistent);
    let bytes = if wrong { &liar.wrong } else { &liar.right };
    let mut body = bytes.slice(range.start as usize..range.end as usize);
    match liar.lie {
        Lie::LongerBody => body = [body.as_ref(), b"and more"].concat().into(),
        Lie::ShorterBody => body = body.slice(..body.len() - 1),
        _ => {}
    }
    let told = match liar.lie {
        Lie::OtherRange => df_api::ByteRange::new(range.start + 1, range.end + 1),
        _ => Some(range),
    };
    let length = liar.length() + u64::from(liar.lie == Lie::OtherRange);
    // In chunks without a length, so that the body can differ from what the headers promise.
    let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(body)]);
    let mut answer = Response::new(Body::from_stream(stream));
    *answer.status_mut() = http::StatusCode::PARTIAL_CONTENT;
    let piece = (range.start / liar.piece_length()) as usize;
    let headers = answer.headers_mut();
    if liar.lie != Lie::NoRange {
        headers.insert("content-range", ContentRange { range: told, total: Some(length) }.to_string().parse().unwrap());
    }
    if !passes_on {
        headers.insert(PIECE_DIGEST_HEADER, liar.pieces()[piece].digest.to_string().parse().unwrap());
    }
    answer
}

/// The liar is known to the scheduler like everybody else; honest parents are there, too.
async fn pull_beside(lie: Lie, honest: usize) -> (Lab, Arc<Liar>) {
    pull_much_beside(lie, honest, 8 * MIB).await
}

async fn pull_much_beside(lie: Lie, honest: usize, layer_bytes: usize) -> (Lab, Arc<Liar>) {
    let lab = Lab::start(honest, layer_bytes).await;
    let (liar, url) = start(lie, &lab.layer.bytes).await;
    lab.announce("liar", &url, false).await;
    let (body, took) = lab.pull(&lab.child).await;
    assert!(body == lab.layer.bytes, "{lie:?}: wrong bytes");
    println!("{lie:?} beside {honest}: {took:?}, {:?}", lab.received());
    (lab, liar)
}

/// Whom the child has told the scheduler to have sent wrong bytes.
async fn blamed(lab: &Lab) -> Vec<String> {
    let view = lab.scheduler.get_task(&task_id(&lab.layer)).await.unwrap();
    let complaints = view.peers.iter().flat_map(|peer| &peer.complaints);
    let wrong = complaints.filter(|complaint| complaint.reason == ComplaintReason::WrongBytes);
    wrong.map(|complaint| complaint.peer_id.to_string()).collect()
}

#[tokio::test]
async fn wrong_bytes_never_become_a_piece_while_an_honest_parent_is_there() {
    for lie in [Lie::Corrupt, Lie::Consistent, Lie::Slander] {
        let (lab, liar) = pull_beside(lie, 2).await;
        assert_eq!(lab.received().origin_bytes, 0, "{lie:?} is found out by the others, not by the whole");
        assert!(liar.sent.load(Ordering::Relaxed) + liar.listed.load(Ordering::Relaxed) > 0, "{lie:?} was asked");
        assert_eq!(blamed(&lab).await, ["liar"], "{lie:?} is reported, and nobody else");
    }
}

#[tokio::test]
async fn a_relay_is_not_blamed_for_what_it_passed_on_before_it_could_check_it() {
    for honest in [0, 1, 2] {
        let (lab, relay) = pull_beside(Lie::PassedOn, honest).await;
        assert_eq!(lab.received().origin_bytes, 0, "beside {honest}");
        assert!(blamed(&lab).await.is_empty(), "beside {honest}");
        assert!(relay.sent.load(Ordering::Relaxed) > 0, "beside {honest}");
    }
    // So much that it is asked again after what it only passed on.
    let (lab, _) = pull_much_beside(Lie::PassedOnAlways, 2, 48 * MIB).await;
    assert_eq!(lab.received().origin_bytes, 0);
    assert_eq!(blamed(&lab).await, ["liar"], "whoever is asked for checked bytes answers for them");
}

#[tokio::test]
async fn nonsense_is_refused_and_its_sender_blocked() {
    let lies = [
        Lie::PieceBeyondTheEnd,
        Lie::MillionsOfPieces,
        Lie::OtherAlgorithm,
        Lie::TakenBack,
        Lie::NextBackwards,
        Lie::OtherLength,
        Lie::OtherPieceLength,
        Lie::LongerBody,
        Lie::ShorterBody,
        Lie::OtherRange,
        Lie::NoRange,
        Lie::EndlessList,
        Lie::Nonsense,
        Lie::NegativePiece,
        Lie::HugeLength,
        Lie::LargestLength,
    ];
    for lie in lies {
        let (lab, liar) = pull_beside(lie, 1).await;
        assert_eq!(lab.received().origin_bytes, 0, "{lie:?}");
        let (sent, listed) = (liar.sent.load(Ordering::Relaxed), liar.listed.load(Ordering::Relaxed));
        assert!(sent + listed > 0 && sent <= 4, "{lie:?} is asked, and not again");
        let view = lab.scheduler.get_task(&task_id(&lab.layer)).await.unwrap();
        assert!(view.peers.iter().any(|peer| !peer.complaints.is_empty()), "{lie:?} is reported");
    }
}

#[tokio::test]
async fn a_busy_parent_is_no_liar_and_the_others_do_its_part() {
    for (status, retry_after) in [(503, "1"), (503, "0"), (429, "0")] {
        let (lab, busy) = pull_beside(Lie::Busy { status, retry_after }, 1).await;
        assert_eq!(lab.received().origin_bytes, 0);
        let asked = busy.sent.load(Ordering::Relaxed);
        assert!(blamed(&lab).await.is_empty());
        assert!((1..=20).contains(&asked), "{status} {retry_after}: asked {asked} times");
    }
}

#[tokio::test]
async fn whoever_is_at_the_origin_reads_from_a_peer_as_soon_as_one_has_it_all() {
    let lab = Lab::start(0, 24 * MIB).await;
    let layer = df_testkit::registry::blob_name(crate::cluster::REPOSITORY, &lab.layer.digest);
    lab.registry.origin().change(&layer, |content| content.hold_at(8 * MIB as u64));
    let (_, url) = start(Lie::None, &lab.layer.bytes).await;
    let holder = async {
        let has = async || Ok((lab.received().origin_bytes >= 6 * MIB as u64).then_some(()));
        df_testkit::until("the child has some of the origin", crate::lab::PATIENCE, has).await.unwrap();
        lab.announce("holder", &url, false).await;
    };
    let ((body, _), ()) = tokio::join!(lab.pull(&lab.child), holder);
    assert!(body == lab.layer.bytes, "wrong bytes");
    assert!(lab.received().origin_bytes <= 8 * MIB as u64, "{:?}", lab.received());
}

#[tokio::test]
async fn a_consistent_liar_alone_is_found_out_by_the_whole_and_nothing_of_it_is_kept() {
    let lab = Lab::start(0, 8 * MIB).await;
    let (_, url) = start(Lie::Consistent, &lab.layer.bytes).await;
    lab.announce("liar", &url, false).await;
    let (mirror, ns) = (lab.child.local_addr, lab.registry.address());
    let path = format!("{}/blobs/{}?ns={ns}", crate::cluster::REPOSITORY, lab.layer.digest);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let first = client.get(format!("http://{mirror}/v2/{path}")).send().await.unwrap();
    assert!(first.bytes().await.is_err(), "the body ends early instead of being wrong");
    let (body, _) = lab.pull(&lab.child).await;
    assert!(body == lab.layer.bytes);
    assert_eq!(lab.received().origin_bytes, lab.layer.size_bytes());
}

/// Its children are told that it is over, and nobody keeps any of it.
#[tokio::test]
async fn a_wrong_blob_of_the_origin_is_kept_nowhere_in_the_cluster() {
    let cluster = Cluster::start(12 * MIB).await;
    let layer = cluster.layer().clone();
    cluster.change(&layer, |content| content.wrong_bytes_first(1));
    let pulls = tokio::join!(cluster.try_pull(1, &layer), cluster.try_pull(2, &layer));
    for pulled in [pulls.0, pulls.1] {
        assert!(pulled.is_err() || pulled.is_ok_and(|body| body == layer.bytes), "wrong bytes");
    }
    for peer in [1, 2] {
        assert!(cluster.pull(peer, &layer).await == layer.bytes, "wrong bytes");
    }
    // Once wrong and once right, and a part of it while the right to the origin is handed on; four times would be everybody.
    assert!(2 * cluster.served_bytes(&layer) <= 7 * layer.size_bytes(), "{}", cluster.served_bytes(&layer));
}

/// One against one cannot be told: the bytes are right all the same.
#[tokio::test]
async fn beside_a_single_honest_parent_a_liar_costs_no_wrong_byte() {
    for lie in [Lie::Corrupt, Lie::Consistent, Lie::Slander] {
        let (lab, _) = pull_beside(lie, 1).await;
        println!("{lie:?}: blamed {:?}", blamed(&lab).await);
        let view = lab.scheduler.get_task(&task_id(&lab.layer)).await.unwrap();
        assert!(view.peers.iter().any(|peer| !peer.complaints.is_empty()), "{lie:?} is reported");
    }
}
