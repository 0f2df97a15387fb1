//! Attestation results: what they say of verdicts, and what others make of them.

use std::io::Write;
use std::process::{Command, Stdio};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ringmail_trust_core::function::{
    Ear, EarAlgorithm, EarContext, EarError, FunctionPolicy, SUBMODULE, Tier, Vector,
};

use super::bound::{self, Case, asked, policy};
use super::forge::host::FileKey;
use super::forge::intel::{Enclave, Says};
use super::forge::{DAY, NOW, amd};

const CONTEXT: EarContext<'static> = EarContext {
    developer: "campus.example",
    build: "ringmail 0.1.0",
    policy: "sha256:00",
    now_unix_s: NOW,
    lasts_s: 300,
};

fn ear(case: &Case, policy: &FunctionPolicy) -> Ear {
    Ear::of(&case.evidence, &asked(case, policy), &CONTEXT)
}

fn told(case: &Case, policy: &FunctionPolicy) -> (Tier, Vector) {
    let part = ear(case, policy).submods[SUBMODULE].clone();
    (part.ear_status, part.ear_trustworthiness_vector)
}

fn sgx() -> Case {
    bound::sgx(&Enclave::default(), &Says::default())
}

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Signer {
        Signer(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
    }

    fn sign(&self, ear: &Ear) -> String {
        let unsigned = ear.unsigned(EarAlgorithm::Es256, "verifier-1");
        let signature = self.0.sign(&SystemRandom::new(), unsigned.message()).expect("signed");
        unsigned.signed(signature.as_ref())
    }

    fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }
}

#[test]
fn a_token_says_what_the_verdict_says() {
    let good = 2;
    let affirmed = Vector {
        instance_identity: good,
        configuration: good,
        executables: good,
        hardware: good,
        runtime_opaque: good,
    };
    for case in [sgx(), bound::snp(&amd::Machine::default())] {
        assert_eq!(told(&case, &policy()), (Tier::Affirming, affirmed));
    }
    // A host can look into a process, whatever measures it.
    let tpm = bound::tpm(&mut bound::simulated(), bound::PATH, &[]);
    let host = Vector { hardware: 0, runtime_opaque: 32, ..affirmed };
    assert_eq!(told(&tpm, &policy()), (Tier::Warning, host));
    let software = bound::software(&FileKey::new());
    let nobody = Vector { executables: 0, ..host };
    assert_eq!(told(&software, &policy()), (Tier::Warning, nobody));
    let mut production = policy();
    production.allow_software = false;
    let (tier, vector) = told(&software, &production);
    assert_eq!((tier, vector.runtime_opaque), (Tier::Contraindicated, 96));

    let debug = bound::sgx(&Enclave { debug: true, ..Enclave::default() }, &Says::default());
    let (tier, vector) = told(&debug, &policy());
    assert_eq!(
        (tier, vector.configuration, vector.runtime_opaque),
        (Tier::Contraindicated, 96, 96)
    );

    let other = Enclave { mr_enclave: [0; 32], ..Enclave::default() };
    let (tier, vector) = told(&bound::sgx(&other, &Says::default()), &policy());
    assert_eq!((tier, vector.executables), (Tier::Contraindicated, 33));

    let mut stranger = sgx();
    stranger.anchors = ringmail_trust_core::function::Anchors::vendors();
    let unsigned = Vector { instance_identity: 99, ..Vector::default() };
    assert_eq!(told(&stranger, &policy()), (Tier::Contraindicated, unsigned));
}

/// Weaknesses that the policy lives with are told, not hidden.
#[test]
fn a_platform_with_known_weaknesses_is_a_warning() {
    let says = Says { status: "SWHardeningNeeded", ..Says::default() };
    let mut policy = policy();
    let sgx = policy.references[0].sgx.as_mut().expect("SGX");
    sgx.tcb.push(ringmail_trust_core::function::TcbStatus::SWHardeningNeeded);
    let (tier, vector) = told(&bound::sgx(&Enclave::default(), &says), &policy);
    assert_eq!((tier, vector.hardware), (Tier::Warning, 32));
}

#[test]
fn a_token_counts_as_long_as_what_it_rests_on() {
    assert_eq!(ear(&sgx(), &policy()).exp, NOW + 300);
    let nearly = Says { issued: NOW + 60 - 30 * DAY, ..Says::default() };
    let case = bound::sgx(&Enclave::default(), &nearly);
    assert_eq!(ear(&case, &policy()).exp, NOW + 60);
}

