//! A certificate and its private key in one file under a password, as browsers import them (PKCS #12, RFC 7292).
//!
//! ```text
//! PFX
//! ├─ authSafe
//! │  ├─ encryptedData (PBES2): the certificate, marked as the key's; then those that signed it
//! │  └─ data: the private key (PBES2), marked as the certificate's
//! └─ macData: HMAC-SHA-256 over authSafe
//! ```
//!
//! PBES2 (RFC 8018) is AES-256-CBC under PBKDF2 with HMAC-SHA-256: what OpenSSL 3, NSS, macOS and Windows read. The key of
//! the MAC comes from RFC 7292's own derivation, since OpenSSL 3.0 knows no other.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use rustls_pki_types::CertificateDer;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, DERWriterSeq, Tag};
use zeroize::{Zeroize, Zeroizing};

use crate::error::AuthorityError;
use crate::limits::P12_ROUNDS;
use crate::password::Password;
use crate::secret::PrivateKey;

/// The file: `chain` begins with the certificate of `key`, and people see it under `name`.
pub(crate) fn file(
    chain: &[CertificateDer<'_>],
    key: &PrivateKey,
    name: &str,
    password: &Password,
) -> Result<Vec<u8>, AuthorityError> {
    let leaf = chain.first().ok_or(AuthorityError::Signature)?;
    let mark = digest::digest(&digest::SHA256, leaf);
    // As long as everybody's: others put a SHA-1 hash here.
    let mark = mark.as_ref().get(..20).unwrap_or_default();
    let certificates = Encrypted::new(&certificate_bags(chain, name, mark), password)?;
    let key = Encrypted::new(key.danger_pkcs8(), password)?;
    let contents = yasna::construct_der(|safe| {
        safe.write_sequence(|parts| {
            content(parts.next(), ENCRYPTED_DATA, |data| certificates.write_encrypted_data(data));
            let bags = key_bags(&key, name, mark);
            content(parts.next(), DATA, |data| data.write_bytes(&bags));
        });
    });
    let salt = random()?;
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*mac_key(password, &salt)), &contents);
    Ok(yasna::construct_der(|pfx| {
        pfx.write_sequence(|pfx| {
            pfx.next().write_u8(3);
            content(pfx.next(), DATA, |data| data.write_bytes(&contents));
            pfx.next().write_sequence(|mac_data| {
                mac_data.next().write_sequence(|info| {
                    algorithm(info.next(), SHA256);
                    info.next().write_bytes(mac.as_ref());
                });
                mac_data.next().write_bytes(&salt);
                mac_data.next().write_u32(P12_ROUNDS);
            });
        });
    }))
}

/// SafeContents of certificates.
fn certificate_bags(chain: &[CertificateDer<'_>], name: &str, mark: &[u8]) -> Vec<u8> {
    yasna::construct_der(|bags| {
        bags.write_sequence_of(|bags| {
            for (place, certificate) in chain.iter().enumerate() {
                bags.next().write_sequence(|bag| {
                    bag.next().write_oid(&oid(CERTIFICATE_BAG));
                    explicit(bag.next(), |value| {
                        value.write_sequence(|value| {
                            value.next().write_oid(&oid(X509_CERTIFICATE));
                            explicit(value.next(), |der| der.write_bytes(certificate));
                        });
                    });
                    if place == 0 {
                        attributes(bag, name, mark);
                    }
                });
            }
        });
    })
}

/// SafeContents of the one private key.
fn key_bags(key: &Encrypted, name: &str, mark: &[u8]) -> Vec<u8> {
    yasna::construct_der(|bags| {
        bags.write_sequence_of(|bags| {
            bags.next().write_sequence(|bag| {
                bag.next().write_oid(&oid(SHROUDED_KEY_BAG));
                explicit(bag.next(), |value| {
                    value.write_sequence(|info| {
                        key.write_algorithm(info.next());
                        info.next().write_bytes(&key.bytes);
                    });
                });
                attributes(bag, name, mark);
            });
        });
    })
}

/// What belongs together has the same mark.
fn attributes(bag: &mut DERWriterSeq<'_>, name: &str, mark: &[u8]) {
    bag.next().write_set_of(|all| {
        all.next().write_sequence(|attribute| {
            attribute.next().write_oid(&oid(FRIENDLY_NAME));
            attribute.next().write_set_of(|values| values.next().write_bmp_string(name));
        });
        all.next().write_sequence(|attribute| {
            attribute.next().write_oid(&oid(LOCAL_KEY_ID));
            attribute.next().write_set_of(|values| values.next().write_bytes(mark));
        });
    });
}

/// Something under PBES2, with a salt and an initial vector of its own.
struct Encrypted {
    salt: [u8; 16],
    iv: [u8; 16],
    bytes: Vec<u8>,
}

impl Encrypted {
    fn new(plain: &[u8], password: &Password) -> Result<Encrypted, AuthorityError> {
        let (salt, iv) = (random()?, random()?);
        let mut key = Zeroizing::new([0; 32]);
        let rounds = NonZeroU32::new(P12_ROUNDS).ok_or(AuthorityError::Signature)?;
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            rounds,
            &salt,
            password.bytes(),
            key.as_mut_slice(),
        );
        let failed = |_| AuthorityError::Signature;
        let key = UnboundCipherKey::new(&AES_256, key.as_slice()).map_err(failed)?;
        let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(failed)?;
        // The room for padding is there from the start, so that no copy of the plaintext is left behind.
        let mut bytes = Vec::with_capacity(plain.len() + 16);
        bytes.extend_from_slice(plain);
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        if key.less_safe_encrypt(&mut bytes, context).is_err() {
            bytes.zeroize();
            return Err(AuthorityError::Signature);
        }
        Ok(Encrypted { salt, iv, bytes })
    }

    fn write_encrypted_data(&self, writer: DERWriter<'_>) {
        writer.write_sequence(|data| {
            data.next().write_u8(0);
            data.next().write_sequence(|info| {
                info.next().write_oid(&oid(DATA));
                self.write_algorithm(info.next());
                info.next()
                    .write_tagged_implicit(Tag::context(0), |bytes| bytes.write_bytes(&self.bytes));
            });
        });
    }

    fn write_algorithm(&self, writer: DERWriter<'_>) {
        writer.write_sequence(|pbes2| {
            pbes2.next().write_oid(&oid(PBES2));
            pbes2.next().write_sequence(|parameters| {
                parameters.next().write_sequence(|derivation| {
                    derivation.next().write_oid(&oid(PBKDF2));
                    derivation.next().write_sequence(|parameters| {
                        parameters.next().write_bytes(&self.salt);
                        parameters.next().write_u32(P12_ROUNDS);
                        algorithm(parameters.next(), HMAC_WITH_SHA256);
                    });
                });
                parameters.next().write_sequence(|cipher| {
                    cipher.next().write_oid(&oid(AES_256_CBC));
                    cipher.next().write_bytes(&self.iv);
                });
            });
        });
    }
}

