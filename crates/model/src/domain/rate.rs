//! How often one client may use a rule.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A rate, kept for each client identity by itself: a bucket of `burst` tokens that fills by `most` in each `per`. Each
/// request takes one, on a listener of kind `tls` each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many.
    pub most: u32,
    /// In which time.
    #[serde(default)]
    pub per: Per,
    /// How many at once, after a time without any. Without it, `most`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// A time over which is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// A second.
    #[default]
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Rate {
    /// The size of the bucket; never 0.
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(self.most).max(1)
    }
}

impl Per {
    /// Its length.
    pub const fn seconds(self) -> u32 {
        match self {
            Per::Second => 1,
            Per::Minute => 60,
            Per::Hour => 3_600,
        }
    }
}
