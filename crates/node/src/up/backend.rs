//! What the admin socket of a running domain answers.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, Notify};

use crate::admin::{
    Backend, DomainStatus, ElementRekeyed, ElementReport, Exposure, Reloading, TapWish,
};
use crate::assemble::SITE_PREFIX;
use crate::attach;
use crate::change::{Changer, Places, ReloadReport};
use crate::control::{KeyExport, ListenerLists, Observe, Observed};
use crate::limits::{TRACE_LOOK_EVERY, TRACE_WAIT};
use crate::runtime::Claim;
use crate::see::prove::{Proofs, ProveWish};
use crate::see::trace::{self, Ask, Route, Trace, TraceWish};
use crate::supervise::{ElementState, Handle};

#[derive(Debug)]
pub(super) struct DomainBackend {
    domain: String,
    layout: &'static str,
    rootless: bool,
    namespaces: std::sync::Mutex<Vec<String>>,
    since: Instant,
    elements: Handle,
    /// Who changes it, and through whom.
    changer: Option<(Arc<Changer>, Places)>,
    stop: Arc<Notify>,
    exposure: Exposure,
    tracing: Mutex<()>,
}

impl DomainBackend {
    pub(super) fn new(
        claim: &Claim,
        layout: &'static str,
        elements: Handle,
        changer: Option<(Arc<Changer>, Places)>,
        stop: Arc<Notify>,
    ) -> DomainBackend {
        let record = claim.record();
        DomainBackend {
            domain: record.domain.clone(),
            layout,
            rootless: record.rootless,
            namespaces: std::sync::Mutex::new(names(claim)),
            since: Instant::now(),
            elements,
            changer,
            stop,
            exposure: Exposure::new(claim.dir().to_owned()),
            tracing: Mutex::new(()),
        }
    }

    /// Says what namespaces there are from now on.
    pub(super) fn note_namespaces(&self, claim: &Claim) {
        *self.namespaces.lock().unwrap_or_else(PoisonError::into_inner) = names(claim);
    }

    async fn report(&self, name: String, pid: Option<u32>, state: ElementState) -> ElementReport {
        let report = |state: &str| ElementReport {
            name: name.clone(),
            pid,
            restarts: self.elements.restarts(&name),
            state: state.to_owned(),
            ..ElementReport::default()
        };
        match state {
            ElementState::Starting => report("starting"),
            ElementState::Ended(exit) => {
                ElementReport { reason: Some(exit.to_string()), ..report("ended") }
            }
            ElementState::Ready => match self.elements.status(&name).await {
                Ok(status) => ElementReport { status: Some(status), ..report("ready") },
                Err(error) => ElementReport { reason: Some(error.to_string()), ..report("ready") },
            },
        }
    }
}

