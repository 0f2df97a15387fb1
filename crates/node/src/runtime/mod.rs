//! What a running domain leaves on the machine, written down so that it can be taken away again.
//!
//! A domain holds a directory (`/run/ringmail/DOMAIN` as root, below `$XDG_RUNTIME_DIR` or `/tmp` otherwise), locked
//! while it runs. The record in it names what was made: namespaces, processes, files. Whoever holds the lock and finds
//! a record knows that its writer crashed, and removes what the record says, and only that.

mod claim;
mod enter;
mod error;
mod place;
mod process;
mod record;

pub use claim::{Claim, Leftovers};
pub use enter::EnterError;
pub use error::RuntimeError;
pub use place::Place;
pub use process::ProcessId;
pub use record::{HeldNamespace, HeldProcess, Record};
