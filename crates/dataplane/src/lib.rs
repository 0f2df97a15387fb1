//! The data plane without I/O: packets, keys and time come in by call, batches and verdicts go out.

pub mod batch;
pub mod esp;
pub mod function;
pub mod keys;
pub mod limits;
pub mod replay;
pub mod sa;
pub mod verdict;

pub use batch::{BATCH_PACKETS, Batch};
pub use function::{Action, Function, FunctionBatch};
pub use verdict::{DropReason, Neighbour, Verdict};
