//! The embedded authority as the rest of ringmail asks it: certificates for elements, signatures on paths and leases.

use std::sync::PoisonError;
use std::time::Duration;

use rcgen::{CertificateSigningRequestParams, PublicKeyData};
use ringmail_dataplane::sap::{Lease, SignedLease};
use ringmail_model::names::{Name, TrustDomain};
use ringmail_model::pathset::{PathSet, SignedPathSet};
use ringmail_model::{ElementId, PathDigest};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateRevocationListDer, CertificateSigningRequestDer};

use super::state::{Kind, STATE, State};
use super::{EmbeddedCa, spiffe};
use crate::authority::Authority;
use crate::error::AuthorityError;
use crate::identity::{Certificates, TrustBundle};
use crate::limits;

impl Authority for EmbeddedCa {
    fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    fn trust_bundle(&self) -> Result<TrustBundle, AuthorityError> {
        // Made anew first if it is time.
        self.crl_pem(false)?;
        let locked = self.store.lock()?;
        let state = State::load(&self.store)?;
        drop(locked);
        let crls = CertificateRevocationListDer::pem_slice_iter(state.crl_pem.as_bytes());
        let crls = crls.collect::<Result<_, _>>().map_err(|error| AuthorityError::Damaged {
            path: self.store.path(STATE),
            reason: error.to_string(),
        })?;
        let path_key = self.path_key.pair().public_key_raw();
        Ok(TrustBundle {
            trust_domain: self.trust_domain.clone(),
            roots: self.certificates_of(&state)?,
            crls,
            path_key: path_key.try_into().map_err(|_| AuthorityError::Signature)?,
        })
    }

    fn sign_element(
        &self,
        element: &Name,
        request: &CertificateSigningRequestDer<'_>,
    ) -> Result<Certificates, AuthorityError> {
        let parsed = parsed(element, request)?;
        let _locked = self.store.lock()?;
        self.certify_element(element, &parsed)
    }

    fn sign_path_set(&self, set: &PathSet) -> Result<SignedPathSet, AuthorityError> {
        SignedPathSet::sign(set, |message| self.sign_path(message).map(|bytes| bytes.to_vec()))
    }

    fn sign_lease(
        &self,
        element: ElementId,
        path: PathDigest,
        lasts: Duration,
    ) -> Result<SignedLease, AuthorityError> {
        let lease = Lease {
            element,
            digest: path,
            not_after_unix_s: self.now_unix_s().saturating_add(lasts.as_secs()),
            serial: self.next_lease_serial()?,
        };
        Ok(lease.signed(self.sign_path(&lease.signed_bytes())?))
    }
}

impl EmbeddedCa {
    /// The next serial number of a lease: greater than any before, over restarts too.
    fn next_lease_serial(&self) -> Result<u64, AuthorityError> {
        let mut serials = self.lease_serials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(serial) = serials.next() {
            return Ok(serial);
        }
        let _locked = self.store.lock()?;
        let mut state = State::load(&self.store)?;
        let first = state.lease_serials;
        state.lease_serials = first.saturating_add(limits::LEASE_SERIALS_AT_ONCE);
        state.save(&self.store)?;
        *serials = first..state.lease_serials;
        serials.next().ok_or(AuthorityError::Signature)
    }

    /// An element's certificate for a request that was looked at. The caller holds the lock.
    pub(super) fn certify_element(
        &self,
        element: &Name,
        request: &CertificateSigningRequestParams,
    ) -> Result<Certificates, AuthorityError> {
        let names = [spiffe(&self.trust_domain.element_id(element))?];
        let lasts = limits::ELEMENT_LASTS;
        self.certify_request(Kind::Element, element, &names, lasts, request)
    }

    /// A certificate for a request that was looked at. The caller holds the lock.
    pub(super) fn certify_request(
        &self,
        kind: Kind,
        name: &Name,
        names: &[(String, rcgen::SanType)],
        lasts: Duration,
        request: &CertificateSigningRequestParams,
    ) -> Result<Certificates, AuthorityError> {
        let (_, record, certificate) =
            self.certify(kind, name, names, lasts, &request.public_key)?;
        Ok(Certificates {
            chain: vec![certificate.der().clone()],
            not_after_unix_s: record.not_after_unix_s,
        })
    }

    pub(super) fn sign_path(&self, message: &[u8]) -> Result<[u8; 64], AuthorityError> {
        let signature = rcgen::SigningKey::sign(self.path_key.pair(), message)?;
        signature.try_into().map_err(|_| AuthorityError::Signature)
    }
}

/// A certificate signing request that proves possession of a key of the one kind that is taken.
pub(crate) fn parsed(
    asker: &str,
    request: &CertificateSigningRequestDer<'_>,
) -> Result<CertificateSigningRequestParams, AuthorityError> {
    let refused =
        |reason: String| AuthorityError::BadSigningRequest { element: asker.to_owned(), reason };
    if request.len() > limits::REQUEST_BYTES {
        return Err(refused(format!("it is larger than {} bytes", limits::REQUEST_BYTES)));
    }
    let parsed = CertificateSigningRequestParams::from_der(request)
        .map_err(|error| refused(error.to_string()))?;
    let algorithm = PublicKeyData::algorithm(&parsed.public_key);
    if *algorithm != rcgen::PKCS_ECDSA_P256_SHA256 {
        return Err(refused("its key is not ECDSA P-256".to_owned()));
    }
    Ok(parsed)
}
