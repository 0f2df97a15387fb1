//! Where an element's stations are driven: on threads of their own over UDP, or on one thread for all, in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use ringmail_dataplane_io::Link;
use ringmail_dataplane_io::fan::Fan;
use ringmail_dataplane_io::memory::{self, MemoryLink};
use ringmail_dataplane_io::poll::{Poller, Waker};
use ringmail_model::ElementId;
use ringmail_model::domain::LinkDriver;
use ringmail_model::pathset::{Element, PathSet, Role};

use super::command::Command;
use super::worker::{self, BATCH_BYTES, Core, Handle, Station};
use super::{build, plan};

/// Where stations are driven.
#[derive(Clone, Debug)]
pub enum Workshop {
    /// One thread a worker of the element, frames over UDP or Ethernet: layout `processes`.
    Threads,
    /// The same inside of a program that heeds signals itself: an element on a machine of its own.
    Within,
    /// One thread for all elements of the process: layout `single`.
    Mill(Arc<Mill>),
}

impl Workshop {
    /// Sets an element's cores to work, one a worker. Links are opened in the namespace of the calling thread. `ended`
    /// hears why a thread stopped.
    ///
    /// # Errors
    /// When a link or a thread cannot be had.
    pub(crate) fn start(
        &self,
        driver: LinkDriver,
        set: &PathSet,
        element: &Element,
        cores: Vec<Core>,
        ended: &tokio::sync::mpsc::UnboundedSender<io::Result<()>>,
    ) -> Result<Vec<Handle>> {
        match self {
            Workshop::Threads | Workshop::Within => {
                let numbered = (0..).zip(cores);
                let start = |(worker, core)| {
                    let poller = Poller::new()?;
                    let link = build::link(driver, set, element, worker)?;
                    let (station, handle) = Station::new(core, link, &poller.waker());
                    spawn(&format!("worker-{worker}"), vec![station], poller, ended.clone())?;
                    Ok(handle)
                };
                let handles = numbered.map(start).collect::<Result<Vec<Handle>>>()?;
                if element.role == Role::Egress {
                    introduce(&handles);
                }
                Ok(handles)
            }
            Workshop::Mill(mill) => {
                ensure!(cores.len() == 1, "in layout `single` every element has one worker");
                cores.into_iter().map(|core| mill.join(element.id, core, ended)).collect()
            }
        }
    }
}

/// Each worker tells the others what it learns: which of them gets the replies is the system's choice.
fn introduce(workers: &[Handle]) {
    for (own, worker) in workers.iter().enumerate() {
        let others = workers.iter().enumerate().filter(|(other, _)| *other != own);
        let siblings: Vec<Handle> = others.map(|(_, handle)| handle.clone()).collect();
        if !siblings.is_empty() {
            worker.give(Command::Siblings(siblings));
        }
    }
}

/// One thread that drives all elements of a process, once the last of them has joined.
pub struct Mill {
    waker: Waker,
    state: Mutex<State>,
}

impl fmt::Debug for Mill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mill").finish_non_exhaustive()
    }
}

struct State {
    poller: Option<Poller>,
    links: BTreeMap<ElementId, Vec<MemoryLink>>,
    stations: Vec<(ElementId, Station)>,
    missing: usize,
}

impl Mill {
    /// A mill for the elements of a path set, with a link in memory between those that are neighbours on a path.
    ///
    /// # Errors
    /// When the system has no file descriptor left.
    pub fn new(set: &PathSet) -> Result<Arc<Mill>> {
        let mut pairs = BTreeSet::new();
        for path in &set.paths {
            let mut before = path.origin;
            for hop in path.visits() {
                pairs.insert((before.min(hop.element), before.max(hop.element)));
                before = hop.element;
            }
        }
        let mut links: BTreeMap<ElementId, Vec<MemoryLink>> =
            set.elements.iter().map(|element| (element.id, Vec::new())).collect();
        for (one, other) in pairs {
            let (at_one, at_other) =
                memory::pair(plan::neighbour(one), plan::neighbour(other), BATCH_BYTES);
            links.entry(one).or_default().push(at_one);
            links.entry(other).or_default().push(at_other);
        }
        let poller = Poller::new()?;
        let waker = poller.waker();
        let missing = set.elements.len();
        let state = State { poller: Some(poller), links, stations: Vec::new(), missing };
        Ok(Arc::new(Mill { waker, state: Mutex::new(state) }))
    }

    fn join(
        &self,
        element: ElementId,
        core: Core,
        ended: &tokio::sync::mpsc::UnboundedSender<io::Result<()>>,
    ) -> Result<Handle> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let links = state.links.get_mut(&element).map(std::mem::take);
        let link: Box<dyn Link> = Box::new(Fan::new(links.context("no such element")?));
        let (station, handle) = Station::new(core, link, &self.waker);
        state.stations.push((element, station));
        state.missing = state.missing.saturating_sub(1);
        if state.missing == 0
            && let Some(poller) = state.poller.take()
        {
            // In the order of the ids packets tend to travel: one round takes them far.
            state.stations.sort_by_key(|(element, _)| *element);
            let stations = state.stations.drain(..).map(|(_, station)| station).collect();
            spawn("mill", stations, poller, ended.clone())?;
        }
        Ok(handle)
    }
}

fn spawn(
    name: &str,
    stations: Vec<Station>,
    poller: Poller,
    ended: tokio::sync::mpsc::UnboundedSender<io::Result<()>>,
) -> Result<()> {
    let work = move || {
        let end = worker::run(stations, &poller);
        // Whoever asked may have gone before.
        let _gone = ended.send(end);
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).context("no thread is left")?;
    Ok(())
}
