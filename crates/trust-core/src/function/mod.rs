//! Function evidence: quotes and reports of enclaves and confidential machines, appraised (RFC 9334; `docs/evidence.md`).
//!
//! ```text
//! FunctionEvidence ─┬─ signatures up to the vendor's root ──► Claims ─┐
//!                   └─ nonce, key, name, host AK ──► Binding ─────────┼─ FunctionPolicy ──► FunctionVerdict ──► Ear
//!                                              what the host enrolled ┘
//! ```

mod anchors;
mod appraise;
mod binding;
mod bytes;
mod claims;
mod ear;
mod evidence;
mod intel;
mod policy;
mod reference;
mod signed;
mod snp;
mod verdict;

pub use anchors::{AmdAnchor, Anchors};
pub use appraise::{Expected, MeasuredPrograms, Pairing, appraise};
pub use binding::Binding;
pub use bytes::Bytes;
pub use claims::{
    Claims, IntelPlatform, PlatformId, ProgramClaims, SgxClaims, SnpClaims, SnpKey, SnpTcb,
    TcbStatus, TdxClaims,
};
pub use ear::{
    Appraisal, EAR_PROFILE, Ear, EarAlgorithm, EarContext, EarError, KeyAttestation, SUBMODULE,
    Tier, Unsigned, Vector, VerifierClaims, VerifierId,
};
pub use evidence::{
    EVIDENCE_SCHEMA, EvidenceError, EvidenceKind, FunctionEvidence, HostSigned, IntelCollateral,
    IntelQuote, Program, Proof, SnpReport, evidence_schema,
};
pub use intel::CollateralCache;
pub use policy::{
    AmdCrl, CollateralPolicy, FunctionPolicy, FunctionReference, POLICY_SCHEMA, ProgramReference,
    SgxReference, SnpReference, TdxReference, policy_schema,
};
pub use verdict::{
    Check, CheckName, CheckOutcome, FunctionVerdict, Protection, SOFTWARE_WARNING, Whose,
};
