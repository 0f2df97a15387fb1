//! A host's agent with a TPM of its own: `swtpm` from Debian, on a Unix socket in a directory of the test's own, with an endorsement
//! key that a CA of its own certified.
//!
//! ```text
//!  verifier (trust-core) ◄── HostAgent ──► swtpm
//!                               └── list.txt, of real files
//! ```

mod enrolment;
mod keys;
mod list;
mod manager;
mod rounds;
mod swtpm;
