//! The attacker on a link: what is sealed between two elements is altered, repeated, read, sent from elsewhere.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringmail_model::defence::Defence;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::forge::Stolen;
use crate::lab::{LONG_BYTES, Lab, long};

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "esp-altered",
        row: Row::Integrity,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::EspIcv])),
        expected: "a sealed packet that was altered on a link is dropped and counted",
        run: altered,
    },
    Case {
        attack: "esp-replayed-after-a-second",
        row: Row::Integrity,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ReplayWindow])),
        expected: "a packet that was recorded and is sent again a second later is dropped and counted",
        run: replayed,
    },
    Case {
        attack: "link-read",
        row: Row::Confidentiality,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::EspEncryption])),
        expected: "nothing of what a client sends can be read on any link between elements",
        run: read,
    },
    Case {
        attack: "frame-of-another-element",
        row: Row::Spoof,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::PreviousElement])),
        expected: "a genuine packet that comes from an element which is not before this one on its path is dropped",
        run: of_another_element,
    },
    Case {
        attack: "esp-replayed-after-a-restart",
        row: Row::Integrity,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::AtStart(&[Defence::OwnKeys], &["egress"])),
        expected: "a packet that was recorded before its receiver started again is not taken afterwards",
        run: replayed_after_restart,
    },
    Case {
        attack: "frame-of-an-old-epoch",
        row: Row::Integrity,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::AtStart(&[Defence::OwnKeys], &["egress"])),
        expected: "a packet that was sealed before its sender began a new epoch is not taken afterwards",
        run: of_old_epoch,
    },
    Case {
        attack: "recording-opened-later",
        row: Row::ForwardSecrecy,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::AtStart(&[Defence::OwnKeys], &["egress"])),
        expected: "a recorded packet is opened by no key that any element has after a new epoch",
        run: opened_later,
    },
    Case {
        attack: "path-of-a-packet-altered",
        row: Row::SfcIntegrity,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::PathLabels])),
        expected: "a packet whose labels or path number are not those of its keys is dropped by the first that opens it",
        run: label_altered,
    },
];

/// AES-GCM is a stream cipher under its ICV: who knows the plaintext makes of it what he likes. Two words of 16 bits change
/// places, so that the checksum inside stays good.
fn altered(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    flow.arrived()?;
    let before = lab.drops()?;
    let payload = long(b"pay Bob.");
    let (ours, theirs) = (payload.clone(), long(b"Bob.pay "));
    let caught = lab.wire.catch(
        |frame| frame.goes("sf2", "egress") && frame.carries(LONG_BYTES),
        move |frame| {
            let altered = frame.altered(|bytes, parts| {
                // Behind ESP's header the inner headers: IPv4 and UDP.
                let text = parts.esp + 16 + 20 + 8;
                for at in 0..ours.len() {
                    bytes[text + at] ^= ours[at] ^ theirs[at];
                }
            });
            vec![altered]
        },
    );
    flow.send(&payload)?;
    caught.frame()?;
    let arrived = flow.arrived()?;
    let succeeded = arrived.contains(&long(b"Bob.pay "));
    let dropped = before.since(lab)?;
    Ok(Trial::of(succeeded, format!("{} altered packets arrived; {dropped}", arrived.len())))
}

fn replayed(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    flow.arrived()?;
    let before = lab.drops()?;
    let payload = long(b"once");
    let caught = lab.wire.catch(
        |frame| frame.goes("sf2", "egress") && frame.carries(LONG_BYTES),
        |frame| vec![frame.bytes.clone()],
    );
    flow.send(&payload)?;
    let frame = caught.frame()?;
    let first = flow.arrived()?;
    ensure!(first == [payload.clone()], "the packet itself arrives {} times", first.len());
    std::thread::sleep(Duration::from_secs(1));
    lab.wire.inject("egress", &frame.bytes)?;
    let again = flow.arrived()?;
    let dropped = before.since(lab)?;
    Ok(Trial::of(
        again.contains(&payload),
        format!("it arrived {} times more; {dropped}", again.len()),
    ))
}

fn read(lab: &mut Lab) -> Result<Trial> {
    let bob = lab.client("bob")?;
    lab.control(&bob, "/")?;
    let flow = lab.flow("inspected")?;
    lab.wire.record();
    flow.send(&long(b"the secret of the datagram"))?;
    lab.control(&bob, "/the-secret-of-the-request")?;
    let arrived = flow.arrived()?;
    ensure!(arrived.len() == 1, "the datagram itself arrives {} times", arrived.len());
    ensure!(lab.www.saw("the-secret-of-the-request"), "the request does not arrive");
    let frames = lab.wire.recorded()?;
    let holds = |words: &[u8]| {
        let read = |bytes: &[u8]| bytes.windows(words.len()).any(|part| part == words);
        frames.iter().filter(|frame| read(&frame.bytes)).count()
    };
    let (datagram, request) =
        (holds(b"the secret of the datagram"), holds(b"the-secret-of-the-request"));
    let observed = format!("of {} frames {} can be read", frames.len(), datagram + request);
    Ok(Trial::of(datagram + request > 0, observed))
}

