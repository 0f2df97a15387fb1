//! What the admin socket of a running domain answers.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use crate::admin::{Backend, DomainStatus, ElementReport, TapWish};
use crate::change::{Changer, ReloadReport};
use crate::control::{KeyExport, Observe, Observed};
use crate::limits::{TAP_CONNECTED_WITHIN, TRACE_LOOK_EVERY, TRACE_WAIT};
use crate::runtime::Claim;
use crate::see::trace::{self, Ask, Trace, TraceWish};
use crate::supervise::{ElementState, Handle};

#[derive(Debug)]
pub(super) struct DomainBackend {
    domain: String,
    layout: &'static str,
    rootless: bool,
    namespaces: Vec<String>,
    since: Instant,
    elements: Handle,
    changer: Option<Arc<Changer>>,
    stop: Arc<Notify>,
    keys_exported: AtomicU64,
    tapped: AtomicU64,
    taps_refused: AtomicU64,
    /// Where sockets are made for taps, and how many there were.
    dir: PathBuf,
    taps: AtomicU64,
    tracing: Mutex<()>,
}

impl DomainBackend {
    pub(super) fn new(
        claim: &Claim,
        layout: &'static str,
        elements: Handle,
        changer: Option<Arc<Changer>>,
        stop: Arc<Notify>,
    ) -> DomainBackend {
        let record = claim.record();
        DomainBackend {
            domain: record.domain.clone(),
            layout,
            rootless: record.rootless,
            namespaces: record.namespaces.iter().map(|held| held.name.clone()).collect(),
            since: Instant::now(),
            elements,
            changer,
            stop,
            keys_exported: AtomicU64::new(0),
            tapped: AtomicU64::new(0),
            taps_refused: AtomicU64::new(0),
            dir: claim.dir().to_owned(),
            taps: AtomicU64::new(0),
            tracing: Mutex::new(()),
        }
    }

    fn audit(&self) -> BTreeMap<String, u64> {
        let events = [
            ("keys_exported", &self.keys_exported),
            ("tap", &self.tapped),
            ("tap_refused", &self.taps_refused),
        ];
        let count =
            |(event, count): (&str, &AtomicU64)| (event.to_owned(), count.load(Ordering::Relaxed));
        events.into_iter().map(count).collect()
    }

    async fn tap_element(&self, wish: TapWish<'_>) -> Result<UnixStream, String> {
        let TapWish { path, element, uid, pid } = wish;
        let number = self.taps.fetch_add(1, Ordering::Relaxed);
        let socket = self.dir.join(format!("tap-{number}.sock"));
        let listener = UnixListener::bind(&socket).map_err(|error| error.to_string())?;
        let connected = async {
            let question = Observe::Tap { path: path.to_owned(), socket: socket.clone() };
            let told = self.elements.observe(element, question).await;
            told.map_err(|error| chain(&error))?;
            let accepted = timeout(TAP_CONNECTED_WITHIN, listener.accept()).await;
            let accepted = accepted.map_err(|_| format!("{element} does not connect"))?;
            Ok(accepted.map_err(|error| error.to_string())?.0)
        };
        let connected = connected.await;
        drop(std::fs::remove_file(&socket));
        // Who, what and when stands in every log.
        match &connected {
            Ok(_) => {
                self.tapped.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(path, element, uid, pid, "decrypted traffic is tapped");
            }
            Err(reason) => {
                self.taps_refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(path, element, uid, pid, reason, "a tap was refused");
            }
        }
        connected
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
            namespaces: self.namespaces.clone(),
            audit: self.audit(),
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
            // They leave the process: that is worth a line in every log.
            self.keys_exported.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(associations = keys.len(), "traffic keys were exported");
            Ok(keys)
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
            trace::run(&wish, &status, true, &Elements { handle: &self.elements, wait }).await
        };
        trace.boxed()
    }

    fn tap<'a>(&'a self, wish: TapWish<'a>) -> BoxFuture<'a, Result<UnixStream, String>> {
        self.tap_element(wish).boxed()
    }

    fn reload(
        &self,
        text: String,
        folder: PathBuf,
        dry_run: bool,
    ) -> BoxFuture<'_, Result<ReloadReport, String>> {
        let Some(changer) = self.changer.clone() else {
            return async { Err("this domain does not change while it runs".to_owned()) }.boxed();
        };
        let elements = self.elements.clone();
        // A client that goes away leaves no change half done.
        let task = tokio::spawn(async move {
            changer.reload(&elements, text, &folder, dry_run).await.map_err(|e| format!("{e:#}"))
        });
        task.map(|done| done.unwrap_or_else(|_| Err("the change broke off".to_owned()))).boxed()
    }

    fn stop(&self) {
        self.stop.notify_one();
    }
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
