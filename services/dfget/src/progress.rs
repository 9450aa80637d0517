//! The progress bar: bytes, rate, time left, and the share that did not come from the origin.

use std::time::Duration;

use df_api::dfdaemon::{ReceivedBytes, TaskStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Draws on a terminal only.
pub struct Progress {
    bar: ProgressBar,
    last: ReceivedBytes,
}

// === impl Progress ===

impl Progress {
    pub const REFRESH: Duration = Duration::from_millis(250);

    /// Without a length: a counter instead of a bar. Without `bars` nothing is drawn.
    pub fn new(length: Option<u64>, bars: Option<&MultiProgress>) -> Self {
        let bar = match length {
            Some(length) => ProgressBar::new(length),
            None => ProgressBar::no_length(),
        };
        let bar = match bars {
            Some(bars) => bars.add(bar),
            None => ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden()),
        };
        let template = match length {
            Some(_) => "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left {msg}",
            None => "{spinner} {bytes} {binary_bytes_per_sec} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, last: ReceivedBytes::default() }
    }

    /// For whoever counts by itself.
    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// So many of them are on this node.
    pub fn set(&mut self, status: Option<&TaskStatus>) {
        let Some(status) = status else { return };
        if let Some(length) = status.length {
            self.bar.set_length(length);
        }
        self.bar.set_position(status.held_bytes);
        self.show(Some(status.received));
    }

    pub fn show(&mut self, received: Option<ReceivedBytes>) {
        self.last = received.unwrap_or(self.last);
        self.bar.set_message(shares(self.last));
    }

    /// Another bar will show it.
    pub fn give_up(&self) {
        self.bar.finish_and_clear();
    }

    pub fn finish(&mut self, received: Option<ReceivedBytes>) {
        self.show(received);
        self.bar.finish();
    }
}

/// Bytes that were on this node before count for neither.
fn shares(received: ReceivedBytes) -> String {
    let cluster = received.seed_bytes + received.peer_bytes;
    match (cluster + received.origin_bytes, cluster) {
        (0, _) => "on this node already".to_owned(),
        (all, cluster) => format!("{} % from peers", cluster * 100 / all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_counts_what_did_not_come_from_the_origin() {
        let received = |origin_bytes, seed_bytes, peer_bytes| ReceivedBytes { origin_bytes, seed_bytes, peer_bytes };
        assert_eq!(shares(received(0, 0, 0)), "on this node already");
        assert_eq!(shares(received(25, 50, 25)), "75 % from peers");
        assert_eq!(shares(received(10, 0, 0)), "0 % from peers");
    }
}
