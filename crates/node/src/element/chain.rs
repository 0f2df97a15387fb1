//! Connections of the encryption proxy into the chains: the flow's entry stands before the first SYN and outlives
//! TIME_WAIT.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ringmail_gateway::{Chain, ChainError, ChainRequest, ChainStream};
use ringmail_model::domain::LostConnections;
use ringmail_model::metadata::Facts;
use ringmail_model::{PathId, PathVersion};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::protocol;
use rustix::net::{Shutdown, shutdown};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::sync::{oneshot, watch};

use super::command::Command;
use super::flows::Telling;
use super::knowledge::Knowledge;
use super::ports::{Ports, REST};
use super::whose::Whose;
use super::worker::Handle;
use crate::limits::{KEEPALIVE_EVERY, KEEPALIVES, PROBE_ENDS_WITHIN};

/// How many ports are tried that the system says are taken by something else.
const PORTS_TRIED: usize = 16;

/// How many paths a connection tries whose replicas die while it begins.
const PATHS_TRIED: usize = 4;

/// The paths that one path over replicas became, itself first.
pub(crate) type Variants = BTreeMap<PathId, Vec<PathId>>;

/// Where each path's service listens.
pub(crate) type Addresses = BTreeMap<(PathId, String), Vec<SocketAddr>>;

/// Opens connections through the data plane's workers.
#[derive(Clone)]
pub(crate) struct Chains {
    workers: Arc<[Handle]>,
    /// The proxy's own addresses on the inner side, one of each IP version at most.
    sources: Arc<[IpAddr]>,
    /// Where each path's service listens.
    services: Arc<ArcSwap<Addresses>>,
    ports: Arc<Mutex<Ports>>,
    /// The paths that one path over replicas became, itself first.
    variants: Arc<ArcSwap<Variants>>,
    /// Flows begun, to take the variants in turn.
    begun: Arc<AtomicUsize>,
    open: Arc<Mutex<Open>>,
    /// Hears whose flows are, where records of them are exported.
    telling: Option<Telling>,
    whose: Whose,
    lost: watch::Sender<Lost>,
    /// Connections ended, and moved, because a replica was dead.
    left: Arc<[AtomicU64; 2]>,
    /// What is said of flows to those on their paths who are told.
    knowledge: Arc<ArcSwap<Knowledge>>,
}

/// Paths that nothing begins on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lost {
    /// A replica on them is dead.
    dead: BTreeSet<PathId>,
    /// A hop on them, or on the way back, cannot send yet.
    closed: BTreeSet<PathId>,
    /// What becomes of connections on dead ones.
    connections: LostConnections,
}

/// The connections that are open, with their paths: to end them when a path does.
type Open = HashMap<FlowKey, (PathId, Arc<OwnedFd>)>;

/// Paths that flows are to leave which are no connections of the proxy.
pub(super) struct Losses {
    chains: Chains,
    heard: watch::Receiver<Lost>,
}

impl Losses {
    /// If other paths are dead than when this was asked last: `leave` is told which paths flows are to leave and how, and
    /// says how many did.
    pub(super) fn look(
        &mut self,
        leave: impl FnOnce(&dyn Fn(PathId) -> bool, LostConnections) -> usize,
    ) {
        if !self.heard.has_changed().unwrap_or(false) {
            return;
        }
        let lost = self.heard.borrow_and_update().clone();
        let left = leave(&|path| self.chains.instead(&lost, path).is_some(), lost.connections);
        self.chains.count_left(left as u64, lost.connections);
    }
}

impl Chains {
    pub(crate) fn new(
        workers: Vec<Handle>,
        sources: Vec<IpAddr>,
        services: Addresses,
        variants: Variants,
        first_port: u16,
    ) -> Chains {
        Chains {
            workers: workers.into(),
            sources: sources.into(),
            services: Arc::new(ArcSwap::from_pointee(services)),
            ports: Arc::new(Mutex::new(Ports::beginning(first_port))),
            variants: Arc::new(ArcSwap::from_pointee(variants)),
            begun: Arc::default(),
            open: Arc::default(),
            telling: None,
            whose: Whose::default(),
            lost: watch::Sender::default(),
            left: Arc::default(),
            knowledge: Arc::default(),
        }
    }

    /// From now on this hears whose flows are.
    pub(crate) fn tell(&mut self, telling: Telling) {
        self.telling = Some(telling);
    }