/// The key of the MAC (RFC 7292 appendix B.2, with SHA-256 and purpose 3). One block of it is all that is needed.
fn mac_key(password: &Password, salt: &[u8; 16]) -> Zeroizing<[u8; 32]> {
    const BLOCK: usize = 64;
    const PURPOSE: [u8; BLOCK] = [3; BLOCK];
    // UTF-16, big end first, with a zero at the end.
    let characters = password.bytes().iter().chain(&[0]).flat_map(|&byte| [0, byte]);
    let characters = Zeroizing::new(characters.collect::<Vec<u8>>());
    let filled = |bytes: &[u8]| {
        let len = bytes.len().next_multiple_of(BLOCK);
        Zeroizing::new(bytes.iter().copied().cycle().take(len).collect::<Vec<u8>>())
    };
    let mut first = digest::Context::new(&digest::SHA256);
    first.update(&PURPOSE);
    first.update(&filled(salt));
    first.update(&filled(&characters));
    let mut hash = first.finish();
    for _ in 1..P12_ROUNDS {
        hash = digest::digest(&digest::SHA256, hash.as_ref());
    }
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(hash.as_ref());
    key
}

fn random() -> Result<[u8; 16], AuthorityError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| AuthorityError::Signature)?;
    Ok(bytes)
}

/// ContentInfo (RFC 5652 section 3).
fn content(writer: DERWriter<'_>, kind: &[u64], what: impl FnOnce(DERWriter<'_>)) {
    writer.write_sequence(|info| {
        info.next().write_oid(&oid(kind));
        explicit(info.next(), what);
    });
}

fn explicit(writer: DERWriter<'_>, what: impl FnOnce(DERWriter<'_>)) {
    writer.write_tagged(Tag::context(0), what);
}

/// AlgorithmIdentifier without parameters.
fn algorithm(writer: DERWriter<'_>, kind: &[u64]) {
    writer.write_sequence(|identifier| {
        identifier.next().write_oid(&oid(kind));
        identifier.next().write_null();
    });
}

fn oid(arcs: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(arcs)
}

const DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
const ENCRYPTED_DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 6];
const SHROUDED_KEY_BAG: &[u64] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 2];
const CERTIFICATE_BAG: &[u64] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 3];
const X509_CERTIFICATE: &[u64] = &[1, 2, 840, 113_549, 1, 9, 22, 1];
const FRIENDLY_NAME: &[u64] = &[1, 2, 840, 113_549, 1, 9, 20];
const LOCAL_KEY_ID: &[u64] = &[1, 2, 840, 113_549, 1, 9, 21];
const PBES2: &[u64] = &[1, 2, 840, 113_549, 1, 5, 13];
const PBKDF2: &[u64] = &[1, 2, 840, 113_549, 1, 5, 12];
const HMAC_WITH_SHA256: &[u64] = &[1, 2, 840, 113_549, 2, 9];
const SHA256: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];
const AES_256_CBC: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 1, 42];