#[test]
fn only_what_the_key_signed_counts_and_only_in_its_time() {
    let (signer, ear) = (Signer::new(), ear(&sgx(), &policy()));
    let token = signer.sign(&ear);
    let verify = |token: &str, now| Ear::verify(token, EarAlgorithm::Es256, signer.public(), now);
    assert_eq!(verify(&token, NOW).expect("it counts"), ear);
    assert!(verify(&token, NOW + 299).is_ok());
    assert!(matches!(verify(&token, NOW + 300), Err(EarError::Time { .. })));
    assert!(matches!(verify(&token, NOW - 1), Err(EarError::Time { .. })));
    let other = Signer::new();
    assert!(matches!(verify(&other.sign(&ear), NOW), Err(EarError::Signature)));

    // Every character: changed, it is another token, or none.
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let text = String::from_utf8(bytes).expect("ASCII");
        assert!(verify(&text, NOW).is_err(), "{at}");
    }
    // Signed by nobody, or by an algorithm that the sender chose (RFC 8725 section 2.1).
    let parts: Vec<&str> = token.split('.').collect();
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"EdDSA"}"#] {
        let header = URL_SAFE_NO_PAD.encode(header);
        for signature in ["", parts[2]] {
            let text = format!("{header}.{}.{signature}", parts[1]);
            assert!(matches!(verify(&text, NOW), Err(EarError::Algorithm)), "{text}");
        }
    }
    for text in ["", "..", "a.b", &token.replace('.', ""), &"a".repeat(1 << 20)] {
        assert!(matches!(verify(text, NOW), Err(EarError::Form)), "{text}");
    }
}

/// A better tier than that of a part is none (draft-ietf-rats-ear-04, `ear_status`).
#[test]
fn a_token_that_is_better_than_its_parts_is_refused() {
    let signer = Signer::new();
    let case = bound::sgx(&Enclave { debug: true, ..Enclave::default() }, &Says::default());
    let mut ear = ear(&case, &policy());
    ear.ear_status = Tier::Affirming;
    let token = signer.sign(&ear);
    let found = Ear::verify(&token, EarAlgorithm::Es256, signer.public(), NOW);
    assert!(matches!(found, Err(EarError::Claims(None))));
}

/// Debian's PyJWT reads what is signed here, with both algorithms, and refuses what another key signed.
#[test]
fn pyjwt_agrees() {
    let ear = ear(&sgx(), &policy());
    let signer = Signer::new();
    let public = signer.0.public_key().as_der().expect("a key");
    let claims = pyjwt(public.as_ref(), "ES256", &signer.sign(&ear)).expect("it agrees");
    assert_eq!(claims, serde_json::to_value(&ear).expect("claims"));
    assert_eq!(claims["submods"]["function"]["ear_verifier_claims"]["ringmail.accepted"], true);

    let ed25519 = Ed25519KeyPair::generate().expect("a key");
    let unsigned = ear.unsigned(EarAlgorithm::EdDsa, "verifier-2");
    let signature = ed25519.sign(unsigned.message());
    let token = unsigned.signed(signature.as_ref());
    let key = ed25519.public_key();
    Ear::verify(&token, EarAlgorithm::EdDsa, key.as_ref(), NOW).expect("it counts");
    let public: PublicKeyX509Der<'_> = key.as_der().expect("a key");
    assert!(pyjwt(public.as_ref(), "EdDSA", &token).is_ok());

    let other = Signer::new().0.public_key().as_der().expect("a key").as_ref().to_vec();
    let said = pyjwt(&other, "ES256", &signer.sign(&ear)).expect_err("it refuses");
    assert!(said.contains("InvalidSignatureError"), "{said}");
}

fn pyjwt(spki: &[u8], algorithm: &str, token: &str) -> Result<serde_json::Value, String> {
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(spki)
    );
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let key =
        folder.join(format!("ear-{}-{algorithm}-{}.pem", std::process::id(), spki[spki.len() - 1]));
    std::fs::write(&key, pem).expect("a file");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop/ear/check.py");
    // Debian's own, which has Debian's PyJWT.
    let mut python = Command::new("/usr/bin/python3");
    python.arg(script).arg(&key).args([algorithm, &NOW.to_string()]);
    python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut python = python.spawn().expect("python3");
    python.stdin.take().expect("a pipe").write_all(token.as_bytes()).expect("it reads");
    let output = python.wait_with_output().expect("it ends");
    std::fs::remove_file(&key).expect("it is there");
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).expect("JSON")),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
