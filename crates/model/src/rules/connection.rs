//! Rules asked once for a whole connection whose bytes pass unread (listeners of kind `tls`).
//!
//! Only a rule that names the protocol holds: the others were written for requests, and a client that could send
//! anything to their service would go past what the gateway takes out of requests.

use std::net::IpAddr;

use super::compile::{Compiled, holds, same_identity};
use super::explain::{Explanation, RuleOutcome};
use super::strict::Circumstances;
use super::{CertificateFacts, Condition, Decision, Denied, RuleSet, host};
use crate::domain::ApplicationProtocol;

/// What is known of a connection when its first bytes have come.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFacts<'a> {
    /// The client's identity, as in [`super::RequestFacts`].
    pub client: &'a str,
    /// Its certificate.
    pub certificate: CertificateFacts<'a>,
    /// What time it is.
    pub now_unix_s: u64,
    /// What it speaks.
    pub protocol: ApplicationProtocol,
    /// The server name that the client asked for, or the first that the listener's first certificate is shown for.
    /// A service answers only to its own names, as it does for requests.
    pub server_name: &'a str,
    /// Where the client comes from.
    pub source: IpAddr,
}

impl RuleSet {
    /// What the rules say of a connection. Never asks for a body.
    pub fn evaluate_connection(&self, facts: &ConnectionFacts<'_>) -> Decision<'_> {
        let Some(name) = host::canonical(facts.server_name) else {
            return Decision::Deny { reason: Denied::Host };
        };
        let mut reason = Denied::NoRule;
        for rule in self.rules() {
            match rule.refuses(facts, &name) {
                None => return rule.allow(),
                Some(condition) => reason = condition.of_circumstances(reason),
            }
        }
        Decision::Deny { reason }
    }

    /// The same, and why. For people and tests: it allocates.
    pub fn explain_connection(&self, facts: &ConnectionFacts<'_>) -> Explanation<'_> {
        let decision = self.evaluate_connection(facts);
        let mut rules = Vec::new();
        if let Some(name) = host::canonical(facts.server_name) {
            for rule in self.rules() {
                let failed = rule.refuses(facts, &name);
                rules.push(RuleOutcome { rule: &rule.name, failed });
                if failed.is_none() {
                    break;
                }
            }
        }
        Explanation { decision, rules }
    }
}

impl Compiled {
    /// The first condition that does not hold.
    fn refuses(&self, facts: &ConnectionFacts<'_>, name: &str) -> Option<Condition<'_>> {
        let source = facts.source.to_canonical();
        if !self.service_hosts.iter().any(|pattern| pattern.matches(name)) {
            Some(Condition::ServiceHost)
        } else if !holds(&self.clients, |id| same_identity(id, facts.client)) {
            Some(Condition::Client)
        } else if !self.protocols.as_ref().is_some_and(|all| all.contains(&facts.protocol)) {
            Some(Condition::Protocol)
        } else if self.of_requests || self.packets.is_some() {
            Some(Condition::OfRequests)
        } else if !holds(&self.server_names, |pattern| pattern.matches(name)) {
            Some(Condition::ServerName)
        } else if !holds(&self.sources, |cidr| cidr.contains(source)) {
            Some(Condition::Source)
        } else {
            let circumstances =
                Circumstances { certificate: facts.certificate, now_unix_s: facts.now_unix_s };
            self.strict.failed(circumstances).next()
        }
    }
}
