//! Search for regexes in a stream, exact over packet boundaries: one dense automaton for all regexes, whose state after
//! the last byte is all that a direction keeps (Aho, Sethi, Ullman, "Compilers", section 3.7).
//!
//! The automaton is complete before the first packet, so a packet costs a table look-up a byte whatever it holds; where
//! every regex begins with literals, stretches without such a literal are skipped at memory speed.

use regex_automata::dfa::dense::{self, DFA};
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::look::Look;
use regex_automata::util::prefilter::Prefilter;
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind, Span};

use super::hits::Hits;
use crate::limits::DPI_REGEX_AUTOMATON_BYTES;
use crate::settings::BuildError;

/// All regexes of a function.
pub(super) struct Regexes {
    dfa: DFA<Vec<u32>>,
    start: StateID,
    prefilter: Option<Prefilter>,
    /// The rule of each regex.
    rules: Vec<u32>,
}

/// Where a stream stands in the automaton.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(StateID);

impl State {
    /// What a function without regexes keeps.
    pub(super) const NONE: State = State(StateID::ZERO);
}

/// A regex with its rule's index and name.
pub(super) struct Rule<'a> {
    pub(super) index: u32,
    pub(super) name: &'a str,
    pub(super) regex: &'a str,
    pub(super) ignore_case: bool,
}

impl Regexes {
    /// Compiles the regexes. None if there are none.
    pub(super) fn new(rules: &[Rule<'_>]) -> Result<Option<Regexes>, BuildError> {
        if rules.is_empty() {
            return Ok(None);
        }
        let bad = |rule: &Rule<'_>, message: String| BuildError::BadRegex {
            rule: rule.name.to_owned(),
            message,
        };
        let too_large = || BuildError::RegexTooLarge { bytes_max: DPI_REGEX_AUTOMATON_BYTES };
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let nfa_config = thompson::Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(DPI_REGEX_AUTOMATON_BYTES));
        let mut compiler = NFA::compiler();
        compiler.configure(nfa_config);

        let mut hirs = Vec::with_capacity(rules.len());
        let mut looks_behind = false;
        for rule in rules {
            let syntax = syntax.case_insensitive(rule.ignore_case);
            let hir = syntax::parse_with(rule.regex, &syntax)
                .map_err(|error| bad(rule, error.to_string()))?;
            let nfa = compiler.build_from_hir(&hir).map_err(|error| match error.size_limit() {
                Some(_) => too_large(),
                None => bad(rule, error.to_string()),
            })?;
            if nfa.has_empty() {
                return Err(BuildError::MatchesEmpty { rule: rule.name.to_owned() });
            }
            let behind = |look| matches!(look, Look::Start | Look::StartLF);
            if !nfa.look_set_any().iter().all(behind) {
                return Err(BuildError::LookAhead { rule: rule.name.to_owned() });
            }
            looks_behind |= !nfa.look_set_any().is_empty();
            hirs.push(hir);
        }

        // Literals such that every match begins with one of them; by preference, since then a short one stands for the
        // longer ones that begin with it.
        let prefilter = (!looks_behind)
            .then(|| Prefilter::from_hirs_prefix(MatchKind::LeftmostFirst, &hirs))
            .flatten()
            .filter(Prefilter::is_fast);
        let nfa = compiler.build_many_from_hir(&hirs).map_err(|_| too_large())?;
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Unanchored)
            .accelerate(false)
            .specialize_start_states(prefilter.is_some())
            .dfa_size_limit(Some(DPI_REGEX_AUTOMATON_BYTES))
            .determinize_size_limit(Some(DPI_REGEX_AUTOMATON_BYTES));
        let dfa = dense::Builder::new()
            .configure(config)
            .build_from_nfa(&nfa)
            .map_err(|_| too_large())?;
        let start = dfa
            .start_state(&start::Config::new().anchored(Anchored::No))
            .map_err(|error| bad(&rules[0], error.to_string()))?;
        let rules = rules.iter().map(|rule| rule.index).collect();
        Ok(Some(Regexes { dfa, start, prefilter, rules }))
    }

    /// The state of a stream of which nothing was seen.
    pub(super) fn start(&self) -> State {
        State(self.start)
    }

    /// Takes the stream on by `chunk` and finds every rule with a match that ends in it.
    pub(super) fn search(&self, state: &mut State, chunk: &[u8], hits: &mut Hits) {
        let mut current = state.0;
        let mut prefilter = self.prefilter.as_ref();
        let mut at = 0;
        while at < chunk.len() {
            if let Some(literals) = prefilter
                && self.dfa.is_start_state(current)
            {
                match literals.find(chunk, Span::from(at..chunk.len())) {
                    Some(found) => at = found.start,
                    None => {
                        // A literal may still begin in the last bytes and end in the next packet.
                        prefilter = None;
                        let seam = literals.max_needle_len().saturating_sub(1);
                        at = at.max(chunk.len().saturating_sub(seam));
                        continue;
                    }
                }
            }
            current = self.dfa.next_state(current, chunk[at]);
            // A match shows one byte late. One that shows on the first byte ended with the packet before and was
            // reported there.
            if self.dfa.is_special_state(current) && self.dfa.is_match_state(current) && at > 0 {
                self.report(current, hits);
            }
            at += 1;
        }
        // What would show on the next byte, now: no regex looks ahead, so which byte it is makes no difference.
        let end = self.dfa.next_eoi_state(current);
        if !chunk.is_empty() && self.dfa.is_match_state(end) {
            self.report(end, hits);
        }
        *state = State(current);
    }

    fn report(&self, state: StateID, hits: &mut Hits) {
        for index in 0..self.dfa.match_len(state) {
            hits.add(self.rules[self.dfa.match_pattern(state, index).as_usize()]);
        }
    }
}

impl std::fmt::Debug for Regexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Regexes")
            .field("regexes", &self.rules.len())
            .field("automaton_bytes", &self.dfa.memory_usage())
            .field("prefilter", &self.prefilter.is_some())
            .finish()
    }
}
