//! The root certificates of an authority and their keys: one, or two while one takes the place of the other.
//!
//! The state says which they are, and holds the certificates; each key has a file of its own. `root.pem` is a copy for
//! other programs.

use rcgen::{Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::state::{STATE, State};
use super::{EmbeddedCa, ROOT};
use crate::error::AuthorityError;
use crate::secret::SigningKey;

/// A root certificate and its key.
pub(crate) struct Root {
    /// The first root of an authority is 1, the next 2.
    pub(crate) number: u32,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: SigningKey,
}

impl Root {
    /// For rcgen.
    pub(crate) fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, AuthorityError> {
        Ok(Issuer::from_ca_cert_der(&self.certificate, self.key.pair())?)
    }
}

/// The file of a root's key.
pub(super) fn key_file(number: u32) -> String {
    match number {
        1 => "root.key".to_owned(),
        _ => format!("root-{number}.key"),
    }
}

impl EmbeddedCa {
    /// The root that signs. The caller holds the lock.
    pub(super) fn issuing(&self, state: &State) -> Result<Root, AuthorityError> {
        self.root(state.issuing, &state.root_pem)
    }

    /// All roots, the issuing one first. The caller holds the lock.
    pub(super) fn roots(&self, state: &State) -> Result<Vec<Root>, AuthorityError> {
        let mut roots = vec![self.issuing(state)?];
        if let Some(other) = &state.other {
            roots.push(self.root(other.number, &other.pem)?);
        }
        Ok(roots)
    }

    /// The certificates of all roots, the issuing one's first.
    pub(super) fn certificates_of(
        &self,
        state: &State,
    ) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        let pems = [Some(&state.root_pem), state.other.as_ref().map(|other| &other.pem)];
        pems.into_iter().flatten().map(|pem| self.certificate(pem)).collect()
    }

    /// The same, for who does not hold the lock.
    pub(super) fn roots_der(&self) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        let _locked = self.store.lock()?;
        self.certificates_of(&State::load(&self.store)?)
    }

    /// Makes `root.pem` say what the state says: a crash may have come between.
    pub(super) fn copy_roots(&self, state: &State) -> Result<(), AuthorityError> {
        let wanted = state.roots_pem();
        match self.store.read(ROOT) {
            Ok(found) if *found == wanted => Ok(()),
            _ => self.store.write(ROOT, &wanted),
        }
    }

    fn root(&self, number: u32, pem: &str) -> Result<Root, AuthorityError> {
        let file = key_file(number);
        self.store.check_private(&file)?;
        let key = SigningKey::from_pem(&self.store.read(&file)?).map_err(|_| {
            let reason = "it holds no private key".to_owned();
            AuthorityError::Damaged { path: self.store.path(&file), reason }
        })?;
        Ok(Root { number, certificate: self.certificate(pem)?, key })
    }

    fn certificate(&self, pem: &str) -> Result<CertificateDer<'static>, AuthorityError> {
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| AuthorityError::Damaged {
            path: self.store.path(STATE),
            reason: format!("a root certificate in it: {error}"),
        })
    }
}
