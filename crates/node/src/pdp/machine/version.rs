//! A version on its way into an element: staged beside what runs, then activated or abandoned. Where nothing runs yet, the
//! runtime starts with it.

use std::time::Instant;

use anyhow::{Result, bail};
use ringmail_model::PathVersion;
use ringmail_model::domain::{Domain, Keying};
use ringmail_model::pathset::PathSet;
use ringmail_model::pdp::{Documents, Nack, Offer, Usage};

use super::Machine;
use super::runtime::Asked;
use crate::attach::alone;
use crate::control::{self, Fault, ToElement};

/// A version that is staged, or on its way to be.
pub(super) struct Staging {
    pub(super) version: PathVersion,
    documents: Documents,
    pub(super) domain: Domain,
    offer: Offer,
    /// Elements of it that are away.
    absent: Vec<String>,
    pub(super) how: How,
}

/// How the runtime comes to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Certificates are missing for it.
    Waits,
    /// It is built beside what runs.
    Beside,
    /// The runtime starts with it.
    Start,
}

impl Machine {
    /// Remembers a version, and has it built beside what runs.
    pub(super) async fn stage(
        &mut self,
        documents: Documents,
        set: &PathSet,
        offer: Offer,
    ) -> Result<()> {
        let version = set.version;
        // Seen is seen, before anything else is done with it.
        self.dir.save_held(self.follower.held())?;
        let role = set.element_named(&self.settings.name).map(|element| element.role);
        if role != Some(self.settings.role) {
            let (name, ours) = (&self.settings.name, self.settings.role);
            let why = format!("`{name}` is {role:?} in it, and was started as {ours:?}");
            self.refuse(version, why);
            return Ok(());
        }
        let domain = match ringmail_model::check::load(&documents.domain_file, "domain file") {
            Ok(loaded) => loaded.domain,
            Err(wrong) => {
                self.refuse(version, format!("the domain file: {wrong}"));
                return Ok(());
            }
        };
        if domain.keying != Keying::Sap {
            self.refuse(version, "`keying: psk` is for one machine".to_owned());
            return Ok(());
        }
        if let Some(element) = set.element_named(&self.settings.name)
            && let Err(why) = alone::check(&domain, set, element)
        {
            self.refuse(version, format!("{why:#}"));
            return Ok(());
        }
        self.want_listener_certificates(&domain)?;
        let (absent, how) = (Vec::new(), How::Waits);
        self.staging = Some(Staging { version, documents, domain, offer, absent, how });
        self.build_staged().await
    }

    /// Has the staged version built, unless certificates are missing for it.
    pub(super) async fn build_staged(&mut self) -> Result<()> {
        let waits = self.wanted.values().any(|wanted| wanted.usage != Usage::Element);
        let Some(staging) = self.staging.as_ref().filter(|s| s.how == How::Waits && !waits) else {
            return Ok(());
        };
        let (version, counts) = (staging.version, staging.offer == Offer::Counts);
        let (listeners, services) = match self
            .listeners_of(&staging.domain)
            .and_then(|listeners| Ok((listeners, self.services_of(&staging.domain)?)))
        {
            Ok(both) => both,
            Err(error) => {
                self.refuse(version, format!("{error:#}"));
                return Ok(());
            }
        };
        let Documents { paths, domain_file, .. } = &staging.documents;
        let how = match &mut self.feed {
            None => {
                self.follower.staged(Instant::now(), version);
                How::Start
            }
            Some(feed) => {
                let request = feed.question();
                let stage = ToElement::Stage {
                    request,
                    text: domain_file.clone(),
                    document: paths.bytes.clone().into(),
                    signature: paths.signature.clone().into(),
                    listeners,
                    services,
                    counts,
                };
                feed.tell(&stage).await?;
                if !staging.absent.is_empty() {
                    let (version, elements) = (version.0, staging.absent.clone());
                    feed.tell(&ToElement::Absent { version, elements }).await?;
                }
                self.asked.insert(request, Asked::Stage(version));
                How::Beside
            }
        };
        if let Some(staging) = &mut self.staging {
            staging.how = how;
        }
        Ok(())
    }

