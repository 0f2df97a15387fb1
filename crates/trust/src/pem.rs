//! Certificates and requests as text (RFC 7468), for people and other programs.

use ::pem::{EncodeConfig, LineEnding, Pem, encode_config};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, CertificateSigningRequestDer,
};

/// A certificate signing request from PEM or DER. Whether it is one, who signs it finds out.
pub fn signing_request(bytes: Vec<u8>) -> CertificateSigningRequestDer<'static> {
    match CertificateSigningRequestDer::from_pem_slice(&bytes) {
        Ok(request) => request,
        Err(_) => CertificateSigningRequestDer::from(bytes),
    }
}

/// Certificates one behind the other.
pub fn chain(certificates: &[CertificateDer<'_>]) -> String {
    texts("CERTIFICATE", certificates)
}

/// Revocation lists one behind the other.
pub fn lists(lists: &[CertificateRevocationListDer<'_>]) -> String {
    texts("X509 CRL", lists)
}

fn texts(label: &str, all: &[impl AsRef<[u8]>]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let text = |der: &[u8]| encode_config(&Pem::new(label, der.to_vec()), config);
    all.iter().map(|der| text(der.as_ref())).collect()
}
