use super::*;
use crate::PathDigest;
use crate::summary::tree::{self, GROUP};
use crate::summary::{Counted, Hex, Signed, Verdicts};

const PATH: [u8; 32] = [7; 32];
const ORIGIN: [u8; 8] = [0, 0, 0, 0, 9, 9, 9, 9];
const NAMES: [&str; 4] = ["gateway", "sf1", "sf2", "egress"];

/// What an element passed: from which group on it speaks, which are over, and the sequences.
fn trail(position: usize, from: u64, to: u64, sequences: impl IntoIterator<Item = u64>) -> Trail {
    let mut groups: BTreeMap<u64, u64> = BTreeMap::new();
    for sequence in sequences {
        *groups.entry(sequence / GROUP).or_default() |= 1 << (sequence % GROUP);
    }
    let segments = 2;
    let leaf = |(group, present): (&u64, &u64)| {
        let root = |segment: u8| {
            let there = (0..GROUP).filter(|bit| present >> bit & 1 == 1);
            let marks = there.map(|bit| [segment, bit as u8, 0, 0, 0, 0, 0, *group as u8]);
            tree::leaf(&PathDigest(PATH), &ORIGIN, *group, *present, marks)
        };
        // sf1 does not open packets: what leaves it is in the segment of the gateway.
        let roots = match position {
            3 => (0..segments).map(root).collect(),
            2 => vec![root(1)],
            _ => vec![root(0)],
        };
        Node {
            level: 0,
            index: *group,
            packets: present.count_ones().into(),
            present: Some(*present),
            roots,
        }
    };
    let (over, open): (Vec<_>, Vec<_>) = groups.iter().partition(|(group, _)| **group < to);
    Trail {
        path: "path".to_owned(),
        digest: Hex(PATH),
        elements: NAMES.map(str::to_owned).to_vec(),
        position: position as u8,
        segment: u8::from(position >= 2),
        segments,
        origin: Hex(ORIGIN),
        began_ms: 1_000,
        from,
        to,
        nodes: over.into_iter().map(leaf).collect(),
        open: open.into_iter().map(leaf).collect(),
        ..Trail::default()
    }
}

/// What an element says first, a while after the origin began.
fn said(position: usize, trail: Trail) -> Statement {
    Statement {
        element: NAMES[position].to_owned(),
        since_ms: 500,
        number: 1,
        at_ms: 5_000,
        trails: vec![trail],
        ..Statement::default()
    }
}

/// What all say who passed the same; the first 4 groups are over.
fn same() -> [Statement; 4] {
    [0, 1, 2, 3].map(|position| said(position, trail(position, 0, 4, 1..=300)))
}

/// What it says next, and that it was said after the other.
fn next(before: &Statement, trail: Trail) -> Statement {
    let (number, previous) = (before.number + 1, before.hash());
    let at_ms = before.at_ms + 5_000;
    Statement { number, previous, at_ms, trails: vec![trail], ..before.clone() }
}

fn audited(statements: impl IntoIterator<Item = Statement>) -> Audit {
    let signed = statements.into_iter().map(|statement| Signed { statement, ..Signed::default() });
    audit([&Summary { statements: signed.collect(), ..Summary::default() }])
}

/// Of the only path, with nothing else wrong.
fn path(statements: impl IntoIterator<Item = Statement>) -> PathAudit {
    let Audit { paths, problems } = audited(statements);
    assert_eq!(problems, [""; 0]);
    let [path] = paths.try_into().expect("one path");
    path
}

#[test]
fn who_says_the_same_agrees() {
    let path = path(same());
    assert_eq!((path.verdict, path.claimed, path.proved), (PathVerdict::Proved, 300, 300));
    assert!(path.elements.iter().all(|of| (of.agrees, of.passed) == (300, 300)));
}

#[test]
fn an_end_that_claims_what_a_hop_never_passed_is_contradicted() {
    // One in a group that is over, all of a group, and one in the place of another.
    let claims: [Vec<u64>; 3] =
        [(0..=300).collect(), (1..=300).chain(10_000..10_010).collect(), (0..=299).collect()];
    for (nth, claimed) in claims.into_iter().enumerate() {
        let mut all = same();
        let to = if nth == 1 { 200 } else { 4 };
        all[3] = said(3, trail(3, 0, to, claimed));
        for statement in &mut all[..3] {
            statement.trails[0].to = to;
            let open = std::mem::take(&mut statement.trails[0].open);
            match to {
                4 => statement.trails[0].open = open,
                _ => statement.trails[0].nodes.extend(open),
            }
        }
        let path = path(all);
        assert_eq!(path.verdict, PathVerdict::Contradicted, "{nth}: {path:#?}");
        assert!(path.elements.iter().all(|of| of.contradicted > 0), "{nth}: {path:#?}");
        assert!(path.contradictions[0].starts_with("gateway contradicts egress: of sequences"));
    }
}

