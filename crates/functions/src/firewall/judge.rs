//! What becomes of one packet: the connection that it belongs to decides, or the rules where it begins one.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use ringmail_dataplane::Action;
use ringmail_dataplane::flow::FlowTable;
use ringmail_dataplane::function::Alert;
use ringmail_model::PathId;
use ringmail_model::defence::{Defence, off};
use ringmail_model::domain::FirewallAction;
use ringmail_model::metadata::Said;
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::protocol;
use ringmail_packet::tcp::Flags;

use super::connection::{Connection, LetIn};
use super::packet::{Ends, Key, Seen, Segment, What};
use super::refusal::Refusal;
use super::rules::{Asked, Rules};
use super::settings::FirewallSettings;
use crate::alerts::Alerts;
use crate::limits;
use crate::settings::BuildError;

/// Rules and what stands behind them, to be put into a firewall that runs.
pub struct FirewallRules {
    rules: Rules,
    /// What each rule leads to and counted; the default stands behind the last.
    pub(super) outcomes: Vec<Outcome>,
    /// Where in there rules are, by [`tag`].
    places: BTreeMap<u64, u32>,
    pick_up: bool,
}

impl FirewallRules {
    /// Compiles the rules.
    ///
    /// # Errors
    /// [`BuildError`], always a fault of the settings.
    pub fn new(settings: &FirewallSettings) -> Result<FirewallRules, BuildError> {
        settings.check()?;
        let outcome = |name: &str, action, log| Outcome {
            name: name.to_owned(),
            tag: tag(name),
            action,
            log,
            connections: 0,
            packets: 0,
            bytes: 0,
        };
        let rules = settings.rules.iter().map(|rule| outcome(&rule.name, rule.action, rule.log));
        let default = outcome("default", settings.default, settings.log_default);
        let outcomes: Vec<Outcome> = rules.chain([default]).collect();
        Ok(FirewallRules {
            rules: Rules::new(&settings.rules),
            places: (0..).zip(&outcomes).map(|(place, outcome)| (outcome.tag, place)).collect(),
            outcomes,
            pick_up: settings.pick_up,
        })
    }

    /// Where the rule is now that let a connection in, or else the default.
    fn place(&self, let_in: &mut LetIn) -> u32 {
        let at = self.outcomes.get(let_in.place as usize);
        if at.is_none_or(|outcome| outcome.tag != let_in.tag) {
            let default = self.outcomes.len() as u32 - 1;
            let_in.place = self.places.get(&let_in.tag).copied().unwrap_or(default);
        }
        let_in.place
    }
}

/// What tells a rule from others whatever its place: rules come and go, and workers change over one after the other.
fn tag(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// A rule behind its conditions.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: String,
    tag: u64,
    action: FirewallAction,
    log: bool,
    pub(super) connections: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// How many rejected packets were answered in the second that runs (RFC 4443 section 2.4 (f)).
#[derive(Debug)]
pub(super) struct Answers {
    second: u32,
    given: u32,
    /// In one second.
    most: u32,
    pub(super) withheld: u64,
}

/// A packet with what decides over it.
pub(super) struct Case<'a> {
    pub(super) now_s: u32,
    pub(super) packet: &'a [u8],
    pub(super) path: PathId,
    pub(super) from_client: bool,
    /// What the firewall is told of it.
    pub(super) said: Option<Said<'a>>,
}

/// The rules at work.
pub(super) struct Judge {
    pub(super) by: FirewallRules,
    pub(super) alerts: Alerts,
    pub(super) answers: Answers,
}

impl Judge {
    /// One of `workers` that share the load.
    pub(super) fn new(by: FirewallRules, workers: usize) -> Judge {
        Judge { by, alerts: Alerts::new(limits::ALERTS), answers: Answers::among(workers) }
    }

    /// Asks other rules from now on. Connections that stand go on, counted by the rule of the same name, or else by the
    /// default; rules are asked over first packets alone.
    pub(super) fn take(&mut self, mut other: FirewallRules) {
        let default = other.outcomes.len() as u32 - 1;
        let mut places = Vec::new();
        for old in &self.by.outcomes {
            let place = other.places.get(&old.tag).copied();
            if let Some(new) = place.and_then(|place| other.outcomes.get_mut(place as usize)) {
                (new.connections, new.packets, new.bytes) =
                    (old.connections, old.packets, old.bytes);
            }
            places.push(place.unwrap_or(default));
        }
        self.alerts.renumber(|rule| places.get(rule as usize).copied().unwrap_or(default));
        self.by = other;
    }

