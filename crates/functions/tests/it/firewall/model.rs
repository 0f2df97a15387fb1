//! The firewall against a reference that a reader of its promises would write: a map of connections and a list of rules.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ringmail_dataplane::{Action, Function};
use ringmail_functions::{Firewall, FirewallRule, FirewallSettings};
use ringmail_model::domain::{FirewallAction, Opener};

use super::Side::{self, Client, Service};
use super::{Gate, error_about, icmp, tcp, udp};
use crate::harness::{FIN, RST, SYN};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Syn,
    SynAck,
    Ack,
    Fin,
    Rst,
    Udp,
    Ask,
    Answer,
    /// An error about a UDP datagram of the other side.
    Error,
}

#[derive(Clone, Debug)]
struct Step {
    wait_s: u64,
    kind: Kind,
    /// Who sends by the addresses.
    sender: Side,
    /// Whether it comes on the path of the other side.
    astray: bool,
    ports: (u16, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Syn,
    SynAck,
    Open,
    Closed,
    Asked,
    Answered,
}

#[derive(Clone, Debug)]
struct Known {
    opener: Side,
    state: State,
    /// Client, service.
    finished: [bool; 2],
    until_s: u64,
}

fn other(side: Side) -> Side {
    if side == Client { Service } else { Client }
}

/// Sequence numbers always fit: the client's SYN is 1000, the service's 5000, and there is no content.
fn packet(step: &Step) -> Vec<u8> {
    let Step { sender, ports, .. } = *step;
    let numbers = if sender == Client { (1001, Some(5001)) } else { (5001, Some(1001)) };
    match step.kind {
        Kind::Syn => tcp(sender, ports, SYN, (numbers.0 - 1, None), b""),
        Kind::SynAck => tcp(sender, ports, SYN, (numbers.0 - 1, numbers.1), b""),
        Kind::Ack => tcp(sender, ports, 0, numbers, b""),
        Kind::Fin => tcp(sender, ports, FIN, numbers, b""),
        Kind::Rst => tcp(sender, ports, RST, numbers, b""),
        Kind::Udp => udp(sender, ports),
        Kind::Ask => icmp(sender, 8, ports.0),
        Kind::Answer => icmp(sender, 0, ports.0),
        Kind::Error => error_about(sender, &udp(other(sender), ports)),
    }
}

#[derive(Default)]
struct Reference {
    rules: Vec<FirewallRule>,
    now_s: u64,
    known: BTreeMap<(u8, u16, u16), Known>,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passes,
    ByRule(usize),
    Refused,
}

impl Reference {
    fn step(&mut self, step: &Step) -> Outcome {
        self.now_s += step.wait_s;
        let side = if step.astray { other(step.sender) } else { step.sender };
        let protocol = match step.kind {
            Kind::Ask | Kind::Answer => 1,
            Kind::Udp | Kind::Error => 17,
            _ => 6,
        };
        let key = match protocol {
            1 => (1, step.ports.0, step.ports.0),
            _ => (protocol, step.ports.0, step.ports.1),
        };
        let now_s = self.now_s;
        let known = self.known.get_mut(&key).filter(|known| known.until_s >= now_s);
        let known = known.filter(|known| step.kind != Kind::Syn || known.state != State::Closed);
        let Some(known) = known else {
            return match step.kind {
                Kind::Syn | Kind::Udp | Kind::Ask => self.begin(step, side, key),
                _ => Outcome::Refused,
            };
        };
        // Whoever opened it on a path keeps to it: addresses and side are those of the first packet.
        if side != step.sender {
            return Outcome::Refused;
        }
        if step.kind == Kind::Error {
            return Outcome::Passes;
        }
        if !known.takes(step.kind, step.sender) {
            return Outcome::Refused;
        }
        known.until_s = now_s + idle_s(known.state);
        Outcome::Passes
    }

