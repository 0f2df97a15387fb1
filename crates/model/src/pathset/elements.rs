//! The elements of a domain: numbers, names, labels and addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use super::compile::{CompileError, by_name};
use super::{Element, Numbering, Role};
use crate::domain::{Domain, LinkKind, STANDBY};
use crate::ids::{ElementId, Label};
use crate::limits;
use crate::mac::MacAddress;
use crate::names::Name;

/// The first label given out by itself; those below are left to operators.
const FIRST_LABEL: u32 = 1000;

/// What the file says of an element.
struct Wanted {
    name: String,
    role: Role,
    label: Option<Label>,
    address: Option<Ipv4Addr>,
    workers: Option<u16>,
}

pub(super) fn elements(domain: &Domain, before: &Numbering) -> Result<Vec<Element>, CompileError> {
    let wanted = wanted(domain)?;
    if wanted.len() > limits::ELEMENTS {
        return Err(CompileError::TooMany { what: "elements", most: limits::ELEMENTS });
    }
    let mut labels = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for element in &wanted {
        if let Some(label) = element.label.filter(|l| !labels.insert(*l)) {
            return Err(CompileError::DuplicateLabel(label));
        }
        if let Some(address) = element.address.filter(|a| !addresses.insert(*a)) {
            return Err(CompileError::DuplicateAddress(address));
        }
    }
    let (pinned_labels, pinned_addresses) = (labels.clone(), addresses.clone());
    // What an element had before it keeps, unless the file says otherwise now.
    let kept = |wanted: &Wanted| before.element(&wanted.name).filter(|e| e.role == wanted.role);
    for held in before.elements() {
        labels.insert(held.label);
        addresses.insert(*held.link.ip());
    }
    let ids: BTreeSet<ElementId> = before.elements().map(|element| element.id).collect();
    let mut free_ids = (0..=u16::MAX).map(ElementId).filter(|id| !ids.contains(id));
    let mut free_labels = (FIRST_LABEL..).filter_map(Label::new).filter(|l| !labels.contains(l));
    let network = domain.links.network;
    let mut free_addresses = (1u32..)
        .map_while(|index| match network.host(index) {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        })
        .filter(|address| !addresses.contains(address));
    let mut elements = Vec::with_capacity(wanted.len());
    for element in wanted {
        let kept = kept(&element);
        let id = kept.map(|kept| kept.id).or_else(|| free_ids.next());
        let id = id.ok_or(CompileError::TooMany { what: "elements", most: limits::ELEMENTS })?;
        let kept_label = kept.map(|kept| kept.label).filter(|l| !pinned_labels.contains(l));
        let label = element.label.or(kept_label).or_else(|| free_labels.next());
        let label =
            label.ok_or(CompileError::TooMany { what: "labels", most: limits::ELEMENTS })?;
        let kept_address = kept.map(|kept| *kept.link.ip()).filter(|address| {
            !pinned_addresses.contains(address) && network.contains((*address).into())
        });
        let address = element.address.or(kept_address).or_else(|| free_addresses.next());
        let address = address.ok_or_else(|| CompileError::NoAddress(element.name.clone()))?;
        elements.push(Element {
            id,
            role: element.role,
            spiffe_id: domain.domain.element_id(&element.name),
            mac: mac(domain, &element.name, address),
            name: element.name,
            link: SocketAddrV4::new(address, domain.links.udp_port),
            control: SocketAddrV4::new(address, domain.links.control_port),
            label,
            workers: element.workers.unwrap_or(domain.workers),
        });
    }
    elements.sort_by_key(|element| element.id);
    Ok(elements)
}

/// The MAC address of an element, where links are Ethernet: the file's, or one made of the link address.
fn mac(domain: &Domain, name: &str, address: Ipv4Addr) -> Option<MacAddress> {
    let of_link = || MacAddress::of_link(address);
    let mac = || domain.links.macs.get(name).copied().unwrap_or_else(of_link);
    (domain.links.kind == LinkKind::Ethernet).then(mac)
}

/// The elements in the order of their ids.
fn wanted(domain: &Domain) -> Result<Vec<Wanted>, CompileError> {
    let gateway = Wanted {
        name: "gateway".to_owned(),
        role: Role::Gateway,
        label: domain.gateway.label,
        address: domain.gateway.address,
        workers: domain.gateway.workers,
    };
    let hops = by_name("function", &domain.functions, |f| &f.name)?.into_values().map(|f| Wanted {
        name: f.name.to_string(),
        role: Role::Hop,
        label: f.label,
        address: f.address,
        // What comes back from an attached function has to meet what knows its flow.
        workers: if f.attached.is_some() { Some(1) } else { f.workers },
    });
    let egress = |name| Wanted {
        name,
        role: Role::Egress,
        label: domain.egress.label,
        address: domain.egress.address,
        workers: domain.egress.workers,
    };
    let services = by_name("service", &domain.services, |s| &s.name)?;
    let egresses: Vec<Wanted> = if domain.egress.per_service {
        services
            .into_keys()
            .map(|name| Wanted { label: None, address: None, ..egress(egress_name(name)) })
            .collect()
    } else {
        vec![egress("egress".to_owned())]
    };
    let standby = domain.gateway.standby.iter().map(|standby| Wanted {
        name: STANDBY.to_owned(),
        role: Role::Gateway,
        label: standby.label,
        address: standby.address,
        workers: standby.workers,
    });
    // Last, so that a domain which gets one keeps its numbers.
    let all = std::iter::once(gateway).chain(hops).chain(egresses).chain(standby);
    let all: Vec<Wanted> = all.collect();
    let mut names = BTreeSet::new();
    for element in &all {
        if !names.insert(element.name.as_str()) {
            let name = element.name.clone();
            return Err(CompileError::DuplicateName { kind: "element", name });
        }
    }
    Ok(all)
}

impl Domain {
    /// The names of all elements, as far as they are different.
    pub(crate) fn element_names(&self) -> Vec<String> {
        wanted(self).unwrap_or_default().into_iter().map(|element| element.name).collect()
    }
}

/// The name of a service's own egress.
pub(crate) fn egress_name(service: &Name) -> String {
    format!("egress-{service}")
}
