//! Reference values as a document.

use ringmail_trust_core::host::tpm::Hash;
use ringmail_trust_core::host::{Check, HostReference, HostReferenceFile, Violations};
use serde_json::{Value, json};

use super::world::{World, failed, policy_json};

fn document(change: impl FnOnce(&mut Value)) -> Value {
    let mut document = json!({
        "schema": "ringmail.host-reference/1",
        "max_quote_age_ms": 5000,
        "banks": ["sha256"],
        "boot": {"sha256": {"0": ["00".repeat(32)]}},
        "violations": "allow",
        "policies": [{"name": "base", "policy": policy_json(|_| {})}],
    });
    change(&mut document);
    document
}

fn compile(change: impl FnOnce(&mut Value)) -> Result<HostReference, String> {
    let file: HostReferenceFile =
        serde_json::from_value(document(change)).map_err(|error| error.to_string())?;
    HostReference::from_file(file).map_err(|error| error.to_string())
}

#[test]
fn a_document_becomes_what_hosts_are_appraised_by() {
    let reference = compile(|_| {}).expect("reference values");
    assert_eq!(reference.max_quote_age_ms, 5000);
    assert_eq!(reference.violations, Violations::Allow);
    assert_eq!(reference.wanted_registers(), [(Hash::Sha256, vec![0, 10])].into());
    let mut world = World::new();
    world.reference = reference;
    world.host.measure_violation("/usr/bin/bash");
    assert_eq!(failed(&world.round()), []);
    world.reference = compile(|document| {
        document["boot"]["sha256"]["0"] = json!(["11".repeat(32)]);
        document["policies"][0]["paths"] = json!(["/usr"]);
    })
    .expect("reference values");
    assert_eq!(failed(&world.round()), [Check::BootPcr, Check::ImaUnknownFile]);
}

#[test]
fn a_document_that_is_none_says_why() {
    for (part, change) in [
        ("the schema is", (|document| document["schema"] = json!("other/1")) as fn(&mut Value)),
        ("`banks` is empty", |document| document["banks"] = json!([])),
        ("boot.sha256.24", |document| document["boot"]["sha256"]["24"] = json!([])),
        ("boot.sha256.0", |document| document["boot"]["sha256"]["0"] = json!(["00"])),
        ("the policy `base`", |document| {
            document["policies"][0]["policy"]["excludes"] = json!(["("]);
        }),
        ("unknown variant", |document| document["banks"] = json!(["md5"])),
        ("unknown field", |document| document["other"] = json!(1)),
        ("the policies together", |document| {
            let mut other = document["policies"][0].clone();
            other["policy"]["ima"]["log_hash_alg"] = json!("sha256");
            document["policies"].as_array_mut().expect("policies").push(other);
        }),
    ] {
        let error = compile(change).expect_err(part);
        assert!(error.contains(part), "{part}: {error}");
    }
}
