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
mod judge;
mod packet;
mod refusal;
mod rules;
mod settings;
mod table;

use std::any::Any;
use std::fmt;
use std::time::Instant;

use ringmail_dataplane::function::{Alert, FunctionCounter};
use ringmail_dataplane::{Action, Function, FunctionBatch};
use ringmail_model::pathset::Direction;

pub use self::judge::FirewallRules;
use self::judge::{Case, Judge};
use self::packet::{Seen, What};
pub use self::refusal::Refusal;
pub use self::settings::{FirewallRule, FirewallSettings};
use self::table::Connections;
use crate::settings::BuildError;

/// The function `firewall`.
pub struct Firewall {
    judge: Judge,
    connections: Connections,
    intrusive: bool,
    refused: [u64; Refusal::ALL.len()],
}

impl Firewall {
    /// Compiles the rules and takes the memory. `seeds` come from a random source and key the connection table.
    ///
    /// # Errors
    /// [`BuildError`], always a fault of the settings.
    pub fn new(settings: &FirewallSettings, seeds: [u64; 4]) -> Result<Firewall, BuildError> {
        let rules = FirewallRules::new(settings)?;
        Ok(Firewall::of(settings, rules, Connections::own(settings.connections, seeds), 1))
    }

    /// One firewall for each worker of an element. They know the same connections, as many as the settings say together:
    /// which worker gets a packet depends on who sent it, so the directions of a connection may come to different ones.
    ///
    /// # Errors
    /// [`BuildError`], always a fault of the settings.
    pub fn for_workers(
        settings: &FirewallSettings,
        workers: usize,
        seeds: [u64; 4],
    ) -> Result<Vec<Firewall>, BuildError> {
        if workers <= 1 {
            return Ok(vec![Firewall::new(settings, seeds)?]);
        }
        settings.check()?;
        let shared = Connections::shared(settings.connections, workers, seeds);
        shared
            .map(|connections| {
                let rules = FirewallRules::new(settings)?;
                Ok(Firewall::of(settings, rules, connections, workers))
            })
            .collect()
    }

    fn of(
        settings: &FirewallSettings,
        rules: FirewallRules,
        connections: Connections,
        workers: usize,
    ) -> Firewall {
        Firewall {
            judge: Judge::new(rules, workers),
            connections,
            intrusive: settings.intrusive,
            refused: [0; Refusal::ALL.len()],
        }
    }

    fn decide(&mut self, case: &Case<'_>) -> Result<Action, Refusal> {
        let seen = if self.intrusive { Seen::whole(case.packet) } else { Seen::outer(case.packet) };
        let seen = seen?;
        let Firewall { judge, connections, .. } = self;
        match &seen.what {
            What::Error(about) => {
                let about = about.ok_or(Refusal::Unrelated)?.key();
                connections.with(&about.0, |table| judge.related(table, case, &seen, about))
            }
            What::Alone(kind) => Ok(judge.alone(case, &seen, *kind)),
            _ => {
                let ends = seen.ends.key();
                connections.with(&ends.0, |table| judge.packet(table, case, &seen, ends))
            }
        }
    }
}

impl Function for Firewall {
    fn handle_batch(&mut self, now: Instant, packets: &mut FunctionBatch<'_>) {
        let now_s = self.connections.seconds(now);
        for nth in 0..packets.len() {
            let case = Case {
                now_s,
                packet: packets.packet(nth),
                path: packets.path(nth),
                from_client: packets.direction(nth) == Direction::Forward,
                said: packets.metadata(nth),
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
        let now_s = self.connections.seconds(now);
        self.connections.sweep(now_s);
    }

    fn retune(&mut self, settings: Box<dyn Any + Send>) -> bool {
        let Ok(rules) = settings.downcast::<FirewallRules>() else { return false };
        self.judge.take(*rules);
        true
    }

    fn counters(&self) -> Vec<FunctionCounter> {
        counters::of(self)
    }

    fn gauges(&self) -> &'static [&'static str] {
        counters::GAUGES
    }

    fn drain_alerts(&mut self, sink: &mut dyn FnMut(Alert)) {
        self.judge.alerts.drain().for_each(sink);
    }

    fn rule_name(&self, rule: u32) -> Option<&str> {
        self.judge.by.outcomes.get(rule as usize).map(|outcome| outcome.name.as_str())
    }
}

impl fmt::Debug for Firewall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Firewall")
            .field("rules", &(self.judge.by.outcomes.len() - 1))
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}
