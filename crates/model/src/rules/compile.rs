//! Rules of the domain file, made ready to be asked: texts in one form, patterns split, names resolved.

use super::packet::Packets;
use super::pattern::PathPattern;
use super::strict::{Circumstances, Strict};
use super::{Condition, Decision, Demands, Denied, RequestFacts, host, url};
use crate::defence::{Defence, off};
use crate::domain::{ApplicationProtocol, BodyMatch, Domain, HeaderMatch, Rate, Rule};
use crate::ids::PathId;
use crate::limits::BODY_PREFIX_BYTES;
use crate::names::{HostPattern, Name};
use crate::net::Cidr;
use crate::pathset::PathSet;

/// The rules of a domain at one version of its path set.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Compiled>,
    identities: Vec<String>,
    body_prefix_bytes: usize,
}

/// Why a domain's rules cannot be asked. `check` says the same with line and column; nothing here happens after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleSetError {
    /// A rule names a client that the domain does not have.
    #[error("rule `{rule}` names the client `{client}`, which the domain does not have")]
    UnknownClient {
        /// The rule.
        rule: Name,
        /// The name.
        client: Name,
    },
    /// A rule names a path that the path set does not have.
    #[error("rule `{rule}` names the path `{path}`, which the path set does not have")]
    UnknownPath {
        /// The rule.
        rule: Name,
        /// The name.
        path: Name,
    },
    /// A rule names another service than its path's.
    #[error("rule `{rule}` names the service `{service}`, but its path leads elsewhere")]
    OtherService {
        /// The rule.
        rule: Name,
        /// The name.
        service: Name,
    },
    /// A rule asks a decision point that the domain does not have.
    #[error("rule `{rule}` asks `{point}`, which the domain does not have")]
    UnknownDecisionPoint {
        /// The rule.
        rule: Name,
        /// The name.
        point: Name,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) name: Name,
    path: PathId,
    path_name: Name,
    service: Name,
    /// Hosts that the service answers to.
    pub(super) service_hosts: Vec<HostPattern>,
    pub(super) clients: Option<Vec<String>>,
    pub(super) protocols: Option<Vec<ApplicationProtocol>>,
    pub(super) server_names: Option<Vec<HostPattern>>,
    pub(super) sources: Option<Vec<Cidr>>,
    hosts: Option<Vec<HostPattern>>,
    methods: Option<Vec<String>>,
    paths: Option<Vec<PathPattern>>,
    headers: Vec<HeaderMatch>,
    body: Option<BodyMatch>,
    /// Whether it has a condition that only an HTTP request can meet.
    pub(super) of_requests: bool,
    /// What it asks of certificate and time.
    pub(super) strict: Strict,
    rate: Option<Rate>,
    pub(super) ask: Option<Name>,
    /// Conditions on packets; such a rule holds for nothing else.
    pub(super) packets: Option<Packets>,
}

/// A request's host, server name and path in their one form.
pub(super) struct Canonical<'a> {
    host: std::borrow::Cow<'a, str>,
    sni: Option<std::borrow::Cow<'a, str>>,
    path: std::borrow::Cow<'a, str>,
}

pub(super) enum Outcome<'a> {
    Holds,
    Fails(Condition<'a>),
    NeedsBody,
}

impl RuleSet {
    /// The rules of `domain`, whose paths are those of `set`.
    ///
    /// # Errors
    /// A rule that names what is not there.
    pub fn compile(domain: &Domain, set: &PathSet) -> Result<RuleSet, RuleSetError> {
        let rules = domain
            .rules
            .iter()
            .map(|rule| compile(rule, domain, set))
            .collect::<Result<Vec<_>, _>>()?;
        let body = |rule: &Compiled| rule.body.as_ref().map(|body| body.bytes as usize);
        let body_prefix_bytes = rules.iter().filter_map(body).max().unwrap_or(0);
        let identities = domain.clients.iter().map(|c| c.identity_in(&domain.domain)).collect();
        Ok(RuleSet {
            rules,
            identities,
            body_prefix_bytes: body_prefix_bytes.min(BODY_PREFIX_BYTES),
        })
    }

