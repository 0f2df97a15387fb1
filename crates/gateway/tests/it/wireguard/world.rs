//! A front without sockets, clients beside it, and packets of every kind.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use ringmail_gateway::wireguard::{
    Endpoint, Front, FrontLimits, Outside, PacketChain, Peer, Plan, public_key,
};
use ringmail_gateway::{Counters, Rates};
use ringmail_model::check;
use ringmail_model::domain::{Domain, LostConnections};
use ringmail_model::pathset::{Issue, PathSet};
use ringmail_model::rules::RuleSet;
use ringmail_model::{PathId, PathVersion};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::icmp;
use ringmail_packet::ip::{Addresses, Ecn, protocol};
use ringmail_packet::{ipv4, ipv6};

/// A client's private key, and the last byte of its addresses.
pub(crate) type Secret = ([u8; 32], u8);

pub(crate) const CLIENT: Secret = ([1; 32], 7);
pub(crate) const OTHER: Secret = ([2; 32], 8);

const GATEWAY: [u8; 32] = [9; 32];

pub(crate) const HANDSHAKES_A_SECOND: u64 = 10;

const ALLOWED: &str = "  - name: names\n    when: {packets: {protocols: [udp], ports: [53]}}\n    path: plain\n\
                       \x20 - name: others\n    when: {packets: {protocols: [tcp, sctp, icmp, icmpv6]}}\n    path: plain\n\
                       \x20 - name: tunnels\n    when: {packets: {protocols: [udp], ports: [4789, 4790, 6081, 6635, 7000]}}\n    path: plain\n";

/// The front with what it says to others.
pub(crate) struct World {
    pub(crate) front: Front,
    pub(crate) chain: Pins,
    /// Datagrams that were sent, since the last that came.
    pub(crate) outside: Vec<(SocketAddr, Vec<u8>)>,
    pub(crate) mtu: usize,
    counters: Arc<Counters>,
    now: Instant,
    peers: Vec<Secret>,
    rules: String,
}

/// What the front gave to the chain.
#[derive(Default)]
pub(crate) struct Pins {
    pub(crate) pinned: HashMap<FlowKey, PathId>,
    /// Flows take this path from now on, whichever they ask for.
    pub(crate) instead: Option<PathId>,
    pub(crate) sent: Vec<Vec<u8>>,
}

impl PacketChain for Pins {
    fn pin(&mut self, flow: FlowKey, path: PathId) -> PathId {
        let taken = self.instead.unwrap_or(path);
        self.pinned.insert(flow, taken);
        taken
    }

    fn unpin(&mut self, flow: FlowKey) {
        assert!(self.pinned.remove(&flow).is_some(), "{flow:?} was not pinned");
    }

    fn send(&mut self, flow: &FlowKey, packet: &[u8]) -> bool {
        assert!(self.pinned.contains_key(flow), "{flow:?} is not pinned");
        self.sent.push(packet.to_vec());
        true
    }
}

struct Sent<'a>(&'a mut Vec<(SocketAddr, Vec<u8>)>);

impl Outside for Sent<'_> {
    fn send(&mut self, to: Endpoint, datagram: &[u8]) {
        self.0.push((to.address, datagram.to_vec()));
    }
}

impl World {
    /// With these rules behind those that every test has.
    pub(crate) fn new(rules: &str) -> World {
        let (now, peers) = (Instant::now(), vec![CLIENT, OTHER]);
        let counters = Arc::<Counters>::default();
        let (plan, mtu) = plan(&peers, rules);
        let counting = (Arc::clone(&counters), Arc::<Rates>::default());
        let front = Front::new(GATEWAY, plan, now, counting, vec![None]);
        let (chain, outside, rules) = (Pins::default(), Vec::new(), rules.to_owned());
        World { front, chain, outside, mtu, counters, now, peers, rules }
    }

    pub(crate) fn read(&self, counter: &str) -> u64 {
        let found = self.counters.readings().find(|reading| reading.name == counter);
        found.unwrap_or_else(|| panic!("no counter `{counter}`")).value
    }

    /// A client that is in.
    pub(crate) fn client(&mut self, secret: Secret) -> Client {
        let mut client = Client::of(self, secret);
        assert!(client.shake(self), "the handshake succeeds");
        client
    }

    /// A packet of a client's; what of it went on.
    pub(crate) fn send(&mut self, client: &mut Client, packet: &[u8]) -> Vec<Vec<u8>> {
        let datagram = client.seal(packet);
        let before = self.chain.sent.len();
        self.datagram(client, &datagram);
        for (_, datagram) in std::mem::take(&mut self.outside) {
            client.take(&datagram);
        }
        self.chain.sent[before..].to_vec()
    }

