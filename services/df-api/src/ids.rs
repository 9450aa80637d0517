//! Ids: newtypes over strings that parse or fail, so that no handler and no path on disk ever meets a strange one. Usual
//! names of hosts lie in the id itself: a scheduler compares and copies ids more than anything else.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// A content identity: 64 (SHA-256) or 128 (SHA-512) lower-case hex digits. See [`crate::task::task_id`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^([0-9a-f]{64}|[0-9a-f]{128})$"))]
#[serde(try_from = "CompactString", into = "CompactString")]
pub struct TaskId(CompactString);

/// A machine's dfdaemon, stable over restarts: `[A-Za-z0-9._:-]{1,253}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9._:-]{1,253}$"))]
#[serde(try_from = "CompactString", into = "CompactString")]
pub struct HostId(CompactString);

/// A host's part in one task. A host has one peer per task, so both are spelled alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9._:-]{1,253}$"))]
#[serde(try_from = "CompactString", into = "CompactString")]
pub struct PeerId(CompactString);

/// The value and what it should have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {value:?} is not {rule}")]
pub struct InvalidId {
    kind: &'static str,
    value: String,
    rule: &'static str,
}

const TASK_RULE: &str = "64 or 128 lower-case hex digits";
const NAME_RULE: &str = "1 to 253 of A-Z a-z 0-9 . _ : -";

fn is_task_id(value: &str) -> bool {
    matches!(value.len(), 64 | 128) && value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_name(value: &str) -> bool {
    (1..=253).contains(&value.len())
        && value != "."
        && value != ".."
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'))
}

macro_rules! id {
    ($name:ident, $kind:literal, $check:ident, $rule:ident) => {
        // === impl $name ===
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(value: &str) -> Result<Self, InvalidId> {
                Self::try_from(CompactString::from(value))
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> {
                Self::try_from(CompactString::from(value))
            }
        }
        impl TryFrom<CompactString> for $name {
            type Error = InvalidId;
            fn try_from(value: CompactString) -> Result<Self, InvalidId> {
                match $check(&value) {
                    true => Ok(Self(value)),
                    false => Err(InvalidId { kind: $kind, value: value.chars().take(300).collect(), rule: $rule }),
                }
            }
        }
        impl From<$name> for CompactString {
            fn from(id: $name) -> CompactString {
                id.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

impl HostId {
    /// The id of its part in any task.
    pub fn peer(&self) -> PeerId {
        PeerId(self.0.clone())
    }

    /// A host's id is its name, its address and its port: `node-1-10.0.0.7-65002`.
    pub fn of(hostname: &str, address: SocketAddr) -> Result<Self, InvalidId> {
        Self::try_from(format!("{hostname}-{}-{}", address.ip(), address.port()))
    }

    /// The id of a host of this name, at whatever address.
    pub fn is_of(&self, hostname: &str) -> bool {
        let address = self.as_str().strip_prefix(hostname).and_then(|rest| rest.strip_prefix('-')?.rsplit_once('-'));
        address.is_some_and(|(ip, port)| ip.parse::<IpAddr>().is_ok() && port.parse::<u16>().is_ok())
    }
}

impl PeerId {
    /// The host that has this part.
    pub fn host(&self) -> HostId {
        HostId(self.0.clone())
    }
}

id!(TaskId, "task id", is_task_id, TASK_RULE);
id!(HostId, "host id", is_name, NAME_RULE);
id!(PeerId, "peer id", is_name, NAME_RULE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_is_hex_of_a_known_length() {
        assert!("ab".repeat(32).parse::<TaskId>().is_ok());
        for wrong in ["", "ab", &"AB".repeat(32), &"zz".repeat(32), "../../../etc/passwd"] {
            let error = wrong.parse::<TaskId>().unwrap_err().to_string();
            assert!(error.contains("task id"), "{error}");
        }
    }

    #[test]
    fn a_host_id_tells_whose_it_is() {
        for address in ["10.0.0.7:65002", "[fd00::7]:65002"] {
            let id = HostId::of("node-1", address.parse().unwrap()).unwrap();
            assert!(id.is_of("node-1"), "{id}");
            for other in ["node", "node-1-10.0.0.7", "node-1-", "node-12", ""] {
                assert!(!id.is_of(other), "{id} {other:?}");
            }
        }
        assert!(!"node-1".parse::<HostId>().unwrap().is_of("node-1"));
        assert!(HostId::of("no/de", "10.0.0.7:1".parse().unwrap()).is_err());
    }

    #[test]
    fn a_host_id_never_leaves_its_folder() {
        assert!("node-1.rack:2".parse::<HostId>().is_ok());
        for wrong in ["", ".", "..", "a/b", "a b", &"x".repeat(254)] {
            assert!(wrong.parse::<HostId>().is_err(), "{wrong}");
        }
    }
}
