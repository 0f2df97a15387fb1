//! Enrolment: an attestation key becomes a host's, bound to the endorsement key that the TPM's maker certified.
//!
//! ```text
//!  host                                              verifier
//!    │ EnrolmentRequest: EK, its certificate, AK ──────► │  chain to a maker's root, attributes of both keys
//!    │ ◄──────────────────────── Credential: a secret    │  that only the TPM of this EK opens for this AK
//!  TPM2_ActivateCredential                               │
//!    │ the secret ─────────────────────────────────────► │  Enrolled: the AK's name, the EK's fingerprint
//! ```

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::appraise::check_attributes;
use super::encoding::Base64;
use super::tpm::credential::{Credential, CredentialError, make_credential};
use super::tpm::ek::{EkError, EkFingerprint, EkRoots, check_certificate};
use super::tpm::{Public, TpmName, WireError};

/// The name of the document's form.
pub const SCHEMA: &str = "ringmail.host-enrolment/1";

/// What a host sends first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRequest {
    /// [`SCHEMA`].
    pub schema: String,
    /// The endorsement key's public area, `TPMT_PUBLIC`.
    pub ek_public: Base64,
    /// Its certificate, DER.
    pub ek_certificate: Base64,
    /// Certificates between it and the maker's root, DER.
    #[serde(default)]
    pub ek_intermediates: Vec<Base64>,
    /// The attestation key's public area, `TPMT_PUBLIC`.
    pub ak_public: Base64,
}

/// Why a host is not enrolled. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolmentError {
    /// The request is of another form.
    #[error("the schema is `{0}`, and it should be `{SCHEMA}`")]
    Schema(String),
    /// A key cannot be read.
    #[error("the {key} key cannot be read")]
    Key {
        /// Which: `endorsement` or `attestation`.
        key: &'static str,
        /// What is wrong with it.
        source: WireError,
    },
    /// The endorsement key is not one that a maker vouches for.
    #[error("the endorsement key is not taken")]
    Ek(#[source] EkError),
    /// The attestation key could sign anything, or leave its TPM.
    #[error("{0}")]
    AkRestricted(String),
    /// No secret can be enclosed for the endorsement key.
    #[error("no secret can be enclosed for the endorsement key")]
    Credential(#[source] CredentialError),
    /// The answer is not the secret: the attestation key is not in the TPM of the endorsement key.
    #[error("the answer is not the secret that was enclosed")]
    Answer,
}

impl EnrolmentError {
    /// A name that stays, as those of checks do.
    pub fn name(&self) -> &'static str {
        match self {
            EnrolmentError::Schema(_) => "enrolment-form",
            EnrolmentError::Key { .. } => "enrolment-key",
            EnrolmentError::Ek(EkError::OtherKey) => "ek-key",
            EnrolmentError::Ek(_) => "ek-certificate",
            EnrolmentError::AkRestricted(_) => "ak-restricted",
            EnrolmentError::Credential(_) => "ek-attributes",
            EnrolmentError::Answer => "credential-answer",
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            EnrolmentError::Schema(_) | EnrolmentError::Key { .. } => {
                "enrol with an agent of the same release"
            }
            EnrolmentError::Ek(EkError::Chain(_)) => {
                "add the root of the TPM's maker to the roots, and send the certificates in between"
            }
            EnrolmentError::Ek(EkError::Root(_)) => {
                "replace the root by a certificate of a CA in DER"
            }
            EnrolmentError::Ek(_) => "read the certificate of the same key from the TPM",
            EnrolmentError::AkRestricted(_) => {
                "make the attestation key restricted, fixed to its TPM, and for signing only"
            }
            EnrolmentError::Credential(_) => "use an endorsement key of a TCG template",
            EnrolmentError::Answer => {
                "find out who asks with a key that is not in the TPM, or whose TPM answers for another host"
            }
        }
    }
}

/// An enrolment that waits for its answer.
pub struct Pending {
    secret: Zeroizing<Vec<u8>>,
    enrolled: Enrolled,
}

/// What an enrolment ends with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// The attestation key.
    pub ak: TpmName,
    /// The TPM.
    pub ek: EkFingerprint,
}

/// Bytes of the secret.
const SECRET_BYTES: usize = 32;

/// Answers a request with a secret that only the host's TPM can open.
///
/// # Errors
/// [`EnrolmentError`].
pub fn challenge(
    request: &EnrolmentRequest,
    roots: &EkRoots,
    now_unix_s: u64,
) -> Result<(Credential, Pending), EnrolmentError> {
    if request.schema != SCHEMA {
        return Err(EnrolmentError::Schema(request.schema.clone()));
    }
    let public = |bytes: &Base64, key| {
        Public::parse(&bytes.0).map_err(|source| EnrolmentError::Key { key, source })
    };
    let ek = public(&request.ek_public, "endorsement")?;
    let ak = public(&request.ak_public, "attestation")?;
    let intermediates: Vec<Vec<u8>> =
        request.ek_intermediates.iter().map(|der| der.0.clone()).collect();
    let certificate = &request.ek_certificate.0;
    let fingerprint = check_certificate(&ek, certificate, &intermediates, roots, now_unix_s);
    let fingerprint = fingerprint.map_err(EnrolmentError::Ek)?;
    check_attributes(&ak).map_err(EnrolmentError::AkRestricted)?;
    let mut secret = Zeroizing::new(vec![0; SECRET_BYTES]);
    let refused = |_| EnrolmentError::Credential(CredentialError::Crypto);
    SystemRandom::new().fill(&mut secret).map_err(refused)?;
    let name = ak.name();
    let credential = make_credential(&ek, &name, &secret).map_err(EnrolmentError::Credential)?;
    Ok((credential, Pending { secret, enrolled: Enrolled { ak: name, ek: fingerprint } }))
}

impl Pending {
    /// Ends the enrolment with what the host's TPM opened.
    ///
    /// # Errors
    /// [`EnrolmentError::Answer`].
    pub fn finish(self, answer: &[u8]) -> Result<Enrolled, EnrolmentError> {
        match verify_slices_are_equal(&self.secret, answer) {
            Ok(()) => Ok(self.enrolled),
            Err(_) => Err(EnrolmentError::Answer),
        }
    }

    /// Whom it is for.
    pub fn enrolled_if_answered(&self) -> &Enrolled {
        &self.enrolled
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("enrolled", &self.enrolled).finish_non_exhaustive()
    }
}
