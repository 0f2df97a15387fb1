//! What one element has to know of the path set: its neighbours, and each path as it runs here.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::once;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result};
use ringmail_dataplane::labels::LabelStack;
use ringmail_dataplane::nsh::{NshConfig, ToldConfig};
use ringmail_dataplane::paths::{Destination, Leaving, PathConfig, Tunnel};
use ringmail_dataplane::{Form, Neighbour};
use ringmail_model::domain::{self, Domain};
use ringmail_model::integrity::Integrity;
use ringmail_model::pathset::{Direction, Element, LinkSet, Path, PathSet, Reader};
use ringmail_model::{ElementId, Label, PathId};
use ringmail_packet::ethernet::Address;

/// The neighbour that an element is to every other: its id.
pub(crate) fn neighbour(element: ElementId) -> Neighbour {
    Neighbour(element.0)
}

/// Where each neighbour of `element` receives frames.
pub(crate) fn neighbours(set: &PathSet, element: ElementId) -> Vec<(Neighbour, SocketAddrV4)> {
    let others = set.elements.iter().filter(|other| other.id != element);
    others.map(|other| (neighbour(other.id), other.link)).collect()
}

/// The MAC address of each neighbour of `element`, where links are Ethernet.
pub(crate) fn stations(set: &PathSet, element: ElementId) -> Vec<(Neighbour, Address)> {
    let others = set.elements.iter().filter(|other| other.id != element);
    others.filter_map(|other| Some((neighbour(other.id), Address(other.mac?.bytes())))).collect()
}

/// Every path that `element` stands on, as it runs there.
///
/// # Errors
/// When the path set contradicts itself, which a verified one does not.
pub(crate) fn paths(set: &PathSet, domain: &Domain, element: ElementId) -> Result<Vec<PathConfig>> {
    let mut configs = Vec::new();
    for path in &set.paths {
        let positions = 0..=path.hops.len() + 1;
        if let Some(position) = positions.into_iter().find(|p| path.element_at(*p) == Some(element))
        {
            let config = config(set, domain, path, position);
            configs.push(config.with_context(|| format!("path `{}`", path.name))?);
        }
    }
    Ok(configs)
}

/// The way back of each return path at `element`, as long as several versions of the domain run side by side: where more
/// than one forward path names it, only the flow can tell.
///
/// # Errors
/// As for [`paths`].
pub(crate) fn returns<'a>(
    live: impl Iterator<Item = (&'a PathSet, &'a Domain)> + Clone,
    element: ElementId,
) -> Result<Vec<PathConfig>> {
    let mut forward: BTreeMap<PathId, BTreeSet<PathId>> = BTreeMap::new();
    for path in live.clone().flat_map(|(set, _)| &set.paths) {
        if let Some(back) = path.return_path {
            forward.entry(back).or_default().insert(path.id);
        }
    }
    let mut configs: BTreeMap<PathId, PathConfig> = BTreeMap::new();
    for (set, domain) in live {
        for mut config in paths(set, domain, element)? {
            let Some(names) = forward.get(&config.id) else { continue };
            config.return_path = names.first().copied().filter(|_| names.len() == 1);
            configs.entry(config.id).or_insert(config);
        }
    }
    Ok(configs.into_values().collect())
}

fn config(set: &PathSet, domain: &Domain, path: &Path, position: usize) -> Result<PathConfig> {
    let previous = position.checked_sub(1).and_then(|before| path.element_at(before));
    Ok(PathConfig {
        id: path.id,
        direction: path.direction,
        previous: previous.map(neighbour),
        leaving: leaving(set, path, position)?,
        arriving: match position.checked_sub(1) {
            Some(before) => stack(&set.labels_on_wire(path, before))?,
            None => LabelStack::NONE,
        },
        nsh: header(set, domain, path, position),
        return_path: opposite(set, path),
        mode: set.esp_mode,
        inner_mtu_bytes: path.inner_mtu,
        destinations: destinations(domain, path)?,
    })
}

fn leaving(set: &PathSet, path: &Path, position: usize) -> Result<Option<Leaving>> {
    let Some(next) = path.element_at(position + 1) else { return Ok(None) };
    let segment = path.segments.iter().find(|segment| usize::from(segment.from) == position);
    let tunnel = segment.map(|segment| {
        Ok::<_, anyhow::Error>(Tunnel {
            source: *element(set, segment.sender)?.link.ip(),
            destination: *element(set, segment.receiver)?.link.ip(),
        })
    });
    let labels = stack(&set.labels_on_wire(path, position))?;
    Ok(Some(Leaving { next: neighbour(next), labels, tunnel: tunnel.transpose()? }))
}

/// Labels as they stand on the wire, which may be none.
fn stack(labels: &[Label]) -> Result<LabelStack> {
    if labels.is_empty() {
        return Ok(LabelStack::NONE);
    }
    Ok(LabelStack::new(labels)?)
}

