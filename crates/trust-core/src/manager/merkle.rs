//! A hash tree over a log that only grows (RFC 9162 section 2.1, the hashing of RFC 6962): roots, proofs that an entry
//! stands in it, proofs that one state of it continues another.
//!
//! Whoever holds the log keeps every complete node ([`Nodes`]); a root or proof then costs a number of look-ups that grows
//! with the logarithm of the log. Whoever checks a proof needs nothing but the roots.

use aws_lc_rs::digest::{Context, SHA256};

/// SHA-256.
pub type Hash = [u8; 32];

/// Hashes of the longest proof: a log has fewer than 2⁶³ entries.
pub const PROOF_HASHES_MAX: usize = 64;

/// The complete nodes of a log's tree. A node never changes once it is there.
pub trait Nodes {
    /// The node over leaves `index << level` to `(index + 1) << level`, if the log is that long.
    fn node(&self, level: u32, index: u64) -> Option<Hash>;
}

/// A node that became complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complete {
    /// 0 is a leaf.
    pub level: u32,
    /// Which one of its level.
    pub index: u64,
    /// What it is.
    pub hash: Hash,
}

/// The hash of an entry.
pub fn leaf(entry: &[u8]) -> Hash {
    hash(&[&[0], entry])
}

/// The hash over two neighbours.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    hash(&[&[1], left, right])
}

/// The root of an empty log.
pub fn empty() -> Hash {
    hash(&[])
}

/// The nodes that are complete once `leaf` stands behind `size` others; `None` where `nodes` lacks one of its own.
pub fn append(nodes: &impl Nodes, size: u64, leaf: Hash) -> Option<Vec<Complete>> {
    let mut complete = Complete { level: 0, index: size, hash: leaf };
    let mut all = vec![complete];
    while complete.index & 1 == 1 {
        let left = nodes.node(complete.level, complete.index - 1)?;
        complete = Complete {
            level: complete.level + 1,
            index: complete.index >> 1,
            hash: node(&left, &complete.hash),
        };
        all.push(complete);
    }
    Some(all)
}

/// The root of the first `size` entries; `None` where the log is shorter.
pub fn root(nodes: &impl Nodes, size: u64) -> Option<Hash> {
    if size == 0 { Some(empty()) } else { over(nodes, 0, size) }
}

/// The proof that entry `index` is one of the first `size` (RFC 9162 section 2.1.3.1), the lowest hash first.
pub fn inclusion(nodes: &impl Nodes, index: u64, size: u64) -> Option<Vec<Hash>> {
    let (mut first, mut len) = (0, size);
    let mut proof = Vec::new();
    if index >= size {
        return None;
    }
    while len > 1 {
        let left = left_of(len);
        if index < first + left {
            proof.push(over(nodes, first + left, len - left)?);
            len = left;
        } else {
            proof.push(over(nodes, first, left)?);
            (first, len) = (first + left, len - left);
        }
    }
    proof.reverse();
    Some(proof)
}

/// The proof that the first `new` entries continue the first `old` (RFC 9162 section 2.1.4.1). Empty when they are the
/// same, or when there was nothing.
pub fn consistency(nodes: &impl Nodes, old: u64, new: u64) -> Option<Vec<Hash>> {
    if old > new {
        return None;
    }
    if old == 0 || old == new {
        return Some(Vec::new());
    }
    let (mut first, mut len, mut kept, mut known) = (0, new, old, true);
    let mut proof = Vec::new();
    while kept < len {
        let left = left_of(len);
        if kept <= left {
            proof.push(over(nodes, first + left, len - left)?);
            len = left;
        } else {
            proof.push(over(nodes, first, left)?);
            (first, len, kept, known) = (first + left, len - left, kept - left, false);
        }
    }
    if !known {
        proof.push(over(nodes, first, len)?);
    }
    proof.reverse();
    Some(proof)
}

/// Whether `proof` shows that `leaf` is entry `index` of the `size` below `root` (RFC 9162 section 2.1.3.2).
pub fn includes(root: &Hash, size: u64, index: u64, leaf: &Hash, proof: &[Hash]) -> bool {
    if index >= size || proof.len() > PROOF_HASHES_MAX {
        return false;
    }
    let (mut at, mut last, mut made) = (index, size - 1, *leaf);
    for other in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            made = node(other, &made);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            made = node(&made, other);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && made == *root
}

/// Whether `proof` shows that the `new` entries below `new_root` continue the `old` below `old_root` (RFC 9162 section
/// 2.1.4.2).
pub fn continues(old_root: &Hash, old: u64, new_root: &Hash, new: u64, proof: &[Hash]) -> bool {
    if old > new || proof.len() > PROOF_HASHES_MAX {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty();
    }
    let mut rest = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { rest.next() };
    let Some(first) = first else { return false };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut before, mut after) = (*first, *first);
    for other in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            before = node(other, &before);
            after = node(other, &after);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            after = node(&after, other);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && before == *old_root && after == *new_root
}

/// The node over `len` leaves from `first` on; where `len` is no power of two, made of the complete ones.
fn over(nodes: &impl Nodes, first: u64, len: u64) -> Option<Hash> {
    // Complete subtrees from left to right, largest first; joined from the right.
    let mut parts = Vec::new();
    let (mut at, mut left) = (first, len);
    while left > 0 {
        let level = left.ilog2();
        parts.push(nodes.node(level, at >> level)?);
        at += 1 << level;
        left -= 1 << level;
    }
    parts.into_iter().rev().reduce(|right, left| node(&left, &right))
}

/// The largest power of two below `len`, which is at least 2.
fn left_of(len: u64) -> u64 {
    1 << (len - 1).ilog2()
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut made = [0; 32];
    made.copy_from_slice(context.finish().as_ref());
    made
}

/// All nodes in memory, for tests and small logs.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    levels: Vec<Vec<Hash>>,
}

impl Kept {
    /// Entries of the log.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Puts an entry behind the others.
    pub fn push(&mut self, leaf: Hash) {
        let complete = append(self, self.size(), leaf).unwrap_or_default();
        for Complete { level, hash, .. } in complete {
            let level = level as usize;
            if self.levels.len() <= level {
                self.levels.push(Vec::new());
            }
            if let Some(nodes) = self.levels.get_mut(level) {
                nodes.push(hash);
            }
        }
    }
}

impl Nodes for Kept {
    fn node(&self, level: u32, index: u64) -> Option<Hash> {
        let level = self.levels.get(usize::try_from(level).ok()?)?;
        level.get(usize::try_from(index).ok()?).copied()
    }
}
