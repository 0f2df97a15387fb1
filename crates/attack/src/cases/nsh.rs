//! What steers a packet and proves its way: altered on a link, taken from another packet, left out. Profile `mpls` has no
//! answer to most of these; there they are tried to see that they bite.

use anyhow::{Context, Result, bail, ensure};
use ringmail_model::defence::Defence;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::lab::{Flow, LONG_BYTES, Lab, long};
use crate::wire::Frame;

/// Every layer over how a packet is steered.
const STEERING: &[Defence] = &[Defence::NshPlace, Defence::LinkCode, Defence::TransitProof];

/// What defends where an attacker can forge the codes of links.
const PROOF: &[Defence] = &[Defence::TransitProof];

/// What such an attacker has overcome.
const FORGED_LINKS: &[Defence] = &[Defence::NshPlace, Defence::LinkCode];

const fn case(
    attack: &'static str,
    row: Row,
    switch: &'static [Defence],
    expected: &'static str,
    run: fn(&mut Lab) -> Result<Trial>,
) -> Case {
    let (claimed, switch) = (Claimed::WithNsh, Some(Switch::Off(switch)));
    Case { attack, row, claimed, given: &[], switch, expected, run }
}

pub(super) const CASES: &[Case] = &[
    case(
        "ttl-altered",
        Row::SfcIntegrity,
        &[Defence::LinkCode],
        "a packet whose count of hops was altered on a link is dropped",
        ttl_altered,
    ),
    case(
        "service-index-altered",
        Row::SfcIntegrity,
        &[Defence::NshPlace, Defence::LinkCode],
        "a packet that says it is elsewhere on its path is dropped",
        index_altered,
    ),
    case(
        "outer-addresses-swapped",
        Row::SfcIntegrity,
        &[Defence::LinkCode],
        "a packet whose addresses change places, so that every checksum stays valid, is dropped",
        addresses_swapped,
    ),
    case(
        "downgraded-to-labels",
        Row::SfcIntegrity,
        &[Defence::ProfileAlone],
        "a packet without what the profile asks for in front of it is dropped",
        downgraded,
    ),
    case(
        "hop-skipped",
        Row::SfcIntegrity,
        STEERING,
        "a packet that was led around a hop that does not open it is dropped at the next element",
        skipped,
    ),
    case(
        "hop-doubled",
        Row::SfcIntegrity,
        STEERING,
        "a packet that passes a hop a second time is dropped",
        doubled,
    ),
    case(
        "hops-reordered",
        Row::SfcIntegrity,
        STEERING,
        "a packet that passes its hops in another order is dropped",
        reordered,
    ),
    Case {
        attack: "inspection-skipped",
        row: Row::SfcIntegrity,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::AtStart(&[Defence::OwnKeys], &["egress", "sf2"])),
        expected: "a packet that is led around an intrusive hop cannot be opened by the next element",
        run: inspection_skipped,
    },
    Case {
        given: FORGED_LINKS,
        ..case(
            "hop-skipped-by-who-forges-links",
            Row::ProofOfTransit,
            PROOF,
            "even if every code on the links is forged, the end of the path notices a hop that was left out",
            skipped,
        )
    },
    Case {
        given: FORGED_LINKS,
        ..case(
            "hops-reordered-by-who-forges-links",
            Row::ProofOfTransit,
            PROOF,
            "even if every code on the links is forged, the end of the path notices another order",
            reordered,
        )
    },
    Case {
        given: FORGED_LINKS,
        ..case(
            "hop-doubled-by-who-forges-links",
            Row::ProofOfTransit,
            PROOF,
            "even if every code on the links is forged, the end of the path notices a hop that was passed twice",
            doubled,
        )
    },
    Case {
        given: &[Defence::LinkCode],
        ..case(
            "proof-altered",
            Row::ProofOfTransit,
            PROOF,
            "a packet whose proof was altered is dropped at the end of its path",
            proof_altered,
        )
    },
    Case {
        given: &[Defence::LinkCode],
        ..case(
            "proof-moved-to-another-packet",
            Row::ProofOfTransit,
            PROOF,
            "the proof of one packet is none for another",
            proof_moved,
        )
    },
];

