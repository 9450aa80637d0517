//! What people rule about a cluster's downloads: what counts for a parent, what is blocked, and what goes first.
//!
//! **Invariant.** The fields are the incumbent's; what a rule means is decided by the scheduler alone.

use serde::{Deserialize, Serialize};

/// How much each part of a parent's score counts. Finite and not negative, and not all 0; only their ratios matter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// Free upload slots and free upload bandwidth. Default: 0.6.
    #[cfg_attr(feature = "openapi", schema(minimum = 0.0))]
    pub load: f64,
    /// The same IDC. Default: 0.2.
    #[cfg_attr(feature = "openapi", schema(minimum = 0.0))]
    pub idc: f64,
    /// Elements of the location in common. Default: 0.1.
    #[cfg_attr(feature = "openapi", schema(minimum = 0.0))]
    pub location: f64,
    /// A seed that is getting it, then peers, then a seed that has it. Default: 0.1.
    #[cfg_attr(feature = "openapi", schema(minimum = 0.0))]
    #[serde(alias = "hostType")]
    pub host_type: f64,
}

/// Why weights cannot be: the field and its value.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum InvalidWeights {
    #[error("{field} {value}: must be a finite number, 0 or more")]
    Value { field: &'static str, value: f64 },
    #[error("all are 0: one must count")]
    Nothing,
}

/// What a kind of host does not do in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct BlockList {
    pub task: TaskBlockList,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TaskBlockList {
    /// Not downloaded by hosts of this kind.
    pub download: Blocked,
    /// Not given to others by hosts of this kind.
    pub upload: Blocked,
}

/// What fits any of these is blocked. At most 100 of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Blocked {
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub applications: Vec<String>,
    /// Regular expressions that may match anywhere in the URL, as the incumbent's do.
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub urls: Vec<String>,
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub tags: Vec<String>,
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub priorities: Vec<Priority>,
}

/// Patterns, names and priorities in one list of a rule.
pub const LIST_ENTRIES_MAX: usize = 100;

/// How a download is treated when nobody has the content yet, in the incumbent's numbers. 0: as usual. 1: forbidden.
/// 2: only what the cluster has. 3: the peer itself asks the origin. 4, 5, 6: a seed peer asks it, which is the usual way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = u8, minimum = 0, maximum = 6))]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("priority {0} is not a number from 0 to 6")]
pub struct InvalidPriority(u8);

/// How the downloads of an application rank.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ApplicationRule {
    pub name: String,
    pub priority: ApplicationPriority,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ApplicationPriority {
    /// Of what no URL rule fits.
    pub value: Priority,
    /// The first that fits decides. At most 100.
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub urls: Vec<UrlPriority>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UrlPriority {
    /// A regular expression that may match anywhere in the URL.
    pub regex: String,
    pub value: Priority,
}

// === impl Weights ===

impl Default for Weights {
    fn default() -> Self {
        Self { load: 0.6, idc: 0.2, location: 0.1, host_type: 0.1 }
    }
}

impl Weights {
    pub fn check(&self) -> Result<(), InvalidWeights> {
        let Self { load, idc, location, host_type } = *self;
        let all = [("load", load), ("idc", idc), ("location", location), ("host_type", host_type)];
        if let Some((field, value)) = all.into_iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            return Err(InvalidWeights::Value { field, value });
        }
        if all.iter().all(|(_, value)| *value == 0.0) { Err(InvalidWeights::Nothing) } else { Ok(()) }
    }
}

// === impl Blocked ===

impl Blocked {
    pub fn is_empty(&self) -> bool {
        let Self { applications, urls, tags, priorities } = self;
        applications.is_empty() && urls.is_empty() && tags.is_empty() && priorities.is_empty()
    }
}

// === impl Priority ===

impl Priority {
    pub const FORBIDDEN: Self = Self(1);
    pub const CACHED_ONLY: Self = Self(2);
    pub const NODE_ITSELF: Self = Self(3);

    /// For `skip_serializing_if`.
    pub fn is_usual(&self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<u8> for Priority {
    type Error = InvalidPriority;

    fn try_from(level: u8) -> Result<Self, InvalidPriority> {
        if level <= 6 { Ok(Self(level)) } else { Err(InvalidPriority(level)) }
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> u8 {
        priority.0
    }
}

impl std::fmt::Display for Priority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_finite_not_negative_and_not_all_0() {
        assert_eq!(Weights::default().check(), Ok(()));
        let of = |load: f64| Weights { load, idc: 0.0, location: 0.0, host_type: 0.0 }.check();
        assert_eq!(of(1e300), Ok(()));
        assert_eq!(of(0.0), Err(InvalidWeights::Nothing));
        assert_eq!(of(-0.5).unwrap_err().to_string(), "load -0.5: must be a finite number, 0 or more");
        assert!(of(f64::NAN).is_err() && of(f64::INFINITY).is_err());
    }

    #[test]
    fn a_priority_is_a_number_from_0_to_6() {
        assert_eq!(u8::from(Priority::try_from(6).unwrap()), 6);
        assert_eq!(Priority::try_from(7).unwrap_err().to_string(), "priority 7 is not a number from 0 to 6");
        assert!(Priority::default().is_usual() && !Priority::NODE_ITSELF.is_usual());
    }
}
