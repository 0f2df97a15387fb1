//! What an auditor finds: whether what ends of paths say was proved is what the other elements say that they passed.
//!
//! Where packets are lost behind an element, it has more than the end, and the roots differ: then only numbers are compared,
//! and of a group of 64 sequences also which they are. Nobody's word counts against another while it may be too early.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::side::{self, Lives, Side};
use super::statement::{Node, Statement, Summary, Trail};
use crate::defence::{Defence, off};
use crate::limits::{SUMMARY_CLOCKS_MS, SUMMARY_CONTRADICTIONS, SUMMARY_PROBLEMS};

/// What is to be said of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathVerdict {
    /// Nothing was said to be proved.
    #[default]
    Idle,
    /// Every element says what the end says.
    Proved,
    /// Nothing contradicts, and nothing can be compared yet.
    Open,
    /// The end itself says that packets failed.
    Failed,
    /// An element of the path says nothing.
    Silent,
    /// An element says something else than the end.
    Contradicted,
}

/// One element of a path, compared with the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ElementAudit {
    /// Its name.
    pub element: String,
    /// Its position: 0 is where the path begins.
    pub position: u8,
    /// Packets that it says it passed, of origins that the end knows.
    pub passed: u64,
    /// Packets of the end under roots that are the element's, too.
    pub agrees: u64,
    /// Packets of the end where the element passed more: some were lost behind it, so that only numbers agree.
    pub within: u64,
    /// Packets of the end that the element has not spoken of yet.
    pub unsettled: u64,
    /// Packets of the end of which the element says otherwise.
    pub contradicted: u64,
    /// It says nothing at all.
    pub silent: bool,
}

/// One path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PathAudit {
    /// Its name.
    pub path: String,
    /// The first bytes of its digest, in hex.
    pub digest: String,
    /// Where it ends.
    pub end: String,
    /// All in all.
    pub verdict: PathVerdict,
    /// Packets that the end says were proved, as far as it told them under roots.
    pub claimed: u64,
    /// Of those, packets that every element says it passed, under the same roots.
    pub proved: u64,
    /// Packets that were not proved, by the end's own words, since it started.
    pub failed: u64,
    /// Every element but the end.
    pub elements: Vec<ElementAudit>,
    /// What contradicts, for people; the first of many.
    pub contradictions: Vec<String>,
}

/// What is to be said of summaries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Audit {
    /// By name.
    pub paths: Vec<PathAudit>,
    /// What is wrong with what elements say, whichever path it is about; the first of many.
    pub problems: Vec<String>,
}

impl Audit {
    /// Whether nothing speaks against what the ends of paths say.
    pub fn holds(&self) -> bool {
        use PathVerdict::{Idle, Open, Proved};
        let good = |path: &PathAudit| matches!(path.verdict, Idle | Open | Proved);
        self.problems.is_empty() && self.paths.iter().all(good)
    }
}

/// Compares what elements say in summaries whose signatures hold.
pub fn audit<'a>(summaries: impl IntoIterator<Item = &'a Summary>) -> Audit {
    let mut books = Books::default();
    for summary in summaries {
        for signed in &summary.statements {
            books.add(&signed.statement);
        }
    }
    books.check_numbers();
    let paths: BTreeSet<_> =
        books.paths.iter().map(|(digest, (name, _))| (*name, *digest)).collect();
    let paths = paths.into_iter().map(|(_, digest)| books.path(&digest)).collect();
    Audit { paths, problems: books.problems }
}

type Digest = [u8; 32];

/// Statements in the order in which they are asked for.
#[derive(Debug, Default)]
struct Books<'a> {
    said: BTreeMap<&'a str, Lives<'a>>,
    /// Name and elements of each path.
    paths: BTreeMap<Digest, (&'a str, &'a [String])>,
    /// Where each origin of a path begins.
    origins: BTreeMap<(Digest, [u8; 8]), u8>,
    problems: Vec<String>,
}

impl<'a> Books<'a> {
    fn problem(&mut self, problem: String) {
        if self.problems.len() < SUMMARY_PROBLEMS {
            self.problems.push(problem);
        }
    }

    fn add(&mut self, statement: &'a Statement) {
        let Statement { element, life, number, .. } = statement;
        let fault = statement.fault().or_else(|| {
            let apart = statement.trails.iter().any(|trail| {
                let known =
                    *self.paths.entry(trail.digest.0).or_insert((&trail.path, &trail.elements));
                let origin = (trail.digest.0, trail.origin.0);
                let begins = *self.origins.entry(origin).or_insert(trail.begins);
                known != (&*trail.path, &*trail.elements)
                    || begins != trail.begins
                    || trail.elements.get(usize::from(trail.position)) != Some(element)
            });
            apart.then_some(
                "it describes a path otherwise than others do, or stands elsewhere on it",
            )
        });
        if let Some(fault) = fault {
            return self.problem(format!("{element}, statement {number}: {fault}"));
        }
        let lives = self.said.entry(element).or_default();
        let before = lives.entry(life.0).or_default().insert(*number, statement);
        if before.is_some_and(|before| before != statement) {
            self.problem(format!("{element} says two things in statement {number}"));
        }
    }

