//! Whole rounds: a list of real files, register 10 of a TPM, a quote, a verdict.

use std::fs;

use ringmail_trust::agent::tpm::Template;
use ringmail_trust_core::host::{Check, ImaEntries};

use super::swtpm::{Host, failed};

#[test]
fn a_good_host_is_trusted_and_so_is_what_it_does_next() {
    let mut host = Host::boot(Template::EccAk);
    let first = host.round();
    assert_eq!(failed(&first), []);
    assert_eq!(first.entries_appraised, 5);
    assert_eq!(failed(&host.round()), [], "nothing new");
    host.run("/usr/bin/ls");
    let next = host.round();
    assert_eq!(failed(&next), []);
    assert_eq!(next.entries_appraised, 1);
}

#[test]
fn a_file_that_nobody_knows_or_that_is_changed_is_named() {
    let mut host = Host::boot(Template::RsassaAk);
    assert_eq!(failed(&host.round()), []);
    host.run("/usr/bin/mv");
    let verdict = host.round();
    assert_eq!(failed(&verdict), [Check::ImaUnknownFile]);
    assert!(verdict.failed[0].detail.contains("/usr/bin/mv"));
    let mut host = Host::boot(Template::RsapssAk);
    host.measure(&format!("sha256:{} /usr/bin/ls", "00".repeat(31) + "01"));
    assert_eq!(failed(&host.round()), [Check::ImaFileDigest]);
}

#[test]
fn a_list_that_is_not_what_the_tpm_saw_is_refused() {
    let mut host = Host::boot(Template::EccAk);
    let good = host.list();
    let lines: Vec<&str> = good.lines().collect();
    let removed = [&lines[..2], &lines[3..]].concat().join("\n");
    let reordered = [lines[0], lines[2], lines[1], lines[3], lines[4]].join("\n");
    for (what, list) in [("removed", removed), ("reordered", reordered)] {
        host.set_list(&(list + "\n"));
        assert_eq!(failed(&host.round()), [Check::ImaReplay], "{what}");
    }
    host.set_list(&good.replace("/usr/bin/cp", "/usr/bin/ls"));
    let edited = failed(&host.round());
    assert_eq!(edited, [Check::ImaTemplateHash, Check::ImaReplay]);
    host.set_list(&good);
    assert_eq!(failed(&host.round()), []);
}

#[test]
fn a_recorded_answer_and_a_late_one_are_refused() {
    let mut host = Host::boot(Template::EccAk);
    let asked = host.challenge();
    let recorded = host.answer(&asked);
    assert_eq!(failed(&host.judge(&asked, &recorded)), []);
    let asked_again = host.challenge();
    let verdict = host.judge(&asked_again, &recorded);
    assert!(verdict.has_failed(Check::QuoteNonce), "{:?}", verdict.failed);
    host.reference.max_quote_age_ms = 99;
    assert_eq!(failed(&host.round()), [Check::QuoteAge]);
}

#[test]
fn keys_that_were_not_enrolled_or_sign_anything_are_refused() {
    let mut host = Host::boot(Template::EccAk);
    let mut other = Host::boot(Template::EccAk);
    let asked = host.challenge();
    let evidence = other.answer(&asked);
    let verdict = host.judge(&asked, &evidence);
    assert_eq!(failed(&verdict), [Check::AkEnrolled]);
    let mut unrestricted = Host::boot(Template::UnrestrictedEcc);
    assert_eq!(failed(&unrestricted.round()), [Check::AkRestricted]);
}

#[test]
fn a_reboot_is_followed_and_another_boot_is_not() {
    let mut host = Host::boot(Template::EccAk);
    assert_eq!(failed(&host.round()), []);
    let good = host.list();
    host.reboot();
    host.firmware(b"firmware");
    host.measure_boot();
    host.run("/usr/bin/ls");
    let asked = host.round();
    // The list is shorter than what was asked for, so the agent answered from its start.
    assert_eq!(failed(&asked), []);
    assert_eq!(asked.entries_appraised, 2);
    // Another kernel, and the register and list of the good boot replayed.
    host.reboot();
    host.firmware(b"an evil kernel");
    for line in good.lines() {
        let fields = line.splitn(4, ' ').nth(3).expect("fields");
        host.measure(fields);
    }
    assert_eq!(failed(&host.round()), [Check::BootPcr, Check::ImaOffset]);
    assert_eq!(failed(&host.round()), [Check::BootPcr, Check::BootAggregate]);
}

/// The kernel lists first and extends then: what the quote does not cover yet is covered by the next.
#[test]
fn a_list_ahead_of_the_quote_is_caught_up_with() {
    let mut host = Host::boot(Template::EccAk);
    assert_eq!(failed(&host.round()), []);
    let contents = fs::read("/usr/bin/ls").expect("a file");
    let digest = ringmail_trust_core::host::tpm::Hash::Sha256.digest(&[&contents]);
    host.list_entry(&format!("sha256:{digest} /usr/bin/ls"));
    let ahead = host.round();
    assert_eq!(failed(&ahead), []);
    assert_eq!(ahead.entries_pending, 1);
    // It never extends: somebody holds the TPM back.
    assert_eq!(failed(&host.round()), [Check::ImaProgress]);
}

#[test]
fn an_entry_that_the_kernel_is_still_writing_is_left_for_later() {
    let mut host = Host::boot(Template::EccAk);
    let whole = host.list();
    host.set_list(&format!("{whole}10 0123"));
    let asked = host.challenge();
    let evidence = host.answer(&asked);
    assert_eq!(evidence.ima.entries, ImaEntries::Text(whole));
    assert_eq!(failed(&host.judge(&asked, &evidence)), []);
}