    /// A datagram of a client's; what of it went on.
    pub(crate) fn datagram(&mut self, client: &Client, datagram: &[u8]) -> Vec<Vec<u8>> {
        let before = self.chain.sent.len();
        self.from(client.address, datagram);
        self.chain.sent[before..].to_vec()
    }

    pub(crate) fn from(&mut self, address: SocketAddr, datagram: &[u8]) {
        self.outside.clear();
        let from = Endpoint { listener: 0, address };
        let World { front, chain, outside, now, .. } = self;
        front.handle_datagram(*now, from, datagram, &mut Sent(outside), chain);
    }

    /// A packet from a chain; what the client gets of it.
    pub(crate) fn answer(&mut self, client: &mut Client, packet: &[u8]) -> Vec<Vec<u8>> {
        self.outside.clear();
        let World { front, outside, now, .. } = self;
        front.handle_answer(*now, packet, &mut Sent(outside));
        let before = client.received.len();
        for (to, datagram) in &self.outside {
            assert_eq!(*to, client.address);
            client.take(datagram);
        }
        client.received[before..].to_vec()
    }

    pub(crate) fn advance(&mut self, time: Duration) {
        self.now += time;
        let World { front, chain, outside, now, .. } = self;
        front.handle_timeout(*now, &mut Sent(outside), chain);
    }

    /// Other rules behind those that every test has.
    pub(crate) fn reload(&mut self, rules: &str) {
        rules.clone_into(&mut self.rules);
        self.take();
    }

    pub(crate) fn take_out(&mut self, secret: Secret) {
        self.peers.retain(|peer| *peer != secret);
        self.take();
    }

    /// The client has another key from now on.
    pub(crate) fn rekey(&mut self, before: Secret, after: Secret) {
        self.peers.retain(|peer| *peer != before);
        self.peers.push(after);
        self.take();
    }

    pub(crate) fn cut(&mut self, paths: &[PathId]) {
        self.front.cut(self.now, paths, &mut self.chain);
        let (plan, _) = plan(&self.peers, &self.rules);
        self.front.take(self.now, plan, vec![None], &mut self.chain);
    }

    /// The replica of this path is dead; flows take another one instead.
    pub(crate) fn leave(&mut self, dead: PathId, other: PathId, lost: LostConnections) -> usize {
        self.chain.instead = Some(other);
        self.outside.clear();
        let World { front, chain, outside, now, .. } = self;
        front.leave(*now, |path| path == dead, lost, &mut Sent(outside), chain)
    }

    fn take(&mut self) {
        let (plan, _) = plan(&self.peers, &self.rules);
        self.front.take(self.now, plan, vec![None], &mut self.chain);
    }
}

fn plan(peers: &[Secret], rules: &str) -> (Plan, usize) {
    let (domain, set) = domain(rules);
    let mtu = set.inner_mtu().expect("a path");
    let peer = |(secret, last): &Secret| Peer {
        name: format!("client{last}").into(),
        identity: format!("spiffe://test.example/client/client{last}").into(),
        key: public_key(*secret),
        preshared: None,
        addresses: vec![
            IpAddr::from([10, 78, 0, *last]),
            format!("fd00:78::{last}").parse().expect("an address"),
        ],
    };
    let plan = Plan {
        peers: peers.iter().map(peer).collect(),
        rules: RuleSet::compile(&domain, &set).expect("rules"),
        mtus: set.paths.iter().map(|path| (path.id, mtu)).collect(),
        routers: vec![IpAddr::from([10, 78, 0, 1]), "fd00:78::1".parse().expect("an address")],
        link_port: 7000,
        limits: FrontLimits {
            handshakes_a_second: HANDSHAKES_A_SECOND as u32,
            flows_a_client: 8,
            flows: 64,
            flow_idle_s: 60,
        },
    };
    (plan, mtu.into())
}

fn domain(rules: &str) -> (Domain, PathSet) {
    let text = format!(
        "domain: test.example\n\
         links: {{network: 10.77.0.0/24}}\n\
         gateway:\n\
         \x20 outside: [192.0.2.0/24]\n\
         \x20 inner: [10.78.0.0/24, \"fd00:78::/64\"]\n\
         \x20 listeners:\n\
         \x20   - {{name: wg, kind: wireguard, address: \"192.0.2.1:51820\", key_file: key}}\n\
         egress: {{networks: [10.79.0.0/24, \"fd00:79::/64\"]}}\n\
         services:\n\
         \x20 - name: www\n\
         \x20   addresses: [10.79.0.10:80]\n\
         \x20   networks: [10.79.0.10/32, \"fd00:79::10/128\"]\n\
         \x20   server_names: [www.test.example]\n\
         functions:\n\
         \x20 - {{name: sf1, kind: forward, intrusive: false}}\n\
         \x20 - {{name: sf2, kind: forward, intrusive: true}}\n\
         paths:\n\
         \x20 - {{name: plain, hops: [sf1], service: www}}\n\
         \x20 - {{name: inspected, hops: [sf2], service: www}}\n\
         rules:\n{ALLOWED}{rules}"
    );
    let domain = check::load(&text, "test").unwrap_or_else(|wrong| panic!("{wrong}")).domain;
    let issue = Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: u64::MAX };
    let set = PathSet::compile(&domain, issue).expect("a path set");
    (domain, set)
}