    /// Statements of a life count without gaps, and each names the one before.
    fn check_numbers(&mut self) {
        let mut problems = Vec::new();
        for (element, lives) in &self.said {
            for statements in lives.values() {
                let mut all = statements.iter().peekable();
                while let Some((number, statement)) = all.next() {
                    let Some((next, after)) = all.peek() else { continue };
                    if number.checked_add(1) != Some(**next) {
                        problems.push(format!(
                            "what {element} said between its statements {number} and {next} is missing"
                        ));
                    } else if after.previous != statement.hash() {
                        problems.push(format!(
                            "{element}, statement {next}: the one before it was another than {number}"
                        ));
                    }
                }
            }
        }
        problems.into_iter().for_each(|problem| self.problem(problem));
    }

    fn side(
        &self,
        element: &str,
        digest: &Digest,
        origin: &[u8; 8],
        began: Option<u64>,
    ) -> Side<'a> {
        let nobody = Lives::default();
        let lives = self.said.get(element).unwrap_or(&nobody);
        Side::of(lives, digest, origin, began)
    }

    /// Every trail of a path that an element told, and when.
    fn trails(&self, element: &str, digest: &Digest) -> impl Iterator<Item = (u64, &'a Trail)> {
        let statements = self.said.get(element).into_iter().flat_map(|lives| lives.values());
        let statements = statements.flat_map(|statements| statements.values().copied());
        let all = statements.flat_map(|said| said.trails.iter().map(|trail| (said.at_ms, trail)));
        all.filter(move |(_, trail)| trail.digest.0 == *digest)
    }

    fn path(&self, digest: &Digest) -> PathAudit {
        let Some((name, elements)) = self.paths.get(digest) else { return PathAudit::default() };
        let Some((end, before)) = elements.split_last() else { return PathAudit::default() };
        let audited = |(position, element): (u8, &String)| ElementAudit {
            element: element.clone(),
            position,
            silent: !self.said.contains_key(&**element),
            ..ElementAudit::default()
        };
        let mut audit = PathAudit {
            path: (*name).to_owned(),
            digest: crate::PathDigest(*digest).to_string(),
            end: end.clone(),
            failed: self.failed(end, name),
            elements: (0..).zip(before).map(audited).collect(),
            ..PathAudit::default()
        };
        let origins: BTreeSet<[u8; 8]> =
            self.trails(end, digest).map(|(_, trail)| trail.origin.0).collect();
        for origin in &origins {
            self.origin(digest, origin, &mut audit);
        }
        let needed = || {
            audit.elements.iter().filter(|element| element.position >= self.first(digest, &origins))
        };
        let silent = needed().any(|element| element.silent) || !self.said.contains_key(&**end);
        let contradicted = !audit.contradictions.is_empty();
        let settled = needed().all(|element| element.agrees > 0 || element.within > 0);
        audit.verdict = match () {
            () if contradicted => PathVerdict::Contradicted,
            () if silent => PathVerdict::Silent,
            () if audit.failed > 0 => PathVerdict::Failed,
            () if audit.claimed == 0 => PathVerdict::Idle,
            () if settled => PathVerdict::Proved,
            () => PathVerdict::Open,
        };
        audit
    }

    /// The first position at which any of these origins begins.
    fn first(&self, digest: &Digest, origins: &BTreeSet<[u8; 8]>) -> u8 {
        let begins = origins.iter().filter_map(|origin| self.origins.get(&(*digest, *origin)));
        begins.min().copied().unwrap_or(0)
    }

    /// Packets that the end itself says were not proved.
    fn failed(&self, end: &str, path: &str) -> u64 {
        let lives = self.said.get(end).into_iter().flat_map(|lives| lives.values());
        let last = lives.filter_map(|statements| statements.values().next_back());
        let counts = last.flat_map(|said| &said.verdicts).filter(|said| said.path == path);
        let failed = counts.flat_map(|said| &said.counts).filter(|said| said.verdict != "proved");
        failed.fold(0, |sum, said| sum.saturating_add(said.packets))
    }

    /// Compares every element with the end, on one origin.
    fn origin(&self, digest: &Digest, origin: &[u8; 8], audit: &mut PathAudit) {
        let begins = usize::from(self.origins.get(&(*digest, *origin)).copied().unwrap_or(0));
        let Some(first) = audit.elements.get(begins) else { return };
        let own =
            self.trails(&first.element, digest).filter(|(_, trail)| trail.origin.0 == *origin);
        let began = own.map(|(_, trail)| trail.began_ms).min();
        let end = self.side(&audit.end, digest, origin, None);
        let open = end.open.iter().map(|node| node.packets);
        let claimed = open.fold(end.packets(), u64::saturating_add);
        audit.claimed = audit.claimed.saturating_add(claimed);
        let mut proved = claimed;
        let (mut all, names) = (Vec::new(), audit.end.clone());
        for of in audit.elements.iter_mut().skip(begins).filter(|element| !element.silent) {
            let mut side = self.side(&of.element, digest, origin, began);
            let told = self
                .trails(&names, digest)
                .filter(|(at, trail)| trail.origin.0 == *origin && *at <= side.spoke_ms);
            let told = told.map(|(_, trail)| trail.to).max().unwrap_or(0);
            side.knows_nothing_before(told);
            let agreed = of.agrees;
            let open = side.open.iter().map(|node| node.packets);
            of.passed = open.fold(of.passed.saturating_add(side.packets()), u64::saturating_add);
            let mut said = Vec::new();
            let (end, side, names) = (&end, &side, &*names);
            let mut compared = Compared { end, side, names, of, said: &mut said };
            compared.over();
            compared.open();
            all.extend(said);
            proved = proved.min(of.agrees - agreed);
        }
        let all_speak = audit.elements.iter().skip(begins).all(|element| !element.silent);
        audit.proved = audit.proved.saturating_add(if all_speak { proved } else { 0 });
        let room = SUMMARY_PROBLEMS.saturating_sub(audit.contradictions.len());
        audit.contradictions.extend(all.into_iter().take(room));
    }
}

