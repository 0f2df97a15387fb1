//! What a proof is bound to: one digest over nonce, key, name and host (`docs/evidence.md`, "Binding").
//!
//! ```text
//! "ringmail function binding/1"  then, each as u32 length (big endian) ‖ bytes:
//! kind ‖ nonce ‖ public key ‖ SPIFFE id ‖ host AK ‖ program path ‖ program SHA-256
//! ```
//!
//! The last two are empty where the hardware measures the program itself. The digest is SHA-256 of all that. An enclave or
//! machine puts it into its report data, padded with 32 zero bytes; a TPM quotes it as `extraData`.

use aws_lc_rs::digest::{SHA256, digest};

use super::evidence::{EvidenceKind, Program};

/// What a proof is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The kind of proof: what one kind signs is nothing to another.
    pub kind: EvidenceKind,
    /// What the verifier asked to be answered.
    pub nonce: &'a [u8],
    /// A DER SubjectPublicKeyInfo.
    pub public_key: &'a [u8],
    /// The SPIFFE id.
    pub spiffe_id: &'a str,
    /// A TPMT_PUBLIC, or a DER SubjectPublicKeyInfo of a host without a TPM.
    pub host_ak: &'a [u8],
    /// The program, where the host measures it.
    pub program: Option<&'a Program>,
}

impl Binding<'_> {
    /// The bytes that are hashed.
    pub fn encode(&self) -> Vec<u8> {
        let (path, sha256) = match self.program {
            Some(program) => (program.path.as_bytes(), &program.sha256[..]),
            None => (&[][..], &[][..]),
        };
        let mut bytes = DOMAIN.to_vec();
        for field in [
            self.kind.name().as_bytes(),
            self.nonce,
            self.public_key,
            self.spiffe_id.as_bytes(),
            self.host_ak,
            path,
            sha256,
        ] {
            // Evidence has no field of four gigabytes: `limits::EVIDENCE_BYTES`.
            let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
            bytes.extend(length.to_be_bytes());
            bytes.extend(field);
        }
        bytes
    }

    /// SHA-256 of them.
    pub fn digest(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &self.encode()).as_ref());
        bytes
    }

    /// What stands in the report of an enclave or machine: the digest and 32 zero bytes.
    pub fn report_data(&self) -> [u8; 64] {
        let mut data = [0; 64];
        data[..32].copy_from_slice(&self.digest());
        data
    }
}

/// Nothing else that a key of this project signs begins so.
const DOMAIN: &[u8] = b"ringmail function binding/1";