#[test]
fn a_hop_that_passed_others_than_it_says_contradicts_the_end() {
    let mut all = same();
    all[1].trails[0].nodes[2].roots[0][5] ^= 1;
    let path = path(all);
    assert_eq!(path.verdict, PathVerdict::Contradicted);
    let contradicted: Vec<u64> = path.elements.iter().map(|of| of.contradicted).collect();
    assert_eq!((contradicted, path.proved), (vec![0, 64, 0], 300 - 64));
}

/// The same with the first 4 groups in one node, which has a root and says how many packets, but not which.
fn coarse(mut trail: Trail) -> Trail {
    let fine = std::mem::take(&mut trail.nodes);
    assert!(fine.iter().map(|node| (node.level, node.index)).eq((0..4).map(|index| (0, index))));
    let root = |segment: usize| {
        let two =
            |left: usize| tree::node(&fine[left].roots[segment], &fine[left + 1].roots[segment]);
        tree::node(&two(0), &two(2))
    };
    trail.nodes = vec![Node {
        level: 2,
        index: 0,
        packets: fine.iter().map(|node| node.packets).sum(),
        present: None,
        roots: (0..fine[0].roots.len()).map(root).collect(),
    }];
    trail
}

/// What all say who passed the same, but for the end, which claims these; who of them speaks of a coarse node.
fn coarsely(speaks: fn(usize) -> bool, claimed: impl IntoIterator<Item = u64>) -> PathAudit {
    let mut all = same();
    all[3] = said(3, trail(3, 0, 4, claimed));
    for (_, statement) in (0..).zip(&mut all).filter(|(position, _)| speaks(*position)) {
        statement.trails = vec![coarse(std::mem::take(&mut statement.trails[0]))];
    }
    path(all)
}

#[test]
fn who_says_of_a_coarse_node_how_many_packets_is_held_to_it() {
    // All of them, all but the end, and the end alone.
    for speaks in
        [|_| true, |position| position < 3, |position| position == 3] as [fn(usize) -> bool; 3]
    {
        let found = coarsely(speaks, 1..=300);
        assert_eq!((found.verdict, found.proved), (PathVerdict::Proved, 300), "{found:#?}");
        // One more of what is over than anybody passed, though nobody says which.
        let found = coarsely(speaks, (0..=300).filter(|sequence| *sequence != 299));
        let contradicted: Vec<u64> = found.elements.iter().map(|of| of.contradicted).collect();
        assert_eq!(found.verdict, PathVerdict::Contradicted, "{found:#?}");
        assert_eq!(contradicted, [1, 1, 1], "{found:#?}");
        let said = "gateway contradicts egress: of sequences 0 to 255 egress says 1 packets were proved that it never passed";
        assert_eq!(found.contradictions[0], said);
        // As many, and one of them another.
        let found = coarsely(speaks, (0..=300).filter(|sequence| *sequence != 7));
        let contradicted: Vec<u64> = found.elements.iter().map(|of| of.contradicted).collect();
        assert_eq!(found.verdict, PathVerdict::Contradicted, "{found:#?}");
        assert!(contradicted.iter().all(|packets| *packets > 0), "{found:#?}");
        // Fewer: what is lost on the way, which may be any of them.
        let found = coarsely(speaks, (1..=300).filter(|sequence| *sequence != 100));
        assert_eq!((found.verdict, found.claimed), (PathVerdict::Proved, 299), "{found:#?}");
        assert!(found.elements.iter().all(|of| of.contradicted == 0), "{found:#?}");
        assert_eq!(found.elements[0].within, 254, "{found:#?}");
    }
}

#[test]
fn what_is_lost_on_the_way_contradicts_nobody() {
    let mut all = same();
    all[3] = said(3, trail(3, 0, 4, (1..=300).filter(|sequence| sequence % 100 != 0)));
    let path = path(all);
    assert_eq!((path.verdict, path.claimed), (PathVerdict::Proved, 297));
    // 100 and 200 are of groups that are over; 300 is of one that is not, where the two differ.
    let of = &path.elements[0];
    assert_eq!((of.agrees, of.within, of.unsettled), (63 + 64, 63 + 63, 44), "{path:#?}");
}

