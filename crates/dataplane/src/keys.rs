//! Suites and keys of an ESP security association (RFC 4106, RFC 7634): key ‖ 4-byte salt, as an exporter gives them.
//!
//! A key is wiped when it goes, is never shown by `Debug`, and leaves this module as text only through
//! [`danger_wireshark_line`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use aws_lc_rs::aead;
use ringmail_model::SaSpi;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of salt behind the key (RFC 4106 section 8.1, RFC 7634 section 2).
pub const SALT_BYTES: usize = 4;

const MAX_KEY_BYTES: usize = 32;

/// An authenticated cipher of ESP. All have the same overhead: 8 bytes IV, 16 bytes ICV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// AES-GCM with a key of 128 bits and an ICV of 16 bytes (RFC 4106).
    Aes128Gcm,
    /// AES-GCM with a key of 256 bits and an ICV of 16 bytes (RFC 4106).
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Suite; 3] = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

    /// The name in the domain file and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Suite::Aes128Gcm => "aes-128-gcm",
            Suite::Aes256Gcm => "aes-256-gcm",
            Suite::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// Bytes of the cipher's key, without the salt.
    pub const fn key_len_bytes(self) -> usize {
        match self {
            Suite::Aes128Gcm => 16,
            Suite::Aes256Gcm | Suite::ChaCha20Poly1305 => 32,
        }
    }

    /// Bytes to ask an exporter for: key ‖ salt.
    pub const fn material_len_bytes(self) -> usize {
        self.key_len_bytes() + SALT_BYTES
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Suite::Aes128Gcm => &aead::AES_128_GCM,
            Suite::Aes256Gcm => &aead::AES_256_GCM,
            Suite::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    /// Wireshark's name of the suite in its `esp_sa` table.
    const fn wireshark_name(self) -> &'static str {
        match self {
            Suite::Aes128Gcm | Suite::Aes256Gcm => "AES-GCM with 16 octet ICV [RFC4106]",
            Suite::ChaCha20Poly1305 => "ChaCha20 with Poly1305 [RFC7634]",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The domain file or a peer named a suite that does not exist here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no suite is named `{0}` (there are aes-128-gcm, aes-256-gcm and chacha20-poly1305)")]
pub struct UnknownSuite(pub String);

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Suite, UnknownSuite> {
        let found = Suite::ALL.into_iter().find(|suite| suite.name() == name);
        found.ok_or_else(|| UnknownSuite(name.to_owned()))
    }
}

/// Why key material was refused: the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The material is not key ‖ salt of the suite.
    #[error("{suite} takes {expected} bytes (key and 4 of salt), not {found}")]
    Length {
        /// The suite.
        suite: Suite,
        /// Bytes that the suite takes.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// The cryptographic library would not take the key.
    #[error("the cryptographic library refused a key of {0}")]
    Refused(Suite),
}

/// The secret of one security association: key ‖ salt of a suite.
///
/// It stays in one place of memory until it is wiped there: what is moved leaves a copy behind that nobody wipes.
pub struct SaKey {
    suite: Suite,
    material: Zeroizing<Box<[u8]>>,
}

impl SaKey {
    /// Takes key ‖ salt, as an exporter (RFC 8446 section 7.5) or a domain file with keying `psk` gives them.
    /// The caller wipes its own copy.
    ///
    /// # Errors
    /// [`KeyError::Length`] when `material` has not [`Suite::material_len_bytes`] bytes.
    pub fn new(suite: Suite, material: &[u8]) -> Result<SaKey, KeyError> {
        let expected = suite.material_len_bytes();
        if material.len() != expected {
            return Err(KeyError::Length { suite, expected, found: material.len() });
        }
        Ok(SaKey { suite, material: Zeroizing::new(material.into()) })
    }

    /// The suite that the key is for.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    fn key(&self) -> &[u8] {
        &self.material[..self.suite.key_len_bytes()]
    }

    /// Key ‖ salt, for a program that decrypts captures. Holding them is holding the association.
    pub fn danger_material(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.material.to_vec())
    }

    /// The cipher with its key schedule done: set-up costs as much as a small packet, so it is done once an association.
    pub(crate) fn cipher(&self) -> Result<Cipher, KeyError> {
        let key = aead::UnboundKey::new(self.suite.algorithm(), self.key())
            .map_err(|_| KeyError::Refused(self.suite))?;
        let mut salt = Zeroizing::new([0; SALT_BYTES]);
        salt.copy_from_slice(&self.material[self.suite.key_len_bytes()..]);
        Ok(Cipher {
            key: aead::LessSafeKey::new(key),
            salt,
            #[cfg(feature = "weaken")]
            bare: weaken::Bare::new(self.key()),
        })
    }
}

impl ZeroizeOnDrop for SaKey {}

impl Zeroize for SaKey {
    fn zeroize(&mut self) {
        self.material.zeroize();
    }
}

impl fmt::Debug for SaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaKey").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// A key ready for use, and the salt that every nonce begins with.
///
/// "Less safe" is the library's word for a key whose nonces the caller makes; here they are the sequence numbers, of
/// which [`OutboundSa`](crate::sa::OutboundSa) never gives one out twice.
pub(crate) struct Cipher {
    key: aead::LessSafeKey,
    salt: Zeroizing<[u8; SALT_BYTES]>,
    #[cfg(feature = "weaken")]
    bare: weaken::Bare,
}