/// The other end of a tunnel.
pub(crate) struct Client {
    tunnel: Tunn,
    pub(crate) address: SocketAddr,
    /// Packets that it got.
    pub(crate) received: Vec<Vec<u8>>,
}

impl Client {
    pub(crate) fn of(_: &World, (secret, last): Secret) -> Client {
        let gateway = PublicKey::from(public_key(GATEWAY));
        let tunnel = Tunn::new(StaticSecret::from(secret), gateway, None, None, 1, None);
        let address = SocketAddr::from(([192, 0, 2, last], 51820));
        Client { tunnel, address, received: Vec::new() }
    }

    /// One whose key nobody knows.
    pub(crate) fn stranger(world: &World) -> Client {
        Client::of(world, ([77; 32], 99))
    }

    /// A new handshake message each time.
    pub(crate) fn initiation(&mut self) -> Vec<u8> {
        let mut room = [0; 2048];
        match self.tunnel.format_handshake_initiation(&mut room, true) {
            TunnResult::WriteToNetwork(initiation) => initiation.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// Comes in, by a cookie where it is asked for one.
    pub(crate) fn shake(&mut self, world: &mut World) -> bool {
        for _ in 0..2 {
            let initiation = self.initiation();
            world.from(self.address, &initiation);
            for (_, answer) in std::mem::take(&mut world.outside) {
                let mut room = [0; 2048];
                // The first message under the new keys tells the gateway that they are good.
                if let TunnResult::WriteToNetwork(first) =
                    self.tunnel.decapsulate(None, &answer, &mut room)
                {
                    let first = first.to_vec();
                    world.from(self.address, &first);
                    return true;
                }
            }
        }
        false
    }

    pub(crate) fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut room = vec![0; packet.len() + 256];
        match self.tunnel.encapsulate(packet, &mut room) {
            TunnResult::WriteToNetwork(datagram) => datagram.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn take(&mut self, datagram: &[u8]) {
        let mut room = vec![0; 65_536];
        match self.tunnel.decapsulate(None, datagram, &mut room) {
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                self.received.push(packet.to_vec());
            }
            _ => {}
        }
    }
}

/// An IP packet of either version.
fn packet(src: &str, dst: &str, number: u8, payload: &[u8]) -> Vec<u8> {
    let (src, dst) = (src.parse().expect("an address"), dst.parse().expect("an address"));
    match Addresses::new(src, dst).expect("one version") {
        Addresses::V4 { src, dst } => {
            let header = ipv4::Repr {
                dscp: 0,
                ecn: Ecn::NotEct,
                identification: 0,
                dont_fragment: false,
                more_fragments: false,
                fragment_offset_bytes: 0,
                ttl: 64,
                protocol: number,
                src_addr: src,
                dst_addr: dst,
                options: &[],
                payload_len: payload.len(),
            };
            let mut bytes = vec![0; 20 + payload.len()];
            header.emit(&mut ipv4::Packet::new_unchecked(&mut bytes[..])).expect("room");
            bytes[20..].copy_from_slice(payload);
            bytes
        }
        Addresses::V6 { src, dst } => {
            let header = ipv6::Repr {
                dscp: 0,
                ecn: Ecn::NotEct,
                flow_label: 0,
                payload_len: payload.len() as u16,
                next_header: number,
                hop_limit: 64,
                src_addr: src,
                dst_addr: dst,
            };
            let mut bytes = vec![0; 40 + payload.len()];
            header.emit(&mut ipv6::Packet::new_unchecked(&mut bytes[..])).expect("room");
            bytes[40..].copy_from_slice(payload);
            bytes
        }
    }
}

/// The header's checksum again, after a change.
pub(crate) fn refill(packet: &mut [u8]) {
    ipv4::Packet::new_unchecked(packet).fill_checksum();
}

pub(crate) fn udp(src: &str, dst: &str, from: u16, to: u16, content: &[u8]) -> Vec<u8> {
    let len = (8 + content.len()) as u16;
    let mut payload = [from, to, len, 0].map(u16::to_be_bytes).concat();
    payload.extend(content);
    packet(src, dst, protocol::UDP, &payload)
}

/// A SYN.
pub(crate) fn tcp(src: &str, dst: &str, from: u16, to: u16) -> Vec<u8> {
    segment(src, dst, (from, to), (1, 0), 2, b"")
}

/// A segment with this sequence number, acknowledgement and these flags.
pub(crate) fn segment(
    src: &str,
    dst: &str,
    (from, to): (u16, u16),
    (seq, ack): (u16, u16),
    flags: u16,
    data: &[u8],
) -> Vec<u8> {
    let header = [from, to, 0, seq, 0, ack, 0x5000 | flags, 0xffff, 0, 0].map(u16::to_be_bytes);
    packet(src, dst, protocol::TCP, &[&header.concat(), data].concat())
}

pub(crate) fn sctp(src: &str, dst: &str, from: u16, to: u16) -> Vec<u8> {
    let payload = [from, to, 0, 0, 0, 0].map(u16::to_be_bytes).concat();
    packet(src, dst, protocol::SCTP, &payload)
}

/// An echo request with so many bytes.
pub(crate) fn echo(src: &str, dst: &str, bytes: usize) -> Vec<u8> {
    let (number, kind) =
        if src.contains(':') { (protocol::ICMPV6, 128) } else { (protocol::ICMP, 8) };
    let mut payload = vec![kind, 0, 0, 0, 0, 1, 0, 1];
    payload.resize(8 + bytes, 7);
    packet(src, dst, number, &payload)
}

/// The packet under another identification, which IPv6's has only in parts.
pub(crate) fn identified(mut packet: Vec<u8>, identification: u16) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        ipv4::Packet::new_unchecked(&mut packet[..]).set_identification(identification);
        refill(&mut packet);
    }
    packet
}

