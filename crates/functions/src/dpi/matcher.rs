//! All rules of a function over one direction of a stream or one datagram.

use super::hits::Hits;
use super::literals::Literals;
use super::regexes::{Regexes, Rule, State};
use super::seam::Seam;
use crate::settings::{BuildError, DpiRule, Pattern};

/// Byte patterns and regexes together.
#[derive(Debug)]
pub(super) struct Matcher {
    /// Those that mind case, and those that do not.
    literals: Vec<Literals>,
    regexes: Option<Regexes>,
    seam: Box<Seam>,
    tail: Vec<u8>,
    tail_bytes: usize,
}

impl Matcher {
    /// Compiles the rules; what a match reports is the index here.
    pub(super) fn new(rules: &[DpiRule]) -> Result<Matcher, BuildError> {
        let mut exact = Vec::new();
        let mut either_case = Vec::new();
        let mut regexes = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let index = index as u32;
            match &rule.pattern {
                Pattern::Bytes(bytes) if rule.ignore_case => either_case.push((index, &bytes[..])),
                Pattern::Bytes(bytes) => exact.push((index, &bytes[..])),
                Pattern::Regex(regex) => regexes.push(Rule {
                    index,
                    name: &rule.name,
                    regex,
                    ignore_case: rule.ignore_case,
                }),
            }
        }
        // The limits on rules and patterns keep the automata far below what aho-corasick can number.
        let too_many = |_| BuildError::TooManyRules { count: rules.len() };
        let mut literals = Vec::new();
        literals.extend(Literals::new(&exact, false).map_err(too_many)?);
        literals.extend(Literals::new(&either_case, true).map_err(too_many)?);
        let tail_bytes = literals.iter().map(Literals::tail_bytes).max().unwrap_or(0);
        Ok(Matcher {
            literals,
            regexes: Regexes::new(&regexes)?,
            seam: Seam::new(rules),
            tail: Vec::with_capacity(tail_bytes),
            tail_bytes,
        })
    }

    /// How much of the stream before a chunk is wanted as its tail.
    pub(super) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// The state of a stream of which nothing was seen.
    pub(super) fn start(&self) -> State {
        self.regexes.as_ref().map_or(State::NONE, Regexes::start)
    }

    /// Finds every rule with a match that ends in `chunk`, which follows `tail` (up to `tail_bytes`) and `state`.
    pub(super) fn search<'a>(
        &mut self,
        state: &mut State,
        tail: impl Iterator<Item = &'a [u8]> + Clone,
        chunk: &[u8],
        hits: &mut Hits,
    ) {
        self.tail.clear();
        if self.seam.may_hold(tail.clone()) {
            tail.for_each(|slice| self.tail.extend_from_slice(slice));
        }
        for literals in &mut self.literals {
            literals.search(&self.tail, chunk, hits);
        }
        if let Some(regexes) = &self.regexes {
            regexes.search(state, chunk, hits);
        }
    }

    /// Finds every rule with a match within `datagram`.
    pub(super) fn search_alone(&mut self, datagram: &[u8], hits: &mut Hits) {
        let mut state = self.start();
        self.search(&mut state, std::iter::empty(), datagram, hits);
    }
}
