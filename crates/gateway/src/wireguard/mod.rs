//! Any IP packet of an authenticated client: the WireGuard end, and the rules that give each flow its path.
//!
//! ```text
//!            ┌ gate: MACs, cookies ─ peers: key → identity, open ─ inspect: source, fragment, tunnel ┐
//!  client ───┤                                                                                      ├─── chain
//!            └ peers: seal ──────── flows: rules → path, budget, idle time, a line of the access log ┘
//! ```
//!
//! [`Front`] holds no socket: its driver gives it datagrams and answers, and carries what it says to an [`Outside`] and
//! a [`PacketChain`]. The protocol itself (Noise IK and its timers) is the crate `boringtun`'s; it reads the clock on its own.
//! ADR 0010 says why that one.

mod answer;
mod flows;
mod front;
mod gate;
mod inside;
mod inspect;
mod lost;
mod peers;
mod reassembly;
mod reset;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use boringtun::x25519::{PublicKey, StaticSecret};
use ringmail_model::PathId;
use ringmail_model::rules::RuleSet;
use ringmail_packet::flow::FlowKey;

pub(crate) use self::flows::Flow;
pub use self::front::Front;

/// The public key that belongs to a private key.
pub fn public_key(private: [u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(private)).to_bytes()
}

/// Where packets go that are allowed, and who gives flows their paths.
pub trait PacketChain {
    /// A new flow takes this path, or one of its replicas: the answer. It stands before the flow's first packet.
    fn pin(&mut self, flow: FlowKey, path: PathId) -> PathId;

    /// Whose the flow is that was pinned, and by which rule it goes.
    fn began(&mut self, _flow: FlowKey, _client: &str, _rule: &str, _service: &str) {}
    /// The flow is over; nothing of it passes any more.
    fn unpin(&mut self, flow: FlowKey);
    /// A packet of a flow that is pinned. Whether there was room for it.
    fn send(&mut self, flow: &FlowKey, packet: &[u8]) -> bool;
}

/// Where datagrams go.
pub trait Outside {
    /// Sends one. What cannot be sent is lost, as anywhere outside.
    fn send(&mut self, to: Endpoint, datagram: &[u8]);
}

/// Where a client is: by which of the listeners it comes, and from which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The listener, by its place in the driver's list.
    pub listener: usize,
    /// The client's address outside.
    pub address: SocketAddr,
}

/// A client as the domain file describes it.
#[derive(Clone)]
pub struct Peer {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity, as rules compare it.
    pub identity: Arc<str>,
    /// Its public key.
    pub key: [u8; 32],
    /// The key that both ends share besides.
    pub preshared: Option<[u8; 32]>,
    /// Its addresses inside.
    pub addresses: Vec<IpAddr>,
}

/// Without the shared key.
impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Everything that a version of the domain says of packets.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who may come.
    pub peers: Vec<Peer>,
    /// What they may do.
    pub rules: RuleSet,
    /// The largest inner packet of each forward path, in bytes.
    pub mtus: Vec<(PathId, u16)>,
    /// The gateway's own addresses inside, which errors come from.
    pub routers: Vec<IpAddr>,
    /// The UDP port of the domain's own links; nothing inside may go to it.
    pub link_port: u16,
    /// Sizes and times.
    pub limits: FrontLimits,
}

impl Plan {
    /// Nobody may come.
    pub fn nobody() -> Plan {
        Plan {
            peers: Vec::new(),
            rules: RuleSet::default(),
            mtus: Vec::new(),
            routers: Vec::new(),
            link_port: 0,
            limits: FrontLimits {
                handshakes_a_second: 0,
                flows_a_client: 0,
                flows: 0,
                flow_idle_s: 0,
            },
        }
    }
}

/// The bounds that an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontLimits {
    /// Handshakes a second from which on clients have to show cookies.
    pub handshakes_a_second: u32,
    /// Flows at once of one client.
    pub flows_a_client: usize,
    /// Flows at once of all clients.
    pub flows: usize,
    /// Seconds that an idle flow is remembered which is not TCP's.
    pub flow_idle_s: u32,
}
