//! Rounds of honest hosts, one after the other.

use ringmail_trust_core::host::{Check, HostEvidence, HostState};

use super::world::{World, failed, policy, reference};

#[test]
fn an_honest_host_is_trusted_round_after_round_and_each_is_about_what_is_new() {
    let mut world = World::new();
    let first = world.round();
    assert_eq!(failed(&first), []);
    assert_eq!((first.entries_appraised, first.entries_pending), (6, 0));
    assert_eq!(failed(&world.round()), [], "nothing new");
    world.host.measure_file("/usr/bin/bash", b"/usr/bin/bash");
    let third = world.round();
    assert_eq!(failed(&third), []);
    assert_eq!(third.entries_appraised, 1);
}

#[test]
fn a_list_that_grew_after_the_quote_is_appraised_whole_and_covered_by_the_next() {
    let mut world = World::new();
    let mut evidence = world.ask();
    world.host.measure_file("/usr/bin/sshd", b"/usr/bin/sshd");
    evidence.ima = world.answer(0).ima;
    let grown = world.judge(&evidence);
    assert_eq!(failed(&grown), []);
    assert_eq!((grown.entries_appraised, grown.entries_pending), (7, 1));
    let next = world.round();
    assert_eq!(failed(&next), []);
    assert_eq!((next.entries_appraised, next.entries_pending), (1, 0));
}

#[test]
fn what_grew_after_the_quote_is_not_trusted_blindly() {
    let mut world = World::new();
    let mut evidence = world.ask();
    world.host.measure_file("/usr/bin/evil", b"evil");
    evidence.ima = world.answer(0).ima;
    assert_eq!(failed(&world.judge(&evidence)), [Check::ImaUnknownFile]);
}

/// The kernel measured it, so the TPM has to have it by the next quote.
#[test]
fn a_quote_that_never_covers_what_was_listed_is_refused() {
    let mut world = World::new();
    let before = world.host.pcrs.clone();
    let mut evidence = world.ask();
    world.host.measure_file("/usr/bin/sshd", b"/usr/bin/sshd");
    evidence.ima = world.answer(0).ima;
    assert_eq!(failed(&world.judge(&evidence)), []);
    world.host.pcrs = before;
    assert_eq!(failed(&world.round()), [Check::ImaProgress]);
}

#[test]
fn a_reboot_starts_the_list_over() {
    let mut world = World::new();
    assert_eq!(failed(&world.round()), []);
    world.host.reboot();
    world.host.measure_boot_aggregate();
    world.host.measure_file("/etc/init", b"/etc/init");
    // The verifier cannot know yet, and asks from where it stopped.
    let asked = world.round();
    assert_eq!(failed(&asked), [Check::ImaOffset]);
    assert!(asked.ask_again);
    let again = world.round();
    assert_eq!(failed(&again), []);
    assert_eq!(again.entries_appraised, 2);
}

#[test]
fn a_host_that_knows_that_it_rebooted_sends_all_at_once() {
    let mut world = World::new();
    assert_eq!(failed(&world.round()), []);
    world.host.reboot();
    world.host.measure_boot_aggregate();
    world.ask();
    let evidence = world.answer(0);
    assert_eq!(failed(&world.judge(&evidence)), []);
}

#[test]
fn other_reference_values_have_the_whole_list_appraised_again() {
    let mut world = World::new();
    assert_eq!(failed(&world.round()), []);
    world.reference = reference(policy(|policy| {
        policy["digests"].as_object_mut().expect("digests").remove("/usr/bin/sshd");
    }));
    let verdict = world.round();
    assert_eq!(failed(&verdict), [Check::ImaUnknownFile]);
    assert_eq!(verdict.failed[0].entry, Some(2));
    assert!(verdict.failed[0].detail.contains("/usr/bin/sshd"), "{}", verdict.failed[0]);
}

#[test]
fn after_a_refusal_the_whole_list_is_asked_for() {
    let mut world = World::new();
    assert_eq!(failed(&world.round()), []);
    world.host.measure_file("/usr/bin/evil", b"evil");
    assert_eq!(failed(&world.round()), [Check::ImaUnknownFile]);
    assert_eq!(world.state.next_entry(&world.reference.fingerprint()), 0);
    let again = world.round();
    assert_eq!(failed(&again), [Check::ImaUnknownFile], "it stays");
    assert_eq!(again.entries_appraised, 7);
}

#[test]
fn evidence_and_state_survive_json() {
    let mut world = World::new();
    let evidence = world.ask();
    let text = evidence.to_json().expect("JSON");
    assert_eq!(HostEvidence::from_json(text.as_bytes()).expect("evidence"), evidence);
    assert_eq!(failed(&world.judge(&evidence)), []);
    let text = serde_json::to_string(&world.state).expect("JSON");
    assert_eq!(serde_json::from_str::<HostState>(&text).expect("a state"), world.state);
    let other = text_with(&evidence.to_json().expect("JSON"), "host-evidence/1", "host-evidence/2");
    assert!(HostEvidence::from_json(other.as_bytes()).is_err(), "another schema");
    let unknown = text_with(&evidence.to_json().expect("JSON"), "\"ima\"", "\"extra\": 1, \"ima\"");
    assert!(HostEvidence::from_json(unknown.as_bytes()).is_err(), "an unknown key");
}

fn text_with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from));
    text.replace(from, to)
}
