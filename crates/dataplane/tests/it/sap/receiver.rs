//! Transitions of the receiver, R1 to R10 of `docs/sap.md`.

use std::time::Duration;

use ringmail_dataplane::sa::SegmentIndex;
use ringmail_dataplane::sap::message::{Offer, OfferId, Refusal};
use ringmail_dataplane::sap::{Lease, Message, Violation};
use ringmail_model::{ElementId, Epoch, SaSpi, WorkerId};

use super::support::{Pair, Seen, digest, end, place, segment, sign};

const SPI: SaSpi = SaSpi(0x10_2001);
const NEXT_SPI: SaSpi = SaSpi(0x10_2002);

/// Element 2 stands at the end of path 1, begins path 2, and was offered nothing yet.
fn ready() -> Pair {
    let mut pair = Pair::new(&[segment(1, 0, 1, 2, 1), segment(2, 0, 2, 1, 1)]);
    pair.acks = false;
    pair.connect(0);
    while pair.ends[1].sap.epoch().is_none() {
        assert!(pair.deliver(0).is_some());
    }
    pair.lose();
    pair.clear();
    pair
}

/// What element 2 answers to this OFFER.
fn answer(pair: &mut Pair, offer: Offer) -> Message {
    pair.give(1, 0, Message::Offer(offer)).unwrap();
    let sent = pair.sent(1);
    assert_eq!((sent.len(), pair.seen(1)), (1, vec![]), "{sent:?}");
    sent[0]
}

fn refused(reason: Refusal) -> Message {
    Message::Refused { offer: OfferId(0), reason }
}

#[test]
fn r1_an_offer_is_installed_and_only_then_answered() {
    let mut pair = ready();
    pair.give(1, 0, Message::Offer(pair.offer(0))).unwrap();
    assert_eq!(pair.seen(1), [Seen::InstallInbound(place(0), SPI)]);
    assert_eq!(pair.sent(1), [], "the data plane does not have it yet");
    pair.ack_install(1, SPI);
    let sent = pair.sent(1);
    assert!(matches!(sent[..], [Message::Installed(i)] if i.spi == SPI && i.offer == OfferId(0)));
}

#[test]
fn r2_a_path_that_is_not_known_is_refused() {
    let mut pair = ready();
    let unknown = Offer { digest: digest(9), ..pair.offer(0) };
    assert_eq!(answer(&mut pair, unknown), refused(Refusal::UnknownPath));
    let nowhere = Offer { segment: SegmentIndex(1), ..pair.offer(0) };
    assert_eq!(answer(&mut pair, nowhere), refused(Refusal::UnknownPath));
}

#[test]
fn r2_a_sender_whom_the_path_does_not_name_there_is_refused() {
    let mut pair = ready();
    // Path 2 runs the other way: element 2 sends.
    let backwards = Offer { digest: digest(2), lease: pair.lease(1, 2, 60, 2), ..pair.offer(0) };
    assert_eq!(answer(&mut pair, backwards), refused(Refusal::WrongNeighbour));
}

#[test]
fn r2_another_profile_or_suite_is_refused() {
    let mut pair = ready();
    for code in [0, 2, 255] {
        let profile = Offer { profile: code, ..pair.offer(0) };
        assert_eq!(answer(&mut pair, profile), refused(Refusal::WrongProfile));
        let suite = Offer { suite: code, ..pair.offer(0) };
        assert_eq!(answer(&mut pair, suite), refused(Refusal::WrongSuite));
    }
}

#[test]
fn r2_a_worker_that_the_sender_does_not_have_is_refused() {
    let mut pair = ready();
    let worker = Offer { worker: WorkerId(1), ..pair.offer(0) };
    assert_eq!(answer(&mut pair, worker), refused(Refusal::UnknownWorker));
}

#[test]
fn r2_another_epoch_than_the_sessions_is_refused() {
    let mut pair = ready();
    for epoch in [0, 2] {
        let stale = Offer { epoch: Epoch(epoch), ..pair.offer(0) };
        assert_eq!(answer(&mut pair, stale), refused(Refusal::StaleEpoch));
    }
}

#[test]
fn r2_a_lease_of_another_element_or_path_is_refused() {
    let mut pair = ready();
    let others = Offer { lease: pair.lease(2, 1, 60, 2), ..pair.offer(0) };
    assert_eq!(answer(&mut pair, others), refused(Refusal::AnotherLease));
    let elsewhere = Offer { lease: pair.lease(1, 2, 60, 2), ..pair.offer(0) };
    assert_eq!(answer(&mut pair, elsewhere), refused(Refusal::AnotherLease));
}