impl Cipher {
    /// Encrypts `text` in place and returns the ICV.
    #[inline]
    pub(crate) fn seal(
        &self,
        iv: [u8; 8],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<aead::Tag, aws_lc_rs::error::Unspecified> {
        #[cfg(feature = "weaken")]
        if weaken::off(weaken::Defence::EspEncryption) {
            return self.key.seal_in_place_separate_tag(
                self.nonce(iv),
                aead::Aad::from(aad),
                &mut [],
            );
        }
        self.key.seal_in_place_separate_tag(self.nonce(iv), aead::Aad::from(aad), text)
    }

    /// Checks the ICV and decrypts `text` in place; on failure its bytes are lost.
    #[inline]
    pub(crate) fn open(
        &self,
        iv: [u8; 8],
        aad: &[u8],
        icv: &[u8],
        text: &mut [u8],
    ) -> Result<(), aws_lc_rs::error::Unspecified> {
        #[cfg(feature = "weaken")]
        if weaken::off(weaken::Defence::EspEncryption) {
            return Ok(());
        }
        #[cfg(feature = "weaken")]
        if weaken::off(weaken::Defence::EspIcv) {
            self.bare.decrypt(&self.salt, iv, text);
            return Ok(());
        }
        self.key
            .open_in_place_separate_tag(self.nonce(iv), aead::Aad::from(aad), icv, text)
            .map(|_| ())
    }

    /// RFC 4106 section 4: the nonce is salt ‖ IV.
    #[inline]
    fn nonce(&self, iv: [u8; 8]) -> aead::Nonce {
        let mut nonce = [0; aead::NONCE_LEN];
        nonce[..SALT_BYTES].copy_from_slice(&*self.salt);
        nonce[SALT_BYTES..].copy_from_slice(&iv);
        aead::Nonce::assume_unique_for_key(nonce)
    }
}

/// AES-GCM without its ICV (NIST SP 800-38D section 6.5), for a receiver that does not check it.
#[cfg(feature = "weaken")]
mod weaken {
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    use aes::{Aes128, Block};
    pub(super) use ringmail_model::defence::{Defence, off};

    /// AES-128 by itself; the other suites go on being checked.
    pub(super) struct Bare(Option<Aes128>);

    impl Bare {
        pub(super) fn new(key: &[u8]) -> Bare {
            Bare(<[u8; 16]>::try_from(key).ok().map(|key| Aes128::new(&key.into())))
        }

        pub(super) fn decrypt(&self, salt: &[u8; 4], iv: [u8; 8], text: &mut [u8]) {
            let Some(cipher) = &self.0 else { return };
            // Counter 1 masks the ICV; the text begins with 2.
            for (block, counter) in text.chunks_mut(16).zip(2_u32..) {
                let mut stream = [0; 16];
                stream[..4].copy_from_slice(salt);
                stream[4..12].copy_from_slice(&iv);
                stream[12..].copy_from_slice(&counter.to_be_bytes());
                let mut stream = Block::from(stream);
                cipher.encrypt_block(&mut stream);
                block.iter_mut().zip(stream).for_each(|(byte, mask)| *byte ^= mask);
            }
        }
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").finish_non_exhaustive()
    }
}

/// The line of Wireshark's `esp_sa` table with which it decrypts what this association carries.
///
/// Holding the line is holding the key: everything that the association carried or will carry can be read and forged.
/// `src` and `dst` are the addresses of the outer IP header. Pass it as `-o "uat:esp_sa:LINE"` along with
/// `-o esp.enable_encryption_decode:TRUE`, or write it into the file `esp_sa` of a profile.
///
/// Wireshark 4.0 decrypts AES-GCM; it knows no 64-bit sequence numbers, so it calls their ICVs bad, and not the name of
/// ChaCha20-Poly1305, which later ones know.
pub fn danger_wireshark_line(
    src: IpAddr,
    dst: IpAddr,
    spi: SaSpi,
    key: &SaKey,
) -> Zeroizing<String> {
    use std::fmt::Write as _;

    let version = if src.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut material = Zeroizing::new(String::with_capacity(2 * (MAX_KEY_BYTES + SALT_BYTES)));
    for byte in key.material.iter() {
        let _ = write!(material, "{byte:02x}");
    }
    Zeroizing::new(format!(
        r#""{version}","{src}","{dst}","0x{:08x}","{}","0x{}","NULL","""#,
        spi.0,
        key.suite.wireshark_name(),
        *material,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_of_another_length_is_refused() {
        for suite in Suite::ALL {
            for len in (0..40).filter(|len| *len != suite.material_len_bytes()) {
                let refused = SaKey::new(suite, &vec![7; len]).unwrap_err();
                let expected = suite.material_len_bytes();
                assert_eq!(refused, KeyError::Length { suite, expected, found: len });
            }
            assert!(SaKey::new(suite, &vec![7; suite.material_len_bytes()]).is_ok());
        }
    }

    #[test]
    fn debug_shows_no_byte_of_a_key() {
        let key = SaKey::new(Suite::Aes128Gcm, &[0xab; 20]).unwrap();
        let shown = format!("{key:?} {:?}", key.cipher().unwrap());
        assert_eq!(shown, "SaKey { suite: Aes128Gcm, .. } Cipher { .. }");
    }

    #[test]
    fn a_key_is_wiped() {
        let mut key = SaKey::new(Suite::Aes256Gcm, &[0xab; 36]).unwrap();
        key.zeroize();
        assert!(key.material.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_suite_is_found_by_its_name_only() {
        for suite in Suite::ALL {
            assert_eq!(suite.name().parse(), Ok(suite));
        }
        assert_eq!("AES-128-GCM".parse::<Suite>(), Err(UnknownSuite("AES-128-GCM".into())));
    }
}
