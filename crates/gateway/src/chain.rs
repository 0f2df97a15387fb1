//! The seam to the data plane: whoever owns the chains opens the gateway's connections to services.
//!
//! The implementer picks the inner source port, installs the 5-tuple → path entry and only then
//! connects; the entry must outlive TIME_WAIT (RFC 9293 section 3.4.2). What it wants to hold for
//! as long as the connection lives goes into the stream's guard.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;

use ringmail_model::{PathId, PathVersion};
use tokio::net::TcpStream;

/// Opens connections to services through the chains.
pub trait Chain: Send + Sync + 'static {
    /// A new connection to `request.service` whose packets take `request.path`.
    ///
    /// The gateway bounds the time that this may take, and drops the future when it is over.
    fn open(
        &self,
        request: ChainRequest<'_>,
    ) -> impl Future<Output = Result<ChainStream, ChainError>> + Send;
}

/// For whom and whereto a connection is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainRequest<'a> {
    /// The forward path that the rule names.
    pub path: PathId,
    /// The version of the path set that was in force when the request was allowed.
    pub version: PathVersion,
    /// The service that the rule names.
    pub service: &'a str,
    /// The rule that allowed the request.
    pub rule: &'a str,
    /// The identity of the client, from its certificate.
    pub client: &'a str,
}

/// A connection to a service, and what must live exactly as long.
pub struct ChainStream {
    pub(crate) tcp: TcpStream,
    pub(crate) guard: Box<dyn Any + Send + Sync>,
}

impl ChainStream {
    /// `guard` is dropped right after the connection is closed.
    pub fn new(tcp: TcpStream, guard: impl Send + Sync + 'static) -> ChainStream {
        ChainStream { tcp, guard: Box::new(guard) }
    }
}

impl fmt::Debug for ChainStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainStream").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The chain's fault, and likely to pass: keys are not agreed, or an element is away.
    #[error("path {path} is not ready: {reason}")]
    NotReady {
        /// The path.
        path: PathId,
        /// What is missing.
        reason: String,
    },
    /// The configuration's fault: no such path, or no such service on it.
    #[error("path {path} does not lead to service {service:?}")]
    Unknown {
        /// The path.
        path: PathId,
        /// The service.
        service: String,
    },
    /// Ours: every inner source port towards the service is taken.
    #[error("no inner source port is free towards service {service:?}")]
    NoPort {
        /// The service.
        service: String,
    },
    /// The service's fault: it refused the connection or could not be reached.
    #[error("cannot connect to service {service:?}")]
    Connect {
        /// The service.
        service: String,
        /// What the system said.
        source: io::Error,
    },
}
