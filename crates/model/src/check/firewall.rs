//! Firewalls: rules that can match, sets that are there, and what one without plaintext cannot tell apart.

use std::collections::BTreeMap;

use super::Checker;
use crate::domain::{
    AddressEntry, FirewallAction, FirewallRule, FirewallSettings, Function, IcmpType, Identity,
    PortEntry, Protocol,
};
use crate::limits;
use crate::metadata::Kind;
use crate::names::Name;
use crate::suggest;

const TCP: Protocol = Protocol(6);
const UDP: Protocol = Protocol(17);
const SCTP: Protocol = Protocol(132);
const ESP: Protocol = Protocol(50);
const ICMP: Protocol = Protocol(1);
const ICMPV6: Protocol = Protocol(58);

/// ICMP and ICMPv6 types of answers and errors: they pass with what they belong to, and never else.
const NEVER_FIRST: [(Protocol, &[u8]); 2] =
    [(ICMP, &[0, 3, 11, 12, 14, 16, 18]), (ICMPV6, &[1, 2, 3, 4, 129])];

impl Checker<'_> {
    pub(super) fn firewall(
        &mut self,
        element: &str,
        function: &Function,
        firewall: &FirewallSettings,
    ) {
        let at = format!("{element}.firewall");
        if firewall.rules.is_empty() && firewall.default != FirewallAction::Allow {
            let message = format!("the firewall `{}` lets nothing through", function.name);
            self.error(&at, "empty", message, "add a rule with `action: allow`");
        }
        if firewall.rules.len() > limits::LIST_ENTRIES {
            let message =
                format!("{} rules are more than {}", firewall.rules.len(), limits::LIST_ENTRIES);
            self.error(&format!("{at}.rules"), "too-many", message, "use sets, or split it");
        }
        let most = limits::FIREWALL_CONNECTIONS;
        self.range(&format!("{at}.limits.connections"), firewall.limits.connections, 1, most);
        self.sets(&at, firewall);
        let mut names = BTreeMap::new();
        for (index, rule) in firewall.rules.iter().enumerate() {
            let at = format!("{at}.rules[{index}]");
            if let Some(first) = names.insert(&rule.name, index) {
                let message = format!("the rule `{}` is there already (rules[{first}])", rule.name);
                let mend = "give one of them another name";
                self.error(&format!("{at}.name"), "duplicate-name", message, mend);
            }
            if rule.name == "default" {
                let message = "`default` is what counters call connections that no rule speaks of";
                self.error(&format!("{at}.name"), "reserved-name", message.to_owned(), "rename it");
            }
            if !function.intrusive {
                self.outer_only(&at, function, rule);
            }
            self.firewall_rule(&at, firewall, rule);
            self.whose(&at, function, rule);
        }
        if !function.intrusive && firewall.default == FirewallAction::Reject {
            self.no_answer(&format!("{at}.default"), function);
        }
    }

    /// Conditions that somebody has to tell the function of.
    fn whose(&mut self, at: &str, function: &Function, rule: &FirewallRule) {
        for (key, kind, there) in [
            ("identities", Kind::Identity, rule.identities.is_some()),
            ("tenants", Kind::Tenant, rule.tenants.is_some()),
        ] {
            if there && !function.metadata.contains(&kind) {
                let message = format!("nobody tells `{}` of {key}", function.name);
                let mend = format!("add `metadata: [{kind}]` to the function");
                self.error(&format!("{at}.{key}"), "metadata-not-granted", message, mend);
            }
        }
        let ca = |identity: &Identity| *identity == Identity::Ca;
        if let Some(index) = rule.identities.iter().flatten().position(ca) {
            let message = "`ca` is what a client's entry says, and no identity".to_owned();
            let mend = format!("write spiffe://{}/client/NAME", self.domain.domain);
            self.error(&format!("{at}.identities[{index}]"), "bad-identity", message, mend);
        }
    }

    fn sets(&mut self, at: &str, firewall: &FirewallSettings) {
        let addresses = firewall.address_sets.iter().enumerate().map(|(index, set)| {
            let nested = set.addresses.iter().position(|e| matches!(e, AddressEntry::Set(_)));
            let place = format!("{at}.address_sets[{index}]");
            (place, &set.name, "addresses", set.addresses.len(), nested)
        });
        let ports = firewall.port_sets.iter().enumerate().map(|(index, set)| {
            let nested = set.ports.iter().position(|e| matches!(e, PortEntry::Set(_)));
            (format!("{at}.port_sets[{index}]"), &set.name, "ports", set.ports.len(), nested)
        });
        let mut names = BTreeMap::new();
        for (at, name, key, entries, nested) in addresses.chain(ports).collect::<Vec<_>>() {
            if let Some(first) = names.insert((key, name), at.clone()) {
                let message = format!("the set `{name}` is there already ({first})");
                let mend = "give one of them another name";
                self.error(&format!("{at}.name"), "duplicate-name", message, mend);
            }
            if key == "ports" && name.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
                let message = format!("a rule that names `{name}` would mean ports");
                let mend = "give the set a name with a letter";
                self.error(&format!("{at}.name"), "set-like-ports", message, mend);
            }
            if entries == 0 {
                let message = format!("the set `{name}` is empty");
                self.error(&format!("{at}.{key}"), "empty", message, "add an entry");
            }
            if entries > limits::SET_ENTRIES {
                let message = format!("{entries} entries are more than {}", limits::SET_ENTRIES);
                self.error(&format!("{at}.{key}"), "too-many", message, "split the set");
            }
            if let Some(nested) = nested {
                let message = "a set does not hold other sets".to_owned();
                let mend = "write the entries of that set here";
                self.error(&format!("{at}.{key}[{nested}]"), "nested-set", message, mend);
            }
        }
    }

    fn firewall_rule(&mut self, at: &str, firewall: &FirewallSettings, rule: &FirewallRule) {
        for (key, count) in [
            ("sources", rule.sources.as_ref().map(Vec::len)),
            ("destinations", rule.destinations.as_ref().map(Vec::len)),
            ("protocols", rule.protocols.as_ref().map(Vec::len)),
            ("source_ports", rule.source_ports.as_ref().map(Vec::len)),
            ("ports", rule.ports.as_ref().map(Vec::len)),
            ("icmp_types", rule.icmp_types.as_ref().map(Vec::len)),
            ("identities", rule.identities.as_ref().map(Vec::len)),
            ("tenants", rule.tenants.as_ref().map(Vec::len)),
        ] {
            let at = format!("{at}.{key}");
            match count {
                Some(0) => {
                    let message = format!("an empty list `{key}` never holds");
                    let mend = "add an entry, or delete the key if it should always hold";
                    self.error(&at, "empty-condition", message, mend);
                }
                Some(count) if count > limits::LIST_ENTRIES => {
                    let message = format!("{count} entries are more than {}", limits::LIST_ENTRIES);
                    self.error(&at, "too-many", message, "make it a set");
                }
                _ => {}
            }
        }
        let sets: Vec<&Name> = firewall.address_sets.iter().map(|set| &set.name).collect();
        for (key, entries) in [("sources", &rule.sources), ("destinations", &rule.destinations)] {
            for (n, entry) in entries.iter().flatten().enumerate() {
                if let AddressEntry::Set(name) = entry {
                    self.known_set(&format!("{at}.{key}[{n}]"), "address set", name, &sets);
                }
            }
        }
        let sets: Vec<&Name> = firewall.port_sets.iter().map(|set| &set.name).collect();
        for (key, entries) in [("source_ports", &rule.source_ports), ("ports", &rule.ports)] {
            for (n, entry) in entries.iter().flatten().enumerate() {
                if let PortEntry::Set(name) = entry {
                    self.known_set(&format!("{at}.{key}[{n}]"), "port set", name, &sets);
                }
            }
            if entries.is_some() && !only(rule, &[TCP, UDP, SCTP]) {
                let message = format!("`{key}` needs protocols that have ports");
                let mend = "write `protocols: [tcp]`, or udp or sctp, and no other in this rule";
                self.error(&format!("{at}.{key}"), "ports-without-protocol", message, mend);
            }
        }
        self.icmp_types(at, rule);
    }

    fn known_set(&mut self, at: &str, what: &str, name: &Name, sets: &[&Name]) {
        if !sets.contains(&name) {
            let message = format!("there is no {what} `{name}`");
            let mend = suggest::mend(name, "sets", sets.iter().map(|name| name.as_str()));
            self.error(at, "unknown-set", message, mend);
        }
    }

    fn icmp_types(&mut self, at: &str, rule: &FirewallRule) {
        let Some(types) = &rule.icmp_types else { return };
        if !only(rule, &[ICMP, ICMPV6]) {
            let message = "`icmp_types` needs the protocol icmp or icmpv6".to_owned();
            let mend = "write `protocols: [icmp]`, and no other than icmpv6 in this rule";
            self.error(&format!("{at}.icmp_types"), "types-without-protocol", message, mend);
            return;
        }
        let protocols = rule.protocols.as_deref().unwrap_or_default();
        for (n, kind) in types.iter().enumerate() {
            let at = format!("{at}.icmp_types[{n}]");
            let IcmpType::Number(number) = kind else { continue };
            if protocols.contains(&ICMP) && protocols.contains(&ICMPV6) {
                let message = format!("type {number} means one thing in ICMP, another in ICMPv6");
                self.error(&at, "two-icmps", message, "make two rules, one protocol each");
            } else if NEVER_FIRST.iter().any(|(p, k)| protocols.contains(p) && k.contains(number)) {
                let message =
                    format!("type {number} is an answer or an error: it begins nothing by itself");
                let mend = "delete it: answers and errors pass with what they belong to";
                self.error(&at, "answer-needs-no-rule", message, mend);
            }
        }
    }

    /// ESP hides all but outer addresses, protocol and SPI.
    fn outer_only(&mut self, at: &str, function: &Function, rule: &FirewallRule) {
        let name = &function.name;
        for (key, given) in
            [("source_ports", rule.source_ports.is_some()), ("ports", rule.ports.is_some())]
        {
            if given {
                let message =
                    format!("`{name}` is not intrusive and sees no ports: ESP encrypts them");
                let mend = format!("write `intrusive: true` for `{name}`, or delete `{key}`");
                self.error(&format!("{at}.{key}"), "ports-without-plaintext", message, mend);
            }
        }
        if rule.protocols.as_ref().is_some_and(|protocols| protocols.iter().any(|p| *p != ESP)) {
            let message = format!("`{name}` is not intrusive and sees no protocol but ESP");
            let mend = format!("write `intrusive: true` for `{name}`, or delete `protocols`");
            self.error(&format!("{at}.protocols"), "protocol-without-plaintext", message, mend);
        }
        if rule.action == FirewallAction::Reject {
            self.no_answer(&format!("{at}.action"), function);
        }
        let link = self.domain.links.network;
        for (key, entries) in [("sources", &rule.sources), ("destinations", &rule.destinations)] {
            for (n, entry) in entries.iter().flatten().enumerate() {
                if let AddressEntry::Network(network) = entry
                    && !network.overlaps(link)
                {
                    let message = format!(
                        "`{name}` is not intrusive and sees outer addresses, which are in {link}: never {network}"
                    );
                    let mend = format!("write `intrusive: true` for `{name}`, or a part of {link}");
                    let at = format!("{at}.{key}[{n}]");
                    self.error(&at, "address-without-plaintext", message, mend);
                }
            }
        }
    }

    fn no_answer(&mut self, at: &str, function: &Function) {
        let name = &function.name;
        let message = format!("`{name}` is not intrusive and cannot answer: it has no keys");
        let mend = format!("write `drop`, or `intrusive: true` for `{name}`");
        self.error(at, "reject-without-plaintext", message, mend);
    }
}

/// Whether the rule names protocols, and none but these.
fn only(rule: &FirewallRule, these: &[Protocol]) -> bool {
    rule.protocols.as_ref().is_some_and(|given| given.iter().all(|p| these.contains(p)))
}
