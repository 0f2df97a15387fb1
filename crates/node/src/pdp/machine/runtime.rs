//! The element's runtime: started with the version that counts here, told what is new, and heard.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use ringmail_model::domain::Domain;
use ringmail_model::pathset::{Expected, PublicKey};
use ringmail_model::pdp::Documents;
use ringmail_model::{PathDigest, PathVersion};

use super::super::feed::Feed;
use super::super::limits::START_WITHIN;
use super::super::store::Enrolled;
use super::{Machine, unix_s};
use crate::attach::alone;
use crate::conductor::blobs;
use crate::control::{FromElement, Secret, ToElement};

/// What the runtime was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Whether it serves, after a start with this version.
    Start(PathVersion),
    /// To build this version beside what runs.
    Stage(PathVersion),
    /// To change to it.
    Activate(PathVersion),
    /// What control asks about packets, by its number.
    Look(u32),
}

impl Machine {
    /// Begins with the version that ran last, if there is one and it holds.
    pub(super) async fn start_from_disk(&mut self) -> Result<()> {
        let held = self.follower.held();
        let Some(documents) = self.dir.documents()? else {
            self.follower.lost_active();
            self.notifier.status("waits for its first version");
            return Ok(());
        };
        let expected = Expected {
            domain: &self.enrolled.bundle.trust_domain,
            highest_version: held.active,
            now_unix_s: unix_s(),
        };
        let key = PublicKey(self.enrolled.bundle.path_key);
        let set = match documents.verify(&key, &expected) {
            Ok(set) => set,
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(
                    error,
                    "the version that ran last does not hold; waiting for another"
                );
                self.follower.lost_active();
                self.notifier.status("waits for a version that holds");
                return Ok(());
            }
        };
        let domain = ringmail_model::check::load(&documents.domain_file, "domain file")?.domain;
        if let Some(element) = set.element_named(&self.settings.name) {
            alone::check(&domain, &set, element)?;
        }
        tracing::info!(version = %set.version, "begins with the version that ran last");
        self.domain = Some(domain.clone());
        self.start(&documents, &domain, set.version).await
    }

    /// Starts the runtime with a version. It serves when it answers.
    pub(super) async fn start(
        &mut self,
        documents: &Documents,
        domain: &Domain,
        version: PathVersion,
    ) -> Result<()> {
        let (listeners, services) = (self.listeners_of(domain)?, self.services_of(domain)?);
        self.shown.clone_from(&listeners);
        let mut feed = Feed::start(&self.settings.name)?;
        self.leases.begin();
        self.asked.clear();
        self.operators.clear();
        self.trace_ends = None;
        feed.tell(&ToElement::Domain { text: documents.domain_file.clone() }).await?;
        let paths = ToElement::PathSet {
            document: documents.paths.bytes.clone().into(),
            signature: documents.paths.signature.clone().into(),
            signing_key: self.enrolled.bundle.path_key.to_vec().into(),
        };
        feed.tell(&paths).await?;
        let services = services.into_iter().map(ToElement::ServiceTls);
        for told in listeners.into_iter().map(ToElement::Listener).chain(services) {
            feed.tell(&told).await?;
        }
        let request = feed.question();
        self.asked.insert(request, Asked::Start(version));
        self.serves_by = Some(Instant::now() + START_WITHIN);
        self.feed = Some(feed);
        self.tell_identity().await?;
        if let Some(feed) = &mut self.feed {
            feed.tell(&ToElement::Status { request }).await?;
        }
        Ok(())
    }

    pub(super) async fn tell_identity(&mut self) -> Result<()> {
        let Enrolled { key, certificates, bundle, .. } = &self.enrolled;
        let message = ToElement::KeptIdentity {
            key: Secret::new(key.danger_pkcs8().to_vec()),
            certificate_chain: blobs(&certificates.chain),
            trust_anchors: blobs(&bundle.roots),
            crls: blobs(&bundle.crls),
            signing_key: bundle.path_key.to_vec().into(),
        };
        match &mut self.feed {
            Some(feed) => feed.tell(&message).await,
            None => Ok(()),
        }
    }

    pub(super) async fn runtime_said(&mut self, said: Option<FromElement>) -> Result<()> {
        let now = Instant::now();
        let Some(said) = said else {
            return self.start_failed("it has ended by itself".to_owned()).await;
        };
        if let Some(operator) = said.request().and_then(|request| self.operators.remove(&request)) {
            // Who asked may be gone.
            drop(operator.send(said));
            return Ok(());
        }
        let asked = said.request().and_then(|request| self.asked.remove(&request));
        match (said, asked) {
            (FromElement::Status { .. }, Some(Asked::Start(version))) => {
                self.serves_by = None;
                self.runs(version)?;
            }
            (said, Some(Asked::Look(number))) => self.looked(number, said),
            (FromElement::Staged { nack, .. }, Some(Asked::Stage(version))) => {
                self.built(version, nack);
            }
            (FromElement::Activated { nack, .. }, Some(Asked::Activate(version))) => {
                self.changed(version, nack).await?;
            }
            (FromElement::LeaseRequest { digest }, _) => {
                let digest = digest.0.as_slice().try_into().map(PathDigest);
                let digest = digest.context("a path digest has 32 bytes")?;
                if let (Some(kept), Some(feed)) = (self.leases.kept(digest), &mut self.feed) {
                    let signed = kept.to_bytes().to_vec().into();
                    feed.tell(&ToElement::Lease { signed }).await?;
                }
                self.follower.request_lease(now, digest);
            }
            (FromElement::Ready, _) => {
                tracing::info!("all paths have keys");
                self.notifier.status("all paths have keys");
            }
            (FromElement::Failed { causes }, _) => {
                return self.start_failed(causes.join(": ")).await;
            }
            (FromElement::Hello { .. }, _) => {}
            (other, _) => tracing::debug!(?other, "nothing to do with this"),
        }
        Ok(())
    }

    /// The runtime is gone. If that came of a new version, what ran before is started again.
    async fn start_failed(&mut self, why: String) -> Result<()> {
        self.feed = None;
        self.operators.clear();
        let starting = self.serves_by.take().is_some();
        let Some(staging) = self.changing.take().filter(|_| starting) else {
            bail!("the element: {why}")
        };
        tracing::error!(version = %staging.version, why, "the version does not run here");
        self.follower.not_activated(Instant::now(), staging.version, why);
        match self.follower.held().active {
            PathVersion(0) => Ok(()),
            _ => Box::pin(self.start_from_disk()).await,
        }
    }
}
