//! Elements and their namespaces that come while the domain is up, and that go once their last paths have drained.
//!
//! Who ends in a namespace that is on its way out is not started again; when the last one has ended, the namespace goes,
//! its cables first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc;

use super::{PlannedElement, Up};
use crate::change::{Came, Places, Wish};
use crate::control::ToElement;
use crate::limits::{KILL_GRACE, SHUTDOWN_GRACE};
use crate::topology::{Growth, Topology};

/// What comes and goes.
#[derive(Debug)]
pub(super) struct Moves {
    /// All that there is of the network.
    topology: Topology,
    wishes: mpsc::Receiver<Wish>,
    /// Namespaces that are on their way out.
    going: BTreeMap<String, Going>,
    /// What came for a change that is under way.
    came: Came,
    /// What that change wants of what is on its way out.
    wanted: BTreeSet<String>,
}

/// A namespace on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Going {
    /// When the next step is due.
    at: Instant,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its elements go on until then.
    Drains,
    /// They were told to end, and have until then.
    Told,
    /// They were ended.
    Killed,
}

/// Something to do.
#[derive(Debug)]
pub(super) enum Move {
    Wish(Wish),
    /// A step of this namespace's going is due.
    Due(String),
}

impl Moves {
    pub(super) fn new(topology: Topology) -> (Moves, Places) {
        let (places, wishes) = Places::new();
        let (going, came, wanted) = Default::default();
        (Moves { topology, wishes, going, came, wanted }, places)
    }

    /// Waits for something to do. May be cancelled.
    pub(super) async fn next(&mut self) -> Move {
        let waiting = self.going.iter().filter(|(name, _)| !self.wanted.contains(*name));
        let due = waiting.min_by_key(|(_, going)| going.at);
        let due = due.map(|(name, going)| (name.clone(), going.at));
        let due = async {
            match due {
                Some((name, at)) => {
                    tokio::time::sleep_until(at.into()).await;
                    name
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(wish) = self.wishes.recv() => Move::Wish(wish),
            name = due => Move::Due(name),
        }
    }

    /// Whether nobody is started again there.
    pub(super) fn is_ending(&self, namespace: &str) -> bool {
        self.going.get(namespace).is_some_and(|going| going.step != Step::Drains)
    }
}

impl Up {
    pub(super) async fn make(&mut self, next: Move) {
        match next {
            Move::Wish(Wish::Come(topology, elements, done)) => {
                let came = self.come(&topology, elements).await;
                // Who wished it may have gone; then it is undone by the next wish.
                drop(done.send(came));
            }
            Move::Wish(Wish::Undo) => {
                self.moves.wanted.clear();
                let Came { namespaces, .. } = std::mem::take(&mut self.moves.came);
                self.let_go(&namespaces, Instant::now()).await;
            }
            Move::Wish(Wish::Stay(names, until)) => {
                self.moves.wanted.clear();
                self.moves.came = Came::default();
                self.moves.going.retain(|name, _| !names.contains(name));
                let others = self.moves.topology.namespaces.iter().map(|known| known.name.clone());
                let others = others.filter(|name| !names.contains(name)).collect();
                self.let_go(&others, until).await;
            }
            Move::Due(name) => self.step(&name).await,
        }
    }

    /// Makes what is not there of a network, and starts its elements.
    async fn come(
        &mut self,
        topology: &Topology,
        elements: Vec<PlannedElement>,
    ) -> anyhow::Result<Came> {
        let growth = self.moves.topology.growth(topology)?;
        self.moves.wanted = topology.namespaces.iter().map(|known| known.name.clone()).collect();
        let ending = self.moves.wanted.iter().find(|name| self.moves.is_ending(name));
        if let Some(name) = ending {
            let name = name.clone();
            self.moves.wanted.clear();
            anyhow::bail!(
                "`{name}` of an earlier version is just ending; try again in some seconds"
            );
        }
        let came = &mut self.moves.came;
        came.namespaces = growth.namespaces.iter().map(|new| new.name.clone()).collect();
        let made = self.grow(growth, elements).await;
        if made.is_err() {
            self.moves.wanted.clear();
            let Came { namespaces, .. } = std::mem::take(&mut self.moves.came);
            self.let_go(&namespaces, Instant::now()).await;
        }
        made.map(|()| self.moves.came.clone())
    }

    async fn grow(&mut self, growth: Growth, elements: Vec<PlannedElement>) -> anyhow::Result<()> {
        self.fabric.found(&growth, self.privilege, &mut self.claim)?;
        self.moves.topology = std::mem::take(&mut self.moves.topology).with(&growth);
        self.backend.note_namespaces(&self.claim);
        let fabric = self.fabric.clone();
        tokio::task::spawn_blocking(move || fabric.grow(&growth)).await??;
        for element in elements {
            if !self.programs.contains_key(&element.name) {
                let name = element.name.clone();
                let started = self.start_element(element).await;
                started.with_context(|| format!("element {name}"))?;
                self.moves.came.elements.insert(name);
            }
        }
        Ok(())
    }

    /// These namespaces are on their way out, if they are not yet.
    async fn let_go(&mut self, namespaces: &BTreeSet<String>, at: Instant) {
        for name in namespaces {
            let going = Going { at, step: Step::Drains };
            self.moves.going.entry(name.clone()).or_insert(going);
        }
    }

    /// The next step of a namespace's going is due.
    async fn step(&mut self, namespace: &str) {
        let running: Vec<String> = self.elements_in(namespace).map(str::to_owned).collect();
        let Some(going) = self.moves.going.get_mut(namespace) else { return };
        if running.is_empty() {
            return self.leave(namespace).await;
        }
        let handle = self.supervisor.handle();
        let now = Instant::now();
        let grace_ms = u64::try_from(SHUTDOWN_GRACE.as_millis()).unwrap_or(u64::MAX);
        let within: Duration;
        (going.step, within) = match going.step {
            Step::Drains => (Step::Told, SHUTDOWN_GRACE),
            Step::Told | Step::Killed => (Step::Killed, KILL_GRACE),
        };
        going.at = now + within;
        let step = going.step;
        for element in running {
            let ended = !handle.is_alive(&element);
            match step {
                // It waits to be started again.
                _ if ended => self.gone(&element).await,
                Step::Killed => handle.kill(&element),
                // One that does not hear it is killed.
                _ => drop(handle.send(&element, ToElement::Shutdown { grace_ms })),
            }
        }
    }

    /// An element ended whose namespace is on its way out.
    pub(super) async fn gone(&mut self, element: &str) {
        let Some((namespace, _)) = self.programs.remove(element) else { return };
        self.restarts.done(element);
        self.supervisor.handle().forget(element);
        if self.elements_in(&namespace).next().is_none() {
            self.leave(&namespace).await;
        }
    }

    async fn leave(&mut self, namespace: &str) {
        self.moves.going.remove(namespace);
        let cables = self.moves.topology.without(namespace);
        let fabric = self.fabric.clone();
        let cut = tokio::task::spawn_blocking(move || fabric.cut(&cables)).await;
        if cut.is_err() {
            tracing::warn!(namespace, "its cables may still be there");
        }
        self.fabric.leave(namespace, &mut self.claim);
        self.backend.note_namespaces(&self.claim);
        tracing::info!(namespace, "no path leads there any more; it is gone");
    }

    fn elements_in(&self, namespace: &str) -> impl Iterator<Item = &str> {
        let all = self.programs.iter();
        let here = all.filter(move |(_, (place, _))| place == namespace);
        here.map(|(name, _)| name.as_str())
    }
}
