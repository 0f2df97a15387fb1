//! Roots of a hash tree that grows to the right, in bounded memory: of too many the lowest level is given up
//! (`ringmail_model::summary::tree`).
//!
//! ```text
//!            ┌─ kept: nodes of level `level`, in order ─┐   edges: one a level below it, the largest first
//!   ┌────┐ ┌────┐        ┌────┐ ┌────┐ ┌────┐             ┌──┐ ┌┐
//! ```

use ringmail_model::summary::Node;
use ringmail_model::summary::tree::{NOTHING, Root, node};

use crate::limits::TRAIL_NODES;

/// Levels of a tree over all sequences: they have 64 bits, a leaf takes 6 of them.
const LEVELS: usize = 59;

/// What a node says besides its roots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// 0 is a leaf.
    pub(super) level: u8,
    /// Which one of its level.
    pub(super) index: u64,
    /// Packets below it.
    pub(super) packets: u64,
    /// Of a leaf, which of its sequences there are.
    pub(super) present: u64,
}

/// `width` trees side by side over the same packets. Its room is taken at the start.
#[derive(Debug)]
pub(super) struct Forest {
    width: usize,
    level: u8,
    heads: Vec<Head>,
    roots: Vec<Root>,
    edges: [Option<Head>; LEVELS],
    edge_roots: Box<[Root]>,
}

impl Forest {
    pub(super) fn new(width: usize) -> Forest {
        Forest {
            width,
            level: 0,
            heads: Vec::with_capacity(TRAIL_NODES),
            roots: Vec::with_capacity(TRAIL_NODES * width),
            edges: [None; LEVELS],
            edge_roots: vec![NOTHING; LEVELS * width].into(),
        }
    }

    /// Adds a leaf behind all that are there; the roots are spoilt.
    pub(super) fn push(&mut self, leaf: Head, roots: &mut [Root]) {
        let mut head = leaf;
        while head.level < self.level {
            let level = usize::from(head.level);
            let place = level * self.width;
            let Some(edge) = self.edges[level].take() else {
                self.edges[level] = Some(head);
                self.edge_roots[place..][..self.width].copy_from_slice(roots);
                return;
            };
            if edge.index >> 1 != head.index >> 1 {
                // Nothing comes beside the edge any more.
                self.edges[level] = Some(head);
                for (root, waiting) in roots.iter_mut().zip(&mut self.edge_roots[place..]) {
                    std::mem::swap(root, waiting);
                }
                head = raised(edge, roots);
                continue;
            }
            for (root, left) in roots.iter_mut().zip(&self.edge_roots[place..]) {
                *root = node(left, root);
            }
            head = joined(edge, head);
        }
        if self.heads.len() == TRAIL_NODES {
            self.coarsen();
            return self.push(head, roots);
        }
        self.heads.push(head);
        self.roots.extend_from_slice(roots);
    }

    /// Takes everything out, in no order.
    pub(super) fn take(&mut self) -> Vec<Node> {
        let told = |head: &Head, roots: &[Root]| Node {
            level: head.level,
            index: head.index,
            packets: head.packets,
            present: (head.level == 0).then_some(head.present),
            roots: roots.to_vec(),
        };
        let kept = self.heads.iter().zip(self.roots.chunks_exact(self.width));
        let mut nodes: Vec<Node> = kept.map(|(head, roots)| told(head, roots)).collect();
        let edges = self.edges.iter().zip(self.edge_roots.chunks_exact(self.width));
        nodes.extend(edges.filter_map(|(edge, roots)| Some(told(edge.as_ref()?, roots))));
        self.heads.clear();
        self.roots.clear();
        self.edges = [None; LEVELS];
        self.level = 0;
        nodes
    }

