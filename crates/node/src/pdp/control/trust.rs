//! By what control judges handshakes and sessions: who is an element, which certificates are revoked, and who it is itself.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use ringmail_model::pdp::{CloseReason, Message, SessionId};
use ringmail_trust::{Authority, ElementKey, EmbeddedCa, Identity, TrustBundle};
use rustls::ServerConfig;
use rustls_pki_types::UnixTime;

use super::super::press::Press;
use super::super::tls;
use super::hub::{Hub, Open, REISSUED_BEFORE, unix_ms};
use crate::sap::identity::SvidVerifier;

/// What handshakes are judged by, changed at one go.
pub(super) struct Trust {
    pub(super) sessions: Arc<ServerConfig>,
    pub(super) enrolments: Arc<ServerConfig>,
    verifier: Arc<SvidVerifier>,
}

impl Trust {
    pub(super) fn new(press: &Press, identity: &Identity, bundle: &TrustBundle) -> Result<Trust> {
        let (sessions, verifier) = tls::sessions(identity, bundle, press.spiffe_ids())?;
        Ok(Trust { sessions, enrolments: tls::enrolments(identity, bundle)?, verifier })
    }
}

impl Hub {
    /// Looks for revoked certificates, for what runs out, and for a certificate of its own.
    pub(super) fn look_for_news(&mut self) {
        let found = tokio::task::block_in_place(|| self.press.authority.trust_bundle());
        let mut other_root = false;
        match found {
            Ok(bundle) if bundle != self.bundle => {
                // Tokens name the root that signs: control shows a certificate of that one.
                other_root = bundle.roots.first() != self.bundle.roots.first();
                self.bundle = bundle;
                self.renew_trust();
                self.publisher.tell_all(Instant::now(), &told_bundle(&self.bundle));
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the authority does not say whom to believe"),
        }
        let half = ringmail_trust::limits::ELEMENT_LASTS / 2;
        let runs_out =
            self.identity.certificates().not_after_unix_s < unix_ms() / 1000 + half.as_secs();
        if runs_out || other_root {
            match tokio::task::block_in_place(|| identity(&self.press.authority)) {
                Ok(identity) => {
                    self.identity = identity;
                    self.renew_trust();
                }
                Err(error) => tracing::error!(%error, "control's certificate is not renewed"),
            }
        }
        if self.press.runs_out_within(REISSUED_BEFORE) && self.publisher.proposed().is_none() {
            self.reissue(Instant::now(), "", self.publisher.version());
        }
    }

    /// Judges handshakes, and the sessions that there are, by what is known now.
    pub(super) fn renew_trust(&mut self) {
        let trust = match Trust::new(&self.press, &self.identity, &self.bundle) {
            Ok(trust) => Arc::new(trust),
            Err(error) => return tracing::error!(%error, "control's certificate cannot be used"),
        };
        let verifier = trust.verifier.clone();
        self.trust.store(trust);
        let now = UnixTime::now();
        let refused = |open: &Open| {
            let Some((svid, rest)) = open.chain.split_first() else { return true };
            verifier.verify(svid, rest, now, webpki::KeyUsage::client_auth()).is_err()
        };
        let gone: Vec<SessionId> =
            self.sessions.iter().filter(|(_, open)| refused(open)).map(|(id, _)| *id).collect();
        for session in gone {
            self.publisher.hang_up(Instant::now(), session, CloseReason::Revoked);
        }
    }

    pub(super) fn tell_bundle(&mut self, element: &str) {
        self.publisher.tell(Instant::now(), element, &told_bundle(&self.bundle));
    }
}

fn told_bundle(bundle: &TrustBundle) -> Message {
    Message::Bundle {
        roots: bundle.roots.iter().map(|der| der.to_vec()).collect(),
        crls: bundle.crls.iter().map(|der| der.to_vec()).collect(),
        path_key: bundle.path_key,
    }
}

/// A new key and certificate for control itself.
pub(crate) fn identity(authority: &EmbeddedCa) -> Result<Identity> {
    let key = ElementKey::generate()?;
    let request = key.signing_request(authority.trust_domain(), &"control".parse()?)?;
    let certificates = authority.sign_control(&request)?;
    Ok(key.into_identity(certificates))
}
