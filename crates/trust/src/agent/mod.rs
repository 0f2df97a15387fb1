//! The attester's side (RFC 9334): what runs on a host that is to be trusted, speaks to its TPM and reads the kernel's list.
//!
//! Blocking, and without a clock: who calls decides when.

pub mod host;
pub mod ima;
pub mod tpm;

pub use host::{AgentError, HostAgent};
pub use ima::{ImaFile, ImaForm};
pub use tpm::{Tpm, TpmAddress, TpmError};
