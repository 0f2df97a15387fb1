//! A domain whose elements all run on this machine: its parent asks them and signs as control.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ringmail_model::domain::Domain;
use ringmail_trust::Identity;
use ringmail_trust::limits::ELEMENT_LASTS;

use super::keeper::{Ask, Settings};
use super::usual_place;
use crate::control::{Observe, Observed};
use crate::issuer::Issuer;
use crate::pdp::control_identity;
use crate::supervise::{ElementState, Handle};

/// Elements below one parent.
#[derive(Debug)]
pub(crate) struct DomainSite {
    issuer: Arc<Issuer>,
    elements: Handle,
    /// Who signs, since when.
    identity: Mutex<Option<(SystemTime, Identity)>>,
}

impl DomainSite {
    pub(crate) fn new(issuer: Arc<Issuer>, elements: Handle) -> DomainSite {
        DomainSite { issuer, elements, identity: Mutex::default() }
    }

    /// Control's name over a key of this process; another one before it runs out.
    fn signer(&self) -> Result<Identity> {
        let mut known = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let young = |since: &SystemTime| since.elapsed().is_ok_and(|age| age < ELEMENT_LASTS / 4);
        if let Some((since, identity)) = known.as_ref()
            && young(since)
        {
            return Ok(identity.clone());
        }
        let identity = control_identity(self.issuer.authority())?;
        *known = Some((SystemTime::now(), identity.clone()));
        Ok(identity)
    }
}

impl Settings {
    /// What a domain file says; relative places begin at `folder`, and what it leaves out is in `state`.
    pub(crate) fn of(domain: &Domain, folder: &Path, state: &Path) -> Option<Settings> {
        let proofs = &domain.proofs;
        let every = Duration::from_secs(proofs.summary_every_s.into());
        let named = proofs.directory.as_ref().map(|directory| folder.join(directory));
        (proofs.summaries && domain.profile.has_nsh()).then(|| Settings {
            domain: domain.domain.to_string(),
            every,
            kept: proofs.summaries_kept,
            directory: named.unwrap_or_else(|| usual_place(state)),
        })
    }
}

impl Ask for DomainSite {
    fn settings(&self) -> BoxFuture<'_, Option<Settings>> {
        let active = self.issuer.active();
        let settings = Settings::of(&active.domain, active.folder(), self.issuer.authority_dir());
        async { settings }.boxed()
    }

    fn identity(&self) -> BoxFuture<'_, Result<Identity>> {
        async { self.signer() }.boxed()
    }

    fn elements(&self) -> BoxFuture<'_, Vec<String>> {
        let of_domain: Vec<String> =
            self.issuer.active().set.elements.iter().map(|e| e.name.clone()).collect();
        let all = self.elements.elements().into_iter();
        let ready = all.filter(|(_, _, state)| *state == ElementState::Ready);
        let names = ready.map(|(name, ..)| name).filter(|name| of_domain.contains(name)).collect();
        async { names }.boxed()
    }

    fn observe(
        &self,
        element: String,
        question: Observe,
    ) -> BoxFuture<'_, Result<Observed, String>> {
        let ask = async move {
            let answer = self.elements.observe(&element, question).await;
            answer.map_err(|error| {
                let causes = std::iter::successors(std::error::Error::source(&error), |error| {
                    error.source()
                });
                causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
            })
        };
        ask.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn files_go_where_the_domain_file_says() {
        let text = include_str!("../../../../examples/campus.yaml");
        let mut domain = ringmail_model::check::load(text, "campus.yaml").expect("a domain").domain;
        let of = |domain: &Domain| Settings::of(domain, Path::new("/etc/x"), Path::new("/var/ca"));
        let settings = of(&domain).expect("some are written");
        assert_eq!(settings.directory, PathBuf::from("/var/ca/summaries"));
        assert_eq!(settings.every, Duration::from_secs(3_600));
        domain.proofs.directory = Some(PathBuf::from("audit"));
        let settings = of(&domain).expect("some are written");
        assert_eq!(settings.directory, PathBuf::from("/etc/x/audit"));
        domain.proofs.summaries = false;
        assert!(of(&domain).is_none());
    }
}