/// The path's Network Service Header at this position.
fn header(set: &PathSet, domain: &Domain, path: &Path, position: usize) -> Option<NshConfig> {
    let hops = (1u8..).zip(&path.hops);
    let granted = hops.filter(|(_, hop)| hop.originates).map(|(at, hop)| (hop.element, at));
    let layout = set.layout(path)?;
    let told = path.readers().into_iter().zip(layout.metadata()).filter_map(|(reader, value)| {
        let Reader { position, writer, kinds } = reader;
        let writer_element = path.element_at(writer.into())?;
        Some(ToldConfig { reader: position, writer, writer_element, kinds, value })
    });
    Some(NshConfig {
        digest: path.digest,
        told: told.collect(),
        layout,
        position: position as u8,
        seals: once(true).chain(path.hops.iter().map(|hop| hop.intrusive)).collect(),
        origins: once((path.origin, 0)).chain(granted).collect(),
        enforce: true,
        summaries: domain.proofs.summaries,
        timestamp_window: match set.integrity {
            Integrity::Segment => Duration::ZERO,
            Integrity::Rfc9145 { window_ms, .. } => Duration::from_millis(window_ms.into()),
        },
    })
}

/// How the frames of an element begin.
pub(crate) fn form(set: &PathSet, element: &Element) -> Form {
    match (set.profile, set.link) {
        (domain::Profile::Mpls | domain::Profile::MplsNsh, _) => Form::Labels(element.label),
        (domain::Profile::Nsh, LinkSet::Udp) => Form::Sff,
        (domain::Profile::Nsh, LinkSet::Ethernet { .. }) => Form::Nsh,
    }
}

/// The path that packets of the other direction take: for a return path, the one forward path that names it, where
/// there is only one.
fn opposite(set: &PathSet, path: &Path) -> Option<PathId> {
    match path.direction {
        Direction::Forward => path.return_path,
        Direction::Return => {
            let mut forward = set.paths.iter().filter(|other| other.return_path == Some(path.id));
            let only = forward.next()?;
            forward.next().is_none().then_some(only.id)
        }
    }
}

fn destinations(domain: &Domain, path: &Path) -> Result<Vec<Destination>> {
    let Some(name) = &path.service else { return Ok(Vec::new()) };
    let service = domain.services.iter().find(|service| service.name == *name);
    let service = service.with_context(|| format!("service `{name}` is not in the domain file"))?;
    let host =
        |address: &std::net::SocketAddr| Destination::host(address.ip(), Some(address.port()));
    let networks = service.networks.iter().map(|&network| Destination { network, port: None });
    Ok(service.addresses.iter().filter_map(host).chain(networks).collect())
}

fn element(set: &PathSet, id: ElementId) -> Result<&Element> {
    set.element(id).with_context(|| format!("element {id} is not in the path set"))
}

#[cfg(test)]
mod tests {
    use ringmail_model::PathVersion;
    use ringmail_model::pathset::Issue;

    use super::*;

    fn campus() -> (Domain, PathSet) {
        let file = crate::demo::campus().expect("the built-in file");
        let issue =
            Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: u64::MAX };
        let set = PathSet::compile(&file.domain, issue).expect("a path set");
        (file.domain, set)
    }

    fn config(name: &str, path: &str) -> PathConfig {
        let (domain, set) = campus();
        let element = set.element_named(name).expect("an element").id;
        let id = set.path_named(path).expect("a path").id;
        let all = paths(&set, &domain, element).expect("paths");
        all.into_iter().find(|config| config.id == id).expect("the element is on the path")
    }

    fn id(name: &str) -> Neighbour {
        neighbour(campus().1.element_named(name).expect("an element").id)
    }

    #[test]
    fn a_path_begins_at_the_gateway_and_ends_at_the_egress() {
        let (first, last) = (config("gateway", "inspected"), config("egress", "inspected"));
        assert_eq!(first.previous, None);
        assert_eq!(first.leaving.map(|leaving| leaving.next), Some(id("sf1")));
        assert!(first.destinations.iter().all(|to| to.port == Some(80)));
        assert_eq!(last.previous, Some(id("sf2")));
        assert!(last.leaving.is_none());
        assert_eq!(last.return_path, Some(config("sf2", "inspected.return").id));
    }

    #[test]
    fn the_next_hop_is_the_next_label_and_a_segment_spans_hops_that_do_not_open() {
        let (_, set) = campus();
        let address = |name: &str| *set.element_named(name).expect("an element").link.ip();
        let at_gateway = config("gateway", "inspected").leaving.expect("it goes on");
        let at_sf1 = config("sf1", "inspected").leaving.expect("it goes on");
        assert_eq!((at_gateway.next, at_sf1.next), (id("sf1"), id("sf2")));
        assert_eq!((at_gateway.labels.len_bytes(), at_sf1.labels.len_bytes()), (16, 12));
        let tunnel = Tunnel { source: address("gateway"), destination: address("sf2") };
        assert!(format!("{at_gateway:?}").contains(&format!("{tunnel:?}")));
        assert!(!format!("{at_sf1:?}").contains("Tunnel {"));
    }
}