#[test]
fn r2_an_ended_or_endless_lease_is_refused() {
    let mut pair = ready();
    pair.pass_unmoved(Duration::from_secs(1));
    pair.lose();
    pair.clear();
    let ended = Lease {
        element: ElementId(1),
        digest: digest(1),
        not_after_unix_s: pair.now().unix_s,
        serial: 2,
    };
    let ended = Offer { lease: sign(ended), ..pair.offer(0) };
    assert_eq!(answer(&mut pair, ended), refused(Refusal::LeaseExpired));
    let endless = Offer { lease: pair.lease(1, 1, 3601, 3), ..pair.offer(0) };
    assert_eq!(answer(&mut pair, endless), refused(Refusal::LeaseExpired));
}

#[test]
fn r2_a_lease_with_a_bad_signature_is_refused() {
    let mut pair = ready();
    for tamper in [
        (|lease| lease.signature[63] ^= 1) as fn(&mut ringmail_dataplane::sap::SignedLease),
        |lease| lease.lease.not_after_unix_s += 1,
        |lease| lease.lease.serial += 1,
    ] {
        let mut offer = Offer { lease: pair.lease(1, 1, 60, 2), ..pair.offer(0) };
        tamper(&mut offer.lease);
        assert_eq!(answer(&mut pair, offer), refused(Refusal::BadLease));
    }
}

#[test]
fn r2_a_receiver_without_a_lease_refuses() {
    let mut pair = Pair::without_leases(&[segment(1, 0, 1, 2, 1)]);
    pair.connect(0);
    pair.settle();
    pair.lose();
    pair.clear();
    let offer = pair.offer(0);
    assert_eq!(answer(&mut pair, offer), refused(Refusal::NoLease));
}

#[test]
fn r2_what_was_refused_leaves_nothing_and_may_be_offered_again() {
    let mut pair = ready();
    let stale = Offer { epoch: Epoch(9), ..pair.offer(0) };
    assert_eq!(answer(&mut pair, stale), refused(Refusal::StaleEpoch));
    pair.give(1, 0, Message::Offer(pair.offer(0))).unwrap();
    assert_eq!(pair.seen(1), [Seen::InstallInbound(place(0), SPI)]);
}

#[test]
fn r3_a_repeated_offer_gets_the_same_spi() {
    let mut pair = ready();
    let offer = Message::Offer(pair.offer(0));
    pair.give(1, 0, offer).unwrap();
    pair.give(1, 0, offer).unwrap();
    assert_eq!(pair.sent(1), [], "still installing");
    pair.ack_install(1, SPI);
    pair.give(1, 0, offer).unwrap();
    let sent = pair.sent(1);
    assert!(matches!(sent[..], [Message::Installed(a), Message::Installed(b)] if a == b));
    assert_eq!(pair.seen(1), [Seen::InstallInbound(place(0), SPI)], "one association");
}

#[test]
fn r3_an_offer_that_changed_ends_the_session() {
    let mut pair = ready();
    pair.give(1, 0, Message::Offer(pair.offer(0))).unwrap();
    let changed = Offer { worker: WorkerId(7), ..pair.offer(0) };
    let given = pair.give(1, 0, Message::Offer(changed));
    assert_eq!(given, Err(Violation::OfferChanged(OfferId(0))));
}

#[test]
fn r4_what_the_data_plane_cannot_install_is_refused() {
    let mut pair = ready();
    pair.give(1, 0, Message::Offer(pair.offer(0))).unwrap();
    let now = pair.now().instant;
    pair.clear();
    pair.ends[1].sap.install_failed(now, SPI);
    pair.pass_unmoved(Duration::ZERO);
    assert_eq!(pair.seen(1), [Seen::RemoveInbound(SPI, "not installed".into(), None)]);
    assert_eq!(pair.sent(1), [refused(Refusal::NoRoom)]);
}

#[test]
fn r4_a_data_plane_that_does_not_answer_is_given_up() {
    let mut pair = ready();
    pair.give(1, 0, Message::Offer(pair.offer(0))).unwrap();
    pair.clear();
    pair.pass_unmoved(Duration::from_secs(10));
    assert!(pair.seen(1).contains(&Seen::RemoveInbound(SPI, "not installed".into(), None)));
    pair.lose();
    pair.ack_install(1, SPI);
    assert_eq!(pair.sent(1), [], "too late");
}

