//! The gateway's WireGuard end at work: a thread of its own with the listeners' sockets, joined to the data plane's workers
//! by links in memory.
//!
//! ```text
//!  sockets ── driver: gateway::wireguard::Front ──┬── link in memory ── worker 0: its TUN and the link are one (joint)
//!                                                 └── link in memory ── worker 1 …
//! ```

mod driver;
mod joint;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use ringmail_dataplane_io::Link;
use ringmail_gateway::access::{AccessLog, AccessSink};
use ringmail_gateway::wireguard::{FrontLimits, Peer, Plan};
use ringmail_gateway::{Counters, Rates, bind_ahead};
use ringmail_model::PathId;
use ringmail_model::domain::{Domain, Listener, ListenerKind};
use ringmail_model::pathset::{Direction, PathSet};
use ringmail_model::rules::RuleSet;
use socket2::{Protocol, Socket, Type};

use self::driver::Driver;
pub(super) use self::joint::{Joints, join};
use super::chain::Chains;
use super::inner;
use crate::control::WireguardKeys;
use crate::limits::WIREGUARD_SOCKET_BYTES;

/// The WireGuard end of a gateway, whether it has listeners of that kind or not.
pub(super) struct Wireguard {
    chains: Chains,
    counters: Arc<Counters>,
    rates: Arc<Rates>,
    state: State,
    /// Where it listens.
    open: Vec<SocketAddr>,
}

enum State {
    /// Nothing listens yet.
    Waiting(Joints),
    Running(Running),
    /// The thread could not be started.
    Over,
}

struct Running {
    told: mpsc::Sender<Told>,
    waker: ringmail_dataplane_io::poll::Waker,
    thread: JoinHandle<()>,
}

/// What the driver is told.
enum Told {
    /// This version counts.
    Take(Box<Taken>),
    /// These paths are over.
    Cut(Vec<PathId>),
    /// The end.
    Stop,
}

/// A version of the domain, as the driver takes it.
struct Taken {
    key: [u8; 32],
    plan: Plan,
    listeners: Vec<Listening>,
}

/// One listener; without a socket where one listens there already.
struct Listening {
    address: SocketAddr,
    socket: Option<UdpSocket>,
    log: Option<AccessSink>,
}

/// What a version of the domain asks of the WireGuard end, its addresses bound.
pub(super) struct Wanted {
    taken: Option<Taken>,
}