/// An element and the end, side by side.
struct Compared<'c, 'a> {
    end: &'c Side<'a>,
    side: &'c Side<'a>,
    names: &'c str,
    of: &'c mut ElementAudit,
    said: &'c mut Vec<String>,
}

impl Compared<'_, '_> {
    /// What is over.
    fn over(&mut self) {
        // Each packet that came late excuses one that is missing.
        let mut late = self.side.late;
        for (level, index) in side::largest(self.end, self.side) {
            let groups = (index << level, (index << level).saturating_add(1 << level));
            let (claimed, root) = self.end.below(level, index, self.side.segment);
            if claimed == 0 {
                continue;
            }
            let (passed, own) = self.side.below(level, index, 0);
            if !self.end.covers(groups) || !self.side.covers(groups) {
                add(&mut self.of.unsettled, claimed);
            } else if claimed > passed && claimed - passed <= late {
                late -= claimed - passed;
                add(&mut self.of.unsettled, claimed);
            } else if claimed > passed {
                self.against(groups, claimed - passed, "that it never passed");
            } else if claimed == passed && root.is_some() && root == own {
                add(&mut self.of.agrees, claimed);
            } else if claimed == passed && root.is_some() && own.is_some() && late > 0 {
                late -= 1;
                add(&mut self.of.unsettled, claimed);
            } else if claimed == passed && root.is_some() && own.is_some() {
                self.against(groups, claimed, "and it as many, but others");
            } else {
                let extra = match level {
                    0 => self.end.present(index).zip(self.side.present(index)),
                    _ => None,
                };
                match extra.map_or(0, |(claimed, passed)| claimed & !passed) {
                    0 => add(&mut self.of.within, claimed),
                    extra => {
                        self.against(groups, extra.count_ones().into(), "that it never passed");
                    }
                }
            }
        }
    }

    /// What was not over yet when it was said last: the same is proved; what the element did not know later either
    /// contradicts.
    fn open(&mut self) {
        for node in &self.end.open {
            let same = |own: &Node| {
                own.packets == node.packets
                    && own.roots.first() == node.roots.get(self.side.segment)
            };
            if self.side.group(node.index).is_some_and(same) {
                add(&mut self.of.agrees, node.packets);
                continue;
            }
            match self.unknown_later(node.index) {
                0 => add(&mut self.of.unsettled, node.packets),
                extra => {
                    let groups = (node.index, node.index.saturating_add(1));
                    self.against(groups, extra.count_ones().into(), "that it never passed");
                }
            }
        }
    }

    /// Sequences of an open group that the end named, and the element did not even when it spoke later.
    fn unknown_later(&self, group: u64) -> u64 {
        if self.side.anew || self.side.late > 0 {
            return 0;
        }
        let early = |at: u64| at.saturating_add(SUMMARY_CLOCKS_MS) <= self.side.spoke_ms;
        let said = self.end.snapshots.iter().filter(|(at, _)| early(*at));
        let said = said.flat_map(|(_, open)| *open).filter(|node| node.index == group);
        let claimed = said.fold(0, |bits, node| bits | node.present.unwrap_or(0));
        let passed = self.side.present(group);
        passed.map_or(0, |passed| claimed & !passed)
    }

    fn against(&mut self, (from, to): (u64, u64), packets: u64, how: &str) {
        if off(Defence::SummaryRoots) {
            return add(&mut self.of.agrees, packets);
        }
        add(&mut self.of.contradicted, packets);
        let (first, last) = (from.saturating_mul(64), to.saturating_mul(64) - 1);
        if self.said.len() < SUMMARY_CONTRADICTIONS {
            let (element, names) = (&self.of.element, self.names);
            self.said.push(format!(
                "{element} contradicts {names}: of sequences {first} to {last} {names} says {packets} packets were proved {how}"
            ));
        }
    }
}

/// What elements say may be any number.
fn add(sum: &mut u64, packets: u64) {
    *sum = sum.saturating_add(packets);
}

#[cfg(test)]
mod tests;
