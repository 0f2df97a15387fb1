//! What follows from verdicts: who may hold an identity, and until when (RFC 9334's relying party, and the policy of it).
//!
//! ```text
//! verdict ─┐                                  ┌─► Effect::Log      what must be durable before any answer
//! word    ─┼─► Manager::handle_*(now, …) ─────┼─► Effect::Keep…    what to remember over a restart
//! timeout ─┘       poll_timeout, poll_effect  └─► Effect::Revoked, Withdraw, Readmit, CloseLeases
//! ```
//!
//! - [`Manager`]: the states of hosts and functions, and what a verdict, silence or an operator's word does to them.
//! - [`audit`]: the log: a hash chain of entries in one canonical encoding.
//! - [`merkle`]: the same entries in a hash tree (RFC 9162), for proofs that fit into an answer.
//! - [`head`]: the signed head that every peer keeps, and the check by which it notices a database that was rolled back.

pub mod audit;
mod bytes;
mod effect;
mod function;
pub mod head;
mod host;
mod issue;
mod judge;
pub mod lease;
mod machine;
pub mod merkle;
mod nonces;
mod policy;
mod subject;
mod word;

pub use self::effect::{Effect, FunctionRecord, HostRecord};
pub use self::function::FunctionView;
pub use self::head::{Head, SignedHead};
pub use self::host::HostView;
pub use self::issue::{Grant, Leased};
pub use self::judge::{Judged, Verdict};
pub use self::machine::{Counts, Manager, Refusal};
pub use self::merkle::Hash;
pub use self::nonces::{Nonce, Taken};
pub use self::policy::{Placement, Policy, PolicyError, Recovery, Stages, StagesS};
pub use self::subject::{Kind, Serial, Standing, Subject};
pub use self::word::Word;

use std::time::Instant;

/// The moment of a call: a clock that never jumps, and the wall clock that certificates name.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For all deadlines.
    pub instant: Instant,
    /// Milliseconds since 1970, for what is written down.
    pub unix_ms: u64,
}

impl Now {
    /// The wall clock in seconds.
    pub const fn unix_s(&self) -> u64 {
        self.unix_ms / 1000
    }
}
