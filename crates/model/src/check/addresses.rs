//! Networks, addresses and labels: each thing one of its own, inside the network it belongs to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::Checker;
use crate::ids::Label;
use crate::net::Cidr;
use crate::pathset::SFF_LABEL;

impl Checker<'_> {
    pub(super) fn addresses(&mut self) {
        self.networks();
        self.fabric();
        self.service_addresses();
        self.client_addresses();
    }

    /// Every network of the file with its place.
    fn all_networks(&self) -> Vec<(String, Cidr)> {
        let d = self.domain;
        let list = |at: &str, networks: &[Cidr]| {
            let entries = networks.iter().enumerate();
            entries.map(|(i, cidr)| (format!("{at}[{i}]"), *cidr)).collect::<Vec<_>>()
        };
        let mut all = vec![("links.network".to_owned(), d.links.network)];
        all.extend(list("gateway.outside", &d.gateway.outside));
        all.extend(list("gateway.inner", &d.gateway.inner));
        if let Some(standby) = &d.gateway.standby {
            all.extend(list("gateway.standby.inner", &standby.inner));
        }
        all.extend(list("egress.networks", &d.egress.networks));
        all
    }

    fn networks(&mut self) {
        let all = self.all_networks();
        for (index, (at, cidr)) in all.iter().enumerate() {
            let network = cidr.network();
            if network.is_loopback() || network.is_multicast() || network.is_unspecified() {
                let message = format!("{cidr} is no network that hosts can have addresses from");
                let mend = "use a private network, such as one of 10.0.0.0/8 or fd00::/8";
                self.error(at, "bad-network", message, mend);
            }
            if let Some((other_at, other)) = all[..index].iter().find(|(_, o)| o.overlaps(*cidr)) {
                let message = format!("{cidr} overlaps {other} ({other_at})");
                let mend = "every network of a domain is apart: choose another";
                self.error(at, "overlapping-networks", message, mend);
            }
        }
        let d = self.domain;
        let standby = d.gateway.standby.as_ref();
        let standby = standby.map(|standby| ("gateway.standby.inner", &standby.inner));
        let lists = [
            ("gateway.outside", &d.gateway.outside),
            ("gateway.inner", &d.gateway.inner),
            ("egress.networks", &d.egress.networks),
        ];
        for (at, networks) in lists.into_iter().chain(standby) {
            if networks.is_empty() {
                let message = "there is no network here".to_owned();
                self.error(at, "empty", message, "add one, such as 10.78.0.0/24");
            }
            for (index, cidr) in networks.iter().enumerate() {
                let at = format!("{at}[{index}]");
                if networks[..index].iter().any(|n| n.is_ipv4() == cidr.is_ipv4()) {
                    let version = if cidr.is_ipv4() { "IPv4" } else { "IPv6" };
                    let message = format!("this is the second {version} network here");
                    let mend = "at most one of each IP version: make the first one wider";
                    self.error(&at, "two-networks", message, mend);
                }
                if cidr.host(2).is_none() {
                    let message = format!("{cidr} has fewer than two addresses for hosts");
                    self.error(&at, "network-too-small", message, "make it wider, such as a /24");
                }
            }
        }
    }

    /// Link addresses and labels of elements.
    fn fabric(&mut self) {
        let d = self.domain;
        let network = d.links.network;
        if !network.is_ipv4() {
            let message = "the fabric is IPv4: outer headers are IPv4".to_owned();
            let mend = "write an IPv4 network such as 10.77.0.0/24; inner packets may be IPv6";
            self.error("links.network", "fabric-not-ipv4", message, mend);
            return;
        }
        if d.egress.per_service {
            for (at, there) in [
                ("egress.address", d.egress.address.is_some()),
                ("egress.label", d.egress.label.is_some()),
            ] {
                if there {
                    let message = "with `per_service: true` there are several egresses".to_owned();
                    self.error(at, "per-service", message, "delete it; each gets one of its own");
                }
            }
        }
        let functions = d.functions.iter().enumerate();
        let elements: Vec<(String, Option<Ipv4Addr>, Option<Label>)> =
            std::iter::once(("gateway".to_owned(), d.gateway.address, d.gateway.label))
                .chain(functions.map(|(i, f)| (format!("functions[{i}]"), f.address, f.label)))
                .chain(std::iter::once(("egress".to_owned(), d.egress.address, d.egress.label)))
                .chain(
                    d.gateway.standby.iter().map(|standby| {
                        ("gateway.standby".to_owned(), standby.address, standby.label)
                    }),
                )
                .collect();
        let mut addresses: BTreeMap<Ipv4Addr, &str> = BTreeMap::new();
        let mut labels: BTreeMap<Label, &str> = BTreeMap::new();
        for (element, address, label) in &elements {
            if let Some(address) = address {
                let at = format!("{element}.address");
                if !network.is_host(IpAddr::V4(*address)) {
                    let message = format!("{address} is no host of the fabric's network {network}");
                    let mend = "write an address from it, or leave it out to get one";
                    self.error(&at, "outside-network", message, mend);
                }
                if let Some(other) = addresses.insert(*address, element) {
                    let message = format!("{address} is the address of {other} already");
                    let mend = "write another, or leave it out to get one";
                    self.error(&at, "duplicate-address", message, mend);
                }
            }
            if d.profile.has_nsh() && *label == Some(SFF_LABEL) {
                let message = format!("{SFF_LABEL} says that a Network Service Header follows");
                let mend = "write another, or leave it out to get one";
                self.error(&format!("{element}.label"), "sff-label", message, mend);
            }
            if let Some(label) = label
                && let Some(other) = labels.insert(*label, element)
            {
                let message = format!("{label} is the label of {other} already");
                let mend = "write another, or leave it out to get one";
                self.error(&format!("{element}.label"), "duplicate-label", message, mend);
            }
        }
        let egresses = if d.egress.per_service { d.services.len() } else { 1 };
        let gateways = 1 + usize::from(d.gateway.standby.is_some());
        let needed = d.functions.len() + gateways + egresses;
        let fits = u32::try_from(needed).is_ok_and(|needed| network.host(needed).is_some());
        if !fits {
            let message = format!("{network} has no address for each of {needed} elements");
            self.error(
                "links.network",
                "network-too-small",
                message,
                "make it wider, such as a /24",
            );
        }
    }

    fn service_addresses(&mut self) {
        let d = self.domain;
        let mut seen = BTreeMap::new();
        for (index, service) in d.services.iter().enumerate() {
            if service.addresses.is_empty() {
                let message = format!("the service `{}` has no address", service.name);
                let at = format!("services[{index}].addresses");
                self.error(&at, "empty", message, "add one, such as 10.79.0.10:80");
            }
            for (n, address) in service.addresses.iter().enumerate() {
                let at = format!("services[{index}].addresses[{n}]");
                let ip = address.ip();
                if address.port() == 0 {
                    let message = "nothing listens on port 0".to_owned();
                    self.error(&at, "port-zero", message, "write the port of the service");
                }
                match d.egress.networks.iter().find(|network| network.is_host(ip)) {
                    None => {
                        let message = format!("{ip} is no host of the egress's networks");
                        let mend =
                            "write an address from `egress.networks`, or add its network there";
                        self.error(&at, "outside-network", message, mend);
                    }
                    Some(network) if network.host(1) == Some(ip) => {
                        let message = format!("{ip} is the egress's own address in {network}");
                        let mend = "the egress is the first host of its network: write another";
                        self.error(&at, "duplicate-address", message, mend);
                    }
                    Some(_) if !d.gateway.inner.iter().any(|i| i.is_ipv4() == ip.is_ipv4()) => {
                        let version = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                        let message = format!(
                            "the gateway has no inner {version} address to reach {ip} from"
                        );
                        let mend = format!("add an {version} network to `gateway.inner`");
                        self.error(&at, "no-inner-network", message, mend);
                    }
                    Some(_) => {}
                }
                if let Some(other) = seen.insert(*address, &service.name) {
                    let message =
                        format!("{address} is an address of the service `{other}` already");
                    self.error(
                        &at,
                        "duplicate-address",
                        message,
                        "each address serves one service",
                    );
                }
            }
        }
    }

    fn client_addresses(&mut self) {
        let d = self.domain;
        let mut seen: BTreeMap<IpAddr, String> = BTreeMap::new();
        for listener in &d.gateway.listeners {
            seen.insert(listener.address.ip(), format!("the listener `{}`", listener.name));
        }
        let mut identities = BTreeMap::new();
        for (index, client) in d.clients.iter().enumerate() {
            let identity = client.identity_in(&d.domain).to_ascii_lowercase();
            if let Some(other) = identities.insert(identity.clone(), &client.name) {
                let at = format!("clients[{index}]");
                let message =
                    format!("`{identity}` is the identity of the client `{other}` already");
                self.error(&at, "duplicate-identity", message, "one identity is one client");
            }
            let Some(address) = client.address else { continue };
            let at = format!("clients[{index}].address");
            if !d.gateway.outside.iter().any(|network| network.is_host(address)) {
                let message = format!("{address} is no host of the networks outside");
                let mend = "write an address from `gateway.outside`, or add its network there";
                self.error(&at, "outside-network", message, mend);
            }
            let name = format!("the client `{}`", client.name);
            if let Some(other) = seen.insert(address, name) {
                let message = format!("{address} is the address of {other} already");
                self.error(&at, "duplicate-address", message, "write another");
            }
        }
    }
}
