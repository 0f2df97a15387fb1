//! What a function sends to be appraised (`ringmail.function-evidence/1`, `docs/evidence.md`).

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::binding::Binding;
use super::bytes::Bytes;
use crate::limits::{EVIDENCE_BYTES, NONCE_MAX_BYTES, NONCE_MIN_BYTES, SPIFFE_ID_BYTES};

/// The `schema` of evidence.
pub const EVIDENCE_SCHEMA: &str = "ringmail.function-evidence/1";

/// Evidence of a function: who it wants to be, which key it holds, on which host, and the proof of all that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionEvidence {
    /// `ringmail.function-evidence/1`.
    pub schema: String,
    /// Who it wants to be: the SPIFFE id that its certificate shall carry.
    pub spiffe_id: String,
    /// The public key that was generated where the function runs: a DER SubjectPublicKeyInfo.
    pub public_key: Bytes,
    /// The attestation key of the host that it runs on: its TPMT_PUBLIC, as in the host's own evidence; of a host without a
    /// TPM a DER SubjectPublicKeyInfo.
    pub host_ak: Bytes,
    /// What the verifier asked to be answered.
    pub nonce: Bytes,
    /// What stands behind the above.
    pub proof: Proof,
}

/// What stands behind a claim, by kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Proof {
    /// An enclave of Intel SGX.
    Sgx(IntelQuote),
    /// A confidential machine of Intel TDX.
    Tdx(IntelQuote),
    /// A confidential machine of AMD SEV-SNP.
    Snp(SnpReport),
    /// A process whose file the host's kernel measured, on a host with a TPM.
    Tpm(HostSigned),
    /// A process that nothing protects from its host.
    Software(HostSigned),
}

/// A quote of Intel SGX or TDX, and what it takes to verify it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntelQuote {
    /// The quote: version 3 for SGX, 4 or 5 for TDX.
    pub quote: Bytes,
    /// What Intel says of the platform; without it, what the verifier has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collateral: Option<IntelCollateral>,
}

/// What Intel's provisioning certification service says of a platform, all of it signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntelCollateral {
    /// The root's revocation list, DER.
    pub root_ca_crl: Bytes,
    /// The revocation list of the PCK certificates' issuer, DER.
    pub pck_crl: Bytes,
    /// TCB information: the JSON text to the byte, as signed.
    pub tcb_info: String,
    /// Its signature: r ‖ s, 64 bytes.
    pub tcb_info_signature: Bytes,
    /// Who signed it, and the root: PEM.
    pub tcb_info_issuer_chain: String,
    /// The quoting enclave's identity: the JSON text to the byte, as signed.
    pub qe_identity: String,
    /// Its signature: r ‖ s, 64 bytes.
    pub qe_identity_signature: Bytes,
    /// Who signed it, and the root: PEM.
    pub qe_identity_issuer_chain: String,
}

/// A report of AMD SEV-SNP, and what it takes to verify it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnpReport {
    /// The report, 1184 bytes (AMD 56860, table "ATTESTATION_REPORT").
    pub report: Bytes,
    /// The certificate of the key that signed it, a VCEK or a VLEK: DER.
    pub certificate: Bytes,
    /// What issued that certificate, where it is not what issues those of chips (ASK): a cloud's (ASVK), DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate: Option<Bytes>,
    /// The revocation list of AMD's root for the product: DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<Bytes>,
}

/// A binding that the host's attestation key signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostSigned {
    /// The program that holds the key.
    pub program: Program,
    /// A TPMS_ATTEST: a quote of no registers whose `extraData` is the binding's digest. Without it, the key signed the
    /// binding itself (a host without a TPM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attest: Option<Bytes>,
    /// The signature: with `attest` a TPMT_SIGNATURE over it, else ECDSA P-256 with SHA-256 in DER, or Ed25519.
    pub signature: Bytes,
}

/// A program, as the host's kernel measures it (IMA).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its path, as in the measurement list.
    pub path: String,
    /// SHA-256 of its file.
    pub sha256: Bytes,
}

/// The kinds of proof.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceKind {
    /// An enclave of Intel SGX.
    Sgx,
    /// A confidential machine of Intel TDX.
    Tdx,
    /// A confidential machine of AMD SEV-SNP.
    Snp,
    /// A process whose file the host's kernel measured.
    Tpm,
    /// A process that nothing protects from its host.
    Software,
}