    /// A packet of a connection between two ends, which `key` and direction are of.
    pub(super) fn packet(
        &mut self,
        table: &mut FlowTable<Key, Connection>,
        case: &Case<'_>,
        seen: &Seen,
        (key, direction): (Key, u8),
    ) -> Result<Action, Refusal> {
        if let Some((connection, expires_s)) = table.get_mut(&key, case.now_s)
            && !begins_anew(connection, &seen.what)
        {
            if connection.comes_from_client(direction) != case.from_client {
                return Err(Refusal::WrongSide);
            }
            match &seen.what {
                What::Tcp(segment) => connection.segment(direction, segment)?,
                What::Answer => connection.answer(direction)?,
                _ => connection.datagram(direction),
            }
            *expires_s = case.now_s.saturating_add(connection.idle_s());
            let rule = self.by.place(&mut connection.let_in);
            self.count(rule, seen);
            return Ok(Action::Pass);
        }
        match &seen.what {
            What::Tcp(segment) if begins(segment) => {
                let let_in = self.asked(case, case.from_client, &seen.ends, None);
                let begun = Connection::begun(let_in, case.from_client, direction, segment);
                self.admit(table, case, seen, key, begun)
            }
            What::Tcp(segment) => {
                let adopted = self.adopt(case, seen, direction, segment)?;
                self.admit(table, case, seen, key, adopted)
            }
            What::Answer => Err(Refusal::NoConnection),
            other => {
                let icmp_type = if let What::Query(kind) = other { Some(*kind) } else { None };
                let let_in = self.asked(case, case.from_client, &seen.ends, icmp_type);
                let asked = Connection::asked(let_in, case.from_client, direction);
                self.admit(table, case, seen, key, asked)
            }
        }
    }

    /// An ICMP message that is on its own.
    pub(super) fn alone(&mut self, case: &Case<'_>, seen: &Seen, icmp_type: u8) -> Action {
        let rule = self.asked(case, case.from_client, &seen.ends, Some(icmp_type)).place;
        self.verdict(case, seen, rule)
    }

    /// An ICMP error: it comes from the side that the packet that it is about went to.
    pub(super) fn related(
        &mut self,
        table: &mut FlowTable<Key, Connection>,
        case: &Case<'_>,
        seen: &Seen,
        (key, direction): (Key, u8),
    ) -> Result<Action, Refusal> {
        let (connection, _) = table.get_mut(&key, case.now_s).ok_or(Refusal::Unrelated)?;
        if connection.comes_from_client(direction) == case.from_client {
            return Err(Refusal::WrongSide);
        }
        let rule = self.by.place(&mut connection.let_in);
        self.count(rule, seen);
        Ok(Action::Pass)
    }

