//! What an inspection is to stop, in a form that is to slip past it.

use anyhow::{Result, ensure};
use ringmail_model::defence::Defence;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::domain;
use crate::lab::Lab;

pub(super) const CASES: &[Case] = &[Case {
    attack: "forbidden-word-in-two-packets",
    row: Row::IntrusiveClassification,
    claimed: Claimed::Always,
    given: &[],
    switch: Some(Switch::Off(&[Defence::StreamSearch])),
    expected: "an inspection sees the connection, so a word that it stops passes in no division into packets",
    run: in_two_packets,
}];

/// The second half is sent when the first has arrived, so they travel apart.
fn in_two_packets(lab: &mut Lab) -> Result<Trial> {
    let bob = lab.client("bob")?;
    lab.control(&bob, "/")?;
    let (first, second) = domain::FORBIDDEN.split_at(5);
    let whole = |words: &str| {
        format!(
            "POST /whole HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n{words}",
            domain::WWW,
            words.len()
        )
    };
    lab.www.take();
    let stopped = lab.connect(&bob)?.ask(&whole(domain::FORBIDDEN));
    ensure!(
        !lab.www.saw(domain::FORBIDDEN),
        "the inspection lets the word pass in one packet: {stopped:?}"
    );
    ensure!(lab.connect(&bob)?.ask(&whole("harmless"))? == 200, "a harmless body does not pass");
    lab.www.take();
    let before = lab.drops()?;
    let mut connection = lab.connect(&bob)?;
    let head = format!(
        "POST /halves HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n",
        domain::WWW,
        domain::FORBIDDEN.len()
    );
    connection.send(&(head + first))?;
    let ends = format!("\r\n\r\n{first}");
    lab.eventually("the first half arrives", || lab.www.saw(&ends).then_some(()))?;
    connection.send(second)?;
    // An answer of the service, or of the gateway that its connection broke.
    let status = connection.answer().map_or_else(
        |_| "no answer".to_owned(),
        |head| head.lines().next().unwrap_or_default().to_owned(),
    );
    let passed = lab.www.saw(domain::FORBIDDEN);
    let dropped = before.since(lab)?;
    Ok(Trial::of(passed, format!("the client gets `{status}`; {dropped}")))
}
