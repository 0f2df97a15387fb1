//! The life of an element: it makes a key, is told who it is and what its paths are, serves, and answers questions.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use ringmail_dataplane::replay::WindowPackets;
use ringmail_gateway::tls::{ClientTrust, Site};
use ringmail_gateway::{ServiceOptions, ServiceTls, Services};
use ringmail_model::PathVersion;
use ringmail_model::domain::{Domain, Keying};
use ringmail_model::pathset::{Element, Expected, PathSet, PublicKey, Role, SignedPathSet};
use ringmail_trust::{Certificates, ElementKey, Identity, PrivateKey, TrustBundle};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio::sync::mpsc;

use super::agreement::Agreement;
use super::chain::Chains;
use super::command::Command;
use super::keys::Keys;
use super::logfile;
use super::observe::Observer;
use super::proxy::{self, ListenerTls, Proxy};
use super::summary::Summaries;
use super::worker::{Core, Handle};
use super::{Workshop, build, inner, pin, psk, status};
use crate::control::{
    Blob, ControlChannel, FromElement, Receiver, Secret, Sender, ServerCertificate, ToElement,
};
use crate::sap::Notice;

/// What an element was told before it begins.
pub(super) struct Told {
    pub(super) domain: Domain,
    pub(super) set: PathSet,
    element: Element,
    identity: Identity,
    bundle: TrustBundle,
    pub(super) listeners: Vec<ListenerTls>,
    /// How the gateway speaks to services.
    pub(super) services: Services,
    psk: Option<Secret>,
}

/// Runs the element of this name until its parent says shut down or is gone.
///
/// # Errors
/// Whatever keeps it from serving. The parent is told the same.
pub async fn run(name: &str, control: ControlChannel, workshop: Workshop) -> Result<()> {
    let (mut receiver, mut sender) = control.split();
    let outcome = serve(name, &mut receiver, &mut sender, &workshop).await;
    if let Err(error) = &outcome {
        let causes = error.chain().map(ToString::to_string).collect();
        // The parent may be gone; the log has it all the same.
        drop(sender.send(&FromElement::Failed { causes }).await);
    }
    outcome
}

