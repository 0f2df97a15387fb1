//! Why a domain does not run.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::runtime::RuntimeError;
use crate::supervise::{SpawnError, StartError};
use crate::topology::TopologyError;

/// A domain could not be started, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// Its place on the machine.
    #[error("the domain cannot take its place on this machine")]
    Runtime(#[from] RuntimeError),
    /// Its network.
    #[error("the domain's network cannot be made")]
    Topology(#[from] TopologyError),
    /// The plan's fault.
    #[error("element {element} is to live in {namespace}, which is not described")]
    NoNamespace {
        /// Which.
        element: String,
        /// What is missing.
        namespace: String,
    },
    /// The kernel has no thread left.
    #[error("elements cannot be started")]
    Supervisor(#[source] io::Error),
    /// The admin socket.
    #[error("the admin socket {path} cannot be made")]
    Admin {
        /// Where.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The address of the metrics.
    #[error("metrics cannot be served at {address}")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// The kernel's word.
        source: io::Error,
    },
    /// An element does not start.
    #[error("an element cannot be started")]
    Spawn(#[from] SpawnError),
    /// An element did not become ready, or ended by itself.
    #[error("an element does not serve")]
    Start(#[from] StartError),
}

impl UpError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            UpError::Runtime(error) => error.hint(),
            UpError::Topology(error) => error.hint().map(str::to_owned),
            UpError::Start(_) => Some("its log above says more; -v shows all of it".to_owned()),
            _ => None,
        }
    }
}
