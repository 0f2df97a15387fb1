//! What a host's attestation key signed: a TPM's quote over the binding, or, without a TPM, the binding itself.
//!
//! The quote is of no register. A host's own evidence is of register 10 at least, over a nonce that somebody else chose: so
//! what a host answers about itself can never be turned into evidence of a function.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm,
};
use ringmail_model::summary::Hex;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::appraise::MeasuredPrograms;
use super::binding::Binding;
use super::claims::{Claims, ProgramClaims};
use super::evidence::{EvidenceKind, HostSigned};
use super::verdict::{CheckName, Checks, Whose};
use crate::host::tpm::{Attributes, Public, Quote, Signature};

/// Why a host's signature does not count; the fault of who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum SignedError {
    #[error("the host's attestation key is no key of a kind that signs evidence")]
    Key,
    #[error("the host's attestation key is not restricted to its TPM's own words")]
    Unrestricted,
    #[error("no TPM signed: there is no `attest`")]
    NoTpm,
    #[error("what the TPM signed is no quote")]
    NoQuote,
    #[error("the quote is of registers, as a host's own evidence is")]
    Registers,
    #[error("the host's attestation key did not sign this")]
    Signature,
}

/// What a host says of a program, if its key signed that.
pub(super) fn verify(
    signed: &HostSigned,
    kind: EvidenceKind,
    binding: &Binding<'_>,
    measured: Option<&dyn MeasuredPrograms>,
    checks: &mut Checks,
) -> Option<Claims> {
    let Ok(sha256) = <[u8; 32]>::try_from(&signed.program.sha256[..]) else {
        let hint = "give SHA-256 of the program, 32 bytes";
        checks.failed(CheckName::Authentic, Whose::Sender, "no SHA-256", hint);
        return None;
    };
    let extra = match signature(signed, kind, binding) {
        Ok(extra) => extra,
        Err(error) => {
            let hint = "have the host's agent sign it, with the key that the evidence names";
            checks.failed(CheckName::Authentic, Whose::Sender, error.to_string(), hint);
            return None;
        }
    };
    checks.passed(CheckName::Authentic, "the host's attestation key signed");
    checks.judge(
        extra.as_ref().is_none_or(|extra| extra[..] == binding.digest()),
        CheckName::Binding,
        "what was signed against nonce, key, name, host and program",
        Whose::Sender,
        "the quote was made for other evidence: make both together, as docs/evidence.md says",
    );
    let program = ProgramClaims {
        path: signed.program.path.clone(),
        sha256: Hex(sha256),
        tpm: extra.is_some(),
    };
    if kind == EvidenceKind::Software {
        return Some(Claims::Software(program));
    }
    let path = &program.path;
    match measured {
        None => checks.not_asked(CheckName::MeasuredByHost, "no measurement list at hand"),
        Some(list) => checks.judge(
            list.holds(&signed.program),
            CheckName::MeasuredByHost,
            format!("{path} in the host's measurement list"),
            Whose::Host,
            "the kernel has to measure the program: see `ringmail trust policy ima`",
        ),
    }
    Some(Claims::Tpm(program))
}

/// What a TPM's quote has as `extraData`; none where the key signed the binding itself.
fn signature(
    signed: &HostSigned,
    kind: EvidenceKind,
    binding: &Binding<'_>,
) -> Result<Option<Vec<u8>>, SignedError> {
    let Some(attest) = &signed.attest else {
        if kind == EvidenceKind::Tpm {
            return Err(SignedError::NoTpm);
        }
        key_in_a_file(binding, &signed.signature)?;
        return Ok(None);
    };
    let key = Public::parse(binding.host_ak).map_err(|_| SignedError::Key)?;
    // Without these, whoever uses the key could sign what looks like a TPM's word (TPM 2.0 part 1, "restricted").
    let right = key.attributes.has(RESTRICTED) && !key.attributes.has(Attributes::DECRYPT);
    if !right {
        return Err(SignedError::Unrestricted);
    }
    let signature = Signature::parse(&signed.signature).map_err(|_| SignedError::Signature)?;
    signature.verify(&key, attest).map_err(|_| SignedError::Signature)?;
    let quote = Quote::parse(attest).map_err(|_| SignedError::NoQuote)?;
    match quote.selection.iter().next() {
        None => Ok(Some(quote.extra_data)),
        Some(_) => Err(SignedError::Registers),
    }
}

/// The signature of a host without a TPM: its key is a DER SubjectPublicKeyInfo.
fn key_in_a_file(binding: &Binding<'_>, signature: &[u8]) -> Result<(), SignedError> {
    let Ok(([], key)) = SubjectPublicKeyInfo::from_der(binding.host_ak) else {
        return Err(SignedError::Key);
    };
    let curve = || key.algorithm.parameters.as_ref()?.as_oid().ok();
    let kind = &key.algorithm.algorithm;
    let algorithm: &'static dyn VerificationAlgorithm = if *kind == OID_SIG_ED25519 {
        &ED25519
    } else if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY && curve() == Some(OID_EC_P256) {
        &ECDSA_P256_SHA256_ASN1
    } else {
        return Err(SignedError::Key);
    };
    let key = UnparsedPublicKey::new(algorithm, &key.subject_public_key.data);
    key.verify(&binding.encode(), signature).map_err(|_| SignedError::Signature)
}

const RESTRICTED: u32 = Attributes::FIXED_TPM | Attributes::RESTRICTED | Attributes::SIGN;
