//! A version of the domain as control has it.

use anyhow::{Context, Result};
use ringmail_model::PathVersion;
use ringmail_model::domain::Domain;
use ringmail_model::pathset::{Expected, PathSet, PublicKey, Role};
use ringmail_model::pdp::{Documents, Published};
use ringmail_trust::{Authority, EmbeddedCa};

/// A version of the domain.
#[derive(Debug)]
pub(in super::super) struct Pressed {
    pub(in super::super) domain: Domain,
    pub(in super::super) set: PathSet,
    pub(super) documents: Documents,
}

impl Pressed {
    /// As it is read again; its time may be over.
    pub(super) fn read(documents: Documents, authority: &EmbeddedCa) -> Result<Pressed> {
        let bundle = authority.trust_bundle()?;
        let set = PathSet::decode(&documents.paths.bytes)?;
        let expected = Expected {
            domain: authority.trust_domain(),
            highest_version: PathVersion(0),
            now_unix_s: set.not_before_unix_s,
        };
        let set = documents.verify(&PublicKey(bundle.path_key), &expected)?;
        let domain = ringmail_model::check::load(&documents.domain_file, "domain file")?.domain;
        Ok(Pressed { domain, set, documents })
    }

    /// As the protocol distributes it: the gateway activates it when all others have.
    ///
    /// # Errors
    /// It is longer than a message may be.
    pub(in super::super) fn published(&self) -> Result<Published> {
        let names = |only: Option<Role>| {
            let elements = self.set.elements.iter();
            let chosen = elements.filter(move |e| only.is_none_or(|role| e.role == role));
            chosen.map(|element| element.name.clone()).collect::<Vec<_>>()
        };
        let (members, last) = (names(None), names(Some(Role::Gateway)));
        let published = Published::new(self.set.version, self.documents.clone(), members, last);
        published.context("path set and domain file are longer than a message may be")
    }
}