impl Backend for DomainBackend {
    fn status(&self) -> BoxFuture<'_, DomainStatus> {
        let elements = self.elements.elements().into_iter();
        let asked = elements.map(|(name, pid, state)| self.report(name, pid, state));
        let status = |elements| DomainStatus {
            domain: self.domain.clone(),
            layout: self.layout.to_owned(),
            pid: std::process::id(),
            rootless: self.rootless,
            up_s: self.since.elapsed().as_secs(),
            audit: self.exposure.audit(),
            distribution: None,
            namespaces: self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            elements,
        };
        join_all(asked).map(status).boxed()
    }

    fn export_keys(&self) -> BoxFuture<'_, Result<Vec<KeyExport>, String>> {
        let ask = async {
            let mut keys = Vec::new();
            for (name, _, state) in self.elements.elements() {
                if state == ElementState::Ready {
                    let asked = self.elements.export_keys(&name).await;
                    keys.extend(asked.map_err(|error| format!("element {name}: {error}"))?);
                }
            }
            self.exposure.exported(keys.len());
            Ok(keys)
        };
        ask.boxed()
    }

    fn rekey(&self, elements: Vec<String>) -> BoxFuture<'_, Result<Vec<ElementRekeyed>, String>> {
        let ask = async move {
            let apart = [SITE_PREFIX, attach::PREFIX];
            let there = self.elements.elements().into_iter();
            let there: Vec<String> = there
                .map(|(name, ..)| name)
                .filter(|name| !apart.iter().any(|prefix| name.starts_with(prefix)))
                .collect();
            if let Some(unknown) = elements.iter().find(|name| !there.contains(name)) {
                return Err(format!("there is no element `{unknown}`"));
            }
            let asked = if elements.is_empty() { there } else { elements };
            // All at once: what two of them have in common changes once.
            let asked = asked.into_iter().map(async |element| {
                let (neighbours, reason) = match self.elements.rekey(&element).await {
                    Ok(neighbours) => (neighbours, None),
                    Err(error) => (Vec::new(), Some(chain(&error))),
                };
                ElementRekeyed { element, neighbours, reason }
            });
            Ok(join_all(asked).await)
        };
        ask.boxed()
    }

    fn read_lists(&self) -> BoxFuture<'_, Result<Vec<ListenerLists>, String>> {
        let ask = async {
            let status = Backend::status(self).await;
            let is = |report: &&ElementReport| {
                report.status.as_ref().is_some_and(|status| status.role == "gateway")
            };
            let mut told = Vec::new();
            for gateway in status.elements.iter().filter(is) {
                let read = self.elements.read_lists(&gateway.name).await;
                let error = |error| format!("element {}: {}", gateway.name, chain(&error));
                // A standby reads the same ones.
                let lists = read.map_err(error)?;
                told = if told.is_empty() { lists } else { told };
            }
            if told.is_empty() { Err("the gateway does not answer".to_owned()) } else { Ok(told) }
        };
        ask.boxed()
    }

    fn trace(&self, wish: TraceWish) -> BoxFuture<'_, Result<Trace, String>> {
        let trace = async move {
            // A second session would end the first.
            let _one = self.tracing.lock().await;
            let status = Backend::status(self).await;
            let wait = Duration::from_millis(wish.wait_ms).min(TRACE_WAIT);
            // All elements run on this machine.
            let route = Route::of_status(&status, &wish.path)?;
            trace::run(&wish, &route, true, &Elements { handle: &self.elements, wait }).await
        };
        trace.boxed()
    }

    fn prove(&self, wish: ProveWish) -> BoxFuture<'_, Result<Proofs, String>> {
        let prove = async move {
            // Programs of attached functions and built-in sites are asked nothing.
            let apart = [SITE_PREFIX, attach::PREFIX];
            let ready = |(name, _, state): (String, _, _)| {
                let element = !apart.iter().any(|prefix| name.starts_with(prefix));
                (element && state == ElementState::Ready).then_some(name)
            };
            let names = self.elements.elements().into_iter().filter_map(ready);
            let ask = async |name: String| {
                let question = Observe::Proofs { path: wish.path.clone(), last: wish.last };
                let answer = match self.elements.observe(&name, question).await {
                    Ok(Observed::Proofs(paths)) => Ok(paths),
                    Ok(_) => Err("it answered another question".to_owned()),
                    Err(error) => Err(chain(&error)),
                };
                (name, answer)
            };
            Proofs::of(&wish, join_all(names.map(ask)).await)
        };
        prove.boxed()
    }

    fn tap<'a>(&'a self, wish: TapWish<'a>) -> BoxFuture<'a, Result<UnixStream, String>> {
        let ask = async move |question| {
            let told = self.elements.observe(wish.element, question).await;
            told.map_err(|error| chain(&error))
        };
        self.exposure.tap(wish, ask).boxed()
    }

    fn reload(
        &self,
        text: String,
        folder: PathBuf,
        how: Reloading,
    ) -> BoxFuture<'_, Result<ReloadReport, String>> {
        if how == Reloading::MayRestart {
            let reason = "elements of a domain on one machine do not start again for a change";
            return async move { Err(reason.to_owned()) }.boxed();
        }
        let dry_run = how == Reloading::DryRun;
        let Some((changer, places)) = self.changer.clone() else {
            return async { Err("this domain does not change while it runs".to_owned()) }.boxed();
        };
        let elements = self.elements.clone();
        // A client that goes away leaves no change half done.
        let task = tokio::spawn(async move {
            let changed = changer.reload(&elements, &places, text, &folder, dry_run).await;
            changed.map_err(|error| format!("{error:#}"))
        });
        task.map(|done| done.unwrap_or_else(|_| Err("the change broke off".to_owned()))).boxed()
    }

    fn stop(&self) {
        self.stop.notify_one();
    }
}

fn names(claim: &Claim) -> Vec<String> {
    claim.record().namespaces.iter().map(|held| held.name.clone()).collect()
}

/// Whom a trace asks.
struct Elements<'a> {
    handle: &'a Handle,
    wait: Duration,
}

impl Ask for Elements<'_> {
    async fn ask(&self, element: &str, question: Observe) -> Result<Observed, String> {
        let asked = self.handle.observe(element, question).await;
        asked.map_err(|error| format!("element {element}: {}", chain(&error)))
    }

    async fn wait(&self) {
        tokio::time::sleep(self.wait).await;
    }

    async fn settle(&self) {
        tokio::time::sleep(TRACE_LOOK_EVERY).await;
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
