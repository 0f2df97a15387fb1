//! The anti-replay window (RFC 4303 section 3.4.3 and appendix A), shared by cores without a lock.
//!
//! Sequence numbers fall into *blocks* of 32. Block `b` lives in word `b mod N` of a ring of N atomic words, and is that
//! word's *generation* `b / N`. A word holds its generation in the high 32 bits and a bitmap of the accepted numbers in
//! the low 32 bits. Generations below 2^32 are all that is ever accepted, so a generation is stored whole and never
//! wraps.
//!
//! `commit(s)` looks at the word of `s`. A later generation there: too old. The same: refused when the bit is set, else
//! the bit is set. An earlier one: the word becomes (generation of `s`, only the bit of `s`). Each change is one
//! compare-and-swap of the whole word, tried again when another core was faster.
//!
//! **Exactly once.** Let `commit(s)` succeed twice, first by swap A, then by swap B of the same word (the swaps of one
//! word are totally ordered, whatever the memory ordering). After A the word has the generation of `s` and the bit of
//! `s`. No swap lowers a generation, and no swap clears a bit without raising the generation. So the value that B
//! replaced has the generation of `s` with its bit set, or a later generation; `commit` refuses both before it swaps.
//! A swap that compares equal acts on exactly the value that was judged, so no other core's change is overlooked, and a
//! word that changed and changed back cannot exist. Nothing here uses the order of accesses to different words, which
//! is why `Relaxed` is enough.
//!
//! **Nothing within the window is refused.** Let `s` be unseen and greater than `top - W`, top being the highest number
//! accepted. It is refused only when its word is in a later generation, by an accepted number of block `b + kN`, k ≥ 1,
//! thus at least `32 N - 31` above `s`. The ring has `32 N = 2 W ≥ W + 31` numbers, so that number is at least `s + W`,
//! against the choice of `s`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{MAX_REPLAY_WINDOW_PACKETS, MIN_REPLAY_WINDOW_PACKETS, REPLAY_WINDOW_PACKETS};
use crate::verdict::DropReason;

/// Sequence numbers in one word of the ring.
const BLOCK_PACKETS: u64 = 32;

/// How many packets a window reaches back: a power of two within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowPackets(u32);

/// The operator asked for a window that is no power of two, or too small or large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a replay window of {0} packets is no power of two from {MIN_REPLAY_WINDOW_PACKETS} to {MAX_REPLAY_WINDOW_PACKETS}"
)]
pub struct WindowSizeError(pub u32);

impl WindowPackets {
    /// The window of this size.
    ///
    /// # Errors
    /// [`WindowSizeError`] when the size is no power of two or outside the limits.
    pub const fn new(packets: u32) -> Result<WindowPackets, WindowSizeError> {
        if packets.is_power_of_two()
            && packets >= MIN_REPLAY_WINDOW_PACKETS
            && packets <= MAX_REPLAY_WINDOW_PACKETS
        {
            Ok(WindowPackets(packets))
        } else {
            Err(WindowSizeError(packets))
        }
    }

    /// The number of packets.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for WindowPackets {
    fn default() -> WindowPackets {
        WindowPackets(REPLAY_WINDOW_PACKETS)
    }
}

/// Why the window refused a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It was accepted before.
    Replayed,
    /// It is so old that the window does not know.
    TooOld,
    /// It is zero, which no sender uses, or above [`ReplayWindow::max_sequence`].
    OutOfRange,
}

impl From<Refused> for DropReason {
    fn from(refused: Refused) -> DropReason {
        match refused {
            Refused::Replayed => DropReason::Replayed,
            Refused::TooOld => DropReason::TooOld,
            Refused::OutOfRange => DropReason::SequenceExhausted,
        }
    }
}

/// Which sequence numbers of one association were accepted.
#[derive(Debug)]
pub struct ReplayWindow {
    /// The highest number accepted.
    top: AtomicU64,
    words: Box<[AtomicU64]>,
    window_packets: u32,
    /// log2 of the number of words.
    words_log2: u32,
}

impl ReplayWindow {
    /// A window that has accepted nothing.
    pub fn new(size: WindowPackets) -> ReplayWindow {
        let words = 2 * u64::from(size.0) / BLOCK_PACKETS;
        ReplayWindow {
            top: AtomicU64::new(0),
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            window_packets: size.0,
            words_log2: words.trailing_zeros(),
        }
    }

    /// The highest number accepted so far; 0 before the first.
    pub fn top(&self) -> u64 {
        self.top.load(Ordering::Relaxed)
    }

    /// How many packets the window reaches back.
    pub fn window_packets(&self) -> u32 {
        self.window_packets
    }

    /// The highest number that can be accepted: 2^33 windows less one.
    pub fn max_sequence(&self) -> u64 {
        (BLOCK_PACKETS << (32 + self.words_log2)) - 1
    }

