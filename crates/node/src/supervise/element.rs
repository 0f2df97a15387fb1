//! What is to be started: an element's name, its namespace, and the program or work that it consists of.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use crate::control::ControlChannel;
use crate::topology::Netns;

/// An element that is to be started.
#[derive(Debug)]
pub struct ElementSpec {
    /// Unique among the elements of a supervisor.
    pub name: String,
    /// Where it lives.
    pub netns: Arc<Netns>,
    /// What it consists of.
    pub body: Body,
}

/// What an element consists of.
pub enum Body {
    /// A process.
    Process(Program),
    /// A thread of this process, with a runtime of its own.
    Thread(ThreadBody),
}

/// The work of an element that is a thread. It runs inside the namespace; the threads that it starts do, too.
pub type ThreadBody = Box<
    dyn FnOnce(ControlChannel) -> LocalBoxFuture<'static, Result<(), Box<dyn Error + Send + Sync>>>
        + Send,
>;

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments; the number of the control channel's descriptor is put behind them.
    pub args: Vec<OsString>,
    /// Added to the parent's environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Process(program) => program.fmt(f),
            Body::Thread(_) => f.write_str("Thread"),
        }
    }
}