/// Why a text is no evidence; the fault of who sent it.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// Too long.
    #[error("it has {0} bytes, more than {EVIDENCE_BYTES}")]
    TooLong(usize),
    /// Not the JSON of this schema.
    #[error("it is no `{EVIDENCE_SCHEMA}`")]
    Json(#[from] serde_json::Error),
    /// Another schema.
    #[error("its schema is `{0}`, not `{EVIDENCE_SCHEMA}`")]
    Schema(String),
    /// A field has a length that it cannot have.
    #[error("its {field} has {found} bytes, and must have {must}")]
    Length {
        /// Which.
        field: &'static str,
        /// How long it is.
        found: usize,
        /// How long it must be.
        must: String,
    },
    /// Not a SPIFFE id.
    #[error("its spiffe_id is no SPIFFE id with a path")]
    SpiffeId,
}

impl FunctionEvidence {
    /// Reads evidence, and looks at its form only.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn from_json(text: &[u8]) -> Result<FunctionEvidence, EvidenceError> {
        if text.len() > EVIDENCE_BYTES {
            return Err(EvidenceError::TooLong(text.len()));
        }
        let evidence: FunctionEvidence = serde_json::from_slice(text)?;
        evidence.well_formed()?;
        Ok(evidence)
    }

    /// The same as text.
    pub fn to_json(&self) -> String {
        // Nothing in it can fail: no maps, no floats.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// What the proof has to be bound to.
    pub fn binding(&self) -> Binding<'_> {
        let program = match &self.proof {
            Proof::Tpm(signed) | Proof::Software(signed) => Some(&signed.program),
            _ => None,
        };
        Binding {
            kind: self.kind(),
            nonce: &self.nonce,
            public_key: &self.public_key,
            spiffe_id: &self.spiffe_id,
            host_ak: &self.host_ak,
            program,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> EvidenceKind {
        match self.proof {
            Proof::Sgx(_) => EvidenceKind::Sgx,
            Proof::Tdx(_) => EvidenceKind::Tdx,
            Proof::Snp(_) => EvidenceKind::Snp,
            Proof::Tpm(_) => EvidenceKind::Tpm,
            Proof::Software(_) => EvidenceKind::Software,
        }
    }

    fn well_formed(&self) -> Result<(), EvidenceError> {
        if self.schema != EVIDENCE_SCHEMA {
            let shown = self.schema.chars().take(64).collect();
            return Err(EvidenceError::Schema(shown));
        }
        let length = |field, found: usize, least: usize, most: usize| {
            let must = format!("{least} to {most}");
            (least..=most).contains(&found).then_some(()).ok_or(EvidenceError::Length {
                field,
                found,
                must,
            })
        };
        length("nonce", self.nonce.len(), NONCE_MIN_BYTES, NONCE_MAX_BYTES)?;
        length("spiffe_id", self.spiffe_id.len(), 1, SPIFFE_ID_BYTES)?;
        if let Proof::Tpm(signed) | Proof::Software(signed) = &self.proof {
            length("program.sha256", signed.program.sha256.len(), 32, 32)?;
            length("program.path", signed.program.path.len(), 1, 4096)?;
        }
        let path = self.spiffe_id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        let whole = path.is_some_and(|(domain, path)| plain(domain) && plain(path));
        whole.then_some(()).ok_or(EvidenceError::SpiffeId)
    }
}

impl EvidenceKind {
    /// The name that files and logs have.
    pub fn name(self) -> &'static str {
        match self {
            EvidenceKind::Sgx => "sgx",
            EvidenceKind::Tdx => "tdx",
            EvidenceKind::Snp => "snp",
            EvidenceKind::Tpm => "tpm",
            EvidenceKind::Software => "software",
        }
    }

    /// Whether hardware keeps the host itself from looking inside.
    pub fn keeps_the_host_out(self) -> bool {
        matches!(self, EvidenceKind::Sgx | EvidenceKind::Tdx | EvidenceKind::Snp)
    }
}

/// The JSON Schema of evidence.
pub fn evidence_schema() -> Schema {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<FunctionEvidence>();
    schema.insert("$id".into(), EVIDENCE_SCHEMA.into());
    schema.insert("title".into(), EVIDENCE_SCHEMA.into());
    schema
}
