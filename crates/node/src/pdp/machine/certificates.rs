//! The certificates of a machine: the element's own, renewed in time, and those of the gateway's listeners, over keys that
//! are made here.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ringmail_gateway::tls::Site;
use ringmail_model::domain::{Certificate, Domain, Listener};
use ringmail_model::pathset::Role;
use ringmail_model::pdp::{Nack, Usage};
use ringmail_trust::{Certificates, ElementKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::super::limits::LISTENER_RETRY;
use super::super::store::ListenerCertificate;
use super::version::How;
use super::{Machine, unix_s};
use crate::control::{ListenerTls, Secret, ServiceTls, ToElement};
use crate::limits::LISTENERS_LOOKED_AT_EVERY;
use crate::listeners;

/// A listener's certificate that holds shorter than this is asked for anew.
const LISTENER_RENEWED_BEFORE_S: u64 = 30 * 86_400;

/// A certificate that control was asked for.
pub(super) struct Wanted {
    pub(super) usage: Usage,
    request: Vec<u8>,
    key: ElementKey,
    server_names: Vec<String>,
}

impl Machine {
    /// Asks for a certificate over a new key, now or when control is there.
    pub(super) fn ask_for_certificate(
        &mut self,
        usage: Usage,
        server_names: Vec<String>,
    ) -> Result<()> {
        if self.wanted.values().any(|wanted| wanted.usage == usage) {
            return Ok(());
        }
        let key = ElementKey::generate()?;
        let domain = &self.enrolled.bundle.trust_domain;
        let request = key.signing_request(domain, &self.settings.name)?.to_vec();
        self.next_number += 1;
        let number = self.next_number;
        let (asked, bytes) = (usage.clone(), request.clone());
        self.follower.request_certificate(Instant::now(), number, asked, bytes);
        self.wanted.insert(number, Wanted { usage, request, key, server_names });
        Ok(())
    }

    /// What was asked for in a session that is over is asked for again.
    pub(super) fn ask_again(&mut self) {
        for (number, wanted) in &self.wanted {
            let (usage, request) = (wanted.usage.clone(), wanted.request.clone());
            self.follower.request_certificate(Instant::now(), *number, usage, request);
        }
    }

    pub(super) async fn certificate(
        &mut self,
        number: u32,
        chain: Vec<Vec<u8>>,
        not_after_unix_s: u64,
        detail: String,
    ) -> Result<()> {
        let Some(wanted) = self.wanted.remove(&number) else { return Ok(()) };
        if chain.is_empty() {
            tracing::error!(usage = ?wanted.usage, detail, "control gives no certificate");
            if wanted.usage != Usage::Element
                && let Some(staging) = self.staging.take_if(|staging| staging.how == How::Waits)
            {
                let now = Instant::now();
                self.follower.not_staged(now, staging.version, Nack::Unbuildable, detail);
            }
            return Ok(());
        }
        match wanted.usage {
            Usage::Element => {
                let chain = chain.into_iter().map(CertificateDer::from).collect();
                self.enrolled.certificates = Certificates { chain, not_after_unix_s };
                self.enrolled.key = wanted.key.private_key();
                self.dir.save_enrolled(&self.enrolled)?;
                self.renew_at = self.renewal();
                tracing::info!("the element's certificate is renewed");
                self.tell_identity().await
            }
            Usage::Listener { listener, index } => {
                let certificate = ListenerCertificate {
                    server_names: wanted.server_names,
                    chain: chain.into_iter().map(Into::into).collect(),
                    key: Secret::new(wanted.key.private_key().danger_pkcs8().to_vec()),
                    not_after_unix_s,
                };
                self.listeners.insert(format!("{listener}/{index}"), certificate);
                self.dir.save_listeners(&self.listeners)?;
                self.show_listeners().await?;
                self.build_staged().await
            }
        }
    }

    /// Asks for the certificates of the version's listeners that the authority gives and that are not there, or run out.
    pub(super) fn want_listener_certificates(&mut self, domain: &Domain) -> Result<()> {
        if self.settings.role != Role::Gateway {
            return Ok(());
        }
        let mut missing = Vec::new();
        for listener in &domain.gateway.listeners {
            for (index, wanted) in (0u16..).zip(&listener.certificates) {
                let names: Vec<String> =
                    wanted.server_names.iter().map(ToString::to_string).collect();
                let kept = self.listeners.get(&format!("{}/{index}", listener.name));
                let good = kept.is_some_and(|kept| {
                    kept.server_names == names
                        && kept.not_after_unix_s > unix_s() + LISTENER_RENEWED_BEFORE_S
                });
                if wanted.files.is_none() && !good {
                    let listener = listener.name.to_string();
                    missing.push((Usage::Listener { listener, index }, names));
                }
            }
        }
        missing.into_iter().try_for_each(|(usage, names)| self.ask_for_certificate(usage, names))
    }

    /// Renews what the listeners of the version that runs show: certificates in time, files when they change.
    pub(super) async fn look_after_listeners(&mut self) -> Result<()> {
        let now = Instant::now();
        self.listeners_at = now + LISTENERS_LOOKED_AT_EVERY;
        let Some(domain) = self.domain.clone() else { return Ok(()) };
        if now >= self.listeners_asked_at {
            self.listeners_asked_at = now + LISTENER_RETRY;
            self.want_listener_certificates(&domain)?;
        }
        self.show_listeners().await
    }

    /// Tells the runtime what its listeners show, where that is not what it was told.
    async fn show_listeners(&mut self) -> Result<()> {
        let (Some(domain), Some(_)) = (&self.domain, &self.feed) else { return Ok(()) };
        let listeners = match self.listeners_of(domain) {
            Ok(listeners) => listeners,
            Err(error) => {
                let error = format!("{error:#}");
                // Once, and not with every look.
                if self.listeners_said.replace(error.clone()).as_ref() != Some(&error) {
                    tracing::error!(error, "certificates of listeners are not renewed");
                }
                return Ok(());
            }
        };
        self.listeners_said = None;
        for is in listeners {
            let Some(feed) = &mut self.feed else { continue };
            match self.shown.iter_mut().find(|was| was.name == is.name) {
                Some(was) if !listeners::shows_others(was, &is) => continue,
                Some(was) => was.clone_from(&is),
                // It came with a version that was built beside what ran.
                None => self.shown.push(is.clone()),
            }
            feed.tell(&ToElement::Listener(is)).await?;
        }
        Ok(())
    }

    /// What the gateway's listeners show, and whom they believe; nothing for other elements.
    pub(super) fn listeners_of(&self, domain: &Domain) -> Result<Vec<ListenerTls>> {
        if self.settings.role != Role::Gateway {
            return Ok(Vec::new());
        }
        let told = |listener: &Listener| {
            let issued = |index: usize, _: &Certificate| {
                let kept = self.listeners.get(&format!("{}/{index}", listener.name));
                let kept = kept.context("control has given no certificate for it yet")?;
                let key = kept.key.danger_bytes().to_vec();
                let key = PrivateKeyDer::try_from(key).map_err(anyhow::Error::msg)?;
                let chain = kept.chain.iter().map(|der| der.0.clone().into()).collect();
                Ok(Site { names: kept.server_names.clone(), chain, key })
            };
            let (bundle, folder) = (&self.enrolled.bundle, &self.settings.files);
            let files = (&*self.dir.roots_file(), &*self.dir.crl_file());
            let told =
                listeners::described(&domain.gateway, listener, bundle, folder, files, &issued);
            let mut told = told.with_context(|| format!("listener `{}`", listener.name))?;
            told.wireguard = listeners::wireguard_keys(domain, listener, folder)?;
            Ok(told)
        };
        domain.gateway.listeners.iter().map(told).collect()
    }

    /// How the gateway speaks TLS with services and decision points; nothing for other elements.
    pub(super) fn services_of(&self, domain: &Domain) -> Result<Vec<ServiceTls>> {
        match self.settings.role {
            Role::Gateway => listeners::peers(domain, &self.settings.files),
            _ => Ok(Vec::new()),
        }
    }

    /// Another root signs from now on: what the one before signed is renewed, so that it may go.
    pub(super) fn renew_all(&mut self) {
        tracing::info!("another root signs: certificates are renewed");
        let now = Instant::now();
        (self.renew_at, self.listeners_at, self.listeners_asked_at) = (now, now, now);
        let due = unix_s() + LISTENER_RENEWED_BEFORE_S;
        for kept in self.listeners.values_mut() {
            kept.not_after_unix_s = kept.not_after_unix_s.min(due);
        }
    }

    /// When the certificate is to be renewed: when half of its time is over.
    pub(super) fn renewal(&self) -> Instant {
        let half = ringmail_trust::limits::ELEMENT_LASTS / 2;
        let left = self.enrolled.certificates.not_after_unix_s.saturating_sub(unix_s());
        Instant::now() + Duration::from_secs(left).saturating_sub(half)
    }
}
