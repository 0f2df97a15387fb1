//! The data plane without I/O: packets, keys and time come in by call, batches and verdicts go out.

#![forbid(unsafe_code)]

mod admit;
pub mod attach;
pub mod batch;
pub mod counters;
mod decap;
pub mod ecn;
pub mod edge;
mod encap;
pub mod esp;
pub mod flow;
pub mod function;
mod guard;
pub mod hop;
pub mod keys;
pub mod labels;
pub mod limits;
pub mod liveness;
mod memory;
pub mod meter;
pub mod nsh;
mod originate;
mod outer;
pub mod paths;
mod prohibited;
pub mod replay;
mod reset;
pub mod sa;
pub mod sap;
mod served;
mod transport;
pub mod verdict;

pub use batch::{BATCH_PACKETS, Batch};
pub use function::{Action, Function, FunctionBatch};
pub use outer::{Form, Glance, glance};
pub use served::Slot;
pub use verdict::{DropReason, Neighbour, Side, Verdict};
