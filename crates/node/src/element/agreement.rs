//! The element's side of key agreement: with whom, about which segments, and what its notices lead to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ringmail_dataplane::replay::WindowPackets;
use ringmail_dataplane::sap::{Event, SegmentView, Settled, SignedLease};
use ringmail_model::ElementId;
use ringmail_model::domain::{self, Domain};
use ringmail_model::pathset::{Element, PathSet};
use ringmail_trust::{Identity, TrustBundle};
use tokio::net::TcpListener;

use super::asked::Asked;
use super::keys::{Answer, Keys};
use super::relations::{neighbours, profile, relations};
use crate::control::FromElement;
use crate::limits::{AGREEMENT_ANSWERS_WITHIN, WORN_LOOKED_AT_EVERY};
use crate::sap::{Agreements, Driver, Notice, Settings, SetupError, Status, TcpDial};

/// A running agreement with all neighbours, and the associations that came of it.
pub(crate) struct Agreement {
    element: ElementId,
    driver: Driver,
    keys: Keys,
    asked: Asked,
    /// When it is looked next whether an association is worn.
    looks_at: tokio::time::Instant,
}

impl Agreement {
    /// Listens at the element's control address and begins to agree.
    ///
    /// # Errors
    /// When the address cannot be bound, or the identity is refused.
    pub(crate) async fn start(
        domain: &Domain,
        set: &PathSet,
        element: &Element,
        identity: &Identity,
        bundle: &TrustBundle,
        keys: Keys,
    ) -> Result<Agreement> {
        let listener = TcpListener::bind(element.control).await;
        let listener =
            listener.with_context(|| format!("no key agreement at {}", element.control))?;
        let settings = Settings {
            element: element.id,
            neighbours: neighbours([set].into_iter(), element.id)?,
            epoch_lifetime: Duration::from_secs(domain.limits.rekey_after_s.into()),
        };
        let driver = Driver::start(settings, identity, bundle, listener, Arc::new(TcpDial))?;
        let (asked, looks_at) = (Asked::default(), tokio::time::Instant::now());
        Ok(Agreement { element: element.id, driver, keys, asked, looks_at })
    }

