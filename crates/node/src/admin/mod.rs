//! The admin interface of a running domain: a Unix socket in its runtime directory, one JSON object a line each way.
//!
//! The directory lets nobody but its user in, and the server looks at the peer's credentials (SO_PEERCRED, unix(7)) as
//! well: whoever reaches the socket otherwise gets nothing.

mod client;
mod distribution;
mod exposure;
mod protocol;
mod server;

pub use client::{AdminError, Client};
pub use distribution::{Distribution, RefusedVersion, VersionReport};
pub(crate) use exposure::Exposure;
pub use protocol::{AdminReply, AdminRequest, DomainStatus, ElementRekeyed, ElementReport};
pub use server::{Backend, Reloading, Server, TapWish};

/// The socket's name in the runtime directory.
pub const SOCKET_FILE: &str = "admin.sock";
