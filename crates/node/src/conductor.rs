//! What a domain's elements are told: certificates for their keys, the signed paths, leases, the gateway's listeners.
//!
//! The conductor is the only one that talks to the authority; elements see what it signs and nothing else of it. What it
//! tells them is a version of the domain; the [`Issuer`] makes another one beside it.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ringmail_model::domain::Domain;
use ringmail_model::pathset::{Element, PathSet, Role};
use ringmail_model::{ElementId, PathDigest};
use ringmail_trust::{Authority, EmbeddedCa};

use crate::control::{Blob, FromElement, ToElement};
use crate::issuer::Issuer;
use crate::supervise::Conductor;

/// Answers the elements of one domain.
#[derive(Debug)]
pub struct DomainConductor {
    issuer: Arc<Issuer>,
    /// Keying `psk`: in which life each element is that has the secret, from 0. A later one counts from 1 again, and so
    /// has other keys (ADR 0006).
    lives: BTreeMap<ElementId, u32>,
    /// Whom to tell of a later life.
    news: Vec<(String, ToElement)>,
}

impl DomainConductor {
    /// A conductor of a checked domain. `text` is the domain file, `folder` where its relative paths begin.
    ///
    /// # Errors
    /// When the authority refuses to sign, or a certificate file cannot be read.
    pub fn new(
        authority: Arc<EmbeddedCa>,
        domain: &Domain,
        text: String,
        set: PathSet,
        folder: &Path,
    ) -> Result<DomainConductor> {
        let issuer = Issuer::new(authority, domain, text, set, folder)?;
        Ok(DomainConductor { issuer: Arc::new(issuer), lives: BTreeMap::new(), news: Vec::new() })
    }

    /// Who issues what the elements are told, to change it.
    pub fn issuer(&self) -> Arc<Issuer> {
        Arc::clone(&self.issuer)
    }

    fn hello(&mut self, name: &str, request: &Blob) -> Result<Vec<ToElement>> {
        let issued = self.issuer.with_element(name);
        let issued = issued.with_context(|| format!("no element is named `{name}`"))?;
        let Issuer { authority, psk, .. } = &*self.issuer;
        let known = issued.set.element_named(name);
        let element = known.with_context(|| format!("no element is named `{name}`"))?;
        let (certificates, bundle) = self.issuer.identities().begin(authority, name, request)?;
        let mut told = vec![
            ToElement::Domain { text: issued.text.clone() },
            ToElement::PathSet {
                document: issued.signed.bytes.clone().into(),
                signature: issued.signed.signature.clone().into(),
                signing_key: bundle.path_key.to_vec().into(),
            },
        ];
        if element.role == Role::Gateway {
            told.extend(issued.listeners.iter().cloned().map(ToElement::Listener));
            told.extend(issued.services.iter().cloned().map(ToElement::ServiceTls));
        }
        if let Some(secret) = psk.clone() {
            let life = self.lives.get(&element.id).map_or(0, |life| life + 1);
            self.lives.insert(element.id, life);
            let later = self.lives.iter().filter(|(_, life)| **life > 0);
            let lives: BTreeMap<u16, u32> = later.map(|(id, life)| (id.0, *life)).collect();
            if life > 0 {
                // Those that have no secret yet hear of it with that.
                let others =
                    issued.set.elements.iter().filter(|other| {
                        other.id != element.id && self.lives.contains_key(&other.id)
                    });
                let news = |other: &Element| {
                    (other.name.clone(), ToElement::Lives { lives: lives.clone() })
                };
                self.news.extend(others.map(news));
            }
            told.push(ToElement::Psk { secret, lives });
        }
        // Last, because the element begins with it.
        told.push(ToElement::Identity {
            certificate_chain: blobs(&certificates.chain),
            trust_anchors: blobs(&bundle.roots),
            crls: blobs(&bundle.crls),
        });
        Ok(told)
    }

    fn lease(&self, name: &str, digest: &Blob) -> Result<Vec<ToElement>> {
        let digest = digest.0.as_slice().try_into().map(PathDigest);
        let digest = digest.map_err(|_| anyhow!("a path digest has 32 bytes"))?;
        let Some(issued) = self.issuer.with_path(digest) else {
            // It was taken out while the question was on its way.
            tracing::debug!(element = name, %digest, "no lease for a path that is over");
            return Ok(Vec::new());
        };
        let known = issued.set.element_named(name);
        let element = known.with_context(|| format!("no element is named `{name}`"))?;
        let path = issued.set.paths.iter().find(|path| path.digest == digest);
        let path = path.with_context(|| format!("no path has the digest {digest}"))?;
        let mut on_it = std::iter::once(path.origin).chain(path.visits().map(|hop| hop.element));
        ensure!(on_it.any(|id| id == element.id), "`{name}` is not on path `{}`", path.name);
        let lasts = Duration::from_secs(u64::from(self.issuer.active().domain.limits.lease_s));
        let signed = self.issuer.authority.sign_lease(element.id, digest, lasts)?;
        Ok(vec![ToElement::Lease { signed: signed.to_bytes().to_vec().into() }])
    }
}

impl Conductor for DomainConductor {
    fn answer(
        &mut self,
        element: &str,
        message: FromElement,
    ) -> Result<Vec<ToElement>, Box<dyn Error + Send + Sync>> {
        let told = match message {
            FromElement::Hello { csr } => self.hello(element, &csr),
            FromElement::LeaseRequest { digest } => self.lease(element, &digest),
            other => bail_unexpected(&other),
        };
        Ok(told?)
    }

    fn news(&mut self) -> Vec<(String, ToElement)> {
        std::mem::take(&mut self.news)
    }
}

fn bail_unexpected(message: &FromElement) -> Result<Vec<ToElement>> {
    bail!("an element says what nobody asked for: {message:?}")
}

pub(crate) fn blobs<T: AsRef<[u8]>>(all: &[T]) -> Vec<Blob> {
    all.iter().map(|der| Blob::from(der.as_ref().to_vec())).collect()
}
