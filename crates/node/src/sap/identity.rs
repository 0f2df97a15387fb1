//! Whom a session is with: the X.509-SVID that TLS authenticated, and the one SPIFFE id in it.
//!
//! X509-SVID section 2: exactly one URI in the subject alternative name. Path validation is RFC 5280's, by webpki, with the
//! domain's roots and revocation lists; the name is compared byte for byte, since this domain made it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use ringmail_model::defence::{Defence, off};
use ringmail_trust::TrustBundle;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DistinguishedName, Error, OtherError, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList, RevocationOptionsBuilder,
};

use super::error::SetupError;

/// Accepts the SVIDs of these elements, and of nobody else.
pub(crate) struct SvidVerifier {
    roots: Arc<RootCertStore>,
    crls: Vec<CertRevocationList<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    expected: BTreeSet<String>,
}

/// The peer has a good certificate and is somebody else than the path names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer is {found}, and not {expected}")]
pub(super) struct WrongPeer {
    found: String,
    expected: String,
}

impl SvidVerifier {
    pub(crate) fn new(
        bundle: &TrustBundle,
        algorithms: WebPkiSupportedAlgorithms,
        expected: impl IntoIterator<Item = String>,
    ) -> Result<SvidVerifier, SetupError> {
        let list = |der: &rustls_pki_types::CertificateRevocationListDer<'static>| {
            OwnedCertRevocationList::from_der(der).map(CertRevocationList::from)
        };
        Ok(SvidVerifier {
            roots: bundle.root_store().map_err(SetupError::Roots)?,
            crls: bundle
                .crls
                .iter()
                .map(list)
                .collect::<Result<_, _>>()
                .map_err(SetupError::Crl)?,
            algorithms,
            expected: expected.into_iter().collect(),
        })
    }

    pub(crate) fn verify(
        &self,
        svid: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), Error> {
        let lists: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        // A list that is out of date still counts: how fresh it is is the trust plane's to see to, and the leases, which
        // it signs too, end soon without it.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| options.build());
        let certificate = EndEntityCert::try_from(svid).map_err(refuse)?;
        let verified = certificate
            .verify_for_usage(
                self.algorithms.all,
                &self.roots.roots,
                intermediates,
                now,
                usage,
                revocation,
                None,
            )
            .map_err(refuse);
        if !off(Defence::ElementIssuer) {
            verified?;
        }
        let found = spiffe_id(svid).unwrap_or("nobody with one SPIFFE id");
        if self.expected.contains(found) || off(Defence::NeighbourName) {
            return Ok(());
        }
        let expected = self.expected.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
        let wrong = WrongPeer { found: found.to_owned(), expected };
        Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
    }
}

/// The SPIFFE id of an SVID, if there is exactly one URI in it.
pub(crate) fn spiffe_id<'a>(svid: &'a CertificateDer<'_>) -> Option<&'a str> {
    // The names borrow from the certificate's bytes, which outlive the view.
    let certificate = EndEntityCert::try_from(svid).ok()?;
    let mut names = certificate.valid_uri_names();
    let name = names.next()?;
    names.next().is_none().then_some(name)
}

/// What webpki says in rustls's words, so that the alert is the right one (RFC 8446 section 6.2).
fn refuse(error: webpki::Error) -> Error {
    let known = match error {
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        webpki::Error::CertExpired { time, not_after } => {
            CertificateError::ExpiredContext { time, not_after }
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    known.into()
}

impl fmt::Debug for SvidVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SvidVerifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

/// How signatures are checked is the same for both roles and for every verifier with `algorithms`; rustls asks it of each.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Err(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls_pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

pub(crate) use signatures;

impl ServerCertVerifier for SvidVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, now, KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for SvidVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now, KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}
