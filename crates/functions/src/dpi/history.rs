//! The content of streams: one pool of blocks for all directions, each direction a chain of blocks addressed by TCP
//! sequence number (RFC 9293 section 3.4).
//!
//! What a stream forwarded is kept here until the receiver acknowledged it, so that a retransmission can be held
//! against it; what came out of order lies here until the gap before it is filled.

use ringmail_memory as memory;

use crate::limits::STREAM_BLOCK_BYTES;

const BLOCK: u32 = STREAM_BLOCK_BYTES as u32;
const NONE: u32 = u32::MAX;

/// How many blocks ahead free ones are fetched.
const FETCH_AHEAD_BLOCKS: usize = 2;

/// All blocks.
pub(crate) struct Pool {
    bytes: Vec<u8>,
    /// The block behind each block of a chain.
    links: Vec<u32>,
    freed: Vec<u32>,
    /// Blocks from here on were never used.
    untouched: u32,
}

/// The pool has no block left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoBlock;

/// The blocks of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    first: u32,
    /// The block that holds the point up to which the stream was inspected, and the one before it.
    current: u32,
    previous: u32,
    first_seq: u32,
    current_seq: u32,
    /// The block ahead of `current` that was written last: what comes out of order mostly goes on there.
    ahead: u32,
    ahead_seq: u32,
}

impl Chain {
    /// No block.
    pub(crate) const EMPTY: Chain = Chain {
        first: NONE,
        current: NONE,
        previous: NONE,
        first_seq: 0,
        current_seq: 0,
        ahead: NONE,
        ahead_seq: 0,
    };

    /// The first sequence number whose content is there, if any is.
    pub(crate) fn first_seq(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first_seq)
    }
}

impl Pool {
    /// A pool of this many bytes, at least one block.
    pub(crate) fn new(bytes: usize) -> Pool {
        let blocks = (bytes / STREAM_BLOCK_BYTES).clamp(1, NONE as usize - 1);
        let bytes = vec![0; blocks * STREAM_BLOCK_BYTES];
        memory::prefer_huge_pages(&bytes);
        Pool { bytes, links: vec![0; blocks], freed: Vec::with_capacity(blocks), untouched: 0 }
    }

    /// Blocks that exist.
    pub(crate) fn blocks(&self) -> usize {
        self.links.len()
    }

    /// Blocks that are not in use.
    pub(crate) fn free_blocks(&self) -> usize {
        self.freed.len() + (self.links.len() - self.untouched as usize)
    }

    /// Lays `content` down from sequence number `seq` on; `next` is where inspection stands and `seq` is not before it.
    /// Content that lies there already is written over.
    pub(crate) fn write(
        &mut self,
        chain: &mut Chain,
        next: u32,
        seq: u32,
        content: &[u8],
    ) -> Result<(), NoBlock> {
        self.extend(chain, next, seq.wrapping_add(content.len() as u32))?;
        let (mut block, block_seq) = self.locate(chain, seq);
        let mut offset = seq.wrapping_sub(block_seq) as usize;
        let mut content = content;
        while !content.is_empty() {
            let count = content.len().min(STREAM_BLOCK_BYTES - offset);
            let (head, rest) = content.split_at(count);
            let start = block as usize * STREAM_BLOCK_BYTES + offset;
            self.bytes[start..start + count].copy_from_slice(head);
            self.fetch_ahead(offset, count);
            content = rest;
            offset = 0;
            block = self.links[block as usize];
        }
        Ok(())
    }

    /// Makes the chain reach up to `end`, or leaves it as it was.
    fn extend(&mut self, chain: &mut Chain, next: u32, end: u32) -> Result<(), NoBlock> {
        if chain.first == NONE {
            let block = self.take().ok_or(NoBlock)?;
            *chain = Chain {
                first: block,
                current: block,
                first_seq: next,
                current_seq: next,
                ..Chain::EMPTY
            };
        }
        let far = chain.ahead != NONE && (end.wrapping_sub(chain.ahead_seq) as i32) >= 0;
        let (mut block, block_seq) =
            if far { (chain.ahead, chain.ahead_seq) } else { (chain.current, chain.current_seq) };
        let mut reach = block_seq.wrapping_add(BLOCK);
        while (end.wrapping_sub(reach) as i32) > 0 {
            if self.links[block as usize] == NONE {
                // Blocks taken for a write that then fails stay at the end of the chain and are used by the next.
                let fresh = self.take().ok_or(NoBlock)?;
                self.links[block as usize] = fresh;
            }
            block = self.links[block as usize];
            reach = reach.wrapping_add(BLOCK);
        }
        if block != chain.current {
            (chain.ahead, chain.ahead_seq) = (block, reach.wrapping_sub(BLOCK));
        }
        Ok(())
    }

