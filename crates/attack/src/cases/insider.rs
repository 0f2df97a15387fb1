//! The attacker owns an element, and so its traffic keys, its identity and its namespace: what does that give him of others?

use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context, Result, ensure};
use ringmail_model::defence::Defence;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::domain;
use crate::forge::{self, Stolen};
use crate::lab::{Flow, Lab};
use crate::wire::Frame;

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "keys-used-on-another-segment",
        row: Row::MicroSegmentation,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::AtStart(&[Defence::OwnKeys], &["egress"])),
        expected: "a function's traffic keys open and forge nothing on any segment but its own",
        run: other_segment,
    },
    Case {
        attack: "packet-for-another-service",
        row: Row::MicroSegmentation,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::PathService])),
        expected: "a function cannot send to a service that its path does not lead to",
        run: other_service,
    },
    Case {
        attack: "return-packet-of-no-flow",
        row: Row::MicroSegmentation,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ReturnFlow])),
        expected: "nothing comes into the gateway's inner side that answers no flow of its own",
        run: return_of_no_flow,
    },
    Case {
        attack: "attached-function-speaks-up",
        row: Row::Unaware,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::AttachedFlows])),
        expected: "a function that knows nothing of chains cannot send packets of flows that it was not given",
        run: attached_speaks_up,
    },
];

/// A genuine packet of the flow on this link, for its addresses, labels, SPI and sequence number.
fn sample(lab: &Lab, flow: &Flow, from: &'static str, to: &'static str) -> Result<Frame> {
    let caught = lab.wire.catch(
        move |frame| frame.goes(from, to) && frame.carries(0),
        |frame| vec![frame.bytes.clone()],
    );
    flow.arrived()?;
    caught.frame()
}

/// The key of the association that a genuine packet came by, which sender and receiver have.
fn stolen(lab: &Lab, receiver: &str, like: &Frame) -> Result<Stolen> {
    let (keys, spi) = (lab.keys_of(receiver)?, like.spi().context("sealed")?);
    let export = keys.iter().find(|key| key.sa_spi == spi);
    Stolen::of(export.with_context(|| format!("{receiver} has no key of SPI {spi}"))?)
}

/// Whether traffic keys alone forge nothing, since links have codes of their own. That they do behind those is seen where
/// the codes are switched off.
fn steered(lab: &Lab) -> bool {
    lab.has_nsh()
}

/// A packet under this key in the place of a genuine one, far ahead of it.
fn forged(like: &Frame, key: &Stolen, inner: &[u8]) -> Result<Vec<u8>> {
    // No number twice, whatever was forged before.
    static AHEAD: AtomicU64 = AtomicU64::new(100);
    let sequence = like.sequence().context("sealed")? + AHEAD.fetch_add(1, Relaxed);
    Ok(like.carrying(&key.seal(like.spi().context("sealed")?, sequence, inner)?))
}

/// Whoever owns sf3 forges on the path that does not pass sf3.
fn other_segment(lab: &mut Lab) -> Result<Trial> {
    let (own, other) = (lab.flow("filtered")?, lab.flow("plain")?);
    let (here, there) =
        (sample(lab, &own, "sf3", "egress")?, sample(lab, &other, "sf1", "egress")?);
    let key = stolen(lab, "egress", &here)?;
    let inner = forge::datagram(own.source_v4()?, own.destination_v4()?, b"forged on its own");
    lab.wire.inject("egress", &forged(&here, &key, &inner)?)?;
    let on_own = own.arrived()?;
    let forges = on_own == [b"forged on its own".to_vec()] || steered(lab);
    ensure!(forges, "not even on its own segment sf3's key forges");
    let before = lab.drops()?;
    let inner = forge::datagram(other.source_v4()?, other.destination_v4()?, b"forged on another");
    lab.wire.inject("egress", &forged(&there, &key, &inner)?)?;
    let arrived = other.arrived()?;
    let dropped = before.since(lab)?;
    Ok(Trial::of(
        !arrived.is_empty(),
        format!("{} forged packets arrived; {dropped}", arrived.len()),
    ))
}