    /// Whose the flows are that are open.
    pub(crate) fn whose(&self) -> &Whose {
        &self.whose
    }

    /// A flow of this client begins.
    pub(crate) fn began(&self, flow: FlowKey, client: &str, rule: &str, service: &str) {
        self.whose.began(flow, client);
        if let Some(telling) = &self.telling {
            telling.began(flow, client, rule, service);
        }
    }

    /// It is over.
    pub(crate) fn ended(&self, flow: FlowKey) {
        self.whose.ended(&flow);
        if let Some(telling) = &self.telling {
            telling.ended(flow);
        }
    }

    /// Which replicas a new flow of this path passes, as long as it lasts.
    pub(super) fn variant(&self, path: PathId) -> PathId {
        let all = self.variants.load();
        let Some(variants) = all.get(&path).filter(|variants| !variants.is_empty()) else {
            return path;
        };
        let lost = self.lost.borrow();
        self.choose(&lost, variants)
    }

    fn choose(&self, lost: &Lost, variants: &[PathId]) -> PathId {
        let without = |lost: &BTreeSet<PathId>| -> Vec<PathId> {
            variants.iter().copied().filter(|path| !lost.contains(path)).collect()
        };
        let living = without(&lost.dead);
        let open: Vec<PathId> =
            living.iter().copied().filter(|path| !lost.closed.contains(path)).collect();
        // Where there is none better, a dead one may have come back.
        let choice = [&*open, &living, variants].into_iter().find(|some| !some.is_empty());
        let choice = choice.unwrap_or(variants);
        choice[self.begun.fetch_add(1, Ordering::Relaxed) % choice.len()]
    }

    /// What connections of a path that is dead go by instead; `None` if it is not dead, or all others are, too.
    fn instead(&self, lost: &Lost, path: PathId) -> Option<PathId> {
        if !lost.dead.contains(&path) {
            return None;
        }
        let all = self.variants.load();
        let variants = all.values().find(|variants| variants.contains(&path))?;
        Some(self.choose(lost, variants)).filter(|other| !lost.dead.contains(other))
    }

    /// Nothing begins on these paths any more. Connections on paths that were not dead before are ended, or go on by
    /// another path.
    pub(crate) fn set_dead(
        &self,
        dead: BTreeSet<PathId>,
        closed: BTreeSet<PathId>,
        connections: LostConnections,
    ) {
        let lost = Lost { dead, closed, connections };
        let before = self.lost.send_replace(lost.clone());
        let newly = |path: &PathId| !before.dead.contains(path);
        let mut count = 0_u64;
        for (flow, (path, socket)) in lock(&self.open).iter_mut() {
            let Some(other) = self.instead(&lost, *path).filter(|_| newly(path)) else { continue };
            count += 1;
            match connections {
                LostConnections::Move => {
                    *path = other;
                    for worker in self.workers.iter() {
                        // It has an entry for the flow already, so there is room.
                        let (answer, _) = oneshot::channel();
                        worker.give(Command::Pin(*flow, other, None, answer));
                    }
                }
                // One that the other end has closed already is over anyway.
                LostConnections::Close => drop(shutdown(&**socket, Shutdown::Both)),
            }
        }
        self.count_left(count, connections);
    }

    fn count_left(&self, count: u64, connections: LostConnections) {
        if count == 0 {
            return;
        }
        let moved = connections == LostConnections::Move;
        self.left[usize::from(moved)].fetch_add(count, Ordering::Relaxed);
        let what = if moved { "moved" } else { "closed" };
        tracing::warn!(connections = count, what, "paths over dead replicas are left");
    }

    /// Hears of paths that are dead, to leave them.
    pub(super) fn losses(&self) -> Losses {
        Losses { chains: self.clone(), heard: self.lost.subscribe() }
    }

    /// Connections that were ended, and that were moved, because a replica was dead.
    pub(crate) fn left(&self) -> [u64; 2] {
        [0, 1].map(|nth: usize| self.left[nth].load(Ordering::Relaxed))
    }

    /// The workers that packets of these chains pass.
    pub(super) fn workers(&self) -> &[Handle] {
        &self.workers
    }

    /// This is said of connections that are opened from now on.
    pub(crate) fn set_knowledge(&self, knowledge: Knowledge) {
        self.knowledge.store(Arc::new(knowledge));
    }