    /// Inspection went on to `next`: what lies before `keep_from` may go, in whole blocks.
    pub(crate) fn advance(&mut self, chain: &mut Chain, next: u32, keep_from: u32) {
        if chain.first == NONE {
            return;
        }
        while next.wrapping_sub(chain.current_seq) >= BLOCK {
            let following = self.links[chain.current as usize];
            if following == NONE {
                break;
            }
            chain.previous = chain.current;
            chain.current = following;
            chain.current_seq = chain.current_seq.wrapping_add(BLOCK);
        }
        if (chain.current_seq.wrapping_sub(chain.ahead_seq) as i32) >= 0 {
            chain.ahead = NONE;
        }
        while chain.first != chain.current
            && (keep_from.wrapping_sub(chain.first_seq.wrapping_add(BLOCK)) as i32) >= 0
        {
            let block = chain.first;
            chain.first = self.links[block as usize];
            chain.first_seq = chain.first_seq.wrapping_add(BLOCK);
            if block == chain.previous {
                chain.previous = NONE;
            }
            self.freed.push(block);
        }
    }

    /// Gives every block of the chain back.
    pub(crate) fn release(&mut self, chain: &mut Chain) {
        let mut block = chain.first;
        while block != NONE {
            self.freed.push(block);
            block = self.links[block as usize];
        }
        *chain = Chain::EMPTY;
    }

    /// The content from `seq` on, `len` bytes, block by block. The caller knows that it is there.
    pub(crate) fn slices(&self, chain: &Chain, seq: u32, len: usize) -> Slices<'_> {
        if len == 0 || chain.first == NONE {
            return Slices { pool: self, block: NONE, offset: 0, left: 0 };
        }
        let (block, block_seq) = self.locate(chain, seq);
        Slices { pool: self, block, offset: seq.wrapping_sub(block_seq) as usize, left: len }
    }

    /// Whether the content from `seq` on is this.
    pub(crate) fn holds(&self, chain: &Chain, seq: u32, content: &[u8]) -> bool {
        let mut rest = content;
        for slice in self.slices(chain, seq, content.len()) {
            let (head, tail) = rest.split_at(slice.len());
            if head != slice {
                return false;
            }
            rest = tail;
        }
        rest.is_empty()
    }

    /// The block that holds `seq`, and the sequence number of its first byte.
    fn locate(&self, chain: &Chain, seq: u32) -> (u32, u32) {
        let ahead = seq.wrapping_sub(chain.current_seq) as i32;
        let far = chain.ahead != NONE && (seq.wrapping_sub(chain.ahead_seq) as i32) >= 0;
        let (mut block, mut block_seq) = if far {
            (chain.ahead, chain.ahead_seq)
        } else if ahead >= 0 {
            (chain.current, chain.current_seq)
        } else if chain.previous != NONE && ahead >= -(BLOCK as i32) {
            (chain.previous, chain.current_seq.wrapping_sub(BLOCK))
        } else {
            (chain.first, chain.first_seq)
        };
        while seq.wrapping_sub(block_seq) >= BLOCK && self.links[block as usize] != NONE {
            block = self.links[block as usize];
            block_seq = block_seq.wrapping_add(BLOCK);
        }
        (block, block_seq)
    }

    fn take(&mut self) -> Option<u32> {
        let block = match self.freed.pop() {
            Some(block) => block,
            None if (self.untouched as usize) < self.links.len() => {
                self.untouched += 1;
                self.untouched - 1
            }
            None => return None,
        };
        self.links[block as usize] = NONE;
        Some(block)
    }

    /// Fetches what will be written to soon: of the block that will be taken after the next, the bytes that lie as those
    /// which are written now. What is free was let go long ago, and the processor would wait for every line of it.
    #[inline]
    fn fetch_ahead(&self, offset: usize, len: usize) {
        let at = self.freed.len().checked_sub(FETCH_AHEAD_BLOCKS);
        if let Some(&ahead) = at.and_then(|at| self.freed.get(at)) {
            let start = ahead as usize * STREAM_BLOCK_BYTES + offset;
            memory::prefetch(&self.bytes[start..start + len]);
        }
    }
}

