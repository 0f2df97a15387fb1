//! Listeners of kind `wireguard`, the clients that come by them, and rules on packets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Checker;
use crate::domain::{AddressEntry, ListenerKind, PacketMatch, Peer, PortEntry, Rule};
use crate::limits;

/// Protocols with ports: TCP, UDP and SCTP.
const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// The largest DS field.
const DSCP_MAX: u8 = 63;

impl Checker<'_> {
    pub(super) fn wireguard(&mut self) {
        self.wireguard_listeners();
        self.peers();
        self.service_networks();
        for (index, rule) in self.domain.rules.iter().enumerate() {
            let at = format!("rules[{index}].when");
            if let Some(packets) = &rule.when.packets {
                self.only_packets(&at, rule);
                self.packets(&format!("{at}.packets"), packets);
            }
        }
    }

    fn wireguard_listeners(&mut self) {
        let d = self.domain;
        let mut first = None;
        for (index, listener) in d.gateway.listeners.iter().enumerate() {
            let at = format!("gateway.listeners[{index}]");
            if listener.kind != ListenerKind::Wireguard {
                if listener.key_file.is_some() {
                    let message = "only a listener of kind `wireguard` has a `key_file`".to_owned();
                    let mend = "delete it, or write `kind: wireguard`";
                    self.error(&format!("{at}.key_file"), "not-of-this-kind", message, mend);
                }
                continue;
            }
            for (key, there) in [
                ("certificates", !listener.certificates.is_empty()),
                ("client_auth", listener.client_auth != Default::default()),
                ("proxy_protocol_from", !listener.proxy_protocol_from.is_empty()),
            ] {
                if there {
                    let message = format!("a listener of kind `wireguard` has no `{key}`");
                    let mend = "delete it: keys stand under `key_file` and `clients`";
                    self.error(&format!("{at}.{key}"), "not-of-this-kind", message, mend);
                }
            }
            match (&listener.key_file, first) {
                (None, _) => {
                    let message = format!("the listener `{}` has no private key", listener.name);
                    let mend =
                        "make one with `ringmail wireguard key FILE` and write `key_file: FILE`";
                    self.error(&format!("{at}.key_file"), "no-key", message, mend);
                }
                (Some(_), None) => first = listener.key_file.as_ref(),
                (Some(file), Some(other)) if file != other => {
                    let message = "the gateway has one WireGuard key for all listeners".to_owned();
                    let mend = format!("write `key_file: {}`", other.display());
                    self.error(&format!("{at}.key_file"), "two-keys", message, mend);
                }
                _ => {}
            }
            if !d.rules.iter().any(|rule| rule.when.packets.is_some()) {
                let message = format!(
                    "no rule speaks of packets: the listener `{}` lets nothing through",
                    listener.name
                );
                let mend = "add a rule such as `when: {packets: {protocols: [udp], ports: [53]}}`";
                self.warning(&format!("{at}.kind"), "no-rules", message, mend);
            }
        }
    }

    fn peers(&mut self) {
        let d = self.domain;
        let listens = d.gateway.listeners.iter().any(|l| l.kind == ListenerKind::Wireguard);
        let (mut keys, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        for (index, client) in d.clients.iter().enumerate() {
            let Some(peer) = &client.wireguard else { continue };
            let at = format!("clients[{index}].wireguard");
            if !listens {
                let message = "no listener is of kind `wireguard`".to_owned();
                self.warning(&at, "no-listener", message, "add one, or delete this");
            }
            if let Some(other) = keys.insert(peer.public_key, &client.name) {
                let message = format!("this is the key of the client `{other}` already");
                let mend = "every client has a key of its own";
                self.error(&format!("{at}.public_key"), "duplicate-key", message, mend);
            }
            self.peer_addresses(&at, peer);
            for (n, address) in peer.addresses.iter().enumerate() {
                if let Some(other) = addresses.insert(*address, &client.name) {
                    let message =
                        format!("{address} is an address of the client `{other}` already");
                    let at = format!("{at}.addresses[{n}]");
                    self.error(&at, "duplicate-address", message, "write another");
                }
            }
        }
    }

    fn peer_addresses(&mut self, at: &str, peer: &Peer) {
        let inner = &self.domain.gateway.inner;
        if peer.addresses.is_empty() || peer.addresses.len() > limits::PEER_ADDRESSES {
            let message = format!("a client has 1 to {} addresses inside", limits::PEER_ADDRESSES);
            let mend = "write hosts of `gateway.inner`";
            self.error(&format!("{at}.addresses"), "out-of-range", message, mend);
        }
        for (n, address) in peer.addresses.iter().enumerate() {
            let at = format!("{at}.addresses[{n}]");
            match inner.iter().find(|network| network.is_host(*address)) {
                None => {
                    let message = format!("{address} is no host of the gateway's inner networks");
                    let mend = "write an address from `gateway.inner`, or a wider network there";
                    self.error(&at, "outside-network", message, mend);
                }
                Some(network) if network.host(1) == Some(*address) => {
                    let message = format!("{address} is the gateway's own address in {network}");
                    let mend = "the gateway is the first host of its network: write another";
                    self.error(&at, "duplicate-address", message, mend);
                }
                Some(_) => {}
            }
        }
    }

    fn service_networks(&mut self) {
        let d = self.domain;
        for (index, service) in d.services.iter().enumerate() {
            for (n, network) in service.networks.iter().enumerate() {
                let at = format!("services[{index}].networks[{n}]");
                let own = |known: &crate::net::Cidr| {
                    known.host(1).filter(|first| network.contains(*first))
                };
                match d.egress.networks.iter().find(|known| known.covers(*network)) {
                    None => {
                        let message = format!("{network} lies in no network of the egress");
                        let mend = "write a part of `egress.networks`, or add its network there";
                        self.error(&at, "outside-network", message, mend);
                    }
                    Some(known) if own(known).is_some() => {
                        let own = own(known).map(|ip: IpAddr| ip.to_string()).unwrap_or_default();
                        let message = format!("{own} in {network} is the egress itself");
                        let mend = "write a smaller network, or the services' addresses";
                        self.error(&at, "duplicate-address", message, mend);
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// What packets do not have.
    fn only_packets(&mut self, at: &str, rule: &Rule) {
        let when = &rule.when;
        for (key, there) in [
            ("protocols", when.protocols.is_some()),
            ("server_names", when.server_names.is_some()),
            ("hosts", when.hosts.is_some()),
            ("methods", when.methods.is_some()),
            ("paths", when.paths.is_some()),
            ("headers", when.headers.is_some()),
            ("body_prefix", when.body_prefix.is_some()),
            ("certificate", when.certificate.is_some()),
        ] {
            if there {
                let message = format!("a rule with `packets` never meets `{key}`");
                let mend = "split the rule: one with `packets`, one without";
                self.error(&format!("{at}.{key}"), "never-matches", message, mend);
            }
        }
        if rule.ask.is_some() {
            let message = "packets do not wait for a decision point".to_owned();
            let at = format!("{}.ask", at.trim_end_matches(".when"));
            self.error(&at, "never-matches", message, "delete `ask`, or `packets`");
        }
    }

    fn packets(&mut self, at: &str, wanted: &PacketMatch) {
        for (key, count) in [
            ("protocols", wanted.protocols.as_ref().map(Vec::len)),
            ("ports", wanted.ports.as_ref().map(Vec::len)),
            ("source_ports", wanted.source_ports.as_ref().map(Vec::len)),
            ("destinations", wanted.destinations.as_ref().map(Vec::len)),
            ("dscp", wanted.dscp.as_ref().map(Vec::len)),
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
                    self.error(&at, "too-many", message, "split the rule");
                }
                _ => {}
            }
        }
        for (key, ports) in [("ports", &wanted.ports), ("source_ports", &wanted.source_ports)] {
            for (n, entry) in ports.iter().flatten().enumerate() {
                self.no_set(&format!("{at}.{key}[{n}]"), matches!(entry, PortEntry::Set(_)));
            }
            let carries = |number: &u8| WITH_PORTS.contains(number);
            let mut protocols = wanted.protocols.iter().flatten().map(|protocol| protocol.0);
            if ports.is_some()
                && wanted.protocols.is_some()
                && !protocols.any(|number| carries(&number))
            {
                let message = "none of these protocols has ports".to_owned();
                let mend = "name tcp, udp or sctp, or delete the ports";
                self.error(&format!("{at}.{key}"), "never-matches", message, mend);
            }
        }
        for (n, entry) in wanted.destinations.iter().flatten().enumerate() {
            self.no_set(&format!("{at}.destinations[{n}]"), matches!(entry, AddressEntry::Set(_)));
        }
        for (n, dscp) in wanted.dscp.iter().flatten().enumerate() {
            self.range(&format!("{at}.dscp[{n}]"), *dscp, 0, DSCP_MAX);
        }
    }

    fn no_set(&mut self, at: &str, is_set: bool) {
        if is_set {
            let message = "sets have names in a firewall only".to_owned();
            self.error(at, "unknown-set", message, "write out what the set holds");
        }
    }
}
