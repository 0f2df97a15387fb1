//! AES-128-CMAC (RFC 4493) over several messages at once.
//!
//! CMAC is a chain: each block waits for the one before it, and a processor that could encipher ten blocks in that time
//! enciphers one. So the messages of a group of packets go side by side, a block of each at a time.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Block};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a block of AES.
pub const BLOCK_BYTES: usize = 16;

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;

/// Messages that go side by side.
pub const LANES: usize = 8;

/// A message authentication code, whole.
pub type Tag = [u8; BLOCK_BYTES];

/// What a subkey is made with (RFC 4493 section 2.3).
const R128: u8 = 0x87;

/// A key, ready for use. It is wiped when it goes.
pub struct CmacKey {
    cipher: Aes128,
    /// For a last block that is whole, and for one that is padded.
    subkeys: Zeroizing<[Tag; 2]>,
}

impl CmacKey {
    /// Takes a key; the caller wipes its own copy.
    pub fn new(key: &[u8; KEY_BYTES]) -> CmacKey {
        let cipher = Aes128::new(&(*key).into());
        let mut zero = Block::default();
        cipher.encrypt_block(&mut zero);
        let whole = doubled(zero.into());
        CmacKey { cipher, subkeys: Zeroizing::new([whole, doubled(whole)]) }
    }

    /// Where the chain stands after whole blocks that are not the last: what all messages of a kind begin with is worked
    /// off once.
    pub(crate) fn after(&self, blocks: &[[u8; BLOCK_BYTES]]) -> Tag {
        let mut state = Block::default();
        for block in blocks {
            xor(&mut state, block);
            self.cipher.encrypt_block(&mut state);
        }
        state.into()
    }

    /// The codes of [`LANES`] messages of `len` bytes, at least one, each behind what `begun` stands for. A message is laid
    /// out in whole blocks and [`pad`]ded; the code of a lane that has none of this length means nothing.
    ///
    /// # Panics
    /// If there is no message of this length: a fault of the caller, whatever a packet holds.
    pub(crate) fn tags<const BLOCKS: usize>(
        &self,
        begun: &Tag,
        messages: &[[Tag; BLOCKS]; LANES],
        len: usize,
    ) -> [Tag; LANES] {
        assert!(len > 0 && len <= BLOCKS * BLOCK_BYTES, "{len} bytes");
        let last = (len - 1) / BLOCK_BYTES;
        let [whole, padded] = &*self.subkeys;
        let subkey = if len.is_multiple_of(BLOCK_BYTES) { whole } else { padded };
        // All lanes, whether used or not: a full set is one call into the fast path.
        let mut states = [Block::from(*begun); LANES];
        for block in 0..last {
            for (state, message) in states.iter_mut().zip(messages) {
                xor(state, &message[block]);
            }
            self.cipher.encrypt_blocks(&mut states);
        }
        for (state, message) in states.iter_mut().zip(messages) {
            xor(state, &message[last]);
            xor(state, subkey);
        }
        self.cipher.encrypt_blocks(&mut states);
        states.map(Tag::from)
    }

    /// The code of one message, not empty.
    #[cfg(test)]
    pub(crate) fn tag(&self, message: &[u8]) -> Tag {
        let mut lanes = [[Tag::default(); 64]; LANES];
        lanes[0].as_flattened_mut()[..message.len()].copy_from_slice(message);
        pad(&mut lanes[0], message.len());
        self.tags(&Tag::default(), &lanes, message.len())[0]
    }
}

impl std::fmt::Debug for CmacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CmacKey").finish_non_exhaustive()
    }
}

/// Ends a message of `len` bytes: what is left of its last block is the padding of RFC 4493 section 2.4.
#[inline]
pub(crate) fn pad(message: &mut [Tag], len: usize) {
    let used = len % BLOCK_BYTES;
    if let Some(block) = message.get_mut(len / BLOCK_BYTES).filter(|_| used > 0) {
        block[used..].fill(0);
        block[used] = 0x80;
    }
}

