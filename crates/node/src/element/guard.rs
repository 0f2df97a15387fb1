//! What the egress's machine may hand to a chain: packets with the address of a service, by the interface that leads there.
//!
//! A service is known by its address alone, and the kernel takes packets with any address by any interface. So one service
//! could answer in another's name, and whoever is on the links could. Rules of routing say which table is asked about packets
//! for the inner side: the main one, which leads into the TUN, or one that leads to a device where they are counted and
//! dropped. Both IP versions, no other program, and nothing that stays in force when the element is gone: the table is empty
//! then.
//!
//! ```text
//!  1  to INNER, from SERVICE, by the interface that leads to it   main
//!  1  to INNER, ICMP, by an interface that leads to services      main     routers on the way have addresses of their own
//!  1  to INNER, begun on this machine                             main
//!  2  to INNER                                                    refused
//!  2  to the links' network, by an interface that leads to services    refused
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use ringmail_dataplane::counters::Counters;
use ringmail_dataplane::{Batch, DropReason};
use ringmail_dataplane_io::Link;
use ringmail_dataplane_io::poll::{Poller, Waker};
use ringmail_dataplane_io::tun::{TunConfig, TunLink};
use ringmail_model::defence::{Defence, off};
use ringmail_model::domain::{AttachSettings, Domain};
use ringmail_model::net;
use ringmail_packet::ip::protocol;
use ringmail_packet::{ipv4, ipv6};
use tokio::task::JoinHandle;

use super::worker::BATCH_BYTES;
use crate::topology::{Cidr, MAIN, Netlink, Rule};

/// Where refused packets go, in a namespace that has no other of ours.
const DEVICE: &str = "rm-refused";

/// The table that leads there.
const TABLE: u32 = 29_293;

/// Of the rules that let in, and of those that refuse.
const PRIORITIES: [u32; 2] = [7_310, 7_311];

/// How often it is looked whether services are reached another way.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is known of a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Services, with the networks behind them.
    sources: BTreeSet<Cidr>,
    /// What is reached through chains.
    inner: BTreeSet<Cidr>,
    links: BTreeSet<Cidr>,
}

/// The guard of one egress.
pub(super) struct Guard {
    gate: Arc<Gate>,
    looking: JoinHandle<()>,
    counters: Arc<Counters>,
    end: Arc<AtomicBool>,
    waker: Waker,
}

/// The rules in force, and what they follow from.
struct Gate {
    netlink: Netlink,
    known: Mutex<Known>,
    set: tokio::sync::Mutex<BTreeSet<Rule>>,
}

impl Gate {
    /// Has the rules as they are to be now; one after the other, whoever asks.
    async fn apply(&self) -> std::io::Result<()> {
        let mut set = self.set.lock().await;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rules = wanted(&self.netlink, &known).await;
        if rules != *set {
            self.netlink.set_rules(&rules).await?;
            *set = rules;
        }
        Ok(())
    }
}

impl Guard {
    /// Guards the inner side of an egress, in the namespace of the calling thread.
    ///
    /// # Errors
    /// When the system refuses the device, or has no rules of routing.
    pub(super) async fn begin(domain: &Domain) -> Result<Guard> {
        let (counters, end) = (Arc::<Counters>::default(), Arc::<AtomicBool>::default());
        let known = Known::of(domain);
        let links = domain.links.network;
        let config = TunConfig::new(DEVICE, u32::from(u16::MAX), 0, 0);
        let mut device = TunLink::create(&config).context("no device for what is refused")?;
        let device = device.pop().context("no device for what is refused")?;
        let poller = Poller::new()?;
        let waker = poller.waker();
        let count = {
            let (counters, end) = (Arc::clone(&counters), Arc::clone(&end));
            move || read(device, &poller, links, &counters, &end)
        };
        std::thread::Builder::new().name("refused".to_owned()).spawn(count)?;
        let netlink = Netlink::open()?;
        let device = netlink.interface(DEVICE).await?;
        netlink.set_up(device).await?;
        let versions: BTreeSet<bool> = known.inner.iter().map(|to| to.address.is_ipv4()).collect();
        for ipv4 in versions {
            netlink.add_default(ipv4, DEVICE, TABLE).await.context("no route to the device")?;
        }
        // Those of an earlier life go.
        netlink.set_rules(&BTreeSet::new()).await.context("rules of routing")?;
        let (known, set) = (Mutex::new(known), tokio::sync::Mutex::default());
        let gate = Arc::new(Gate { netlink, known, set });
        gate.apply().await.context("rules of routing")?;
        let looking = tokio::spawn(look(Arc::clone(&gate)));
        Ok(Guard { gate, looking, counters, end, waker })
    }

    /// Lets in what another version of the domain says, too. What an earlier one said stays until the element ends.
    ///
    /// # Errors
    /// When the system refuses a rule.
    pub(super) async fn learn(&self, domain: &Domain) -> Result<()> {
        {
            let mut known = self.gate.known.lock().unwrap_or_else(PoisonError::into_inner);
            let Known { sources, inner, links } = Known::of(domain);
            known.sources.extend(sources);
            known.inner.extend(inner);
            known.links.extend(links);
        }
        self.gate.apply().await.context("rules of routing")
    }

    /// What was refused.
    pub(super) fn drops(&self) -> Vec<(DropReason, u64)> {
        self.counters.drops().collect()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.looking.abort();
        self.end.store(true, Relaxed);
        self.waker.wake();
    }
}

