//! Kernel settings of a network namespace (Documentation/networking/ip-sysctl.rst of the kernel).

use std::fs;
use std::io;
use std::path::PathBuf;

/// One setting, e.g. `net.ipv4.ip_forward` = `1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// With dots.
    pub key: String,
    /// As it is written.
    pub value: String,
    /// Whether the namespace is useless without it. Others are left as they are where the kernel lacks them or keeps
    /// them for the first namespace.
    pub needed: bool,
}

impl Sysctl {
    /// A setting without which the namespace is useless.
    pub fn needed(key: impl Into<String>, value: impl Into<String>) -> Sysctl {
        Sysctl { key: key.into(), value: value.into(), needed: true }
    }

    /// A setting that is good to have.
    pub fn wished(key: impl Into<String>, value: impl Into<String>) -> Sysctl {
        Sysctl { key: key.into(), value: value.into(), needed: false }
    }

    /// What every namespace of a domain gets: replies may come back another way (return paths differ), and an IPv6
    /// address is usable at once.
    pub fn basic() -> Vec<Sysctl> {
        let mut all = Vec::new();
        for scope in ["all", "default"] {
            all.push(Sysctl::needed(format!("net.ipv4.conf.{scope}.rp_filter"), "0"));
            all.push(Sysctl::wished(format!("net.ipv4.conf.{scope}.send_redirects"), "0"));
            all.push(Sysctl::wished(format!("net.ipv4.conf.{scope}.accept_redirects"), "0"));
            all.push(Sysctl::wished(format!("net.ipv6.conf.{scope}.accept_dad"), "0"));
            all.push(Sysctl::wished(format!("net.ipv6.conf.{scope}.accept_ra"), "0"));
            all.push(Sysctl::wished(format!("net.ipv6.conf.{scope}.router_solicitations"), "0"));
        }
        all.push(Sysctl::wished("net.ipv4.ping_group_range", "0 0"));
        all
    }

    /// A namespace whose kernel passes packets on.
    pub fn forwarding() -> Vec<Sysctl> {
        vec![
            Sysctl::needed("net.ipv4.ip_forward", "1"),
            Sysctl::wished("net.ipv6.conf.all.forwarding", "1"),
        ]
    }

    /// An interface whose packets have addresses of its own side (RFC 3704, strict), whatever other interfaces are asked.
    pub fn own_addresses(interface: &str) -> Vec<Sysctl> {
        vec![Sysctl::needed(format!("net.ipv4.conf.{interface}.rp_filter"), "1")]
    }

    /// An interface from which the kernel passes nothing on, whatever it does for others.
    pub fn not_from(interface: &str) -> Vec<Sysctl> {
        vec![
            Sysctl::needed(format!("net.ipv4.conf.{interface}.forwarding"), "0"),
            Sysctl::wished(format!("net.ipv6.conf.{interface}.disable_ipv6"), "1"),
        ]
    }

    /// A namespace whose bridges pass frames on without asking the rules for IP packets, which there are none of.
    pub fn bridging() -> Vec<Sysctl> {
        ["iptables", "ip6tables", "arptables"]
            .map(|rules| Sysctl::wished(format!("net.bridge.bridge-nf-call-{rules}"), "0"))
            .into()
    }

    /// TCP buffers that may grow to this size, for a namespace where a TCP connection ends.
    pub fn tcp_buffers(most_bytes: u32) -> Vec<Sysctl> {
        vec![
            Sysctl::wished("net.ipv4.tcp_rmem", format!("4096 131072 {most_bytes}")),
            Sysctl::wished("net.ipv4.tcp_wmem", format!("4096 65536 {most_bytes}")),
        ]
    }

    /// Writes it. The thread's own network namespace decides which copy is meant.
    pub(super) fn write(&self) -> io::Result<()> {
        match fs::write(self.path(), &self.value) {
            Err(_) if !self.needed => Ok(()),
            other => other,
        }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/sys/{}", self.key.replace('.', "/")))
    }
}
