//! An attached function at a hop on a machine of its own. There the machine's operator makes the network of the function and
//! starts its program: whoever feeds the hop decides what passes a path, and must not decide what runs on the machine.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use ringmail_model::domain::Domain;
use ringmail_model::pathset::{Element, PathSet};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

use super::network::{inner_mtu, settings, sides};
use super::{addresses, interfaces, namespace};

/// Whether the interfaces of the function that `element` serves are there, in the namespace of the calling thread.
///
/// # Errors
/// They are not; says how they are made.
pub(crate) fn check(domain: &Domain, set: &PathSet, element: &Element) -> Result<()> {
    let Some(attached) = settings(domain, element) else { return Ok(()) };
    if !attached.setup.is_empty() || !attached.run.is_empty() {
        tracing::warn!(
            "`setup` and `run` of the attached function are not run: on a machine of its own its \
             program is the machine's affair"
        );
    }
    if attached.socket.is_some() {
        return Ok(());
    }
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None).context("a socket")?;
    let (mut missing, mut mend) = (Vec::new(), String::new());
    for side in sides(attached.shape) {
        let [ours, theirs] = interfaces(*side);
        if name_to_index(&any, ours).is_ok() {
            continue;
        }
        let [our_mac, their_mac] = addresses(element.id, *side);
        let (place, mtu) = (namespace(&element.name), inner_mtu(set));
        missing.push(ours);
        write!(
            mend,
            "; ip link add {ours} address {our_mac} mtu {mtu} up type veth peer name {theirs} \
             address {their_mac} mtu {mtu} netns {place}"
        )?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    // Control hears 512 bytes of it (`PDP_DETAIL_BYTES`).
    bail!(
        "`{}` is attached, and there is no {} here; a hop on a machine of its own makes no network \
         for its function. Make it{mend}",
        element.name,
        missing.join(" and no ")
    )
}
