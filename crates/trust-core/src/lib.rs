//! Appraisal of evidence and the rules of trust (RFC 9334): who may hold an identity, and until when.
//!
//! A core: evidence, time and random bytes come in by call; no clock, socket, disk or environment is read here.
//!
//! - [`host`]: what a host shows: a TPM's quote and the kernel's measurement list, against a runtime policy.
//! - [`function`]: what a function shows: an enclave's quote, against reference values.
//! - [`manager`]: what follows from verdicts: states of hosts and functions, deadlines, revocation, the audit log.

#![forbid(unsafe_code)]

pub mod function;
pub mod host;
pub mod limits;
pub mod manager;
