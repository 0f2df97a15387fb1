//! Signatures of elements outside of TLS: by the key of an SVID, checked with its certificates as of the time that is signed.

use std::time::Duration;

use ringmail_model::summary::{FILE_SCHEMA, Signed, Statement, Summary, SummaryFile};
use ringmail_trust::{Identity, pem};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::sap::identity::spiffe_id;

/// Certificates that lead to a root; more are none of a domain.
const CHAIN_CERTIFICATES: usize = 4;

/// What element keys sign with, and others that an authority may take.
const SCHEMES: [SignatureScheme; 3] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ED25519,
];

/// A signature with the certificates of who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// In PEM, without the root.
    pub(crate) chain: String,
    /// In hex.
    pub(crate) signature: String,
}

/// Why a signature proves nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsealed {
    /// Nobody is named.
    #[error("it has no certificates")]
    NoCertificate,
    /// The certificates do not lead to the domain's root, or did not hold then.
    #[error("the certificates do not hold: {0}")]
    Certificate(webpki::Error),
    /// Not over these bytes by this key.
    #[error("the signature does not fit: something was changed")]
    Signature,
}

impl Seal {
    /// Signs these bytes.
    ///
    /// # Errors
    /// The key is of no kind that signs.
    pub(crate) fn make(identity: &Identity, message: &[u8]) -> Result<Seal, rustls::Error> {
        let (chain, key) = identity.for_tls();
        let key = any_supported_type(&key)?;
        let signer = key.choose_scheme(&SCHEMES);
        let signer = signer.ok_or_else(|| rustls::Error::General("no scheme".to_owned()))?;
        let signature = signer.sign(message)?;
        let signature = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Seal { chain: pem::chain(&chain), signature })
    }

    /// Who signed these bytes: the SPIFFE id of the first certificate.
    pub(super) fn signer(
        &self,
        message: &[u8],
        roots: &[TrustAnchor<'_>],
        at_ms: u64,
    ) -> Result<String, Unsealed> {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain: Vec<_> = chain.take(CHAIN_CERTIFICATES + 1).filter_map(Result::ok).collect();
        let Some((svid, others)) =
            chain.split_first().filter(|_| chain.len() <= CHAIN_CERTIFICATES)
        else {
            return Err(Unsealed::NoCertificate);
        };
        let time = UnixTime::since_unix_epoch(Duration::from_millis(at_ms));
        let certificate = EndEntityCert::try_from(svid).map_err(Unsealed::Certificate)?;
        let algorithms =
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        certificate
            .verify_for_usage(
                algorithms.all,
                roots,
                others,
                time,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(Unsealed::Certificate)?;
        let signature = unhex(&self.signature).ok_or(Unsealed::Signature)?;
        let fits = SCHEMES.iter().filter_map(|scheme| {
            algorithms.mapping.iter().find(|(known, _)| known == scheme).map(|(_, all)| *all)
        });
        let holds = |algorithm: &dyn rustls_pki_types::SignatureVerificationAlgorithm| {
            certificate.verify_signature(algorithm, message, &signature).is_ok()
        };
        if !fits.flatten().any(|algorithm| holds(*algorithm)) {
            return Err(Unsealed::Signature);
        }
        spiffe_id(svid).map(str::to_owned).ok_or(Unsealed::NoCertificate)
    }
}

/// A statement, signed by whom this is.
///
/// # Errors
/// The key is of no kind that signs.
pub fn seal_statement(statement: Statement, identity: &Identity) -> Result<Signed, rustls::Error> {
    let Seal { chain, signature } = Seal::make(identity, &statement.signed_bytes())?;
    Ok(Signed { statement, chain, signature })
}

/// A summary as its file has it, signed by whom this is.
///
/// # Errors
/// The key is of no kind that signs.
pub fn seal_summary(summary: Summary, identity: &Identity) -> Result<SummaryFile, rustls::Error> {
    let Seal { chain, signature } = Seal::make(identity, &summary.signed_bytes())?;
    Ok(SummaryFile { schema: FILE_SCHEMA.to_owned(), summary, chain, signature })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    rest.is_empty().then(|| bytes.collect())?
}