    /// Agrees on the segments of all these path sets from now on; those that stay keep their associations.
    ///
    /// # Errors
    /// When a path set contradicts itself, which a verified one does not.
    pub(crate) async fn set_paths<'a>(
        &mut self,
        sets: impl Iterator<Item = &'a PathSet>,
    ) -> Result<()> {
        Ok(self.driver.set_neighbours(neighbours(sets, self.element)?).await?)
    }

    /// Takes windows and the age of keys from a version of the domain. With another window, or number of packets, every key
    /// is agreed anew, since an association keeps what it was made with.
    ///
    /// # Errors
    /// When the window is none, which a checked domain's is not.
    pub(crate) async fn set_limits(&mut self, limits: &domain::Limits) -> Result<()> {
        let window = WindowPackets::new(limits.replay_window_packets)?;
        self.driver.set_epoch_lifetime(Duration::from_secs(limits.rekey_after_s.into())).await;
        let window = self.keys.set_window(window);
        if self.keys.set_worn_packets(limits.rekey_after_packets) || window {
            self.driver.agreements().begin_epochs().await;
        }
        Ok(())
    }

    /// What the agreement asks for next; waits for ever once it has stopped.
    pub(crate) async fn next_notice(&mut self) -> Notice {
        loop {
            tokio::select! {
                notice = self.driver.next_notice() => match notice {
                    Some(notice) => return notice,
                    None => std::future::pending().await,
                },
                () = tokio::time::sleep_until(self.looks_at) => {
                    self.looks_at = tokio::time::Instant::now() + WORN_LOOKED_AT_EVERY;
                    for neighbour in self.keys.worn() {
                        tracing::info!(%neighbour, "keys are worn: a new epoch begins");
                        self.driver.agreements().begin_epoch(neighbour).await;
                    }
                }
            }
        }
    }

    /// Begins new epochs with all neighbours. The future, which holds nothing of the element, ends when all of them are in
    /// use everywhere, or with those that are after this time; neighbours that are late are named without an epoch.
    pub(crate) async fn rekey(
        &self,
        within: Duration,
    ) -> impl Future<Output = Vec<(ElementId, Option<Settled>)>> + Send + use<> {
        let waiting = self.driver.agreements().rekey().await;
        let until = tokio::time::Instant::now() + within;
        async move {
            let mut all = Vec::new();
            for (neighbour, settled) in waiting {
                let settled = tokio::time::timeout_at(until, settled).await;
                all.push((neighbour, settled.ok().and_then(Result::ok)));
            }
            all
        }
    }

    /// Does what a notice asks; what the parent must do comes back.
    pub(crate) async fn heed(&mut self, notice: Notice) -> Option<FromElement> {
        let Notice { neighbour, event } = notice;
        let agreements = self.driver.agreements();
        match event {
            Event::RenewLease { digest, .. } => {
                let ask = self.asked.ask(Instant::now(), digest);
                return ask.then(|| FromElement::LeaseRequest { digest: digest.0.to_vec().into() });
            }
            Event::Established { epoch, .. } => {
                tracing::debug!(%neighbour, %epoch, "key agreement established");
            }
            Event::EndSession { reason, .. } => {
                tracing::debug!(%neighbour, reason = &reason as &dyn std::error::Error, "key agreement session ended");
            }
            Event::RemoveInbound { spi, .. } => {
                self.keys.carry_out(neighbour, event).await;
                agreements.removed(spi);
            }
            event => match self.keys.carry_out(neighbour, event).await {
                Answer::Nothing => {}
                Answer::Installed(spi) => agreements.installed(neighbour, spi).await,
                Answer::InstallFailed(spi) => agreements.install_failed(neighbour, spi).await,
                Answer::Stopped(spi, last) => agreements.stopped(neighbour, spi, last).await,
            },
        }
        None
    }

    /// Passes on a lease that the parent got signed. One that is malformed is left out and the next one awaited.
    pub(crate) async fn lease(&mut self, signed: &[u8]) {
        match SignedLease::from_bytes(signed) {
            Some(lease) => {
                self.asked.came(lease.lease.digest);
                self.driver.agreements().set_lease(&lease).await;
            }
            None => tracing::error!(bytes = signed.len(), "what came is no lease"),
        }
    }

    /// Whether every path of the set that goes on from here can be sealed for its next segment.
    pub(crate) fn is_complete(&self, set: &PathSet) -> bool {
        self.missing(set).is_empty()
    }

    /// What this element would have to agree on with others before it can send along every path of the set.
    pub(crate) fn missing(&self, set: &PathSet) -> Vec<SegmentView> {
        let relations = relations(set, profile(set), self.element).unwrap_or_default();
        let own = relations.into_values().flatten().filter(|view| view.sender == self.element);
        own.filter(|view| !self.keys.can_send(view)).collect()
    }

    /// How the agreements with all neighbours stand. One that is busy is waited for, not for long.
    pub(crate) async fn status(&self) -> Vec<Status> {
        let agreements = self.driver.agreements();
        let asked = tokio::time::timeout(AGREEMENT_ANSWERS_WITHIN, agreements.status()).await;
        asked.unwrap_or_default()
    }

    /// Who the element is from now on, and whom it believes: counts for every handshake to come.
    ///
    /// # Errors
    /// [`SetupError`]; then everything is as it was.
    pub(crate) fn set_trust(
        &self,
        identity: &Identity,
        bundle: &TrustBundle,
    ) -> Result<(), SetupError> {
        self.driver.agreements().set_trust(identity, bundle)
    }

    /// The way to tell the agreements something.
    pub(crate) fn agreements(&self) -> Agreements {
        self.driver.agreements()
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(crate) async fn stop(self) {
        self.driver.stop().await;
    }
}
