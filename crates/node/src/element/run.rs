//! The life of an element: it makes a key, is told who it is and what its paths are, serves, and answers questions.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use ringmail_dataplane::replay::WindowPackets;
use ringmail_gateway::tls::{ClientTrust, Site};
use ringmail_gateway::{ServiceOptions, ServiceTls, Services};
use ringmail_model::PathVersion;
use ringmail_model::domain::{Domain, Keying};
use ringmail_model::pathset::{Expected, PublicKey, Role, SignedPathSet};
use ringmail_trust::{Certificates, ElementKey, Identity, PrivateKey, TrustBundle};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::agreement::Agreement;
use super::chain::Chains;
use super::change::Serving;
use super::command::Command;
use super::keys::Keys;
use super::logfile;
use super::observe::Observer;
use super::proxy::{self, ListenerTls, Proxy};
use super::summary::Summaries;
use super::versions::{Ability, Version, Versions};
use super::worker::{Core, Handle};
use super::{Workshop, build, inner, pin, psk, status};
use crate::control::{
    self, Blob, ControlChannel, FromElement, Receiver, Secret, Sender, ServerCertificate, ToElement,
};
use crate::limits::{QUIET_FOR, QUIET_POLL_EVERY};
use crate::sap::Notice;

/// What an element was told before it begins.
pub(super) struct Told {
    pub(super) version: Version,
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
    let (ended, mut ends) = mpsc::unbounded_channel();
    let bundle = told.bundle.clone();
    let mut serving = begin(told, workshop, &ended).await?;
    let _summaries = Summaries::start(serving.workers.clone());
    // Who looks into the element is answered beside the element's other work.
    let (seen, mut sights) = mpsc::unbounded_channel();
    let taps = Arc::default();
    let mut ready = false;
    let mut terminate = Terminate::catch(workshop)?;
    let mut ending: Option<Ending> = None;
    let outcome = loop {
        let active = &serving.versions.active().set;
        if !ready
            && serving.agreement.as_ref().is_none_or(|agreement| agreement.is_complete(active))
        {
            sender.send(&FromElement::Ready).await?;
            ready = true;
        }
        let timeout = serving.next_timeout();
        tokio::select! {
            message = receiver.recv() => match message? {
                None => break Ok(()),
                // Whoever says it again is in a hurry.
                Some(ToElement::Shutdown { .. }) if ending.is_some() => break Ok(()),
                Some(ToElement::Shutdown { .. }) => match serving.proxy.take() {
                    Some((proxy, _)) => ending = Some(drained(proxy)),
                    None => break Ok(()),
                },
                Some(ToElement::Observe { request, question }) => {
                    let active = serving.versions.active();
                    let observer = Observer {
                        domain: Arc::new(active.domain.clone()),
                        set: Arc::new(active.set.clone()),
                        element: active.element.clone(),
                        workers: serving.workers.clone(),
                        chains: serving.proxy.as_ref().map(|(_, chains)| chains.clone()),
                        taps: Arc::clone(&taps),
                    };
                    let seen = seen.clone();
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
                    let bundle = TrustBundle { roots, crls, ..bundle.clone() };
                    if let Some(agreement) = &serving.agreement
                        && let Err(error) = agreement.set_trust(&identity, &bundle)
                    {
                        tracing::error!(%error, "the renewed identity is not used");
                    }
                }
                Some(message) => {
                    if let Some(answer) = serving.answer(message).await {
                        sender.send(&answer).await?;
                    }
                }
            },
            Some(sight) = sights.recv() => sender.send(&sight).await?,
            notice = next_notice(serving.agreement.as_mut()) => {
                if let Some(agreement) = &mut serving.agreement
                    && let Some(request) = agreement.heed(notice).await
                {
                    sender.send(&request).await?;
                }
                if let Some(answer) = serving.staged(Instant::now()).await {
                    sender.send(&answer).await?;
                }
            }
            () = until(timeout) => {
                let now = Instant::now();
                serving.retire(now).await;
                if let Some(answer) = serving.staged(now).await {
                    sender.send(&answer).await?;
                }
            }
            Some(end) = ends.recv() => break stopped(end),
            () = terminate.next() => match (ending.is_some(), serving.proxy.take()) {
                (true, _) => break Ok(()),
                (false, Some((proxy, _))) => ending = Some(drained(proxy)),
                (false, None) => {
                    let drain_ms = serving.versions.active().domain.limits.drain_ms;
                    let within = Duration::from_millis(drain_ms.into());
                    ending = Some(Box::pin(quiet(serving.workers.clone(), within)));
                }
            },
            () = done(ending.as_mut()) => break Ok(()),
        }
    };
    let Serving { agreement, proxy, workers, .. } = serving;
    if let Some(agreement) = agreement {
        agreement.stop().await;
    }
    if let Some((proxy, _)) = proxy {
        tokio::task::spawn_blocking(|| proxy.stop()).await?;
    }
    workers.iter().for_each(|worker| worker.give(Command::Stop));
    tokio::task::spawn_blocking(logfile::finish).await?;
    outcome
}

