//! Each bad thing has its own failed check.

use std::sync::Arc;

use ringmail_trust_core::host::encoding::Base64;
use ringmail_trust_core::host::policy::{PolicySet, ScopedPolicy};
use ringmail_trust_core::host::reference::Violations;
use ringmail_trust_core::host::simulated::{AK_ATTRIBUTES, SimulatedHost};
use ringmail_trust_core::host::tpm::{Attributes, Hash, Quote};
use ringmail_trust_core::host::{Check, HostEvidence, HostReference, ImaEntries};

use super::world::{FILES, World, failed, policy, reference};

fn text(evidence: &mut HostEvidence) -> &mut String {
    match &mut evidence.ima.entries {
        ImaEntries::Text(text) => text,
        ImaEntries::Binary(_) => panic!("the world's lists are text"),
    }
}

fn with_lines(change: impl FnOnce(&mut Vec<String>)) -> Vec<Check> {
    let mut world = World::new();
    let mut evidence = world.ask();
    let text = text(&mut evidence);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    *text = lines.join("\n");
    failed(&world.judge(&evidence))
}

fn with_quote(change: impl FnOnce(&mut Quote)) -> Vec<Check> {
    let mut world = World::new();
    let mut evidence = world.ask();
    let mut quote = Quote::parse(&evidence.quote.0).expect("a quote");
    change(&mut quote);
    world.host.sign(&mut evidence, &quote).expect("a signature");
    failed(&world.judge(&evidence))
}

#[test]
fn a_replayed_quote() {
    let mut world = World::new();
    let old = world.ask();
    assert_eq!(failed(&world.judge(&old)), []);
    world.ask();
    let mut again = old;
    again.ima = world.answer(6).ima;
    assert_eq!(failed(&world.judge(&again)), [Check::QuoteNonce]);
}

#[test]
fn a_nonce_that_can_be_guessed() {
    let mut world = World::new();
    world.ask();
    world.challenge.nonce = Base64(vec![1; 15]);
    let evidence = world.answer(0);
    assert_eq!(failed(&world.judge(&evidence)), [Check::QuoteNonce]);
}

#[test]
fn an_edited_entry() {
    let edit =
        |lines: &mut Vec<String>| lines[2] = lines[2].replace("/usr/bin/sshd", "/usr/bin/bash");
    assert_eq!(with_lines(edit), [Check::ImaTemplateHash, Check::ImaReplay]);
}

/// With its hash mended, only the TPM tells.
#[test]
fn an_entry_edited_with_care() {
    let other = {
        let mut host = SimulatedHost::new().expect("a host");
        host.measure_file("/usr/bin/bash", b"/usr/bin/bash");
        host.lines.remove(0)
    };
    assert_eq!(with_lines(|lines| lines[2] = other), [Check::ImaReplay]);
}

#[test]
fn a_removed_entry() {
    assert_eq!(with_lines(|lines| drop(lines.remove(3))), [Check::ImaReplay]);
    assert_eq!(with_lines(|lines| drop(lines.pop())), [Check::ImaReplay]);
}

#[test]
fn reordered_entries() {
    assert_eq!(with_lines(|lines| lines.swap(2, 3)), [Check::ImaReplay]);
}

#[test]
fn a_line_that_is_no_entry() {
    let junk = |lines: &mut Vec<String>| lines.insert(1, "10 what is this".to_owned());
    assert_eq!(with_lines(junk), [Check::ImaForm]);
}

#[test]
fn an_entry_for_another_register() {
    let other = |lines: &mut Vec<String>| lines[1] = lines[1].replacen("10", "11", 1);
    assert_eq!(with_lines(other), [Check::ImaPcr]);
}

#[test]
fn an_unknown_file() {
    let mut world = World::new();
    world.host.measure_file("/usr/bin/evil", b"evil");
    assert_eq!(failed(&world.round()), [Check::ImaUnknownFile]);
}

