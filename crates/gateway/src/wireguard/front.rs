//! The front: datagrams from outside become packets of pinned flows, and answers become datagrams.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use ringmail_model::PathId;
use ringmail_packet::flow::FlowKey;
use ringmail_packet::wrapped::is_wrapped;

use super::flows::{Flow, Flows};
use super::gate::{Admitted, Gate};
use super::inside::{Inside, about, closes, still_allowed};
use super::peers::{Known, Peers};
use super::reassembly::Reassembly;
use super::{Endpoint, Outside, PacketChain, Plan, answer};
use crate::access::AccessSink;
use crate::counters::Counters;
use crate::limits::{WIREGUARD_DATAGRAM_BYTES, WIREGUARD_SWEEP_MS, ms};
use crate::rate::Rates;

/// The WireGuard end of a gateway, for all of its listeners of that kind.
pub struct Front {
    public: PublicKey,
    gate: Gate,
    pub(super) peers: Peers,
    pub(super) inside: Inside,
    pub(super) room: Room,
    swept: Instant,
}

/// Where datagrams and packets are written: one that is opened, one that is sealed.
pub(super) struct Room {
    opened: Box<[u8]>,
    pub(super) sealed: Box<[u8]>,
    pub(super) error: Box<[u8]>,
}

impl Front {
    /// A front with this private key, which counts here and shares the rates of rules with other listeners. `logs` are the access log's, one for each listener.
    pub fn new(
        key: [u8; 32],
        plan: Plan,
        now: Instant,
        (counters, rates): (Arc<Counters>, Arc<Rates>),
        logs: Vec<Option<AccessSink>>,
    ) -> Front {
        let secret = StaticSecret::from(key);
        let public = PublicKey::from(&secret);
        let gate = Gate::new(&public, plan.limits.handshakes_a_second, now);
        let mut peers = Peers::new(secret);
        let Plan { peers: known, rules, mtus, routers, link_port, limits } = plan;
        peers.set(known, &gate);
        let inside = Inside {
            flows: Flows::default(),
            parts: Reassembly::default(),
            looks_at_dscp: rules.looks_at_dscp(),
            looks_at_time: rules.looks_at_time(),
            rates,
            rules,
            mtus: mtus.into_iter().collect(),
            routers,
            link_port,
            limits,
            answers: (now, 0),
            logs: counted(logs, &counters),
            counters,
        };
        let room = || vec![0; WIREGUARD_DATAGRAM_BYTES].into_boxed_slice();
        let room = Room { opened: room(), sealed: room(), error: room() };
        Front { public, gate, peers, inside, room, swept: now }
    }

    /// The public key of the gateway, for clients.
    pub fn public_key(&self) -> [u8; 32] {
        self.public.to_bytes()
    }

