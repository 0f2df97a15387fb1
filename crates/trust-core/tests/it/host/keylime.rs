//! The same lists, policies and quotes before Keylime's own library: the verdicts agree, good and bad, but where this one is
//! stricter on purpose.
//!
//! Keylime comes from PyPI, so the test runs only where it was put: `cargo xtask test` does so.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ringmail_trust_core::host::reference::Violations;
use ringmail_trust_core::host::simulated::SimulatedHost;
use ringmail_trust_core::host::tpm::{Hash, PcrSelection, Writer};
use ringmail_trust_core::host::{Check, HostEvidence, ImaEntries};
use serde_json::{Value, json};

use super::lists::OF_KERNELS;
use super::policies::{Signer, buffer, signed_file};
use super::world::{FILES, World, failed, policy_json, reference};

/// Keylime's library in a process.
struct Keylime {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Keylime {
    fn start() -> Keylime {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = match std::env::var_os("RINGMAIL_KEYLIME_PYTHON") {
            Some(python) => PathBuf::from(python),
            None => match std::env::var_os("CARGO_TARGET_DIR") {
                Some(target) => PathBuf::from(target).join("xtask/keylime/bin/python"),
                None => root.join("target/xtask/keylime/bin/python"),
            },
        };
        let mut child = Command::new(&python)
            .arg(root.join("interop/keylime/verdicts.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", python.display()));
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        Keylime { child, to, from }
    }

