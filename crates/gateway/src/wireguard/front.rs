//! The front: datagrams from outside become packets of pinned flows, and answers become datagrams.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use ringmail_model::PathId;
use ringmail_model::rules::RuleSet;
use ringmail_packet::flow::{FlowError, FlowKey};
use ringmail_packet::icmp;
use ringmail_packet::ip::protocol;
use ringmail_packet::tcp::{self, Flags};
use ringmail_packet::wrapped::is_wrapped;

use super::flows::{Allowed, Flow, Flows, Judged, facts, judge};
use super::gate::{Admitted, Gate};
use super::inspect::dscp;
use super::peers::{Known, Peers};
use super::reassembly::{Joined, Reassembly};
use super::{Endpoint, FrontLimits, Outside, PacketChain, Plan, answer};
use crate::access::{AccessSink, Entry};
use crate::counters::Counters;
use crate::limits::{WIREGUARD_ANSWERS_A_SECOND, WIREGUARD_DATAGRAM_BYTES, WIREGUARD_SWEEP_MS, ms};
use crate::rate::Rates;

/// The WireGuard end of a gateway, for all of its listeners of that kind.
pub struct Front {
    public: PublicKey,
    gate: Gate,
    peers: Peers,
    inside: Inside,
    room: Room,
    swept: Instant,
}

/// Behind the keys: what packets are judged and remembered by.
struct Inside {
    flows: Flows,
    parts: Reassembly,
    rules: RuleSet,
    looks_at_dscp: bool,
    looks_at_time: bool,
    rates: Arc<Rates>,
    mtus: BTreeMap<PathId, u16>,
    routers: Vec<IpAddr>,
    link_port: u16,
    limits: FrontLimits,
    answers: (Instant, u32),
    counters: Arc<Counters>,
    /// One for each listener.
    logs: Vec<Option<AccessSink>>,
}

/// Where datagrams and packets are written: one that is opened, one that is sealed.
struct Room {
    opened: Box<[u8]>,
    sealed: Box<[u8]>,
    error: Box<[u8]>,
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

