//! Answers to connections that get no server: one problem, then the end.

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use df_api::{Code, Problem};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::listener::Stream;

/// Clients that are being told. Beyond these, connections are only closed.
static TELLING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(64)));

/// How long a client may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// The listener has as many connections as it allows.
pub(super) fn too_many(stream: Stream) {
    metrics::counter!("dragonfly_http_connections_refused_total").increment(1);
    let problem = Problem::new(Code::Unavailable, "this listener has as many connections as it allows; try again soon");
    match stream {
        Stream::Tcp(stream) => tell(stream, &problem, "retry-after: 1\r\n"),
        Stream::Unix(stream) => tell(stream, &problem, "retry-after: 1\r\n"),
    }
}

/// Somebody speaks HTTP where TLS is spoken.
pub(super) fn plain_on_tls(stream: TcpStream) {
    let detail = "this listener speaks TLS: the URL begins with https://";
    tell(stream, &Problem::new(Code::InvalidRequest, detail), "");
}

fn tell(mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, problem: &Problem, headers: &str) {
    let Ok(telling) = TELLING.clone().try_acquire_owned() else { return };
    let body = serde_json::to_string(problem).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}",
        problem.status,
        problem.title,
        body.len()
    );
    tokio::spawn(async move {
        let said = async {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            // Closing with its request unread would reset the connection, and take the answer along.
            let mut unread = [0; 1024];
            while stream.read(&mut unread).await? > 0 {}
            std::io::Result::Ok(())
        };
        let _ = tokio::time::timeout(LINGER, said).await;
        drop(telling);
    });
}