/// What is waited for before the element ends.
type Ending = Pin<Box<dyn Future<Output = ()>>>;

/// The gateway takes no more connections; done once those that there are have ended, or have had their time.
fn drained(proxy: Proxy) -> Ending {
    let stopped = tokio::task::spawn_blocking(|| proxy.stop());
    Box::pin(async move { drop(stopped.await) })
}

/// Goes on for the others until nothing comes any more.
async fn quiet(workers: Vec<Handle>, within: Duration) {
    let (until, mut seen, mut since) = (Instant::now() + within, 0, Instant::now());
    while Instant::now() < until && since.elapsed() < QUIET_FOR {
        tokio::time::sleep(QUIET_POLL_EVERY).await;
        let mut packets = 0;
        for worker in &workers {
            let (answer, report) = oneshot::channel();
            worker.give(Command::Report(answer));
            let report = report.await.unwrap_or_default();
            packets += report.traffic.iter().map(|flow| flow.packets).sum::<u64>();
        }
        if packets != seen {
            (seen, since) = (packets, Instant::now());
        }
    }
}

async fn done(ending: Option<&mut Ending>) {
    match ending {
        Some(ending) => ending.await,
        None => std::future::pending().await,
    }
}

/// SIGTERM, where the process is this element's alone.
struct Terminate(Option<Signal>);

