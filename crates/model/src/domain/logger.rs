//! Settings of `kind: logger`: where its files go, and how many there are.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::firewall::{AddressEntry, PortEntry, Protocol};

/// Settings of `kind: logger`, which writes what passes to pcapng files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoggerSettings {
    /// The folder of the files, an absolute path; it is made where it is not there. Only its owner can read the files.
    pub directory: PathBuf,
    /// Bytes that are kept of a packet, from its IP header on.
    #[serde(default = "whole")]
    pub snap_len: u32,
    /// When a new file begins.
    #[serde(default)]
    pub rotate: LogRotation,
    /// What is kept; the oldest files go first.
    #[serde(default)]
    pub keep: LogKeeping,
    /// Only flows that one of these means. None given: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<LogSelector>,
    /// Says that plaintext may lie in the files of an intrusive logger.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub danger_plaintext: bool,
}

/// When a new file begins: whichever comes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogRotation {
    /// Bytes of a file.
    pub bytes: u64,
    /// Seconds since the file began.
    pub seconds: u32,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogKeeping {
    /// Files, the one that is being written included.
    pub files: u32,
    /// Bytes of all files together.
    pub bytes: u64,
}

/// Flows. A condition that is not written always holds; the others hold for either end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogSelector {
    /// One end's address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressEntry>,
    /// One end's port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortEntry>,
    /// Protocols.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<Protocol>,
}

impl Default for LogRotation {
    fn default() -> LogRotation {
        LogRotation { bytes: 64 << 20, seconds: 3600 }
    }
}

impl Default for LogKeeping {
    fn default() -> LogKeeping {
        LogKeeping { files: 16, bytes: 1 << 30 }
    }
}

fn whole() -> u32 {
    65_535
}