#[test]
fn a_changed_file() {
    let mut world = World::new();
    world.host.measure_file("/usr/bin/sshd", b"changed");
    let verdict = world.round();
    assert_eq!(failed(&verdict), [Check::ImaFileDigest]);
    assert_eq!(verdict.failed[0].entry, Some(6));
}

#[test]
fn a_violation_unless_it_is_allowed() {
    let mut world = World::new();
    world.host.measure_violation("/usr/bin/bash");
    assert_eq!(failed(&world.round()), [Check::ImaViolation]);
    world.reference.violations = Violations::Allow;
    assert_eq!(failed(&world.round()), []);
}

#[test]
fn another_key() {
    let mut world = World::new();
    world.enrolled = SimulatedHost::new().expect("a host").ak().name();
    assert_eq!(failed(&world.round()), [Check::AkEnrolled]);
    assert_eq!(world.state.clock, None, "a stranger's counters are not kept");
}

#[test]
fn a_signature_of_another_key_over_the_same_quote() {
    let mut world = World::new();
    let mut evidence = world.ask();
    let quote = Quote::parse(&evidence.quote.0).expect("a quote");
    let ak = evidence.ak_public.clone();
    SimulatedHost::new().expect("a host").sign(&mut evidence, &quote).expect("a signature");
    evidence.ak_public = ak;
    assert_eq!(failed(&world.judge(&evidence)), [Check::QuoteSignature]);
}

#[test]
fn a_key_that_signs_anything_or_may_leave() {
    for lacking in [
        Attributes::RESTRICTED,
        Attributes::FIXED_TPM,
        Attributes::FIXED_PARENT,
        Attributes::SENSITIVE_DATA_ORIGIN,
        Attributes::SIGN,
    ] {
        let host = SimulatedHost::with_attributes(AK_ATTRIBUTES & !lacking).expect("a host");
        let mut world = World::of(host, reference(policy(|_| {})));
        assert_eq!(failed(&world.round()), [Check::AkRestricted], "{lacking:#x}");
    }
    let host = SimulatedHost::with_attributes(AK_ATTRIBUTES | Attributes::DECRYPT);
    let mut world = World::of(host.expect("a host"), reference(policy(|_| {})));
    assert_eq!(failed(&world.round()), [Check::AkRestricted]);
}

#[test]
fn too_old_a_quote() {
    let mut world = World::new();
    let evidence = world.ask();
    world.received_unix_ms = world.challenge.issued_unix_ms + world.reference.max_quote_age_ms;
    assert_eq!(failed(&world.appraise(&evidence).verdict), []);
    world.received_unix_ms += 1;
    assert_eq!(failed(&world.judge(&evidence)), [Check::QuoteAge]);
    world.received_unix_ms = world.challenge.issued_unix_ms - 1;
    assert_eq!(failed(&world.judge(&evidence)), [Check::QuoteAge]);
}

#[test]
fn a_quote_of_an_earlier_boot_or_time() {
    let mut world = World::new();
    world.host.clock.reset_count = 5;
    world.host.clock.restart_count = 2;
    world.host.clock.clock_ms = 1_000;
    assert_eq!(failed(&world.round()), []);
    let seen = world.state.clone();
    for (check, change) in [
        (Check::QuoteBoot, (|quote| quote.clock.reset_count = 4) as fn(&mut Quote)),
        (Check::QuoteClock, |quote| quote.clock.clock_ms = 999),
        (Check::QuoteClock, |quote| quote.clock.restart_count = 1),
    ] {
        world.ask();
        let mut evidence = world.answer(0);
        let mut quote = Quote::parse(&evidence.quote.0).expect("a quote");
        change(&mut quote);
        world.host.sign(&mut evidence, &quote).expect("a signature");
        assert_eq!(failed(&world.judge(&evidence)), [check]);
        world.state = seen.clone();
    }
}

