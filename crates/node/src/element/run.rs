//! The life of an element: it makes a key, is told who it is and what its paths are, serves, and answers questions.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ringmail_dataplane::sap::Settled;
use ringmail_model::pathset::SignedPathSet;
use ringmail_model::{ElementId, PathVersion};
use ringmail_trust::{Identity, TrustBundle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::agreement::Agreement;
use super::begin::begin;
use super::change::{Fronts, Serving};
use super::command::Command;
use super::flows::Flows;
use super::observe::Observer;
use super::proxy::Proxy;
use super::statement::Notary;
use super::summary::Summaries;
use super::told::{self, learn};
use super::worker::Handle;
use super::{Workshop, logfile, pin, status};
use crate::control::{ControlChannel, FromElement, Receiver, Rekeyed, Sender, ToElement};
use crate::limits::{QUIET_FOR, QUIET_POLL_EVERY, REKEYED_WITHIN};
use crate::sap::Notice;

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

/// How long is waited for a worker that was told to stop.
const WORKER_END: Duration = Duration::from_secs(1);

async fn serve(
    name: &str,
    receiver: &mut Receiver<ToElement>,
    sender: &mut Sender<FromElement>,
    workshop: &Workshop,
) -> Result<()> {
    let Some(told) = learn(name, receiver, sender).await? else { return Ok(()) };
    let (ended, mut ends) = mpsc::unbounded_channel();
    let mut serving = begin(told, workshop, &ended).await?;
    let _summaries = Summaries::start(serving.workers.clone());
    // Who looks into the element is answered beside the element's other work.
    let (seen, mut sights) = mpsc::unbounded_channel();
    let taps = Arc::default();
    let notary = Arc::new(tokio::sync::Mutex::new(Notary::new()?));
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
                Some(ToElement::Drain) if ending.is_some() => break Ok(()),
                Some(ToElement::Drain) => ending = Some(serving.drain()),
                Some(ToElement::Observe { request, question }) => {
                    let active = serving.versions.active();
                    let observer = Observer {
                        domain: Arc::new(active.domain.clone()),
                        set: Arc::new(active.set.clone()),
                        versions: serving.versions.live().map(|live| live.set.clone()).collect(),
                        element: active.element.clone(),
                        workers: serving.workers.clone(),
                        chains: serving.proxy.as_ref().map(|(_, chains)| chains.clone()),
                        taps: Arc::clone(&taps),
                        identity: serving.identity.clone(),
                        notary: Arc::clone(&notary),
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
                Some(ToElement::Rekey { request }) => match serving.rekey().await {
                    Ok(rekeyed) => {
                        let seen = seen.clone();
                        tokio::spawn(async move {
                            let neighbours = rekeyed.await;
                            drop(seen.send(FromElement::Rekeyed { request, neighbours }));
                        });
                    }
                    Err(reason) => sender.send(&FromElement::Refused { request, reason }).await?,
                },
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
            () = terminate.next() => match ending {
                Some(_) => break Ok(()),
                None => ending = Some(serving.drain()),
            },
            () = done(ending.as_mut()) => break Ok(()),
        }
    };
    let Serving { agreement, proxy, workers, flows, .. } = serving;
    if let Some(agreement) = agreement {
        agreement.stop().await;
    }
    if let Some((proxy, _)) = proxy {
        tokio::task::spawn_blocking(|| proxy.stop()).await?;
    }
    // What is under way has its record before the exporter ends.
    workers.iter().for_each(|worker| worker.give(Command::Meter(None)));
    let reports = workers.iter().map(|worker| {
        let (answer, report) = oneshot::channel();
        worker.give(Command::Report(answer));
        report
    });
    for report in reports.collect::<Vec<_>>() {
        // One that has stopped says nothing.
        drop(report.await);
    }
    if let Some(flows) = flows {
        tokio::task::spawn_blocking(|| flows.stop()).await?;
    }
    workers.iter().for_each(|worker| worker.give(Command::Stop));
    // What a worker has in the file system goes with it.
    for _ in &workers {
        if tokio::time::timeout(WORKER_END, ends.recv()).await.is_err() {
            break;
        }
    }
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
            Workshop::Within | Workshop::Mill(_) => None,
        }))
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

impl Serving {
    /// Lets others finish what they do through this element.
    fn drain(&mut self) -> Ending {
        if let Some((proxy, _)) = self.proxy.take() {
            return drained(proxy);
        }
        let drain_ms = self.versions.active().domain.limits.drain_ms;
        Box::pin(quiet(self.workers.clone(), Duration::from_millis(drain_ms.into())))
    }

