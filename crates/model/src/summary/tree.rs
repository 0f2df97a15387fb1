//! The hash tree over what an element passed of one origin on one path (`docs/nsh.md`, "Roots").
//!
//! Sequences stand in groups of 64. A leaf binds which of a group there are and the mark of each; a node binds two
//! neighbours of the level below, nothing standing for one that is not there. So any stretch of a power of two groups has a
//! root of its own, and whoever has finer roots computes the coarser ones.

use aws_lc_rs::digest::{SHA256, digest};

use crate::ids::PathDigest;

/// Sequences of one leaf.
pub const GROUP: u64 = 64;

/// What a leaf or node is: SHA-256.
pub type Root = [u8; 32];

/// Where nothing is.
pub const NOTHING: Root = [0; 32];

/// The first bytes of what a leaf's hash is over, and a node's.
const LEAF: [u8; 16] = *b"ringmail-leaf/1\0";
const NODE: [u8; 16] = *b"ringmail-node/1\0";

const MARK_BYTES: usize = crate::nsh::WORD_BYTES;
const HEAD_BYTES: usize = 16 + 32 + 3 * 8;
const LEAF_BYTES: usize = HEAD_BYTES + GROUP as usize * MARK_BYTES;

/// Group `group` of an origin on a path. `present` says which of its sequences there are, the first in the lowest bit;
/// `marks` are theirs, in order.
pub fn leaf(
    path: &PathDigest,
    origin: &[u8; 8],
    group: u64,
    present: u64,
    marks: impl Iterator<Item = [u8; MARK_BYTES]>,
) -> Root {
    let mut bytes = [0; LEAF_BYTES];
    let (head, rest) = bytes.split_at_mut(HEAD_BYTES);
    head[..16].copy_from_slice(&LEAF);
    head[16..48].copy_from_slice(&path.0);
    head[48..56].copy_from_slice(origin);
    head[56..64].copy_from_slice(&group.to_be_bytes());
    head[64..].copy_from_slice(&present.to_be_bytes());
    let mut len = HEAD_BYTES;
    for (place, mark) in rest.chunks_exact_mut(MARK_BYTES).zip(marks) {
        place.copy_from_slice(&mark);
        len += MARK_BYTES;
    }
    hash(&bytes[..len])
}

/// The node over two neighbours; nothing over nothing.
pub fn node(left: &Root, right: &Root) -> Root {
    if *left == NOTHING && *right == NOTHING {
        return NOTHING;
    }
    let mut bytes = [0; 16 + 2 * 32];
    bytes[..16].copy_from_slice(&NODE);
    bytes[16..48].copy_from_slice(left);
    bytes[48..].copy_from_slice(right);
    hash(&bytes)
}

fn hash(bytes: &[u8]) -> Root {
    let mut root = NOTHING;
    root.copy_from_slice(digest(&SHA256, bytes).as_ref());
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(bytes: &[u8]) -> Root {
        digest(&SHA256, bytes).as_ref().try_into().unwrap()
    }

    #[test]
    fn leaf_and_node_are_the_hashes_that_the_text_says() {
        let mut bytes = b"ringmail-leaf/1\0".to_vec();
        bytes.extend([3; 32]);
        bytes.extend([1; 8]);
        bytes.extend(7u64.to_be_bytes());
        bytes.extend(0b101u64.to_be_bytes());
        bytes.extend([8; 8]);
        bytes.extend([9; 8]);
        let marks = [[8; 8], [9; 8]];
        let made = leaf(&PathDigest([3; 32]), &[1; 8], 7, 0b101, marks.into_iter());
        assert_eq!(made, sha256(&bytes));
        let mut bytes = b"ringmail-node/1\0".to_vec();
        bytes.extend(made);
        bytes.extend(NOTHING);
        assert_eq!(node(&made, &NOTHING), sha256(&bytes));
        assert_eq!(node(&NOTHING, &NOTHING), NOTHING);
    }
}
