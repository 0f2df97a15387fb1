//! Services: what the domain protects.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{HostPattern, Name};

/// Something that can be reached through a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The name that paths use.
    pub name: Name,
    /// Where it listens, such as 10.79.0.10:80; several are tried in order.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<SocketAddr>,
    /// The authorities (Host, :authority) that it answers to. A rule that leads here matches no other host.
    pub server_names: Vec<HostPattern>,
    /// Serves the built-in demonstration site instead of a server of yours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
}

/// The built-in demonstration site: one page of many files, and one large file at `/download`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Site {
    /// Files of the page.
    pub files: u16,
    /// Bytes of these files together.
    pub total_bytes: u32,
    /// Bytes of `/download`.
    pub download_bytes: u64,
}

/// The paper's site: 9 files, 1.2 MB (section VII.A).
impl Default for Site {
    fn default() -> Site {
        Site { files: 9, total_bytes: 1_200_000, download_bytes: 256 << 20 }
    }
}
