//! What a host's attestation key signed: a TPM's quote over the binding, or, without a TPM, the binding itself
//! (TPM 2.0 part 2, TPMS_ATTEST and TPMT_SIGNATURE).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, UnparsedPublicKey, VerificationAlgorithm,
};
use ringmail_model::summary::Hex;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::appraise::MeasuredPrograms;
use super::binding::Binding;
use super::claims::{Claims, ProgramClaims};
use super::evidence::{EvidenceKind, HostSigned};
use super::verdict::{CheckName, Checks, Whose};

/// Why a host's signature does not count; the fault of who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum SignedError {
    #[error("the host's attestation key is no key")]
    Key,
    #[error("no TPM signed: there is no `attest`")]
    NoTpm,
    #[error("what the TPM signed is no quote")]
    NoQuote,
    #[error("the signature is of a form that nobody uses for this key")]
    Scheme,
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
        extra.is_none_or(|extra| extra == binding.digest()),
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
fn signature<'a>(
    signed: &'a HostSigned,
    kind: EvidenceKind,
    binding: &Binding<'_>,
) -> Result<Option<&'a [u8]>, SignedError> {
    let (rest, key) =
        SubjectPublicKeyInfo::from_der(binding.host_ak).map_err(|_| SignedError::Key)?;
    if !rest.is_empty() {
        return Err(SignedError::Key);
    }
    let key_kind = KeyKind::of(&key).ok_or(SignedError::Key)?;
    let point = &key.subject_public_key.data;
    let holds =
        |algorithm: &'static dyn VerificationAlgorithm, message: &[u8], signature: &[u8]| {
            let key = UnparsedPublicKey::new(algorithm, point);
            key.verify(message, signature).map_err(|_| SignedError::Signature)
        };
    let Some(attest) = &signed.attest else {
        if kind == EvidenceKind::Tpm {
            return Err(SignedError::NoTpm);
        }
        let algorithm: &'static dyn VerificationAlgorithm = match key_kind {
            KeyKind::P256 => &ECDSA_P256_SHA256_ASN1,
            KeyKind::Ed25519 => &ED25519,
            KeyKind::P384 | KeyKind::Rsa => return Err(SignedError::Scheme),
        };
        holds(algorithm, &binding.encode(), &signed.signature)?;
        return Ok(None);
    };
    let (algorithm, signature) =
        tpm_signature(&signed.signature, key_kind).ok_or(SignedError::Scheme)?;
    holds(algorithm, attest, &signature)?;
    quote_extra(attest).map(Some).ok_or(SignedError::NoQuote)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    P256,
    P384,
    Rsa,
    Ed25519,
}

impl KeyKind {
    fn of(key: &SubjectPublicKeyInfo<'_>) -> Option<KeyKind> {
        let algorithm = &key.algorithm.algorithm;
        if *algorithm == OID_PKCS1_RSAENCRYPTION {
            return Some(KeyKind::Rsa);
        }
        if *algorithm == OID_SIG_ED25519 {
            return Some(KeyKind::Ed25519);
        }
        if *algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
            return None;
        }
        let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
        if curve == OID_EC_P256 {
            Some(KeyKind::P256)
        } else {
            (curve == OID_NIST_EC_P384).then_some(KeyKind::P384)
        }
    }
}

/// A TPMT_SIGNATURE: scheme, hash, then one number (RSA) or two (ECDSA), each with its length.
fn tpm_signature(
    bytes: &[u8],
    key: KeyKind,
) -> Option<(&'static dyn VerificationAlgorithm, Vec<u8>)> {
    let mut rest = bytes;
    let scheme = u16::from_be_bytes(*take(&mut rest)?);
    let hash = u16::from_be_bytes(*take(&mut rest)?);
    let algorithm: &'static dyn VerificationAlgorithm = match (key, scheme, hash) {
        (KeyKind::Rsa, RSASSA, SHA256) => &RSA_PKCS1_2048_8192_SHA256,
        (KeyKind::Rsa, RSASSA, SHA384) => &RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa, RSAPSS, SHA256) => &RSA_PSS_2048_8192_SHA256,
        (KeyKind::Rsa, RSAPSS, SHA384) => &RSA_PSS_2048_8192_SHA384,
        (KeyKind::P256, ECDSA, SHA256) => &ECDSA_P256_SHA256_FIXED,
        (KeyKind::P384, ECDSA, SHA384) => &ECDSA_P384_SHA384_FIXED,
        _ => return None,
    };
    let signature = match key {
        KeyKind::Rsa => sized(&mut rest)?.to_vec(),
        _ => {
            let length = if key == KeyKind::P384 { 48 } else { 32 };
            let (r, s) = (sized(&mut rest)?, sized(&mut rest)?);
            let mut both = vec![0; 2 * length];
            both.get_mut(length.checked_sub(r.len())?..length)?.copy_from_slice(r);
            both.get_mut((2 * length).checked_sub(s.len()).filter(|at| *at >= length)?..)?
                .copy_from_slice(s);
            both
        }
    };
    rest.is_empty().then_some((algorithm, signature))
}

/// `extraData` of a TPMS_ATTEST that is a quote: magic, type, qualified signer, extra data.
fn quote_extra(attest: &[u8]) -> Option<&[u8]> {
    let mut rest = attest;
    let magic = u32::from_be_bytes(*take(&mut rest)?);
    let kind = u16::from_be_bytes(*take(&mut rest)?);
    if (magic, kind) != (TPM_GENERATED, ATTEST_QUOTE) {
        return None;
    }
    sized(&mut rest)?;
    sized(&mut rest)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, more) = rest.split_first_chunk()?;
    *rest = more;
    Some(first)
}

fn sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(u16::from_be_bytes(*take(rest)?));
    let (first, more) = rest.split_at_checked(length)?;
    *rest = more;
    Some(first)
}

const TPM_GENERATED: u32 = 0xff54_4347;
const ATTEST_QUOTE: u16 = 0x8018;
const RSASSA: u16 = 0x0014;
const RSAPSS: u16 = 0x0016;
const ECDSA: u16 = 0x0018;
const SHA256: u16 = 0x000b;
const SHA384: u16 = 0x000c;
