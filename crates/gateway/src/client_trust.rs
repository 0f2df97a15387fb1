//! Whom client certificates come from and which are revoked: checked at each handshake (RFC 5280 section 6.3), and again
//! for every open connection when the lists or the trust anchors change.
//!
//! New lists are looked at before they take effect. One that cannot be read, has run out, or is not signed by the anchor
//! that it names would shut everybody out; it is refused and the old ones stay.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use ringmail_model::defence::{Defence, off};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use tokio::sync::watch;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::counters::Counters;
use crate::failed;
use crate::identity;
use crate::limits::ANCHOR_CHANGES;

/// The way to a gateway's revocation lists while it runs.
#[derive(Clone, Debug)]
pub struct Revocation {
    pub(crate) check: Arc<ClientCheck>,
    pub(crate) counters: Arc<Counters>,
}

impl Revocation {
    /// Puts these lists into force: for new handshakes at once, for open connections as soon as each is looked at,
    /// which is right after. All lists are replaced.
    ///
    /// # Errors
    /// [`CrlError`]; then nothing changed.
    pub fn replace(
        &self,
        crls: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<(), CrlError> {
        self.counted(self.check.replace(None, crls))
    }

    /// As [`Revocation::replace`], with other trust anchors too. Connections of those that no anchor vouches for any
    /// more end as those of the revoked.
    ///
    /// # Errors
    /// [`CrlError`]; then nothing changed.
    pub fn replace_all(
        &self,
        anchors: RootCertStore,
        crls: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<(), CrlError> {
        self.counted(self.check.replace(Some(anchors), crls))
    }

    fn counted(&self, outcome: Result<(), CrlError>) -> Result<(), CrlError> {
        match &outcome {
            Ok(()) => self.counters.crl_reloads.one(),
            Err(_) => self.refused(),
        }
        outcome
    }

    /// Certificates that the lists in force revoke.
    pub fn revoked(&self) -> usize {
        self.check.current.load().revoked
    }

    /// Names of trust anchors that clients are told.
    pub fn named_anchors(&self) -> usize {
        self.check.hints.newest().len()
    }

    /// Counts lists that could not even be read.
    pub fn refused(&self) {
        self.counters.crl_refused.one();
    }
}

/// The check of client certificates, whose revocation lists can be replaced while connections run.
pub(crate) struct ClientCheck {
    provider: Arc<CryptoProvider>,
    hints: Hints,
    current: ArcSwap<Current>,
    changes: watch::Sender<u64>,
}

/// The check with one set of lists.
struct Current {
    roots: Arc<RootCertStore>,
    verifier: Arc<dyn ClientCertVerifier>,
    has_lists: bool,
    /// Certificates that the lists revoke.
    revoked: usize,
    /// What was found of certificates of open connections, by their DER: many connections have the same.
    judged: Mutex<HashMap<Vec<u8>, bool>>,
}

/// Why revocation lists are refused; the fault is that of who made the file. The old ones stay in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// No trust anchor: everybody would be shut out.
    #[error("there is no trust anchor")]
    NoAnchor,
    /// No list where there were some before.
    #[error("there is no revocation list where there was one before")]
    Gone,
    /// Not a revocation list in DER.
    #[error("revocation list {index} cannot be read")]
    Malformed {
        /// Its place among those given.
        index: usize,
    },
    /// Its time is over.
    #[error("revocation list {index} ran out (hint: have its issuer make a new one)")]
    RanOut {
        /// Its place among those given.
        index: usize,
    },
    /// It names a trust anchor that did not sign it.
    #[error("revocation list {index} is not signed by its issuer")]
    Signature {
        /// Its place among those given.
        index: usize,
    },
    /// What rustls says.
    #[error("the revocation lists cannot be used")]
    Unusable(#[from] VerifierBuilderError),
}

impl ClientCheck {
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        crls: Vec<CertificateRevocationListDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<ClientCheck, VerifierBuilderError> {
        let hints = Hints::default();
        hints.set(roots.subjects());
        let current = ArcSwap::from_pointee(Current::new(roots, crls, &provider)?);
        Ok(ClientCheck { provider, hints, current, changes: watch::Sender::new(0) })
    }

    fn replace(
        &self,
        anchors: Option<RootCertStore>,
        crls: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<(), CrlError> {
        let before = self.current.load();
        let roots = anchors.map_or_else(|| Arc::clone(&before.roots), Arc::new);
        if roots.is_empty() {
            return Err(CrlError::NoAnchor);
        }
        if crls.is_empty() && before.has_lists {
            return Err(CrlError::Gone);
        }
        for (index, crl) in crls.iter().enumerate() {
            self.judge(&roots, index, crl)?;
        }
        self.hints.set(roots.subjects());
        self.current.store(Arc::new(Current::new(roots, crls, &self.provider)?));
        self.changes.send_modify(|generation| *generation += 1);
        Ok(())
    }

    /// Changes whenever lists were replaced.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether a certificate that was good at its handshake is revoked now.
    pub(crate) fn revokes(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((own, intermediates)) = chain.split_first() else { return false };
        if off(Defence::ClientRevocation) {
            return false;
        }
        let current = self.current.load();
        let judged = || current.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(revoked) = judged().get(own.as_ref()) {
            return *revoked;
        }
        let verdict = current.verifier.verify_client_cert(own, intermediates, UnixTime::now());
        let revoked = matches!(
            verdict,
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Revoked | CertificateError::UnknownIssuer
            ))
        );
        judged().insert(own.as_ref().to_vec(), revoked);
        revoked
    }

    fn judge(
        &self,
        roots: &RootCertStore,
        index: usize,
        crl: &CertificateRevocationListDer<'_>,
    ) -> Result<(), CrlError> {
        let (rest, list) =
            CertificateRevocationList::from_der(crl).map_err(|_| CrlError::Malformed { index })?;
        if !rest.is_empty() {
            return Err(CrlError::Malformed { index });
        }
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let ends_s = list.next_update().map(|time| time.timestamp());
        if ends_s.is_some_and(|ends_s| u64::try_from(ends_s).unwrap_or(0) <= now_s) {
            return Err(CrlError::RanOut { index });
        }
        // Another issuer may be an intermediate that clients show; of the anchors the keys are known.
        let issuer = list.issuer().as_raw();
        let mut keys = roots.roots.iter().filter(|root| sequence(&root.subject) == issuer);
        let Some(first) = keys.next() else { return Ok(()) };
        let signed = std::iter::once(first).chain(keys).any(|root| {
            let spki = sequence(&root.subject_public_key_info);
            let Ok((_, spki)) = SubjectPublicKeyInfo::from_der(&spki) else { return false };
            let (key, words) = (&spki.subject_public_key.data, list.tbs_cert_list.as_ref());
            let algorithms = self.provider.signature_verification_algorithms.all.iter();
            algorithms.into_iter().any(|algorithm| {
                algorithm.verify_signature(key, words, &list.signature_value.data).is_ok()
            })
        });
        if signed { Ok(()) } else { Err(CrlError::Signature { index }) }
    }
}

impl Current {
    fn new(
        roots: Arc<RootCertStore>,
        crls: Vec<CertificateRevocationListDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Current, VerifierBuilderError> {
        let (store, provider) = (Arc::clone(&roots), Arc::clone(provider));
        let mut verifier = WebPkiClientVerifier::builder_with_provider(store, provider);
        let has_lists = !crls.is_empty();
        let revoked = crls.iter().map(|crl| entries(crl)).sum();
        if has_lists {
            verifier = verifier.with_crls(crls).enforce_revocation_expiration();
        }
        let verifier = verifier.build()?;
        Ok(Current { roots, verifier, has_lists, revoked, judged: Mutex::default() })
    }
}

/// Certificates that a list revokes; none that cannot be read, which rustls refuses.
fn entries(crl: &[u8]) -> usize {
    let list = CertificateRevocationList::from_der(crl);
    list.map_or(0, |(_, list)| list.iter_revoked_certificates().count())
}

/// The anchors' names, which clients choose a certificate by. rustls borrows them for as long as the check lives, so
/// those of before stay; when there is no more room, the last ones do.
#[derive(Debug, Default)]
struct Hints([OnceLock<Vec<DistinguishedName>>; ANCHOR_CHANGES]);

impl Hints {
    fn set(&self, names: Vec<DistinguishedName>) {
        if self.newest().iter().map(AsRef::as_ref).eq(names.iter().map(AsRef::<[u8]>::as_ref)) {
            return;
        }
        let _full = self.0.iter().try_fold(names, |names, slot| slot.set(names).err());
    }

