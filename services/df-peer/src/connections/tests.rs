use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const TEN: &str = "HTTP/1.1 206 Partial Content\r\ncontent-length: 10\r\n\r\n0123456789";

const FIRST_TEN: ByteRange = ByteRange { start: 0, end: 10 };

/// Answers each request with the next text, and closes a connection after every `requests` of them.
struct Script {
    url: Uri,
    accepted: Arc<AtomicUsize>,
}

impl Script {
    async fn start(answers: &[&str], requests: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/content", listener.local_addr().unwrap()).parse().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let mut answers = answers.iter().map(|answer| (*answer).to_owned()).collect::<Vec<_>>().into_iter();
        let counted = accepted.clone();
        tokio::spawn(async move {
            while answers.len() > 0 {
                let (mut socket, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                for answer in answers.by_ref().take(requests) {
                    if !read_request(&mut socket).await {
                        break;
                    }
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Self { url, accepted }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

async fn read_request(socket: &mut TcpStream) -> bool {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = socket.read_u8().await else { return false };
        request.push(byte);
    }
    true
}

fn connections() -> Arc<Connections> {
    Connections::new(Arc::new(crate::PeerTlsConfig::default().load().unwrap()))
}

async fn get(connections: &Arc<Connections>, url: &Uri) -> Result<Vec<u8>, AskError> {
    let mut answer = connections.get(url, &HeaderMap::new(), FIRST_TEN).await?;
    let mut body = Vec::new();
    while let Some(bytes) = answer.next().await? {
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_question() {
    let (script, connections) = (Script::start(&[TEN, TEN, TEN], 3).await, connections());
    for _ in 0..3 {
        assert_eq!(get(&connections, &script.url).await.unwrap(), b"0123456789");
    }
    assert_eq!(script.accepted(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_the_peer_has_closed_is_replaced() {
    let (script, connections) = (Script::start(&[TEN, TEN, TEN], 1).await, connections());
    for asked in 1..=3 {
        assert_eq!(get(&connections, &script.url).await.unwrap(), b"0123456789");
        assert_eq!(script.accepted(), asked);
    }
}

#[tokio::test]
async fn an_answer_that_was_not_read_to_its_end_does_not_give_its_connection_back() {
    let (script, connections) = (Script::start(&[TEN, TEN], 1).await, connections());
    let mut answer = connections.get(&script.url, &HeaderMap::new(), FIRST_TEN).await.unwrap();
    answer.next().await.unwrap().unwrap();
    drop(answer);
    assert!(connections.idle.lock().is_empty());
    assert_eq!(get(&connections, &script.url).await.unwrap(), b"0123456789");
    assert_eq!(script.accepted(), 2);
}

#[tokio::test]
async fn chunks_are_a_body_and_a_body_that_ends_early_is_broken() {
    let chunked =
        "HTTP/1.1 206 Partial Content\r\ntransfer-encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n";
    let short = "HTTP/1.1 206 Partial Content\r\ncontent-length: 10\r\n\r\n012";
    let (script, connections) = (Script::start(&[chunked, short], 2).await, connections());
    assert_eq!(get(&connections, &script.url).await.unwrap(), b"0123456789");
    assert!(matches!(get(&connections, &script.url).await, Err(AskError::Broken(_))));
}

#[tokio::test]
async fn a_refusal_tells_why_and_when_to_come_again() {
    let problem = r#"{"type":"about:blank","title":"Unavailable","status":503,"detail":"full"}"#;
    let length = problem.len();
    let busy = format!("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: {length}\r\n\r\n{problem}");
    let (script, connections) = (Script::start(&[&busy], 1).await, connections());
    match get(&connections, &script.url).await {
        Err(AskError::Refused { status, detail, retry_after }) => {
            assert_eq!((status.as_u16(), retry_after), (503, Some(Duration::from_secs(7))));
            assert!(detail.contains("full"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nonsense_and_nobody_are_told_apart() {
    let (script, connections) = (Script::start(&["SSH-2.0-OpenSSH_9.2\r\n\r\n"], 1).await, connections());
    assert!(matches!(get(&connections, &script.url).await, Err(AskError::Broken(_))));
    let nobody = "http://127.0.0.1:1/content".parse().unwrap();
    assert!(matches!(get(&connections, &nobody).await, Err(AskError::Unreachable(_))));
    let nowhere = "/content".parse().unwrap();
    assert!(matches!(get(&connections, &nowhere).await, Err(AskError::Malformed(_))));
}