    /// Gives up the lowest level of what is kept. The last may still get a neighbour, and waits for it.
    fn coarsen(&mut self) {
        let width = self.width;
        let level = usize::from(self.level);
        if let Some(last) = self.heads.pop_if(|last| last.index & 1 == 0) {
            self.edges[level] = Some(last);
            let from = self.roots.len() - width;
            self.edge_roots[level * width..][..width].copy_from_slice(&self.roots[from..]);
            self.roots.truncate(from);
        }
        let (mut read, mut written) = (0, 0);
        while let Some(&head) = self.heads.get(read) {
            let (to, from) = (written * width, read * width);
            self.roots.copy_within(from..from + width, to);
            let beside = self.heads.get(read + 1).filter(|next| next.index >> 1 == head.index >> 1);
            let (above, taken) = match beside {
                Some(&beside) => {
                    for at in 0..width {
                        self.roots[to + at] =
                            node(&self.roots[to + at], &self.roots[from + width + at]);
                    }
                    (joined(head, beside), 2)
                }
                None => (raised(head, &mut self.roots[to..to + width]), 1),
            };
            self.heads[written] = above;
            read += taken;
            written += 1;
        }
        self.heads.truncate(written);
        self.roots.truncate(written * width);
        self.level += 1;
    }
}

/// The head over two neighbours.
fn joined(left: Head, right: Head) -> Head {
    let (level, index) = (left.level + 1, left.index >> 1);
    Head { level, index, packets: left.packets + right.packets, present: 0 }
}

/// The head over one that has no neighbour.
fn raised(head: Head, roots: &mut [Root]) -> Head {
    for root in roots {
        *root = match head.index & 1 {
            0 => node(root, &NOTHING),
            _ => node(&NOTHING, root),
        };
    }
    Head { level: head.level + 1, index: head.index >> 1, packets: head.packets, present: 0 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ringmail_model::SplitMix64;

    use super::*;

    fn root(of: u64) -> Root {
        let mut root = [7; 32];
        root[..8].copy_from_slice(&of.to_be_bytes());
        root
    }

    /// The root of a stretch, by the definition.
    fn by_hand(leaves: &BTreeMap<u64, Root>, level: u8, index: u64) -> (Root, u64) {
        if level == 0 {
            return leaves.get(&index).map_or((NOTHING, 0), |root| (*root, 1));
        }
        let left = by_hand(leaves, level - 1, index * 2);
        let right = by_hand(leaves, level - 1, index * 2 + 1);
        (node(&left.0, &right.0), left.1 + right.1)
    }

    fn filled(leaves: &BTreeMap<u64, Root>) -> Vec<Node> {
        let mut forest = Forest::new(2);
        for (index, root) in leaves {
            let head = Head { level: 0, index: *index, packets: 1, present: 1 };
            forest.push(head, &mut [*root, node(root, root)]);
        }
        forest.take()
    }

    #[test]
    fn every_root_is_that_of_its_stretch_and_every_leaf_is_below_one() {
        let mut random = SplitMix64(7);
        for (count, gaps) in [(5, 1), (TRAIL_NODES as u64, 1), (3_000, 1), (2_000, 9), (900, 400)] {
            let mut index = 0;
            let leaves: BTreeMap<u64, Root> = (0..count)
                .map(|_| {
                    index += 1 + random.below(gaps);
                    (index, root(index))
                })
                .collect();
            let nodes = filled(&leaves);
            assert!(nodes.len() <= TRAIL_NODES + LEVELS, "{}", nodes.len());
            let twice: BTreeMap<u64, Root> =
                leaves.iter().map(|(index, root)| (*index, node(root, root))).collect();
            for one in &nodes {
                let (first, packets) = by_hand(&leaves, one.level, one.index);
                let (second, _) = by_hand(&twice, one.level, one.index);
                assert_eq!((one.packets, &one.roots), (packets, &vec![first, second]), "{one:?}");
            }
            let below: u64 = nodes.iter().map(|one| one.packets).sum();
            assert_eq!(below, count, "each leaf is below one node");
        }
    }

    #[test]
    fn what_was_taken_is_not_there_any_more_and_what_follows_begins_fine() {
        let leaves = (0..TRAIL_NODES as u64 * 3).map(|index| (index, root(index))).collect();
        let mut forest = Forest::new(1);
        for (index, root) in &leaves as &BTreeMap<u64, Root> {
            forest.push(Head { index: *index, packets: 1, ..Head::default() }, &mut [*root]);
        }
        assert!(forest.take().iter().any(|node| node.level > 0));
        forest.push(Head { index: 5_000, packets: 3, ..Head::default() }, &mut [root(1)]);
        let [one] = &forest.take()[..] else { panic!("one leaf") };
        assert_eq!((one.level, one.index, one.packets), (0, 5_000, 3));
        assert_eq!(forest.take(), []);
    }
}
