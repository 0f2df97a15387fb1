//! What an element signs of the packets that it passed (`docs/nsh.md`, "Roots").

use std::collections::{BTreeSet, VecDeque};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use ringmail_dataplane::nsh::trail::Stretch;
use ringmail_model::PathId;
use ringmail_model::pathset::Path;
use ringmail_model::summary::{Counted, Hex, Statement, Trail, Verdicts};
use tokio::sync::oneshot;

use super::command::Command;
use super::observe::Observer;
use super::worker::Core;
use crate::control::{Observed, PathProofs, ProofCount};
use crate::limits::STATEMENT_ROOTS;
use crate::random;
use crate::summary::{seal_statement, unix_ms};

/// What one worker passed on one path.
#[derive(Debug)]
pub(crate) struct Walked {
    path: PathId,
    position: u8,
    seals: Vec<bool>,
    /// Where each origin begins.
    stretches: Vec<(Stretch, u8)>,
    /// Some origins had no room.
    untold: bool,
}

impl Walked {
    /// Since this was asked last. Nothing for paths whose packets carry no proofs, or where no trails are kept.
    pub(super) fn of(core: &mut Core) -> Vec<Walked> {
        let paths: Vec<PathId> = core.paths().iter().map(|state| state.config.id).collect();
        let walked = paths.into_iter().filter_map(|path| {
            let nsh = core.paths().get_mut(path)?.nsh.as_deref_mut()?;
            let config = nsh.config();
            let (position, seals, summaries) =
                (config.position, config.seals.clone(), config.summaries);
            let untold = nsh.untold() > 0;
            let told = nsh.tell().into_iter();
            let stretches = told.filter_map(|stretch| {
                let element = u16::from_be_bytes([stretch.origin[0], stretch.origin[1]]);
                let begins = nsh.begins(ringmail_model::ElementId(element))?;
                Some((stretch, begins))
            });
            let stretches = stretches.collect();
            summaries.then_some(Walked { path, position, seals, stretches, untold })
        });
        walked.collect()
    }
}

/// Signs for an element, one statement after another.
#[derive(Debug)]
pub(super) struct Notary {
    life: [u8; 8],
    since_ms: u64,
    number: u64,
    previous: Hex<32>,
    /// What was drained and not signed yet: not all fits into one statement.
    pending: VecDeque<Trail>,
}

impl Notary {
    /// Of an element that begins now.
    pub(super) fn new() -> Result<Notary> {
        let (number, previous, pending) = Default::default();
        Ok(Notary { life: random::bytes()?, since_ms: unix_ms(), number, previous, pending })
    }
}

impl Observer {
    /// The next statement of the element; none where nothing is kept.
    pub(super) async fn statement(&self) -> Result<Observed> {
        let mut notary = self.notary.lock().await;
        let (mut verdicts, mut untold) = (Vec::new(), BTreeSet::new());
        if notary.pending.is_empty() {
            if !self.domain.proofs.summaries || !self.domain.profile.has_nsh() {
                return Ok(Observed::Statement { signed: None, more: false });
            }
            notary.pending = self.trails(&mut untold).await?;
            verdicts = self.told_proofs(None, 0).await?.into_iter().map(verdicts_of).collect();
        }
        let (mut trails, mut roots) = (Vec::new(), 0);
        while let Some(next) = notary.pending.front() {
            let more: usize =
                next.nodes.iter().chain(&next.open).map(|node| node.roots.len()).sum();
            if !trails.is_empty() && roots + more > STATEMENT_ROOTS {
                break;
            }
            roots += more;
            trails.extend(notary.pending.pop_front());
        }
        let statement = Statement {
            domain: self.domain.domain.to_string(),
            element: self.element.name.clone(),
            life: Hex(notary.life),
            since_ms: notary.since_ms,
            number: notary.number + 1,
            previous: notary.previous,
            at_ms: unix_ms(),
            path_set: self.set.version.0,
            trails,
            untold: untold.into_iter().collect(),
            verdicts,
        };
        let signed = seal_statement(statement, &self.identity)?;
        (notary.number, notary.previous) = (signed.statement.number, signed.statement.hash());
        let signed = Some(Box::new(signed));
        Ok(Observed::Statement { signed, more: !notary.pending.is_empty() })
    }

    /// What all workers passed since this was asked last.
    async fn trails(&self, untold: &mut BTreeSet<Hex<32>>) -> Result<VecDeque<Trail>> {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut trails = VecDeque::new();
        for (worker, handle) in (0..).zip(&self.workers) {
            let (answer, walked) = oneshot::channel();
            handle.give(Command::Tell(answer));
            for walked in walked.await.context("a worker has stopped")? {
                let mut known = self.versions.iter().rev().flat_map(|set| &set.paths);
                let Some(path) = known.find(|path| path.id == walked.path) else { continue };
                if walked.untold {
                    untold.insert(Hex(path.digest.0));
                }
                let elements = self.names(path);
                let sealing = |seals: &[bool]| seals.iter().filter(|seals| **seals).count();
                let segments = sealing(&walked.seals);
                let until = (usize::from(walked.position) + 1).min(walked.seals.len());
                let segment = sealing(&walked.seals[..until]).saturating_sub(1);
                for (stretch, begins) in walked.stretches {
                    let Stretch { origin, began, from, to, late, nodes, open } = stretch;
                    let began = wall.checked_sub(now.saturating_duration_since(began));
                    trails.push_back(Trail {
                        path: path.name.clone(),
                        digest: Hex(path.digest.0),
                        elements: elements.clone(),
                        position: walked.position,
                        worker,
                        segment: segment as u8,
                        segments: segments as u8,
                        origin: Hex(origin),
                        begins,
                        began_ms: began.map_or(0, ms),
                        from,
                        to,
                        late,
                        nodes,
                        open,
                    });
                }
            }
        }
        Ok(trails)
    }

    /// The names of a path's elements, in order.
    fn names(&self, path: &Path) -> Vec<String> {
        let all = std::iter::once(path.origin).chain(path.visits().map(|hop| hop.element));
        let name = |id| {
            let known = self.versions.iter().rev().find_map(|set| set.element(id));
            known.map_or_else(|| id.0.to_string(), |element| element.name.clone())
        };
        all.map(name).collect()
    }
}

fn ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn verdicts_of(told: PathProofs) -> Verdicts {
    let counted = |count: ProofCount| Counted {
        verdict: count.verdict,
        from: count.from,
        packets: count.packets,
    };
    Verdicts { path: told.path, counts: told.counts.into_iter().map(counted).collect() }
}
