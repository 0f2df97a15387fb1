//! The function `firewall`: who may open connections, decided by rules over the first packet; what belongs to a connection
//! then passes both ways, everything else does not (RFC 7288 section 3, RFC 6092 for what is good practice).
//!
//! # What it promises
//!
//! - A packet passes that a rule allowed to begin a connection, or that belongs to one: to its ends, in the direction in
//!   which it comes through the chain, and in a state of TCP in which it can come.
//! - An ICMP error passes with the connection whose packet it is about, an answer with its question.
//! - Rules are asked once a connection. Changing nothing, a packet of a known connection costs one look into a table.
//! - With every place in the table taken, new connections find none and the old go on.
//!
//! A side is not told by addresses, which anybody writes, but by the path that a packet was authenticated on.
//!
//! # What it costs others
//!
//! Fragments are refused. A connection whose beginning was not seen is refused, unless the settings say that it is to be
//! judged by the rules (`pick_up`). A reset passes only where its receiver would believe it.
//!
//! A firewall that is not intrusive sees outer headers: it tells elements apart, and which of them may send ESP first.

mod connection;
mod counters;
mod packet;
mod refusal;
mod rules;
mod settings;

use std::any::Any;
use std::fmt;
use std::time::Instant;

use ringmail_dataplane::flow::FlowTable;
use ringmail_dataplane::function::{Alert, FunctionCounter};
use ringmail_dataplane::{Action, Function, FunctionBatch};
use ringmail_model::PathId;
use ringmail_model::domain::FirewallAction;
use ringmail_model::pathset::Direction;
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::protocol;
use ringmail_packet::tcp::Flags;

use self::connection::Connection;
use self::packet::{Ends, Key, Seen, Segment, What};
pub use self::refusal::Refusal;
use self::rules::{Asked, Rules};
pub use self::settings::{FirewallRule, FirewallSettings};
use crate::alerts::Alerts;
use crate::limits;
use crate::settings::BuildError;

/// The function `firewall`.
pub struct Firewall {
    rules: Rules,
    /// What each rule leads to and counted; the default stands behind the last.
    outcomes: Vec<Outcome>,
    connections: FlowTable<Key, Connection>,
    intrusive: bool,
    pick_up: bool,
    alerts: Alerts,
    refused: [u64; Refusal::ALL.len()],
    answers: Answers,
    /// When the first packet came: the clock of the connection table counts from there.
    began: Option<Instant>,
}

/// Rules and what stands behind them, to be put into a firewall that runs.
pub struct FirewallRules {
    rules: Rules,
    outcomes: Vec<Outcome>,
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
            action,
            log,
            connections: 0,
            packets: 0,
            bytes: 0,
        };
        let rules = settings.rules.iter().map(|rule| outcome(&rule.name, rule.action, rule.log));
        let default = outcome("default", settings.default, settings.log_default);
        Ok(FirewallRules {
            rules: Rules::new(&settings.rules),
            outcomes: rules.chain([default]).collect(),
            pick_up: settings.pick_up,
        })
    }
}

/// A rule behind its conditions.
#[derive(Debug)]
struct Outcome {
    name: String,
    action: FirewallAction,
    log: bool,
    connections: u64,
    packets: u64,
    bytes: u64,
}

/// How many rejected packets were answered in the second that runs (RFC 4443 section 2.4 (f)).
#[derive(Debug, Default)]
struct Answers {
    second: u32,
    given: u32,
    withheld: u64,
}

/// A packet with what decides over it.
struct Case<'a> {
    now_s: u32,
    packet: &'a [u8],
    path: PathId,
    from_client: bool,
}

impl Firewall {
    /// Compiles the rules and takes the memory. `seeds` come from a random source and key the connection table.
    ///
    /// # Errors
    /// [`BuildError`], always a fault of the settings.
    pub fn new(settings: &FirewallSettings, seeds: [u64; 4]) -> Result<Firewall, BuildError> {
        let FirewallRules { rules, outcomes, pick_up } = FirewallRules::new(settings)?;
        Ok(Firewall {
            rules,
            outcomes,
            connections: FlowTable::new(settings.connections, seeds),
            intrusive: settings.intrusive,
            pick_up,
            alerts: Alerts::new(limits::ALERTS),
            refused: [0; Refusal::ALL.len()],
            answers: Answers::default(),
            began: None,
        })
    }

