//! Reports of SEV-SNP under a root of the test: ARK, ASK, VCEK or VLEK, and a revocation list, all signed as AMD signs.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKey, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PSS_SHA384,
};
use ringmail_trust_core::function::{AmdAnchor, Anchors, SnpReport};
use yasna::models::{ObjectIdentifier, UTCTime};
use yasna::{DERWriter, Tag};

use super::{DAY, NOW, moment};

/// A chip of the generation `Milan`, and who made it.
pub(crate) struct Amd {
    ark_key: RsaKey,
    ark: Vec<u8>,
    ask: Vec<u8>,
    asvk: Vec<u8>,
    key: EcdsaKeyPair,
    vcek: Vec<u8>,
    vlek: Vec<u8>,
}

/// What a machine is like, and who signs for it.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) measurement: [u8; 48],
    pub(crate) id_key: [u8; 48],
    pub(crate) guest_svn: u32,
    pub(crate) policy: u64,
    pub(crate) vmpl: u32,
    pub(crate) tcb: [u8; 8],
    pub(crate) chip: [u8; 64],
    pub(crate) vlek: bool,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            measurement: [0x3a; 48],
            id_key: [0x1d; 48],
            guest_svn: 4,
            policy: 1 << 17 | 1 << 16,
            vmpl: 0,
            tcb: TCB,
            chip: CHIP,
            vlek: false,
        }
    }
}

pub(crate) const CHIP: [u8; 64] = [0xc4; 64];
/// Boot loader 4, TEE 0, firmware 24, microcode 219.
pub(crate) const TCB: [u8; 8] = [4, 0, 0, 0, 0, 0, 24, 219];

impl Amd {
    /// One for all tests: RSA keys take long to make.
    pub(crate) fn shared() -> &'static Amd {
        static SHARED: std::sync::OnceLock<Amd> = std::sync::OnceLock::new();
        SHARED.get_or_init(Amd::new)
    }

    pub(crate) fn new() -> Amd {
        let ark_key = RsaKey::generate(KeySize::Rsa2048).expect("a key");
        let ask_key = RsaKey::generate(KeySize::Rsa2048).expect("a key");
        let asvk_key = RsaKey::generate(KeySize::Rsa2048).expect("a key");
        let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
        let (milan, authority) = ("ARK-Milan", &[(Vec::new(), Value::Authority)][..]);
        let ark = certificate(1, milan, milan, &spki(&ark_key), authority, &ark_key);
        let ask = certificate(2, "SEV-Milan", milan, &spki(&ask_key), authority, &ark_key);
        let asvk = certificate(3, "SEV-VLEK-Milan", milan, &spki(&asvk_key), authority, &ark_key);
        let spki = key.public_key().as_der().expect("a key").as_ref().to_vec();
        let versions = |last: (Vec<u64>, Value)| {
            let number = |tail: &[u64], at: usize| (tail.to_vec(), Value::Number(TCB[at]));
            [
                (vec![2], Value::Text("Milan-B0")),
                number(&[3, 1], 0),
                number(&[3, 2], 1),
                number(&[3, 3], 6),
                number(&[3, 8], 7),
                last,
            ]
        };
        let chip = versions((vec![4], Value::Bytes(CHIP.to_vec())));
        let cloud = versions((vec![5], Value::Text("cloud.example")));
        let vcek = certificate(0, "SEV-VCEK", "SEV-Milan", &spki, &chip, &ask_key);
        let vlek = certificate(0, "SEV-VLEK", "SEV-VLEK-Milan", &spki, &cloud, &asvk_key);
        Amd { ark_key, ark, ask, asvk, key, vcek, vlek }
    }

    /// The vendors' anchors, with these in the place of AMD's.
    pub(crate) fn anchors(&self) -> Anchors {
        let (ark, ask) = (self.ark.clone(), self.ask.clone());
        let amd = vec![AmdAnchor { product: "Milan".to_owned(), ark, ask }];
        Anchors { amd, ..Anchors::vendors() }
    }

    pub(crate) fn report(&self, machine: &Machine, report_data: [u8; 64]) -> SnpReport {
        let mut report = vec![0; 0x4a0];
        let mut put = |at: usize, bytes: &[u8]| report[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &3u32.to_le_bytes());
        put(4, &machine.guest_svn.to_le_bytes());
        put(8, &machine.policy.to_le_bytes());
        put(0x30, &machine.vmpl.to_le_bytes());
        put(0x34, &1u32.to_le_bytes());
        put(0x48, &[if machine.vlek { 1 << 2 } else { 0 }]);
        put(0x50, &report_data);
        put(0x90, &machine.measurement);
        put(0xe0, &machine.id_key);
        put(0x180, &machine.tcb);
        put(0x1a0, &machine.chip);
        let signature = self.key.sign(&SystemRandom::new(), &report[..0x2a0]).expect("signed");
        let (r, s) = signature.as_ref().split_at(48);
        for (number, at) in [(r, 0x2a0), (s, 0x2a0 + 72)] {
            let little: Vec<u8> = number.iter().rev().copied().collect();
            report[at..at + 48].copy_from_slice(&little);
        }
        let certificate = if machine.vlek { &self.vlek } else { &self.vcek };
        SnpReport {
            report: report.into(),
            certificate: certificate.clone().into(),
            intermediate: machine.vlek.then(|| self.asvk.clone().into()),
            crl: Some(self.crl(NOW - DAY, &[]).into()),
        }
    }

    /// What AMD revoked: 2 issues certificates of chips, 3 of clouds.
    pub(crate) fn crl(&self, issued: u64, revoked: &[u64]) -> Vec<u8> {
        let list = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_u8(1);
                pss(writer.next());
                name(writer.next(), "ARK-Milan");
                time(writer.next(), issued);
                time(writer.next(), issued + 365 * DAY);
                if !revoked.is_empty() {
                    writer.next().write_sequence(|writer| {
                        for serial in revoked {
                            writer.next().write_sequence(|writer| {
                                writer.next().write_u64(*serial);
                                time(writer.next(), issued);
                            });
                        }
                    });
                }
            });
        });
        signed(&list, &self.ark_key)
    }
}