/// Registers 10 and list of the good boot, on a host that booted something else.
#[test]
fn a_list_and_register_replayed_from_another_boot() {
    let mut world = measured_boot();
    assert_eq!(failed(&world.round()), []);
    let good = (world.host.lines.clone(), world.host.pcrs.clone());
    world.host.reboot();
    world.host.extend(4, b"an evil kernel");
    world.host.lines = good.0;
    for (bank, registers) in &mut world.host.pcrs {
        registers.insert(10, good.1[bank][&10]);
    }
    world.ask();
    let evidence = world.answer(0);
    let verdict = world.judge(&evidence);
    assert!(verdict.has_failed(Check::BootPcr) && verdict.has_failed(Check::BootAggregate));
}

#[test]
fn another_boot_than_the_golden_one() {
    let mut world = measured_boot();
    world.host.extend(7, b"secure boot is off");
    let verdict = world.round();
    assert_eq!(failed(&verdict), [Check::BootPcr, Check::BootAggregate]);
    assert!(verdict.failed[0].detail.starts_with("register 7 of bank sha256"));
}

/// A host whose boot the reference values know; its aggregate needs no policy then.
fn measured_boot() -> World {
    let mut host = SimulatedHost::new().expect("a host");
    for pcr in 0..10 {
        host.extend(pcr, b"firmware and kernel");
    }
    host.measure_boot_aggregate();
    host.measure_file("/etc/init", b"/etc/init");
    let mut golden = reference(policy(|policy| policy["excludes"] = serde_json::json!([])));
    let bank = &host.pcrs[&Hash::Sha256];
    golden.boot = [(Hash::Sha256, (0..10).map(|pcr| (pcr, vec![bank[&pcr]])).collect())].into();
    World::of(host, golden)
}

#[test]
fn a_boot_aggregate_that_no_policy_knows() {
    let mut world = World::new();
    world.reference = reference(policy(|policy| policy["excludes"] = serde_json::json!([])));
    let verdict = world.round();
    assert_eq!(failed(&verdict), [Check::ImaUnknownFile]);
    assert_eq!(verdict.failed[0].entry, Some(0));
}

#[test]
fn registers_that_were_not_quoted() {
    let mut world = World::new();
    world.ask();
    let nonce = world.challenge.nonce.0.clone();
    let only_boot = [(Hash::Sha256, vec![0, 1])].into();
    let evidence = world.host.evidence(&nonce, &only_boot, 0).expect("evidence");
    let checks = failed(&world.judge(&evidence));
    assert_eq!(checks, [Check::PcrSelected, Check::ImaReplay]);
    // A bank that breaks in years is not enough where the other one is wanted.
    let sha1 = [(Hash::Sha1, vec![10])].into();
    let evidence = world.host.evidence(&nonce, &sha1, 0).expect("evidence");
    assert_eq!(failed(&world.judge(&evidence)), [Check::PcrSelected]);
}

#[test]
fn values_that_were_not_quoted() {
    let mut world = World::new();
    let evidence = world.ask();
    let mut other = evidence.clone();
    let register = other.pcrs.get_mut(&Hash::Sha256).expect("a bank").get_mut(&10);
    register.expect("register 10").0[0] ^= 1;
    assert_eq!(failed(&world.judge(&other)), [Check::PcrValues, Check::ImaReplay]);
    let mut none = evidence;
    none.pcrs.clear();
    assert_eq!(failed(&world.judge(&none)), [Check::PcrValues, Check::ImaReplay]);
}

/// One digest for both: the end of one value moved to the front of the next.
#[test]
fn values_that_share_a_digest_with_those_quoted() {
    let mut world = measured_boot();
    let mut evidence = world.ask();
    let bank = evidence.pcrs.get_mut(&Hash::Sha256).expect("a bank");
    let moved = bank.get_mut(&0).expect("register 0").0.pop().expect("a byte");
    bank.get_mut(&1).expect("register 1").0.insert(0, moved);
    assert!(world.judge(&evidence).has_failed(Check::PcrValues));
}

