//! Behind the keys: packets of authentic peers, the flows that they begin, and what the rules say of those.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmail_model::PathId;
use ringmail_model::rules::RuleSet;
use ringmail_packet::flow::{FlowError, FlowKey};
use ringmail_packet::icmp;
use ringmail_packet::ip::protocol;
use ringmail_packet::tcp::{self, Flags};
use ringmail_packet::wrapped::is_wrapped;

use super::flows::{Allowed, Flow, Flows, Judged, facts, judge};
use super::inspect::dscp;
use super::peers::{Known, Peers};
use super::reassembly::{Joined, Reassembly};
use super::reset::{begins, reset};
use super::{Endpoint, FrontLimits, PacketChain, answer};
use crate::access::{AccessSink, Entry};
use crate::counters::Counters;
use crate::limits::WIREGUARD_ANSWERS_A_SECOND;
use crate::rate::Rates;

/// Behind the keys: what packets are judged and remembered by.
pub(super) struct Inside {
    pub(super) flows: Flows,
    pub(super) parts: Reassembly,
    pub(super) rules: RuleSet,
    pub(super) looks_at_dscp: bool,
    pub(super) looks_at_time: bool,
    pub(super) rates: Arc<Rates>,
    pub(super) mtus: BTreeMap<PathId, u16>,
    pub(super) routers: Vec<IpAddr>,
    pub(super) link_port: u16,
    pub(super) limits: FrontLimits,
    pub(super) answers: (Instant, u32),
    pub(super) counters: Arc<Counters>,
    /// One for each listener.
    pub(super) logs: Vec<Option<AccessSink>>,
}

impl Inside {
    /// A packet of an authentic peer. Where the peer is to be told of an error, that is written to `error`, and its length
    /// comes back.
    pub(super) fn packet(
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
        // Whose replica died may begin anew at once.
        let stands = stands.filter(|known| !known.lost || !begins(packet));
        let fits = stands.is_some_and(|known| !self.looks_at_dscp || known.dscp == dscp);
        if !fits && !self.judge(now, from, (number, known), flow, dscp, chain) {
            return None;
        }
        let idle_s = self.limits.flow_idle_s;
        let standing = self.flows.get_mut(flow)?;
        standing.bytes_in += bytes;
        let Some(allowed) = &standing.allowed else {
            counters.wireguard_refused_packets.one();
            let tell = standing.lost && self.may_answer(now);
            return tell.then(|| reset(packet, error))?.map(<[u8]>::len);
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
                chain.began(*key, &known.peer.identity, &rule, &service);
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
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.answers;
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= WIREGUARD_ANSWERS_A_SECOND
    }

    pub(super) fn log(&self, key: &FlowKey, flow: &Flow, now: Instant) {
        if let Some(Some(log)) = self.logs.get(flow.listener) {
            log.line(Entry::flow(key, flow, now));
        }
    }
}

/// Whether the rule that allowed a flow still does.
pub(super) fn still_allowed(rules: &RuleSet, peers: &Peers, key: &FlowKey, flow: &Flow) -> bool {
    let (Some(known), Some(before)) = (peers.get(flow.peer), &flow.allowed) else { return false };
    let facts = facts(&known.peer.identity, flow.source.ip(), key, flow.dscp);
    let judged = judge(rules, &facts);
    judged.is_some_and(|now| now.rule == before.rule && now.service == before.service)
}

/// For an ICMP error: the flow of the packet that it is about, in that packet's direction, where the error goes to the
/// packet's sender.
pub(super) fn about(packet: &[u8], flow: &FlowKey) -> Option<FlowKey> {
    let is_icmp = matches!(flow.protocol, protocol::ICMP | protocol::ICMPV6);
    let about = is_icmp.then(|| icmp::subject(packet))??;
    (about.src == flow.dst).then_some(about)
}

/// Whether a packet ends its TCP connection.
pub(super) fn closes(flow: &FlowKey, packet: &[u8]) -> bool {
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
