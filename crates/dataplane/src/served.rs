//! The functions of one hop: the one that paths get now, and those of paths that began before it changed.
//!
//! A path is served by one and the same instance as long as it lasts, so that what an instance remembers of a connection
//! is never asked of another. Beyond changes there is one, and a batch goes to it whole.

use std::any::Any;
use std::time::Instant;

use crate::batch::Batch;
use crate::function::{Entry, Function, FunctionBatch, FunctionCounter};
use crate::paths::PathTable;

/// Which of a hop's functions serves a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// The functions of a hop.
#[derive(Debug)]
pub(crate) struct Served {
    /// The current one first; never empty.
    functions: Vec<(Slot, Box<dyn Function>)>,
    /// What functions that were taken out had counted.
    past: Vec<FunctionCounter>,
}

impl Served {
    pub(crate) fn new(function: Box<dyn Function>) -> Served {
        Served { functions: vec![(Slot(0), function)], past: Vec::new() }
    }

    /// Puts a function in, in place of what was there.
    pub(crate) fn put(&mut self, slot: Slot, function: Box<dyn Function>) {
        match self.functions.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, place)) => {
                let before = std::mem::replace(place, function);
                remember(&mut self.past, &*before);
            }
            None => self.functions.push((slot, function)),
        }
    }

    /// Other settings for a function that stays. False if it is not there, or cannot take them so.
    pub(crate) fn retune(&mut self, slot: Slot, settings: Box<dyn Any + Send>) -> bool {
        let known = self.functions.iter_mut().find(|(known, _)| *known == slot);
        known.is_some_and(|(_, function)| function.retune(settings))
    }

    /// The function that the hop shows, and that a hop which tells no paths apart serves them all with.
    pub(crate) fn set_current(&mut self, slot: Slot) {
        if let Some(at) = self.functions.iter().position(|(known, _)| *known == slot) {
            self.functions.swap(0, at);
        }
    }

    /// Takes a function out; never the current one.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let at = self.functions.iter().position(|(known, _)| *known == slot);
        if let Some(at) = at.filter(|at| *at > 0) {
            let (_, before) = self.functions.swap_remove(at);
            remember(&mut self.past, &*before);
        }
    }

    pub(crate) fn current(&mut self) -> &mut dyn Function {
        self.functions[0].1.as_mut()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.functions.iter_mut().for_each(|(_, function)| function.handle_timeout(now));
    }

    /// What all functions of the hop counted, those that are gone included.
    pub(crate) fn counters(&self) -> Vec<FunctionCounter> {
        let mut sum = self.past.clone();
        for (_, function) in &self.functions {
            add(&mut sum, function.counters());
        }
        sum
    }

    /// Lets each packet's path's function decide over it. `paths` say which one that is, unless the hop tells no paths
    /// apart. The order of entries is as it was afterwards.
    pub(crate) fn handle_batch(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        entries: &mut [Entry],
        paths: Option<&PathTable>,
    ) {
        let current = self.functions[0].0;
        let slot = |entry: &Entry| {
            let state = paths.and_then(|paths| paths.get(entry.path));
            state.map_or(current, |state| state.function)
        };
        if self.functions.len() == 1 {
            self.serve(now, current, batch, entries);
            return;
        }
        entries.sort_unstable_by_key(|entry| (slot(entry), entry.index));
        let mut rest = &mut *entries;
        while let Some(first) = rest.first() {
            let of = slot(first);
            let count = rest.iter().take_while(|entry| slot(entry) == of).count();
            let (run, others) = rest.split_at_mut(count);
            self.serve(now, of, batch, run);
            rest = others;
        }
        entries.sort_unstable_by_key(|entry| entry.index);
    }

    fn serve(&mut self, now: Instant, slot: Slot, batch: &mut Batch, entries: &mut [Entry]) {
        // A path whose function is gone is on its way out; the current one looks at what still comes.
        let at = self.functions.iter().position(|(known, _)| *known == slot).unwrap_or(0);
        let mut packets = FunctionBatch::new(batch, entries);
        self.functions[at].1.handle_batch(now, &mut packets);
    }
}

/// What was counted stays; what was measured goes with what it was measured at.
fn remember(past: &mut Vec<FunctionCounter>, gone: &dyn Function) {
    let gauges = gone.gauges();
    let counted = gone.counters().into_iter().filter(|c| !gauges.contains(&c.name.as_str()));
    add(past, counted.collect());
}

fn add(sum: &mut Vec<FunctionCounter>, counters: Vec<FunctionCounter>) {
    for counter in counters {
        match sum.iter_mut().find(|known| known.name == counter.name) {
            Some(known) => known.value += counter.value,
            None => sum.push(counter),
        }
    }
}
