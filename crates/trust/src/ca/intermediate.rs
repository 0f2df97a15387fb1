//! A CA below the root: for the Verification Manager, which issues by the minute and has its own list.

use ringmail_model::names::Name;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::state::{Kind, Record, Serial, State};
use super::vouch::parsed;
use super::{EmbeddedCa, bad, certificate};
use crate::error::AuthorityError;
use crate::identity::Certificates;
use crate::limits::{CERTIFICATES, INTERMEDIATE_LASTS};

impl EmbeddedCa {
    /// A certificate by which the key of the request signs certificates of this domain: with SPIFFE ids for names and
    /// nothing else, and for no further CA.
    ///
    /// # Errors
    /// [`AuthorityError::BadRequest`] where the root was made by a release whose roots allow no intermediate;
    /// [`AuthorityError::BadSigningRequest`].
    pub fn sign_intermediate(
        &self,
        name: &Name,
        request: &CertificateSigningRequestDer<'_>,
    ) -> Result<Certificates, AuthorityError> {
        let request = parsed(name, request)?;
        let _locked = self.store.lock()?;
        let mut state = State::load(&self.store)?;
        let now_unix_s = self.now_unix_s();
        state.prune(now_unix_s);
        if state.certificates.len() >= CERTIFICATES {
            return Err(AuthorityError::Full(CERTIFICATES));
        }
        let root = self.issuing(&state)?;
        if !allows_intermediate(&root.certificate) {
            let reason = "the root allows no intermediate: it was made by an earlier release; `ringmail ca rotate` \
                          puts another in its place";
            return Err(bad(reason.to_owned()));
        }
        let serial = Serial::random()?;
        let params = certificate::intermediate(&self.trust_domain, name, serial, now_unix_s)?;
        let certificate = params.signed_by(&request.public_key, &root.issuer()?)?;
        let not_after_unix_s = now_unix_s.saturating_add(INTERMEDIATE_LASTS.as_secs());
        let record = Record {
            kind: Kind::Intermediate,
            root: root.number,
            name: name.clone(),
            names: vec![format!("uri:spiffe://{}", self.trust_domain)],
            not_before_unix_s: certificate::backdated(now_unix_s),
            not_after_unix_s,
            revoked_unix_s: None,
        };
        state.certificates.insert(serial, record);
        state.save(&self.store)?;
        Ok(Certificates { chain: vec![certificate.der().clone()], not_after_unix_s })
    }

    /// The certificates of all roots that are to be believed, the one first that signs.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub(crate) fn roots_known(&self) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        self.roots_der()
    }

    /// The certificate of the root that signs.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub(crate) fn issuing_root(&self) -> Result<CertificateDer<'static>, AuthorityError> {
        let _locked = self.store.lock()?;
        Ok(self.issuing(&State::load(&self.store)?)?.certificate)
    }
}

fn allows_intermediate(root: &[u8]) -> bool {
    let Ok((_, root)) = X509Certificate::from_der(root) else { return false };
    let constraints = root.basic_constraints().ok().flatten();
    constraints.is_some_and(|found| found.value.path_len_constraint.is_none_or(|len| len > 0))
}