/// "Destination unreachable" about a packet.
pub(crate) fn unreachable(src: &str, dst: &str, about: &[u8]) -> Vec<u8> {
    let payload = [&[3, 1, 0, 0, 0, 0, 0, 0], about].concat();
    packet(src, dst, protocol::ICMP, &payload)
}

/// Between whom an error goes, the MTU that it tells, and the packet that it is about.
pub(crate) fn too_big(packet: &[u8]) -> (IpAddr, IpAddr, u16, &[u8]) {
    if packet[0] >> 4 == 4 {
        let view = ipv4::Packet::new_checked(packet).expect("IPv4");
        let message = icmp::Packet::new_checked(view.payload()).expect("ICMP");
        assert!(message.verify_checksum(view.addresses()) && view.verify_checksum());
        let repr = icmp::v4::Repr::parse(&message).expect("ICMP");
        let icmp::v4::Repr::FragmentationNeeded { mtu_bytes } = repr else { panic!("{repr:?}") };
        (view.src_addr().into(), view.dst_addr().into(), mtu_bytes, message.payload())
    } else {
        let view = ipv6::Packet::new_checked(packet).expect("IPv6");
        let message = icmp::Packet::new_checked(view.payload()).expect("ICMPv6");
        assert!(message.verify_checksum(view.addresses()));
        let repr = icmp::v6::Repr::parse(&message).expect("ICMPv6");
        let icmp::v6::Repr::PacketTooBig { mtu_bytes } = repr else { panic!("{repr:?}") };
        (view.src_addr().into(), view.dst_addr().into(), mtu_bytes as u16, message.payload())
    }
}

/// The parts of a packet, each of so many bytes of what is behind its header.
pub(crate) fn fragments(whole: &[u8], bytes: usize, identification: u16) -> Vec<Vec<u8>> {
    let is_v4 = whole[0] >> 4 == 4;
    let head = if is_v4 { 20 } else { 40 };
    let body = &whole[head..];
    let mut parts = Vec::new();
    for (nth, part) in body.chunks(bytes).enumerate() {
        let (offset, more) = ((nth * bytes) as u16, (nth + 1) * bytes < body.len());
        let mut packet = whole[..head].to_vec();
        if is_v4 {
            packet.extend(part);
            let len = packet.len() as u16;
            let mut view = ipv4::Packet::new_unchecked(&mut packet[..]);
            view.set_total_len(len);
            view.set_identification(identification);
            view.set_fragment(false, more, offset);
            view.fill_checksum();
        } else {
            let [high, low] = (offset | u16::from(more)).to_be_bytes();
            let [a, b] = identification.to_be_bytes();
            packet.extend([whole[6], 0, high, low, 0, 0, a, b]);
            packet.extend(part);
            packet[6] = protocol::FRAGMENT;
            let len = (packet.len() - 40) as u16;
            packet[4..6].copy_from_slice(&len.to_be_bytes());
        }
        parts.push(packet);
    }
    parts
}