async fn serve(
    name: &str,
    receiver: &mut Receiver<ToElement>,
    sender: &mut Sender<FromElement>,
    workshop: &Workshop,
) -> Result<()> {
    let Some(told) = learn(name, receiver, sender).await? else { return Ok(()) };
    let window = WindowPackets::new(told.domain.limits.replay_window_packets)?;
    let (ended, mut ends) = mpsc::unbounded_channel();
    let mut cores = cores(&told)?;
    if let Some(secret) = &told.psk {
        tracing::warn!("keying `psk`: static keys, no forward secrecy; for comparison only");
        if told.domain.psk.as_ref().is_some_and(|psk| psk.danger_same_keys_every_start) {
            tracing::warn!(
                "`danger_same_keys_every_start`: sequence numbers begin again under the same keys"
            );
        }
        psk::install(&told.set, told.element.id, secret.danger_bytes(), window, &mut cores)?;
    }
    let workers = workshop.start(&told.set, &told.element, cores, &ended)?;
    if told.element.role != Role::Hop {
        inner::configure(&told.domain, told.element.role).await.context("the inner side")?;
    }
    let chains = chains(&told.domain, &told.set, &told.element, &workers);
    let proxy =
        start_proxy(&told.domain, &told.set, chains.as_ref(), told.listeners, told.services)?;
    let observer = Observer {
        domain: Arc::new(told.domain.clone()),
        set: Arc::new(told.set.clone()),
        element: told.element.clone(),
        workers: workers.clone(),
        chains,
        taps: Arc::default(),
    };
    // Who looks into the element is answered beside the element's other work.
    let (seen, mut sights) = mpsc::unbounded_channel();
    let mut agreement = match told.psk {
        Some(_) => None,
        None => {
            let keys = Keys::new(workers.clone(), window);
            let (domain, set, element) = (&told.domain, &told.set, &told.element);
            let agreement =
                Agreement::start(domain, set, element, &told.identity, &told.bundle, keys);
            Some(agreement.await?)
        }
    };
    let _summaries = Summaries::start(workers.clone());
    let mut ready = false;
    let outcome = loop {
        if !ready && agreement.as_ref().is_none_or(Agreement::is_complete) {
            sender.send(&FromElement::Ready).await?;
            ready = true;
        }
        tokio::select! {
            message = receiver.recv() => match message? {
                None | Some(ToElement::Shutdown { .. }) => break Ok(()),
                Some(ToElement::Status { request }) => {
                    let of = status::Parts {
                        domain: &told.domain,
                        set: &told.set,
                        element: &told.element,
                        workers: &workers,
                        proxy: proxy.as_ref(),
                        agreement: agreement.as_ref(),
                    };
                    let status = status::of(of).await;
                    sender.send(&FromElement::Status { request, status }).await?;
                }
                Some(ToElement::ExportKeys { request }) => {
                    let answer = match &agreement {
                        Some(agreement) => {
                            let keys = agreement.keys().danger_export(&told.set);
                            FromElement::Keys { request, keys }
                        }
                        None => {
                            let reason = "with keying `psk` the keys are the domain file's".to_owned();
                            FromElement::Refused { request, reason }
                        }
                    };
                    sender.send(&answer).await?;
                }
                Some(ToElement::Pin { request, flow }) => {
                    let answer = match pin::pin(&told.set, &workers, &flow).await {
                        Ok(()) => FromElement::Pinned { request },
                        Err(error) => FromElement::Refused { request, reason: format!("{error:#}") },
                    };
                    sender.send(&answer).await?;
                }
                Some(ToElement::Lease { signed }) => {
                    if let Some(agreement) = &agreement {
                        agreement.lease(&signed.0).await;
                    }
                }
                Some(ToElement::Observe { request, question }) => {
                    let (observer, seen) = (observer.clone(), seen.clone());
                    tokio::spawn(async move {
                        let answer = match observer.answer(question).await {
                            Ok(answer) => FromElement::Observed { request, answer },
                            Err(error) => FromElement::Refused { request, reason: format!("{error:#}") },
                        };
                        // The element may have ended meanwhile.
                        drop(seen.send(answer));
                    });
                }
                Some(ToElement::KeptIdentity { key, certificate_chain, trust_anchors, crls }) => {
                    let chain = certificates(certificate_chain);
                    let identity =
                        kept_identity(Certificates { chain, not_after_unix_s: 0 }, &key);
                    let (roots, crls) = (certificates(trust_anchors), lists(crls));
                    let bundle = TrustBundle { roots, crls, ..told.bundle.clone() };
                    if let Some(agreement) = &agreement
                        && let Err(error) = agreement.set_trust(&identity, &bundle)
                    {
                        tracing::error!(%error, "the renewed identity is not used");
                    }
                }
                Some(other) => tracing::debug!(?other, "nothing to do with this message"),
            },
            Some(sight) = sights.recv() => sender.send(&sight).await?,
            notice = next_notice(agreement.as_mut()) => {
                if let Some(agreement) = &mut agreement
                    && let Some(request) = agreement.heed(notice).await
                {
                    sender.send(&request).await?;
                }
            }
            Some(end) = ends.recv() => break stopped(end),
        }
    };
    if let Some(agreement) = agreement {
        agreement.stop().await;
    }
    if let Some(proxy) = proxy {
        tokio::task::spawn_blocking(|| proxy.stop()).await?;
    }
    workers.iter().for_each(|worker| worker.give(Command::Stop));
    tokio::task::spawn_blocking(logfile::finish).await?;
    outcome
}

async fn next_notice(agreement: Option<&mut Agreement>) -> Notice {
    match agreement {
        Some(agreement) => agreement.next_notice().await,
        None => std::future::pending().await,
    }
}

fn stopped(end: io::Result<()>) -> Result<()> {
    match end {
        Ok(()) => bail!("a worker stopped by itself"),
        Err(error) => Err(error).context("a worker's link failed"),
    }
}

