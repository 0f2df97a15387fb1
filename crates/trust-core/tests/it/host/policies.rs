//! Runtime policies of Keylime: signatures of files, keys of keyrings, buffers, and files that are none.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use ringmail_trust_core::host::policy::keys::MaybeKey;
use ringmail_trust_core::host::policy::{RuntimePolicy, SigningKey};
use ringmail_trust_core::host::tpm::Hash;
use ringmail_trust_core::host::{Check, HostState};
use serde_json::{Value, json};

use super::world::{World, failed, policy, policy_json, reference};

/// A key that signs files.
pub(super) struct Signer {
    pub(super) spki: Vec<u8>,
    pub(super) id: u32,
    key: Key,
}

enum Key {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    pub(super) fn ecdsa() -> Signer {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().expect("a key");
        Signer::of(spki.as_ref().to_vec(), Key::Ecdsa(key))
    }

    pub(super) fn rsa() -> Signer {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().expect("a key");
        Signer::of(spki.as_ref().to_vec(), Key::Rsa(key))
    }

    fn of(spki: Vec<u8>, key: Key) -> Signer {
        let MaybeKey::Key(parsed) = SigningKey::parse(&spki) else { panic!("a key") };
        Signer { spki, id: parsed.id, key }
    }

    /// `security.ima` of a file.
    pub(super) fn sign(&self, contents: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Ecdsa(key) => key.sign(&random, contents).expect("signed").as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, contents, &mut signature).expect("signed");
                signature
            }
        };
        let length = (signature.len() as u16).to_be_bytes();
        [&[3, 2, 4], &self.id.to_be_bytes()[..], &length, &signature].concat()
    }

    /// `verification-keys`.
    pub(super) fn verification_keys(&self) -> String {
        let key = data_encoding::BASE64.encode(&self.spki);
        json!({"meta": {"version": 1}, "pubkeys": [key], "keyids": [self.id]}).to_string()
    }
}

pub(super) fn signed_file(path: &str, contents: &[u8], signature: &[u8]) -> String {
    let signature = data_encoding::HEXLOWER.encode(signature);
    format!("sha256:{} {path} {signature}", Hash::Sha256.digest(&[contents]))
}

pub(super) fn buffer(name: &str, data: &[u8]) -> String {
    let hex = data_encoding::HEXLOWER.encode(data);
    format!("sha256:{} {name} {hex}", Hash::Sha256.digest(&[data]))
}

fn with(change: impl FnOnce(&mut Value)) -> World {
    let mut world = World::new();
    world.reference = reference(policy(change));
    world
}

#[test]
fn a_file_signed_by_a_known_key_needs_no_digest() {
    for signer in [Signer::ecdsa(), Signer::rsa()] {
        let keys = signer.verification_keys();
        let mut world = with(|policy| policy["verification-keys"] = json!(keys));
        let signature = signer.sign(b"new");
        world.host.measure("ima-sig", &signed_file("/usr/bin/new", b"new", &signature));
        assert_eq!(failed(&world.round()), []);
        world.host.measure("ima-sig", &signed_file("/usr/bin/new", b"other", &signature));
        let verdict = world.round();
        assert_eq!(failed(&verdict), [Check::ImaUnknownFile]);
        assert!(verdict.failed[0].detail.ends_with("its signature is of no key that is known"));
    }
}

#[test]
fn a_signature_that_says_something_else_vouches_for_nothing() {
    let (signer, other) = (Signer::ecdsa(), Signer::ecdsa());
    let keys = signer.verification_keys();
    let good = signer.sign(b"new");
    let mut pretended = other.sign(b"new");
    pretended[3..7].copy_from_slice(&signer.id.to_be_bytes());
    for (what, signature) in [
        ("another key", other.sign(b"new")),
        ("another key by this id", pretended),
        ("another type", [&[4], &good[1..]].concat()),
        ("another version", [&[3, 1], &good[2..]].concat()),
        ("another hash", [&[3, 2, 6], &good[3..]].concat()),
        ("SHA-1", [&[3, 2, 2], &good[3..]].concat()),
        ("a longer one", [&good[..], &[0]].concat()),
        ("a cut one", good[..5].to_vec()),
    ] {
        let mut world = with(|policy| policy["verification-keys"] = json!(keys));
        world.host.measure("ima-sig", &signed_file("/usr/bin/new", b"new", &signature));
        assert_eq!(failed(&world.round()), [Check::ImaUnknownFile], "{what}");
    }
}

/// A certificate that the kernel loaded, whose digest a policy lists, vouches for files from then on, over rounds.
#[test]
fn a_key_that_a_policy_lets_into_a_keyring_vouches_for_files() {
    let signer = Signer::ecdsa();
    let digest = Hash::Sha256.digest(&[&signer.spki]).to_string();
    let allow = |policy: &mut Value| policy["keyrings"] = json!({".ima": [digest]});
    let mut world = with(allow);
    world.host.measure("ima-buf", &buffer(".ima", &signer.spki));
    assert_eq!(failed(&world.round()), []);
    let state = serde_json::to_string(&world.state).expect("JSON");
    world.state = serde_json::from_str::<HostState>(&state).expect("a state");
    let file = signed_file("/usr/bin/new", b"new", &signer.sign(b"new"));
    world.host.measure("ima-sig", &file);
    let verdict = world.round();
    assert_eq!(failed(&verdict), []);
    assert_eq!(verdict.entries_appraised, 1, "the key is known from the round before");
    let mut without = with(|_| {});
    without.host.measure("ima-buf", &buffer(".ima", &signer.spki));
    without.host.measure("ima-sig", &file);
    assert_eq!(failed(&without.round()), [Check::ImaKeyring, Check::ImaUnknownFile]);
    // An ignored keyring may hold any key, which vouches for nothing.
    for ignored in ["*", ".ima"] {
        let mut world = with(|policy| policy["ima"]["ignored_keyrings"] = json!([ignored]));
        world.host.measure("ima-buf", &buffer(".ima", &signer.spki));
        assert_eq!(failed(&world.round()), []);
        world.host.measure("ima-sig", &file);
        assert_eq!(failed(&world.round()), [Check::ImaUnknownFile]);
    }
}

