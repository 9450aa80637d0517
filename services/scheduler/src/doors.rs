//! How often one host may ask, so that one that floods keeps nobody else from being answered.

use std::num::NonZeroU64;

use df_api::{Code, HostId};
use df_http::{ApiError, RateLimit};
use http::HeaderValue;
use http::header::RETRY_AFTER;
use parking_lot::Mutex;

use crate::maps::Map;
use crate::policy::HOSTS_MAX;

#[derive(Debug)]
pub struct Doors {
    /// Requests per second of each host; `None`: no limit.
    per_s: Option<NonZeroU64>,
    limits: Mutex<Map<HostId, RateLimit>>,
}

// === impl Doors ===

impl Doors {
    pub fn new(per_s: u64) -> Self {
        Self { per_s: NonZeroU64::new(per_s), limits: Mutex::default() }
    }

    pub fn pass(&self, host: &HostId) -> Result<(), ApiError> {
        let Some(per_s) = self.per_s else { return Ok(()) };
        let mut limits = self.limits.lock();
        if limits.len() > HOSTS_MAX {
            limits.clear();
        }
        let known = limits.get(host).cloned();
        let limit = known.unwrap_or_else(|| limits.entry(host.clone()).or_insert(RateLimit::new(self.per_s)).clone());
        drop(limits);
        if limit.try_take() {
            return Ok(());
        }
        let detail = format!("host {host} asks more than {per_s} times a second; several tasks fit into one request");
        Err(ApiError::new(Code::TooManyRequests, detail).with_header(RETRY_AFTER, HeaderValue::from_static("1")))
    }
}
