//! How much is kept, and for how long.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::evict::Limits;

/// When tasks are evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub quota: Quota,
    /// Of the quota: above it, tasks go …
    pub high_percent: u8,
    /// … until this is left.
    pub low_percent: u8,
    /// Not read for this long, a task goes.
    pub ttl: Duration,
}

/// `200GiB`, or `80%` of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Quota {
    Bytes(u64),
    Percent(u8),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quota: use a size such as 200GiB or 500GB, or a share of the file system such as 80%")]
pub struct InvalidQuota(String);

const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        let ttl = Duration::from_secs(30 * 24 * 3600);
        Self { quota: Quota::Percent(80), high_percent: 90, low_percent: 70, ttl }
    }
}

impl Policy {
    /// On a file system of this size.
    pub(crate) fn limits(&self, disk_bytes: u64) -> Limits {
        let quota = match self.quota {
            Quota::Bytes(bytes) => bytes,
            Quota::Percent(percent) => share(disk_bytes, percent),
        };
        self.limits_within(quota)
    }

    /// The disk is full with less than the quota: somebody else uses it. What is held now is as much as can be had.
    pub(crate) fn limits_when_full(&self, disk_bytes: u64, held_bytes: u64) -> Limits {
        let limits = self.limits(disk_bytes);
        let low_bytes = share(held_bytes, self.low_percent).min(limits.low_bytes);
        Limits { high_bytes: 0, low_bytes, ..limits }
    }

    fn limits_within(&self, quota: u64) -> Limits {
        let high_bytes = share(quota, self.high_percent);
        Limits { high_bytes, low_bytes: share(quota, self.low_percent).min(high_bytes), ttl_s: self.ttl.as_secs() }
    }
}

fn share(bytes: u64, percent: u8) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(percent.min(100)) / 100).unwrap_or(u64::MAX)
}

// === impl Quota ===

impl FromStr for Quota {
    type Err = InvalidQuota;
    fn from_str(text: &str) -> Result<Self, InvalidQuota> {
        let invalid = || InvalidQuota(text.chars().take(100).collect());
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.trim().parse().ok().filter(|percent| (1..=100).contains(percent));
            return percent.map(Self::Percent).ok_or_else(invalid);
        }
        let (number, unit) =
            UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes))).ok_or_else(invalid)?;
        let number: u64 = number.trim().parse().map_err(|_| invalid())?;
        number.checked_mul(*unit).map(Self::Bytes).ok_or_else(invalid)
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}B"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl TryFrom<String> for Quota {
    type Error = InvalidQuota;
    fn try_from(text: String) -> Result<Self, InvalidQuota> {
        text.parse()
    }
}

impl From<Quota> for String {
    fn from(quota: Quota) -> Self {
        quota.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_size_or_a_share() {
        assert_eq!("200GiB".parse(), Ok(Quota::Bytes(200 << 30)));
        assert_eq!("500 GB".parse(), Ok(Quota::Bytes(500_000_000_000)));
        assert_eq!("7B".parse(), Ok(Quota::Bytes(7)));
        assert_eq!("80%".parse(), Ok(Quota::Percent(80)));
        for wrong in ["", "80", "0%", "101%", "-1GiB", "GiB", "1.5GiB", "99999999999TiB"] {
            assert!(wrong.parse::<Quota>().unwrap_err().to_string().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_full_disk_leaves_less_than_is_held() {
        let policy = Policy::default();
        let limits = policy.limits(1000);
        assert_eq!((limits.high_bytes, limits.low_bytes), (720, 560));
        let full = policy.limits_when_full(1000, 100);
        assert_eq!((full.high_bytes, full.low_bytes), (0, 70));
    }
}
