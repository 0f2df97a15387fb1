//! `ringmail trust …` from outside.

use std::path::PathBuf;

use ringmail_trust_core::function::{Bytes, FunctionEvidence, HostSigned, Program, Proof};
use ringmail_trust_core::host::simulated::SimulatedHost;
use ringmail_trust_core::host::tpm::{Hash, PcrSelection, Quote};

use crate::run::{code, json, ringmail, stderr, stdout};
use crate::trust_samples as samples;

/// Files of one test, gone with it.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Files {
        let folder =
            std::env::temp_dir().join(format!("ringmail-trust-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Files(folder)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let file = self.0.join(name);
        std::fs::write(&file, text).expect("a file");
        file.display().to_string()
    }

    /// Without the folder, which is another each time.
    fn bare(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Software on a simulated host, whose key quotes the binding.
fn software() -> FunctionEvidence {
    let mut host = SimulatedHost::new().expect("a host");
    let program = Program { path: "/usr/bin/dpi".to_owned(), sha256: Bytes(vec![0x66; 32]) };
    let signed = HostSigned { program, attest: None, signature: Bytes::default() };
    let mut evidence = samples::evidence(Proof::Software(signed.clone()));
    evidence.host_ak = host.ak().as_bytes().to_vec().into();
    let mut made = host.evidence(&[0; 16], &[(Hash::Sha256, vec![10])].into(), 0).expect("made");
    let quote = Quote {
        extra_data: evidence.binding().digest().to_vec(),
        clock: host.clock,
        firmware: 1,
        selection: PcrSelection::default(),
        pcr_digest: Hash::Sha256.digest(&[]),
    };
    host.sign(&mut made, &quote).expect("signed");
    let attest = Some(made.quote.0.into());
    evidence.proof =
        Proof::Software(HostSigned { attest, signature: made.signature.0.into(), ..signed });
    evidence
}

const ALLOWED: &str = "
allow-software: true
references:
  - name: dpi
    spiffe-ids: [spiffe://campus.example/element/dpi*]
    software: {}
";

#[test]
fn a_real_quote_is_told_every_check_and_refused() {
    let (files, sample) = (Files::new("real"), samples::sgx());
    let evidence = files.write("sgx.json", &samples::evidence(sample.proof).to_json());
    let told = ringmail(&["trust", "verify-evidence", &evidence, "--now", "2025-06-20T10:56:11Z"]);
    assert_eq!(code(&told), 3, "{}", stderr(&told));
    insta::assert_snapshot!(files.bare(&stdout(&told)));

    let later = ["trust", "verify-evidence", &evidence, "--now", "1800000000", "--output", "json"];
    let told = ringmail(&later);
    assert_eq!(code(&told), 3);
    let report = json(&told);
    assert_eq!(report["schema"], "ringmail.verify-evidence/1");
    assert_eq!(
        (&report["accepted"], &report["now_unix_s"]),
        (&false.into(), &1_800_000_000.into())
    );
    let checks = report["function"]["checks"].as_array().expect("checks");
    let failed = checks.iter().filter(|check| check["outcome"] == "failed");
    let failed: Vec<&str> = failed.map(|check| check["check"].as_str().expect("a name")).collect();
    assert_eq!(failed, ["collateral", "binding", "reference"]);
    let collateral = checks.iter().find(|check| check["check"] == "collateral").expect("a check");
    assert_eq!(collateral["fault"], "verifier");
    assert!(collateral["hint"].as_str().is_some_and(|hint| hint.starts_with("fetch it anew")));
}

#[test]
fn software_is_accepted_where_the_policy_says_so_and_always_with_a_warning() {
    let files = Files::new("software");
    let evidence = files.write("evidence.json", &software().to_json());
    let policy = files.write("functions.yaml", ALLOWED);
    let accepted = ringmail(&["trust", "verify-evidence", &evidence, "--policy", &policy]);
    assert_eq!(code(&accepted), 0, "{}{}", stdout(&accepted), stderr(&accepted));
    insta::assert_snapshot!(files.bare(&stdout(&accepted)));

    let refused = ringmail(&["trust", "verify-evidence", &evidence]);
    assert_eq!(code(&refused), 3);
    assert!(stdout(&refused).contains("WARNING: no hardware protects"), "{}", stdout(&refused));
    assert!(stdout(&refused).contains("FAILED    kind "), "{}", stdout(&refused));

    let nonce = "03".repeat(32);
    let same = ["trust", "verify-evidence", &evidence, "--policy", &policy, "--nonce", &nonce];
    assert_eq!(code(&ringmail(&same)), 0);
    let other = nonce.replace('3', "4");
    let other = ["trust", "verify-evidence", &evidence, "--policy", &policy, "--nonce", &other];
    let told = ringmail(&other);
    assert_eq!(code(&told), 3);
    assert!(stdout(&told).contains("FAILED    nonce "), "{}", stdout(&told));
}

#[test]
fn a_policy_with_mistakes_is_told_them_with_their_place() {
    let files = Files::new("policy");
    let evidence = files.write("evidence.json", &software().to_json());
    let mistakes = "
references:
  - name: dpi
    spiffe-ids: []
    sgx: { signers: [5151515151515151515151515151515151515151515151515151515151515151] }
    software: {}
  - name: dpi
    spiffe-ids: [spiffe://campus.example/element/dpi*]
";
    for (name, text) in [
        ("mistakes", mistakes),
        ("unknown", "allow_software: true\n"),
        ("value", "references:\n  - name: dpi\n    spiffe-ids: [x]\n"),
    ] {
        let policy = files.write("functions.yaml", text);
        let told = ringmail(&["trust", "verify-evidence", &evidence, "--policy", &policy]);
        assert_eq!((code(&told), stdout(&told).as_str()), (1, ""), "{name}");
        insta::assert_snapshot!(name, files.bare(&stderr(&told)));
    }
}

#[test]
fn what_is_no_evidence_is_a_failure_with_a_hint() {
    let files = Files::new("none");
    let real = samples::evidence(samples::sgx().proof).to_json();
    let short = real.replace("\"nonce\": \"", "\"nonce\": \"AAAA\", \"x\": \"");
    for (text, said) in [
        ("", "is no evidence"),
        ("{}", "missing field `schema`"),
        (r#"{"schema":"ringmail.other/1"}"#, "has the schema `ringmail.other/1`"),
        (r#"{"schema":"ringmail.host-evidence/1"}"#, "is no evidence of a host"),
        (&short, "is no evidence of a function"),
    ] {
        let evidence = files.write("evidence.json", text);
        let told = ringmail(&["trust", "verify-evidence", &evidence]);
        assert_eq!((code(&told), stdout(&told).as_str()), (1, ""), "{text:.60}");
        let stderr = stderr(&told);
        assert!(stderr.contains(said) && stderr.contains("\nhint: "), "{stderr}");
    }
    let wrong = ringmail(&["trust", "verify-evidence", "x", "--now", "yesterday"]);
    assert_eq!(code(&wrong), 2, "usage");
}

#[test]
fn a_host_is_appraised_as_well() {
    let files = Files::new("host");
    let mut host = SimulatedHost::new().expect("a host");
    host.measure_boot_aggregate();
    host.measure_file("/usr/bin/ringmail", b"ringmail");
    let registers = [(Hash::Sha256, (0..=10).collect())].into();
    let evidence = host.evidence(&[7; 32], &registers, 0).expect("evidence");
    let evidence = files.write("host.json", &evidence.to_json().expect("JSON"));
    let digest = Hash::Sha256.digest(&[b"ringmail"]).to_string();
    let policy = serde_json::json!({
        "meta": { "version": 1, "generator": 0, "timestamp": "2026-11-22 08:00:00" },
        "release": 0,
        "digests": { "/usr/bin/ringmail": [digest] },
        "excludes": ["boot_aggregate"], "keyrings": {},
        "ima": { "ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null },
        "ima-buf": {}, "verification-keys": "",
    });
    let reference = serde_json::json!({
        "schema": "ringmail.host-reference/1", "max_quote_age_ms": 60_000, "banks": ["sha256"],
        "policies": [{ "name": "all", "policy": policy.clone() }],
    });
    let keylime = files.write("keylime.json", &policy.to_string());
    let reference = files.write("hosts.json", &reference.to_string());
    let ask = |more: &[&str]| {
        ringmail(&[&["trust", "verify-evidence", &evidence, "--policy", &reference], more].concat())
    };
    let accepted = ask(&[]);
    assert_eq!(code(&accepted), 0, "{}{}", stdout(&accepted), stderr(&accepted));
    let name = host.ak().name().to_string();
    assert!(stdout(&accepted).contains(&name), "{}", stdout(&accepted));
    assert_eq!(code(&ask(&["--nonce", &"07".repeat(32), "--ak", &name])), 0);

    for (more, check) in [
        (["--nonce", &*"08".repeat(32)], "quote-nonce"),
        (["--ak", &*format!("000b{}", "5a".repeat(32))], "ak-enrolled"),
    ] {
        let told = ask(&more);
        assert_eq!(code(&told), 3);
        assert!(stdout(&told).contains(&format!("FAILED    {check} ")), "{}", stdout(&told));
        let report = json(&ask(&[more[0], more[1], "--output", "json"]));
        assert_eq!(report["host"]["failed"][0]["check"], check);
    }
    let alone = ringmail(&["trust", "verify-evidence", &evidence, "--policy", &keylime]);
    assert_eq!(code(&alone), 0, "{}{}", stdout(&alone), stderr(&alone));
    let without = ringmail(&["trust", "verify-evidence", &evidence]);
    assert_eq!(code(&without), 3);
    assert!(stdout(&without).contains("FAILED    policy-present"), "{}", stdout(&without));
}