    /// Names of Keylime's events, a list a round; or why it raised.
    fn ask(&mut self, case: &Value) -> Result<Vec<Vec<String>>, String> {
        writeln!(self.to, "{case}").expect("Keylime takes a case");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("Keylime answers");
        let answer: Value = serde_json::from_str(&line).expect("an answer");
        match answer["raised"].as_str() {
            Some(raised) => Err(raised.to_owned()),
            None => Ok(serde_json::from_value(answer["failed"].clone()).expect("events")),
        }
    }
}

impl Drop for Keylime {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A case of a list: what the host does, and what becomes of its list on the way.
struct Case {
    name: &'static str,
    policy: fn(&mut Value),
    violations: Violations,
    /// What the host does before each round.
    does: Vec<fn(&mut SimulatedHost)>,
    /// What becomes of the list.
    tampers: fn(&mut Vec<String>),
    /// What both should say in the last round; before it, both say yes.
    expected: &'static [Check],
}

fn case(name: &'static str, does: Vec<fn(&mut SimulatedHost)>, expected: &'static [Check]) -> Case {
    let (policy, tampers) = (|_: &mut Value| {}, |_: &mut Vec<String>| {});
    Case { name, policy, violations: Violations::Refuse, does, tampers, expected }
}

fn good(host: &mut SimulatedHost) {
    FILES.iter().for_each(|path| host.measure_file(path, path.as_bytes()));
}

fn cases() -> Vec<Case> {
    let more: fn(&mut SimulatedHost) = |host| host.measure_file("/usr/bin/bash", b"/usr/bin/bash");
    let unknown: fn(&mut SimulatedHost) = |host| host.measure_file("/usr/bin/evil", b"evil");
    let mut cases = vec![
        case("good", vec![good], &[]),
        case("good, round after round", vec![good, more, |_| {}, more], &[]),
        case("an unknown file", vec![good, unknown], &[Check::ImaUnknownFile]),
        case(
            "a changed file",
            vec![good, |host| host.measure_file("/usr/bin/sshd", b"changed")],
            &[Check::ImaFileDigest],
        ),
        case("an excluded file", vec![good, |host| host.measure_file("/tmp/x", b"any")], &[]),
        case(
            "an exclude matches from the front only",
            vec![good, |host| host.measure_file("/usr/tmp/x", b"any")],
            &[Check::ImaUnknownFile],
        ),
        case(
            "a violation",
            vec![good, |host| host.measure_violation("/usr/bin/bash")],
            &[Check::ImaViolation],
        ),
        case("the kernels' own lines", vec![of_kernels], &[]),
        case(
            "a file with a name of many letters",
            vec![good, |host| host.measure_file("/tmp/Grüße_漢字", b"any")],
            &[],
        ),
        case(
            "the template ima",
            vec![|host| host.measure("ima", &format!("{} /bin/old", "ab".repeat(20)))],
            &[Check::ImaUnknownFile],
        ),
        case(
            "a buffer that no policy knows",
            vec![good, |host| host.measure("ima-buf", &buffer("selinux-state", b"enforcing=0;"))],
            &[Check::ImaBuffer],
        ),
        case(
            "a buffer that a policy knows",
            vec![good, |host| host.measure("ima-buf", &buffer("selinux-state", b"enforcing=1;"))],
            &[],
        ),
        case(
            "an unsigned file in a list of signatures",
            vec![|host| {
                host.measure("ima-sig", &signed_file("/usr/bin/sshd", b"/usr/bin/sshd", b""));
            }],
            &[],
        ),
        Case {
            violations: Violations::Allow,
            ..case(
                "a violation that is allowed",
                vec![good, |host| host.measure_violation("/usr/bin/bash")],
                &[],
            )
        },
    ];
    type Tampered = (&'static str, fn(&mut Vec<String>), &'static [Check]);
    let tampers: [Tampered; 5] = [
        (
            "an edited entry",
            |lines| lines[2] = lines[2].replace("/usr/bin/sshd", "/usr/bin/bash"),
            &[Check::ImaTemplateHash, Check::ImaReplay],
        ),
        ("a removed entry", |lines| drop(lines.remove(3)), &[Check::ImaReplay]),
        ("reordered entries", |lines| lines.swap(2, 3), &[Check::ImaReplay]),
        (
            "a line that is no entry",
            |lines| lines.insert(1, "10 what".to_owned()),
            &[Check::ImaForm],
        ),
        (
            "an entry for another register",
            |lines| lines[1] = lines[1].replacen("10", "11", 1),
            &[Check::ImaPcr],
        ),
    ];
    for (name, tampers, expected) in tampers {
        cases.push(Case { tampers, ..case(name, vec![good], expected) });
    }
    cases
}

fn of_kernels(host: &mut SimulatedHost) {
    for line in OF_KERNELS {
        let [_, _, template, fields] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        host.measure(template, fields);
    }
}

/// What all cases' policies list besides the world's.
fn listing(policy: &mut Value) {
    let enforcing = Hash::Sha256.digest(&[b"enforcing=1;"]).to_string();
    policy["ima-buf"] = json!({
        "selinux-state": [enforcing],
        "device_resume": ["6e0e6fc8a188ef4f059638949adca4d221946906"],
    });
    policy["digests"]["/init"] = json!(["e09e048c48301268ff38645f4c006137e42951d0"]);
    policy["digests"]["/usr/bin/zmore"] = json!(["1cb84b12db45d7da8de58ba6744187db84082f0e"]);
    policy["excludes"].as_array_mut().expect("excludes").push(json!("/lib/modules/.*"));
}

/// Both verdicts of every round of a case.
fn compare(keylime: &mut Keylime, case: &Case, bank: Hash) {
    let text = policy_json(|policy| {
        listing(policy);
        (case.policy)(policy);
    });
    let ours =
        ringmail_trust_core::host::policy::RuntimePolicy::from_json(text.to_string().as_bytes());
    let mut golden = reference(ours.expect("a policy"));
    golden.banks = vec![bank];
    golden.violations = case.violations;
    let mut world = World::of(SimulatedHost::new().expect("a host"), golden);
    world.host.measure_boot_aggregate();
    let (mut rounds, mut verdicts) = (Vec::new(), Vec::new());
    for does in &case.does {
        does(&mut world.host);
        let mut lines = world.host.lines.clone();
        (case.tampers)(&mut lines);
        let mut evidence = world.ask();
        let first = evidence.ima.first_entry as usize;
        evidence.ima.entries = ImaEntries::Text(lines[first..].join("\n"));
        rounds.push(json!({"lines": lines, "pcr": world.host.pcrs[&bank][&10].to_string()}));
        verdicts.push(failed(&world.judge(&evidence)));
    }
    let violations = match case.violations {
        Violations::Refuse => "refuse",
        Violations::Allow => "allow",
    };
    let theirs = keylime.ask(&json!({
        "kind": "list", "policy": text, "violations": violations, "bank": bank.name(), "rounds": rounds,
    }));
    let theirs = theirs.unwrap_or_else(|raised| panic!("{}: {raised}", case.name));
    let yes: Vec<bool> = theirs.iter().map(Vec::is_empty).collect();
    let ours: Vec<bool> = verdicts.iter().map(Vec::is_empty).collect();
    assert_eq!(ours, yes, "{} in bank {bank}: {verdicts:?} and {theirs:?}", case.name);
    let last = verdicts.last().expect("a round");
    assert_eq!(last, case.expected, "{} in bank {bank}: {theirs:?}", case.name);
    assert!(ours[..ours.len() - 1].iter().all(|yes| *yes), "{}", case.name);
}

#[test]
#[ignore = "Keylime is not in Debian; `cargo xtask test` gets it from PyPI where it can"]
fn verdicts_are_those_of_keylime() {
    let mut keylime = Keylime::start();
    for bank in [Hash::Sha1, Hash::Sha256] {
        for case in cases() {
            compare(&mut keylime, &case, bank);
        }
    }
    for signer in [Signer::ecdsa(), Signer::rsa()] {
        signatures(&mut keylime, &signer);
    }
    quotes(&mut keylime);
    stricter(&mut keylime);
}

/// One round of a list of files and buffers; what both say.
fn one_round(
    keylime: &mut Keylime,
    change: impl FnOnce(&mut Value),
    entries: &[&(&str, String)],
) -> (Vec<Check>, Vec<String>) {
    let text = policy_json(change);
    let ours =
        ringmail_trust_core::host::policy::RuntimePolicy::from_json(text.to_string().as_bytes());
    let mut world =
        World::of(SimulatedHost::new().expect("a host"), reference(ours.expect("a policy")));
    entries.iter().for_each(|(template, fields)| world.host.measure(template, fields));
    let ours = failed(&world.round());
    let pcr = world.host.pcrs[&Hash::Sha256][&10].to_string();
    let theirs = keylime.ask(&json!({
        "kind": "list", "policy": text, "violations": "refuse", "bank": "sha256",
        "rounds": [{"lines": world.host.lines, "pcr": pcr}],
    }));
    (ours, theirs.expect("no exception").remove(0))
}

/// Keys of `verification-keys` and of keyrings.
fn signatures(keylime: &mut Keylime, signer: &Signer) {
    let keys = signer.verification_keys();
    let digest = Hash::Sha256.digest(&[&signer.spki]).to_string();
    let good = ("ima-sig", signed_file("/usr/bin/new", b"new", &signer.sign(b"new")));
    let other = ("ima-sig", signed_file("/usr/bin/new", b"other", &signer.sign(b"new")));
    let brought = ("ima-buf", buffer(".ima", &signer.spki));
    let with_keys = |policy: &mut Value| policy["verification-keys"] = json!(keys);
    let with_keyring = |policy: &mut Value| policy["keyrings"] = json!({".ima": [digest]});
    let ignoring = |policy: &mut Value| policy["ima"]["ignored_keyrings"] = json!(["*"]);
    let agree = |(ours, theirs): (Vec<Check>, Vec<String>), expected: &[Check]| {
        assert_eq!(ours.is_empty(), theirs.is_empty(), "{ours:?} and {theirs:?}");
        assert_eq!(ours, expected, "{theirs:?}");
    };
    agree(one_round(keylime, with_keys, &[&good]), &[]);
    agree(one_round(keylime, with_keys, &[&other]), &[Check::ImaUnknownFile]);
    agree(one_round(keylime, |_| {}, &[&good]), &[Check::ImaUnknownFile]);
    agree(one_round(keylime, with_keyring, &[&brought, &good]), &[]);
    agree(one_round(keylime, with_keyring, &[&good, &brought]), &[Check::ImaUnknownFile]);
    agree(one_round(keylime, |_| {}, &[&brought]), &[Check::ImaKeyring]);
    agree(one_round(keylime, ignoring, &[&brought]), &[]);
    agree(one_round(keylime, ignoring, &[&brought, &good]), &[Check::ImaUnknownFile]);
}

/// `r` and three parts in base64, the last as tpm2-tools write register values.
fn keylime_quote(evidence: &HostEvidence) -> String {
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let (bank, values) = evidence.pcrs.iter().next().expect("a bank");
    let registers: Vec<u8> = values.keys().copied().collect();
    let selection = PcrSelection::new([(*bank, registers.as_slice())]);
    let mut mask = [0u8; 4];
    selection.iter().for_each(|(_, pcr)| mask[usize::from(pcr / 8)] |= 1 << (pcr % 8));
    // TPML_PCR_SELECTION of 16 places, then TPML_DIGEST of 8 places a list, little-endian.
    let mut blob = 1u32.to_le_bytes().to_vec();
    blob.extend(bank.code().to_le_bytes());
    blob.extend([3, mask[0], mask[1], mask[2], 0, 0]);
    blob.extend([0; 15 * 8]);
    blob.extend(1u32.to_le_bytes());
    blob.extend((values.len() as u32).to_le_bytes());
    for place in 0..8 {
        let value = values.values().nth(place).map(|value| value.0.as_slice()).unwrap_or_default();
        blob.extend((value.len() as u16).to_le_bytes());
        blob.extend([value, &vec![0; 64 - value.len()]].concat());
    }
    let parts = [&evidence.quote.0, &evidence.signature.0, &blob].map(|bytes| base64(bytes));
    format!("r{}", parts.join(":"))
}

fn quotes(keylime: &mut Keylime) {
    let mut world = World::new();
    let good = world.ask();
    let nonce = world.challenge.nonce.0.clone();
    let mut ask = |world: &World, evidence: &HostEvidence| {
        let ak = Writer::new().sized(&evidence.ak_public.0).into_bytes();
        let theirs = keylime.ask(&json!({
            "kind": "quote", "bank": "sha256", "quote": keylime_quote(evidence),
            "ak": data_encoding::BASE64.encode(&ak), "nonce": data_encoding::BASE64.encode(&nonce),
        }));
        let ours = failed(&world.appraise(evidence).verdict);
        let theirs = theirs.is_ok_and(|rounds| rounds.iter().all(Vec::is_empty));
        assert_eq!(ours.is_empty(), theirs, "{ours:?}");
        ours
    };
    assert_eq!(ask(&world, &good), []);
    let mut value = good.clone();
    value.pcrs.get_mut(&Hash::Sha256).expect("a bank").get_mut(&10).expect("register 10").0[0] ^= 1;
    assert_eq!(ask(&world, &value)[0], Check::PcrValues);
    let mut signature = good.clone();
    *signature.signature.0.last_mut().expect("a byte") ^= 1;
    assert_eq!(ask(&world, &signature), [Check::QuoteSignature]);
    let mut other = good;
    let mut quote = ringmail_trust_core::host::tpm::Quote::parse(&other.quote.0).expect("a quote");
    quote.extra_data = vec![0xee; 32];
    world.host.sign(&mut other, &quote).expect("a signature");
    assert_eq!(ask(&world, &other), [Check::QuoteNonce]);
}

/// Where this one says no and Keylime yes, or knows what Keylime does not.
fn stricter(keylime: &mut Keylime) {
    let signer = Signer::ecdsa();
    // The template ima-ngv2 is not known to Keylime 7.14.
    let digest = Hash::Sha256.digest(&[b"/usr/bin/bash"]);
    let entry = ("ima-ngv2", format!("ima:sha256:{digest} /usr/bin/bash"));
    let (ours, theirs) = one_round(keylime, |_| {}, &[&entry]);
    assert_eq!(ours, []);
    assert!(theirs.iter().any(|event| event.ends_with("parser.entry")), "{theirs:?}");
    // A malformed signature is left out of what Keylime hashes; the file's digest is listed.
    let malformed = signer.sign(b"x")[..20].to_vec();
    let entry = ("ima-sig", signed_file("/usr/bin/bash", b"/usr/bin/bash", &malformed));
    let (ours, theirs) = one_round(keylime, |_| {}, &[&entry]);
    assert_eq!(ours, []);
    assert!(theirs.iter().any(|event| event.ends_with("ima_hash")), "{theirs:?}");
}