/// Says hello and listens until everything is there; `None` if the parent has no use for the element any more.
pub(super) async fn learn(
    name: &str,
    receiver: &mut Receiver<ToElement>,
    sender: &mut Sender<FromElement>,
) -> Result<Option<Told>> {
    let key = ElementKey::generate()?;
    // The name in the request does not count, so that the domain need not be known yet.
    let csr = key.signing_request(&"element.invalid".parse()?, &name.parse()?)?;
    sender.send(&FromElement::Hello { csr: csr.to_vec().into() }).await?;
    let (mut domain, mut paths, mut listeners, mut psk) = (None, None, Vec::new(), None);
    let mut legs = Vec::new();
    loop {
        let (message, kept) = match receiver.recv().await? {
            Some(ToElement::KeptIdentity { key, certificate_chain, trust_anchors, crls }) => {
                (Some(ToElement::Identity { certificate_chain, trust_anchors, crls }), Some(key))
            }
            other => (other, None),
        };
        match message {
            None | Some(ToElement::Shutdown { .. }) => return Ok(None),
            Some(ToElement::Domain { text }) => {
                let loaded = ringmail_model::check::load(&text, "domain file")?;
                domain = Some(loaded.domain);
            }
            Some(ToElement::PathSet { document, signature, signing_key }) => {
                let signed = SignedPathSet { bytes: document.0, signature: signature.0 };
                paths = Some((signed, signing_key));
            }
            Some(ToElement::Listener {
                name,
                certificates,
                trust_anchors,
                crls,
                crl_files,
                access_log,
            }) => {
                let told = listener(name, certificates, trust_anchors, crls)?;
                listeners.push(ListenerTls { crl_files, access_log, ..told });
            }
            Some(ToElement::ServiceTls { service, trust_anchors, certificate }) => {
                legs.push((service, trust_anchors, certificate));
            }
            Some(ToElement::Psk { secret }) => psk = Some(secret),
            Some(ToElement::Identity { certificate_chain, trust_anchors, crls }) => {
                let domain: Domain = domain.context("no domain was told before the identity")?;
                let (signed, signing_key) =
                    paths.context("no paths were told before the identity")?;
                let path_key = <[u8; 32]>::try_from(signing_key.0.as_slice())?;
                let expected = Expected {
                    domain: &domain.domain,
                    highest_version: PathVersion(0),
                    now_unix_s: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
                };
                let set = signed.verify(&PublicKey(path_key), &expected)?;
                let element = set.element_named(name).cloned();
                let element = element.with_context(|| format!("no element is named `{name}`"))?;
                if (domain.keying == Keying::Psk) != psk.is_some() {
                    bail!("the keying of the domain and the keys that were told do not agree");
                }
                let svid =
                    Certificates { chain: certificates(certificate_chain), not_after_unix_s: 0 };
                let bundle = TrustBundle {
                    trust_domain: domain.domain.clone(),
                    roots: certificates(trust_anchors),
                    crls: lists(crls),
                    path_key,
                };
                let services = match element.role {
                    Role::Gateway => services(&domain, legs)?,
                    _ => Services::new(),
                };
                let identity = match kept {
                    Some(kept) => kept_identity(svid, &kept),
                    None => key.into_identity(svid),
                };
                return Ok(Some(Told {
                    domain,
                    set,
                    element,
                    identity,
                    bundle,
                    listeners,
                    psk,
                    services,
                }));
            }
            Some(other) => tracing::debug!(?other, "nothing to do with this message yet"),
        }
    }
}

fn kept_identity(svid: Certificates, key: &Secret) -> Identity {
    Identity::new(svid, PrivateKey::from_pkcs8(key.danger_bytes().to_vec()))
}

fn cores(told: &Told) -> Result<Vec<Core>> {
    let (domain, set, element) = (&told.domain, &told.set, &told.element);
    let sides = match element.role {
        Role::Hop => (0..element.workers.max(1)).map(|_| None).collect(),
        Role::Gateway | Role::Egress => {
            inner::create(domain, set, element)?.into_iter().map(Some).collect::<Vec<_>>()
        }
    };
    sides.into_iter().map(|inner| build::core(domain, set, element, inner)).collect()
}

