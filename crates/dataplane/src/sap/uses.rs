//! What associations are for: ESP, and the three things of NSH that need keys of their own (`docs/sap.md`, "Uses").
//!
//! All uses are agreed on in the same way; label and key material differ, and what an index counts.

use std::fmt;

use ringmail_model::SaSpi;
use ringmail_model::defence::{Defence, off};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::context::{ExportFailed, Exporter, KeyContext};
use crate::sa::{SaKey, SegmentIndex, Suite};

/// Bytes of a key of AES-128-CMAC (RFC 4493).
pub const MAC_KEY_BYTES: usize = 16;

/// Bytes of a key of HMAC-SHA-256-128 (RFC 4868 section 2.6).
pub const HMAC_KEY_BYTES: usize = 32;

/// The label of keys of links whose code is that of RFC 9145.
const RFC_9145: &[u8] = b"EXPERIMENTAL ringmail-sap/1 rfc9145";

/// What an association is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Use {
    /// Packets, from the sender to the receiver of a segment. The index is the segment's.
    Esp = 0,
    /// The MAC of a link, from each element of a path to the next one. The index is the sender's position.
    Link = 1,
    /// Proof of transit, from the origin and each hop of a path to its end. The index is the sender's position.
    Proof = 2,
    /// Metadata, from the origin of a path to one reader. The index is the reader's position.
    Metadata = 3,
}

impl Use {
    /// Every use, by ascending code.
    pub const ALL: [Use; 4] = [Use::Esp, Use::Link, Use::Proof, Use::Metadata];