    /// The rule that speaks of a connection that begins, or else the default.
    fn asked(
        &self,
        case: &Case<'_>,
        from_client: bool,
        ends: &Ends,
        icmp_type: Option<u8>,
    ) -> LetIn {
        let has_ports = matches!(ends.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        let port = |port| if has_ports { port } else { 0 };
        let asked = Asked {
            from_client,
            version: ends.version,
            src: ends.src,
            dst: ends.dst,
            protocol: ends.protocol,
            src_port: port(ends.src_port),
            dst_port: port(ends.dst_port),
            icmp_type,
            whose: self.by.rules.whose(case.said),
        };
        let default = self.by.outcomes.len() as u32 - 1;
        let place = self.by.rules.first(&asked).unwrap_or(default);
        LetIn { tag: self.by.outcomes[place as usize].tag, place }
    }

    /// A connection begins: if its rule allows it, it takes a place in the table.
    fn admit(
        &mut self,
        table: &mut FlowTable<Key, Connection>,
        case: &Case<'_>,
        seen: &Seen,
        key: Key,
        connection: Connection,
    ) -> Result<Action, Refusal> {
        let rule = connection.let_in.place;
        if self.by.outcomes[rule as usize].action == FirewallAction::Allow {
            if table.len() == table.capacity() {
                table.sweep(case.now_s, limits::SWEEP_ENTRIES_WHEN_FULL);
            }
            let expires_s = case.now_s.saturating_add(connection.idle_s());
            table.insert(key, connection, expires_s).map_err(|_| Refusal::NoRoom)?;
            self.by.outcomes[rule as usize].connections += 1;
        }
        Ok(self.verdict(case, seen, rule))
    }

    /// A segment of a connection that is not known. Which end opened it does not show: it is taken as the one that the
    /// rules allow to.
    fn adopt(
        &self,
        case: &Case<'_>,
        seen: &Seen,
        direction: u8,
        segment: &Segment,
    ) -> Result<Connection, Refusal> {
        let running = segment.flags.contains(Flags::ACK)
            && !segment.flags.intersects(Flags::SYN | Flags::RST);
        if !self.by.pick_up || !running {
            return Err(Refusal::NoConnection);
        }
        let allowed =
            |rule: LetIn| self.by.outcomes[rule.place as usize].action == FirewallAction::Allow;
        let forwards = self.asked(case, case.from_client, &seen.ends, None);
        let backwards = self.asked(case, !case.from_client, &seen.ends.reversed(), None);
        if allowed(forwards) {
            Ok(Connection::picked_up(forwards, case.from_client, direction))
        } else if allowed(backwards) {
            Ok(Connection::picked_up(backwards, !case.from_client, 1 - direction))
        } else {
            Err(Refusal::NoConnection)
        }
    }

    /// What a rule leads to, counted and reported.
    fn verdict(&mut self, case: &Case<'_>, seen: &Seen, rule: u32) -> Action {
        self.count(rule, seen);
        let outcome = &self.by.outcomes[rule as usize];
        if outcome.log
            && let Some(flow) = flow(case.packet, seen)
        {
            self.alerts.raise(Alert { rule, path: case.path, flow });
        }
        match outcome.action {
            FirewallAction::Allow => Action::Pass,
            _ if off(Defence::FirewallDefault) => Action::Pass,
            FirewallAction::Drop => Action::Drop { rule },
            FirewallAction::Reject if self.answers.give(case.now_s) => Action::Reject { rule },
            FirewallAction::Reject => Action::Drop { rule },
        }
    }

    fn count(&mut self, rule: u32, seen: &Seen) {
        let outcome = &mut self.by.outcomes[rule as usize];
        outcome.packets += 1;
        outcome.bytes += seen.bytes;
    }
}

/// Whether a packet of a connection's ends does not belong to it, but begins another in its place.
fn begins_anew(connection: &Connection, what: &What) -> bool {
    matches!(what, What::Tcp(segment) if begins(segment)) && connection.is_over()
}

fn begins(segment: &Segment) -> bool {
    let control = Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN;
    segment.flags.contains(Flags::SYN) && !segment.flags.without(Flags::SYN).intersects(control)
}

/// The flow for reports; of an outer header there are no ports.
fn flow(packet: &[u8], seen: &Seen) -> Option<FlowKey> {
    FlowKey::of(packet).ok().or_else(|| {
        let v4 = |bits: u128| std::net::Ipv4Addr::from_bits(bits as u32).into();
        let Ends { version, src, dst, protocol, .. } = seen.ends;
        let key = FlowKey { src: v4(src), dst: v4(dst), src_port: 0, dst_port: 0, protocol };
        (version == 4).then_some(key)
    })
}

impl Answers {
    /// The share of one of these workers.
    fn among(workers: usize) -> Answers {
        let most = limits::REJECTS_A_SECOND.div_ceil(workers.max(1) as u32);
        Answers { second: 0, given: 0, most, withheld: 0 }
    }

    /// Whether one more may be given.
    fn give(&mut self, now_s: u32) -> bool {
        if self.second != now_s {
            (self.second, self.given) = (now_s, 0);
        }
        let may = self.given < self.most;
        if may {
            self.given += 1;
        } else {
            self.withheld += 1;
        }
        may
    }
}

impl fmt::Debug for FirewallRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirewallRules").field("rules", &self.outcomes).finish_non_exhaustive()
    }
}
