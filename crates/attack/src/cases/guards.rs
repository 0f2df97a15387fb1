//! The attacker comes by a way that leads to an element's machine and is none of the links: from outside, from where services
//! are, or by word of mouth (ICMP).

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use ringmail_model::defence::Defence;
use ringmail_packet::ipv4;
use socket2::{Domain, Protocol, Socket, Type};

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::lab::{Lab, PATIENCE, long, run_in};
use crate::wire::{Tap, mac_in};

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "frame-by-another-interface",
        row: Row::Spoof,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::LinkInterface])),
        expected: "a genuine frame that comes from outside is not taken where the kernel lets any address in",
        run: by_another_interface,
    },
    Case {
        attack: "service-answers-as-another",
        row: Row::Spoof,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::AtStart(&[Defence::ServiceAddress], &["egress"])),
        expected: "a service's packet with the address of another service does not enter a chain",
        run: as_another,
    },
    Case {
        attack: "frame-from-a-service",
        row: Row::Spoof,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::AtStart(&[Defence::ServiceAddress], &["egress"])),
        expected: "a service that holds a genuine frame does not get it to an element through the egress's machine",
        run: from_a_service,
    },
    Case {
        attack: "forged-fragmentation-needed",
        row: Row::Availability,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::AtStart(&[Defence::LinkMtu], &["gateway"])),
        expected: "a forged ICMP message about the MTU of a link keeps no packet off it",
        run: fragmentation_needed,
    },
];

/// The gateway's outer interface, and a client's.
const OUTER: &str = "outer0";

/// What keeps addresses of the domain out at the gateway's kernel, where `ringmail up` makes it.
const OUTER_ADDRESSES: &str = "net.ipv4.conf.outer0.rp_filter";

/// A genuine answer is held back between sf1 and the gateway, and comes to the gateway from a client's side.
fn by_another_interface(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("plain")?;
    flow.arrived()?;
    flow.answer(b"an honest answer")?;
    ensure!(flow.answered(PATIENCE)?.is_some(), "an honest answer does not come back");
    let counted = |lab: &Lab| lab.counter("gateway", "link_received_elsewhere");
    let before = counted(lab)?;
    let caught =
        lab.wire.catch(|frame| frame.goes("sf1", "gateway") && frame.carries(0), |_| Vec::new());
    flow.answer(&long(b"the answer that is held back"))?;
    let mut frame = caught.frame()?;
    let outside = Tap::open(&*lab.netns("mallory")?, OUTER)?;
    frame.bytes[..6].copy_from_slice(&mac_in(&*lab.netns("gateway")?, OUTER)?);
    frame.bytes[6..12].copy_from_slice(&mac_in(&*lab.netns("mallory")?, OUTER)?);
    lab.tune("gateway", OUTER_ADDRESSES, "0")?;
    let sent = outside.send(&frame.bytes);
    flow.answer(b"an honest answer")?;
    let next = flow.answered(PATIENCE);
    lab.tune("gateway", OUTER_ADDRESSES, "1")?;
    sent?;
    let taken = next?.context("no answer comes back at all")?.starts_with(b"the answer");
    let refused = counted(lab)? - before;
    let what = if taken { "is taken" } else { "is not taken" };
    Ok(Trial::of(taken, format!("the packet {what}; the gateway counts {refused} by another way")))
}

/// `vault` takes the address of `www`, and answers one of its clients.
fn as_another(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("plain")?;
    flow.arrived()?;
    let before = lab.drops()?;
    let vault = lab.netns("vault")?;
    let address = format!("{}/32", flow.destination.ip());
    run_in(&vault, "ip", &["address", "add", &address, "dev", "lo"])?;
    let forged = vault.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.bind(&flow.destination.into())?;
        socket.send_to(b"the answer of another", &flow.source.into())
    });
    run_in(&vault, "ip", &["address", "del", &address, "dev", "lo"])?;
    forged??;
    // An honest answer may overtake it on the way to the egress, so there are two.
    let (mut taken, mut honest) = (false, 0);
    while honest < 2 {
        flow.answer(b"an honest answer")?;
        match flow.answered(PATIENCE)?.context("no honest answer comes back")? {
            answer if answer == b"an honest answer" => honest += 1,
            _ => taken = true,
        }
    }
    let dropped = before.since(lab)?;
    let what = if taken { "is delivered" } else { "is not delivered" };
    Ok(Trial::of(taken, format!("the forged answer {what}; {dropped}")))
}

