//! What is kept of the way that packets came, for auditors.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is kept of the way that packets came (profiles with a Network Service Header).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Proofs {
    /// Whether elements keep and sign roots of what they passed, and files of that are written.
    pub summaries: bool,
    /// Seconds from one file to the next.
    pub summary_every_s: u32,
    /// Files that are kept; the oldest goes.
    pub summaries_kept: u32,
    /// Where the files go; `summaries` in the state directory, or in that of the authority, if nothing is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
}

impl Default for Proofs {
    fn default() -> Proofs {
        Proofs { summaries: true, summary_every_s: 3_600, summaries_kept: 720, directory: None }
    }
}
