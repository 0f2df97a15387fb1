//! Search for byte patterns: one pass at memory speed that answers "any?", and only where the answer is yes the exact
//! pass that finds every rule (Aho, Corasick, "Efficient string matching", 1975).
//!
//! Patterns may overlap one another, and a rule that drops may hide behind one that alerts. The fast pass reports only
//! some match; the exact pass reports all, overlapping ones included.

use aho_corasick::{AhoCorasick, MatchKind, packed};
use memchr::memmem;

use super::hits::Hits;

/// Up to this many patterns the vectorised searcher (Teddy) beats the automaton; beyond, its buckets fill with false
/// candidates. Measured by `benches/dpi.rs`.
const TEDDY_PATTERNS: usize = 48;

/// All byte patterns of a function.
pub(super) struct Literals {
    fast: Fast,
    exact: AhoCorasick,
    /// The rule of each pattern.
    rules: Vec<u32>,
    /// Bytes before a packet that a match ending in it may need.
    tail_bytes: usize,
    /// The tail and the head of a packet side by side.
    seam: Vec<u8>,
}

/// What answers "any?".
enum Fast {
    One(Box<memmem::Finder<'static>>),
    Few(Box<packed::Searcher>),
    /// The exact automaton, which stops at the first match.
    Many,
}

impl Literals {
    /// Compiles the patterns, each with its rule. None if there are none.
    pub(super) fn new(
        patterns: &[(u32, &[u8])],
    ) -> Result<Option<Literals>, aho_corasick::BuildError> {
        let Some(longest) = patterns.iter().map(|(_, bytes)| bytes.len()).max() else {
            return Ok(None);
        };
        let exact = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(patterns.iter().map(|(_, bytes)| bytes))?;
        let tail_bytes = longest - 1;
        Ok(Some(Literals {
            fast: Fast::new(patterns),
            exact,
            rules: patterns.iter().map(|(rule, _)| *rule).collect(),
            tail_bytes,
            seam: Vec::with_capacity(2 * tail_bytes),
        }))
    }

    /// How much of the stream before a packet [`Literals::search`] wants as its tail.
    pub(super) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Finds every rule with a match that ends in `chunk`, which follows `tail`.
    pub(super) fn search<'a>(
        &mut self,
        tail: impl Iterator<Item = &'a [u8]>,
        chunk: &[u8],
        hits: &mut Hits,
    ) {
        self.search_seam(tail, chunk, hits);
        if self.any(chunk) {
            for found in self.exact.find_overlapping_iter(chunk) {
                hits.add(self.rules[found.pattern()]);
            }
        }
    }

    /// Matches that begin in the tail and end in the chunk.
    fn search_seam<'a>(
        &mut self,
        tail: impl Iterator<Item = &'a [u8]>,
        chunk: &[u8],
        hits: &mut Hits,
    ) {
        self.seam.clear();
        tail.for_each(|slice| self.seam.extend_from_slice(slice));
        let tail_len = self.seam.len();
        if tail_len == 0 {
            return;
        }
        self.seam.extend_from_slice(&chunk[..chunk.len().min(self.tail_bytes)]);
        if self.any(&self.seam) {
            for found in self.exact.find_overlapping_iter(&self.seam) {
                if found.start() < tail_len && found.end() > tail_len {
                    hits.add(self.rules[found.pattern()]);
                }
            }
        }
    }

    fn any(&self, haystack: &[u8]) -> bool {
        match &self.fast {
            Fast::One(finder) => finder.find(haystack).is_some(),
            Fast::Few(searcher) => searcher.find(haystack).is_some(),
            Fast::Many => self.exact.is_match(haystack),
        }
    }
}

impl Fast {
    fn new(patterns: &[(u32, &[u8])]) -> Fast {
        match patterns {
            [(_, pattern)] => Fast::One(Box::new(memmem::Finder::new(*pattern).into_owned())),
            _ if patterns.len() <= TEDDY_PATTERNS => {
                let mut builder = packed::Config::new().builder();
                match builder.extend(patterns.iter().map(|(_, bytes)| bytes)).build() {
                    Some(searcher) => Fast::Few(Box::new(searcher)),
                    None => Fast::Many,
                }
            }
            _ => Fast::Many,
        }
    }
}

impl std::fmt::Debug for Literals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fast = match self.fast {
            Fast::One(_) => "memmem",
            Fast::Few(_) => "teddy",
            Fast::Many => "automaton",
        };
        f.debug_struct("Literals")
            .field("fast", &fast)
            .field("patterns", &self.rules.len())
            .finish()
    }
}