    /// Does what the parent says; what it is to hear comes back.
    async fn answer(&mut self, message: ToElement) -> Option<FromElement> {
        Some(match message {
            ToElement::Status { request } => {
                let parts = status::Parts {
                    versions: &self.versions,
                    workers: &self.workers,
                    proxy: self.proxy.as_ref().map(|(proxy, _)| proxy),
                    agreement: self.agreement.as_ref(),
                    replicas: self.replicas.as_ref(),
                    flows: self.flows.as_ref().map(Flows::counters),
                    guard: self.guard.as_ref(),
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
            ToElement::ReadLists { request } => match &self.proxy {
                Some((proxy, _)) => FromElement::Lists { request, listeners: proxy.read_lists() },
                None => {
                    let reason = "only a gateway that takes connections has revocation lists";
                    FromElement::Refused { request, reason: reason.to_owned() }
                }
            },
            ToElement::Lease { signed } => {
                if let Some(agreement) = &mut self.agreement {
                    agreement.lease(&signed.0).await;
                }
                return None;
            }
            ToElement::Lives { lives } => {
                if let Some(psk) = &mut self.psk
                    && let Err(error) = psk.follow(&self.versions, &self.workers, lives).await
                {
                    tracing::error!(error = &*error, "there are no keys for who began anew");
                }
                return None;
            }
            ToElement::Stage {
                request,
                text,
                document,
                signature,
                listeners,
                services,
                counts,
            } => {
                let signed = SignedPathSet { bytes: document.0, signature: signature.0 };
                let fronts = Fronts { listeners, services };
                return self.stage(request, &text, &signed, fronts, counts).await;
            }
            ToElement::Absent { version, elements } => {
                return self.absent(PathVersion(version), elements).await;
            }
            ToElement::Activate { request, version } => self.activate(request, version).await,
            ToElement::Abandon { request, version } => {
                self.abandon(PathVersion(version)).await;
                FromElement::Abandoned { request }
            }
            ToElement::Listener(listener) => {
                let renewed = told::listener(listener).and_then(|listener| match &self.proxy {
                    Some((proxy, _)) => proxy.show(&listener.name, listener.sites),
                    None => Ok(()),
                });
                if let Err(error) = renewed {
                    tracing::error!(
                        error = &*error,
                        "renewed certificates are refused; the old ones are shown"
                    );
                }
                return None;
            }
            ToElement::KeptIdentity {
                key,
                certificate_chain,
                trust_anchors,
                crls,
                signing_key,
            } => {
                let identity = told::kept_identity(certificate_chain, &key);
                let bundle = self.bundle.clone();
                match told::bundle(bundle, trust_anchors, crls, &signing_key) {
                    Ok(bundle) => self.renew(identity, bundle),
                    Err(error) => tracing::error!(%error, "the renewed identity is not used"),
                }
                return None;
            }
            ToElement::Renewed { certificate_chain, trust_anchors, crls } => {
                let identity = told::renewed(&self.identity, certificate_chain);
                let bundle = told::believed(self.bundle.clone(), trust_anchors, crls);
                self.renew(identity, bundle);
                return None;
            }
            other => {
                tracing::debug!(?other, "nothing to do with this message");
                return None;
            }
        })
    }
}

impl Serving {
    /// Begins new epochs with all neighbours; the future ends when they are in use, or late.
    async fn rekey(&self) -> Result<impl Future<Output = Vec<Rekeyed>> + Send + use<>, String> {
        let agreement = self.agreement.as_ref();
        let agreement = agreement.ok_or("with keying `psk` keys do not change")?;
        let names = self.versions.active().names();
        let settled = agreement.rekey(REKEYED_WITHIN).await;
        Ok(async move {
            let of = |(neighbour, settled): (ElementId, Option<Settled>)| Rekeyed {
                neighbour: names.get(&neighbour).cloned().unwrap_or_else(|| neighbour.to_string()),
                epoch: settled.map(|settled| settled.epoch.0),
                sending: settled.map_or(0, |settled| settled.sending as u64),
                receiving: settled.map_or(0, |settled| settled.receiving as u64),
            };
            settled.await.into_iter().map(of).collect()
        })
    }

    /// Who the element is from now on, and whom it believes.
    fn renew(&mut self, identity: Identity, bundle: TrustBundle) {
        if let Some(agreement) = &self.agreement
            && let Err(error) = agreement.set_trust(&identity, &bundle)
        {
            return tracing::error!(%error, "the renewed identity is not used");
        }
        tracing::info!(roots = bundle.roots.len(), "the identity is renewed");
        (self.identity, self.bundle) = (identity, bundle);
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
