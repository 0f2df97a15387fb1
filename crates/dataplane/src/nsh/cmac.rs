//! AES-128-CMAC (RFC 4493) over several messages at once.
//!
//! CMAC is a chain: each block waits for the one before it, and a processor that could encipher ten blocks in that time
//! enciphers one. So the messages of a group of packets go side by side, a block of each at a time.

use aes::cipher::consts::U16;
use aes::cipher::typenum::Unsigned;
use aes::cipher::{
    BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
    ParBlocks,
};
use aes::{Aes128, Block};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a block of AES.
pub const BLOCK_BYTES: usize = 16;

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;

/// Messages that go side by side.
pub const LANES: usize = 64;

/// A set of blocks that go through the cipher together is as fast as this part of it, one by one.
const WORTH_A_SET: usize = 4;

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

    /// The codes of up to [`LANES`] messages of one length, not empty, each behind what `begun` stands for.
    ///
    /// # Panics
    /// If there are more messages, or they differ in length: a fault of the caller, whatever a packet holds.
    pub(crate) fn tags(&self, begun: &Tag, messages: &[&[u8]]) -> [Tag; LANES] {
        assert!(messages.len() <= LANES, "as many messages as lanes");
        let len = messages.first().map_or(1, |first| first.len());
        assert!(messages.iter().all(|message| message.len() == len && len > 0), "of one length");
        let mut tags = [[0; BLOCK_BYTES]; LANES];
        let made = &mut tags[..messages.len()];
        let chains = Chains { begun, messages, subkeys: &self.subkeys, tags: made };
        self.cipher.encrypt_with_backend(chains);
        tags
    }
}

/// Messages of one length, and room for their codes. All their blocks are enciphered within one call into the cipher.
struct Chains<'a> {
    begun: &'a Tag,
    messages: &'a [&'a [u8]],
    subkeys: &'a [Tag; 2],
    tags: &'a mut [Tag],
}

impl BlockSizeUser for Chains<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Chains<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, cipher: &B) {
        let Chains { begun, messages, subkeys, tags } = self;
        let width = B::ParBlocksSize::USIZE;
        let mut states = ParBlocks::<B>::default();
        for (messages, tags) in messages.chunks(width).zip(tags.chunks_mut(width)) {
            states[..messages.len()].fill(Block::from(*begun));
            // A set that is not full takes as long as a full one: so long as some blocks one by one.
            let wide = messages.len() * WORTH_A_SET >= width;
            let encipher = |states: &mut ParBlocks<B>| match wide {
                true => cipher.encrypt_par_blocks_inplace(states),
                false => states[..messages.len()]
                    .iter_mut()
                    .for_each(|state| cipher.encrypt_block_inplace(state)),
            };
            let blocks = (messages[0].len() - 1) / BLOCK_BYTES;
            for block in 0..blocks {
                for (state, message) in states.iter_mut().zip(messages) {
                    let (whole, _) = message.as_chunks::<BLOCK_BYTES>();
                    xor(state, &whole[block]);
                }
                encipher(&mut states);
            }
            for (state, message) in states.iter_mut().zip(messages) {
                xor_last(state, &message[blocks * BLOCK_BYTES..], subkeys);
            }
            encipher(&mut states);
            tags.iter_mut().zip(&states).for_each(|(tag, state)| *tag = (*state).into());
        }
    }
}

/// The last block: whole, or what is left of it, padded.
#[inline(always)]
fn xor_last(state: &mut Block, rest: &[u8], [whole, padded]: &[Tag; 2]) {
    match rest.first_chunk() {
        Some(block) => {
            xor(state, block);
            xor(state, whole);
        }
        None => {
            let mut block = [0; BLOCK_BYTES];
            block[..rest.len()].copy_from_slice(rest);
            block[rest.len()] = 0x80;
            xor(state, &block);
            xor(state, padded);
        }
    }
}

impl std::fmt::Debug for CmacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CmacKey").finish_non_exhaustive()
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
        u128::from_be_bytes(CmacKey::new(&KEY).tags(&[0; 16], &[message])[0])
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
            lanes in 1..=LANES,
            len in 1..300usize,
            begun in 0..4usize,
            fill in any::<u64>(),
        ) {
            let byte = |lane: usize, at: usize| (fill >> (at % 57)) as u8 ^ (lane * 31 + at) as u8;
            let messages: Vec<Vec<u8>> =
                (0..lanes).map(|lane| (0..len).map(|at| byte(lane, at)).collect()).collect();
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let ours = CmacKey::new(&key);
            let tags = ours.tags(&ours.after(&MESSAGE[..begun]), &messages);
            for (tag, message) in tags.iter().zip(&messages) {
                let whole = [&MESSAGE[..begun].concat(), *message].concat();
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
