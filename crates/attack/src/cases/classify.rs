//! Packets made to look to the classifier like what they are not.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use anyhow::{Context, Result, bail, ensure};
use ringmail_model::defence::Defence;
use ringmail_node::control::PinnedFlow;
use socket2::{Domain, Protocol, Socket, Type};

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::domain;
use crate::forge;
use crate::lab::{Flow, LONG_BYTES, Lab, long};

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "flow-without-a-rule",
        row: Row::LeastPrivilege,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::NoRuleNoPath])),
        expected: "a packet of a flow that no rule gave a path does not enter any chain",
        run: without_rule,
    },
    Case {
        attack: "other-protocol-of-a-known-flow",
        row: Row::MultiProtocol,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::FlowProtocol])),
        expected: "a packet of another IP protocol does not pass for one of a flow whose addresses it has",
        run: other_protocol,
    },
    Case {
        attack: "fragment-past-a-rule",
        row: Row::LeastPrivilege,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::Fragments])),
        expected: "a fragment without ports does not pass for one of a flow whose ports its payload holds",
        run: fragment,
    },
    Case {
        attack: "extension-header-past-a-rule",
        row: Row::LeastPrivilege,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ExtensionHeaders])),
        expected: "an IPv6 packet is classified by its transport header, not by what an extension header looks like",
        run: extension_header,
    },
    Case {
        attack: "protocol-that-the-firewall-has-no-rule-for",
        row: Row::LeastPrivilege,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::FirewallDefault])),
        expected: "what none of the firewall's rules allows does not pass it",
        run: no_firewall_rule,
    },
    Case {
        attack: "service-begins-a-flow",
        row: Row::MicroSegmentation,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::NoRuleNoPath])),
        expected: "a service that was taken over cannot begin a flow into the chains",
        run: service_begins,
    },
];

/// What the attacker's packets are as long as.
const PACKET_BYTES: usize = LONG_BYTES + 100;

/// Sends a whole IP packet into the gateway's inner side, and says whether anything as long leaves the gateway before an
/// honest packet that is sent behind it.
fn enters(lab: &mut Lab, flow: &Flow, to: SocketAddr, packet: &[u8]) -> Result<Trial> {
    ensure!(packet.len() >= PACKET_BYTES, "the attacker would not know his packet");
    flow.arrived()?;
    let before = lab.drops()?;
    let raw = lab.netns("gateway")?.run(|| raw(to))?.context("a raw socket")?;
    lab.wire.record();
    raw.send_to(packet, &nameless(to).into())?;
    flow.arrived()?;
    let frames = lab.wire.recorded()?;
    let entered = frames
        .iter()
        .filter(|frame| frame.from == "gateway" && frame.carries(PACKET_BYTES))
        .count();
    let dropped = before.since(lab)?;
    Ok(Trial::of(entered > 0, format!("{entered} such packets entered a chain; {dropped}")))
}

/// A socket whose packets bring their own IP header.
fn raw(to: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::RAW, Some(Protocol::from(255)))?;
    if to.is_ipv4() {
        socket.set_header_included_v4(true)?;
    } else {
        socket.set_header_included_v6(true)?;
    }
    Ok(socket)
}

/// A raw socket takes no port.
fn nameless(to: SocketAddr) -> SocketAddr {
    SocketAddr::new(to.ip(), 0)
}

fn v6(address: SocketAddr) -> Result<SocketAddrV6> {
    match address {
        SocketAddr::V6(address) => Ok(address),
        SocketAddr::V4(_) => bail!("it is of IPv4"),
    }
}

/// Both ports of a flow.
fn ports(flow: &Flow) -> Vec<u8> {
    [flow.source.port().to_be_bytes(), flow.destination.port().to_be_bytes()].concat()
}

fn without_rule(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("plain")?;
    let from = SocketAddrV4::new(*flow.source_v4()?.ip(), 6666);
    let packet = forge::datagram(from, flow.destination_v4()?, &[b'.'; PACKET_BYTES]);
    enters(lab, &flow, flow.destination, &packet)
}

