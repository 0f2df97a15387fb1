//! The flows of clients: what the rules said of each, for as long as it lasts, within a budget a client and for all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ringmail_model::PathId;
use ringmail_model::domain::Rate;
use ringmail_model::rules::{Decision, PacketFacts, RuleSet};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::protocol;

use crate::demand::now_unix_s;
use crate::limits::WIREGUARD_REFUSED_S;

/// Seconds that an idle TCP flow is remembered (RFC 5382 section 5), and one that was closed or reset.
const TCP_IDLE_S: u32 = 7_440;
const TCP_CLOSING_S: u32 = 240;

/// What is remembered of a flow.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) peer: u32,
    /// Whose it is; who may have gone when it ends.
    pub(crate) client: Arc<str>,
    /// Where the client was when it began.
    pub(crate) source: std::net::SocketAddr,
    pub(crate) listener: usize,
    /// Of the packet that was judged.
    pub(crate) dscp: u8,
    /// What the rules said; `None`: nothing of it passes.
    pub(crate) allowed: Option<Allowed>,
    pub(crate) begun: (Instant, SystemTime),
    /// When it is forgotten, unless another packet comes.
    pub(crate) until: Instant,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// It is closed or reset.
    closing: bool,
    /// The replica that it passed is dead.
    pub(super) lost: bool,
}

/// How a flow passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) rule: Arc<str>,
    pub(crate) service: Arc<str>,
    /// The name of the path.
    pub(crate) path_name: Arc<str>,
    /// The path of the rule, and the replica of it that the flow takes.
    pub(crate) path: PathId,
    pub(crate) taken: PathId,
    pub(crate) mtu_bytes: u16,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: HashMap<FlowKey, Flow>,
}

/// What rules say, with what outlives them.
pub(super) struct Judged {
    pub(super) rule: Arc<str>,
    pub(super) service: Arc<str>,
    pub(super) path: PathId,
    /// How often a client may begin such a flow.
    pub(super) rate: Option<Rate>,
}

pub(super) fn judge(rules: &RuleSet, facts: &PacketFacts<'_>) -> Option<Judged> {
    match rules.evaluate_packet(facts) {
        // A rule that asks a decision point holds for no packet.
        Decision::Allow { rule, path, service, demands } if demands.ask.is_none() => {
            let (rule, service) = (rule.into(), service.into());
            Some(Judged { rule, service, path, rate: demands.rate })
        }
        _ => None,
    }
}

/// A flow as rules see it.
pub(super) fn facts<'a>(
    client: &'a str,
    source: IpAddr,
    flow: &FlowKey,
    dscp: u8,
) -> PacketFacts<'a> {
    let has_ports = matches!(flow.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    PacketFacts {
        client,
        source,
        destination: flow.dst,
        protocol: flow.protocol,
        ports: has_ports.then_some((flow.src_port, flow.dst_port)),
        dscp,
        now_unix_s: now_unix_s(),
    }
}

impl Flows {
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn get_mut(&mut self, key: &FlowKey) -> Option<&mut Flow> {
        self.flows.get_mut(key)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&FlowKey, &mut Flow)> {
        self.flows.iter_mut()
    }

    pub(super) fn insert(&mut self, key: FlowKey, flow: Flow) {
        self.flows.insert(key, flow);
    }

    /// Takes this one out, if it is there.
    pub(super) fn take_one(&mut self, key: &FlowKey) -> Option<(FlowKey, Flow)> {
        self.flows.remove_entry(key)
    }

    /// Takes out those for which `over` holds.
    pub(super) fn take(
        &mut self,
        mut over: impl FnMut(&FlowKey, &Flow) -> bool,
    ) -> Vec<(FlowKey, Flow)> {
        self.flows.extract_if(|key, flow| over(key, flow)).collect()
    }
}

impl Flow {
    pub(super) fn new(
        now: Instant,
        (peer, client): (u32, Arc<str>),
        from: super::Endpoint,
        dscp: u8,
        allowed: Option<Allowed>,
    ) -> Flow {
        Flow {
            peer,
            client,
            source: from.address,
            listener: from.listener,
            dscp,
            allowed,
            begun: (now, SystemTime::now()),
            until: now + Duration::from_secs(WIREGUARD_REFUSED_S.into()),
            bytes_in: 0,
            bytes_out: 0,
            closing: false,
            lost: false,
        }
    }

    /// Nothing of it passes any more: its replica is dead.
    pub(super) fn lose(&mut self, now: Instant) {
        self.until = now + Duration::from_secs(WIREGUARD_REFUSED_S.into());
        (self.allowed, self.lost) = (None, true);
    }

    /// Another packet of it came. One that is refused is judged anew after a while, however much comes.
    pub(super) fn touch(&mut self, now: Instant, key: &FlowKey, closes: bool, other_idle_s: u32) {
        if self.allowed.is_none() {
            return;
        }
        self.closing |= closes;
        let idle_s = match key.protocol {
            protocol::TCP if self.closing => TCP_CLOSING_S,
            protocol::TCP => TCP_IDLE_S.max(other_idle_s),
            _ => other_idle_s,
        };
        self.until = now + Duration::from_secs(idle_s.into());
    }
}