#[test]
fn r5_after_last_and_the_grace_time_it_is_gone() {
    let mut pair = Pair::sending();
    pair.clear();
    pair.give(1, 0, Message::Last { spi: SPI, sequence: 99 }).unwrap();
    pair.pass_unmoved(Duration::from_millis(1999));
    assert_eq!((pair.seen(1), pair.sent(1)), (vec![], vec![]), "packets may still be on their way");
    pair.pass_unmoved(Duration::from_millis(1));
    assert_eq!(pair.seen(1), [Seen::RemoveInbound(SPI, "finished by the sender".into(), Some(99))]);
    assert_eq!(pair.sent(1), [Message::Deleted { spi: SPI }]);
}

#[test]
fn r5_a_repeated_last_does_not_prolong_and_is_answered_when_all_is_gone() {
    let mut pair = Pair::sending();
    pair.clear();
    let last = Message::Last { spi: SPI, sequence: 99 };
    pair.give(1, 0, last).unwrap();
    pair.pass_unmoved(Duration::from_millis(1500));
    pair.give(1, 0, last).unwrap();
    pair.pass_unmoved(Duration::from_millis(500));
    assert_eq!(pair.sent(1), [Message::Deleted { spi: SPI }]);
    pair.give(1, 0, last).unwrap();
    assert_eq!(pair.sent(1), [Message::Deleted { spi: SPI }]);
}

#[test]
fn r5_last_for_what_never_was_is_answered() {
    let mut pair = ready();
    pair.give(1, 0, Message::Last { spi: SaSpi(0x9999), sequence: 0 }).unwrap();
    assert_eq!(pair.sent(1), [Message::Deleted { spi: SaSpi(0x9999) }]);
}

#[test]
fn r6_an_ended_lease_removes_and_says_so() {
    let mut pair = Pair::sending();
    pair.clear();
    pair.pass(Duration::from_secs(60));
    let removed = Seen::RemoveInbound(SPI, "lease expired".into(), None);
    assert!(pair.seen(1).contains(&removed));
}

#[test]
fn r7_a_withdrawn_path_says_so_and_drains() {
    let mut pair = Pair::sending();
    pair.clear();
    let now = pair.now().instant;
    pair.ends[1].sap.set_segments(now, &[segment(2, 0, 2, 1, 1)]);
    pair.pass_unmoved(Duration::ZERO);
    assert_eq!(pair.sent(1), [Message::Deleted { spi: SPI }], "nobody sends in vain");
    pair.pass_unmoved(Duration::from_millis(4999));
    assert!(!pair.seen(1).iter().any(|seen| matches!(seen, Seen::RemoveInbound(..))));
    pair.pass_unmoved(Duration::from_millis(1));
    assert_eq!(pair.seen(1), [Seen::RemoveInbound(SPI, "path withdrawn".into(), None)]);
    assert_eq!(pair.sent(1).last(), Some(&Message::Deleted { spi: SPI }));
}

/// Found by a soak: what the data plane kept for a path went with it, and the sender went on as if nothing had been.
#[test]
fn r7_a_path_that_comes_back_is_agreed_upon_anew() {
    let mut pair = Pair::sending();
    pair.clear();
    let now = pair.now().instant;
    let whole = [segment(1, 0, 1, 2, 1), segment(2, 0, 2, 1, 1)];
    pair.ends[1].sap.set_segments(now, &whole[1..]);
    pair.ends[1].sap.set_segments(now, &whole);
    pair.renew_leases(1);
    pair.pass(Duration::from_secs(1));
    assert!(pair.seen(0).contains(&Seen::StopSending(SPI, "deleted by the receiver".into())));
    assert!(pair.seen(1).contains(&Seen::InstallInbound(place(0), NEXT_SPI)), "with other keys");
    assert!(pair.ends[0].keys_out.contains_key(&NEXT_SPI));
}

/// Found by the simulation: a path that went and came back made the data plane's answer look as if it had come.
#[test]
fn r7_what_was_installing_when_its_path_went_is_not_said_to_be_installed() {
    let mut pair = ready();
    let offer = Message::Offer(pair.offer(0));
    pair.give(1, 0, offer).unwrap();
    let now = pair.now().instant;
    pair.ends[1].sap.set_segments(now, &[segment(2, 0, 2, 1, 1)]);
    pair.ends[1].sap.set_segments(now, &[segment(1, 0, 1, 2, 1), segment(2, 0, 2, 1, 1)]);
    pair.renew_leases(1);
    pair.lose();
    pair.give(1, 0, offer).unwrap();
    assert_eq!(pair.sent(1), [], "the data plane does not have it yet");
    pair.ack_install(1, SPI);
    assert_eq!(pair.sent(1), [], "it goes in any case");
    pair.pass_unmoved(Duration::from_secs(5));
    assert!(pair.seen(1).contains(&Seen::RemoveInbound(SPI, "path withdrawn".into(), None)));
    pair.give(1, 0, offer).unwrap();
    assert_eq!(pair.seen(1), [Seen::InstallInbound(place(0), NEXT_SPI)], "taken as a new one");
}

