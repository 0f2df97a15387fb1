//! A client's certificate in a file, read as the gateway reads it, for questions without traffic.

use std::path::Path;

use anyhow::{Context, Result};
pub use ringmail_gateway::ClientCertificate;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::listeners::read;

/// The first certificate of a PEM file.
///
/// # Errors
/// When the file cannot be read, or holds no certificate that names a client.
pub fn client_certificate(path: &Path) -> Result<ClientCertificate> {
    let certificate = CertificateDer::from_pem_slice(&read(path)?)
        .with_context(|| format!("{} holds no certificate", path.display()))?;
    let read = ClientCertificate::read(&certificate);
    read.with_context(|| format!("the certificate in {}", path.display()))
}
