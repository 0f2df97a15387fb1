//! What a worker at the end of paths said last of the way that packets came, and how an element tells it.

use std::collections::{BTreeMap, HashSet};
use std::time::{Instant, SystemTime};

use ringmail_dataplane::nsh::journal::Finding;
use ringmail_model::PathId;
use ringmail_model::pathset::{Element, Path, PathSet};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::report;
use super::status::add_proofs;
use super::worker::Core;
use crate::control::{PathProofs, ProofCount, ProofRecord};

const TIME: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// What one worker found on one path.
#[derive(Debug)]
pub(crate) struct Findings {
    path: PathId,
    counts: Vec<ProofCount>,
    last: Vec<(Instant, Finding)>,
}

impl Findings {
    /// On those of these paths that end here.
    pub(super) fn of(core: &mut Core, paths: &HashSet<PathId>, last: usize) -> Vec<Findings> {
        let ours = core.paths().iter().filter(|state| paths.contains(&state.config.id));
        let found = ours.filter_map(|state| {
            let journal = state.nsh.as_ref()?.journal()?;
            let (path, counts) = (state.config.id, report::proofs(state));
            Some(Findings { path, counts, last: journal.read(last) })
        });
        found.collect()
    }
}

/// One instant by two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant, SystemTime);

impl Clock {
    pub(super) fn now() -> Clock {
        Clock(Instant::now(), SystemTime::now())
    }

    fn text(self, at: Instant) -> String {
        let before = self.0.saturating_duration_since(at);
        let time = self.1 + at.saturating_duration_since(self.0) - before;
        OffsetDateTime::from(time).format(TIME).unwrap_or_default()
    }
}

/// Findings of all workers and versions, joined by the names of paths.
pub(super) struct Told<'a> {
    set: &'a PathSet,
    element: &'a Element,
    known: &'a BTreeMap<PathId, &'a Path>,
    paths: BTreeMap<String, (PathProofs, Vec<(Instant, ProofRecord)>)>,
}

impl<'a> Told<'a> {
    pub(super) fn new(
        set: &'a PathSet,
        element: &'a Element,
        known: &'a BTreeMap<PathId, &'a Path>,
    ) -> Told<'a> {
        Told { set, element, known, paths: BTreeMap::new() }
    }

    /// Adds what one worker found. Versions of a path count together already.
    pub(super) fn add(&mut self, findings: Vec<Findings>, clock: Clock) {
        let mut counted = HashSet::new();
        for Findings { path, counts, last } in findings {
            let Some(path) = self.known.get(&path) else { continue };
            let records: Vec<_> = last
                .iter()
                .map(|(at, found)| (*at, self.record(path, found, clock.text(*at))))
                .collect();
            let (proofs, all) = self.paths.entry(path.name.clone()).or_default();
            if counted.insert(path.name.as_str()) {
                add_proofs(&mut proofs.counts, &counts);
            }
            all.extend(records);
        }
    }

    /// By name; the last verdicts, and the last that failed, up to so many of each.
    pub(super) fn paths(self, last: usize) -> Vec<PathProofs> {
        let end = &self.element.name;
        let told = self.paths.into_iter().map(|(path, (proofs, mut records))| {
            records.sort_by_key(|(at, _)| *at);
            let records = lately(records.into_iter().map(|(_, record)| record).collect(), last);
            PathProofs { path, end: end.clone(), last: records, ..proofs }
        });
        told.collect()
    }

    fn record(&self, path: &Path, finding: &Finding, time: String) -> ProofRecord {
        let Finding { verdict, sequence, from, .. } = *finding;
        let name = |id| match self.set.element(id) {
            Some(element) => element.name.clone(),
            None => id.0.to_string(),
        };
        let begins = path.element_at(usize::from(from));
        ProofRecord {
            time,
            origin: name(finding.element()),
            worker: finding.worker().0,
            sequence,
            verdict: verdict.name().to_owned(),
            from: from.into(),
            from_element: begins.map(name).unwrap_or_default(),
        }
    }
}

/// Of records in order of time, the last and the last that failed.
fn lately(records: Vec<ProofRecord>, last: usize) -> Vec<ProofRecord> {
    let newest = records.len().saturating_sub(last);
    let failed = records.iter().filter(|record| !record.is_proved()).count();
    let mut passed_over = failed.saturating_sub(last);
    let kept = records.into_iter().enumerate().filter(|(at, record)| {
        let failed = !record.is_proved();
        let old = failed && passed_over > 0;
        passed_over -= usize::from(old);
        *at >= newest || failed && !old
    });
    kept.map(|(_, record)| record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_and_the_last_that_failed_are_told() {
        let record = |nth: u64| {
            let verdict = if nth < 4 { "wrong_tag" } else { "proved" }.to_owned();
            ProofRecord { sequence: nth, verdict, ..ProofRecord::default() }
        };
        let told = |last| {
            let kept = lately((0..10).map(record).collect(), last);
            kept.iter().map(|record| record.sequence).collect::<Vec<_>>()
        };
        assert_eq!(told(2), [2, 3, 8, 9]);
        assert_eq!(told(7), (0..10).collect::<Vec<_>>());
        assert_eq!(told(0), [0_u64; 0]);
    }

    #[test]
    fn an_instant_is_told_by_the_clock_on_the_wall() {
        let (now, wall) =
            (Instant::now(), SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(86_400));
        let clock = Clock(now, wall);
        assert_eq!(clock.text(now), "1970-01-02T00:00:00.000000Z");
        let later = now + std::time::Duration::from_micros(1_500_001);
        assert_eq!(clock.text(later), "1970-01-02T00:00:01.500001Z");
    }
}
