//! Epochs that are short, or asked for: how often they come, and when one is in use everywhere.

use std::time::Duration;

use ringmail_dataplane::sap::{Settled, Use};
use ringmail_model::Epoch;

use super::support::{Pair, Seen, relation, segment};

/// Connects as often as element 1 wants it, for so many seconds. How often that was.
fn connected_as_wanted(pair: &mut Pair, seconds: u64) -> usize {
    let mut connected = 0;
    for step in 0..seconds * 100 {
        pair.pass(Duration::from_millis(10));
        if step % 1000 == 0 {
            pair.renew_leases(0);
            pair.renew_leases(1);
        }
        if pair.seen(0).contains(&Seen::Dial) {
            pair.connect(0);
            pair.settle();
            connected += 1;
        }
    }
    connected
}

#[test]
fn h9_epochs_of_a_second_begin_every_second() {
    let mut pair = Pair::sending();
    let now = pair.now().instant;
    for end in &mut pair.ends {
        end.sap.set_epoch_lifetime(now, Duration::from_secs(1));
    }
    let connected = connected_as_wanted(&mut pair, 60);
    assert!((50..=60).contains(&connected), "{connected} epochs in 60 s");
    assert_eq!(pair.ends[0].sap.counters().associations_replaced, connected as u64);
    assert_eq!(pair.ends[0].keys_out.len(), 1);
    // The one in use, and those whose grace time is not over: two seconds.
    assert!((1..=4).contains(&pair.ends[1].keys_in.len()), "{:?}", pair.ends[1].keys_in.keys());
}

#[test]
fn h9_who_is_asked_with_the_other_lets_the_lower_id_dial() {
    let mut pair = Pair::sending();
    // A second after the session began either may dial.
    pair.pass(Duration::from_secs(2));
    pair.clear();
    let now = pair.now().instant;
    pair.ends.iter_mut().for_each(|end| end.sap.begin_epoch(now));
    pair.pass(Duration::from_millis(200));
    let dials = |pair: &mut Pair, who: usize| pair.seen(who).contains(&Seen::Dial);
    assert_eq!((dials(&mut pair, 0), dials(&mut pair, 1)), (true, false));
    pair.connect(0);
    pair.settle();
    pair.pass(Duration::from_secs(5));
    assert_eq!((dials(&mut pair, 0), dials(&mut pair, 1)), (false, false), "one handshake does");
}

#[test]
fn h9_the_higher_id_dials_alone_if_only_it_is_asked() {
    let mut pair = Pair::sending();
    pair.clear();
    // Its first dial would have been a second after the start.
    pair.pass(Duration::from_secs(2));
    let now = pair.now().instant;
    pair.ends[1].sap.begin_epoch(now);
    pair.pass(Duration::from_millis(250));
    assert!(pair.seen(1).contains(&Seen::Dial));
}

#[test]
fn an_epoch_is_settled_when_every_use_has_changed_and_nothing_is_sent_by_the_last() {
    let relations = [
        segment(1, 0, 1, 2, 2),
        relation(Use::Link, 1, 0, 1, 2, 2),
        relation(Use::Proof, 1, 0, 1, 2, 2),
        segment(2, 0, 2, 1, 1),
    ];
    let mut pair = Pair::new(&relations);
    assert_eq!(pair.ends[0].sap.settled(), None, "there is no session");
    pair.connect(0);
    pair.settle();
    // Two workers seal; codes and proofs have one key each.
    let all = |epoch| Some(Settled { epoch: Epoch(epoch), sending: 4, receiving: 1 });
    assert_eq!(pair.ends[0].sap.settled(), all(1));
    let of_the_other = Some(Settled { epoch: Epoch(1), sending: 1, receiving: 4 });
    assert_eq!(pair.ends[1].sap.settled(), of_the_other);

    pair.acks = false;
    pair.connect(0);
    pair.settle();
    assert_eq!(pair.ends[0].sap.epoch(), Some(Epoch(2)));
    assert_eq!(pair.ends[0].sap.settled(), None, "nothing is installed");
    let installing = |seen: &[Seen]| -> Vec<_> {
        let spi = |seen: &Seen| match seen {
            Seen::InstallInbound(_, spi) => Some(*spi),
            _ => None,
        };
        seen.iter().filter_map(spi).collect()
    };
    let (at_0, at_1) = (installing(&pair.seen(0)), installing(&pair.seen(1)));
    let (last, first) = (at_1[at_1.len() - 1], &at_1[at_1.len() - 4..at_1.len() - 1]);
    pair.ack_install(0, at_0[at_0.len() - 1]);
    for spi in first {
        pair.ack_install(1, *spi);
    }
    pair.settle();
    assert_eq!(pair.ends[0].sap.settled(), None, "one is still sent by the last epoch's");
    assert_eq!(pair.ends[1].sap.settled(), None);
    pair.ack_install(1, last);
    pair.settle();
    assert_eq!(pair.ends[0].sap.settled(), all(2));
    assert_eq!(pair.ends[1].sap.settled().map(|settled| settled.receiving), Some(4));
}
