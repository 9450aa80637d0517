//! Waiting for a condition, with a bound: what tests do instead of sleeping.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use tokio::time::{Instant, timeout};

const BETWEEN_PROBES: Duration = Duration::from_millis(10);

/// Nobody's download may stand still for longer, whatever fails.
pub const STANDSTILL: Duration = Duration::from_secs(30);

/// The body of an answer, which must not stand still; the error says how much had come by then.
pub async fn read_whole(mut answer: reqwest::Response) -> anyhow::Result<Bytes> {
    let mut body = Vec::new();
    loop {
        let next = timeout(STANDSTILL, answer.chunk()).await.context("it stands still")?;
        match next.with_context(|| format!("it breaks after {} bytes", body.len()))? {
            Some(chunk) => body.extend_from_slice(&chunk),
            None => return Ok(body.into()),
        }
    }
}

/// Asks `probe` again and again until it has an answer; after `bound` the error names `what` did not come.
pub async fn until<T>(
    what: &str,
    bound: Duration,
    mut probe: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + bound;
    loop {
        if let Some(answer) = probe().await? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {bound:?} in vain until {what}");
        }
        tokio::time::sleep(BETWEEN_PROBES).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_answer_or_names_what_did_not_come() {
        let mut asked = 0;
        let answer = until("third", Duration::from_secs(5), async || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(answer.await.unwrap(), 3);
        let error = until("the moon falls", Duration::ZERO, async || anyhow::Ok(None::<()>)).await.unwrap_err();
        assert!(error.to_string().contains("the moon falls"));
    }
}