#[test]
fn other_buffers_are_listed_by_name_and_digest() {
    let digest = Hash::Sha256.digest(&[b"enforcing=1;"]).to_string();
    let list = |policy: &mut Value| policy["ima-buf"] = json!({"selinux-state": [digest]});
    for (name, data, expected) in [
        ("selinux-state", &b"enforcing=1;"[..], &[][..]),
        ("selinux-state", b"enforcing=0;", &[Check::ImaBuffer]),
        ("apparmor-state", b"enforcing=1;", &[Check::ImaBuffer]),
    ] {
        let mut world = with(list);
        world.host.measure("ima-buf", &buffer(name, data));
        assert_eq!(failed(&world.round()), expected, "{name}");
    }
}

/// The id is that of the subject key identifier, where a certificate has one.
#[test]
fn certificates_and_pem_are_keys() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(vec![9, 9, 1, 2, 3, 4]);
    let certificate = parameters.self_signed(&key).expect("a certificate");
    for bytes in [certificate.der().to_vec(), certificate.pem().into_bytes()] {
        match SigningKey::parse(&bytes) {
            MaybeKey::Key(key) => assert_eq!(key.id, 0x0102_0304),
            other => panic!("{other:?}"),
        }
    }
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let certificate = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    let certificate = certificate.self_signed(&ed25519).expect("a certificate");
    assert_eq!(SigningKey::parse(certificate.der()), MaybeKey::Unsupported);
    assert_eq!(SigningKey::parse(b"enforcing=1;"), MaybeKey::Other);
}

#[test]
fn a_policy_that_is_none_says_why() {
    let error = |change: &dyn Fn(&mut Value)| {
        let text = policy_json(change).to_string();
        RuntimePolicy::from_json(text.as_bytes()).expect_err("no policy").to_string()
    };
    let remove = |name: &'static str| {
        move |policy: &mut Value| drop(policy.as_object_mut().expect("an object").remove(name))
    };
    for name in [
        "meta",
        "release",
        "digests",
        "excludes",
        "keyrings",
        "ima",
        "ima-buf",
        "verification-keys",
    ] {
        assert!(error(&remove(name)).contains(&format!("`{name}`")), "{name}");
    }
    let dm = error(&|policy| policy["ima"]["dm_policy"] = json!({"version": 1}));
    assert!(dm.contains("dm_policy"), "{dm}");
    let hash = error(&|policy| policy["ima"]["log_hash_alg"] = json!("md5"));
    assert!(hash.contains("`md5`"), "{hash}");
    let exclude = error(&|policy| policy["excludes"] = json!(["/ok", "[z-a]"]));
    assert!(exclude.contains("excludes[1]"), "{exclude}");
    let envelope = error(&|policy| policy["payload"] = json!("e30="));
    assert!(envelope.contains("envelope"), "{envelope}");
    for (keys, part) in [
        ("[]", "is not JSON of keys"),
        (r#"{"pubkeys": ["*"], "keyids": []}"#, "pubkeys[0] is not base64"),
        (r#"{"pubkeys": ["AAAA"], "keyids": []}"#, "pubkeys[0] is no RSA key"),
    ] {
        let error = error(&|policy| policy["verification-keys"] = json!(keys));
        assert!(error.contains(part), "{error}");
    }
    for digest in ["", "00", "XY", &"a".repeat(41), &"a".repeat(130), &"A".repeat(64)] {
        let text = policy_json(|policy| policy["digests"]["/x"] = json!([digest])).to_string();
        assert!(RuntimePolicy::from_json(text.as_bytes()).is_err(), "{digest}");
    }
    // What Keylime does not know it passes over.
    let text = policy_json(|policy| policy["future"] = json!(1)).to_string();
    assert!(RuntimePolicy::from_json(text.as_bytes()).is_ok());
}

#[test]
fn a_change_of_any_part_of_a_policy_is_a_change() {
    let base = policy(|_| {}).fingerprint();
    assert_eq!(policy(|_| {}).fingerprint(), base);
    let changes: [fn(&mut Value); 5] = [
        |policy| policy["excludes"] = json!([]),
        |policy| policy["digests"]["/usr/bin/bash"] = json!(["00".repeat(32)]),
        |policy| policy["ima"]["ignored_keyrings"] = json!(["*"]),
        |policy| policy["ima-buf"] = json!({"x": ["00".repeat(32)]}),
        |policy| policy["release"] = json!(1),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_ne!(policy(change).fingerprint(), base, "{number}");
    }
}
