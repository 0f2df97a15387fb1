//! Whether a byte pattern may lie across the seam between a packet and what precedes it in the stream.
//!
//! Such a match holds the last byte before the packet, and where the pattern begins before that one, the byte before it
//! as well. So two bytes of the tail tell nearly every seam that nothing lies across.

use crate::settings::{DpiRule, Pattern};

/// Bits of the set of pairs.
const PAIR_BITS: usize = 4096;

/// The beginnings of all byte patterns, as far as two bytes say.
pub(super) struct Seam {
    /// Bytes that a pattern begins with.
    firsts: [bool; 256],
    /// Neighbours in a pattern that are not its end, by a hash of both: a set that may hold more than was put in.
    pairs: [u64; PAIR_BITS / 64],
}

impl Seam {
    /// The seam of the byte patterns in `rules`.
    pub(super) fn new(rules: &[DpiRule]) -> Box<Seam> {
        let mut seam = Box::new(Seam { firsts: [false; 256], pairs: [0; PAIR_BITS / 64] });
        for rule in rules {
            if let Pattern::Bytes(bytes) = &rule.pattern {
                seam.add(bytes, rule.ignore_case);
            }
        }
        seam
    }

    fn add(&mut self, pattern: &[u8], ignore_case: bool) {
        // A match across the seam has at least its last byte behind it.
        let Some((_, before)) = pattern.split_last() else { return };
        let spellings = |byte: u8| match ignore_case {
            true => [byte.to_ascii_lowercase(), byte.to_ascii_uppercase()],
            false => [byte; 2],
        };
        if let Some(first) = before.first() {
            spellings(*first).into_iter().for_each(|first| self.firsts[usize::from(first)] = true);
        }
        for pair in before.windows(2) {
            for one in spellings(pair[0]) {
                for two in spellings(pair[1]) {
                    let at = place(one, two);
                    self.pairs[at / 64] |= 1 << (at % 64);
                }
            }
        }
    }

    /// Whether a match may begin in `tail`, given piece by piece, and end behind it. False is certain.
    #[inline]
    pub(super) fn may_hold<'a>(&self, tail: impl Iterator<Item = &'a [u8]>) -> bool {
        let (mut before, mut last) = (None, None);
        for piece in tail {
            match piece {
                [] => {}
                [one] => (before, last) = (last, Some(*one)),
                [.., one, two] => (before, last) = (Some(*one), Some(*two)),
            }
        }
        let pair = |one, two| {
            let at = place(one, two);
            self.pairs[at / 64] >> (at % 64) & 1 == 1
        };
        last.is_some_and(|last| {
            self.firsts[usize::from(last)] || before.is_some_and(|before| pair(before, last))
        })
    }
}

fn place(one: u8, two: u8) -> usize {
    (usize::from(one) << 4) ^ usize::from(two)
}

impl std::fmt::Debug for Seam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seam").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::settings::OnMatch;

    fn rule(pattern: Vec<u8>, ignore_case: bool) -> DpiRule {
        let pattern = Pattern::Bytes(pattern);
        DpiRule { name: "r".into(), pattern, ignore_case, on_match: OnMatch::Alert, ports: vec![] }
    }

    #[test]
    fn most_tails_hold_no_beginning() {
        let seam = Seam::new(&[rule(b"forbidden".to_vec(), false)]);
        for tail in [&b"n"[..], b"en", b"xd", b"fn", b"FO", b""] {
            assert!(!seam.may_hold([tail].into_iter()), "{tail:?}");
        }
        for tail in [&b"f"[..], b"xxf", b"fo", b"forbidde", b"xde"] {
            assert!(seam.may_hold([tail].into_iter()), "{tail:?}");
        }
    }

    proptest! {
        /// However a pattern is cut in two or three, its beginning is told.
        #[test]
        fn every_beginning_is_told(
            pattern in prop::collection::vec(prop_oneof![Just(b'a'), any::<u8>()], 2..20),
            ignore_case in any::<bool>(),
            upper in any::<u32>(),
            (cut, piece) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
            before in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let seam = Seam::new(&[rule(pattern.clone(), ignore_case)]);
            let spelled = pattern.iter().enumerate().map(|(at, byte)| match ignore_case {
                true if upper >> at & 1 == 1 => byte.to_ascii_uppercase(),
                true => byte.to_ascii_lowercase(),
                false => *byte,
            });
            let beginning = spelled.take(1 + cut.index(pattern.len() - 1));
            let tail: Vec<u8> = before.into_iter().chain(beginning).collect();
            let (one, two) = tail.split_at(piece.index(tail.len() + 1));
            prop_assert!(seam.may_hold([one, two].into_iter()));
        }
    }
}
