//! What one element has to know of the path set: its neighbours, and each path as it runs here.

use std::net::SocketAddrV4;

use anyhow::{Context, Result};
use ringmail_dataplane::Neighbour;
use ringmail_dataplane::labels::LabelStack;
use ringmail_dataplane::paths::{Destination, Leaving, PathConfig, Tunnel};
use ringmail_model::ElementId;
use ringmail_model::domain::Domain;
use ringmail_model::pathset::{Direction, Element, Path, PathSet};

/// The neighbour that an element is to every other: its id.
pub(crate) fn neighbour(element: ElementId) -> Neighbour {
    Neighbour(element.0)
}

/// Where each neighbour of `element` receives frames.
pub(crate) fn neighbours(set: &PathSet, element: ElementId) -> Vec<(Neighbour, SocketAddrV4)> {
    let others = set.elements.iter().filter(|other| other.id != element);
    others.map(|other| (neighbour(other.id), other.link)).collect()
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

fn config(set: &PathSet, domain: &Domain, path: &Path, position: usize) -> Result<PathConfig> {
    let previous = position.checked_sub(1).and_then(|before| path.element_at(before));
    Ok(PathConfig {
        id: path.id,
        previous: previous.map(neighbour),
        leaving: leaving(set, path, position)?,
        return_path: opposite(set, path),
        mode: set.esp_mode,
        inner_mtu_bytes: path.inner_mtu,
        destinations: destinations(domain, path)?,
    })
}

fn leaving(set: &PathSet, path: &Path, position: usize) -> Result<Option<Leaving>> {
    let Some(next) = path.element_at(position + 1) else { return Ok(None) };
    let labels: Vec<_> = path.labels_after(position).collect();
    let segment = path.segments.iter().find(|segment| usize::from(segment.from) == position);
    let tunnel = segment.map(|segment| {
        Ok::<_, anyhow::Error>(Tunnel {
            source: *element(set, segment.sender)?.link.ip(),
            destination: *element(set, segment.receiver)?.link.ip(),
        })
    });
    let labels = LabelStack::new(&labels)?;
    Ok(Some(Leaving { next: neighbour(next), labels, tunnel: tunnel.transpose()? }))
}

/// The path that packets of the other direction take: for a return path, the one forward path that names it, where
/// there is only one.
fn opposite(set: &PathSet, path: &Path) -> Option<ringmail_model::PathId> {
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
    let destination = |address: &std::net::SocketAddr| Destination {
        address: address.ip(),
        port: Some(address.port()),
    };
    Ok(service.addresses.iter().map(destination).collect())
}

fn element(set: &PathSet, id: ElementId) -> Result<&Element> {
    set.element(id).with_context(|| format!("element {id} is not in the path set"))
}