    /// Of the names in a client's certificate, the first that the domain file knows.
    pub fn identify<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        names.into_iter().find(|name| self.identities.iter().any(|id| same_identity(id, name)))
    }

    /// The name of a path that some rule leads to.
    pub fn path_name(&self, path: PathId) -> Option<&str> {
        self.rules.iter().find(|rule| rule.path == path).map(|rule| &*rule.path_name)
    }

    /// Bytes of a body that some rule wants to see; 0 where none does.
    pub fn body_prefix_bytes(&self) -> usize {
        self.body_prefix_bytes
    }

    /// What the rules say of a request. Allocates only where host or path are not in their one form yet.
    pub fn evaluate(&self, facts: &RequestFacts<'_>) -> Decision<'_> {
        let canonical = match Canonical::of(facts) {
            Ok(canonical) => canonical,
            Err(reason) => return Decision::Deny { reason },
        };
        let mut reason = Denied::NoRule;
        for rule in &self.rules {
            match rule.test(facts, &canonical) {
                Outcome::Holds => return rule.allow(),
                // It is asked last: all else of the rule holds.
                Outcome::Fails(condition) => reason = condition.of_circumstances(reason),
                Outcome::NeedsBody => {
                    return Decision::NeedBodyPrefix { bytes: self.body_prefix_bytes };
                }
            }
        }
        Decision::Deny { reason }
    }

    pub(super) fn rules(&self) -> &[Compiled] {
        &self.rules
    }
}

impl<'a> Canonical<'a> {
    pub(super) fn of(facts: &RequestFacts<'a>) -> Result<Canonical<'a>, Denied> {
        Ok(Canonical {
            host: host::canonical(facts.host).ok_or(Denied::Host)?,
            sni: facts.sni.and_then(host::canonical),
            path: match off(Defence::UrlForm) {
                true => facts.path.into(),
                false => url::normalise(facts.path).map_err(Denied::Path)?,
            },
        })
    }
}

impl Compiled {
    pub(super) fn allow(&self) -> Decision<'_> {
        let demands = Demands { rate: self.rate, ask: self.ask.as_deref() };
        Decision::Allow { rule: &self.name, path: self.path, service: &self.service, demands }
    }

    /// Cheap conditions first; the body last, since it may have to be waited for.
    pub(super) fn test(&self, facts: &RequestFacts<'_>, canonical: &Canonical<'_>) -> Outcome<'_> {
        let ignored = |condition: &Condition<'_>| {
            off(Defence::RequestRules) && matches!(condition, Condition::Method | Condition::Path)
        };
        let mut failed = self.conditions(facts, canonical).filter(|(holds, _)| !holds);
        if let Some((_, failed)) = failed.find(|(_, condition)| !ignored(condition)) {
            return Outcome::Fails(failed);
        }
        if let Some(failed) = self.strict.failed(Circumstances::of(facts)).next() {
            return Outcome::Fails(failed);
        }
        match (&self.body, facts.body_prefix) {
            (None, _) => Outcome::Holds,
            (Some(_), None) => Outcome::NeedsBody,
            (Some(body), Some(prefix)) if body_holds(body, prefix) => Outcome::Holds,
            (Some(_), Some(_)) => Outcome::Fails(Condition::BodyPrefix),
        }
    }

    /// All conditions that do not hold.
    pub(super) fn failed(
        &self,
        facts: &RequestFacts<'_>,
        canonical: &Canonical<'_>,
    ) -> Vec<Condition<'_>> {
        let conditions = self.conditions(facts, canonical).filter(|(holds, _)| !holds);
        let body = match (&self.body, facts.body_prefix) {
            (Some(body), Some(prefix)) if !body_holds(body, prefix) => Some(Condition::BodyPrefix),
            (Some(_), None) => Some(Condition::BodyNotRead),
            _ => None,
        };
        let mut failed: Vec<Condition<'_>> = conditions.map(|(_, condition)| condition).collect();
        self.strict.failed(Circumstances::of(facts)).for_each(|condition| failed.push(condition));
        failed.extend(body);
        failed
    }

    /// The conditions but that on the body, each looked at when it is reached.
    fn conditions<'s>(
        &'s self,
        facts: &RequestFacts<'_>,
        canonical: &Canonical<'_>,
    ) -> impl Iterator<Item = (bool, Condition<'s>)> {
        let host = canonical.host.as_ref();
        let any_host = move |patterns: &[HostPattern]| patterns.iter().any(|p| p.matches(host));
        (0..Compiled::CONDITIONS).map(move |nth| match nth {
            0 => (any_host(&self.service_hosts), Condition::ServiceHost),
            1 => {
                let known = holds(&self.clients, |id| same_identity(id, facts.client));
                (known, Condition::Client)
            }
            2 => {
                let sni = canonical.sni.as_deref();
                let named = holds(&self.server_names, |p| sni.is_some_and(|sni| p.matches(sni)));
                (named, Condition::ServerName)
            }
            3 => {
                let source = facts.source.to_canonical();
                (holds(&self.sources, |cidr| cidr.contains(source)), Condition::Source)
            }
            4 => (self.hosts.as_ref().is_none_or(|hosts| any_host(hosts)), Condition::Host),
            5 => (holds(&self.methods, |method| method == facts.method), Condition::Method),
            6 => {
                let path = holds(&self.paths, |pattern| pattern.matches(&canonical.path));
                (path, Condition::Path)
            }
            7 => (self.allows_protocol(facts), Condition::Protocol),
            _ => match self.headers.iter().find(|h| !header_holds(h, facts)) {
                Some(header) => (false, Condition::Header(&header.name)),
                None => (true, Condition::Path),
            },
        })
    }

    const CONDITIONS: usize = 9;

    /// Without `protocols` every request may go but CONNECT, which opens a way for anything.
    fn allows_protocol(&self, facts: &RequestFacts<'_>) -> bool {
        self.packets.is_none()
            && holds(&self.protocols, |protocol| *protocol == facts.protocol)
            && (facts.method != "CONNECT" || self.methods.is_some())
    }
}

