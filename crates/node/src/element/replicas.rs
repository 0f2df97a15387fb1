//! The gateway's look at the replicas of functions: those that are dead or slow are left (`docs/liveness.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use ringmail_dataplane::liveness::{Liveness, Pace, State, wire};
use ringmail_model::defence::{Defence, off};
use ringmail_model::domain::{Availability, Domain, LostConnections};
use ringmail_model::pathset::{PathSet, Role};
use ringmail_model::{ElementId, PathId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::chain::{Chains, Variants};
use super::command::Command;
use super::proxy;
use super::worker::Handle;
use crate::control::ReplicaStatus;
use crate::sap::{Agreements, ConnectError, LiveStream, Look};

/// A hop that the gateway asks, because it is on a path of which there are several over replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Watched {
    name: String,
    spiffe_id: String,
    control: SocketAddr,
    /// The paths that need it: forward ones, those whose way back passes it included.
    paths: BTreeSet<PathId>,
}

/// What is known of one.
#[derive(Clone, Debug)]
struct Known {
    state: State,
    since: Instant,
    /// Paths along which it cannot send yet.
    closed: Vec<PathId>,
    watched: Watched,
}

/// All hops that are asked.
pub(super) struct Replicas {
    agreements: Agreements,
    board: Arc<Board>,
    asking: BTreeMap<ElementId, (Watched, Pace, JoinHandle<()>)>,
}

/// Where those that ask write down what they hear, and what follows from it.
struct Board {
    known: Mutex<BTreeMap<ElementId, Known>>,
    lost: Mutex<LostConnections>,
    chains: Chains,
}

impl Replicas {
    pub(super) fn new(agreements: Agreements, chains: Chains) -> Replicas {
        let (known, lost) = Default::default();
        Replicas {
            agreements,
            board: Arc::new(Board { known, lost, chains }),
            asking: BTreeMap::new(),
        }
    }

    /// Asks the hops of these versions from now on, the active one first; it says how.
    pub(super) fn set<'a>(
        &mut self,
        availability: &Availability,
        versions: impl Iterator<Item = (&'a Domain, &'a PathSet)>,
    ) {
        *lock(&self.board.lost) = availability.connections;
        let pace = Pace {
            every: Duration::from_millis(availability.probe_every_ms.into()),
            missed: availability.probes_missed,
        };
        let mut all: BTreeMap<ElementId, Watched> = BTreeMap::new();
        for (domain, set) in versions {
            for (element, watched) in watched(set, &proxy::variants(domain, set)) {
                all.entry(element).or_insert_with(|| watched.clone()).paths.extend(watched.paths);
            }
        }
        let now = Instant::now();
        self.asking.retain(|element, (known, paced, task)| {
            let same =
                |of: &Watched| (&of.spiffe_id, of.control) == (&known.spiffe_id, known.control);
            let stays = *paced == pace && all.get(element).is_some_and(same);
            if !stays {
                task.abort();
            }
            stays
        });
        let mut known = lock(&self.board.known);
        known.retain(|element, _| all.contains_key(element));
        for (element, watched) in &all {
            let fresh = || Known {
                state: State::Unknown,
                since: now,
                closed: Vec::new(),
                watched: watched.clone(),
            };
            known.entry(*element).or_insert_with(fresh).watched = watched.clone();
        }
        drop(known);
        for (element, watched) in all {
            self.asking.entry(element).or_insert_with(|| {
                let (board, agreements) = (Arc::clone(&self.board), self.agreements.clone());
                let task = tokio::spawn(ask(element, watched.clone(), pace, agreements, board));
                (watched, pace, task)
            });
        }
        self.board.apply();
    }

    /// Connections that were ended, and that were moved.
    pub(super) fn left(&self) -> [u64; 2] {
        self.board.chains.left()
    }

    /// How each of them is, by name.
    pub(super) fn status(&self) -> Vec<ReplicaStatus> {
        let known = lock(&self.board.known);
        let status = |known: &Known| ReplicaStatus {
            element: known.watched.name.clone(),
            state: known.state.name().to_owned(),
            since_s: known.since.elapsed().as_secs_f64(),
        };
        known.values().map(status).collect()
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.asking.values().for_each(|(.., task)| task.abort());
    }
}

/// How an element answers who asks whether it is alive: all of its workers have to say so.
pub(super) fn look(workers: Vec<Handle>) -> Look {
    Box::new(move || {
        let workers = workers.clone();
        Box::pin(async move {
            let mut closed = BTreeSet::new();
            for worker in workers {
                let (answer, alive) = oneshot::channel();
                worker.give(Command::Alive(answer));
                match alive.await {
                    Ok(paths) => closed.extend(paths),
                    // It has stopped, and says nothing ever again.
                    Err(_) => std::future::pending().await,
                }
            }
            closed.into_iter().collect()
        })
    })
}