impl Terminate {
    fn catch(workshop: &Workshop) -> Result<Terminate> {
        Ok(Terminate(match workshop {
            Workshop::Threads => Some(signal(SignalKind::terminate())?),
            Workshop::Mill(_) => None,
        }))
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// Everything that the element consists of, at work.
async fn begin(
    told: Told,
    workshop: &Workshop,
    ended: &mpsc::UnboundedSender<io::Result<()>>,
) -> Result<Serving> {
    let Told { version, identity, bundle, listeners, services, psk } = told;
    let Version { domain, set, element, .. } = &version;
    let window = WindowPackets::new(domain.limits.replay_window_packets)?;
    let mut cores = cores(&version)?;
    if let Some(secret) = &psk {
        tracing::warn!("keying `psk`: static keys, no forward secrecy; for comparison only");
        if domain.psk.as_ref().is_some_and(|psk| psk.danger_same_keys_every_start) {
            tracing::warn!(
                "`danger_same_keys_every_start`: sequence numbers begin again under the same keys"
            );
        }
        psk::install(set, element.id, secret.danger_bytes(), window, &mut cores)?;
    }
    let workers = workshop.start(set, element, cores, ended)?;
    if element.role != Role::Hop {
        inner::configure(domain, element.role).await.context("the inner side")?;
    }
    let proxy = start_proxy(&version, listeners, services, &workers)?;
    let agreement = match psk {
        Some(_) => None,
        None => {
            let keys = Keys::new(workers.clone(), window);
            Some(Agreement::start(domain, set, element, &identity, &bundle, keys).await?)
        }
    };
    let ability = Ability { links_are_fixed: matches!(workshop, Workshop::Mill(_)) };
    let path_key = PublicKey(bundle.path_key);
    Ok(Serving::new(Versions::new(version), workers, agreement, proxy, ability, path_key))
}

impl Serving {
    /// Does what the parent says; what it is to hear comes back.
    async fn answer(&mut self, message: ToElement) -> Option<FromElement> {
        Some(match message {
            ToElement::Status { request } => {
                let parts = status::Parts {
                    versions: &self.versions,
                    workers: &self.workers,
                    proxy: self.proxy.as_ref().map(|(proxy, _)| proxy),
                    agreement: self.agreement.as_ref(),
                };
                let status = status::of(parts).await;
                FromElement::Status { request, status }
            }
            ToElement::ExportKeys { request } => match &self.agreement {
                Some(agreement) => {
                    let keys = agreement.keys().danger_export(&self.versions);
                    FromElement::Keys { request, keys }
                }
                None => {
                    let reason = "with keying `psk` the keys are the domain file's".to_owned();
                    FromElement::Refused { request, reason }
                }
            },
            ToElement::Pin { request, flow } => {
                match pin::pin(&self.versions.active().set, &self.workers, &flow).await {
                    Ok(()) => FromElement::Pinned { request },
                    Err(error) => FromElement::Refused { request, reason: format!("{error:#}") },
                }
            }
            ToElement::Lease { signed } => {
                if let Some(agreement) = &self.agreement {
                    agreement.lease(&signed.0).await;
                }
                return None;
            }
            ToElement::Stage { request, text, document, signature, .. } => {
                let signed = SignedPathSet { bytes: document.0, signature: signature.0 };
                return self.stage(request, &text, &signed).await;
            }
            ToElement::Activate { request, version } => self.activate(request, version).await,
            ToElement::Abandon { request, version } => {
                self.abandon(PathVersion(version)).await;
                FromElement::Abandoned { request }
            }
            other => {
                tracing::debug!(?other, "nothing to do with this message");
                return None;
            }
        })
    }
}

async fn next_notice(agreement: Option<&mut Agreement>) -> Notice {
    match agreement {
        Some(agreement) => agreement.next_notice().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
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
            Some(ToElement::Listener(told)) => listeners.push(listener(told)?),
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
                let identity = match kept {
                    Some(kept) => kept_identity(svid, &kept),
                    None => key.into_identity(svid),
                };
                let version = Version::new(domain, set, name)?;
                let services = match version.element.role {
                    Role::Gateway => services(&version.domain, legs)?,
                    _ => Services::new(),
                };
                let told = Told { version, identity, bundle, listeners, services, psk };
                return Ok(Some(told));
            }
            Some(other) => tracing::debug!(?other, "nothing to do with this message yet"),
        }
    }
}

fn kept_identity(svid: Certificates, key: &Secret) -> Identity {
    Identity::new(svid, PrivateKey::from_pkcs8(key.danger_bytes().to_vec()))
}

fn cores(version: &Version) -> Result<Vec<Core>> {
    let Version { domain, set, element, .. } = version;
    let sides = match element.role {
        Role::Hop => (0..element.workers.max(1)).map(|_| None).collect(),
        Role::Gateway | Role::Egress => {
            inner::create(domain, set, element)?.into_iter().map(Some).collect::<Vec<_>>()
        }
    };
    sides.into_iter().map(|inner| build::core(domain, set, element, inner)).collect()
}

fn start_proxy(
    version: &Version,
    listeners: Vec<ListenerTls>,
    legs: Services,
    workers: &[Handle],
) -> Result<Option<(Proxy, Chains)>> {
    let Version { domain, set, element, .. } = version;
    if element.role != Role::Gateway {
        return Ok(None);
    }
    let sources = inner::gateway_addresses(domain);
    let (services, variants) = (proxy::services(domain, set), proxy::variants(domain, set));
    let chains = Chains::new(workers.to_vec(), sources, services, variants);
    Ok(Some((Proxy::start(domain, set, &chains, listeners, legs)?, chains)))
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

fn listener(told: control::ListenerTls) -> Result<ListenerTls> {
    let control::ListenerTls {
        name,
        certificates: sites,
        trust_anchors,
        crls,
        crl_files,
        access_log,
    } = told;
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
        crl_files,
        access_log,
        name,
    })
}

fn certificates(blobs: Vec<Blob>) -> Vec<CertificateDer<'static>> {
    blobs.into_iter().map(|blob| CertificateDer::from(blob.0)).collect()
}

fn lists(blobs: Vec<Blob>) -> Vec<CertificateRevocationListDer<'static>> {
    blobs.into_iter().map(|blob| CertificateRevocationListDer::from(blob.0)).collect()
}
