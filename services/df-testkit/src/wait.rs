//! Waiting for a condition, with a bound: what tests do instead of sleeping.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

const BETWEEN_PROBES: Duration = Duration::from_millis(10);

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