#[test]
fn who_says_nothing_is_named_and_one_who_knows_nothing_contradicts() {
    let [gateway, _, sf2, egress] = same();
    let found = path([gateway.clone(), sf2.clone(), egress.clone()]);
    assert_eq!((found.verdict, found.proved), (PathVerdict::Silent, 0));
    assert!(found.elements[1].silent && !found.elements[0].silent);
    // It speaks, and not of this: the same as having passed nothing.
    let sf1 = Statement { trails: vec![], ..said(1, Trail::default()) };
    let all = || [gateway.clone(), sf1.clone(), sf2.clone(), egress.clone()];
    let found = path(all());
    assert_eq!((found.verdict, found.elements[1].contradicted), (PathVerdict::Contradicted, 255));
    // If it spoke before the end did, it may not have known; nor if it had no room.
    let mut early = all();
    early[1].at_ms -= 1;
    assert_eq!(path(early).elements[1].unsettled, 300);
    let mut full = all();
    full[1].untold = vec![Hex(PATH)];
    assert_eq!(path(full).elements[1].unsettled, 300);
    let found = path([gateway, sf1, sf2]);
    assert_eq!(found.verdict, PathVerdict::Silent, "the end");
}

#[test]
fn what_is_open_contradicts_only_who_spoke_later_and_still_did_not_know() {
    let [gateway, sf1, sf2, _] = same();
    let egress = said(3, trail(3, 0, 4, 1..=301));
    let at_once = path([gateway.clone(), sf1.clone(), sf2.clone(), egress.clone()]);
    assert_eq!((at_once.verdict, at_once.elements[1].unsettled), (PathVerdict::Proved, 46));
    let all = [gateway, sf1, sf2, egress];
    let later = |passed: u64| {
        let nexts = all.iter().enumerate().map(move |(position, before)| {
            let last = if position == 3 { 301 } else { passed };
            next(before, trail(position, 4, 4, 256..=last))
        });
        path(all.iter().cloned().chain(nexts))
    };
    let found = later(300);
    assert_eq!((found.verdict, found.elements[1].contradicted), (PathVerdict::Contradicted, 1));
    assert_eq!(later(301).proved, 301);
}

#[test]
fn what_came_late_or_before_an_element_began_anew_is_not_settled() {
    let mut late = same();
    late[1] = said(1, trail(1, 0, 4, (1..=300).filter(|sequence| *sequence != 70)));
    late[1].trails[0].late = 1;
    let found = path(late);
    assert_eq!((found.verdict, found.elements[1].unsettled), (PathVerdict::Proved, 64));
    // One that was late excuses one, and not another.
    let missing = (1..=300).filter(|sequence| ![70, 140].contains(sequence));
    let mut late = same();
    late[1] = said(1, trail(1, 0, 4, missing));
    late[1].trails[0].late = 1;
    let found = path(late);
    assert_eq!((found.verdict, found.elements[1].contradicted), (PathVerdict::Contradicted, 1));

    let mut anew = same();
    anew[1] = said(1, trail(1, 0, 4, 100..=300));
    assert_eq!(path(anew.clone()).verdict, PathVerdict::Contradicted);
    anew[1].since_ms = 2_000;
    let found = path(anew);
    assert_eq!((found.verdict, found.elements[1].contradicted), (PathVerdict::Proved, 0));
    assert_eq!((found.elements[1].unsettled, found.elements[1].agrees), (127, 64 + 64 + 45));
}

#[test]
fn statements_that_are_missing_or_changed_leave_a_gap() {
    let all = same();
    let [one, two, three] = {
        let one = all[1].clone();
        let two = next(&one, trail(1, 4, 5, 256..=400));
        let three = next(&two, trail(1, 5, 6, 320..=400));
        [one, two, three]
    };
    assert_eq!(audited([one.clone(), two.clone(), three.clone()]).problems, [""; 0]);
    let missing = audited([one.clone(), three.clone()]).problems;
    assert_eq!(missing, ["what sf1 said between its statements 1 and 3 is missing"]);
    let other = Statement { at_ms: 1, ..two.clone() };
    let changed = audited([one.clone(), other.clone(), three]).problems;
    assert_eq!(changed, ["sf1, statement 3: the one before it was another than 2"]);
    let twice = audited([one.clone(), two.clone(), other]).problems;
    assert_eq!(twice, ["sf1 says two things in statement 2"]);
    assert_eq!(audited([one.clone(), two.clone(), two]).problems, [""; 0], "given twice");
    // Of a later time alone nothing is missing.
    let mut apart = all[2].clone();
    apart.trails[0].elements.swap(0, 1);
    let apart = audited([one, apart]).problems;
    assert!(apart[0].contains("describes a path otherwise"), "{apart:?}");
}

#[test]
fn an_end_that_says_itself_that_packets_failed_is_believed() {
    let mut all = same();
    let counted =
        |verdict: &str, packets| Counted { verdict: verdict.to_owned(), from: 0, packets };
    let counts = vec![counted("proved", 300), counted("wrong_tag", 2)];
    all[3].verdicts = vec![Verdicts { path: "path".to_owned(), counts }];
    let path = path(all);
    assert_eq!((path.verdict, path.failed, path.proved), (PathVerdict::Failed, 2, 300));
}
