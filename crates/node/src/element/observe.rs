//! An element's answers to whoever looks into it: traces and taps ([`Observe`]).

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use ringmail_dataplane_io::pcapng::{Capture, CaptureLimits, Framing};
use ringmail_model::PathId;
use ringmail_model::domain::Domain;
use ringmail_model::pathset::{Element, Path, PathSet, Role};
use ringmail_packet::flow::FlowKey;
use ringmail_trust::Identity;
use tokio::sync::oneshot;

use super::chain::Chains;
use super::command::Command;
use super::legend::Legend;
use super::proofs::{Clock, Told};
use super::statement::Notary;
use super::watch::{Tapping, Watch};
use super::worker::Handle;
use crate::control::{Mark, Observe, Observed, PathProofs, TraceFlow};
use crate::limits::{PROBE_WITHIN, PROOFS_TOLD, TAP_FLUSHED_EVERY, TRACE_PASSAGES};

/// Looks into one element. Clones look into the same.
#[derive(Clone)]
pub(super) struct Observer {
    pub(super) domain: Arc<Domain>,
    pub(super) set: Arc<PathSet>,
    /// Those of all versions that run, the active one last.
    pub(super) versions: Vec<PathSet>,
    pub(super) element: Element,
    pub(super) workers: Vec<Handle>,
    /// At a gateway, by which probes go.
    pub(super) chains: Option<Chains>,
    pub(super) taps: Arc<Taps>,
    /// Who the element is, and what it signed before.
    pub(super) identity: Identity,
    pub(super) notary: Arc<tokio::sync::Mutex<Notary>>,
}

/// The taps of an element.
#[derive(Debug, Default)]
pub(super) struct Taps {
    running: AtomicU32,
    last: AtomicU64,
}

impl Observer {
    /// Answers one question. A tap goes on afterwards, until nobody reads it any more.
    ///
    /// # Errors
    /// Why not, for people.
    pub(super) async fn answer(self, question: Observe) -> Result<Observed> {
        match question {
            Observe::TraceStart { paths, flows } => {
                let (paths, flows) = (self.paths(&paths)?, keys(&flows));
                for worker in &self.workers {
                    let (answer, begun) = oneshot::channel();
                    worker.give(Command::Watch(Watch::Trace(paths.clone(), flows.clone(), answer)));
                    begun.await.context("a worker has stopped")?;
                }
                Ok(Observed::Done)
            }
            Observe::TraceFind { flows, marks } => self.find(&flows, &marks).await,
            Observe::TraceStop => {
                let stop = |worker: &Handle| worker.give(Command::Watch(Watch::EndTrace));
                self.workers.iter().for_each(stop);
                Ok(Observed::Done)
            }
            Observe::Probe { path } => {
                let chains = self.chains.as_ref().context("only a gateway sends probes")?;
                let known = self.set.paths.iter().find(|known| known.name == path);
                let known = known.with_context(|| format!("no path is named `{path}`"))?;
                let probed = chains.probe(known.id, PROBE_WITHIN).await?;
                let connected_ns = u64::try_from(probed.took.as_nanos()).unwrap_or(u64::MAX);
                Ok(Observed::Probed {
                    flow: TraceFlow::from(probed.flow),
                    connected_ns,
                    error: probed.error,
                })
            }
            Observe::Tap { path, socket } => self.tap(&path, &socket).await,
            Observe::Proofs { path, last } => {
                Ok(Observed::Proofs(self.told_proofs(path.as_deref(), last).await?))
            }
            Observe::Statement => self.statement().await,
        }
    }

    async fn find(&self, flows: &[TraceFlow], marks: &[Mark]) -> Result<Observed> {
        let (flows, marks) = (keys(flows), marks.iter().copied().collect::<HashSet<_>>());
        let (mut passages, mut overwritten) = (Vec::new(), 0);
        for worker in &self.workers {
            let (answer, found) = oneshot::channel();
            worker.give(Command::Watch(Watch::Find(flows.clone(), marks.clone(), answer)));
            let (found, lost) = found.await.context("a worker has stopped")?;
            passages.extend(found);
            overwritten += lost;
        }
        passages.truncate(TRACE_PASSAGES);
        Ok(Observed::Passages { passages, overwritten })
    }

