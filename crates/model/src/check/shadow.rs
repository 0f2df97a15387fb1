//! Rules that never decide, because an earlier one holds whenever they do.
//!
//! An error, not a warning: where the later rule asks for a stricter path, requests go past it unseen.

use super::Checker;
use crate::domain::{
    AddressEntry, ApplicationProtocol, HeaderMatch, PacketMatch, PortEntry, Rule, UrlPath, When,
};
use crate::names::{HostPattern, Name};
use crate::rules::PathPattern;

impl Checker<'_> {
    pub(super) fn shadows(&mut self) {
        let rules = &self.domain.rules;
        if rules.len() > crate::limits::RULES {
            return;
        }
        for (index, later) in rules.iter().enumerate() {
            let Some(earlier) =
                rules[..index].iter().find(|earlier| self.holds_for_all(earlier, later))
            else {
                continue;
            };
            let message = format!(
                "the rule `{}` never decides: `{}` stands before it and holds whenever it does",
                later.name, earlier.name
            );
            let mend = if earlier.path == later.path {
                format!("delete it; both lead to the path `{}`", later.path)
            } else {
                format!("move it before `{}`, or narrow `{}`", earlier.name, earlier.name)
            };
            self.error(&format!("rules[{index}]"), "shadowed-rule", message, mend);
        }
    }

    /// Whether `earlier` holds for every request that `later` holds for. No means "not for sure".
    fn holds_for_all(&self, earlier: &Rule, later: &Rule) -> bool {
        let (e, l) = (&earlier.when, &later.when);
        let (Some(earlier_hosts), Some(later_hosts)) =
            (self.service_hosts(earlier), self.service_hosts(later))
        else {
            return false;
        };
        let asked = l.hosts.as_deref().unwrap_or(later_hosts);
        let hosts_within = |patterns: &[HostPattern]| {
            asked.iter().all(|host| patterns.iter().any(|pattern| pattern.covers(host)))
        };
        hosts_within(earlier_hosts)
            && e.hosts.as_deref().is_none_or(hosts_within)
            && within(&e.clients, &l.clients, |a, b| a == b)
            && within(&e.server_names, &l.server_names, |a, b| a.covers(b))
            && within(&e.sources, &l.sources, |a, b| a.covers(*b))
            // Hours and certificates cover others that are the same; what else could is not worth the mistakes.
            && (e.times.is_none() || e.times == l.times)
            && (e.certificate.is_none() || e.certificate == l.certificate)
            && covers_protocols(e, l)
            && covers_packets(&e.packets, &l.packets)
            && (e.packets.is_none() || self.service_of(earlier) == self.service_of(later))
            && covers_methods(e, l)
            && within(&e.paths, &l.paths, covers_path)
            && e.headers
                .iter()
                .flatten()
                .all(|header| l.headers.iter().flatten().any(|other| implies(other, header)))
            && (e.body_prefix.is_none() || e.body_prefix == l.body_prefix)
    }

    fn service_hosts(&self, rule: &Rule) -> Option<&[HostPattern]> {
        let name = self.service_of(rule)?;
        let service = self.domain.services.iter().find(|s| s.name == *name)?;
        Some(&service.server_names)
    }

    fn service_of(&self, rule: &Rule) -> Option<&Name> {
        self.domain.paths.iter().find(|p| p.name == rule.path).map(|path| &path.service)
    }
}

/// Whether each entry of `later` is covered by one of `earlier`; no condition holds always.
fn within<T>(
    earlier: &Option<Vec<T>>,
    later: &Option<Vec<T>>,
    covers: impl Fn(&T, &T) -> bool,
) -> bool {
    match (earlier, later) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => later.iter().all(|b| earlier.iter().any(|a| covers(a, b))),
    }
}

/// A rule without `protocols` holds for requests; one with a condition on requests for nothing else.
fn covers_protocols(earlier: &When, later: &When) -> bool {
    const REQUESTS: &[ApplicationProtocol] =
        &[ApplicationProtocol::Http, ApplicationProtocol::Websocket];
    let earlier_is_of_requests = earlier.is_of_requests();
    let earlier = earlier.protocols.as_deref().unwrap_or(REQUESTS);
    let later = later.protocols.as_deref().unwrap_or(REQUESTS);
    later.iter().all(|protocol| {
        earlier.contains(protocol) && (protocol.is_of_requests() || !earlier_is_of_requests)
    })
}

/// A rule with `packets` holds for nothing else, and one without for none.
fn covers_packets(earlier: &Option<PacketMatch>, later: &Option<PacketMatch>) -> bool {
    let (Some(e), Some(l)) = (earlier, later) else {
        return earlier.is_none() && later.is_none();
    };
    let ports = |a: &PortEntry, b: &PortEntry| match (a, b) {
        (PortEntry::Range(first, last), PortEntry::Range(from, to)) => first <= from && to <= last,
        _ => a == b,
    };
    let addresses = |a: &AddressEntry, b: &AddressEntry| match (a, b) {
        (AddressEntry::Network(a), AddressEntry::Network(b)) => a.covers(*b),
        _ => a == b,
    };
    within(&e.protocols, &l.protocols, |a, b| a == b)
        && within(&e.ports, &l.ports, ports)
        && within(&e.source_ports, &l.source_ports, ports)
        && within(&e.destinations, &l.destinations, addresses)
        && within(&e.dscp, &l.dscp, |a, b| a == b)
}

/// A rule without `methods` holds for every method but CONNECT.
fn covers_methods(earlier: &When, later: &When) -> bool {
    let connect = |method: &String| method == "CONNECT";
    match (&earlier.methods, &later.methods) {
        (None, Some(later)) => !later.iter().any(connect),
        (earlier, later) => within(earlier, later, |a, b| a == b),
    }
}

fn covers_path(earlier: &UrlPath, later: &UrlPath) -> bool {
    PathPattern::of(earlier).covers(&PathPattern::of(later))
}

/// Whether a field that satisfies `header` satisfies `other` as well.
fn implies(header: &HeaderMatch, other: &HeaderMatch) -> bool {
    let same_name = header.name.eq_ignore_ascii_case(&other.name);
    let value = match (&other.exact, &other.prefix) {
        (None, None) => true,
        (Some(exact), _) => header.exact.as_ref() == Some(exact),
        (None, Some(prefix)) => [&header.exact, &header.prefix]
            .into_iter()
            .flatten()
            .any(|text| text.starts_with(prefix.as_str())),
    };
    same_name && header.present == other.present && value
}
