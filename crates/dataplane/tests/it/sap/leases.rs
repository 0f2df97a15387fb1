//! Leases, L1 to L6 of `docs/sap.md`: an association lives only as long as both ends' leases.

use std::time::Duration;

use ringmail_dataplane::sap::{LeaseError, Message};
use ringmail_model::{ElementId, SaSpi};

use super::support::{Pair, Seen, digest, segment};

const SPI: SaSpi = SaSpi(0x10_2001);

fn renewals(seen: &[Seen]) -> Vec<&Seen> {
    let kinds = |seen: &&Seen| matches!(seen, Seen::RenewInbound(..) | Seen::RenewOutbound(..));
    seen.iter().filter(kinds).collect()
}

fn asked(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::RenewLease(1))).count()
}

#[test]
fn l1_a_lease_is_asked_for_at_once_and_again_until_it_comes() {
    let mut pair = Pair::without_leases(&[segment(1, 0, 1, 2, 1)]);
    pair.ends[0].sap.handle_timeout(pair.start);
    pair.pass(Duration::from_secs(5));
    assert_eq!(asked(&pair.seen(0)), 2, "after 2 s and 4 s; the first one was before");
    pair.renew_leases(0);
    pair.pass(Duration::from_secs(19));
    assert_eq!(asked(&pair.seen(0)), 0);
}

#[test]
fn l1_a_lease_is_renewed_at_a_third_of_its_time() {
    let mut pair = Pair::sending();
    pair.clear();
    pair.pass(Duration::from_millis(19_999));
    assert_eq!(asked(&pair.seen(0)), 0);
    pair.pass(Duration::from_millis(1));
    assert_eq!((asked(&pair.seen(0)), asked(&pair.seen(1))), (1, 1));
}

/// The manager is away for 39 s after the renewal was due.
#[test]
fn l1_a_manager_that_restarts_does_not_stop_traffic() {
    let mut pair = Pair::sending();
    pair.clear();
    pair.pass(Duration::from_secs(59));
    pair.renew_leases(0);
    pair.renew_leases(1);
    pair.pass(Duration::from_secs(59));
    assert!(pair.ends[0].keys_out.contains_key(&SPI) && pair.ends[1].keys_in.contains_key(&SPI));
}

#[test]
fn l2_both_leases_prolong_both_ends() {
    let mut pair = Pair::sending();
    pair.pass(Duration::from_secs(20));
    pair.clear();
    pair.renew_leases(0);
    pair.settle();
    assert_eq!(renewals(&pair.seen(0)).len() + renewals(&pair.seen(1)).len(), 0, "only one");
    pair.renew_leases(1);
    pair.settle();
    let minute = Duration::from_secs(60);
    assert_eq!(renewals(&pair.seen(0)), [&Seen::RenewOutbound(SPI, minute)]);
    assert_eq!(renewals(&pair.seen(1)), [&Seen::RenewInbound(SPI, minute)]);
}

#[test]
fn l2_a_lost_lease_comes_again_with_the_keepalive() {
    let mut pair = Pair::sending();
    pair.pass(Duration::from_secs(15));
    pair.renew_leases(0);
    pair.renew_leases(1);
    pair.lose();
    pair.clear();
    pair.pass(Duration::from_secs(5));
    assert_eq!(renewals(&pair.seen(0)), [&Seen::RenewOutbound(SPI, Duration::from_secs(55))]);
}

#[test]
fn l3_an_overtaken_lease_does_not_count() {
    let mut pair = Pair::sending();
    let (older, newer) = (pair.lease(2, 1, 40, 5), pair.lease(2, 1, 50, 6));
    pair.clear();
    for lease in [newer, older, newer] {
        pair.give(0, 0, Message::Lease(lease)).unwrap();
    }
    assert_eq!(renewals(&pair.seen(0)), [&Seen::RenewOutbound(SPI, Duration::from_secs(50))]);
}

#[test]
fn l4_a_later_lease_that_ends_earlier_takes_the_time_back() {
    let mut pair = Pair::sending();
    pair.clear();
    let shorter = pair.lease(2, 1, 10, 5);
    pair.give(0, 0, Message::Lease(shorter)).unwrap();
    assert_eq!(pair.seen(0), [Seen::RenewOutbound(SPI, Duration::from_secs(10))]);
    let revoked = pair.lease(2, 1, 0, 6);
    pair.give(0, 0, Message::Lease(revoked)).unwrap();
    let stopped = Seen::StopSending(SPI, "lease expired".into());
    assert!(pair.seen(0).contains(&stopped));
}

#[test]
fn l5_a_renewal_that_does_not_count_changes_nothing() {
    let mut pair = Pair::sending();
    pair.clear();
    let mut forged = pair.lease(2, 1, 60, 9);
    forged.signature[0] ^= 1;
    let others = pair.lease(1, 1, 60, 9);
    let elsewhere = pair.lease(2, 9, 60, 9);
    let endless = pair.lease(2, 1, 4000, 9);
    for lease in [forged, others, elsewhere, endless] {
        pair.give(0, 0, Message::Lease(lease)).unwrap();
    }
    assert_eq!(pair.seen(0), []);
    assert_eq!(pair.ends[0].sap.counters().leases_refused, 4);
}

#[test]
fn l6_an_own_lease_that_does_not_count_is_the_callers_fault() {
    let mut pair = Pair::sending();
    let mut forged = pair.lease(1, 1, 60, 9);
    forged.signature[0] ^= 1;
    let cases = [
        (forged, LeaseError::BadSignature),
        (
            pair.lease(2, 1, 60, 9),
            LeaseError::AnotherElement { expected: ElementId(1), found: ElementId(2) },
        ),
        (pair.lease(1, 9, 60, 9), LeaseError::AnotherPath(digest(9))),
        (pair.lease(1, 1, 4000, 9), LeaseError::TooLong(4000)),
        (pair.lease(1, 1, 0, 9), LeaseError::Expired(0)),
    ];
    for (lease, error) in cases {
        let now = pair.now();
        assert_eq!(pair.ends[0].sap.set_lease(now, &lease), Err(error));
    }
}

/// The wall clock steps back by an hour: what is held ends when it would have.
#[test]
fn a_clock_that_steps_back_prolongs_nothing() {
    let mut pair = Pair::sending();
    let lease = pair.lease(2, 1, 60, 9);
    let mut now = pair.now();
    now.unix_s -= 3600;
    pair.ends[0].sap.handle_timeout(now.instant);
    pair.give(0, 0, Message::Lease(lease)).unwrap();
    pair.pass(Duration::from_secs(60));
    assert!(pair.ends[0].keys_out.is_empty());
}