    /// What is known of a flow, for those on its path; `None` where nobody is told.
    pub(super) fn facts(
        &self,
        version: Option<PathVersion>,
        client: &str,
        rule: &str,
    ) -> Option<Box<Facts>> {
        self.knowledge.load().facts(version, client, rule)
    }

    /// Connections that are opened from now on find services here.
    pub(crate) fn set_services(&self, services: Addresses, variants: Variants) {
        self.services.store(Arc::new(services));
        self.variants.store(Arc::new(variants));
    }

    /// Ends the connections that go by these paths, and says how many there were. Their ends still travel.
    pub(crate) fn cut(&self, paths: &[PathId]) -> usize {
        let open = lock(&self.open);
        let mut count = 0;
        for (_, socket) in open.values().filter(|(path, _)| paths.contains(path)) {
            // One that the other end has closed already is over anyway.
            let _over = shutdown(socket, Shutdown::Both);
            count += 1;
        }
        count
    }

    /// One attempt: port, entry, connection, in this order. `None`: the path was left before it stood.
    async fn attempt(
        &self,
        request: ChainRequest<'_>,
        path: PathId,
        destination: SocketAddr,
    ) -> Result<Option<ChainStream>, ChainError> {
        let connect = |source| ChainError::Connect { service: request.service.to_owned(), source };
        let mut tried = 0;
        let (stream, pin) = loop {
            let facts = self.facts(Some(request.version), request.client, request.rule);
            let (socket, pin) = self.prepare(path, request.service, destination, facts).await?;
            self.began(pin.flow, request.client, request.rule, request.service);
            let mut lost = self.lost.subscribe();
            let connected = tokio::select! {
                connected = socket.connect(destination) => connected,
                _ = lost.wait_for(|lost| self.instead(lost, path).is_some()) => return Ok(None),
            };
            match connected {
                Ok(stream) => break (stream, pin),
                Err(error) if still_connected(&error) && tried < PORTS_TRIED => tried += 1,
                Err(error) => return Err(connect(error)),
            }
        };
        stream.set_nodelay(true).map_err(connect)?;
        let socket = stream.as_fd().try_clone_to_owned().map_err(connect)?;
        lock(&self.open).insert(pin.flow, (path, Arc::new(socket)));
        Ok(Some(ChainStream::new(stream, pin)))
    }

    /// A socket with a port of its own whose packets take a path.
    async fn prepare(
        &self,
        path: PathId,
        service: &str,
        destination: SocketAddr,
        facts: Option<Box<Facts>>,
    ) -> Result<(TcpSocket, Pin), ChainError> {
        let service = || service.to_owned();
        let source = self.sources.iter().find(|ip| ip.is_ipv4() == destination.is_ipv4());
        let source = *source.ok_or_else(|| ChainError::NoPort { service: service() })?;
        for _ in 0..PORTS_TRIED {
            let port = self.ports().take(destination, Instant::now());
            let port = port.ok_or_else(|| ChainError::NoPort { service: service() })?;
            let flow = FlowKey {
                src: source,
                dst: destination.ip(),
                src_port: port,
                dst_port: destination.port(),
                protocol: protocol::TCP,
            };
            let pin = Pin { chains: self.clone(), flow };
            let connect = |source| ChainError::Connect { service: service(), source };
            let socket = match destination {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            };
            let socket = socket.map_err(connect)?;
            // A port that somebody else holds is left alone and another one taken.
            if bind(&socket, SocketAddr::new(source, port)).is_err() {
                continue;
            }
            SockRef::from(&socket).set_tcp_keepalive(&keepalive()).map_err(connect)?;
            self.pin(flow, path, facts).await?;
            return Ok((socket, pin));
        }
        Err(ChainError::NoPort { service: service() })
    }