impl Known {
    fn of(domain: &Domain) -> Known {
        let cidr = |network: &net::Cidr| Cidr {
            address: network.network(),
            prefix_len: network.prefix_len(),
        };
        let services = domain.services.iter();
        let addresses = services.clone().flat_map(|service| &service.addresses);
        let attached = domain.functions.iter().filter_map(|function| function.attached.as_ref());
        let answered = attached.flat_map(AttachSettings::answered_at).map(Cidr::host);
        Known {
            sources: addresses
                .map(|address| Cidr::host(address.ip()))
                .chain(services.flat_map(|service| &service.networks).map(cidr))
                .collect(),
            inner: domain.inner_networks().map(cidr).chain(answered).collect(),
            links: BTreeSet::from([cidr(&domain.links.network)]),
        }
    }
}

/// Keeps the rules as they are to be while services move from one interface to another.
async fn look(gate: Arc<Gate>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(error) = gate.apply().await {
            tracing::warn!(%error, "rules of routing stay as they were");
        }
    }
}

/// The rules for where services are now. One that no route leads to is believed by any interface.
async fn wanted(netlink: &Netlink, known: &Known) -> BTreeSet<Rule> {
    if off(Defence::ServiceAddress) {
        return BTreeSet::new();
    }
    let mut places: BTreeMap<Cidr, Option<String>> = BTreeMap::new();
    for source in &known.sources {
        let host = match source.address {
            address if *source == Cidr::host(address) => address,
            IpAddr::V4(address) => IpAddr::V4((u32::from(address) + 1).into()),
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) + 1).into()),
        };
        places.insert(*source, netlink.towards(host).await);
    }
    rules(known, &places)
}

fn rules(known: &Known, places: &BTreeMap<Cidr, Option<String>>) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    let [lets, refuses] = PRIORITIES;
    let interfaces: BTreeSet<&String> = places.values().flatten().collect();
    for to in &known.inner {
        let ipv4 = to.address.is_ipv4();
        let icmp = if ipv4 { protocol::ICMP } else { protocol::ICMPV6 };
        let refused =
            Rule { priority: refuses, to: *to, from: None, by: None, table: TABLE, protocol: None };
        let rule = Rule { priority: lets, table: MAIN, ..refused.clone() };
        rules.insert(Rule { by: Some("lo".to_owned()), ..rule.clone() });
        for by in &interfaces {
            let by = Some((*by).clone());
            rules.insert(Rule { by, protocol: Some(icmp), ..rule.clone() });
        }
        for (from, by) in places.iter().filter(|(from, _)| from.address.is_ipv4() == ipv4) {
            rules.insert(Rule { from: Some(*from), by: by.clone(), ..rule.clone() });
        }
        rules.insert(refused);
    }
    for to in &known.links {
        for by in &interfaces {
            rules.insert(Rule {
                priority: refuses,
                to: *to,
                from: None,
                by: Some((*by).clone()),
                table: TABLE,
                protocol: None,
            });
        }
    }
    rules
}

/// Counts what comes to the device until it is told to end.
fn read(
    mut device: TunLink,
    poller: &Poller,
    links: net::Cidr,
    counters: &Counters,
    end: &AtomicBool,
) {
    let mut batch = Batch::with_capacity_bytes(BATCH_BYTES);
    let Some(Ok(())) = device.fd().map(|fd| poller.add(fd, 0)) else { return };
    while !end.load(Relaxed) && poller.wait(None).is_ok() {
        while device.recv(&mut batch).is_ok_and(|received| received > 0) {
            for index in 0..batch.len() {
                let Some(to) = destination(batch.packet(index)) else { continue };
                // The kernel's own reports of groups are nobody's.
                if to.is_multicast() {
                    continue;
                }
                counters.count_drop(match links.contains(to) {
                    true => DropReason::TowardsLinks,
                    false => DropReason::ForeignSource,
                });
            }
        }
    }
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::V4(ipv4::Packet::new_checked(packet).ok()?.dst_addr())),
        6 => Some(IpAddr::V6(ipv6::Packet::new_checked(packet).ok()?.dst_addr())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_speaks_by_its_own_interface_and_nobody_else_does() {
        let text = include_str!("../../../../examples/campus.yaml");
        let domain =
            ringmail_model::check::load(text, "campus.yaml").expect("a good domain").domain;
        let known = Known::of(&domain);
        let service: Cidr = "10.79.0.10/32".parse().expect("an address");
        let said = |by: Option<&str>| {
            let places = BTreeMap::from([(service, by.map(str::to_owned))]);
            let rules = rules(&known, &places);
            let shown = rules.iter().map(|rule| {
                let Rule { priority, to, from, by, table, protocol } = rule;
                let from = from.map_or_else(|| "all".to_owned(), |from| from.to_string());
                let by = by.as_deref().unwrap_or("any");
                format!("{priority}: {from} to {to} by {by} of {protocol:?} > {table}")
            });
            shown.collect::<Vec<_>>()
        };
        assert_eq!(
            said(Some("svc0")),
            [
                "7310: all to 10.78.0.0/24 by lo of None > 254",
                "7310: all to 10.78.0.0/24 by svc0 of Some(1) > 254",
                "7310: 10.79.0.10/32 to 10.78.0.0/24 by svc0 of None > 254",
                "7311: all to 10.77.0.0/24 by svc0 of None > 29293",
                "7311: all to 10.78.0.0/24 by any of None > 29293",
            ]
        );
        assert_eq!(
            said(None),
            [
                "7310: all to 10.78.0.0/24 by lo of None > 254",
                "7310: 10.79.0.10/32 to 10.78.0.0/24 by any of None > 254",
                "7311: all to 10.78.0.0/24 by any of None > 29293",
            ]
        );
    }
}
