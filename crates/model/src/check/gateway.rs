//! Listeners, certificates and the limits towards clients.

use std::collections::BTreeMap;

use super::Checker;
use crate::domain::{Listener, ListenerKind};
use crate::limits;
use crate::names::HostPattern;

impl Checker<'_> {
    pub(super) fn gateway(&mut self) {
        let gateway = &self.domain.gateway;
        if gateway.listeners.is_empty() {
            let message = "the gateway has no listener".to_owned();
            let mend = "add one with `name`, `address` and `certificates`";
            self.error("gateway.listeners", "empty", message, mend);
        }
        let mut addresses = BTreeMap::new();
        for (index, listener) in gateway.listeners.iter().enumerate() {
            let at = format!("gateway.listeners[{index}]");
            if let Some(other) = addresses.insert(listener.address, &listener.name) {
                let message = format!(
                    "{} is the address of the listener `{other}` already",
                    listener.address
                );
                self.error(&format!("{at}.address"), "duplicate-address", message, "write another");
            }
            self.listener_address(&at, listener);
            self.certificates(&at, listener);
        }
        self.service_names();
        self.tls_listeners();
        self.gateway_limits();
    }

    fn listener_address(&mut self, at: &str, listener: &Listener) {
        let at = format!("{at}.address");
        let ip = listener.address.ip();
        if listener.address.port() == 0 {
            let message = "clients cannot connect to port 0".to_owned();
            self.error(&at, "port-zero", message, "write the port, such as 443");
        }
        if !self.domain.gateway.outside.iter().any(|network| network.is_host(ip)) {
            let message = format!("{ip} is no host of the networks outside");
            let mend = "write an address from `gateway.outside`, or add its network there";
            self.error(&at, "outside-network", message, mend);
        }
    }

    fn certificates(&mut self, at: &str, listener: &Listener) {
        if listener.kind == ListenerKind::Wireguard {
            return;
        }
        if listener.certificates.is_empty() {
            let message = format!("the listener `{}` has no certificate", listener.name);
            let mend =
                "add one with `server_names`; without `files` the embedded authority issues it";
            self.error(&format!("{at}.certificates"), "empty", message, mend);
        }
        let mut seen: BTreeMap<&HostPattern, usize> = BTreeMap::new();
        for (index, certificate) in listener.certificates.iter().enumerate() {
            let at = format!("{at}.certificates[{index}].server_names");
            if certificate.server_names.is_empty() {
                let message = "a certificate without server names is never shown".to_owned();
                self.error(&at, "empty", message, "add the names that clients ask for");
            }
            for (n, name) in certificate.server_names.iter().enumerate() {
                if let Some(other) = seen.insert(name, index) {
                    let message =
                        format!("`{name}` has certificate {other} of this listener already");
                    let mend = "one server name has one certificate: delete one of the two";
                    self.error(&format!("{at}[{n}]"), "duplicate-server-name", message, mend);
                }
            }
        }
    }

    /// A service that no certificate names cannot be asked for: every request would get 421.
    fn service_names(&mut self) {
        let d = self.domain;
        let certificates = d.gateway.listeners.iter().flat_map(|l| &l.certificates);
        let shown: Vec<&HostPattern> = certificates.flat_map(|c| &c.server_names).collect();
        for (index, service) in d.services.iter().enumerate() {
            let at = format!("services[{index}].server_names");
            if service.server_names.is_empty() && service.networks.is_empty() {
                let message = format!("the service `{}` answers to no host", service.name);
                self.error(&at, "empty", message, "add the hosts that clients ask for");
            }
            for (n, name) in service.server_names.iter().enumerate() {
                if !shown.iter().any(|pattern| pattern.covers(name)) {
                    let message = format!("no listener has a certificate for `{name}`");
                    let mend = format!("add `{name}` to the `server_names` of a certificate");
                    self.warning(&format!("{at}[{n}]"), "no-certificate", message, mend);
                }
            }
        }
    }

    /// A listener of kind `tls` whose protocols no rule names lets nothing through.
    fn tls_listeners(&mut self) {
        let d = self.domain;
        let named = d.rules.iter().filter_map(|rule| rule.when.protocols.as_ref()).flatten();
        if named.clone().any(|protocol| !protocol.is_of_requests()) {
            return;
        }
        for (index, listener) in d.gateway.listeners.iter().enumerate() {
            if listener.kind == ListenerKind::Tls {
                let message = format!(
                    "no rule names a protocol for the listener `{}`: it lets nothing through",
                    listener.name
                );
                let mend = "add a rule such as `when: {protocols: [ssh]}`";
                self.warning(
                    &format!("gateway.listeners[{index}].kind"),
                    "no-rules",
                    message,
                    mend,
                );
            }
        }
    }

    fn gateway_limits(&mut self) {
        let l = &self.domain.gateway.limits;
        let at = |key: &str| format!("gateway.limits.{key}");
        self.range(&at("header_bytes"), l.header_bytes, 1 << 10, 1 << 20);
        self.range(&at("connections"), l.connections, 1, 1 << 20);
        self.range(&at("connections_a_client"), l.connections_a_client, 1, 1 << 20);
        self.range(&at("requests_a_client"), l.requests_a_client, 1, 1 << 20);
        self.range(&at("handshakes"), l.handshakes, 1, 1 << 20);
        self.range(&at("handshakes_an_address"), l.handshakes_an_address, 1, 1 << 20);
        self.range(&at("streams_a_connection"), l.streams_a_connection, 1, 1 << 16);
        for (key, value) in [
            ("handshake_timeout_ms", l.handshake_timeout_ms),
            ("header_timeout_ms", l.header_timeout_ms),
            ("idle_timeout_ms", l.idle_timeout_ms),
            ("tunnel_idle_timeout_ms", l.tunnel_idle_timeout_ms),
            ("first_byte_timeout_ms", l.first_byte_timeout_ms),
            ("connect_timeout_ms", l.connect_timeout_ms),
            ("pool_idle_timeout_ms", l.pool_idle_timeout_ms),
        ] {
            self.range(&at(key), value, 10, 86_400_000);
        }
        self.range(&at("handshakes_a_second"), l.handshakes_a_second, 1, 1 << 20);
        self.range(&at("flows_a_client"), l.flows_a_client, 1, 1 << 20);
        self.range(&at("pool_idle_connections"), l.pool_idle_connections, 0, 1 << 16);
        let most = limits::BODY_PREFIX_BYTES as u32;
        self.range(&at("body_prefix_bytes"), l.body_prefix_bytes, 0, most);
    }
}
