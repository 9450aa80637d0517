//! What programs of this node call a task: kept with it, so that it is still theirs after a restart.

use serde::{Deserialize, Serialize};

/// A task that has one may be shown and given to the programs of this node. No secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// `None` of a content that was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// It was asked for with a credential. Its id, which nobody else can work out, is for whoever has that: lists leave it
    /// out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlisted: bool,
}

/// So that a line of the record holds it however it is escaped.
const URL_BYTES_MAX: usize = 8 * 1024;
const NAME_BYTES_MAX: usize = 1024;

// === impl Label ===

impl Label {
    pub(crate) fn is_sound(&self) -> bool {
        let within = |text: &Option<String>, max| text.as_ref().is_none_or(|text| text.len() <= max);
        within(&self.url, URL_BYTES_MAX)
            && within(&self.tag, NAME_BYTES_MAX)
            && within(&self.application, NAME_BYTES_MAX)
    }
}
