//! The seam to the trust plane: whatever can vouch for elements and sign what they follow.
//!
//! Today it is [`EmbeddedCa`](crate::EmbeddedCa); later the Verification Manager, which attests first and signs then.

use std::fmt;
use std::time::Duration;

use ringmail_dataplane::sap::SignedLease;
use ringmail_model::names::{Name, TrustDomain};
use ringmail_model::pathset::{PathSet, SignedPathSet};
use ringmail_model::{ElementId, PathDigest};
use rustls_pki_types::CertificateSigningRequestDer;

use crate::error::AuthorityError;
use crate::identity::{Certificates, TrustBundle};

/// Vouches for the elements of one domain. Calls may take milliseconds and touch a disk: not for a data path.
pub trait Authority: Send + Sync + fmt::Debug {
    /// The domain whose names it gives.
    fn trust_domain(&self) -> &TrustDomain;

    /// What an element needs to judge others: roots, the current revocation list, the path-signing key.
    ///
    /// # Errors
    /// [`AuthorityError`].
    fn trust_bundle(&self) -> Result<TrustBundle, AuthorityError>;

    /// A short-lived certificate for `spiffe://DOMAIN/element/NAME` over the key that the request proves possession of.
    /// Names and uses in the request do not count; whether the asker is that element is for the caller to know.
    ///
    /// # Errors
    /// [`AuthorityError::BadSigningRequest`] where the element is at fault.
    fn sign_element(
        &self,
        element: &Name,
        request: &CertificateSigningRequestDer<'_>,
    ) -> Result<Certificates, AuthorityError>;

    /// Signs a path set with the path-signing key, which is not the CA's.
    ///
    /// # Errors
    /// [`AuthorityError`].
    fn sign_path_set(&self, set: &PathSet) -> Result<SignedPathSet, AuthorityError>;

    /// Grants an element its place in a path for this long from now.
    ///
    /// # Errors
    /// [`AuthorityError`].
    fn sign_lease(
        &self,
        element: ElementId,
        path: PathDigest,
        lasts: Duration,
    ) -> Result<SignedLease, AuthorityError>;
}