    fn newest(&self) -> &[DistinguishedName] {
        self.0.iter().rev().find_map(OnceLock::get).map_or(&[], Vec::as_slice)
    }
}

/// A SEQUENCE of this content in DER: trust anchors are kept without their heads.
fn sequence(content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1);
    let length = &length[significant..];
    let mut der = vec![0x30];
    if content.len() >= 0x80 {
        der.push(0x80 | length.len() as u8);
    }
    der.extend_from_slice(length);
    der.extend_from_slice(content);
    der
}

impl fmt::Debug for ClientCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCheck")
            .field("changes", &*self.changes.borrow())
            .finish_non_exhaustive()
    }
}

/// It also wants a name, so that a nameless client is refused by an alert.
impl ClientCertVerifier for ClientCheck {
    fn client_auth_mandatory(&self) -> bool {
        !off(Defence::ClientCertificate)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.hints.newest()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let current = self.current.load();
        let verified = current.verifier.verify_client_cert(end_entity, intermediates, now);
        let verified = match off(Defence::ClientIssuer) {
            true => Ok(ClientCertVerified::assertion()),
            false => verified,
        };
        let verified = verified.and_then(|verified| match identity::names(end_entity) {
            Ok(_) => Ok(verified),
            Err(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        });
        verified.inspect_err(|_| failed::refused(end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current.load().verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current.load().verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current.load().verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_has_its_head_again() {
        assert_eq!(sequence(&[]), [0x30, 0]);
        assert_eq!(sequence(&[5, 0]), [0x30, 2, 5, 0]);
        assert_eq!(sequence(&[7; 0x80])[..4], [0x30, 0x81, 0x80, 7]);
        assert_eq!(sequence(&[7; 0x1234])[..5], [0x30, 0x82, 0x12, 0x34, 7]);
    }
}