#[test]
fn both_banks_are_replayed() {
    let mut world = World::new();
    world.reference.banks = vec![Hash::Sha1, Hash::Sha256];
    assert_eq!(failed(&world.round()), []);
    world.host.measure_file("/etc/init", b"/etc/init");
    let bank = world.host.pcrs.get_mut(&Hash::Sha1).expect("a bank");
    bank.insert(10, Hash::Sha1.ones());
    assert_eq!(failed(&world.round()), [Check::ImaReplay]);
}

#[test]
fn a_quote_that_is_none() {
    let mut world = World::new();
    let evidence = world.ask();
    let mut certify = evidence.clone();
    certify.quote.0[5] = 0x17;
    assert_eq!(failed(&world.judge(&certify)), [Check::QuoteForm]);
    let mut short = evidence;
    short.signature.0.pop();
    assert_eq!(failed(&world.judge(&short)), [Check::QuoteForm]);
}

/// Every byte of a quote is one that the signature covers.
#[test]
fn a_quote_with_any_byte_changed() {
    let mut world = World::new();
    let evidence = world.ask();
    for at in 0..evidence.quote.0.len() {
        let mut flipped = evidence.clone();
        flipped.quote.0[at] ^= 0x40;
        let verdict = world.appraise(&flipped).verdict;
        let named =
            verdict.has_failed(Check::QuoteForm) || verdict.has_failed(Check::QuoteSignature);
        assert!(named, "byte {at}: {:?}", verdict.failed);
    }
}

#[test]
fn a_quote_of_another_selection_or_digest() {
    let digest = with_quote(|quote| quote.pcr_digest = Hash::Sha256.digest(&[b"other"]));
    assert_eq!(digest, [Check::PcrValues]);
}

#[test]
fn no_policy_at_all() {
    let mut world = World::new();
    world.reference = HostReference::of_policies(PolicySet::unite(Vec::new()).expect("none"));
    let checks = failed(&world.round());
    assert_eq!(checks, [Check::PolicyPresent, Check::ImaUnknownFile]);
}

#[test]
fn policies_are_united_and_each_keeps_to_its_scope() {
    let without_firewall = |policy: &mut serde_json::Value| {
        policy["digests"].as_object_mut().expect("digests").remove("/opt/firewall/run");
    };
    let everything =
        |policy: &mut serde_json::Value| policy["excludes"] = serde_json::json!([".*"]);
    let base = ScopedPolicy::everywhere("base", Arc::new(policy(without_firewall)));
    let scoped = |paths: &[&str]| ScopedPolicy {
        name: "firewall".to_owned(),
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        policy: Arc::new(policy(everything)),
    };
    let unite =
        |policies| HostReference::of_policies(PolicySet::unite(policies).expect("policies"));
    let mut world = World::new();
    world.reference = unite(vec![base.clone()]);
    assert_eq!(failed(&world.round()), [Check::ImaUnknownFile]);
    world.reference = unite(vec![base.clone(), scoped(&["/opt/firewall"])]);
    assert_eq!(failed(&world.round()), []);
    for path in ["/usr/bin/evil", "/opt/firewall-evil", "/opt/fire"] {
        let mut world = World::new();
        world.reference = unite(vec![base.clone(), scoped(&["/opt/firewall"])]);
        world.host.measure_file(path, b"evil");
        assert_eq!(failed(&world.round()), [Check::ImaUnknownFile], "{path}");
    }
    world.reference = unite(vec![base, scoped(&["/opt/fire"])]);
    assert_eq!(failed(&world.round()), [Check::ImaUnknownFile], "a path ends where a name does");
}

#[test]
fn hostile_names_are_shown_harmless_and_failures_are_counted_past_the_limit() {
    let mut world = World::new();
    for number in 0..100 {
        world.host.measure_file(&format!("/evil\u{1b}[2J{number}"), b"evil");
    }
    let verdict = world.round();
    assert_eq!((verdict.failed.len(), verdict.failed_more), (64, 36));
    assert!(verdict.failed.iter().all(|failed| !failed.detail.contains('\u{1b}')));
    assert_eq!(FILES.len() + 1, verdict.failed[0].entry.expect("an entry") as usize);
}
