//! What can go wrong around a session, and whose fault it is.

use std::io;

/// What this element was given to identify itself or others does not do: the trust plane's fault, or the operator's.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A root certificate of the trust bundle is none.
    #[error("a root certificate of the trust bundle is none")]
    Roots(#[source] rustls::Error),
    /// A revocation list of the trust bundle is none.
    #[error("a revocation list of the trust bundle is none")]
    Crl(#[source] webpki::Error),
    /// The element's certificate and key do not go together.
    #[error("the element's certificate and key cannot be used for TLS")]
    Identity(#[source] rustls::Error),
    /// The system has no random bytes.
    #[error("the system has no random bytes")]
    NoRandom,
    /// Two neighbours have one name or number.
    #[error("{0} is a neighbour twice")]
    NeighbourTwice(String),
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The neighbour could not be reached.
    #[error("the neighbour cannot be reached")]
    Unreachable(#[source] io::Error),
    /// The TLS handshake failed: its source says which side refused the other.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// It took too long.
    #[error("the neighbour did not answer in time")]
    TimedOut,
    /// TLS came to something else than the protocol asks for.
    #[error("the peer {0}")]
    NotSap(&'static str),
}