    /// The name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Use::Esp => "esp",
            Use::Link => "link",
            Use::Proof => "proof",
            Use::Metadata => "metadata",
        }
    }

    /// The exporter's label. Labels that begin so need no registration (RFC 5705 section 4).
    pub const fn label(self) -> &'static [u8] {
        match self {
            Use::Esp => b"EXPERIMENTAL ringmail-sap/1 esp",
            Use::Link => b"EXPERIMENTAL ringmail-sap/1 mac",
            Use::Proof => b"EXPERIMENTAL ringmail-sap/1 proof",
            Use::Metadata => b"EXPERIMENTAL ringmail-sap/1 metadata",
        }
    }

    /// How many workers of a sender with so many get an association of their own. A nonce must not repeat, so a counter
    /// has one owner; a MAC needs no counter.
    pub(super) const fn workers(self, of_sender: u16) -> u16 {
        match self {
            Use::Esp | Use::Metadata => of_sender,
            Use::Link | Use::Proof => 1,
        }
    }

    /// Whether what is on the wire tells keys of these two numbers apart: a slot of proof has room for 16 bits of them.
    pub(super) const fn tells_apart(self, one: SaSpi, other: SaSpi) -> bool {
        match self {
            Use::Esp | Use::Link | Use::Metadata => one.0 != other.0,
            Use::Proof => one.0 as u16 != other.0 as u16,
        }
    }

    /// The one key that the context names.
    pub(super) fn key(
        self,
        context: &KeyContext,
        exporter: &dyn Exporter,
    ) -> Result<AgreedKey, ExportFailed> {
        let sa_key = |suite: Suite| {
            let mut material = Zeroizing::new(vec![0; suite.material_len_bytes()]);
            exporter.export(self.label(), &context.encode(), &mut material)?;
            if off(Defence::OwnKeys) {
                material.fill(EVERYBODYS);
            }
            SaKey::new(suite, &material).map_err(|_| ExportFailed)
        };
        let mac_key = || {
            let mut key = MacKey::new([0; MAC_KEY_BYTES]);
            exporter.export(self.label(), &context.encode(), &mut key.bytes[..MAC_KEY_BYTES])?;
            if off(Defence::OwnKeys) {
                key.bytes.fill(EVERYBODYS);
            }
            Ok(key)
        };
        let hmac_key = || {
            let mut key = MacKey::new_long([0; HMAC_KEY_BYTES]);
            exporter.export(RFC_9145, &context.encode(), &mut *key.bytes)?;
            if off(Defence::OwnKeys) {
                key.bytes.fill(EVERYBODYS);
            }
            Ok(key)
        };
        Ok(match self {
            Use::Link if context.profile.is_rfc_9145() => AgreedKey::Link(hmac_key()?),
            Use::Esp => AgreedKey::Esp(sa_key(context.suite)?),
            Use::Link => AgreedKey::Link(mac_key()?),
            Use::Proof => AgreedKey::Proof(mac_key()?),
            Use::Metadata => AgreedKey::Metadata(sa_key(Suite::Aes128Gcm)?),
        })
    }

    /// The byte of OFFER: the use in the two high bits, so that those of ESP are bare indices.
    pub(super) const fn offer_byte(self, index: SegmentIndex) -> u8 {
        (self as u8) << INDEX_BITS | index.0 & INDEX_MAX
    }

    /// What a byte of OFFER names: every byte names something.
    pub(super) const fn of_offer_byte(byte: u8) -> (Use, SegmentIndex) {
        (Use::ALL[(byte >> INDEX_BITS) as usize], SegmentIndex(byte & INDEX_MAX))
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the one key of all is made of where nobody has a key of his own: without the defence.
const EVERYBODYS: u8 = 0x77;

const INDEX_BITS: u32 = 6;

/// The highest index that an OFFER names: paths are far shorter.
pub(super) const INDEX_MAX: u8 = (1 << INDEX_BITS) - 1;

/// A key, and what it is for.
#[derive(Debug)]
pub enum AgreedKey {
    /// Key ‖ salt of the path's suite.
    Esp(SaKey),
    /// AES-128-CMAC, or HMAC-SHA-256-128 where the path's code is that of RFC 9145.
    Link(MacKey),
    /// AES-128-CMAC.
    Proof(MacKey),
    /// Key ‖ salt of AES-128-GCM, whatever the path's suite.
    Metadata(SaKey),
}

impl AgreedKey {
    /// What it is for.
    pub const fn usage(&self) -> Use {
        match self {
            AgreedKey::Esp(_) => Use::Esp,
            AgreedKey::Link(_) => Use::Link,
            AgreedKey::Proof(_) => Use::Proof,
            AgreedKey::Metadata(_) => Use::Metadata,
        }
    }
}

/// A key of AES-128-CMAC, or of HMAC-SHA-256-128. It is wiped when it goes, from the one place of memory where it was, and
/// `Debug` does not show it.
pub struct MacKey {
    /// A short one has zeros behind it.
    bytes: Box<[u8; HMAC_KEY_BYTES]>,
    long: bool,
}

impl ZeroizeOnDrop for MacKey {}

impl Zeroize for MacKey {
    fn zeroize(&mut self) {
        self.bytes.as_mut_slice().zeroize();
    }
}

impl Drop for MacKey {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl MacKey {
    /// Takes a key of AES-128-CMAC. The caller wipes its own copy.
    pub fn new(key: [u8; MAC_KEY_BYTES]) -> MacKey {
        let mut bytes = Box::new([0; HMAC_KEY_BYTES]);
        bytes[..MAC_KEY_BYTES].copy_from_slice(&key);
        MacKey { bytes, long: false }
    }

    /// Takes a key of HMAC-SHA-256-128. The caller wipes its own copy.
    pub fn new_long(key: [u8; HMAC_KEY_BYTES]) -> MacKey {
        MacKey { bytes: Box::new(key), long: true }
    }

    /// The key of HMAC-SHA-256-128, if it is one. Holding it is being able to forge.
    pub fn danger_long(&self) -> Option<&[u8; HMAC_KEY_BYTES]> {
        self.long.then_some(&*self.bytes)
    }

    /// The key of AES-128-CMAC, to set up the cipher. Holding it is being able to forge.
    pub fn danger_bytes(&self) -> &[u8; MAC_KEY_BYTES] {
        self.bytes.first_chunk().unwrap_or(&[0; MAC_KEY_BYTES])
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_an_offer_names_one_use_and_index() {
        for byte in 0..=u8::MAX {
            let (usage, index) = Use::of_offer_byte(byte);
            assert_eq!(usage.offer_byte(index), byte);
        }
        assert_eq!(Use::of_offer_byte(0x3f), (Use::Esp, SegmentIndex(63)));
        assert_eq!(Use::of_offer_byte(0x40), (Use::Link, SegmentIndex(0)));
        assert_eq!(Use::of_offer_byte(0x82), (Use::Proof, SegmentIndex(2)));
        assert_eq!(Use::of_offer_byte(0xc1), (Use::Metadata, SegmentIndex(1)));
    }

    #[test]
    fn a_long_key_is_taken_for_no_short_one() {
        let (short, long) =
            (MacKey::new([1; MAC_KEY_BYTES]), MacKey::new_long([2; HMAC_KEY_BYTES]));
        assert_eq!((short.danger_bytes(), short.danger_long()), (&[1; MAC_KEY_BYTES], None));
        assert_eq!(long.danger_long(), Some(&[2; HMAC_KEY_BYTES]));
    }

    #[test]
    fn a_mac_key_is_wiped_and_not_shown() {
        let mut key = MacKey::new([0xab; MAC_KEY_BYTES]);
        assert_eq!(format!("{key:?}"), "MacKey { .. }");
        key.zeroize();
        assert_eq!(key.danger_bytes(), &[0; MAC_KEY_BYTES]);
    }
}
