//! Why a request was allowed or denied: for each rule, the first condition that did not hold.

use std::fmt;

use super::compile::{Canonical, Outcome};
use super::{Decision, Denied, RequestFacts, RuleSet};

/// The decision on a request and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// The decision, that of [`RuleSet::evaluate`].
    pub decision: Decision<'a>,
    /// The rules that were asked, in order; the last of them decided if the request was allowed.
    pub rules: Vec<RuleOutcome<'a>>,
}

/// What one rule said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOutcome<'a> {
    /// The rule.
    pub rule: &'a str,
    /// The first condition that did not hold; `None` where the rule decided.
    pub failed: Option<Condition<'a>>,
}

/// A condition of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// The service of the rule does not answer to the request's host.
    ServiceHost,
    /// `clients`.
    Client,
    /// `protocols`.
    Protocol,
    /// A condition on HTTP, of a connection that passes unread.
    OfRequests,
    /// `server_names`.
    ServerName,
    /// `sources`.
    Source,
    /// `hosts`.
    Host,
    /// `methods`.
    Method,
    /// `paths`.
    Path,
    /// `headers`, this field.
    Header(&'a str),
    /// `certificate.spiffe_ids`.
    SpiffeId,
    /// `certificate.names`.
    CertificateName,
    /// `certificate.issuers`.
    Issuer,
    /// `certificate.max_age_s`.
    CertificateAge,
    /// `certificate`, and nothing is known of it but whose it is.
    CertificateUnknown,
    /// `times`.
    Time,
    /// `body_prefix`.
    BodyPrefix,
    /// `body_prefix`, and the body was not read yet.
    BodyNotRead,
    /// The rule says nothing of packets.
    NoPackets,
    /// The service of the rule is not at the packet's destination.
    Reach,
    /// `packets.destinations`.
    Destination,
    /// `packets.ports` or `packets.source_ports`.
    Ports,
    /// `packets.dscp`.
    Dscp,
}

impl fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Condition::ServiceHost => "the service does not answer to this host",
            Condition::Client => "the client is not listed",
            Condition::Protocol => "the protocol is not listed",
            Condition::OfRequests => "it has a condition on HTTP requests, and this passes unread",
            Condition::ServerName => "the server name (SNI) is not listed",
            Condition::Source => "the client's address is in no listed network",
            Condition::Host => "the host is not listed",
            Condition::Method => "the method is not listed",
            Condition::Path => "the path is not listed",
            Condition::Header(name) => {
                return write!(f, "the header field `{name}` does not match");
            }
            Condition::SpiffeId => "no SPIFFE id of the certificate matches",
            Condition::CertificateName => "no name of the certificate matches",
            Condition::Issuer => "the certificate's issuer is not listed",
            Condition::CertificateAge => "the certificate is too old",
            Condition::CertificateUnknown => "it looks at the certificate, which is not known here",
            Condition::Time => "it is not the time",
            Condition::BodyPrefix => "the beginning of the body does not match",
            Condition::BodyNotRead => "the beginning of the body was not read yet",
            Condition::NoPackets => "it says nothing of packets",
            Condition::Reach => "the service is not at the destination",
            Condition::Destination => "the destination is not listed",
            Condition::Ports => "the port is not listed",
            Condition::Dscp => "the DSCP is not listed",
        })
    }
}

impl Condition<'_> {
    /// Why nothing allows a request, if this is the only condition of a rule that did not hold; `before` is what was known
    /// of the rules before.
    pub(super) fn of_circumstances(self, before: Denied) -> Denied {
        match self {
            Condition::SpiffeId
            | Condition::CertificateName
            | Condition::Issuer
            | Condition::CertificateAge
            | Condition::CertificateUnknown => Denied::Certificate,
            Condition::Time => Denied::Time,
            _ => before,
        }
    }
}

impl RuleSet {
    /// What the rules say of a request, and why. For people and tests: it allocates.
    pub fn explain(&self, facts: &RequestFacts<'_>) -> Explanation<'_> {
        let mut rules = Vec::new();
        let canonical = match Canonical::of(facts) {
            Ok(canonical) => canonical,
            Err(reason) => return Explanation { decision: Decision::Deny { reason }, rules },
        };
        for rule in self.rules() {
            let failed = match rule.test(facts, &canonical) {
                Outcome::Holds => None,
                Outcome::Fails(condition) => Some(condition),
                Outcome::NeedsBody => Some(Condition::BodyNotRead),
            };
            let last = matches!(failed, None | Some(Condition::BodyNotRead));
            rules.push(RuleOutcome { rule: &rule.name, failed });
            if last {
                break;
            }
        }
        Explanation { decision: self.evaluate(facts), rules }
    }

    /// The rules that are asked about a request until one decides, each with all of its conditions that do not hold; none for
    /// the one that decides. Empty where host or path already are refused. For people: it allocates.
    pub fn asked(&self, facts: &RequestFacts<'_>) -> Vec<(&str, Vec<Condition<'_>>)> {
        let Ok(canonical) = Canonical::of(facts) else { return Vec::new() };
        let mut asked = Vec::new();
        for rule in self.rules() {
            let failed = rule.failed(facts, &canonical);
            let decides = failed.is_empty();
            asked.push((&*rule.name, failed));
            if decides {
                break;
            }
        }
        asked
    }
}
