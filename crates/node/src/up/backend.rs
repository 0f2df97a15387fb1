//! What the admin socket of a running domain answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::Notify;

use crate::admin::{Backend, DomainStatus, ElementReport};
use crate::control::KeyExport;
use crate::runtime::Claim;
use crate::supervise::{ElementState, Handle};

#[derive(Debug)]
pub(super) struct DomainBackend {
    domain: String,
    layout: &'static str,
    rootless: bool,
    namespaces: Vec<String>,
    since: Instant,
    elements: Handle,
    stop: Arc<Notify>,
    keys_exported: AtomicU64,
}

impl DomainBackend {
    pub(super) fn new(
        claim: &Claim,
        layout: &'static str,
        elements: Handle,
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
            stop,
            keys_exported: AtomicU64::new(0),
        }
    }

    fn audit(&self) -> BTreeMap<String, u64> {
        let keys_exported = self.keys_exported.load(Ordering::Relaxed);
        BTreeMap::from([("keys_exported".to_owned(), keys_exported)])
    }

    async fn report(&self, name: String, pid: Option<u32>, state: ElementState) -> ElementReport {
        let report = |state: &str| ElementReport {
            name: name.clone(),
            pid,
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

    fn stop(&self) {
        self.stop.notify_one();
    }
}
