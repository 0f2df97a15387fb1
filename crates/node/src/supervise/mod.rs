//! Elements as child processes (or threads): started in their namespaces, spoken to, watched, and stopped in order.
//!
//! A process dies with its parent (PR_SET_PDEATHSIG), has a process group of its own, so that ctrl-C reaches the parent
//! alone, and inherits one descriptor, the control channel. Its standard error goes on to the parent's, each line with
//! the element's name in front.

mod element;
mod error;
mod exit;
mod handle;
mod spawn;
mod stderr;
mod supervisor;

pub use element::{Body, ElementSpec, Program, ThreadBody};
pub use error::{RequestError, SpawnError, StartError};
pub use exit::{Exit, How};
pub use handle::{ElementState, Handle};
pub use stderr::LineSink;
pub use supervisor::{Conductor, Event, Supervisor};
