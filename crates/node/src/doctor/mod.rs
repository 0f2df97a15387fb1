//! What this machine can and cannot do for ringmail, before anything fails: facts are found out by trying, and judged apart.

mod facts;
mod judge;
mod probe;

use schemars::JsonSchema;
use serde::Serialize;

pub use facts::{Clock, Facts, Program};
pub use judge::judge;
pub use probe::probe;

/// How it is with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Ringmail works without it, but less well.
    Degraded,
    /// Ringmail does not work without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// A stable name, such as `udp-gso`.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What it means for ringmail.
    pub means: &'static str,
    /// What to install or set; empty where nothing is to be done.
    pub mend: String,
}