/// Protocol 253 is for experiments (RFC 3692). The control: where a rule allows it, it passes.
fn other_protocol(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("plain")?;
    let (from, to) = (flow.source_v4()?, flow.destination_v4()?);
    let experiment = |source, begins: &[u8]| {
        forge::packet(source, to, 253, [0, 0], &[begins, &[b'.'; PACKET_BYTES]].concat())
    };
    let other = SocketAddrV4::new("10.78.0.2".parse()?, 0);
    let pinned = PinnedFlow {
        path: "plain".to_owned(),
        source: other.into(),
        destination: SocketAddr::new(to.ip().to_owned().into(), 0),
        protocol: 253,
    };
    lab.pin(pinned)?;
    let honest = enters(lab, &flow, to.into(), &experiment(other, &[0; 4]))?;
    ensure!(!honest.held, "protocol 253 does not even pass where it may");
    enters(lab, &flow, to.into(), &experiment(from, &ports(&flow)))
}

fn fragment(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("plain")?;
    let payload = [&ports(&flow)[..], &[b'.'; PACKET_BYTES]].concat();
    let (from, to) = (flow.source_v4()?, flow.destination_v4()?);
    // Bytes 800 to the end of a datagram whose beginning nobody has seen.
    let packet = forge::packet(from, to, 17, [0, 100], &payload);
    enters(lab, &flow, flow.destination, &packet)
}

/// Destination options that read like the ports of a flow, in front of a UDP header with others.
fn extension_header(lab: &mut Lab) -> Result<Trial> {
    // Next header 17 and a length of 0 are port 4352; option 0 is padding, and 80 the type of the next.
    let flow = lab.flow6_from("plain", 0x1100)?;
    let (from, to) = (v6(flow.source)?, v6(flow.destination)?);
    let options = [17, 0, 0, 80, 2, 0, 0, 0];
    let udp = [0, 99, 0, 22, 0, 0, 0, 0];
    let body = [&options[..], &udp, &[b'.'; PACKET_BYTES]].concat();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((body.len() as u16).to_be_bytes());
    packet.extend([60, 64]);
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    packet.extend(body);
    enters(lab, &flow, flow.destination, &packet)
}

fn no_firewall_rule(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("filtered")?;
    flow.arrived()?;
    let other = SocketAddrV4::new("10.78.0.3".parse()?, 0);
    let to = flow.destination_v4()?;
    let pinned = PinnedFlow {
        path: "filtered".to_owned(),
        source: other.into(),
        destination: SocketAddr::new(to.ip().to_owned().into(), 0),
        protocol: 253,
    };
    // The path's service answers to its port alone; the egress sees nothing of it if the firewall does its work.
    lab.pin(pinned)?;
    let before = lab.drops()?;
    let raw = lab.netns("gateway")?.run(|| raw(to.into()))?.context("a raw socket")?;
    lab.wire.record();
    let packet = forge::packet(other, to, 253, [0, 0], &[b'.'; PACKET_BYTES]);
    raw.send_to(&packet, &nameless(to.into()).into())?;
    flow.arrived()?;
    let frames = lab.wire.recorded()?;
    let seen = |from: &str| {
        frames.iter().filter(|frame| frame.from == from && frame.carries(PACKET_BYTES)).count()
    };
    ensure!(seen("gateway") == 1, "the packet does not come as far as the firewall");
    let dropped = before.since(lab)?;
    Ok(Trial::of(
        seen("sf3") > 0,
        format!("{} such packets left the firewall; {dropped}", seen("sf3")),
    ))
}

fn service_begins(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("plain")?;
    flow.arrived()?;
    flow.answer(b"an answer")?;
    ensure!(flow.answered(crate::lab::PATIENCE)?.is_some(), "an honest answer does not come back");
    let before = lab.drops()?;
    let service = lab.sink("www", &domain::WWW_ADDRESS.replace(":80", ":8000"))?;
    lab.wire.record();
    service.send_to(&long(b"the service begins"), "10.78.0.1:22")?;
    flow.answer(b"an answer")?;
    ensure!(flow.answered(crate::lab::PATIENCE)?.is_some(), "an honest answer does not come back");
    let frames = lab.wire.recorded()?;
    let entered =
        frames.iter().filter(|frame| frame.from == "egress" && frame.carries(LONG_BYTES)).count();
    let dropped = before.since(lab)?;
    Ok(Trial::of(entered > 0, format!("{entered} such packets entered a chain; {dropped}")))
}
