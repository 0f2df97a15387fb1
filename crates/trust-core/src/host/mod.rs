//! Host evidence: a quote of a TPM 2.0 and the measurement list of the kernel (IMA), against reference values (RFC 9334).
//!
//! ```text
//!  verifier                                   host
//!    │ Challenge: nonce, next entry ───────────► │
//!    │                        TPM2_Quote(nonce)  │  first,
//!    │                        the list from there │  then: it may have grown
//!    │ ◄───────────────────────── HostEvidence   │
//!  appraise(evidence, round, reference, state)
//!    → HostVerdict: trusted, or each failed check by name
//!    → HostState: what the next round begins from
//! ```
//!
//! Before that, [`enrolment`] binds the attestation key to the endorsement key that the TPM's maker certified.

pub mod appraise;
pub mod encoding;
pub mod enrolment;
pub mod evidence;
pub mod ima;
pub mod policy;
pub mod reference;
pub mod simulated;
pub mod state;
pub mod tpm;
pub mod verdict;

pub use appraise::{Appraisal, Round, appraise};
pub use evidence::{Challenge, HostEvidence, ImaEntries, ImaList};
pub use reference::{HostReference, HostReferenceFile, Violations};
pub use state::HostState;
pub use verdict::{Check, FailedCheck, Fault, HostVerdict};
