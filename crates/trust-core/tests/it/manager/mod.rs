//! The manager's core: standings, nonces, the log and its proofs.

mod harness;
mod log;
mod merkle;
mod policy;
mod recovery;
mod standing;