pub(super) fn holds<T>(list: &Option<Vec<T>>, test: impl FnMut(&T) -> bool) -> bool {
    list.as_ref().is_none_or(|entries| entries.iter().any(test))
}

/// SPIFFE ids are compared as they are, DNS names and e-mail addresses without regard to case.
pub(super) fn same_identity(configured: &str, offered: &str) -> bool {
    if configured.starts_with("spiffe://") {
        configured == offered
    } else {
        configured.eq_ignore_ascii_case(offered)
    }
}

/// On every value, so that a second field of the same name cannot bring in another.
fn header_holds(header: &HeaderMatch, facts: &RequestFacts<'_>) -> bool {
    let (mut seen, mut all) = (false, true);
    facts.headers.for_each(&header.name, &mut |value| {
        seen = true;
        all &= header.exact.as_ref().is_none_or(|exact| exact.as_bytes() == value);
        all &= header.prefix.as_ref().is_none_or(|prefix| value.starts_with(prefix.as_bytes()));
    });
    seen == header.present && all
}

fn body_holds(body: &BodyMatch, prefix: &[u8]) -> bool {
    let prefix = &prefix[..prefix.len().min(body.bytes as usize)];
    body.starts_with.iter().any(|text| prefix.starts_with(text.as_bytes()))
        || body.contains.iter().any(|text| {
            !text.is_empty() && prefix.windows(text.len()).any(|w| w == text.as_bytes())
        })
}

fn compile(rule: &Rule, domain: &Domain, set: &PathSet) -> Result<Compiled, RuleSetError> {
    let unknown_path =
        || RuleSetError::UnknownPath { rule: rule.name.clone(), path: rule.path.clone() };
    let path = set.path_named(&rule.path).ok_or_else(unknown_path)?;
    let service = path.service.clone().ok_or_else(unknown_path)?;
    if let Some(other) = rule.service.as_ref().filter(|other| **other != service) {
        return Err(RuleSetError::OtherService { rule: rule.name.clone(), service: other.clone() });
    }
    let hosts = domain.services.iter().find(|s| s.name == service);
    let identity = |name: &Name| {
        let client = domain.clients.iter().find(|c| c.name == *name);
        client.map(|c| c.identity_in(&domain.domain)).ok_or_else(|| RuleSetError::UnknownClient {
            rule: rule.name.clone(),
            client: name.clone(),
        })
    };
    let unknown_point = |point: &Name| RuleSetError::UnknownDecisionPoint {
        rule: rule.name.clone(),
        point: point.clone(),
    };
    let known = |point: &&Name| domain.decision_points.iter().any(|known| known.name == **point);
    if let Some(point) = rule.ask.as_ref().filter(|point| !known(point)) {
        return Err(unknown_point(point));
    }
    let when = &rule.when;
    let clients = when.clients.as_ref();
    let headers = when.headers.iter().flatten();
    Ok(Compiled {
        name: rule.name.clone(),
        path: path.id,
        path_name: rule.path.clone(),
        service,
        service_hosts: hosts.map(|s| s.server_names.clone()).unwrap_or_default(),
        clients: clients.map(|names| names.iter().map(identity).collect()).transpose()?,
        protocols: when.protocols.clone(),
        of_requests: when.is_of_requests(),
        packets: when.packets.as_ref().map(|packets| Packets::of(packets, hosts)),
        server_names: when.server_names.clone(),
        sources: when.sources.clone(),
        hosts: when.hosts.clone(),
        methods: when.methods.clone(),
        paths: when.paths.as_ref().map(|paths| paths.iter().map(PathPattern::of).collect()),
        headers: headers
            .map(|h| HeaderMatch { name: h.name.to_ascii_lowercase(), ..h.clone() })
            .collect(),
        body: when.body_prefix.clone(),
        strict: Strict::of(when),
        rate: rule.rate,
        ask: rule.ask.clone(),
    })
}
