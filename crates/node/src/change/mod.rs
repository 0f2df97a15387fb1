//! Another version of the domain for all elements of a machine, in two phases: staged everywhere, then activated
//! everywhere. One no, and it is abandoned everywhere; nothing has changed then.
//!
//! ```text
//!  ringmail reload ── admin socket ──► Changer ──┬─ Stage ───► every element     keys for the new paths
//!                                                ├─ Activate ► hops, egresses
//!                                                └─ Activate ► gateway           what begins now takes them
//! ```

mod report;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use ringmail_model::domain::{Domain, Service};
use ringmail_model::pathset::Role;

pub use self::report::{ElementAnswer, ReloadReport};
use crate::assemble;
use crate::control::{Fault, FromElement, Nack, ToElement};
use crate::issuer::{Issued, Issuer};
use crate::layout::Layout;
use crate::limits::{ANSWER_WITHIN, STAGE_WITHIN};
use crate::supervise::{Handle, RequestError};

/// Changes a running domain.
#[derive(Debug)]
pub struct Changer {
    issuer: Arc<Issuer>,
    layout: Layout,
}

impl Changer {
    /// A changer of the domain that `issuer` issues, as it runs in this layout.
    pub fn new(issuer: Arc<Issuer>, layout: Layout) -> Changer {
        Changer { issuer, layout }
    }

    /// The gateway that runs now, and how long it may drain.
    pub fn gateway(&self) -> Option<(String, Duration)> {
        let active = self.issuer.active();
        let gateway = active.set.elements.iter().find(|element| element.role == Role::Gateway)?;
        Some((gateway.name.clone(), Duration::from_millis(active.domain.limits.drain_ms.into())))
    }

    /// Brings the elements to the domain of this file, or only tries whether that would do. `folder` is where the file's
    /// relative paths begin.
    ///
    /// # Errors
    /// What is wrong with the file; no element was asked. The no of an element is in the report.
    pub async fn reload(
        &self,
        elements: &Handle,
        text: String,
        folder: &Path,
        dry_run: bool,
    ) -> Result<ReloadReport> {
        let mut domain = ringmail_model::check::load(&text, "domain file")?.domain;
        if self.layout == Layout::Single {
            assemble::one_worker_each(&mut domain);
        }
        let before = self.issuer.active();
        let issued = self.issuer.stage(&domain, text, folder)?;
        let changed = self.in_two_phases(elements, &before, &issued, dry_run).await;
        if !matches!(&changed, Ok(report) if report.activated) {
            self.issuer.abandon();
        }
        changed
    }

    async fn in_two_phases(
        &self,
        elements: &Handle,
        before: &Issued,
        issued: &Issued,
        dry_run: bool,
    ) -> Result<ReloadReport> {
        same_places(&before.domain, &issued.domain)?;
        let version = issued.set.version.0;
        let asked = issued.set.elements.iter().map(|element| async {
            let nack = stage(elements, &element.name, element.role, issued).await.err();
            ElementAnswer { element: element.name.clone(), away: false, nack }
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
            let names = issued.set.elements.iter().map(|element| &element.name);
            join_all(names.map(|name| abandon(elements, name, version))).await;
            return Ok(report);
        }
        // From here on there is no way back: an element that does not follow is started again, with the new version.
        self.issuer.activate();
        let (last, first): (Vec<_>, Vec<_>) =
            issued.set.elements.iter().partition(|element| element.role == Role::Gateway);
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
        report.activated = true;
        Ok(report)
    }
}

async fn stage(elements: &Handle, name: &str, role: Role, issued: &Issued) -> Result<(), Nack> {
    let listeners = if role == Role::Gateway { issued.listeners.clone() } else { Vec::new() };
    let question = |request| ToElement::Stage {
        request,
        text: issued.text.clone(),
        document: issued.signed.bytes.clone().into(),
        signature: issued.signed.signature.clone().into(),
        listeners,
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

/// What lives in a namespace of its own has to be there.
fn same_places(before: &Domain, after: &Domain) -> Result<()> {
    let same = |what: &str, same: bool| {
        same.then_some(())
            .with_context(|| format!("{what} cannot come or go while the domain is up"))
    };
    let functions = |domain: &Domain| {
        domain.functions.iter().map(|f| f.name.clone()).collect::<std::collections::BTreeSet<_>>()
    };
    same("functions", functions(before) == functions(after))?;
    let services = |domain: &Domain| {
        // Only what hosts they answer to is the rules' alone.
        let all = domain.services.iter().map(|service| {
            let server_names = Vec::new();
            (service.name.clone(), Service { server_names, ..service.clone() })
        });
        all.collect::<std::collections::BTreeMap<_, _>>()
    };
    same("services and how they are spoken to", services(before) == services(after))?;
    let clients = |domain: &Domain| {
        let all = domain.clients.iter().filter_map(|c| Some((c.name.clone(), c.address?)));
        all.collect::<std::collections::BTreeMap<_, _>>()
    };
    same("clients with an address", clients(before) == clients(after))
}
