//! The session with control: what it says is carried out, what the core makes is sent.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use ringmail_dataplane::sap::SignedLease;
use ringmail_model::pathset::PublicKey;
use ringmail_model::pdp::FollowerEvent;
use ringmail_trust::TrustBundle;

use super::super::limits::CLOCK_DIFFERS;
use super::super::link::Heard;
use super::super::session::Said;
use super::super::tls;
use super::{Machine, unix_s};
use crate::control::ToElement;

impl Machine {
    /// Moves what the core made.
    pub(super) async fn pump(&mut self) -> Result<()> {
        loop {
            while let Some(message) = self.follower.poll_transmit() {
                self.link.send(message);
            }
            match self.follower.poll_event() {
                Some(event) => self.carry_out(event).await?,
                None => return Ok(()),
            }
        }
    }

    pub(super) async fn heard(&mut self, heard: Heard) -> Result<()> {
        let now = Instant::now();
        match heard {
            Heard::Connected(_) => self.follower.connected(now),
            Heard::Failed(error) => {
                tracing::warn!(error, "control cannot be reached; what runs goes on");
                self.follower.disconnected(now);
            }
            Heard::Said(Said::Message(bytes)) => {
                self.follower.handle_message(now, unix_s(), &bytes);
            }
            Heard::Said(Said::Gone) => {
                tracing::warn!("the session with control is lost; what runs goes on");
                self.link.hang_up();
                self.follower.disconnected(now);
                self.end_trace().await?;
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, event: FollowerEvent) -> Result<()> {
        match event {
            FollowerEvent::Dial => {
                match tls::element(&self.enrolled.identity(), &self.enrolled.bundle) {
                    Ok(config) => self.link.dial(config),
                    Err(error) => {
                        tracing::error!(%error, "the element's certificate cannot be used");
                        self.follower.disconnected(Instant::now());
                    }
                }
            }
            FollowerEvent::HangUp(reason) => {
                tracing::warn!(%reason, "the session with control ends; what runs goes on");
                self.link.hang_up();
                self.end_trace().await?;
            }
            FollowerEvent::Greeted { now_unix_ms, committed } => {
                tracing::info!(%committed, "control has answered");
                self.committed = Some(committed);
                self.compare_clocks(now_unix_ms);
                self.ask_again();
            }
            FollowerEvent::Stage { documents, set, offer } => {
                self.stage(*documents, &set, offer).await?;
            }
            FollowerEvent::Absent { version, elements } => self.absent(version, elements).await?,
            FollowerEvent::Activate(version) => self.activate(version).await?,
            FollowerEvent::Abandon(version) => self.abandon(version).await?,
            FollowerEvent::Refused { version, reason, detail } => {
                tracing::warn!(%version, %reason, detail, "a version is refused");
                self.refused = Some((version, format!("{reason}: {detail}"), Instant::now()));
            }
            FollowerEvent::Lease(signed) => self.lease(&signed).await?,
            FollowerEvent::Certificate { number, chain, not_after_unix_s, detail } => {
                self.certificate(number, chain, not_after_unix_s, detail).await?;
            }
            FollowerEvent::Look { number, look } => self.look(number, look).await?,
            FollowerEvent::Bundle { roots, crls, path_key } => {
                let bundle = &mut self.enrolled.bundle;
                let before = bundle.clone();
                bundle.roots = roots.into_iter().map(Into::into).collect();
                bundle.crls = crls.into_iter().map(Into::into).collect();
                bundle.path_key = path_key;
                if *bundle != before {
                    let signs = |bundle: &TrustBundle| bundle.roots.first().cloned();
                    if signs(bundle) != signs(&before) {
                        self.renew_all();
                    }
                    self.follower.set_path_key(PublicKey(path_key));
                    self.dir.save_enrolled(&self.enrolled)?;
                    self.tell_identity().await?;
                }
            }
        }
        Ok(())
    }

    /// Keeps a lease, and passes it on.
    async fn lease(&mut self, signed: &[u8]) -> Result<()> {
        let Some(lease) = SignedLease::from_bytes(signed) else {
            tracing::error!(bytes = signed.len(), "what came is no lease");
            return Ok(());
        };
        self.leases.take(lease);
        match &mut self.feed {
            Some(feed) => feed.tell(&ToElement::Lease { signed: signed.to_vec().into() }).await,
            None => Ok(()),
        }
    }

    fn compare_clocks(&self, control_unix_ms: u64) {
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let differs = ours.abs_diff(Duration::from_millis(control_unix_ms));
        if differs > CLOCK_DIFFERS {
            let by_s = differs.as_secs();
            tracing::warn!(
                by_s,
                "this machine's clock is not control's: leases may seem to end early"
            );
        }
    }
}
