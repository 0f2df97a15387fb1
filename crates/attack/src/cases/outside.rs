//! The attacker is outside, a client or on the clients' network; or he is on a link and wants something to get there.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result, ensure};
use ringmail_model::defence::Defence;
use ringmail_node::control::PinnedFlow;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::forge;
use crate::lab::{Lab, PATIENCE, long};
use crate::wire::{Frame, Tap, mac_in};

/// Nothing comes from outside with an address that is not outside.
const OUTER_ADDRESSES: (&str, [&str; 2]) = ("net.ipv4.conf.outer0.rp_filter", ["1", "0"]);

/// The gateway's kernel passes nothing on.
const FORWARDING: (&str, [&str; 2]) = ("net.ipv4.ip_forward", ["0", "1"]);

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "label-spoofed-from-outside",
        row: Row::Spoof,
        claimed: Claimed::Always,
        given: &[Defence::LinkInterface],
        switch: Some(Switch::Kernel("gateway", &[OUTER_ADDRESSES])),
        expected: "an encapsulated packet that comes from outside is not taken, even if it is a genuine one",
        run: label_from_outside,
    },
    Case {
        attack: "inner-address-spoofed-from-outside",
        row: Row::Spoof,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Kernel("gateway", &[OUTER_ADDRESSES, FORWARDING])),
        expected: "a packet from outside does not enter a chain with the addresses of a flow that has a path",
        run: inner_from_outside,
    },
    Case {
        attack: "encapsulation-leaves-the-domain",
        row: Row::Leak,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Kernel("gateway", &[FORWARDING])),
        expected: "no frame with labels or headers of a chain leaves the domain, even one addressed to a client",
        run: leaves,
    },
    Case {
        attack: "around-the-chain-to-the-service",
        row: Row::MicroSegmentation,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Kernel("egress", &[("net.ipv4.conf.link0.forwarding", ["0", "1"])])),
        expected: "a plain packet from the links between elements does not reach a service past its chain",
        run: around,
    },
];

/// The gateway's outer interface, and a client's.
const OUTER: &str = "outer0";

/// A genuine answer is held back between sf1 and the gateway, and comes to the gateway from a client's side.
fn label_from_outside(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("plain")?;
    flow.arrived()?;
    flow.answer(b"an honest answer")?;
    ensure!(flow.answered(PATIENCE)?.is_some(), "an honest answer does not come back");
    let before = lab.drops()?;
    let caught =
        lab.wire.catch(|frame| frame.goes("sf1", "gateway") && frame.carries(0), |_| Vec::new());
    flow.answer(&long(b"the answer that is held back"))?;
    let mut frame = caught.frame()?;
    let outside = Tap::open(&*lab.netns("mallory")?, OUTER)?;
    frame.bytes[..6].copy_from_slice(&mac_in(&*lab.netns("gateway")?, OUTER)?);
    frame.bytes[6..12].copy_from_slice(&mac_in(&*lab.netns("mallory")?, OUTER)?);
    outside.send(&frame.bytes)?;
    // Behind it an honest one over the links: when that is there, the other was taken, or is not.
    let next =
        || -> Result<Vec<u8>> { flow.answered(PATIENCE)?.context("no answer comes back at all") };
    flow.answer(b"an honest answer")?;
    let taken = next()?.starts_with(b"the answer");
    let dropped = before.since(lab)?;
    let what = if taken { "is taken" } else { "is not taken" };
    Ok(Trial::of(taken, format!("the packet {what}; {dropped}")))
}

/// The flow is one of a WireGuard client's, say: its address is none of the gateway's own, which any kernel refuses.
fn inner_from_outside(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("plain")?;
    flow.arrived()?;
    let spoofed: SocketAddrV4 = "10.78.0.200:6000".parse()?;
    let destination = flow.destination;
    let pinned =
        PinnedFlow { path: "plain".to_owned(), source: spoofed.into(), destination, protocol: 17 };
    lab.pin(pinned)?;
    let sink = lab.sink("www", &destination.to_string())?;
    let before = lab.drops()?;
    let inner = forge::datagram(spoofed, flow.destination_v4()?, b"from outside");
    let outside = Tap::open(&*lab.netns("mallory")?, OUTER)?;
    let (gateway, client) = (lab.netns("gateway")?, lab.netns("mallory")?);
    let link = [&mac_in(&gateway, OUTER)?[..], &mac_in(&client, OUTER)?, &[8, 0]].concat();
    outside.send(&[&link, &inner[..]].concat())?;
    flow.arrived()?;
    let arrived = sink.recv(&mut [0; 64]).is_ok();
    let dropped = before.since(lab)?;
    let what = if arrived { "it" } else { "nothing" };
    Ok(Trial::of(arrived, format!("{what} arrived at the service; {dropped}")))
}

/// A genuine packet between two elements is addressed on to a client, in the hope that the gateway's kernel sends it there.
fn leaves(lab: &mut Lab) -> Result<Trial> {
    let (flow, alice) = (lab.flow("plain")?, lab.client("alice")?);
    let caught = lab.wire.catch(
        |frame| frame.goes("sf1", "gateway") && frame.carries(0),
        |frame| vec![frame.bytes.clone()],
    );
    flow.arrived()?;
    flow.answer(b"an honest answer")?;
    let Frame { mut bytes, .. } = caught.frame()?;
    let outside = Tap::open(&*lab.netns("alice")?, OUTER)?;
    let client: Ipv4Addr = "192.0.2.11".parse()?;
    // The destination of the link's own IP header.
    bytes[30..34].copy_from_slice(&client.octets());
    crate::wire::frame::mend(&mut bytes);
    lab.wire.inject("gateway", &bytes)?;
    // Honest traffic crosses the same kernel behind it.
    lab.control(&alice, "/")?;
    let seen = outside.seen();
    ensure!(!seen.is_empty(), "not even honest traffic is seen outside");
    let chain = |bytes: &&Vec<u8>| {
        Frame { from: String::new(), to: None, bytes: bytes.to_vec() }.parts().is_some()
    };
    let leaked = seen.iter().filter(chain).count();
    Ok(Trial::of(leaked > 0, format!("of {} frames outside {leaked} are of a chain", seen.len())))
}

/// Whoever owns sf1 sends plain IP to the egress, whose kernel has a route to the service.
fn around(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("plain")?;
    let caught = lab.wire.catch(
        |frame| frame.goes("sf1", "egress") && frame.carries(0),
        |frame| vec![frame.bytes.clone()],
    );
    flow.arrived()?;
    let like = caught.frame()?;
    let before = lab.drops()?;
    let inner = forge::datagram(
        SocketAddrV4::new("10.77.0.99".parse()?, 5000),
        flow.destination_v4()?,
        b"around",
    );
    let sink = lab.sink("www", &flow.destination.to_string())?;
    lab.wire.inject("egress", &[&like.bytes[..14], &inner].concat())?;
    flow.arrived()?;
    let arrived = sink.recv(&mut [0; 64]).is_ok();
    let dropped = before.since(lab)?;
    Ok(Trial::of(
        arrived,
        format!("{} arrived at the service; {dropped}", if arrived { "it" } else { "nothing" }),
    ))
}