    /// Addresses inside of every client.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.peers.addresses()
    }

    /// Flows that are remembered, refused ones included.
    pub fn flows(&self) -> usize {
        self.inside.flows.len()
    }

    /// Another version of the domain counts from now on. Peers that are not in it are cut off, and so are flows that its
    /// rules do not allow; one that they still allow keeps its path while there is one.
    pub fn take(
        &mut self,
        now: Instant,
        plan: Plan,
        logs: Vec<Option<AccessSink>>,
        chain: &mut impl PacketChain,
    ) {
        let Plan { peers, rules, mtus, routers, link_port, limits } = plan;
        if self.gate.limit() != limits.handshakes_a_second {
            self.gate = Gate::new(&self.public, limits.handshakes_a_second, now);
        }
        let inside = &mut self.inside;
        inside.looks_at_dscp = rules.looks_at_dscp();
        inside.looks_at_time = rules.looks_at_time();
        (inside.rules, inside.routers, inside.link_port) = (rules, routers, link_port);
        inside.limits = limits;
        // Paths that go are told apart from those that are gone by `cut`.
        inside.mtus.extend(mtus);
        let gone = self.peers.set(peers, &self.gate);
        let (peers, rules) = (&self.peers, &self.inside.rules);
        let over = self.inside.flows.take(|key, flow| {
            // A new rule may allow what was refused.
            flow.allowed.is_none()
                || gone.contains(&flow.peer)
                || !still_allowed(rules, peers, key, flow)
        });
        for (key, flow) in over {
            self.end(key, &flow, now, chain);
        }
        // What is over is in the log of its listener, which may be over with it.
        self.inside.logs = counted(logs, &self.inside.counters);
    }

    /// These paths are over, and flows that take them: the next packet of one is judged anew.
    pub fn cut(&mut self, now: Instant, paths: &[PathId], chain: &mut impl PacketChain) {
        let over = |flow: &Flow| {
            flow.allowed.as_ref().is_some_and(|allowed| paths.contains(&allowed.taken))
        };
        for (key, flow) in self.inside.flows.take(|_, flow| over(flow)) {
            self.end(key, &flow, now, chain);
        }
        self.inside.mtus.retain(|path, _| !paths.contains(path));
    }

    /// Ends every flow, with its line.
    pub fn close(&mut self, now: Instant, chain: &mut impl PacketChain) {
        for (key, flow) in self.inside.flows.take(|_, _| true) {
            self.end(key, &flow, now, chain);
        }
    }

    /// A datagram that came to a listener.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: Endpoint,
        datagram: &[u8],
        outside: &mut impl Outside,
        chain: &mut impl PacketChain,
    ) {
        let Front { public, gate, peers, inside, room, .. } = self;
        let counters = Arc::clone(&inside.counters);
        counters.wireguard_datagrams.one();
        let (number, begins) = match gate.admit(now, from.address, datagram, &mut room.sealed) {
            Admitted::Session(number) => (Some(number), false),
            Admitted::Initiation(init) => {
                counters.wireguard_handshakes.one();
                let half = parse_handshake_anon(peers.secret(), public, &init);
                (half.ok().and_then(|half| peers.with_key(&half.peer_static_public)), true)
            }
            Admitted::Cookie(cookie) => {
                counters.wireguard_cookies.one();
                return outside.send(from, cookie);
            }
            Admitted::Refused => return counters.wireguard_invalid.one(),
            Admitted::Flooded => return counters.wireguard_flooded.one(),
        };
        let Some((number, known)) = number.and_then(|n| Some((n, peers.get_mut(n)?))) else {
            return counters.wireguard_unknown_peer.one();
        };
        if begins && !known.may_begin(now) {
            return counters.wireguard_flooded.one();
        }
        let authentic = datagram.first() != Some(&COOKIE_REPLY);
        let mut next = known.tunnel.decapsulate(None, datagram, &mut room.opened);
        loop {
            match next {
                TunnResult::Done => {
                    if authentic {
                        known.endpoint = Some(from);
                    }
                    return;
                }
                TunnResult::Err(_) => return counters.wireguard_not_authentic.one(),
                TunnResult::WriteToNetwork(answer) => {
                    known.endpoint = Some(from);
                    outside.send(from, answer);
                    // What waited for the session goes now.
                    next = known.tunnel.decapsulate(None, &[], &mut room.opened);
                }
                TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                    known.endpoint = Some(from);
                    let len = packet.len();
                    let packet = &room.opened[..len];
                    let error = &mut room.error;
                    let told = inside.packet(now, from, (number, known), packet, error, chain);
                    if let Some(len) = told {
                        seal(known, &room.error[..len], &mut room.sealed, outside, &counters);
                    }
                    return;
                }
            }
        }
    }

    /// A packet that a chain delivered, for a client.
    pub fn handle_answer(&mut self, now: Instant, packet: &[u8], outside: &mut impl Outside) {
        let Front { peers, inside, room, .. } = self;
        let counters = Arc::clone(&inside.counters);
        let Ok(flow) = FlowKey::of(packet) else { return counters.wireguard_malformed.one() };
        if is_wrapped(packet, inside.link_port) {
            return counters.wireguard_wrapped.one();
        }
        let number = peers.with_address(flow.dst);
        let Some(known) = number.and_then(|number| peers.get_mut(number)) else {
            return counters.wireguard_unknown_peer.one();
        };
        let error = about(packet, &flow);
        let key = error.unwrap_or_else(|| flow.reversed());
        match inside.flows.get_mut(&key) {
            Some(flow) if flow.allowed.is_some() && Some(flow.peer) == number => {
                flow.bytes_out += packet.len() as u64;
                flow.touch(now, &key, closes(&key, packet), inside.limits.flow_idle_s);
            }
            _ => return counters.wireguard_no_flow.one(),
        }
        counters.wireguard_packets_out.one();
        counters.bytes_to_clients.add(packet.len() as u64);
        // Routers inside speak in the gateway's name: their own addresses are nobody's business, and no client would take them.
        let packet = match error {
            None => packet,
            Some(_) => match answer::in_the_name_of(packet, &inside.routers, &mut room.error) {
                Some(renamed) => renamed,
                None => return counters.wireguard_malformed.one(),
            },
        };
        seal(known, packet, &mut room.sealed, outside, &counters);
    }

    /// Timers of sessions, and flows that are over. Wanted every [`crate::limits::WIREGUARD_TICK_MS`].
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        outside: &mut impl Outside,
        chain: &mut impl PacketChain,
    ) {
        self.gate.handle_timeout(now);
        for known in self.peers.iter_mut() {
            if let TunnResult::WriteToNetwork(datagram) =
                known.tunnel.update_timers(&mut self.room.sealed)
                && let Some(to) = known.endpoint
            {
                outside.send(to, datagram);
            }
        }
        if now.saturating_duration_since(self.swept) < ms(WIREGUARD_SWEEP_MS) {
            return;
        }
        self.swept = now;
        let late = self.inside.parts.handle_timeout(now);
        self.inside.counters.wireguard_fragments.add(late as u64);
        let Front { peers, inside, .. } = self;
        let (rules, timed) = (&inside.rules, inside.looks_at_time);
        let over = inside.flows.take(|key, flow| {
            flow.until <= now
                || (timed && flow.allowed.is_some() && !still_allowed(rules, peers, key, flow))
        });
        for (key, flow) in over {
            self.end(key, &flow, now, chain);
        }
    }

    pub(super) fn end(
        &mut self,
        key: FlowKey,
        flow: &Flow,
        now: Instant,
        chain: &mut impl PacketChain,
    ) {
        if flow.allowed.is_some() {
            chain.unpin(key);
        }
        if let Some(known) = self.peers.get_mut(flow.peer)
            && known.peer.identity == flow.client
        {
            known.flows = known.flows.saturating_sub(1);
        }
        self.inside.log(&key, flow, now);
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("flows", &self.inside.flows.len()).finish_non_exhaustive()
    }
}

/// Lines are counted where everything else is.
fn counted(logs: Vec<Option<AccessSink>>, counters: &Arc<Counters>) -> Vec<Option<AccessSink>> {
    let own = |log: AccessSink| log.counted_by(Arc::clone(counters));
    logs.into_iter().map(|log| log.map(own)).collect()
}

/// The type of a cookie's message, which says nothing about where its sender is.
const COOKIE_REPLY: u8 = 3;

/// Seals a packet for a peer and sends it; without a session it waits for one, for a while.
pub(super) fn seal(
    known: &mut Known,
    packet: &[u8],
    room: &mut [u8],
    outside: &mut impl Outside,
    counters: &Counters,
) {
    let Some(to) = known.endpoint else { return counters.wireguard_no_endpoint.one() };
    let tunnel: &mut Tunn = &mut known.tunnel;
    match tunnel.encapsulate(packet, room) {
        TunnResult::WriteToNetwork(datagram) => outside.send(to, datagram),
        TunnResult::Err(_) => counters.wireguard_not_authentic.one(),
        _ => {}
    }
}