    fn end(&mut self, key: FlowKey, flow: &Flow, now: Instant, chain: &mut impl PacketChain) {
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

impl Inside {
    /// A packet of an authentic peer. Where the peer is to be told of an error, that is written to `error`, and its length
    /// comes back.
    fn packet(
        &mut self,
        now: Instant,
        from: Endpoint,
        peer: (u32, &mut Known),
        packet: &[u8],
        error: &mut [u8],
        chain: &mut impl PacketChain,
    ) -> Option<usize> {
        let counters = Arc::clone(&self.counters);
        counters.wireguard_packets_in.one();
        match FlowKey::of(packet) {
            Ok(flow) => self.whole(now, from, peer, packet, &flow, error, chain),
            Err(FlowError::Fragment) => {
                // It is taken for as long as the whole packet is looked at.
                let mut parts = std::mem::take(&mut self.parts);
                let told = match parts.join(now, peer.0, packet) {
                    Joined::Waits => None,
                    Joined::Refused => {
                        counters.wireguard_fragments.one();
                        None
                    }
                    Joined::Whole(packet) => match FlowKey::of(packet) {
                        Ok(flow) => {
                            counters.wireguard_reassembled.one();
                            self.whole(now, from, peer, packet, &flow, error, chain)
                        }
                        Err(_) => {
                            counters.wireguard_malformed.one();
                            None
                        }
                    },
                };
                self.parts = parts;
                told
            }
            Err(_) => {
                counters.wireguard_malformed.one();
                None
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a packet with all that is known of it")]
    fn whole(
        &mut self,
        now: Instant,
        from: Endpoint,
        (number, known): (u32, &mut Known),
        packet: &[u8],
        flow: &FlowKey,
        error: &mut [u8],
        chain: &mut impl PacketChain,
    ) -> Option<usize> {
        let counters = Arc::clone(&self.counters);
        if !known.peer.addresses.contains(&flow.src) {
            counters.wireguard_spoofed.one();
            return None;
        }
        if is_wrapped(packet, self.link_port) {
            counters.wireguard_wrapped.one();
            return None;
        }
        let bytes = packet.len() as u64;
        if let Some(key) = about(packet, flow) {
            // An error is let through for a flow that is there, and begins none.
            let key = key.reversed();
            let allowed = self.flows.get_mut(&key).filter(|flow| flow.peer == number);
            let Some(flow) = allowed.filter(|flow| flow.allowed.is_some()) else {
                counters.wireguard_no_flow.one();
                return None;
            };
            flow.bytes_in += bytes;
            counters.bytes_from_clients.add(bytes);
            if !chain.send(&key, packet) {
                counters.wireguard_overrun.one();
            }
            return None;
        }
        let dscp = dscp(packet);
        let stands = self.flows.get_mut(flow).filter(|known| known.until > now);
        let stands = stands.filter(|known| known.peer == number);
        let fits = stands.is_some_and(|known| !self.looks_at_dscp || known.dscp == dscp);
        if !fits && !self.judge(now, from, (number, known), flow, dscp, chain) {
            return None;
        }
        let idle_s = self.limits.flow_idle_s;
        let standing = self.flows.get_mut(flow)?;
        standing.bytes_in += bytes;
        let Some(allowed) = &standing.allowed else {
            counters.wireguard_refused_packets.one();
            return None;
        };
        let mtu_bytes = allowed.mtu_bytes;
        if packet.len() > usize::from(mtu_bytes) {
            counters.wireguard_too_big.one();
            return self
                .may_answer(now)
                .then(|| answer::too_big(packet, mtu_bytes, &self.routers, error))?
                .map(<[u8]>::len);
        }
        standing.touch(now, flow, closes(flow, packet), idle_s);
        counters.bytes_from_clients.add(bytes);
        if !chain.send(flow, packet) {
            counters.wireguard_overrun.one();
        }
        None
    }

    /// Asks the rules about a flow that begins, or goes on under another DS field. Whether the table has it now.
    fn judge(
        &mut self,
        now: Instant,
        from: Endpoint,
        (number, known): (u32, &mut Known),
        key: &FlowKey,
        dscp: u8,
        chain: &mut impl PacketChain,
    ) -> bool {
        let counters = Arc::clone(&self.counters);
        let facts = facts(&known.peer.identity, from.address.ip(), key, dscp);
        let judged = judge(&self.rules, &facts);
        if let Some(before) = self.flows.get_mut(key).filter(|flow| flow.peer == number)
            && before.until > now
            && before.allowed.is_some()
        {
            // Under another DS field: the flow goes on by what the rules say of that, or this packet does not pass.
            let Some(Judged { rule, service, path, .. }) = judged else {
                counters.wireguard_refused_packets.one();
                return false;
            };
            before.dscp = dscp;
            if before.allowed.as_ref().is_some_and(|allowed| allowed.path != path) {
                let taken = chain.pin(*key, path);
                let mtu_bytes = self.mtus.get(&taken).copied().unwrap_or(0);
                let path_name = self.rules.path_name(path).unwrap_or_default().into();
                before.allowed = Some(Allowed { rule, service, path_name, path, taken, mtu_bytes });
            }
            return true;
        }
        if let Some((old, flow)) = self.flows.take_one(key) {
            // It ran out, or was another client's.
            known.flows = known.flows.saturating_sub(usize::from(flow.peer == number));
            if flow.allowed.is_some() {
                chain.unpin(old);
            }
            self.log(&old, &flow, now);
        }
        if known.flows >= self.limits.flows_a_client || self.flows.len() >= self.limits.flows {
            counters.wireguard_flows_limited.one();
            return false;
        }
        if let Some(Judged { rule, rate: Some(rate), .. }) = &judged
            && self.rates.take(rule, &known.peer.identity, *rate).is_err()
        {
            counters.wireguard_too_fast.one();
            return false;
        }
        let allowed = judged.map(|Judged { rule, service, path, .. }| {
            let taken = chain.pin(*key, path);
            chain.began(*key, &known.peer.identity, &rule, &service);
            let mtu_bytes = self.mtus.get(&taken).copied().unwrap_or(0);
            let path_name = self.rules.path_name(path).unwrap_or_default().into();
            Allowed { rule, service, path_name, path, taken, mtu_bytes }
        });
        match allowed {
            Some(_) => counters.wireguard_flows.one(),
            None => counters.wireguard_refused_by_rules.one(),
        }
        known.flows += 1;
        let client = Arc::clone(&known.peer.identity);
        self.flows.insert(*key, Flow::new(now, (number, client), from, dscp, allowed));
        true
    }

    /// Whether one more error may be sent within this second (RFC 4443 section 2.4 f).
    fn may_answer(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.answers;
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= WIREGUARD_ANSWERS_A_SECOND
    }

    fn log(&self, key: &FlowKey, flow: &Flow, now: Instant) {
        if let Some(Some(log)) = self.logs.get(flow.listener) {
            log.line(Entry::flow(key, flow, now));
        }
    }
}

/// Whether the rule that allowed a flow still does.
fn still_allowed(rules: &RuleSet, peers: &Peers, key: &FlowKey, flow: &Flow) -> bool {
    let (Some(known), Some(before)) = (peers.get(flow.peer), &flow.allowed) else { return false };
    let facts = facts(&known.peer.identity, flow.source.ip(), key, flow.dscp);
    let judged = judge(rules, &facts);
    judged.is_some_and(|now| now.rule == before.rule && now.service == before.service)
}

/// For an ICMP error: the flow of the packet that it is about, in that packet's direction, where the error goes to the
/// packet's sender.
fn about(packet: &[u8], flow: &FlowKey) -> Option<FlowKey> {
    let is_icmp = matches!(flow.protocol, protocol::ICMP | protocol::ICMPV6);
    let about = is_icmp.then(|| icmp::subject(packet))??;
    (about.src == flow.dst).then_some(about)
}

/// Whether a packet ends its TCP connection.
fn closes(flow: &FlowKey, packet: &[u8]) -> bool {
    if flow.protocol != protocol::TCP {
        return false;
    }
    let payload = match packet.first().map(|byte| byte >> 4) {
        Some(4) => ringmail_packet::ipv4::Packet::new_checked(packet).ok().map(|p| p.payload()),
        _ => ringmail_packet::ipv6::Packet::new_checked(packet)
            .ok()
            .and_then(|p| p.upper_layer().ok().map(|upper| upper.payload)),
    };
    let segment = payload.and_then(|payload| tcp::Packet::new_checked(payload).ok());
    segment.is_some_and(|segment| segment.flags().intersects(Flags::FIN | Flags::RST))
}

/// Seals a packet for a peer and sends it; without a session it waits for one, for a while.
fn seal(
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
