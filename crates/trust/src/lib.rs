//! The embedded certification authority and the seam to the trust plane.
//!
//! [`Authority`] is what the rest of ringmail asks; [`EmbeddedCa`] answers from a directory. Two keys sign: the CA's key
//! (ECDSA P-256) signs certificates and revocation lists, the path-signing key (Ed25519) path sets and leases.

#![forbid(unsafe_code)]

pub mod agent;
pub mod authority;
pub mod ca;
pub mod error;
pub mod identity;
pub mod limits;
pub mod manager;
mod p12;
mod password;
pub mod pem;
mod secret;

pub use authority::Authority;
pub use ca::{
    Anchor, Backup, EmbeddedCa, Issued, Kind, Locked, Record, Request, Rotation, Serial, Stage,
    Store, SubjectName, Token,
};
pub use error::AuthorityError;
pub use identity::{Certificates, ElementKey, Identity, TrustBundle};
pub use password::Password;
pub use secret::PrivateKey;