/// Whether two codes are equal, in a time that says nothing of where they differ.
#[inline]
pub(crate) fn equal(one: &Tag, other: &Tag) -> bool {
    u128::from_ne_bytes(*one).ct_eq(&u128::from_ne_bytes(*other)).into()
}

/// As one number: byte by byte takes longer than the cipher.
#[inline]
fn xor(state: &mut Block, with: &[u8; BLOCK_BYTES]) {
    let sum = u128::from_ne_bytes((*state).into()) ^ u128::from_ne_bytes(*with);
    *state = sum.to_ne_bytes().into();
}

/// Multiplies by x in the field of RFC 4493 section 2.3.
fn doubled(block: Tag) -> Tag {
    let number = u128::from_be_bytes(block);
    let carry = u128::from(R128) * (number >> 127);
    (number << 1 ^ carry).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The key and the message of RFC 4493 section 4.
    const KEY: [u8; 16] = 0x2b7e1516_28aed2a6_abf71588_09cf4f3c_u128.to_be_bytes();
    const MESSAGE: [[u8; 16]; 4] = [
        0x6bc1bee2_2e409f96_e93d7e11_7393172a_u128.to_be_bytes(),
        0xae2d8a57_1e03ac9c_9eb76fac_45af8e51_u128.to_be_bytes(),
        0x30c81c46_a35ce411_e5fbc119_1a0a52ef_u128.to_be_bytes(),
        0xf69f2445_df4f9b17_ad2b417b_e66c3710_u128.to_be_bytes(),
    ];

    fn one(message: &[u8]) -> u128 {
        u128::from_be_bytes(CmacKey::new(&KEY).tag(message))
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let message = MESSAGE.concat();
        assert_eq!(one(&message[..16]), 0x070a16b4_6b4d4144_f79bdd9d_d04a287c);
        assert_eq!(one(&message[..40]), 0xdfa66747_de9ae630_30ca3261_1497c827);
        assert_eq!(one(&message), 0x51f0bebf_7e3b9d92_fc497417_79363cfe);
    }

    /// What another library says.
    fn elsewhere(key: &[u8; 16], message: &[u8]) -> Vec<u8> {
        use aws_lc_rs::cmac;
        let key = cmac::Key::new(cmac::AES_128, key).unwrap();
        cmac::sign(&key, message).unwrap().as_ref().to_vec()
    }

    proptest! {
        #[test]
        fn every_lane_is_what_another_library_says(
            key in any::<[u8; 16]>(),
            len in 1..300usize,
            begun in 0..4usize,
            fill in any::<u64>(),
        ) {
            let byte = |lane: usize, at: usize| (fill >> (at % 57)) as u8 ^ (lane * 31 + at) as u8;
            // Behind its end each lane has what was there before.
            let messages: [[Tag; 20]; LANES] = std::array::from_fn(|lane| {
                let mut blocks = [[lane as u8 + 1; BLOCK_BYTES]; 20];
                (0..len).for_each(|at| blocks.as_flattened_mut()[at] = byte(lane, at));
                pad(&mut blocks, len);
                blocks
            });
            let ours = CmacKey::new(&key);
            let tags = ours.tags(&ours.after(&MESSAGE[..begun]), &messages, len);
            for (lane, tag) in tags.iter().enumerate() {
                let message: Vec<u8> = (0..len).map(|at| byte(lane, at)).collect();
                let whole = [MESSAGE[..begun].concat(), message].concat();
                prop_assert_eq!(&tag[..], elsewhere(&key, &whole));
            }
        }
    }

    #[test]
    fn equal_is_equal_in_every_byte() {
        for at in 0..16 {
            let mut other = KEY;
            other[at] ^= 1;
            assert!(equal(&KEY, &KEY) && !equal(&KEY, &other));
        }
    }
}