/// A genuine frame is held back between the gateway and sf1, and `vault` sends it on: it reaches the links by way of the
/// egress's kernel.
fn from_a_service(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("plain")?;
    flow.arrived()?;
    let before = lab.drops()?;
    let caught =
        lab.wire.catch(|frame| frame.goes("gateway", "sf1") && frame.carries(0), |_| Vec::new());
    flow.send(&long(b"the packet that is held back"))?;
    let frame = caught.frame()?;
    let packet = &frame.bytes[14..];
    let to: SocketAddr = lab.set.element_named("sf1").context("no element sf1")?.link.into();
    let raw = lab.netns("vault")?.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
        socket.set_header_included_v4(true)?;
        socket.send_to(packet, &SocketAddr::new(to.ip(), 0).into())
    })?;
    raw.context("a raw socket")?;
    let (first, second) = (flow.arrived()?, flow.arrived()?);
    let taken = first.iter().chain(&second).any(|packet| packet.starts_with(b"the packet"));
    let dropped = before.since(lab)?;
    let what = if taken { "arrived at the service" } else { "did not arrive" };
    Ok(Trial::of(taken, format!("the packet {what}; {dropped}")))
}

/// "Fragmentation needed, next MTU 600" about a packet between the gateway and sf1 (RFC 1191).
fn fragmentation_needed(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("plain")?;
    flow.send(&long(b"a long packet"))?;
    let arrived = flow.arrived()?;
    ensure!(arrived.iter().any(|packet| packet.starts_with(b"a long")), "no long packet arrives");
    let caught = lab.wire.catch(
        |frame| frame.goes("gateway", "sf1") && frame.carries(0),
        |frame| vec![frame.bytes.clone()],
    );
    flow.arrived()?;
    let about = caught.frame()?;
    let quoted = about.bytes.get(14..14 + 28).context("a short frame")?;
    let mut message = [&[3, 4, 0, 0, 0, 0][..], &600_u16.to_be_bytes(), quoted].concat();
    let words = message.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1]));
    let sum = words.sum::<u32>();
    let sum = !(((sum >> 16) + (sum & 0xffff)) as u16);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut bytes = [&about.bytes[6..12], &about.bytes[..6], &[8, 0]].concat();
    bytes.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0]);
    bytes.extend([&quoted[16..20], &quoted[12..16], &message].concat());
    let len = (bytes.len() - 14) as u16;
    bytes[16..18].copy_from_slice(&len.to_be_bytes());
    ipv4::Packet::new_unchecked(&mut bytes[14..34]).fill_checksum();
    let gateway = lab.netns("gateway")?;
    lab.wire.inject("gateway", &bytes)?;
    let sf1 = lab.set.element_named("sf1").context("no element sf1")?.link.ip().to_string();
    lab.eventually("the gateway's kernel has heard of it", || {
        let route = run_in(&gateway, "ip", &["route", "get", &sf1]).ok()?;
        route.contains("mtu 600").then_some(())
    })?;
    flow.send(&long(b"another long packet"))?;
    let arrived = flow.arrived();
    run_in(&gateway, "ip", &["route", "flush", "cache"])?;
    let lost = !arrived?.iter().any(|packet| packet.starts_with(b"another long"));
    let what = if lost { "are lost" } else { "arrive as before" };
    Ok(Trial::of(lost, format!("long packets {what}")))
}