    /// Elements of the version that is being staged are away: the runtime does without keys with them.
    pub(super) async fn absent(
        &mut self,
        version: PathVersion,
        elements: Vec<String>,
    ) -> Result<()> {
        let Some(staging) = self.staging.as_mut().filter(|staging| staging.version == version)
        else {
            return Ok(());
        };
        staging.absent.clone_from(&elements);
        match &mut self.feed {
            Some(feed) if staging.how == How::Beside => {
                feed.tell(&ToElement::Absent { version: version.0, elements }).await
            }
            _ => Ok(()),
        }
    }

    /// The runtime's answer to a version that it was to build.
    pub(super) fn built(&mut self, version: PathVersion, nack: Option<control::Nack>) {
        let now = Instant::now();
        let Some(staging) = self.staging.as_mut().filter(|staging| staging.version == version)
        else {
            return;
        };
        let Some(control::Nack { fault, reason, .. }) = nack else {
            return self.follower.staged(now, version);
        };
        // What counts for everybody else is worth a start where that helps, as is what an operator says is.
        if staging.offer != Offer::Proposed && matches!(fault, Fault::Domain | Fault::Element) {
            tracing::warn!(%version, reason, "the element has to start again for this version");
            staging.how = How::Start;
            return self.follower.staged(now, version);
        }
        let code = match fault {
            Fault::Neighbour => Nack::NoKeys,
            Fault::Signer | Fault::Domain | Fault::Element => Nack::Unbuildable,
        };
        self.follower.not_staged(now, version, code, reason);
        self.staging = None;
    }

    pub(super) async fn activate(&mut self, version: PathVersion) -> Result<()> {
        let Some(staging) = self.staging.take_if(|staging| staging.version == version) else {
            self.follower.not_activated(Instant::now(), version, "it is not there".to_owned());
            return Ok(());
        };
        match &mut self.feed {
            Some(feed) if staging.how == How::Beside => {
                let request = feed.question();
                feed.tell(&ToElement::Activate { request, version: version.0 }).await?;
                self.asked.insert(request, Asked::Activate(version));
            }
            Some(_) => {
                // Devices, sockets and connections go with the process; the next one begins with the version.
                let mut held = self.follower.held();
                held.active = version;
                self.dir.save_active(&staging.documents, held)?;
                bail!("version {version} takes a new start")
            }
            None => self.start(&staging.documents, &staging.domain, version).await?,
        }
        self.changing = Some(staging);
        Ok(())
    }

    /// The runtime's answer to a version that it was to activate.
    pub(super) async fn changed(
        &mut self,
        version: PathVersion,
        nack: Option<control::Nack>,
    ) -> Result<()> {
        let Some(nack) = nack else { return self.runs(version) };
        self.follower.not_activated(Instant::now(), version, nack.reason);
        self.staging = self.staging.take().or(self.changing.take());
        self.abandon(version).await
    }

    pub(super) async fn abandon(&mut self, version: PathVersion) -> Result<()> {
        let Some(staging) = self.staging.take_if(|staging| staging.version == version) else {
            return Ok(());
        };
        self.asked.retain(|_, asked| *asked != Asked::Stage(version));
        match &mut self.feed {
            Some(feed) if staging.how == How::Beside => {
                let request = feed.question();
                feed.tell(&ToElement::Abandon { request, version: version.0 }).await
            }
            _ => Ok(()),
        }
    }

    /// The runtime runs this version.
    pub(super) fn runs(&mut self, version: PathVersion) -> Result<()> {
        let Some(staging) = self.changing.take_if(|changing| changing.version == version) else {
            return Ok(());
        };
        let mut held = self.follower.held();
        held.active = version;
        self.dir.save_active(&staging.documents, held)?;
        self.refused = None;
        self.committed = self.committed.max(Some(version));
        self.domain = Some(staging.domain);
        self.follower.activated(Instant::now(), version);
        tracing::info!(%version, "runs the version");
        self.notifier.status(&format!("runs version {version}"));
        Ok(())
    }

    /// A version that cannot be built here, whatever the runtime says.
    fn refuse(&mut self, version: PathVersion, why: String) {
        self.staging.take_if(|staging| staging.version == version);
        self.follower.not_staged(Instant::now(), version, Nack::Unbuildable, why);
    }
}
