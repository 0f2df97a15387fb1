//! Proof of transit: the tag that each element of a path puts on a packet, over the tag that it found (`docs/nsh.md`,
//! "Proof of transit").

use ringmail_model::PathDigest;
use ringmail_model::nsh::{TAG_BYTES, WORD_BYTES};

use super::cmac::{CmacKey, KEY_BYTES, LANES, Tag};

/// What every first block begins with: nothing else is ever made under these keys.
const PURPOSE: [u8; 16] = *b"ringmail-proof/1";

/// Bytes of what differs between packets.
const MESSAGE_BYTES: usize = 3 * 16;

/// The first bytes of the ICV that a packet carries when it leaves an element.
pub type Mark = [u8; WORD_BYTES];

/// One element's key for the proofs of one path, shared with the end of the path.
#[derive(Debug)]
pub struct Prover {
    key: CmacKey,
    /// The chain behind what is the same for all packets: purpose, path, position.
    begun: Tag,
    key_id: u16,
}

/// What an element says of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Who began the proof: element, worker and life.
    pub origin: [u8; WORD_BYTES],
    /// The origin's count.
    pub sequence: u64,
    /// What the packet carries when it leaves the element.
    pub mark: Mark,
    /// The tag that it came with; zero where the proof begins.
    pub before: Tag,
}

impl Prover {
    /// The element at this position of the path, 0 being where it begins. The caller wipes its own copy of the key.
    pub fn new(key: &[u8; KEY_BYTES], key_id: u16, path: &PathDigest, position: u8) -> Prover {
        let key = CmacKey::new(key);
        let mut blocks = [PURPOSE, [0; 16], [0; 16], [0; 16]];
        blocks[1].copy_from_slice(&path.0[..16]);
        blocks[2].copy_from_slice(&path.0[16..]);
        blocks[3][0] = position;
        let begun = key.after(&blocks);
        Prover { key, begun, key_id }
    }

    /// What the end of the path knows the key by, in the packet.
    pub fn key_id(&self) -> u16 {
        self.key_id
    }

    /// The tags of up to as many packets as go side by side; those behind the last claim mean nothing.
    pub fn tags(&self, claims: &[Claim]) -> [Tag; LANES] {
        let mut messages = [[0; MESSAGE_BYTES]; LANES];
        let mut parts = [&[][..]; LANES];
        let lanes = messages.iter_mut().zip(&mut parts);
        for ((message, part), claim) in lanes.zip(claims) {
            message[..8].copy_from_slice(&claim.origin);
            message[8..16].copy_from_slice(&claim.sequence.to_be_bytes());
            message[16..24].copy_from_slice(&claim.mark);
            message[24..26].copy_from_slice(&self.key_id.to_be_bytes());
            message[32..].copy_from_slice(&claim.before);
            *part = message;
        }
        self.key.tags(&self.begun, &parts[..claims.len().min(LANES)])
    }
}

/// The tag before the first.
pub const NO_TAG: Tag = [0; TAG_BYTES];

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: PathDigest = PathDigest([3; 32]);

    fn claim() -> Claim {
        Claim { origin: [1; 8], sequence: 7, mark: [2; 8], before: [4; 16] }
    }

    fn tag(key: u8, key_id: u16, path: PathDigest, position: u8, claim: Claim) -> Tag {
        Prover::new(&[key; 16], key_id, &path, position).tags(&[claim])[0]
    }

    #[test]
    fn a_tag_is_the_code_over_what_the_text_says() {
        let mut message = b"ringmail-proof/1".to_vec();
        message.extend([3; 32]);
        message.extend([5; 1]);
        message.extend([0; 15]);
        message.extend([1; 8]);
        message.extend(7u64.to_be_bytes());
        message.extend([2; 8]);
        message.extend([0x12, 0x34, 0, 0, 0, 0, 0, 0]);
        message.extend([4; 16]);
        let whole = CmacKey::new(&[9; 16]).tags(&[0; 16], &[&message])[0];
        assert_eq!(tag(9, 0x1234, PATH, 5, claim()), whole);
    }

    #[test]
    fn a_tag_is_of_one_key_path_position_and_packet() {
        let one = tag(9, 1, PATH, 5, claim());
        let others = [
            tag(8, 1, PATH, 5, claim()),
            tag(9, 2, PATH, 5, claim()),
            tag(9, 1, PathDigest([1; 32]), 5, claim()),
            tag(9, 1, PATH, 4, claim()),
            tag(9, 1, PATH, 5, Claim { origin: [0; 8], ..claim() }),
            tag(9, 1, PATH, 5, Claim { sequence: 8, ..claim() }),
            tag(9, 1, PATH, 5, Claim { mark: [0; 8], ..claim() }),
            tag(9, 1, PATH, 5, Claim { before: NO_TAG, ..claim() }),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(one, *other, "{index}");
        }
    }

    #[test]
    fn claims_side_by_side_are_as_claims_alone() {
        let prover = Prover::new(&[9; 16], 1, &PATH, 0);
        let claims: Vec<Claim> =
            (0..LANES as u64).map(|sequence| Claim { sequence, ..claim() }).collect();
        let tags = prover.tags(&claims);
        for (claim, tag) in claims.iter().zip(tags) {
            assert_eq!(prover.tags(&[*claim])[0], tag);
        }
    }
}