    /// Asks other rules from now on. Connections that stand go on, counted by the rule of the same name, or else by the
    /// default; rules are asked over first packets alone.
    fn take(&mut self, other: FirewallRules) {
        let FirewallRules { rules, mut outcomes, pick_up } = other;
        let default = outcomes.len() - 1;
        let place = |old: &Outcome| outcomes.iter().position(|new| new.name == old.name);
        let places: Vec<Option<usize>> = self.outcomes.iter().map(place).collect();
        for (old, place) in self.outcomes.iter().zip(&places) {
            if let Some(new) = place.and_then(|place| outcomes.get_mut(place)) {
                (new.connections, new.packets, new.bytes) =
                    (old.connections, old.packets, old.bytes);
            }
        }
        let renumbered = |rule: u32| {
            let place = places.get(rule as usize).copied().flatten();
            place.unwrap_or(default) as u32
        };
        for connection in self.connections.values_mut() {
            connection.rule = renumbered(connection.rule);
        }
        self.alerts.renumber(renumbered);
        (self.rules, self.outcomes, self.pick_up) = (rules, outcomes, pick_up);
    }

    fn decide(&mut self, case: &Case<'_>) -> Result<Action, Refusal> {
        let seen = if self.intrusive { Seen::whole(case.packet) } else { Seen::outer(case.packet) };
        let seen = seen?;
        match &seen.what {
            What::Error(about) => {
                return self.related(case, &seen, about.ok_or(Refusal::Unrelated)?);
            }
            What::Alone(kind) => {
                let rule = self.asked(case, &seen.ends, Some(*kind));
                return Ok(self.verdict(case, &seen, rule));
            }
            _ => {}
        }
        let (key, direction) = seen.ends.key();
        if let Some((connection, expires_s)) = self.connections.get_mut(&key, case.now_s)
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
            let rule = connection.rule;
            self.count(rule, &seen);
            return Ok(Action::Pass);
        }
        match &seen.what {
            What::Tcp(segment) if begins(segment) => {
                let rule = self.asked(case, &seen.ends, None);
                let begun = Connection::begun(rule, case.from_client, direction, segment);
                self.admit(case, &seen, key, begun)
            }
            What::Tcp(segment) => self.adopt(case, &seen, key, direction, segment),
            What::Answer => Err(Refusal::NoConnection),
            What::Query(kind) => {
                let rule = self.asked(case, &seen.ends, Some(*kind));
                let asked = Connection::asked(rule, case.from_client, direction);
                self.admit(case, &seen, key, asked)
            }
            _ => {
                let rule = self.asked(case, &seen.ends, None);
                let asked = Connection::asked(rule, case.from_client, direction);
                self.admit(case, &seen, key, asked)
            }
        }
    }

    /// The index of the rule that speaks of a connection that begins, one behind the last for none.
    fn asked(&self, case: &Case<'_>, ends: &Ends, icmp_type: Option<u8>) -> u32 {
        self.rule_for(case.from_client, ends, icmp_type)
    }

    fn rule_for(&self, from_client: bool, ends: &Ends, icmp_type: Option<u8>) -> u32 {
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
        };
        self.rules.first(&asked).unwrap_or(self.outcomes.len() as u32 - 1)
    }

    /// A connection begins: if its rule allows it, it takes a place in the table.
    fn admit(
        &mut self,
        case: &Case<'_>,
        seen: &Seen,
        key: Key,
        connection: Connection,
    ) -> Result<Action, Refusal> {
        let rule = connection.rule;
        if self.outcomes[rule as usize].action == FirewallAction::Allow {
            if self.connections.len() == self.connections.capacity() {
                self.connections.sweep(case.now_s, limits::SWEEP_ENTRIES_WHEN_FULL);
            }
            let expires_s = case.now_s.saturating_add(connection.idle_s());
            self.connections.insert(key, connection, expires_s).map_err(|_| Refusal::NoRoom)?;
            self.outcomes[rule as usize].connections += 1;
        }
        Ok(self.verdict(case, seen, rule))
    }

    /// A segment of a connection that is not known. Which end opened it does not show: it is taken as the one that the
    /// rules allow to.
    fn adopt(
        &mut self,
        case: &Case<'_>,
        seen: &Seen,
        key: Key,
        direction: u8,
        segment: &Segment,
    ) -> Result<Action, Refusal> {
        let running = segment.flags.contains(Flags::ACK)
            && !segment.flags.intersects(Flags::SYN | Flags::RST);
        if !self.pick_up || !running {
            return Err(Refusal::NoConnection);
        }
        let allowed = |rule: u32| self.outcomes[rule as usize].action == FirewallAction::Allow;
        let forwards = self.rule_for(case.from_client, &seen.ends, None);
        let backwards = self.rule_for(!case.from_client, &seen.ends.reversed(), None);
        let connection = if allowed(forwards) {
            Connection::picked_up(forwards, case.from_client, direction)
        } else if allowed(backwards) {
            Connection::picked_up(backwards, !case.from_client, 1 - direction)
        } else {
            return Err(Refusal::NoConnection);
        };
        self.admit(case, seen, key, connection)
    }

    /// An ICMP error: it comes from the side that the packet that it is about went to.
    fn related(&mut self, case: &Case<'_>, seen: &Seen, about: Ends) -> Result<Action, Refusal> {
        let (key, direction) = about.key();
        let connection = self.connections.get(&key, case.now_s).ok_or(Refusal::Unrelated)?;
        if connection.comes_from_client(direction) == case.from_client {
            return Err(Refusal::WrongSide);
        }
        let rule = connection.rule;
        self.count(rule, seen);
        Ok(Action::Pass)
    }

    /// What a rule leads to, counted and reported.
    fn verdict(&mut self, case: &Case<'_>, seen: &Seen, rule: u32) -> Action {
        self.count(rule, seen);
        let outcome = &self.outcomes[rule as usize];
        if outcome.log
            && let Some(flow) = flow(case.packet, seen)
        {
            self.alerts.raise(Alert { rule, path: case.path, flow });
        }
        match outcome.action {
            FirewallAction::Allow => Action::Pass,
            FirewallAction::Drop => Action::Drop { rule },
            FirewallAction::Reject if self.answers.give(case.now_s) => Action::Reject { rule },
            FirewallAction::Reject => Action::Drop { rule },
        }
    }

    fn count(&mut self, rule: u32, seen: &Seen) {
        let outcome = &mut self.outcomes[rule as usize];
        outcome.packets += 1;
        outcome.bytes += seen.bytes;
    }

    /// Seconds since the first packet.
    fn seconds(&mut self, now: Instant) -> u32 {
        let began = *self.began.get_or_insert(now);
        now.saturating_duration_since(began).as_secs().try_into().unwrap_or(u32::MAX / 2)
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
    /// Whether one more may be given.
    fn give(&mut self, now_s: u32) -> bool {
        if self.second != now_s {
            (self.second, self.given) = (now_s, 0);
        }
        let may = self.given < limits::REJECTS_A_SECOND;
        if may {
            self.given += 1;
        } else {
            self.withheld += 1;
        }
        may
    }
}