/// What becomes of a packet of a flow whose frame on this link is sent on as `alter` makes it.
fn on_link(
    lab: &mut Lab,
    flow: &Flow,
    (from, to): (&'static str, &'static str),
    alter: impl Fn(&Frame) -> Vec<u8> + Send + 'static,
) -> Result<Trial> {
    flow.arrived()?;
    let before = lab.drops()?;
    let payload = long(b"steered");
    let caught = lab.wire.catch(
        move |frame| frame.goes(from, to) && frame.carries(LONG_BYTES),
        move |frame| vec![alter(frame)],
    );
    flow.send(&payload)?;
    caught.frame()?;
    let arrived = flow.arrived()?;
    let dropped = before.since(lab)?;
    Ok(Trial::of(
        arrived.contains(&payload),
        format!("{} such packets arrived; {dropped}", arrived.len()),
    ))
}

/// Of labels in profile `mpls`, of NSH otherwise.
fn ttl_altered(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    on_link(lab, &flow, ("sf1", "sf2"), |frame| {
        frame.altered(|bytes, parts| match parts.nsh() {
            // TTL is the six bits from the fourth of the first byte that is not version and O bit.
            Some(nsh) => {
                let word = u16::from_be_bytes([bytes[nsh.start], bytes[nsh.start + 1]]);
                let altered = (word & !0x0fc0) | (20 << 6);
                bytes[nsh.start..nsh.start + 2].copy_from_slice(&altered.to_be_bytes());
            }
            None => bytes[parts.labels + 3] = 20,
        })
    })
}

fn index_altered(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    if !lab.has_nsh() {
        return Ok(Trial::of(
            true,
            "profile mpls has nothing that says where on its path a packet is",
        ));
    }
    on_link(lab, &flow, ("sf1", "sf2"), |frame| {
        frame.altered(|bytes, parts| {
            if let Some(nsh) = parts.nsh() {
                bytes[nsh.start + 7] -= 1;
            }
        })
    })
}

fn addresses_swapped(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    on_link(lab, &flow, ("gateway", "sf1"), |frame| {
        frame.altered(|bytes, parts| {
            let addresses = &mut bytes[parts.outer + 12..parts.outer + 20];
            addresses.rotate_left(4);
        })
    })
}

fn downgraded(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    let labels = [lab.element("egress")?.label.get()];
    on_link(lab, &flow, ("sf2", "egress"), move |frame| {
        let bare = frame.altered(|bytes, parts| {
            if let Some(nsh) = parts.nsh() {
                bytes.drain(nsh);
            }
        });
        Frame { bytes: bare, ..frame.clone() }.relabelled(&labels)
    })
}

/// A packet that the attacker leads by hand: from each stop he catches it and says where it goes next.
struct Led<'a> {
    lab: &'a Lab,
    frame: Frame,
}

impl<'a> Led<'a> {
    /// Takes the packet that goes from one element to another off its way. `None`: it is dropped before it comes there.
    fn taken(
        lab: &'a Lab,
        (from, to): (&'static str, &'static str),
        begin: impl FnOnce() -> Result<()>,
    ) -> Result<Option<Led<'a>>> {
        let before = lab.drops()?;
        let caught = lab
            .wire
            .catch(move |frame| frame.goes(from, to) && frame.carries(LONG_BYTES), |_| Vec::new());
        begin()?;
        let frame = caught.frame_unless(|| before.rose(lab))?;
        Ok(frame.map(|frame| Led { lab, frame }))
    }

    /// Sends it to `to` as if `from` had sent it there, with the labels and the place on the path that it would have.
    fn sent(&self, from: &str, to: &str, stack: &[&str], position: u8) -> Result<()> {
        let labels = self.lab.stack(stack)?;
        let bytes = self.frame.relabelled(&labels);
        let frame = Frame { bytes, ..self.frame.clone() };
        let placed = frame.altered(|bytes, parts| {
            if let Some(nsh) = parts.nsh() {
                bytes[nsh.start + 7] = 255 - (position - 1);
            }
        });
        self.lab.wire.inject(to, &self.lab.between(placed, from, to)?)
    }
}

/// The packet does not even come to where the attacker waits for it.
const NOT_SENT: &str = "the packet does not come to the attacker";

/// Around sf1, which does not open packets: from the gateway straight to sf2.
fn skipped(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    flow.arrived()?;
    let (before, payload) = (lab.drops()?, long(b"around sf1"));
    let led = Led::taken(lab, ("gateway", "sf1"), || flow.send(&payload))?.context(NOT_SENT)?;
    led.sent("sf1", "sf2", &["sf2", "egress"], 2)?;
    ended(lab, &flow, &payload, &before)
}

