//! Where a task's next range is asked: at the origin, or straight at the place it was sent to a moment ago; and which host
//! the origin is, which an `s3://` URL alone does not tell.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use url::Url;

/// One per task and download.
#[derive(Debug)]
pub(crate) struct Door {
    behind: Mutex<Option<(Url, Instant)>>,
    front: Mutex<Option<Url>>,
    kept: Duration,
}

// === impl Door ===

impl Door {
    pub fn new(kept: Duration) -> Self {
        Self { behind: Mutex::default(), front: Mutex::default(), kept }
    }

    /// The origin was asked at this URL last.
    pub fn front(&self) -> Option<Url> {
        self.front.lock().clone()
    }

    pub fn set_front(&self, front: &Url) {
        *self.front.lock() = Some(front.clone());
    }

    /// Where a redirect led, while that is remembered.
    pub fn shortcut(&self, now: Instant) -> Option<Url> {
        let mut behind = self.behind.lock();
        if behind.as_ref().is_some_and(|(_, since)| now.duration_since(*since) >= self.kept) {
            *behind = None;
        }
        behind.as_ref().map(|(url, _)| url.clone())
    }

    /// The front door led to `url`. Signed addresses are good for minutes at least; ours is forgotten before.
    pub fn remember(&self, front: &Url, url: &Url, now: Instant) {
        *self.behind.lock() = (front != url).then(|| (url.clone(), now));
    }

    pub fn forget(&self) {
        *self.behind.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_remembered_for_a_while_and_no_longer() {
        let (front, store) = (Url::parse("http://r/b").unwrap(), Url::parse("http://s/b?sig").unwrap());
        let door = Door::new(Duration::from_secs(60));
        let now = Instant::now();
        assert_eq!(door.shortcut(now), None);
        door.remember(&front, &front, now);
        assert_eq!(door.shortcut(now), None);
        door.remember(&front, &store, now);
        assert_eq!(door.shortcut(now + Duration::from_secs(59)), Some(store.clone()));
        assert_eq!(door.shortcut(now + Duration::from_secs(60)), None);
        door.remember(&front, &store, now);
        door.forget();
        assert_eq!(door.shortcut(now), None);
    }
}