/// Whom the gateway of a path set asks, and whom a hop is asked by: SPIFFE ids.
pub(super) fn partners(domain: &Domain, set: &PathSet, element: ElementId) -> BTreeSet<String> {
    let variants = proxy::variants(domain, set);
    let role = |id| set.element(id).map(|element| element.role);
    let watched = watched(set, &variants);
    match role(element) {
        Some(Role::Gateway) => watched.into_values().map(|watched| watched.spiffe_id).collect(),
        Some(Role::Hop) if watched.contains_key(&element) => {
            let gateways = set.elements.iter().filter(|element| element.role == Role::Gateway);
            gateways.map(|gateway| gateway.spiffe_id.clone()).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// The hops on paths over replicas.
fn watched(set: &PathSet, variants: &Variants) -> BTreeMap<ElementId, Watched> {
    let mut all = BTreeMap::new();
    for id in variants.values().flatten() {
        let Some(path) = set.path(*id) else { continue };
        let back = path.return_path.and_then(|back| set.path(back));
        for hop in path.hops.iter().chain(back.iter().flat_map(|back| &back.hops)) {
            let Some(element) = set.element(hop.element) else { continue };
            let fresh = || Watched {
                name: element.name.to_string(),
                spiffe_id: element.spiffe_id.clone(),
                control: SocketAddr::V4(element.control),
                paths: BTreeSet::new(),
            };
            let watched: &mut Watched = all.entry(element.id).or_insert_with(fresh);
            watched.paths.insert(path.id);
            // Its answer names paths of either direction.
            watched.paths.extend(path.return_path);
        }
    }
    all
}

impl Board {
    /// Takes note of what is known of a hop.
    fn note(&self, element: ElementId, state: State, closed: Option<Vec<PathId>>) {
        let mut all = lock(&self.known);
        let Some(known) = all.get_mut(&element) else { return };
        let before = (known.state, known.closed.clone());
        if known.state != state {
            let replica = known.watched.name.as_str();
            match state {
                State::Down => tracing::warn!(replica, "does not answer in time: it is left"),
                State::Up => tracing::info!(replica, "answers: flows may pass it"),
                State::Unknown => {}
            }
            (known.state, known.since) = (state, Instant::now());
        }
        if let Some(closed) = closed {
            known.closed = closed;
        }
        let changed = before != (known.state, known.closed.clone());
        drop(all);
        if changed {
            self.apply();
        }
    }

    /// Which paths are dead, and which only cannot be begun on.
    fn apply(&self) {
        let (mut dead, mut closed) = (BTreeSet::new(), BTreeSet::new());
        for known in lock(&self.known).values() {
            match known.state {
                State::Down => dead.extend(known.watched.paths.iter().copied()),
                State::Up => closed.extend(known.closed.iter().copied()),
                State::Unknown => {}
            }
        }
        if off(Defence::ReplicaLiveness) {
            (dead, closed) = Default::default();
        }
        self.chains.set_dead(dead, closed, *lock(&self.lost));
    }
}

/// Asks one hop until it is aborted.
async fn ask(
    element: ElementId,
    watched: Watched,
    pace: Pace,
    agreements: Agreements,
    board: Arc<Board>,
) {
    let mut live = Liveness::new(Instant::now(), pace);
    let mut connection: Option<(LiveStream, wire::Answers)> = None;
    // Since when the connection says nothing.
    let mut silent = Instant::now();
    let mut dialing: Option<BoxFuture<'static, Result<LiveStream, ConnectError>>> = None;
    loop {
        let timer = tokio::time::sleep_until(live.poll_timeout().into());
        let dial = async {
            match dialing.as_mut() {
                Some(dialing) => dialing.await,
                None => std::future::pending().await,
            }
        };
        let read = async {
            match connection.as_mut() {
                Some((stream, answers)) => read(stream, answers).await,
                None => std::future::pending().await,
            }
        };
        let mut closed = None;
        let mut redial = false;
        tokio::select! {
            () = timer => {
                let now = Instant::now();
                let number = live.handle_timeout(now);
                // Who is down may never say that its connection is gone.
                let stale = now.saturating_duration_since(silent) >= pace.detection();
                if live.state() == State::Down && stale {
                    connection = None;
                }
                match (number, &mut connection) {
                    (None, _) => {}
                    (Some(number), Some((stream, _))) => {
                        let written = tokio::time::timeout(pace.every, write(stream, number)).await;
                        if !matches!(written, Ok(Ok(()))) {
                            (connection, redial) = (None, true);
                        }
                    }
                    (Some(_), None) => redial = true,
                }
            }
            dialed = dial => {
                dialing = None;
                match dialed {
                    Ok(stream) => {
                        connection = Some((stream, wire::Answers::default()));
                        silent = Instant::now();
                        live.ask_now(silent);
                    }
                    // The machine is there, the element is not.
                    Err(ConnectError::Unreachable(error))
                        if error.kind() == std::io::ErrorKind::ConnectionRefused =>
                    {
                        live.refused();
                    }
                    Err(error) => {
                        let replica = watched.name.as_str();
                        tracing::debug!(replica, error = &error as &dyn std::error::Error, "not asked");
                    }
                }
            }
            answer = read => match answer {
                Ok((number, paths)) => {
                    silent = Instant::now();
                    live.handle_answer(silent, number);
                    closed = Some(paths);
                }
                Err(_) => (connection, redial) = (None, true),
            },
        }
        if redial && dialing.is_none() {
            let (agreements, id, control) =
                (agreements.clone(), watched.spiffe_id.clone(), watched.control);
            dialing = Some(Box::pin(async move { agreements.dial_live(&id, control).await }));
        }
        board.note(element, live.state(), closed);
    }
}

async fn write(stream: &mut LiveStream, number: u32) -> std::io::Result<()> {
    stream.write_all(&number.to_be_bytes()).await?;
    stream.flush().await
}

/// The next answer. Nothing is lost where this is not waited for to its end.
async fn read(
    stream: &mut LiveStream,
    answers: &mut wire::Answers,
) -> std::io::Result<(u32, Vec<PathId>)> {
    loop {
        match answers.next() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(wire::Malformed) => return Err(std::io::ErrorKind::InvalidData.into()),
        }
        let mut bytes = [0; 512];
        match stream.read(&mut bytes).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => answers.push(&bytes[..read]),
        }
    }
}

/// What these locks guard is whole after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