/// By which a gateway's connections go into chains.
fn chains(domain: &Domain, set: &PathSet, element: &Element, workers: &[Handle]) -> Option<Chains> {
    let sources = inner::gateway_addresses(domain);
    let services: BTreeMap<_, _> = proxy::services(domain, set);
    (element.role == Role::Gateway)
        .then(|| Chains::new(workers.to_vec(), sources, services, proxy::variants(domain, set)))
}

fn start_proxy(
    domain: &Domain,
    set: &PathSet,
    chains: Option<&Chains>,
    listeners: Vec<ListenerTls>,
    legs: Services,
) -> Result<Option<Proxy>> {
    chains.map(|chains| Proxy::start(domain, set, chains, listeners, legs)).transpose()
}

/// How the gateway speaks to services: what the domain file says, with what was read of its files.
fn services(
    domain: &Domain,
    told: Vec<(String, Vec<Blob>, Option<ServerCertificate>)>,
) -> Result<Services> {
    let mut services = Services::new();
    for service in &domain.services {
        let options = ServiceOptions {
            tls: None,
            proxy_protocol: service.proxy_protocol,
            forwarded: service.forwarded,
            client_certificate: service.x_forwarded_client_cert,
        };
        services.insert(service.name.to_string(), options);
    }
    for (name, anchors, own) in told {
        let wanted = domain.services.iter().find(|service| *service.name == *name);
        let wanted = wanted.and_then(|service| service.tls.as_ref());
        let (Some(wanted), Some(options)) = (wanted, services.get_mut(&name)) else { continue };
        let mut roots = rustls::RootCertStore::empty();
        for anchor in certificates(anchors) {
            roots
                .add(anchor)
                .with_context(|| format!("service `{name}`: a trust anchor is none"))?;
        }
        let own = own.map(|own| {
            let key = PrivateKeyDer::try_from(own.key.danger_bytes().to_vec());
            let key = key.map_err(|error| anyhow::anyhow!("service key: {error}"))?;
            Ok::<_, anyhow::Error>((certificates(own.chain), key))
        });
        let tls = ServiceTls::new(roots, &wanted.server_name, own.transpose()?);
        options.tls = Some(tls.with_context(|| format!("service `{name}`"))?);
    }
    for service in &domain.services {
        let ready = services.get(&*service.name).is_some_and(|options| options.tls.is_some());
        if service.tls.is_some() && !ready {
            bail!("the trust anchors of service `{}` were not told", service.name);
        }
    }
    Ok(services)
}

fn listener(
    name: String,
    sites: Vec<ServerCertificate>,
    trust_anchors: Vec<Blob>,
    crls: Vec<Blob>,
) -> Result<ListenerTls> {
    let mut roots = rustls::RootCertStore::empty();
    for anchor in certificates(trust_anchors) {
        roots.add(anchor).with_context(|| format!("listener `{name}`: a trust anchor is none"))?;
    }
    let site = |site: ServerCertificate| -> Result<Site> {
        let key = PrivateKeyDer::try_from(site.key.danger_bytes().to_vec());
        let key = key.map_err(|error| anyhow::anyhow!("listener key: {error}"))?;
        Ok(Site { names: site.server_names, chain: certificates(site.chain), key })
    };
    Ok(ListenerTls {
        sites: sites.into_iter().map(site).collect::<Result<_>>()?,
        clients: ClientTrust { roots: roots.into(), crls: lists(crls) },
        crl_files: Vec::new(),
        access_log: None,
        name,
    })
}

fn certificates(blobs: Vec<Blob>) -> Vec<CertificateDer<'static>> {
    blobs.into_iter().map(|blob| CertificateDer::from(blob.0)).collect()
}

fn lists(blobs: Vec<Blob>) -> Vec<CertificateRevocationListDer<'static>> {
    blobs.into_iter().map(|blob| CertificateRevocationListDer::from(blob.0)).collect()
}
