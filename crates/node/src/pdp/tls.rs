//! TLS as path distribution needs it: both sides with their certificates, or, to enrol, control's alone and the
//! fingerprint of the domain's root (`docs/pdp.md`, "The session" and "Enrolment").

use std::sync::Arc;

use ringmail_model::pdp::ALPN;
use ringmail_trust::{Identity, Token, TrustBundle};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{CertificateError, ClientConfig, Error, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::sap::SetupError;
use crate::sap::identity::{SvidVerifier, signatures};
use crate::sap::tls::{algorithms, client_config, server_config};

/// The ALPN protocol id of enrolments.
pub(super) const ENROL_ALPN: &[u8] = b"ringmail-enrol/1";

/// How control takes sessions of these elements (SPIFFE ids).
pub(super) fn sessions(
    identity: &Identity,
    bundle: &TrustBundle,
    elements: impl IntoIterator<Item = String>,
) -> Result<(Arc<ServerConfig>, Arc<SvidVerifier>), SetupError> {
    let verifier = Arc::new(SvidVerifier::new(bundle, algorithms(), elements)?);
    let config = server_config(identity.for_tls(), Some(verifier.clone()), ALPN)?;
    Ok((Arc::new(config), verifier))
}

/// How control takes enrolments: it shows the root, too, which the element's token names.
pub(super) fn enrolments(
    identity: &Identity,
    bundle: &TrustBundle,
) -> Result<Arc<ServerConfig>, SetupError> {
    let (mut chain, key) = identity.for_tls();
    chain.extend(bundle.roots.iter().cloned());
    Ok(Arc::new(server_config((chain, key), None, ENROL_ALPN)?))
}

/// How an element dials control.
pub(super) fn element(
    identity: &Identity,
    bundle: &TrustBundle,
) -> Result<Arc<ClientConfig>, SetupError> {
    let control = bundle.trust_domain.control_id();
    let verifier = Arc::new(SvidVerifier::new(bundle, algorithms(), [control])?);
    Ok(Arc::new(client_config(Some(identity), verifier, ALPN)?))
}

/// How an element dials control that has nothing but a token.
pub(super) fn enrolling(token: &Token) -> Result<Arc<ClientConfig>, SetupError> {
    let verifier = Arc::new(NamedRoot { token: token.clone(), algorithms: algorithms() });
    Ok(Arc::new(client_config(None, verifier, ENROL_ALPN)?))
}

/// Believes the root of a token's fingerprint, and behind it control alone.
#[derive(Debug)]
struct NamedRoot {
    token: Token,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for NamedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let root = intermediates.iter().find(|root| self.token.names_root(root));
        let root = root.ok_or(CertificateError::UnknownIssuer)?;
        let bundle = TrustBundle {
            trust_domain: self.token.trust_domain.clone(),
            roots: vec![root.clone().into_owned()],
            crls: Vec::new(),
            path_key: [0; 32],
        };
        let control = bundle.trust_domain.control_id();
        let verifier = SvidVerifier::new(&bundle, self.algorithms, [control])
            .map_err(|_| CertificateError::BadEncoding)?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    signatures!();
}
