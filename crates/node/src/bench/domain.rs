//! The domain of one row: a client, a chain of functions of one kind, the built-in site.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use ringmail_model::PathVersion;
use ringmail_model::domain::{LinkDriver, LinkKind, Profile};
use ringmail_model::pathset::{Issue, PathSet};

use super::plan::Kind;
use crate::assemble::DomainFile;
use crate::site::FORBIDDEN;

/// The client's name.
pub(super) const CLIENT: &str = "client";

/// The gateway's name.
pub(super) const GATEWAY: &str = "gateway";

/// The only path's name.
pub(super) const PATH: &str = "all";

/// The links of a domain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) kind: LinkKind,
    pub(super) driver: LinkDriver,
    pub(super) mtu: u16,
    pub(super) profile: Profile,
}

/// A domain of `functions` functions of this kind on such links.
///
/// # Errors
/// When the MTU leaves no room, which `domain check` would say.
pub(super) fn of(kind: Kind, functions: usize, links: Links) -> Result<DomainFile> {
    let mtu = links.mtu;
    let link = match links.kind {
        LinkKind::Udp => "udp",
        LinkKind::Ethernet => "ethernet",
    };
    let link = match links.driver {
        LinkDriver::Packet => link.to_owned(),
        LinkDriver::Xdp => format!("{link}, driver: xdp"),
    };
    let mut text = format!(
        "domain: {}.bench.example\n\
         profile: {profile}\n\
         suite: aes-128-gcm\n\
         links: {{network: 10.77.0.0/24, kind: {link}, mtu: {mtu}, jumbo: {jumbo}}}\n\
         gateway:\n  outside: [192.0.2.0/24]\n  inner: [10.78.0.0/24]\n  listeners:\n    \
         - {{name: web, address: '192.0.2.1:443', certificates: [{{server_names: [www.bench.example]}}]}}\n\
         egress: {{networks: [10.79.0.0/24]}}\n\
         clients: [{{name: {CLIENT}, address: 192.0.2.11}}]\n\
         services:\n  - {{name: www, addresses: ['10.79.0.10:80'], server_names: [www.bench.example], site: {{}}}}\n",
        kind.name(),
        profile = links.profile.name(),
        jumbo = mtu > 1500,
    );
    text.push_str("functions:\n");
    for index in 1..=functions {
        match kind {
            Kind::Baseline | Kind::Forward => {
                writeln!(text, "  - {{name: sf{index}, kind: forward, intrusive: false}}")?;
            }
            Kind::Attached => writeln!(
                text,
                "  - {{name: sf{index}, kind: attached, intrusive: true, attached: {{}}}}"
            )?,
            Kind::Intrusive => writeln!(
                text,
                "  - {{name: sf{index}, kind: dpi, intrusive: true, \
                 dpi: {{rules: [{{name: forbidden, bytes: {FORBIDDEN}, action: reset}}]}}}}"
            )?,
        }
    }
    let hops: Vec<String> = (1..=functions).map(|index| format!("sf{index}")).collect();
    writeln!(text, "paths: [{{name: {PATH}, hops: [{}], service: www}}]", hops.join(", "))?;
    writeln!(text, "rules: [{{name: everyone, when: {{clients: [{CLIENT}]}}, path: {PATH}}}]")?;
    let loaded = ringmail_model::check::load(&text, "bench domain")?;
    Ok(DomainFile { domain: loaded.domain, text, folder: ".".into() })
}

/// The same domain with more of a file behind it.
///
/// # Errors
/// When that is wrong.
pub(super) fn with(file: DomainFile, more: &str) -> Result<DomainFile> {
    let text = file.text + more;
    let loaded = ringmail_model::check::load(&text, "bench domain")?;
    Ok(DomainFile { domain: loaded.domain, text, folder: file.folder })
}

/// The inner MTU of such a domain, as its path set has it.
pub(super) fn inner_mtu(kind: Kind, functions: usize, links: Links) -> Result<u16> {
    let (version, not_before_unix_s, not_after_unix_s) = (PathVersion(1), 0, 1);
    let issue = Issue { version, not_before_unix_s, not_after_unix_s };
    let set = PathSet::compile(&of(kind, functions, links)?.domain, issue)?;
    set.inner_mtu().context("the domain has no path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_domain() {
        for kind in [Kind::Forward, Kind::Intrusive, Kind::Attached] {
            for functions in 1..=6 {
                for (link, driver, mtu) in [
                    (LinkKind::Udp, LinkDriver::Packet, 1000),
                    (LinkKind::Udp, LinkDriver::Packet, 9000),
                    (LinkKind::Ethernet, LinkDriver::Packet, 1500),
                    (LinkKind::Ethernet, LinkDriver::Xdp, 1500),
                ] {
                    for profile in Profile::ALL {
                        let links = Links { kind: link, driver, mtu, profile };
                        let domain = of(kind, functions, links);
                        let said = || format!("{kind:?} {functions} {mtu} {profile:?}");
                        assert!(domain.is_ok(), "{}: {:#}", said(), domain.unwrap_err());
                    }
                }
            }
        }
    }
}
