//! Another version of the domain for all elements of a machine, in two phases: staged everywhere, then activated
//! everywhere. One no, and it is abandoned everywhere; nothing has changed then.
//!
//! ```text
//!  ringmail reload ── admin socket ──► Changer ──┬─ Stage ───► every element     keys for the new paths
//!                                                ├─ Activate ► hops, egresses
//!                                                └─ Activate ► gateway           what begins now takes them
//! ```

mod places;
mod report;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use ringmail_model::check;
use ringmail_model::pathset::Role;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

pub use self::places::Places;
pub(crate) use self::places::{Came, Wish};
pub use self::report::{ElementAnswer, ReloadReport};
use crate::assemble;
use crate::control::{Fault, FromElement, Nack, ToElement};
use crate::element::Workshop;
use crate::issuer::{Issued, Issuer};
use crate::layout::{self, Layout};
use crate::limits::{ANSWER_WITHIN, LISTENERS_LOOKED_AT_EVERY, RETIRE_AFTER_GATEWAY, STAGE_WITHIN};
use crate::supervise::{Handle, RequestError};
use crate::topology::Topology;

/// Changes a running domain.
#[derive(Debug)]
pub struct Changer {
    issuer: Arc<Issuer>,
    layout: Layout,
    /// The executable of ringmail, for elements that come.
    program: PathBuf,
}

impl Changer {
    /// A changer of the domain that `issuer` issues, as it runs in this layout.
    pub fn new(issuer: Arc<Issuer>, layout: Layout, program: PathBuf) -> Changer {
        Changer { issuer, layout, program }
    }

    /// The gateways that run now, and how long they may drain.
    pub fn gateways(&self) -> (Vec<String>, Duration) {
        let active = self.issuer.active();
        let gateways = active.set.elements.iter().filter(|element| element.role == Role::Gateway);
        let names = gateways.map(|gateway| gateway.name.clone()).collect();
        (names, Duration::from_millis(active.domain.limits.drain_ms.into()))
    }

    /// Renews what the gateway's listeners show, for as long as it is asked: certificates in time, files when they change.
    pub async fn renew_listeners(&self, elements: &Handle) {
        let mut said = None;
        loop {
            sleep(LISTENERS_LOOKED_AT_EVERY).await;
            let issuer = Arc::clone(&self.issuer);
            let looked = spawn_blocking(move || issuer.renew_listeners(SystemTime::now())).await;
            let others = match looked {
                Ok(Ok(others)) => others,
                Ok(Err(error)) => {
                    let error = format!("{error:#}");
                    // Once, and not with every look.
                    if said.replace(error.clone()).as_ref() != Some(&error) {
                        tracing::error!(error, "certificates of listeners are not renewed");
                    }
                    continue;
                }
                Err(_) => continue,
            };
            said = None;
            let (gateways, _) = self.gateways();
            for (gateway, told) in gateways.iter().flat_map(|g| others.iter().map(move |t| (g, t)))
            {
                // One that is being started again is told the new ones anyway.
                drop(elements.send(gateway, ToElement::Listener(told.clone())));
            }
        }
    }

    /// Tells the elements in time who they are and whom they believe, for as long as it is asked.
    pub async fn renew_identities(&self, elements: &Handle) {
        loop {
            sleep(LISTENERS_LOOKED_AT_EVERY).await;
            let issuer = Arc::clone(&self.issuer);
            match spawn_blocking(move || issuer.renew_identities(SystemTime::now())).await {
                Ok(Ok(news)) => {
                    for (element, told) in news {
                        // One that is being started again is told with its start.
                        drop(elements.send(&element, told));
                    }
                }
                Ok(Err(error)) => {
                    tracing::error!(error = format!("{error:#}"), "identities are not renewed");
                }
                Err(_) => {}
            }
        }
    }

    /// Brings the elements to the domain of this file, or only tries whether that would do. `folder` is where the file's
    /// relative paths begin.
    ///
    /// # Errors
    /// What is wrong with the file; no element was asked. The no of an element is in the report.
    pub async fn reload(
        &self,
        elements: &Handle,
        places: &Places,
        text: String,
        folder: &Path,
        dry_run: bool,
    ) -> Result<ReloadReport> {
        let mut domain = check::load(&text, "domain file")?.domain;
        if self.layout == Layout::Single {
            assemble::one_worker_each(&mut domain);
        }
        let before = self.issuer.active();
        check::in_place(&before.text, &text, "domain file")?;
        let issued = self.issuer.stage(&domain, text, folder)?;
        let changed = self.in_two_phases(elements, places, &before, &issued, dry_run).await;
        if !matches!(&changed, Ok(report) if report.activated) {
            self.issuer.abandon();
        }
        changed
    }

