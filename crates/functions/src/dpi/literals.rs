//! Search for byte patterns: one pass at memory speed that answers "any?", and only where the answer is yes the exact
//! pass that finds every rule (Aho, Corasick, "Efficient string matching", 1975).
//!
//! Patterns may overlap one another, and a rule that drops may hide behind one that alerts. The fast pass reports only
//! some match; the exact pass reports all, overlapping ones included.

use aho_corasick::{AhoCorasick, MatchKind, packed};
use memchr::memmem;

use super::hits::Hits;

/// Up to this many patterns one search each beats one for all. Measured by `benches/dpi.rs`.
const MEMMEM_PATTERNS: usize = 2;

/// Up to this many patterns the vectorised searcher (Teddy) beats the automaton; beyond, its buckets fill with false
/// candidates. Measured by `benches/dpi.rs`.
const TEDDY_PATTERNS: usize = 48;

/// Bytes of a pattern whose spellings in either case are looked for: up to 16 spellings.
const SPELLED_BYTES: usize = 4;

/// Byte patterns that all mind the case of letters, or all do not.
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

/// What answers "any?", perhaps with yes where it is no.
enum Fast {
    Each(Vec<memmem::Finder<'static>>),
    Few(Box<packed::Searcher>),
    /// The exact automaton, which stops at the first match.
    Many,
}

impl Literals {
    /// Compiles the patterns, each with its rule. None if there are none.
    pub(super) fn new(
        patterns: &[(u32, &[u8])],
        ignore_case: bool,
    ) -> Result<Option<Literals>, aho_corasick::BuildError> {
        let Some(longest) = patterns.iter().map(|(_, bytes)| bytes.len()).max() else {
            return Ok(None);
        };
        let exact = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(ignore_case)
            .build(patterns.iter().map(|(_, bytes)| bytes))?;
        let tail_bytes = longest - 1;
        Ok(Some(Literals {
            fast: if ignore_case { Fast::either_case(patterns) } else { Fast::new(patterns) },
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
    pub(super) fn search(&mut self, tail: &[u8], chunk: &[u8], hits: &mut Hits) {
        let tail = &tail[tail.len().saturating_sub(self.tail_bytes)..];
        if !tail.is_empty() {
            self.search_seam(tail, chunk, hits);
        }
        if self.any(chunk) {
            for found in self.exact.find_overlapping_iter(chunk) {
                hits.add(self.rules[found.pattern()]);
            }
        }
    }

    /// Matches that begin in the tail and end in the chunk.
    fn search_seam(&mut self, tail: &[u8], chunk: &[u8], hits: &mut Hits) {
        self.seam.clear();
        self.seam.extend_from_slice(tail);
        self.seam.extend_from_slice(&chunk[..chunk.len().min(self.tail_bytes)]);
        if self.any(&self.seam) {
            for found in self.exact.find_overlapping_iter(&self.seam) {
                if found.start() < tail.len() && found.end() > tail.len() {
                    hits.add(self.rules[found.pattern()]);
                }
            }
        }
    }

    fn any(&self, haystack: &[u8]) -> bool {
        match &self.fast {
            Fast::Each(finders) => finders.iter().any(|finder| finder.find(haystack).is_some()),
            Fast::Few(searcher) => searcher.find(haystack).is_some(),
            Fast::Many => self.exact.is_match(haystack),
        }
    }
}

impl Fast {
    fn new(patterns: &[(u32, &[u8])]) -> Fast {
        if patterns.len() <= MEMMEM_PATTERNS {
            let finder = |(_, pattern): &(u32, &[u8])| memmem::Finder::new(*pattern).into_owned();
            return Fast::Each(patterns.iter().map(finder).collect());
        }
        Fast::few(patterns.iter().map(|(_, bytes)| bytes.to_vec()).collect())
    }

    /// Looks for every spelling of a part of each pattern.
    fn either_case(patterns: &[(u32, &[u8])]) -> Fast {
        Fast::few(patterns.iter().flat_map(|(_, bytes)| spellings(bytes)).collect())
    }

    fn few(patterns: Vec<Vec<u8>>) -> Fast {
        if patterns.len() > TEDDY_PATTERNS {
            return Fast::Many;
        }
        match packed::Config::new().builder().extend(patterns).build() {
            Some(searcher) => Fast::Few(Box::new(searcher)),
            None => Fast::Many,
        }
    }
}

/// The spellings, in either case, of the part of a pattern that has the fewest letters.
fn spellings(pattern: &[u8]) -> Vec<Vec<u8>> {
    let letters = |part: &&[u8]| part.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let parts = pattern.windows(SPELLED_BYTES.min(pattern.len()));
    let mut all = vec![Vec::new()];
    for byte in parts.min_by_key(letters).unwrap_or(pattern) {
        let (lower, upper) = (byte.to_ascii_lowercase(), byte.to_ascii_uppercase());
        let mut upper_case = if lower == upper { Vec::new() } else { all.clone() };
        all.iter_mut().for_each(|spelling| spelling.push(lower));
        upper_case.iter_mut().for_each(|spelling| spelling.push(upper));
        all.append(&mut upper_case);
    }
    all
}

impl std::fmt::Debug for Literals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fast = match self.fast {
            Fast::Each(_) => "memmem",
            Fast::Few(_) => "teddy",
            Fast::Many => "automaton",
        };
        f.debug_struct("Literals")
            .field("fast", &fast)
            .field("patterns", &self.rules.len())
            .finish()
    }
}