    /// Whether `sequence` could be accepted now: a hint that saves the work of authenticating a replay. It changes
    /// nothing; [`ReplayWindow::commit`] decides.
    ///
    /// # Errors
    /// [`Refused`] when `commit` would refuse it too.
    #[inline]
    pub fn check(&self, sequence: u64) -> Result<(), Refused> {
        let place = self.place(sequence)?;
        place.next(self.words[place.index].load(Ordering::Relaxed)).map(|_| ())
    }

    /// Accepts `sequence`, once and only once however many cores ask. To be called after the packet was authenticated
    /// (RFC 4303 section 3.4.3: "The receive window is updated only if the ICV verification succeeds.").
    ///
    /// # Errors
    /// [`Refused`] when it was accepted before, is older than the window, or out of range; then nothing changed.
    #[inline]
    pub fn commit(&self, sequence: u64) -> Result<(), Refused> {
        let place = self.place(sequence)?;
        let word = &self.words[place.index];
        let mut seen = word.load(Ordering::Relaxed);
        // Lock-free: a swap fails only where another core's succeeded, and that core went on to its next packet.
        loop {
            let next = place.next(seen)?;
            match word.compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(other) => seen = other,
            }
        }
        self.top.fetch_max(sequence, Ordering::Relaxed);
        Ok(())
    }

    /// The 64-bit number that the 32 bits of a packet stand for (RFC 4303 appendix A2.1): the one number with these low
    /// bits among the 2^32 that begin at the window's lower edge.
    ///
    /// # Errors
    /// [`Refused::TooOld`] when that edge lies before 0 and the low bits point there.
    #[inline]
    pub fn infer(&self, low: u32) -> Result<u64, Refused> {
        let top = self.top();
        let (top_high, top_low) = (top >> 32, top as u32);
        let reach = self.window_packets - 1;
        let bottom_low = top_low.wrapping_sub(reach);
        let high = if top_low >= reach {
            // Case A: the window lies within one subspace.
            if low >= bottom_low { Some(top_high) } else { top_high.checked_add(1) }
        } else {
            // Case B: the window spans two.
            if low >= bottom_low { top_high.checked_sub(1) } else { Some(top_high) }
        };
        match high {
            Some(high) if high <= u64::from(u32::MAX) => Ok(high << 32 | u64::from(low)),
            Some(_) => Err(Refused::OutOfRange),
            None => Err(Refused::TooOld),
        }
    }

    #[inline]
    fn place(&self, sequence: u64) -> Result<Place, Refused> {
        let block = sequence / BLOCK_PACKETS;
        let generation = block >> self.words_log2;
        let Ok(generation) = u32::try_from(generation) else { return Err(Refused::OutOfRange) };
        if sequence == 0 {
            return Err(Refused::OutOfRange);
        }
        if self.top() >= sequence.saturating_add(u64::from(self.window_packets)) {
            return Err(Refused::TooOld);
        }
        Ok(Place {
            index: block as usize & (self.words.len() - 1),
            generation,
            bit: 1 << (sequence % BLOCK_PACKETS),
        })
    }
}

/// Where a sequence number lives in the ring.
struct Place {
    index: usize,
    generation: u32,
    bit: u32,
}

impl Place {
    /// What its word becomes when the number is accepted.
    #[inline]
    fn next(&self, word: u64) -> Result<u64, Refused> {
        let (generation, bitmap) = ((word >> 32) as u32, word as u32);
        let bitmap = match generation.cmp(&self.generation) {
            std::cmp::Ordering::Greater => return Err(Refused::TooOld),
            std::cmp::Ordering::Less => self.bit,
            std::cmp::Ordering::Equal if bitmap & self.bit != 0 => return Err(Refused::Replayed),
            std::cmp::Ordering::Equal => bitmap | self.bit,
        };
        Ok(u64::from(self.generation) << 32 | u64::from(bitmap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a core sees between another's swap and its change of the top: the ring alone has to refuse.
    #[test]
    fn a_word_that_moved_on_refuses_while_the_top_still_lags() {
        let window = ReplayWindow::new(WindowPackets::default());
        let lap = BLOCK_PACKETS << window.words_log2;
        window.commit(5 + lap).unwrap();
        window.top.store(0, Ordering::Relaxed);
        assert_eq!(window.check(5), Err(Refused::TooOld));
        assert_eq!(window.commit(5), Err(Refused::TooOld));
        assert_eq!(window.commit(5 + lap), Err(Refused::Replayed));
        assert_eq!(window.commit(6 + lap), Ok(()));
        assert_eq!(window.commit(5 + 2 * lap), Ok(()), "and a later lap takes the word over");
    }
}
