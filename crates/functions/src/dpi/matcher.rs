//! All rules of a function over one direction of a stream or one datagram.

use super::hits::Hits;
use super::literals::Literals;
use super::regexes::{Regexes, Rule, State};
use crate::settings::{BuildError, DpiRule, Pattern};

/// Byte patterns and regexes together.
#[derive(Debug)]
pub(super) struct Matcher {
    literals: Option<Literals>,
    regexes: Option<Regexes>,
}

impl Matcher {
    /// Compiles the rules; what a match reports is the index here.
    pub(super) fn new(rules: &[DpiRule]) -> Result<Matcher, BuildError> {
        let mut literals = Vec::new();
        let mut regexes = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let index = index as u32;
            match &rule.pattern {
                Pattern::Bytes(bytes) => literals.push((index, bytes.as_slice())),
                Pattern::Regex(regex) => regexes.push(Rule { index, name: &rule.name, regex }),
            }
        }
        // The limits on rules and patterns keep the automaton far below what aho-corasick can number.
        let literals = Literals::new(&literals)
            .map_err(|_| BuildError::TooManyRules { count: rules.len() })?;
        Ok(Matcher { literals, regexes: Regexes::new(&regexes)? })
    }

    /// How much of the stream before a chunk is wanted as its tail.
    pub(super) fn tail_bytes(&self) -> usize {
        self.literals.as_ref().map_or(0, Literals::tail_bytes)
    }

    /// The state of a stream of which nothing was seen.
    pub(super) fn start(&self) -> State {
        self.regexes.as_ref().map_or(State::NONE, Regexes::start)
    }

    /// Finds every rule with a match that ends in `chunk`, which follows `tail` (up to `tail_bytes`) and `state`.
    pub(super) fn search<'a>(
        &mut self,
        state: &mut State,
        tail: impl Iterator<Item = &'a [u8]>,
        chunk: &[u8],
        hits: &mut Hits,
    ) {
        if let Some(literals) = &mut self.literals {
            literals.search(tail, chunk, hits);
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
