//! What the gateway knows of the flows that it lets in, for those on their paths who are told (`docs/nsh.md`, "Metadata").

use std::collections::BTreeMap;

use ringmail_model::PathVersion;
use ringmail_model::domain::Domain;
use ringmail_model::metadata::{Authorization, Decision, Facts};
use ringmail_model::pathset::PathSet;

use crate::random;

/// What each live version of the domain says of clients and rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge(BTreeMap<PathVersion, Version>);

#[derive(Clone, Debug)]
struct Version {
    /// Tenants by the identities of clients.
    tenants: BTreeMap<String, String>,
    /// Rules by their names.
    rules: BTreeMap<String, Authorization>,
    /// Whether anybody on a path is told of flows.
    told: bool,
}

impl Knowledge {
    pub(crate) fn of<'a>(live: impl Iterator<Item = (&'a Domain, &'a PathSet)>) -> Knowledge {
        Knowledge(live.map(|(domain, set)| (set.version, Version::of(domain, set))).collect())
    }

    /// All that there is to say of a flow of this client, which this rule lets in; `None` where nobody is told of flows.
    /// Without a version the newest counts.
    pub(crate) fn facts(
        &self,
        version: Option<PathVersion>,
        client: &str,
        rule: &str,
    ) -> Option<Box<Facts>> {
        if !self.0.values().any(|version| version.told) {
            return None;
        }
        let newest = self.0.last_key_value().map(|(_, newest)| newest);
        let version = version.and_then(|version| self.0.get(&version)).or(newest)?;
        let mut facts = Box::new(Facts::NONE);
        if !client.is_empty() {
            facts.set_identity(client);
        }
        if let Some(tenant) = version.tenants.get(client) {
            facts.set_tenant(tenant);
        }
        if let Some(authorization) = version.rules.get(rule) {
            facts.set_authorization(*authorization);
            facts.set_reason(rule);
        }
        match random::bytes() {
            Ok(trace) => facts.set_trace(trace),
            Err(error) => tracing::warn!(%error, "a flow has no trace id"),
        }
        Some(facts)
    }
}

impl Version {
    fn of(domain: &Domain, set: &PathSet) -> Version {
        let tenants = domain.clients.iter().filter_map(|client| {
            Some((client.identity_in(&domain.domain), client.tenant.as_ref()?.to_string()))
        });
        let rules = (1..).zip(&domain.rules).map(|(place, rule)| {
            let decision = if rule.ask.is_some() { Decision::Asked } else { Decision::Rule };
            (rule.name.to_string(), Authorization { rule: place, decision })
        });
        Version {
            tenants: tenants.collect(),
            rules: rules.collect(),
            told: set.paths.iter().any(|path| !path.readers().is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ringmail_model::metadata::{Identity, Kind, Kinds, Said};
    use ringmail_model::pathset::Issue;

    use super::*;

    fn version(number: u64, change: impl FnOnce(&mut Domain)) -> (Domain, PathSet) {
        let mut domain = crate::demo::campus().expect("the built-in file").domain;
        change(&mut domain);
        let version = PathVersion(number);
        let issue = Issue { version, not_before_unix_s: 0, not_after_unix_s: u64::MAX };
        let set = PathSet::compile(&domain, issue).expect("a path set");
        (domain, set)
    }

    fn knowledge(live: &[(Domain, PathSet)]) -> Knowledge {
        Knowledge::of(live.iter().map(|(domain, set)| (domain, set)))
    }

    #[test]
    fn what_is_said_is_what_the_version_says_by_which_the_flow_was_let_in() {
        let granted = |domain: &mut Domain| domain.functions[0].metadata = vec![Kind::Identity];
        let one = version(1, |domain| {
            granted(domain);
            domain.clients[0].tenant = Some("physics".parse().expect("a name"));
        });
        let two = version(2, |domain| {
            granted(domain);
            domain.rules.reverse();
            domain.clients[0].tenant = Some("biology".parse().expect("a name"));
        });
        let client = one.0.clients[0].identity_in(&one.0.domain);
        let rule = one.0.rules[0].name.to_string();
        let last = one.0.rules.len() as u32;
        let knowledge = knowledge(&[one, two]);
        for (asked, place, tenant) in
            [(Some(1), 1, "physics"), (Some(2), last, "biology"), (None, last, "biology")]
        {
            let facts = knowledge.facts(asked.map(PathVersion), &client, &rule).expect("facts");
            let mut bytes = [0; 106];
            facts.write(Kinds::ALL, &mut bytes);
            let said = Said::parse(&bytes, Kinds::ALL).expect("well-formed");
            assert!(said.identity().is_some_and(|identity| identity.is(&client)));
            assert!(!matches!(said.identity(), Some(Identity::Digest(_))));
            let expected = Authorization { rule: place, decision: Decision::Rule };
            assert_eq!((said.authorization(), said.tenant()), (Some(expected), Some(tenant)));
            assert!(said.reason().is_some_and(|reason| rule.starts_with(reason)));
            assert!(said.trace().is_some());
        }
        let stranger = knowledge.facts(None, "dns:b.example", "no-rule").expect("facts");
        let mut expected = Kinds::only(Kind::Identity);
        expected = expected.or(Kinds::only(Kind::Trace));
        assert_eq!(stranger.kinds(), expected);
    }

    #[test]
    fn where_nobody_is_told_nothing_is_put_together() {
        let knowledge = knowledge(&[version(1, |_| ())]);
        assert!(knowledge.facts(None, "dns:b.example", "client1").is_none());
    }
}