impl Function for Firewall {
    fn handle_batch(&mut self, now: Instant, packets: &mut FunctionBatch<'_>) {
        let now_s = self.seconds(now);
        for nth in 0..packets.len() {
            let case = Case {
                now_s,
                packet: packets.packet(nth),
                path: packets.path(nth),
                from_client: packets.direction(nth) == Direction::Forward,
            };
            let action = self.decide(&case).unwrap_or_else(|refusal| {
                self.refused[refusal as usize] += 1;
                match refusal {
                    Refusal::NoRoom => Action::NoRoom,
                    _ => Action::Refuse,
                }
            });
            packets.set_action(nth, action);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let now_s = self.seconds(now);
        self.connections.sweep(now_s, limits::SWEEP_ENTRIES);
    }

    fn retune(&mut self, settings: Box<dyn Any + Send>) -> bool {
        let Ok(rules) = settings.downcast::<FirewallRules>() else { return false };
        self.take(*rules);
        true
    }

    fn counters(&self) -> Vec<FunctionCounter> {
        counters::of(self)
    }

    fn gauges(&self) -> &'static [&'static str] {
        counters::GAUGES
    }

    fn drain_alerts(&mut self, sink: &mut dyn FnMut(Alert)) {
        self.alerts.drain().for_each(sink);
    }

    fn rule_name(&self, rule: u32) -> Option<&str> {
        self.outcomes.get(rule as usize).map(|outcome| outcome.name.as_str())
    }
}

impl fmt::Debug for Firewall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Firewall")
            .field("rules", &(self.outcomes.len() - 1))
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FirewallRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirewallRules").field("rules", &self.outcomes).finish_non_exhaustive()
    }
}
