//! What a host sends to be appraised, `ringmail.host-evidence/1`, and what it answers to.

use serde::{Deserialize, Serialize};

use super::encoding::{Base64, Hex};
use super::tpm::Hash;
use std::collections::BTreeMap;

/// The name of the document's form.
pub const SCHEMA: &str = "ringmail.host-evidence/1";

/// A quote of the host's TPM and the part of the kernel's measurement list that the verifier has not seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEvidence {
    /// [`SCHEMA`].
    pub schema: String,
    /// The attestation key's public area, `TPMT_PUBLIC`.
    pub ak_public: Base64,
    /// What the TPM signed, `TPMS_ATTEST`.
    pub quote: Base64,
    /// The attestation key's signature over it, `TPMT_SIGNATURE`.
    pub signature: Base64,
    /// The values of the quoted registers, by bank and register.
    pub pcrs: BTreeMap<Hash, BTreeMap<u8, Hex>>,
    /// The measurement list, read after the quote was made.
    pub ima: ImaList,
}

/// A part of the kernel's measurement list, to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImaList {
    /// How many entries of this boot come before the first one here.
    pub first_entry: u64,
    /// The entries.
    pub entries: ImaEntries,
}

/// Entries in one of the kernel's two forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImaEntries {
    /// As `ascii_runtime_measurements` has them.
    Text(String),
    /// As `binary_runtime_measurements` has them.
    Binary(Base64),
}

/// What the verifier asked, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// Random bytes that nobody could know before, 16 to 64.
    pub nonce: Base64,
    /// When it was given out, in milliseconds since 1970: the quote was made later than that.
    pub issued_unix_ms: u64,
}

impl HostEvidence {
    /// Reads the document.
    ///
    /// # Errors
    /// What is wrong with it, with line and column.
    pub fn from_json(text: &[u8]) -> Result<HostEvidence, serde_json::Error> {
        let evidence: HostEvidence = serde_json::from_slice(text)?;
        if evidence.schema != SCHEMA {
            let found = format!("the schema is `{}`, and it should be `{SCHEMA}`", evidence.schema);
            return Err(serde::de::Error::custom(found));
        }
        Ok(evidence)
    }

    /// Writes the document.
    ///
    /// # Errors
    /// None that a value of this type leads to.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}
