//! What functions are told of flows: read by a hop that is not granted it, and put where it does not belong.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use ringmail_model::defence::Defence;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::client::Client;
use crate::domain;
use crate::lab::Lab;
use crate::wire::{Action, Frame};

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "metadata-read-without-a-grant",
        row: Row::Metadata,
        claimed: Claimed::WithNsh,
        given: &[],
        switch: Some(Switch::Off(&[Defence::MetadataSecrecy])),
        expected: "a hop that is not granted a client's identity cannot read it in packets that it passes on, nor can a link",
        run: read,
    },
    Case {
        attack: "metadata-of-another-client",
        row: Row::Metadata,
        claimed: Claimed::WithNsh,
        given: &[Defence::LinkCode],
        switch: Some(Switch::Off(&[Defence::MetadataSecrecy])),
        expected: "even if every code on the links is forged, what is said of one client's packets opens with no other's",
        run: of_another,
    },
];

/// Why there is nothing to attack in profile `mpls`.
const NOTHING_TOLD: &str = "profile mpls tells no function whose a packet is";

/// sf4 lets bob through by his identity, which it is told, and nobody else: it is there and is read.
fn told(lab: &Lab) -> Result<(Client, Client)> {
    let (alice, bob) = (lab.client("alice")?, lab.client("bob")?);
    ensure!(
        put(lab, &bob)? == 200,
        "the function that is told who bob is does not let him through"
    );
    ensure!(put(lab, &alice)? != 200, "the function lets alice through, whom it is not to");
    Ok((alice, bob))
}

/// The status of a request that takes the path over sf1 and sf4.
fn put(lab: &Lab, client: &Client) -> Result<u16> {
    let request =
        format!("PUT /told HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n", domain::WWW);
    lab.connect(client)?.ask(&request)
}

/// Whoever owns sf1 looks through everything that comes to it and goes on from it.
fn read(lab: &mut Lab) -> Result<Trial> {
    if !lab.has_nsh() {
        return Ok(Trial::of(true, NOTHING_TOLD));
    }
    let (_, bob) = told(lab)?;
    lab.wire.record();
    ensure!(put(lab, &bob)? == 200, "the request does not pass");
    let frames = lab.wire.recorded()?;
    let passed = frames.iter().filter(|frame| passes(frame));
    let passed: Vec<&Frame> = passed.collect();
    ensure!(!passed.is_empty(), "nothing of it passes sf1");
    let words = b"attack.example/client/bob";
    let holds = |frame: &&&Frame| frame.bytes.windows(words.len()).any(|part| part == words);
    let read = passed.iter().filter(holds).count();
    Ok(Trial::of(read > 0, format!("of {} frames {read} say whose they are", passed.len())))
}

/// Whether a frame is one of those on the way to sf4 that whoever owns sf1 sees.
fn passes(frame: &Frame) -> bool {
    let there = frame.goes("gateway", "sf1") || frame.goes("sf1", "sf4");
    there && frame.carries(0)
}

/// What is said of a packet of bob's goes into packets of alice's, on the link to sf4.
fn of_another(lab: &mut Lab) -> Result<Trial> {
    if !lab.has_nsh() {
        return Ok(Trial::of(true, NOTHING_TOLD));
    }
    let (alice, bob) = told(lab)?;
    let place = place(lab)?;
    lab.wire.record();
    ensure!(put(lab, &bob)? == 200, "the request does not pass");
    let frames = lab.wire.recorded()?;
    let said = frames.iter().filter(|frame| frame.goes("sf1", "sf4"));
    let mut said = said.filter_map(|frame| Some(frame.bytes.get(within(frame, &place)?)?.to_vec()));
    let said = said.next_back().context("no packet of bob's says whose it is")?;
    let before = lab.drops()?;
    lab.wire.hook(move |frame| {
        let there = if frame.goes("sf1", "sf4") { within(frame, &place) } else { None };
        match there {
            None => Action::Pass,
            Some(there) => Action::Instead(vec![frame.altered(|bytes, _| {
                bytes[there].copy_from_slice(&said);
            })]),
        }
    });
    let status = put(lab, &alice);
    lab.wire.calm();
    let dropped = before.since(lab)?;
    let passed = status.as_ref().is_ok_and(|status| *status == 200);
    let got = status.map_or_else(|_| "no answer".to_owned(), |status| status.to_string());
    Ok(Trial::of(passed, format!("alice as bob gets {got}; {dropped}")))
}

/// Where in the NSH of the path over sf4 that is which sf4 is told.
fn place(lab: &Lab) -> Result<Range<usize>> {
    let path = lab.set.path_named("told").context("the path")?;
    let layout = lab.set.layout(path).context("its header")?;
    layout.metadata().next().context("nobody is told anything on it")
}

fn within(frame: &Frame, place: &Range<usize>) -> Option<Range<usize>> {
    let nsh = frame.parts()?.nsh()?;
    (nsh.start + place.end <= nsh.end).then(|| nsh.start + place.start..nsh.start + place.end)
}
