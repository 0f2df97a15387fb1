//! Rules of which routing table is asked (ip-rule(8)): those of one owner, made as they are wanted and no other's touched.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteProtocol};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{IpVersion, RouteMessageBuilder};

use super::Cidr;
use super::netlink::{Netlink, network, to_io};

/// Whose the rules are (`ip -d rule` shows it).
const OWNER: RouteProtocol = RouteProtocol::Other(114);

/// The table that is always there.
pub const MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// Which table is asked about some packets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Lower ones first.
    pub priority: u32,
    /// Where packets go; it says of which IP version they are.
    pub to: Cidr,
    /// Where they come from.
    pub from: Option<Cidr>,
    /// The interface that they come by; `lo` for those that begin here.
    pub by: Option<String>,
    /// The table.
    pub table: u32,
    /// The protocol behind the IP header.
    pub protocol: Option<u8>,
}

impl Netlink {
    /// Has these rules and no others of this owner.
    ///
    /// # Errors
    /// The kernel has no rules, or the right is missing.
    pub async fn set_rules(&self, wanted: &BTreeSet<Rule>) -> io::Result<()> {
        let mut there = BTreeSet::new();
        for version in [IpVersion::V4, IpVersion::V6] {
            let mut found = self.handle().rule().get(version).execute();
            let mut gone = Vec::new();
            while let Some(message) = found.try_next().await.map_err(to_io)? {
                if !message.attributes.contains(&RuleAttribute::Protocol(OWNER)) {
                    continue;
                }
                match read(&message).filter(|rule| wanted.contains(rule)) {
                    Some(rule) => drop(there.insert(rule)),
                    None => gone.push(message),
                }
            }
            for message in gone {
                self.handle().rule().del(message).execute().await.map_err(to_io)?;
            }
        }
        for rule in wanted.difference(&there) {
            let mut request = self.handle().rule().add();
            *request.message_mut() = written(rule);
            request.execute().await.map_err(to_io)?;
        }
        Ok(())
    }

    /// Makes an interface where everything goes that a table is asked about.
    ///
    /// # Errors
    /// The interface is missing, or the kernel lacks the IP version.
    pub async fn add_default(&self, ipv4: bool, interface: &str, table: u32) -> io::Result<()> {
        let any = if ipv4 { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let oif = self.link(interface).await?.header.index;
        let message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(any, 0)
            .map_err(io::Error::other)?
            .output_interface(oif)
            .table_id(table)
            .build();
        self.handle().route().add(message).execute().await.map_err(to_io)
    }

    /// The interface that leads to an address, if any does.
    pub async fn towards(&self, address: IpAddr) -> Option<String> {
        let wanted = RouteMessageBuilder::<IpAddr>::new();
        let wanted = wanted.destination_prefix(address, Cidr::host(address).prefix_len).ok()?;
        let mut found = self.handle().route().get(wanted.build()).execute();
        let route = found.try_next().await.ok()??;
        let index = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
        self.name(index?).await
    }
}

fn written(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    let Cidr { prefix_len, .. } = rule.to;
    let ipv4 = rule.to.address.is_ipv4();
    message.header.family = if ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.action = RuleAction::ToTable;
    message.header.dst_len = prefix_len;
    let said = &mut message.attributes;
    said.push(RuleAttribute::Destination(network(rule.to)));
    if let Some(from) = rule.from {
        message.header.src_len = from.prefix_len;
        said.push(RuleAttribute::Source(network(from)));
    }
    said.extend(rule.by.clone().map(RuleAttribute::Iifname));
    said.extend(rule.protocol.map(|number| RuleAttribute::IpProtocol(i32::from(number).into())));
    said.push(RuleAttribute::Priority(rule.priority));
    said.push(RuleAttribute::Table(rule.table));
    said.push(RuleAttribute::Protocol(OWNER));
    message
}

/// A rule as the kernel tells it; `None` where it says what none of ours does.
fn read(message: &RuleMessage) -> Option<Rule> {
    let (mut to, mut from, mut by, mut protocol) = (None, None, None, None);
    let (mut priority, mut table) = (0, u32::from(message.header.table));
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Destination(address) => {
                to = Cidr::new(*address, message.header.dst_len).ok();
            }
            RuleAttribute::Source(address) => {
                from = Cidr::new(*address, message.header.src_len).ok();
            }
            RuleAttribute::Iifname(name) => by = Some(name.clone()),
            RuleAttribute::IpProtocol(number) => {
                protocol = u8::try_from(i32::from(*number)).ok();
            }
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    Some(Rule { priority, to: to?, from, by, table, protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let cidr = |text: &str| text.parse::<Cidr>().expect("a network");
        for rule in [
            Rule {
                priority: 7,
                to: cidr("10.78.0.0/24"),
                from: Some(cidr("10.79.0.10/32")),
                by: Some("svc0".to_owned()),
                table: MAIN,
                protocol: None,
            },
            Rule {
                priority: 9,
                to: cidr("fd00:78::/64"),
                from: None,
                by: None,
                table: 29_293,
                protocol: Some(58),
            },
        ] {
            assert_eq!(read(&written(&rule)).as_ref(), Some(&rule));
        }
    }
}