#[test]
fn r8_what_was_installing_when_the_session_ended_goes() {
    let mut pair = ready();
    pair.give(1, 0, Message::Offer(pair.offer(0))).unwrap();
    pair.clear();
    pair.cut_at(1, 0);
    assert_eq!(pair.seen(1), [Seen::RemoveInbound(SPI, "orphaned".into(), None)]);
    pair.ack_install(1, SPI);
    assert_eq!(pair.sent(1), []);
}

#[test]
fn r8_what_was_installed_outlives_its_session() {
    let mut pair = Pair::sending();
    pair.clear();
    pair.cut(0);
    pair.pass(Duration::from_secs(59));
    assert_eq!(pair.ends[0].keys_out, pair.ends[1].keys_in);
    assert_eq!(pair.ends[1].keys_in.len(), 1);
    pair.pass(Duration::from_secs(1));
    assert!(pair.ends[0].keys_out.is_empty() && pair.ends[1].keys_in.is_empty());
}

/// INSTALLED was lost with the session: the sender does not know the SPI, so no LAST ever names it.
#[test]
fn r9_an_orphan_with_a_successor_goes_after_its_grace_time() {
    let mut pair = ready();
    pair.acks = true;
    pair.give(1, 0, Message::Offer(pair.offer(0))).unwrap();
    pair.lose();
    pair.cut(0);
    pair.connect(0);
    pair.settle();
    assert_eq!(pair.ends[0].keys_out.keys().collect::<Vec<_>>(), [&NEXT_SPI]);
    pair.clear();
    pair.pass(Duration::from_millis(29_999));
    assert!(pair.ends[1].keys_in.contains_key(&SPI));
    pair.pass(Duration::from_millis(1));
    assert!(pair.seen(1).contains(&Seen::RemoveInbound(SPI, "orphaned".into(), None)));
    assert_eq!(pair.ends[0].keys_out, pair.ends[1].keys_in);
}

#[test]
fn r10_a_restarted_sender_takes_its_keys_along() {
    let segments = [segment(1, 0, 1, 2, 1)];
    let mut pair = Pair::sending();
    pair.clear();
    pair.restart(0, &segments);
    pair.connect(0);
    pair.settle();
    assert_eq!(
        pair.seen(1),
        [
            Seen::Ended("a newer session took its place".into()),
            Seen::RemoveInbound(SPI, "neighbour restarted".into(), None),
            Seen::Established(2),
            Seen::InstallInbound(place(0), NEXT_SPI),
        ],
    );
    assert_eq!(pair.ends[0].keys_out, pair.ends[1].keys_in);
}

#[test]
fn an_overtaken_offer_is_left_unread() {
    let mut pair = ready();
    pair.give(1, 0, Message::Offer(pair.offer(1))).unwrap();
    pair.ack_install(1, SPI);
    pair.lose();
    pair.clear();
    pair.give(1, 0, Message::Offer(pair.offer(0))).unwrap();
    assert_eq!((pair.seen(1), pair.sent(1)), (vec![], vec![]));
}

#[test]
fn a_new_offer_in_the_same_session_lets_the_last_one_drain() {
    let mut pair = ready();
    pair.acks = true;
    pair.give(1, 0, Message::Offer(pair.offer(0))).unwrap();
    pair.give(1, 0, Message::Offer(pair.offer(1))).unwrap();
    pair.pass_unmoved(Duration::from_secs(2));
    assert_eq!(pair.ends[1].keys_in.keys().collect::<Vec<_>>(), [&NEXT_SPI]);
}

#[test]
fn one_neighbour_cannot_take_all_places() {
    let mut pair = ready();
    pair.acks = true;
    for number in 0..1000 {
        pair.give(1, 0, Message::Offer(pair.offer(number))).unwrap();
    }
    assert_eq!(pair.ends[1].keys_in.len(), 8);
    let sent = pair.sent(1);
    assert!(matches!(sent.last(), Some(Message::Refused { reason: Refusal::NoRoom, .. })));
}

#[test]
fn a_segment_of_others_is_none_of_this_agreement() {
    let now = std::time::Instant::now();
    let mut end = end(now, 1, 2, 1, vec![segment(1, 0, 2, 3, 1)]);
    assert!(end.sap.poll_event().is_none(), "neither a lease nor a dial is wanted");
    assert_eq!(end.sap.poll_timeout(now), None);
}
