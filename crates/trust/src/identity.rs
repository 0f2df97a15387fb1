//! What a driver holds to take part in TLS: who it is, and whom it believes (X509-SVID, RFC 5280).

use std::fmt;
use std::sync::Arc;

use ringmail_model::names::{Name, TrustDomain};
use rustls::RootCertStore;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, CertificateSigningRequestDer, PrivateKeyDer,
};

use crate::error::AuthorityError;
use crate::secret::{PrivateKey, SigningKey};

/// A certificate and those between it and a root, and until when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// The certificate first, the one that signed it next; the root is left out.
    pub chain: Vec<CertificateDer<'static>>,
    /// Seconds since 1970 after which the first does not hold any more.
    pub not_after_unix_s: u64,
}

/// Who somebody is: certificates and the private key to the first.
#[derive(Clone, Debug)]
pub struct Identity {
    certificates: Certificates,
    key: PrivateKey,
}

impl Identity {
    /// An identity of certificates and the key to the first of them.
    pub fn new(certificates: Certificates, key: PrivateKey) -> Identity {
        Identity { certificates, key }
    }

    /// The certificates.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The same key with other certificates over it.
    pub fn renewed(&self, certificates: Certificates) -> Identity {
        Identity { certificates, key: self.key.clone() }
    }

    pub(crate) fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Chain and key as rustls's configuration builders take them.
    pub fn for_tls(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.certificates.chain.clone(), self.key.danger_copy_for_tls())
    }
}

/// Whom to believe.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustBundle {
    /// The domain of all names.
    pub trust_domain: TrustDomain,
    /// The roots.
    pub roots: Vec<CertificateDer<'static>>,
    /// The revocation lists of the roots.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    /// The path-signing key (Ed25519 public key, RFC 8032).
    pub path_key: [u8; 32],
}

impl TrustBundle {
    /// The roots as rustls's verifiers take them.
    ///
    /// # Errors
    /// What rustls says of a root that is none.
    pub fn root_store(&self) -> Result<Arc<RootCertStore>, rustls::Error> {
        let mut store = RootCertStore::empty();
        for root in &self.roots {
            store.add(root.clone())?;
        }
        Ok(Arc::new(store))
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustBundle")
            .field("trust_domain", &self.trust_domain)
            .field("roots", &self.roots.len())
            .field("crls", &self.crls.len())
            .finish_non_exhaustive()
    }
}

/// The key of an element, made where it is used. It leaves the process only into the element's own state directory,
/// if it has one.
#[derive(Debug)]
pub struct ElementKey(SigningKey);

impl ElementKey {
    /// A new key (ECDSA P-256).
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`] when the system has no random bytes.
    pub fn generate() -> Result<ElementKey, AuthorityError> {
        Ok(ElementKey(SigningKey::generate()?))
    }

    /// The private key in PKCS #8, for the element's own state directory.
    pub fn private_key(&self) -> PrivateKey {
        self.0.private_key()
    }

    /// A request (RFC 2986) for a certificate over this key. What name the certificate has is the authority's to say.
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`].
    pub fn signing_request(
        &self,
        domain: &TrustDomain,
        element: &Name,
    ) -> Result<CertificateSigningRequestDer<'static>, AuthorityError> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let id = domain.element_id(element).as_str().try_into()?;
        params.subject_alt_names = vec![rcgen::SanType::URI(id)];
        Ok(params.serialize_request(self.0.pair())?.into())
    }

    /// The identity that the authority's answer makes of this key.
    pub fn into_identity(self, certificates: Certificates) -> Identity {
        Identity::new(certificates, self.0.private_key())
    }

    /// The same, keeping the key for a certificate to come.
    pub fn identity(&self, certificates: Certificates) -> Identity {
        Identity::new(certificates, self.0.private_key())
    }
}