    /// Connects along a path to the first address of its service, and lets the connection go, for a trace.
    pub(crate) async fn probe(&self, path: PathId, within: Duration) -> Result<Probed, ChainError> {
        let services = self.services.load_full();
        let service = services.iter().find(|((known, _), _)| *known == path);
        let unknown = || ChainError::Unknown { path, service: String::new() };
        let ((_, service), addresses) = service.ok_or_else(unknown)?;
        let destination = *addresses.first().ok_or_else(unknown)?;
        let (socket, pin) =
            self.prepare(path, service, destination, self.facts(None, "", "")).await?;
        let began = Instant::now();
        let outcome = tokio::time::timeout(within, socket.connect(destination)).await;
        let took = began.elapsed();
        let error = match outcome {
            Ok(Ok(mut stream)) => {
                // Its end is to be seen, too; a service that does not end it is not waited for.
                let end = async {
                    stream.shutdown().await?;
                    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
                };
                drop(tokio::time::timeout(PROBE_ENDS_WITHIN, end).await);
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {} s", within.as_secs())),
        };
        Ok(Probed { flow: pin.flow, took, error })
    }

    /// Gives the flow its path at every worker: which one gets its packets is the system's choice.
    async fn pin(
        &self,
        flow: FlowKey,
        path: PathId,
        facts: Option<Box<Facts>>,
    ) -> Result<(), ChainError> {
        let not_ready = |reason: &str| ChainError::NotReady { path, reason: reason.to_owned() };
        for worker in self.workers.iter() {
            let (answer, pinned) = oneshot::channel();
            worker.give(Command::Pin(flow, path, facts.clone(), answer));
            let pinned = pinned.await.map_err(|_| not_ready("the worker has stopped"))?;
            pinned.map_err(|full| not_ready(&full.to_string()))?;
        }
        Ok(())
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        lock(&self.ports)
    }
}

/// Takes a port that connections to other destinations may have, too: both ends together tell connections apart.
fn bind(socket: &TcpSocket, to: SocketAddr) -> io::Result<()> {
    socket.set_reuseaddr(true)?;
    socket.bind(to)
}

/// Whether the system did not connect because it holds another connection between the same ends: one whose path went
/// before its last segments were answered stays for minutes, longer than its port rests.
fn still_connected(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
}

/// An egress that was started again knows no flows, and drops what a service sends until it sees a packet of the client's
/// side: where only the service speaks, there has to be one soon.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(KEEPALIVE_EVERY)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVES)
}

/// What these locks guard is whole after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chain for Chains {
    async fn open(&self, request: ChainRequest<'_>) -> Result<ChainStream, ChainError> {
        let key = (request.path, request.service.to_owned());
        let unknown = || ChainError::Unknown { path: request.path, service: key.1.clone() };
        let services = self.services.load_full();
        let destinations = services.get(&key).ok_or_else(unknown)?;
        'paths: for _ in 0..PATHS_TRIED {
            let path = self.variant(request.path);
            let mut outcome = Err(unknown());
            for destination in destinations {
                match self.attempt(request, path, *destination).await {
                    Ok(Some(stream)) => return Ok(stream),
                    Ok(None) => continue 'paths,
                    Err(error) => outcome = Err(error),
                }
            }
            return outcome;
        }
        let reason = "replicas on it die one after the other".to_owned();
        Err(ChainError::NotReady { path: request.path, reason })
    }
}

/// How a connection fared that was opened for a trace.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) flow: FlowKey,
    /// Until it stood, or was given up.
    pub(crate) took: Duration,
    /// Why it does not stand.
    pub(crate) error: Option<String>,
}

/// Holds a flow's entry and port; lets both rest when the connection is over.
struct Pin {
    chains: Chains,
    flow: FlowKey,
}

impl Drop for Pin {
    fn drop(&mut self) {
        lock(&self.chains.open).remove(&self.flow);
        self.chains.ended(self.flow);
        for worker in self.chains.workers.iter() {
            worker.give(Command::Unpin(self.flow, REST));
        }
        let destination = SocketAddr::new(self.flow.dst, self.flow.dst_port);
        self.chains.ports().give_back(destination, self.flow.src_port, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connections_to_two_services_have_one_port_and_a_listeners_port_is_left_alone() {
        let listen = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (one, other) = (listen().await, listen().await);
        let socket = || TcpSocket::new_v4().expect("a socket");
        let first = socket();
        bind(&first, "127.0.0.1:0".parse().expect("an address")).expect("a port");
        let port = first.local_addr().expect("it is bound");
        let at = |service: &TcpListener| service.local_addr().expect("it is bound");
        let _open = first.connect(at(&one)).await.expect("it listens");
        let second = socket();
        bind(&second, port).expect("the same port");
        let _open = second.connect(at(&other)).await.expect("it listens");
        assert!(bind(&socket(), at(&one)).is_err());
        let third = socket();
        bind(&third, port).expect("the same port");
        let again = third.connect(at(&one)).await.expect_err("it is connected there");
        assert!(still_connected(&again), "{again}");
    }
}
