//! Trails for auditors: what each element of a chain says it passed, put side by side (`ringmail_model::summary`).

use ringmail_dataplane::nsh::trail::Stretch;
use ringmail_model::summary::{Audit, Hex, PathVerdict, Signed, Statement, Summary, Trail, audit};

use crate::nsh::{CHAINS, pinned};
use crate::packets;
use crate::testbed::{Chain, FORWARD, Position, Wire};

/// Packets enough that some groups are over.
const MANY: usize = 4_500;

/// What the element at a position signs.
fn statement(chain: &mut Chain, intrusive: &[bool], position: Position) -> Signed {
    let elements: Vec<String> = (0..intrusive.len() + 2).map(|at| format!("e{at}")).collect();
    let sealing = |hops: usize| intrusive[..hops].iter().filter(|seals| **seals).count() as u8;
    let trail = |Stretch { origin, from, to, late, nodes, open, .. }| Trail {
        path: "forward".to_owned(),
        digest: Hex([FORWARD.0 as u8; 32]),
        elements: elements.clone(),
        position: position as u8,
        segment: sealing(position.min(intrusive.len())),
        segments: sealing(intrusive.len()) + 1,
        origin: Hex(origin),
        began_ms: 5,
        from,
        to,
        late,
        nodes,
        open,
        ..Trail::default()
    };
    let trails = chain.header(position, FORWARD).tell().into_iter().map(trail).collect();
    let element = elements[position].clone();
    let (number, at_ms) = (1, 10);
    let statement = Statement { element, number, at_ms, trails, ..Statement::default() };
    Signed { statement, ..Signed::default() }
}

fn told(chain: &mut Chain, intrusive: &[bool]) -> Summary {
    let said = (0..intrusive.len() + 2).map(|position| statement(chain, intrusive, position));
    Summary { statements: said.collect(), ..Summary::default() }
}

/// Sends a packet as far as the element at `until`.
fn send(chain: &mut Chain, until: Position) {
    let mut frame = chain.enter(&packets::tcp(b"hello")).expect("it enters");
    while frame.to < until {
        frame = chain.step(&frame).frame.expect("it goes on");
    }
    let last = chain.step(&frame);
    assert!(last.frame.is_some() || last.delivered.is_some(), "{:?}", last.verdict);
}

fn audited(summary: &Summary) -> Audit {
    let found = audit([summary]);
    assert_eq!(found.problems, [""; 0]);
    found
}

#[test]
fn every_element_says_what_the_end_says() {
    for intrusive in CHAINS {
        let mut chain = pinned(Wire::MplsNsh, intrusive);
        let end = intrusive.len() + 1;
        (0..MANY).for_each(|_| send(&mut chain, end));
        let summary = told(&mut chain, intrusive);
        let found = audited(&summary);
        let [path] = &found.paths[..] else { panic!("{found:?}") };
        assert_eq!(path.verdict, PathVerdict::Proved, "{found:#?}");
        assert_eq!((path.claimed, path.proved), (MANY as u64, MANY as u64));
        assert!(path.elements.iter().all(|element| element.agrees == MANY as u64), "{found:#?}");
    }
}

#[test]
fn what_is_lost_behind_a_hop_contradicts_nobody() {
    let intrusive = &[true, false];
    let mut chain = pinned(Wire::MplsNsh, intrusive);
    for nth in 0..MANY {
        // Some get no further than the first hop.
        send(&mut chain, if nth % 500 == 0 { 1 } else { 3 });
    }
    let found = audited(&told(&mut chain, intrusive));
    let path = &found.paths[0];
    assert_eq!(path.verdict, PathVerdict::Proved, "{found:#?}");
    let [gateway, first, second] = &path.elements[..] else { panic!("{found:#?}") };
    assert_eq!((gateway.passed, gateway.contradicted), (MANY as u64, 0));
    assert_eq!((first.passed, second.passed), (MANY as u64, MANY as u64 - 9));
    assert_eq!((second.agrees, second.within), (path.claimed, 0), "nothing is lost behind it");
    assert!(first.within > 0 && first.agrees > 3_000, "{found:#?}");
    assert_eq!(path.proved, first.agrees);
}
