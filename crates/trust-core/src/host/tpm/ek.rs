//! The certificate of an endorsement key (TCG EK Credential Profile 2.5): the maker's word that a TPM is one.

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::aws_lc_rs as algorithms;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey as CertifiedKey;

use super::hash::Hash;
use super::public::{Public, PublicKey, curve};
use super::signature::point;
use crate::host::encoding::Hex;
use crate::limits;

/// Why an endorsement key is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EkError {
    /// It is no certificate.
    #[error("the endorsement key's certificate cannot be read")]
    Certificate,
    /// There are more or longer certificates than there may be.
    #[error(
        "the endorsement key's chain has more than {} certificates, or one of more than {} bytes",
        limits::EK_CHAIN,
        limits::EK_CERTIFICATE_BYTES
    )]
    Long,
    /// No root that is trusted vouches for it.
    #[error("the endorsement key's certificate leads to no root of a TPM's maker that is trusted")]
    Chain(#[source] webpki::Error),
    /// It is for another key.
    #[error("the certificate is not that of the endorsement key")]
    OtherKey,
    /// One of the verifier's own roots cannot be used.
    #[error("root certificate {0} of TPMs' makers cannot be used")]
    Root(usize),
}

/// Roots of makers of TPMs that are trusted.
#[derive(Clone, Debug, Default)]
pub struct EkRoots(Vec<TrustAnchor<'static>>);

impl EkRoots {
    /// Of certificates in DER.
    ///
    /// # Errors
    /// [`EkError::Root`] with the number of the one, counted from 0.
    pub fn new<'a>(
        certificates: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<EkRoots, EkError> {
        let anchor = |(number, certificate): (usize, CertificateDer<'a>)| {
            let anchor =
                anchor_from_trusted_cert(&certificate).map_err(|_| EkError::Root(number))?;
            Ok(anchor.to_owned())
        };
        certificates.into_iter().enumerate().map(anchor).collect::<Result<_, _>>().map(EkRoots)
    }
}

/// `tcg-kp-EKCertificate`, 2.23.133.8.1.
const EK_USAGE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

/// Checks that a root vouches for the certificate now, and that it is of this key. What it says is for whom the TPM stays the
/// same: SHA-256 of the certificate's key.
///
/// # Errors
/// [`EkError`].
pub fn check_certificate(
    ek: &Public,
    certificate: &[u8],
    intermediates: &[Vec<u8>],
    roots: &EkRoots,
    now_unix_s: u64,
) -> Result<EkFingerprint, EkError> {
    let too_long = |der: &[u8]| der.len() > limits::EK_CERTIFICATE_BYTES;
    if intermediates.len() > limits::EK_CHAIN
        || too_long(certificate)
        || intermediates.iter().any(|der| too_long(der))
    {
        return Err(EkError::Long);
    }
    // Some TPMs fill the index behind the certificate.
    let (rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| EkError::Certificate)?;
    let length = certificate.len() - rest.len();
    let certificate = certificate.get(..length).ok_or(EkError::Certificate)?;
    let der = CertificateDer::from(certificate);
    let entity = EndEntityCert::try_from(&der).map_err(EkError::Chain)?;
    let intermediates: Vec<CertificateDer<'_>> =
        intermediates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    entity
        .verify_for_usage(
            ALGORITHMS,
            &roots.0,
            &intermediates,
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_unix_s)),
            KeyUsage::required_if_present(EK_USAGE),
            None,
            None,
        )
        .map_err(EkError::Chain)?;
    let spki = parsed.public_key();
    let same = match (spki.parsed().map_err(|_| EkError::Certificate)?, &ek.key) {
        (CertifiedKey::RSA(certified), PublicKey::Rsa { exponent, modulus, .. }) => {
            let bytes = certified.modulus;
            let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            bytes == modulus && certified.try_exponent() == Ok(u64::from(*exponent))
        }
        (CertifiedKey::EC(certified), PublicKey::Ecc { curve: number, x, y }) => {
            let length = match *number {
                curve::P256 => 32,
                curve::P384 => 48,
                _ => return Err(EkError::OtherKey),
            };
            point(x, y, length).is_some_and(|point| point == certified.data())
        }
        _ => false,
    };
    match same {
        true => Ok(EkFingerprint(Hex(Hash::Sha256.digest(&[spki.raw]).as_bytes().to_vec()))),
        false => Err(EkError::OtherKey),
    }
}

/// By which a TPM is known again: SHA-256 of its endorsement key's `SubjectPublicKeyInfo`.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct EkFingerprint(pub Hex);

/// What makers sign with.
const ALGORITHMS: &[&dyn rustls_pki_types::SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P521_SHA512,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];