impl Wireguard {
    /// One that counts by the same rates as the other listeners.
    pub(super) fn new(joints: Joints, chains: Chains, rates: Arc<Rates>) -> Wireguard {
        let state = State::Waiting(joints);
        Wireguard { chains, counters: Arc::default(), rates, state, open: Vec::new() }
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Reads what the domain says, and binds addresses that are new, in the namespace of the calling thread.
    ///
    /// # Errors
    /// When an address cannot be bound, or a key is none.
    pub(super) fn prepare(
        &self,
        domain: &Domain,
        set: &PathSet,
        keys: Option<&WireguardKeys>,
        log: Option<&AccessLog>,
    ) -> Result<Wanted> {
        let of_kind = |listener: &&Listener| listener.kind == ListenerKind::Wireguard;
        let listeners: Vec<&Listener> = domain.gateway.listeners.iter().filter(of_kind).collect();
        if listeners.is_empty() {
            return Ok(Wanted { taken: None });
        }
        let keys = keys.context("the gateway's WireGuard key was not told")?;
        let key = <[u8; 32]>::try_from(keys.key.danger_bytes())?;
        let plan = plan(domain, set, keys)?;
        let shared = domain.gateway.standby.is_some();
        let listen = |listener: &Listener| {
            let address = listener.address;
            let socket = match self.open.contains(&address) {
                true => None,
                false => Some(bind(address, shared).with_context(|| {
                    format!("listener `{}` cannot have {address}", listener.name)
                })?),
            };
            Ok(Listening { address, socket, log: log.map(|log| log.sink(&listener.name)) })
        };
        let listeners = listeners.into_iter().map(listen).collect::<Result<_>>()?;
        Ok(Wanted { taken: Some(Taken { key, plan, listeners }) })
    }

    /// Has it as it was prepared.
    pub(super) fn take(&mut self, wanted: Wanted) {
        let Some(taken) = wanted.taken else {
            return self.shut();
        };
        self.open = taken.listeners.iter().map(|listener| listener.address).collect();
        match std::mem::replace(&mut self.state, State::Over) {
            State::Running(running) => {
                running.tell(Told::Take(Box::new(taken)));
                self.state = State::Running(running);
            }
            State::Waiting(joints) => match self.start(joints, taken) {
                Ok(running) => self.state = State::Running(running),
                Err(error) => tracing::error!(%error, "the WireGuard listener does not run"),
            },
            State::Over => tracing::error!("the WireGuard listener does not run"),
        }
    }

    /// Nobody is let in any more; a later version may open it again.
    fn shut(&mut self) {
        self.open.clear();
        if let State::Running(running) = &self.state {
            running.tell(Told::Take(Box::new(Taken {
                key: [0; 32],
                plan: Plan::nobody(),
                listeners: Vec::new(),
            })));
        }
    }

    fn start(&self, joints: Joints, taken: Taken) -> io::Result<Running> {
        let (told, hears) = mpsc::channel();
        let waker = joints.waker();
        let counting = (Arc::clone(&self.counters), Arc::clone(&self.rates));
        let driver = Driver::new(joints, taken, self.chains.clone(), counting, hears)?;
        let thread = std::thread::Builder::new().name("wireguard".to_owned());
        let thread = thread.spawn(move || {
            if let Err(error) = driver.run() {
                tracing::error!(%error, "the WireGuard listener stopped");
            }
        })?;
        Ok(Running { told, waker, thread })
    }

    /// These paths are over.
    pub(super) fn cut(&self, paths: &[PathId]) {
        if let State::Running(running) = &self.state {
            running.tell(Told::Cut(paths.to_vec()));
        }
    }

    /// Ends it, and waits for that.
    pub(super) fn stop(self) {
        if let State::Running(running) = self.state {
            running.tell(Told::Stop);
            if running.thread.join().is_err() {
                tracing::error!("the WireGuard listener's thread panicked");
            }
        }
    }
}

impl Running {
    fn tell(&self, told: Told) {
        // One that ended has said why.
        if self.told.send(told).is_ok() {
            self.waker.wake();
        }
    }
}

/// Wraps the inner side of each worker of a gateway.
pub(super) fn wrap(inner: Vec<Box<dyn Link>>) -> Result<(Vec<Box<dyn Link>>, Joints)> {
    join(inner).context("no link between WireGuard and the workers")
}

/// `shared`: two gateways have the address, and it need not be here now.
fn bind(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As much as the system gives.
    let _less = socket.set_recv_buffer_size(WIREGUARD_SOCKET_BYTES);
    let _less = socket.set_send_buffer_size(WIREGUARD_SOCKET_BYTES);
    socket.set_nonblocking(true)?;
    if shared {
        bind_ahead(&socket, address)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn plan(domain: &Domain, set: &PathSet, keys: &WireguardKeys) -> Result<Plan> {
    let preshared: BTreeMap<&str, &[u8]> =
        keys.preshared.iter().map(|(name, key)| (name.as_str(), key.danger_bytes())).collect();
    let peer = |client: &ringmail_model::domain::Client| {
        let known = client.wireguard.as_ref()?;
        let shared = || match (&known.preshared_key_file, preshared.get(client.name.as_str())) {
            (None, _) => Ok(None),
            (Some(_), Some(key)) => Ok(Some(<[u8; 32]>::try_from(*key)?)),
            (Some(_), None) => anyhow::bail!("the shared key of `{}` was not told", client.name),
        };
        Some(shared().map(|preshared| Peer {
            name: client.name.as_str().into(),
            identity: client.identity_in(&domain.domain).into(),
            key: known.public_key.0,
            preshared,
            addresses: known.addresses.clone(),
        }))
    };
    let forward = set.paths.iter().filter(|path| path.direction == Direction::Forward);
    // What the narrowest path carries: answers come through the TUN of an egress, which has one MTU for all.
    let mtu_bytes = set.inner_mtu().context("the path set has no path")?;
    let limits = &domain.gateway.limits;
    Ok(Plan {
        peers: domain.clients.iter().filter_map(peer).collect::<Result<_>>()?,
        rules: RuleSet::compile(domain, set)?,
        mtus: forward.map(|path| (path.id, mtu_bytes)).collect(),
        routers: inner::gateway_addresses(domain),
        link_port: domain.links.udp_port,
        limits: FrontLimits {
            handshakes_a_second: limits.handshakes_a_second,
            flows_a_client: limits.flows_a_client as usize,
            // The other half is for connections of the proxy.
            flows: domain.limits.flows as usize / 2,
            flow_idle_s: domain.limits.flow_idle_s,
        },
    })
}