/// Content block by block.
#[derive(Clone)]
pub(crate) struct Slices<'a> {
    pool: &'a Pool,
    block: u32,
    offset: usize,
    left: usize,
}

impl<'a> Iterator for Slices<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 || self.block == NONE {
            return None;
        }
        let count = self.left.min(STREAM_BLOCK_BYTES.checked_sub(self.offset)?);
        let start = self.block as usize * STREAM_BLOCK_BYTES + self.offset;
        self.left -= count;
        self.offset = 0;
        self.block = self.pool.links[self.block as usize];
        Some(&self.pool.bytes[start..start + count])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a stream would do: write ahead of `next`, go on, look back.
    #[derive(Clone, Debug)]
    enum Step {
        Write { ahead: u32, len: usize },
        Advance { by: u32, keep: u32 },
        Look { from: u32, len: u32 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (prop_oneof![Just(0), 0u32..9000], 1usize..5000)
                .prop_map(|(ahead, len)| Step::Write { ahead, len }),
            (0u32..6000, 0u32..3000).prop_map(|(by, keep)| Step::Advance { by, keep }),
            (0u32..20_000, 1u32..9000).prop_map(|(from, len)| Step::Look { from, len }),
        ]
    }

    fn content(seq: u32, len: usize) -> Vec<u8> {
        (0..len as u32)
            .map(|n| (seq.wrapping_add(n).wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect()
    }

    proptest! {
        /// Two chains in one pool, blocks given back and taken again: what was written and not let go is there.
        #[test]
        fn what_was_written_is_there(
            start in prop_oneof![Just(u32::MAX - 5000), any::<u32>()],
            steps in prop::collection::vec((any::<bool>(), step()), 1..200),
        ) {
            let mut pool = Pool::new(64 * STREAM_BLOCK_BYTES);
            let mut chains = [Chain::EMPTY; 2];
            // Relative to `start`: what was written without a gap, where inspection stands, what may be gone.
            let (mut there, mut next, mut gone) = ([0u32; 2], [0u32; 2], [0u32; 2]);
            for (second, step) in steps {
                let n = usize::from(second);
                let (chain, at) = (&mut chains[n], start.wrapping_add(next[n]));
                match step {
                    Step::Write { ahead, len } => {
                        let from = next[n] + ahead;
                        let seq = start.wrapping_add(from);
                        if pool.write(chain, at, seq, &content(seq, len)).is_ok() && from <= there[n] {
                            there[n] = there[n].max(from + len as u32);
                        }
                    }
                    Step::Advance { by, keep } => {
                        next[n] = (next[n] + by).min(there[n]);
                        let keep_from = next[n].saturating_sub(keep);
                        gone[n] = gone[n].max(keep_from);
                        let seq = start.wrapping_add(next[n]);
                        pool.advance(chain, seq, start.wrapping_add(keep_from));
                        let first = chain.first_seq().map(|first| first.wrapping_sub(start) as i32);
                        prop_assert!(first.is_none_or(|first| first <= gone[n] as i32));
                    }
                    Step::Look { from, len } => {
                        let from = gone[n] + from;
                        let to = (from + len).min(there[n]);
                        if from < to {
                            let seq = start.wrapping_add(from);
                            let mut expected = content(seq, (to - from) as usize);
                            prop_assert!(pool.holds(chain, seq, &expected));
                            let found: Vec<u8> =
                                pool.slices(chain, seq, expected.len()).flatten().copied().collect();
                            prop_assert_eq!(&found, &expected);
                            *expected.last_mut().unwrap() ^= 1;
                            prop_assert!(!pool.holds(chain, seq, &expected));
                        }
                    }
                }
            }
            for chain in &mut chains {
                pool.release(chain);
            }
            prop_assert_eq!(pool.free_blocks(), pool.blocks());
        }
    }
}