    async fn in_two_phases(
        &self,
        elements: &Handle,
        places: &Places,
        before: &Issued,
        issued: &Issued,
        dry_run: bool,
    ) -> Result<ReloadReport> {
        let network = layout::network(&issued.domain, &issued.set)?;
        let stay = network.namespaces.iter().map(|known| known.name.clone()).collect();
        let came = self.come(places, before, issued, network).await?;
        let version = issued.set.version.0;
        let (_, known): (Vec<_>, Vec<_>) =
            issued.set.elements.iter().partition(|known| came.elements.contains(&known.name));
        let asked = issued.set.elements.iter().map(|element| async {
            let within = STAGE_WITHIN + ANSWER_WITHIN;
            let answer = match came.elements.contains(&element.name) {
                // It began with this version, and has keys for it as soon as its neighbours do.
                true => elements.ready(&element.name, within).await.map_err(|error| {
                    Nack::new(Fault::Element, format!("it does not start: {error}"))
                        .hint("the log of `ringmail up` says why")
                }),
                false => stage(elements, &element.name, element.role, issued).await,
            };
            ElementAnswer { element: element.name.clone(), away: false, nack: answer.err() }
        });
        let answers = join_all(asked).await;
        let all = answers.iter().all(|answer| answer.nack.is_none());
        let mut report = ReloadReport {
            domain: issued.domain.domain.to_string(),
            version,
            dry_run,
            activated: false,
            elements: answers,
        };
        if !all || dry_run {
            let names = known.iter().map(|element| &element.name);
            join_all(names.map(|name| abandon(elements, name, version))).await;
            places.undo().await;
            return Ok(report);
        }
        // From here on there is no way back: an element that does not follow is started again, with the new version.
        self.issuer.activate();
        let (last, first): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|element| element.role == Role::Gateway);
        for together in [first, last] {
            let activated = together.into_iter().map(|element| async move {
                (element, activate(elements, &element.name, version).await)
            });
            for (element, activated) in join_all(activated).await {
                if let Err(nack) = activated {
                    tracing::error!(element = element.name, %nack, "did not follow");
                    elements.kill(&element.name);
                }
            }
        }
        let drain = Duration::from_millis(issued.domain.limits.drain_ms.into());
        places.stay(stay, Instant::now() + drain + RETIRE_AFTER_GATEWAY).await;
        report.activated = true;
        Ok(report)
    }

    /// Has the places made of what the version has and nothing runs by yet, and its elements started.
    async fn come(
        &self,
        places: &Places,
        before: &Issued,
        issued: &Issued,
        network: Topology,
    ) -> Result<Came> {
        if self.layout == Layout::Single {
            let names = |network: &Topology| -> BTreeSet<String> {
                network.namespaces.iter().map(|known| known.name.clone()).collect()
            };
            let now = layout::network(&before.domain, &before.set)?;
            ensure!(
                names(&now) == names(&network),
                "in layout `single` functions, services and clients with an address do not come or go while the domain \
                 runs (hint: `ringmail down`, then `ringmail up --layout processes` with this file)"
            );
            return Ok(Came::default());
        }
        let Issued { domain, set, .. } = issued;
        let (layout, program) = (self.layout, &self.program);
        let elements = assemble::elements(domain, set, layout, program, &Workshop::Threads)?;
        places.come(network, elements).await
    }
}

async fn stage(elements: &Handle, name: &str, role: Role, issued: &Issued) -> Result<(), Nack> {
    let listeners = if role == Role::Gateway { issued.listeners.clone() } else { Vec::new() };
    let services = if role == Role::Gateway { issued.services.clone() } else { Vec::new() };
    let question = |request| ToElement::Stage {
        request,
        text: issued.text.clone(),
        document: issued.signed.bytes.clone().into(),
        signature: issued.signed.signature.clone().into(),
        listeners,
        services,
        counts: false,
    };
    match elements.ask(name, STAGE_WITHIN + ANSWER_WITHIN, question).await {
        Ok(FromElement::Staged { nack: None, .. }) => Ok(()),
        Ok(FromElement::Staged { nack: Some(nack), .. }) => Err(nack),
        other => Err(unanswered(other)),
    }
}

async fn activate(elements: &Handle, name: &str, version: u64) -> Result<(), Nack> {
    let question = |request| ToElement::Activate { request, version };
    match elements.ask(name, ANSWER_WITHIN, question).await {
        Ok(FromElement::Activated { nack: None, .. }) => Ok(()),
        Ok(FromElement::Activated { nack: Some(nack), .. }) => Err(nack),
        other => Err(unanswered(other)),
    }
}

async fn abandon(elements: &Handle, name: &str, version: u64) {
    let question = |request| ToElement::Abandon { request, version };
    // One that is gone has forgotten it, too.
    if let Err(error) = elements.ask(name, ANSWER_WITHIN, question).await {
        tracing::debug!(element = name, %error, "a staged version was not abandoned");
    }
}

fn unanswered(answer: Result<FromElement, RequestError>) -> Nack {
    let reason = match answer {
        Ok(_) => RequestError::Mismatch.to_string(),
        Err(error) => error.to_string(),
    };
    Nack::new(Fault::Element, reason)
}
