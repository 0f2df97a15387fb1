//! The core of a hop with an attached function, and the links to the function.

use std::time::Instant;

use anyhow::{Context, Result};
use ringmail_dataplane::Side;
use ringmail_dataplane::attach::{AttachConfig, Attached, TellApart};
use ringmail_dataplane::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use ringmail_dataplane::sa::SaTable;
use ringmail_dataplane_io::Link;
use ringmail_dataplane_io::attach::{AttachLink, AttachLinkConfig, SocketLink, Towards};
use ringmail_model::domain::{self, AttachSettings, Checksums, Domain, Shape};
use ringmail_model::pathset::{Element, PathSet};

use super::plan;
use super::worker::Core;
use crate::attach::{addresses, interfaces, network};
use crate::random;

/// The core, without its paths; its links are opened in the namespace of the calling thread.
///
/// # Errors
/// When the system refuses a socket, or has no random bytes.
pub(super) fn core(
    domain: &Domain,
    set: &PathSet,
    element: &Element,
    settings: &AttachSettings,
) -> Result<Core> {
    let config = AttachConfig {
        one_armed: settings.shape == Shape::OneArmed,
        rewrites: settings.rewrites,
        tell_apart: match settings.tell_apart {
            domain::TellApart::Flow => TellApart::Flow,
            domain::TellApart::Dscp => TellApart::Dscp,
        },
        aware: settings.socket.is_some(),
    };
    let flows = domain.limits.flows as usize;
    let (seeds, now) = (random::seeds()?, Instant::now());
    let hop = Attached::new(plan::form(set, element), config, flows, seeds, SaTable::new(), now);
    if let Some(path) = &settings.socket {
        let link = SocketLink::listen(path, HEADROOM_BYTES, TAILROOM_BYTES);
        let link = link.with_context(|| format!("no socket at {}", path.display()))?;
        return Ok(Core::Attached(Box::new(hop), vec![(Side::In, Box::new(link))]));
    }
    let links = network::sides(settings.shape).iter().map(|side| {
        let link = open(element, settings, *side);
        link.with_context(|| format!("no link to the function by {}", interfaces(*side)[0]))
    });
    Ok(Core::Attached(Box::new(hop), links.collect::<Result<_>>()?))
}

fn open(element: &Element, settings: &AttachSettings, side: Side) -> Result<(Side, Box<dyn Link>)> {
    let far = match side {
        Side::In => Side::Out,
        Side::Out => Side::In,
    };
    let towards = match settings.shape {
        Shape::Bridge => Towards::Behind(addresses(element.id, far)[0]),
        Shape::Router | Shape::OneArmed => Towards::Function(addresses(element.id, side)[1]),
    };
    let link = AttachLink::open(&AttachLinkConfig {
        interface: interfaces(side)[0].to_owned(),
        side,
        towards,
        supers: settings.checksums == Checksums::Partial,
        headroom_bytes: HEADROOM_BYTES,
        tailroom_bytes: TAILROOM_BYTES,
    })?;
    Ok((side, Box::new(link)))
}