/// The value of an extension below AMD's arc.
enum Value {
    Authority,
    Text(&'static str),
    Number(u8),
    Bytes(Vec<u8>),
}

fn certificate(
    serial: u64,
    subject: &str,
    issuer: &str,
    spki: &[u8],
    extensions: &[(Vec<u64>, Value)],
    key: &RsaKey,
) -> Vec<u8> {
    let body = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_tagged(Tag::context(0), |writer| writer.write_u8(2));
            writer.next().write_u64(serial);
            pss(writer.next());
            name(writer.next(), issuer);
            writer.next().write_sequence(|writer| {
                time(writer.next(), NOW - 3650 * DAY);
                time(writer.next(), NOW + 3650 * DAY);
            });
            name(writer.next(), subject);
            writer.next().write_der(spki);
            writer.next().write_tagged(Tag::context(3), |writer| {
                writer.write_sequence(|writer| {
                    for (tail, value) in extensions {
                        extension(writer.next(), tail, value);
                    }
                });
            });
        });
    });
    signed(&body, key)
}

fn extension(writer: DERWriter<'_>, tail: &[u64], value: &Value) {
    const AMD: [u64; 9] = [1, 3, 6, 1, 4, 1, 3704, 1, 0];
    let (id, bytes) = match value {
        Value::Authority => {
            let bytes = yasna::construct_der(|writer| {
                writer.write_sequence(|writer| writer.next().write_bool(true));
            });
            (ObjectIdentifier::from_slice(&[2, 5, 29, 19]), bytes)
        }
        value => {
            let bytes = match value {
                Value::Text(text) => yasna::construct_der(|w| w.write_ia5_string(text)),
                Value::Number(number) => yasna::construct_der(|w| w.write_u8(*number)),
                Value::Bytes(bytes) => bytes.clone(),
                Value::Authority => Vec::new(),
            };
            (ObjectIdentifier::new([&AMD[..8], tail].concat()), bytes)
        }
    };
    writer.write_sequence(|writer| {
        writer.next().write_oid(&id);
        writer.next().write_bytes(&bytes);
    });
}

fn name(writer: DERWriter<'_>, common: &str) {
    writer.write_sequence(|writer| {
        writer.next().write_set(|writer| {
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&ObjectIdentifier::from_slice(&[2, 5, 4, 3]));
                writer.next().write_utf8_string(common);
            });
        });
    });
}

fn time(writer: DERWriter<'_>, unix_s: u64) {
    writer.write_utctime(&UTCTime::from_datetime(moment(unix_s)));
}

/// RSASSA-PSS with SHA-384, MGF1 with SHA-384, a salt of 48 bytes (RFC 4055).
fn pss(writer: DERWriter<'_>) {
    let sha384 = |writer: DERWriter<'_>| {
        writer.write_sequence(|writer| {
            let id = ObjectIdentifier::from_slice(&[2, 16, 840, 1, 101, 3, 4, 2, 2]);
            writer.next().write_oid(&id);
            writer.next().write_null();
        });
    };
    let pkcs1 = |last: u64| ObjectIdentifier::from_slice(&[1, 2, 840, 113549, 1, 1, last]);
    writer.write_sequence(|writer| {
        writer.next().write_oid(&pkcs1(10));
        writer.next().write_sequence(|writer| {
            writer.next().write_tagged(Tag::context(0), sha384);
            writer.next().write_tagged(Tag::context(1), |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_oid(&pkcs1(8));
                    sha384(writer.next());
                });
            });
            writer.next().write_tagged(Tag::context(2), |writer| writer.write_u8(48));
        });
    });
}

fn signed(body: &[u8], key: &RsaKey) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), body, &mut signature).expect("signed");
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_der(body);
            pss(writer.next());
            writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
        });
    })
}

fn spki(key: &RsaKey) -> Vec<u8> {
    key.public_key().as_der().expect("a key").as_ref().to_vec()
}
