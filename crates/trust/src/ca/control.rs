//! What the embedded authority signs for domains on several machines: control's own certificate, server certificates
//! over keys of the gateway, and the domain file.

use std::time::Duration;

use ringmail_model::names::Name;
use rustls_pki_types::CertificateSigningRequestDer;

use super::names::SubjectName;
use super::state::Kind;
use super::vouch::parsed;
use super::{EmbeddedCa, bad, spiffe};
use crate::error::AuthorityError;
use crate::identity::Certificates;
use crate::limits;

impl EmbeddedCa {
    /// A short-lived certificate for `spiffe://DOMAIN/control`, the one that distributes paths.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn sign_control(
        &self,
        request: &CertificateSigningRequestDer<'_>,
    ) -> Result<Certificates, AuthorityError> {
        let name: Name = "control".parse().map_err(|_| bad("no name".to_owned()))?;
        let names = [spiffe(&self.trust_domain.control_id())?];
        let request = parsed(&name, request)?;
        let _locked = self.store.lock()?;
        self.certify_request(Kind::Control, &name, &names, limits::ELEMENT_LASTS, &request)
    }

    /// A server certificate for these names over a key that the gateway made. Whether the asker may have them is for
    /// the caller to know.
    ///
    /// # Errors
    /// [`AuthorityError::BadSigningRequest`] where the asker is at fault.
    pub fn sign_server(
        &self,
        name: &Name,
        names: &[SubjectName],
        lasts: Duration,
        request: &CertificateSigningRequestDer<'_>,
    ) -> Result<Certificates, AuthorityError> {
        if names.is_empty() || names.len() > limits::NAMES {
            return Err(bad(format!("a server has 1 to {} names", limits::NAMES)));
        }
        let san = |name: &SubjectName| Ok((name.to_string(), name.san()?));
        let names = names.iter().map(san).collect::<Result<Vec<_>, AuthorityError>>()?;
        let request = parsed(name, request)?;
        let _locked = self.store.lock()?;
        self.certify_request(Kind::Server, name, &names, lasts, &request)
    }

    /// The path-signing key's public half (Ed25519).
    pub fn path_key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        let public = self.path_key.pair().public_key_raw();
        // `open` looked at the kind of the key: it has 32 bytes.
        key.iter_mut().zip(public).for_each(|(to, from)| *to = *from);
        key
    }

    /// Signs a message with the path-signing key. The message begins with a context that names its use.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn sign_with_path_key(&self, message: &[u8]) -> Result<[u8; 64], AuthorityError> {
        self.sign_path(message)
    }
}