    fn begin(&mut self, step: &Step, side: Side, key: (u8, u16, u16)) -> Outcome {
        let port = match (step.kind, step.sender) {
            (Kind::Ask, _) => 0,
            (_, Client) => step.ports.1,
            (_, Service) => step.ports.0,
        };
        let holds = |rule: &FirewallRule| {
            rule.protocols.as_ref().is_none_or(|these| these.contains(&key.0))
                && rule
                    .ports
                    .as_ref()
                    .is_none_or(|these| these.iter().any(|p| p.0 <= port && port <= p.1))
                && match rule.from {
                    Opener::Any => true,
                    Opener::Client => side == Client,
                    Opener::Service => side == Service,
                }
        };
        let found = self.rules.iter().position(holds);
        match found.map(|index| self.rules[index].action) {
            Some(FirewallAction::Allow) => {
                let state = if step.kind == Kind::Syn { State::Syn } else { State::Asked };
                let until_s = self.now_s + idle_s(state);
                let known = Known { opener: step.sender, state, finished: [false; 2], until_s };
                // The tests' packets that begin astray would turn the sides round; they are not sent.
                self.known.insert(key, known);
                Outcome::Passes
            }
            _ => Outcome::ByRule(found.unwrap_or(self.rules.len())),
        }
    }
}

impl Known {
    /// Whether the connection can have such a packet from there now; if so it goes on.
    fn takes(&mut self, kind: Kind, sender: Side) -> bool {
        let opener = sender == self.opener;
        let finishing = usize::from(sender == Service);
        match (kind, self.state) {
            (Kind::Udp | Kind::Ask, _) => {
                if !opener {
                    self.state = State::Answered;
                }
            }
            (Kind::Answer, _) if opener => return false,
            (Kind::Answer, _) => self.state = State::Answered,
            (Kind::Rst, State::Syn) if opener => {}
            (Kind::Rst, _) => self.state = State::Closed,
            (Kind::Syn, _) => return opener,
            (Kind::SynAck, _) if opener => return false,
            (Kind::SynAck, State::Syn | State::SynAck) => {
                self.state = State::SynAck;
                self.finished[finishing] = false;
            }
            (Kind::SynAck, _) => {}
            (Kind::Ack, State::Syn) => return !opener,
            (Kind::Fin, State::Syn) => return false,
            (Kind::Ack | Kind::Fin, _) => {
                if opener && self.state == State::SynAck {
                    self.state = State::Open;
                }
                self.finished[finishing] |= kind == Kind::Fin;
                if self.finished == [true; 2] {
                    self.state = State::Closed;
                }
            }
            (Kind::Error, _) => unreachable!("errors are looked at before"),
        }
        true
    }
}

fn idle_s(state: State) -> u64 {
    match state {
        State::Syn | State::SynAck => 240,
        State::Open => 7440,
        State::Closed => 30,
        State::Asked => 120,
        State::Answered => 300,
    }
}

fn rule() -> impl Strategy<Value = FirewallRule> {
    let from = prop_oneof![Just(Opener::Client), Just(Opener::Service), Just(Opener::Any)];
    let action = prop_oneof![
        3 => Just(FirewallAction::Allow),
        1 => Just(FirewallAction::Drop),
        1 => Just(FirewallAction::Reject)
    ];
    let protocol = prop_oneof![Just(6u8), Just(17), Just(1)];
    let ports = prop::option::of(prop_oneof![Just((1u16, 1u16)), Just((1, 2)), Just((80, 81))]);
    (from, action, prop::option::of(protocol), ports).prop_map(|(from, action, protocol, ports)| {
        FirewallRule {
            from,
            ports: ports.filter(|_| protocol != Some(1)).map(|range| vec![range]),
            protocols: protocol.map(|protocol| vec![protocol]),
            ..FirewallRule::any("r", action)
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        3 => Just(Kind::Syn),
        3 => Just(Kind::SynAck),
        3 => Just(Kind::Ack),
        2 => Just(Kind::Fin),
        1 => Just(Kind::Rst),
        3 => Just(Kind::Udp),
        2 => Just(Kind::Ask),
        2 => Just(Kind::Answer),
        1 => Just(Kind::Error),
    ];
    let wait = prop_oneof![30 => Just(0u64), 4 => 1u64..40, 1 => 100u64..400, 1 => 7000u64..8000];
    let sender = any::<bool>().prop_map(|client| if client { Client } else { Service });
    let ports = (prop_oneof![Just(1u16), Just(2)], prop_oneof![Just(80u16), Just(81)]);
    (wait, kind, sender, prop::bool::weighted(0.05), ports).prop_map(
        |(wait_s, kind, sender, astray, ports)| {
            let begins = matches!(kind, Kind::Syn | Kind::Udp | Kind::Ask);
            Step { wait_s, kind, sender, astray: astray && !begins, ports }
        },
    )
}

proptest! {
    /// Whatever comes in whatever order, and to whichever of its workers: the firewall passes, drops and refuses what the
    /// reference does, and counts it.
    #[test]
    fn agrees_with_a_reference(
        rules in prop::collection::vec(rule(), 0..5),
        steps in prop::collection::vec((step(), 0..3usize), 1..200),
        workers in 1..4usize,
    ) {
        let mut rules = rules;
        for (index, rule) in rules.iter_mut().enumerate() {
            rule.name = format!("r{index}");
        }
        let settings = FirewallSettings { connections: 64, ..FirewallSettings::new(rules.clone()) };
        let firewalls = Firewall::for_workers(&settings, workers, [1, 2, 3, 4]);
        let mut gates: Vec<Gate> =
            firewalls.expect("good settings").into_iter().map(Gate::of).collect();
        let mut reference = Reference { rules: rules.clone(), ..Reference::default() };
        for (step, worker) in &steps {
            gates.iter_mut().for_each(|gate| gate.wait(step.wait_s));
            let gate = &mut gates[worker % workers];
            let side = if step.astray { other(step.sender) } else { step.sender };
            let action = gate.judge(side, &packet(step));
            let expected = match reference.step(step) {
                Outcome::Passes => Action::Pass,
                Outcome::Refused => Action::Refuse,
                Outcome::ByRule(index) => match rules.get(index).map(|rule| rule.action) {
                    Some(FirewallAction::Reject) => Action::Reject { rule: index as u32 },
                    _ => Action::Drop { rule: index as u32 },
                },
            };
            prop_assert_eq!(action, expected, "{:?}", step);
        }
        let counters: Vec<_> = gates.iter().flat_map(|gate| gate.firewall.counters()).collect();
        let sum = |what: &str| {
            counters.iter().filter(|c| c.name.starts_with(what)).map(|c| c.value).sum::<u64>()
        };
        prop_assert_eq!(sum("rule_packets") + sum("refused_"), steps.len() as u64);
    }
}