/// Around sf2: by sf1 where labels alone say where a packet goes, and otherwise straight to the egress as if from sf2.
fn inspection_skipped(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    flow.arrived()?;
    let (before, payload) = (lab.drops()?, long(b"around the inspection"));
    let led = Led::taken(lab, ("gateway", "sf1"), || flow.send(&payload))?.context(NOT_SENT)?;
    lab.wire.calm();
    match lab.has_nsh() {
        true => led.sent("sf2", "egress", &["egress"], 3)?,
        false => led.sent("gateway", "sf1", &["sf1", "egress"], 1)?,
    }
    ended(lab, &flow, &payload, &before)
}

/// Through sf1, and once more through sf1.
fn doubled(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    flow.arrived()?;
    let (before, payload) = (lab.drops()?, long(b"twice through sf1"));
    let once = Led::taken(lab, ("sf1", "sf2"), || flow.send(&payload))?.context(NOT_SENT)?;
    let back = || once.sent("gateway", "sf1", &["sf1", "sf2", "egress"], 1);
    if let Some(twice) = Led::taken(lab, ("sf1", "sf2"), back)? {
        twice.sent("sf1", "sf2", &["sf2", "egress"], 2)?;
    }
    ended(lab, &flow, &payload, &before)
}

/// Through sf2 first, and then through sf1.
fn reordered(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    flow.arrived()?;
    let (before, payload) = (lab.drops()?, long(b"sf2 before sf1"));
    // On its own path sf1 sends to sf2; on the other, where there is no NSH to tell, to the egress.
    let (stack, next): (&[&str], _) = match lab.has_nsh() {
        true => (&["sf1", "sf2", "egress"], "sf2"),
        false => (&["sf1", "egress"], "egress"),
    };
    let first = Led::taken(lab, ("gateway", "sf1"), || flow.send(&payload))?.context(NOT_SENT)?;
    let ahead = || first.sent("sf1", "sf2", &["sf2", "egress"], 2);
    if let Some(second) = Led::taken(lab, ("sf2", "egress"), ahead)? {
        let back = || second.sent("gateway", "sf1", stack, 1);
        if let Some(third) = Led::taken(lab, ("sf1", next), back)? {
            third.sent("sf2", "egress", &["egress"], 3)?;
        }
    }
    ended(lab, &flow, &payload, &before)
}

fn ended(lab: &Lab, flow: &Flow, payload: &Vec<u8>, before: &crate::lab::Drops) -> Result<Trial> {
    lab.wire.calm();
    let arrived = flow.arrived()?;
    let dropped = before.since(lab)?;
    Ok(Trial::of(
        arrived.contains(payload),
        format!("{} such packets arrived; {dropped}", arrived.len()),
    ))
}

/// Where the tag is in the first context header, which is that of the proof.
const TAG: std::ops::Range<usize> = 28..44;

pub(super) fn proof_altered(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    if !lab.has_nsh() {
        return Ok(Trial::of(true, "profile mpls has no proof of the way that a packet came"));
    }
    on_link(lab, &flow, ("sf2", "egress"), |frame| {
        frame.altered(|bytes, parts| {
            if let Some(nsh) = parts.nsh() {
                bytes[nsh.start + TAG.start] ^= 1;
            }
        })
    })
}

/// Two packets of one flow on their last link: the second gets what the first proved with.
fn proof_moved(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    if !lab.has_nsh() {
        return Ok(Trial::of(true, "profile mpls has no proof of the way that a packet came"));
    }
    flow.arrived()?;
    let first = Led::taken(lab, ("sf2", "egress"), || flow.send(&long(b"the first")))?;
    let first = first.context(NOT_SENT)?;
    let proof = proof_of(&first.frame)?;
    on_link(lab, &flow, ("sf2", "egress"), move |frame| {
        frame.altered(|bytes, parts| {
            if let Some(nsh) = parts.nsh() {
                bytes[nsh.start + 12..nsh.start + 12 + proof.len()].copy_from_slice(&proof);
            }
        })
    })
}

/// Origin, sequence number, tag and key ids.
fn proof_of(frame: &Frame) -> Result<Vec<u8>> {
    let nsh = frame.parts().and_then(|parts| parts.nsh()).context("no NSH")?;
    let context = &frame.bytes[nsh.start + 8..];
    ensure!(context[2] == 1, "the first context header is of type {}", context[2]);
    match context.get(4..4 + usize::from(context[3] & 0x7f)) {
        Some(proof) => Ok(proof.to_vec()),
        None => bail!("the proof is cut short"),
    }
}