/// A genuine packet from sf2 to the egress is held back, and comes to the egress as if sf3 had sent it.
fn of_another_element(lab: &mut Lab) -> Result<Trial> {
    let (flow, filtered) = (lab.flow("inspected")?, lab.flow("filtered")?);
    flow.arrived()?;
    let sample = lab.wire.catch(
        |frame| frame.goes("sf3", "egress") && frame.carries(0),
        |frame| vec![frame.bytes.clone()],
    );
    filtered.arrived()?;
    let sample = sample.frame()?;
    let before = lab.drops()?;
    let payload = long(b"from elsewhere");
    let caught = lab.wire.catch(
        |frame| frame.goes("sf2", "egress") && frame.carries(LONG_BYTES),
        move |frame| vec![frame.readdressed(&sample)],
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

fn replayed_after_restart(lab: &mut Lab) -> Result<Trial> {
    replayed_after(lab, "egress")
}

/// Every start of an element is an epoch of its own, with everybody whom it sends to.
fn of_old_epoch(lab: &mut Lab) -> Result<Trial> {
    replayed_after(lab, "sf3")
}

/// On the path through the firewall, the only one whose packets come to the egress from there.
fn replayed_after(lab: &mut Lab, restarted: &str) -> Result<Trial> {
    let flow = lab.flow("filtered")?;
    let payload = long(b"before the restart");
    flow.arrived()?;
    let caught = lab.wire.catch(
        |frame| frame.goes("sf3", "egress") && frame.carries(LONG_BYTES),
        |frame| vec![frame.bytes.clone()],
    );
    flow.send(&payload)?;
    let frame = caught.frame()?;
    let first = flow.arrived()?;
    ensure!(first == [payload.clone()], "the packet itself arrives {} times", first.len());
    lab.restart(restarted)?;
    flow.arrived()?;
    let before = lab.drops()?;
    lab.wire.inject("egress", &frame.bytes)?;
    let again = flow.arrived()?;
    let dropped = before.since(lab)?;
    Ok(Trial::of(
        again.contains(&payload),
        format!("it arrived {} times more; {dropped}", again.len()),
    ))
}

/// The attacker records, waits until the epoch is over, and then takes every machine with every key that is in it.
fn opened_later(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("filtered")?;
    flow.arrived()?;
    let caught = lab.wire.catch(
        |frame| frame.goes("sf3", "egress") && frame.carries(LONG_BYTES),
        |frame| vec![frame.bytes.clone()],
    );
    flow.send(&long(b"recorded"))?;
    let frame = caught.frame()?;
    let esp = &frame.bytes[frame.parts().context("it is sealed")?.esp..];
    let opens = |lab: &Lab| -> Result<(usize, usize)> {
        let mut keys = vec![Stolen::everybodys()];
        for element in &lab.set.elements {
            for export in lab.keys_of(&element.name)? {
                keys.push(Stolen::of(&export)?);
            }
        }
        let opened = keys.iter().map(|key| key.open(esp)).collect::<Result<Vec<_>>>()?;
        Ok((opened.iter().flatten().count(), keys.len()))
    };
    let (now, _) = opens(lab)?;
    ensure!(now > 0, "not even the keys of today open it");
    // Both ends of the segment begin anew.
    lab.restart("egress")?;
    flow.arrived()?;
    let (later, keys) = opens(lab)?;
    Ok(Trial::of(later > 0, format!("of {keys} keys of the epoch after it {later} open it")))
}

/// The labels behind sf2, or where there are none the path's number.
fn label_altered(lab: &mut Lab) -> Result<Trial> {
    let flow = lab.flow("inspected")?;
    flow.arrived()?;
    let before = lab.drops()?;
    let payload = long(b"altered label");
    let (labels, path) = (lab.stack(&["sf2", "sf3"])?, lab.path_number("vault")?);
    let caught = lab.wire.catch(
        |frame| frame.goes("sf1", "sf2") && frame.carries(LONG_BYTES),
        move |frame| {
            if frame.labels() != labels {
                return vec![frame.relabelled(&labels)];
            }
            let other = frame.altered(|bytes, parts| {
                if let Some(nsh) = parts.nsh() {
                    // 24 bits, before the service index.
                    bytes[nsh.start + 4..nsh.start + 7].copy_from_slice(&path.to_be_bytes()[1..]);
                }
            });
            vec![other]
        },
    );
    flow.send(&payload)?;
    caught.frame()?;
    let arrived = flow.arrived()?;
    let dropped = before.since(lab)?;
    let count = arrived.len();
    Ok(Trial::of(arrived.contains(&payload), format!("{count} such packets arrived; {dropped}")))
}
