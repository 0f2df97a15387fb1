//! Uses beside ESP: the same transitions, with keys of their own (`docs/sap.md`, "Uses").

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringmail_dataplane::sa::SegmentIndex;
use ringmail_dataplane::sap::message::{Offer, Refusal};
use ringmail_dataplane::sap::{AllocateSpi, Message, Place, Profile, SegmentView, Use};
use ringmail_model::{SaSpi, WorkerId};

use super::support::{Pair, Seen, end_with, place_of, relation};

/// Element 1 sends to element 2 in every use, from two workers.
fn every_use() -> Vec<SegmentView> {
    Use::ALL.map(|usage| relation(usage, 1, 0, 1, 2, 2)).to_vec()
}

fn places() -> BTreeSet<Place> {
    let counters = [Use::Esp, Use::Metadata].map(|usage| [place_of(usage, 0), place_of(usage, 1)]);
    let macs = [Use::Link, Use::Proof].map(|usage| place_of(usage, 0));
    counters.into_iter().flatten().chain(macs).collect()
}

fn agreed(segments: &[SegmentView]) -> Pair {
    let mut pair = Pair::new(segments);
    pair.connect(0);
    pair.settle();
    pair
}

/// What the sender has installed and not stopped, of all that it saw.
fn in_use(seen: &[Seen]) -> BTreeMap<Place, SaSpi> {
    let mut there = BTreeMap::new();
    for event in seen {
        match event {
            Seen::InstallOutbound(place, spi) => {
                there.insert(*place, *spi);
            }
            Seen::StopSending(spi, _) => there.retain(|_, there| there != spi),
            _ => {}
        }
    }
    there
}

#[test]
fn every_use_is_agreed_on_with_keys_of_its_own() {
    let mut pair = agreed(&every_use());
    let there = in_use(&pair.seen(0));
    assert_eq!(there.keys().copied().collect::<BTreeSet<_>>(), places());
    let [sender, receiver] = &pair.ends;
    assert_eq!(sender.keys_out, receiver.keys_in);
    assert_eq!(sender.keys_out.len(), there.len());
    // Quote, 0x and the 16 bytes that every key has.
    let fronts: BTreeSet<_> = sender.keys_out.values().map(|key| &key[..3 + 32]).collect();
    assert_eq!(fronts.len(), there.len(), "a use has the bytes of another's key");
}

/// What element 2 answers, and whether its data plane was asked.
fn answer(pair: &mut Pair, offer: Offer) -> Option<Refusal> {
    pair.clear();
    pair.give(1, 0, Message::Offer(offer)).unwrap();
    let asked = !pair.seen(1).is_empty();
    match pair.sent(1)[..] {
        [Message::Refused { reason, .. }] if !asked => Some(reason),
        [Message::Installed(_)] if asked => None,
        ref other => panic!("{other:?}"),
    }
}

/// Element 2 was offered nothing yet.
fn ready(segments: &[SegmentView]) -> Pair {
    let mut pair = Pair::new(segments);
    pair.connect(0);
    while pair.ends[1].sap.epoch().is_none() {
        assert!(pair.deliver(0).is_some());
    }
    pair.lose();
    pair
}

#[test]
fn a_use_without_counters_has_worker_0_only() {
    let mut pair = ready(&every_use());
    let mut offer = 0;
    for usage in Use::ALL {
        for worker in 0..3 {
            let one = Offer { usage, worker: WorkerId(worker), ..pair.offer(offer) };
            let there = places().contains(&place_of(usage, worker));
            let expected = (!there).then_some(Refusal::UnknownWorker);
            assert_eq!(answer(&mut pair, one), expected, "{usage} of worker {worker}");
            offer += 1;
        }
    }
}

/// So does a build that knows no uses: it reads another segment, which no path has.
#[test]
fn a_use_that_the_path_does_not_have_is_an_unknown_path() {
    for known in Use::ALL {
        let mut pair = ready(&[relation(known, 1, 0, 1, 2, 1)]);
        for (number, usage) in (0..).zip(Use::ALL) {
            let offer = Offer { usage, ..pair.offer(number) };
            let expected = (usage != known).then_some(Refusal::UnknownPath);
            assert_eq!(answer(&mut pair, offer), expected, "{usage} where there is {known}");
        }
    }
}

#[test]
fn every_use_is_refused_with_another_profile() {
    let profiles = [Profile::Mpls, Profile::MplsNsh, Profile::Nsh];
    for profile in profiles {
        let segments = every_use().into_iter().map(|view| SegmentView { profile, ..view });
        let mut pair = ready(&segments.collect::<Vec<_>>());
        let all = Use::ALL.into_iter().flat_map(|usage| profiles.map(|other| (usage, other)));
        for (number, (usage, other)) in (0..).zip(all) {
            let offer = Offer { usage, profile: other.code(), ..pair.offer(number) };
            let expected = (other != profile).then_some(Refusal::WrongProfile);
            assert_eq!(answer(&mut pair, offer), expected, "{usage}: {other:?}, not {profile:?}");
        }
    }
}

#[test]
fn a_repeated_offer_of_another_use_is_a_violation() {
    let mut pair = ready(&every_use());
    let first = pair.offer(0);
    assert_eq!(answer(&mut pair, first), None);
    let changed = Offer { usage: Use::Link, ..pair.offer(0) };
    pair.give(1, 0, Message::Offer(changed)).unwrap_err();
}