    pub(super) async fn told_proofs(
        &self,
        path: Option<&str>,
        last: u32,
    ) -> Result<Vec<PathProofs>> {
        let named = |known: &&Path| path.is_none_or(|path| known.name == path);
        let ends = |known: &&Path| known.end.element == self.element.id;
        let paths = self.versions.iter().flat_map(|set| &set.paths).filter(named).filter(ends);
        let paths: BTreeMap<PathId, &Path> = paths.map(|path| (path.id, path)).collect();
        let last = usize::try_from(last).unwrap_or(usize::MAX).min(PROOFS_TOLD);
        let clock = Clock::now();
        let mut told = Told::new(&self.set, &self.element, &paths);
        for worker in &self.workers {
            let (answer, found) = oneshot::channel();
            worker.give(Command::Proofs(paths.keys().copied().collect(), last, answer));
            told.add(found.await.context("a worker has stopped")?, clock);
        }
        Ok(told.paths(last))
    }

    async fn tap(&self, path: &str, socket: &path::Path) -> Result<Observed> {
        let name = &self.element.name;
        let allowed = self.domain.limits.taps;
        ensure!(allowed > 0, "the domain file allows no taps of decrypted traffic");
        let opens = self.element.role != Role::Hop || self.intrusive();
        ensure!(opens, "{name} is not intrusive: it holds no plaintext");
        let paths = self.paths(&[path.to_owned()])?;
        let under_way = self.taps.running.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.taps));
        ensure!(under_way < allowed, "as many taps as the domain file allows are under way");
        let number = self.taps.last.fetch_add(1, Ordering::Relaxed);
        let stream = UnixStream::connect(socket).context("nobody takes what the tap copies")?;
        let ended = stream.try_clone()?;
        let capture = Capture::stream(OwnedFd::from(stream).into(), CaptureLimits::unlimited())?;
        let tap = capture.tap(&format!("{name} {path}"), Framing::Ip);
        let legend = Arc::new(Legend::new(&self.versions, self.element.id));
        let whose = self.chains.as_ref().map(|chains| chains.whose().clone());
        for worker in &self.workers {
            let (answer, room) = oneshot::channel();
            let (paths, legend, whose) = (paths.clone(), Arc::clone(&legend), whose.clone());
            let tapping = Tapping::new(paths, tap.another(), legend, whose);
            worker.give(Command::Watch(Watch::Tap(number, Box::new(tapping), answer)));
            if !room.await.context("a worker has stopped")? {
                self.end_tap(number);
                bail!("{name} has a tap already");
            }
        }
        drop(tap);
        tracing::warn!(path, element = name, "decrypted traffic is tapped");
        let observer = self.clone();
        tokio::spawn(async move {
            let _place = place;
            while !capture.is_closed() {
                tokio::time::sleep(TAP_FLUSHED_EVERY).await;
                let flush = |worker: &Handle| worker.give(Command::Watch(Watch::Flush));
                observer.workers.iter().for_each(flush);
            }
            observer.end_tap(number);
            // Its thread may be waiting for a reader.
            drop::<io::Result<()>>(ended.shutdown(Shutdown::Both));
            let report = capture.report();
            let _ended = tokio::task::spawn_blocking(move || capture.finish()).await;
            let (packets, missed) = (report.captured, report.missed);
            tracing::warn!(element = observer.element.name, packets, missed, "the tap ended");
        });
        Ok(Observed::Done)
    }

    fn end_tap(&self, number: u64) {
        self.workers.iter().for_each(|worker| worker.give(Command::Watch(Watch::EndTap(number))));
    }

    fn intrusive(&self) -> bool {
        let known = self.domain.functions.iter().find(|f| f.name.as_str() == self.element.name);
        known.is_some_and(|function| function.intrusive)
    }

    /// These paths and, of forward ones, the paths of their answers.
    fn paths(&self, names: &[String]) -> Result<HashSet<PathId>> {
        let mut found = HashSet::new();
        for name in names {
            let path = self.set.paths.iter().find(|path| path.name == *name);
            let path = path.with_context(|| format!("no path is named `{name}`"))?;
            found.insert(path.id);
            found.extend(path.return_path);
        }
        Ok(found)
    }
}

/// A tap under way.
struct Place(Arc<Taps>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn keys(flows: &[TraceFlow]) -> HashSet<FlowKey> {
    flows.iter().copied().map(FlowKey::from).collect()
}