/// Whoever owns sf2 sends to the vault on the path that leads to the web server.
fn other_service(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    let like = sample(lab, &flow, "sf2", "egress")?;
    let key = stolen(lab, "egress", &like)?;
    let vault = lab.sink("vault", domain::VAULT_ADDRESS)?;
    let honest = forge::datagram(flow.source_v4()?, flow.destination_v4()?, b"to the web server");
    lab.wire.inject("egress", &forged(&like, &key, &honest)?)?;
    let to_own = flow.arrived()?;
    let forges = to_own == [b"to the web server".to_vec()] || steered(lab);
    ensure!(forges, "sf2's key does not forge at all");
    let before = lab.drops()?;
    let inner = forge::datagram(flow.source_v4()?, domain::VAULT_ADDRESS.parse()?, b"to the vault");
    lab.wire.inject("egress", &forged(&like, &key, &inner)?)?;
    flow.arrived()?;
    let mut buffer = [0; 64];
    let arrived = vault.recv(&mut buffer).is_ok();
    let dropped = before.since(lab)?;
    Ok(Trial::of(
        arrived,
        format!("{} arrived at the vault; {dropped}", if arrived { "it" } else { "nothing" }),
    ))
}

/// Whoever owns the egress speaks to a port in the gateway that nobody opened towards it.
fn return_of_no_flow(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("filtered")?;
    flow.arrived()?;
    let caught = lab.wire.catch(
        |frame| frame.goes("sf3", "gateway") && frame.carries(0),
        |frame| vec![frame.bytes.clone()],
    );
    flow.answer(b"an answer")?;
    let like = caught.frame()?;
    ensure!(flow.answered(crate::lab::PATIENCE)?.is_some(), "an honest answer does not come back");
    let key = stolen(lab, "gateway", &like)?;
    let quiet: SocketAddrV4 = "10.78.0.1:7777".parse()?;
    let open = lab.netns("gateway")?.run(|| UdpSocket::bind(quiet))??;
    open.set_nonblocking(true)?;
    let before = lab.drops()?;
    let inner = forge::datagram(flow.destination_v4()?, quiet, b"nobody asked");
    lab.wire.inject("gateway", &forged(&like, &key, &inner)?)?;
    // Behind it one that answers the flow: when that has come, the other has or never will.
    let inner = forge::datagram(flow.destination_v4()?, flow.source_v4()?, b"asked");
    lab.wire.inject("gateway", &forged(&like, &key, &inner)?)?;
    // An honest one, where codes on the links keep forged ones back.
    flow.answer(b"asked")?;
    let answer = flow.answered(crate::lab::PATIENCE)?;
    ensure!(answer.as_deref() == Some(b"asked"), "no answer to a flow comes");
    let arrived = open.recv(&mut [0; 64]).is_ok();
    let dropped = before.since(lab)?;
    let what = if arrived { "the packet" } else { "nothing" };
    Ok(Trial::of(arrived, format!("{what} arrived at the gateway's port; {dropped}")))
}

fn attached_speaks_up(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("legacy")?;
    flow.arrived()?;
    let sink = lab.sink("www", domain::WWW_ADDRESS)?;
    let before = lab.drops()?;
    let function = lab.netns("legacy.function")?;
    let socket = function.run(|| UdpSocket::bind("169.254.77.2:4000"))??;
    socket.send_to(b"from the function itself", domain::WWW_ADDRESS)?;
    flow.arrived()?;
    let mut buffer = [0; 64];
    let arrived = sink.recv(&mut buffer).is_ok();
    let dropped = before.since(lab)?;
    let what = if arrived { "its packet" } else { "nothing" };
    Ok(Trial::of(arrived, format!("{what} arrived at the service; {dropped}")))
}