#[test]
fn a_new_epoch_replaces_every_use_before_it_stops_the_old_one() {
    let mut pair = agreed(&every_use());
    let before = in_use(&pair.seen(0));
    let now = pair.now().instant;
    pair.ends[0].sap.begin_epoch(now);
    pair.connect(0);
    pair.settle();
    let seen = pair.seen(0);
    let after = in_use(&seen);
    assert_eq!(after.keys().copied().collect::<BTreeSet<_>>(), places());
    for (place, old) in &before {
        let at = |wanted: Seen| seen.iter().position(|event| *event == wanted);
        let made = at(Seen::InstallOutbound(*place, after[place])).expect("a successor");
        let broken = at(Seen::StopSending(*old, "replaced".into())).expect("an end");
        assert!(made < broken, "{place:?} was broken before it was made");
    }
    pair.pass(Duration::from_secs(3));
    let [sender, receiver] = &pair.ends;
    assert_eq!(sender.keys_out, receiver.keys_in, "what was replaced is gone at both ends");
    assert_eq!(sender.keys_out.len(), places().len());
}

#[test]
fn a_use_that_is_withdrawn_goes_alone() {
    for gone in Use::ALL {
        let mut pair = agreed(&every_use());
        let mut seen = pair.seen(0);
        let before = in_use(&seen);
        let left: Vec<_> = every_use().into_iter().filter(|view| view.usage != gone).collect();
        let now = pair.now().instant;
        for end in &mut pair.ends {
            end.sap.set_segments(now, &left);
        }
        pair.pass(Duration::from_secs(6));
        seen.extend(pair.seen(0));
        let stays = before.into_iter().filter(|(place, _)| place.usage != gone);
        assert_eq!(in_use(&seen), stays.collect(), "without {gone}");
        assert_eq!(pair.ends[0].keys_out, pair.ends[1].keys_in);
    }
}

#[test]
fn every_use_ends_with_the_leases() {
    let mut pair = agreed(&every_use());
    pair.pass(Duration::from_secs(61));
    assert_eq!(in_use(&pair.seen(0)), BTreeMap::new());
    assert!(pair.ends[1].keys_in.is_empty());
}

#[test]
fn a_restarted_end_agrees_on_every_use_anew() {
    for who in [0, 1] {
        let mut pair = agreed(&every_use());
        let old: BTreeSet<_> = pair.ends[1].keys_in.values().cloned().collect();
        pair.clear();
        pair.restart(who, &every_use());
        pair.connect(0);
        pair.settle();
        let seen = pair.seen(0);
        let there = in_use(&seen);
        assert_eq!(there.keys().copied().collect::<BTreeSet<_>>(), places());
        let other = if who == 1 { seen } else { pair.seen(1) };
        let dropped = other.iter().filter(|event| match event {
            Seen::StopSending(_, cause) | Seen::RemoveInbound(_, cause, _) => {
                cause == "neighbour restarted"
            }
            _ => false,
        });
        assert_eq!(dropped.count(), places().len(), "the other end dropped all at once");
        let [sender, receiver] = &pair.ends;
        assert_eq!(sender.keys_out, receiver.keys_in);
        assert!(receiver.keys_in.values().all(|key| !old.contains(key)), "a key came back");
    }
}

#[test]
fn an_index_that_no_offer_can_name_is_left_out() {
    let mut pair = agreed(&[63, 64, 255].map(|index| relation(Use::Esp, 1, index, 1, 2, 1)));
    let there: Vec<_> = in_use(&pair.seen(0)).into_keys().map(|place| place.segment).collect();
    assert_eq!(there, [SegmentIndex(63)]);
}

/// Gives out what it was told to, and notes what comes back.
#[derive(Clone)]
struct Listed(Arc<Mutex<(Vec<SaSpi>, Vec<SaSpi>)>>);

impl AllocateSpi for Listed {
    fn allocate(&mut self) -> Option<SaSpi> {
        self.0.lock().unwrap().0.pop()
    }

    fn release(&mut self, spi: SaSpi) {
        self.0.lock().unwrap().1.push(spi);
    }
}

#[test]
fn key_ids_of_a_proof_that_agree_in_16_bits_are_not_given_out() {
    let [first, alike, other] = [0x1_2001, 0x2_2001, 0x2_2002].map(SaSpi);
    for (usage, second) in [(Use::Proof, other), (Use::Link, alike), (Use::Esp, alike)] {
        let segments = vec![relation(usage, 1, 0, 1, 2, 1)];
        let mut pair = Pair::new(&segments);
        let spis = Listed(Arc::new(Mutex::new((vec![other, alike, first], vec![]))));
        pair.ends[1] = end_with(pair.start, 2, 1, 1, segments, Box::new(spis.clone()));
        pair.renew_leases(1);
        pair.connect(0);
        pair.settle();
        let mut seen = pair.seen(0);
        assert_eq!(in_use(&seen), BTreeMap::from([(place_of(usage, 0), first)]));
        let now = pair.now().instant;
        pair.ends[0].sap.begin_epoch(now);
        pair.connect(0);
        pair.pass(Duration::from_secs(1));
        seen.extend(pair.seen(0));
        assert_eq!(in_use(&seen), BTreeMap::from([(place_of(usage, 0), second)]), "{usage}");
        let back = std::mem::take(&mut spis.0.lock().unwrap().1);
        let refused = if usage == Use::Proof { vec![alike] } else { vec![] };
        assert_eq!(back, refused, "the data plane never heard of it");
    }
}
