//! Metadata: who is granted it reads it, nobody else can, and what was changed or moved opens nowhere
//! (`docs/nsh.md`, "Metadata").

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ringmail_dataplane::function::FunctionCounter;
use ringmail_dataplane::{Action, DropReason, Function, FunctionBatch, Verdict};
use ringmail_model::metadata::{Facts, Kind, Kinds};
use ringmail_model::nsh::Context;
use ringmail_model::{PathId, SaSpi};

use super::insider::passed_on;
use super::{forward, header_at};
use crate::packets;
use crate::testbed::{Chain, FORWARD, Frame, Position, RETURN, Served, Wire};

const ALICE: &str = "spiffe://campus.example/client/alice";
const IDENTITY: Kinds = Kinds::only(Kind::Identity);
const PORTS: Kinds = Kinds::only(Kind::Ports);

/// A function that writes down what it is told of each packet, and stops those that say so.
#[derive(Debug, Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

impl Function for Listener {
    fn handle_batch(&mut self, _now: Instant, packets: &mut FunctionBatch<'_>) {
        for nth in 0..packets.len() {
            let said = packets.metadata(nth).map(|said| {
                let identity = said.identity().map(|identity| identity.to_string());
                let ports = said.ports().map(|p| format!("{} > {}", p.source, p.destination));
                format!("{} {}", identity.unwrap_or_default(), ports.unwrap_or_default())
            });
            self.0.lock().unwrap().push(said.unwrap_or_else(|| "nothing".to_owned()));
            if packets.packet(nth).ends_with(b"stop") {
                packets.set_action(nth, Action::Reset { rule: 0 });
            }
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn counters(&self) -> Vec<FunctionCounter> {
        vec![]
    }
}

/// A chain whose functions write down what they are told. `told`: the path, the reader's place on it, what.
fn listening(
    wire: Wire,
    granted: &[Position],
    told: &[(PathId, u8, Kinds)],
    intrusive: &[bool],
) -> (Chain, Vec<Arc<Mutex<Vec<String>>>>) {
    let heard: Vec<Arc<Mutex<Vec<String>>>> = intrusive.iter().map(|_| Arc::default()).collect();
    let functions: Vec<Served> = intrusive
        .iter()
        .zip(&heard)
        .map(|(opens, heard)| (*opens, Box::new(Listener(Arc::clone(heard))) as _))
        .collect();
    let mut chain = Chain::telling(wire, granted, told, functions);
    chain.gateway.pin(packets::flow(), FORWARD).expect("room");
    chain.gateway.tell(packets::flow(), &alice()).expect("room");
    (chain, heard)
}

fn alice() -> Facts {
    let mut facts = Facts::NONE;
    facts.set_identity(ALICE);
    facts.set_tenant("physics");
    facts
}

fn heard(by: &Arc<Mutex<Vec<String>>>) -> Vec<String> {
    std::mem::take(&mut by.lock().unwrap())
}

/// Where the headers of metadata are on a frame of this path, from the beginning of its NSH.
fn places(chain: &mut Chain, path: PathId) -> Vec<Range<usize>> {
    let state = chain.paths(0).get(path).expect("the path");
    let layout = &state.config.nsh.as_ref().expect("a header").layout;
    let metadata = layout.contexts().filter(|(context, _)| *context == Context::Metadata);
    metadata.map(|(_, range)| range).collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn each_function_is_told_what_it_is_granted_and_the_others_nothing() {
    for wire in Wire::WITH_NSH {
        for intrusive in [[true, true, true], [false, false, false], [true, false, true]] {
            let told = [(FORWARD, 1, IDENTITY), (FORWARD, 3, PORTS)];
            let (mut chain, by) = listening(wire, &[], &told, &intrusive);
            let request = packets::tcp(b"hello");
            for _ in 0..3 {
                assert_eq!(chain.forward(&request).as_ref(), Ok(&request), "{intrusive:?}");
            }
            assert_eq!(heard(&by[0]), [format!("{ALICE} ").as_str(); 3]);
            assert_eq!(heard(&by[1]), ["nothing"; 3]);
            assert_eq!(heard(&by[2]), [" 40000 > 80"; 3]);
        }
    }
}

/// What was opened here is not there any more behind here, and no link carries it in the clear.
#[test]
fn no_link_carries_what_is_said_in_the_clear() {
    let said = IDENTITY.or(PORTS).or(Kinds::only(Kind::Tenant));
    let told = [(FORWARD, 2, said), (FORWARD, 4, PORTS)];
    let (mut chain, by) = listening(Wire::MplsNsh, &[], &told, &[true, false, true]);
    let mut frame = chain.enter(&packets::tcp(b"hello")).expect("a frame");
    loop {
        for text in ["alice", "campus", "physics"] {
            assert!(!contains(&frame.bytes, text), "from {} to {}", frame.from, frame.to);
        }
        match chain.step(&frame).frame {
            Some(next) => frame = next,
            None => break,
        }
    }
    assert_eq!(heard(&by[1]), [format!("{ALICE} 40000 > 80")]);
    // The reader's own header is empty behind it, the other still there.
    let places = places(&mut chain, FORWARD);
    let nsh = &frame.bytes[header_at(&frame)..];
    assert!(nsh[places[0].clone()].iter().all(|byte| *byte == 0));
    assert!(nsh[places[1].clone()].iter().any(|byte| *byte != 0));
}

/// Of two flows nothing is mixed up, whatever goes in between, and a flow of which nothing is known says only its ports.
#[test]
fn what_is_said_is_of_the_packets_own_flow() {
    let both = IDENTITY.or(PORTS);
    let (mut chain, by) = listening(Wire::MplsNsh, &[], &[(FORWARD, 1, both)], &[true]);
    let other = ringmail_packet::flow::FlowKey { src_port: 40_001, ..packets::flow() };
    chain.gateway.pin(other, FORWARD).expect("room");
    let packet =
        |flow| packets::tcp_between(flow, ringmail_packet::tcp::Flags::ACK, 1, 1, b"hello");
    assert!(chain.forward(&packet(other)).is_ok());
    assert!(chain.forward(&packet(packets::flow())).is_ok());
    assert_eq!(heard(&by[0]), [" 40001 > 80".to_owned(), format!("{ALICE} 40000 > 80")]);
    // The flow is let go and given to somebody else.
    let mut bob = Facts::NONE;
    bob.set_identity("dns:bob.example");
    chain.gateway.tell(packets::flow(), &bob).expect("room");
    assert!(chain.forward(&packet(packets::flow())).is_ok());
    assert_eq!(heard(&by[0]), ["dns:bob.example 40000 > 80"]);
}

/// The egress passes on to the way back what it is granted, which it learns from packets of the flow.
#[test]
fn on_the_way_back_functions_hear_what_the_egress_learned() {
    let both = IDENTITY.or(PORTS);
    let told = [(FORWARD, 2, IDENTITY), (RETURN, 1, both)];
    let (mut chain, by) = listening(Wire::MplsNsh, &[], &told, &[true]);
    let (request, reply) = (packets::tcp(b"hello"), packets::tcp_reply(b"hi"));
    assert!(chain.forward(&request).is_ok());
    assert_eq!(chain.back(&reply).as_ref(), Ok(&reply));
    assert_eq!(heard(&by[0]), ["nothing".to_owned(), format!("{ALICE} 80 > 40000")]);
    // Somebody else has the same addresses and ports later.
    let mut bob = Facts::NONE;
    bob.set_identity("dns:bob.example");
    chain.gateway.tell(packets::flow(), &bob).expect("room");
    assert!(chain.forward(&request).is_ok() && chain.back(&reply).is_ok());
    assert_eq!(heard(&by[0]), ["nothing", "dns:bob.example 80 > 40000"]);
}

/// What one worker of an egress learned of a flow the others know, too: replies may come to any of them.
#[test]
fn other_workers_hear_what_one_learned() {
    let told = [(FORWARD, 1, IDENTITY), (RETURN, 1, IDENTITY)];
    let (mut chain, _) = listening(Wire::MplsNsh, &[], &told, &[]);
    chain.egress.share();
    assert!(chain.forward(&packets::tcp(b"hello")).is_ok());
    let learned = chain.egress.learned().to_vec();
    assert!(format!("{learned:?}").contains("identity"), "{learned:?}");
    assert!(chain.forward(&packets::tcp(b"hello")).is_ok());
    assert!(chain.egress.learned().is_empty(), "it is nothing new");
    let mut bob = Facts::NONE;
    bob.set_identity("dns:bob.example");
    chain.gateway.tell(packets::flow(), &bob).expect("room");
    assert!(chain.forward(&packets::tcp(b"hello")).is_ok());
    assert_eq!(chain.egress.learned().len(), 1, "it is somebody else's");
}

/// A reset that a hop makes says nothing, and readers behind it take that for nothing.
#[test]
fn who_begins_packets_without_being_asked_to_tell_says_nothing() {
    let told = [(FORWARD, 1, IDENTITY), (FORWARD, 2, IDENTITY)];
    let (mut chain, by) = listening(Wire::MplsNsh, &[1], &told, &[true, true]);
    let frame = chain.enter(&packets::tcp(b"stop")).expect("a frame");
    let made = chain.step(&frame).made;
    assert_eq!(heard(&by[0]), [format!("{ALICE} ")]);
    let there = made.into_iter().find(|frame| frame.to == 2).expect("a reset");
    assert!(chain.run(there).is_ok());
    assert_eq!(heard(&by[1]), ["nothing"]);
}

/// Without a key for each reader nothing begins: no packet goes unannounced.
#[test]
fn nothing_begins_before_there_are_keys_for_every_reader() {
    let told = [(FORWARD, 1, IDENTITY), (FORWARD, 2, IDENTITY)];
    let (mut chain, _) = listening(Wire::MplsNsh, &[], &told, &[true, true]);
    assert_eq!(chain.paths(0).get(FORWARD).expect("the path").is_keyed(), Some(true));
    let id = SaSpi(0x4000 + FORWARD.0 * 64 + 2);
    chain.header(0, FORWARD).remove_writing(2, id);
    assert_eq!(chain.paths(0).get(FORWARD).expect("the path").is_keyed(), Some(false));
    let refused = chain.enter(&packets::tcp(b"hello")).map(|frame| frame.to);
    assert_eq!(refused, Err(Verdict::Drop(DropReason::NoAssociation)));
    // The reader has forgotten its key.
    chain.key_metadata(FORWARD, 0, (2, 2), id, 0);
    chain.header(2, FORWARD).remove_reading(id);
    let refused = chain.forward(&packets::tcp(b"hello"));
    assert_eq!(refused, Err(Verdict::Drop(DropReason::MetadataUnknownKey)));
}

/// Keys of two epochs are taken side by side.
#[test]
fn a_new_key_takes_over_without_a_gap() {
    let (mut chain, by) = listening(Wire::MplsNsh, &[], &[(FORWARD, 1, IDENTITY)], &[true]);
    let old = chain.enter(&packets::tcp(b"hello")).expect("a frame");
    chain.key_metadata(FORWARD, 0, (1, 1), SaSpi(0x4999), 1);
    assert!(chain.forward(&packets::tcp(b"hello")).is_ok());
    assert!(chain.run(old).is_ok());
    assert_eq!(heard(&by[0]).len(), 2);
}

/// Two hops that do not open packets, the first of which is somebody's who changes what it passes on; the second is told.
fn insider() -> (Chain, Vec<Arc<Mutex<Vec<String>>>>) {
    let told = [(FORWARD, 2, IDENTITY), (FORWARD, 3, IDENTITY)];
    listening(Wire::MplsNsh, &[1], &told, &[false, false])
}

fn refused(chain: &mut Chain, frame: &Frame) -> Verdict {
    chain.step(frame).verdict
}

const WRONG: Verdict = Verdict::Drop(DropReason::MetadataWrong);

/// Every bit of key id, items and ICV, and of what it is bound to.
#[test]
fn metadata_that_an_element_before_the_reader_changed_does_not_open() {
    let (mut chain, by) = insider();
    let place = places(&mut chain, FORWARD)[0].clone();
    let frame = chain.enter(&packets::tcp(b"hello")).expect("a frame");
    let same = passed_on(&chain, &frame, |_, _| ());
    assert!(chain.step(&same).frame.is_some(), "the helper's frames are taken");
    assert_eq!(heard(&by[1]).len(), 1);
    for at in place.clone() {
        for bit in 0..8 {
            let changed = passed_on(&chain, &frame, |bytes, nsh| bytes[nsh + at] ^= 1 << bit);
            let verdict = refused(&mut chain, &changed);
            let expected = match at - place.start {
                ..4 => Verdict::Drop(DropReason::MetadataUnknownKey),
                _ => WRONG,
            };
            assert_eq!(verdict, expected, "byte {at}, bit {bit}");
        }
    }
    // The sequence number of the packet is part of what was sealed.
    let renumbered = passed_on(&chain, &frame, |bytes, nsh| bytes[nsh + 27] ^= 1);
    assert_eq!(refused(&mut chain, &renumbered), WRONG);
    assert!(heard(&by[1]).is_empty(), "no function sees any of it");
}

#[test]
fn metadata_of_another_packet_or_another_reader_does_not_open() {
    let (mut chain, by) = insider();
    let places = places(&mut chain, FORWARD);
    let (mine, others) = (places[0].clone(), places[1].clone());
    let one = chain.enter(&packets::tcp(b"one")).expect("a frame");
    let two = chain.enter(&packets::tcp(b"two")).expect("a frame");
    let nsh_of = |frame: &Frame| frame.bytes[header_at(frame)..].to_vec();
    let first = nsh_of(&one);
    let moved = passed_on(&chain, &two, |bytes, nsh| {
        bytes[nsh + mine.start..nsh + mine.end].copy_from_slice(&first[mine.clone()]);
    });
    assert_eq!(refused(&mut chain, &moved), WRONG);
    // Even with the other packet's number and origin it is not this payload's.
    let moved = passed_on(&chain, &two, |bytes, nsh| {
        bytes[nsh + 12..nsh + 28].copy_from_slice(&first[12..28]);
        bytes[nsh + mine.start..nsh + mine.end].copy_from_slice(&first[mine.clone()]);
    });
    assert_eq!(refused(&mut chain, &moved), WRONG);
    let swapped = passed_on(&chain, &one, |bytes, nsh| {
        bytes[nsh + mine.start..nsh + mine.end].copy_from_slice(&first[others.clone()]);
    });
    assert_eq!(refused(&mut chain, &swapped), Verdict::Drop(DropReason::MetadataUnknownKey));
    // Under its own key id, too.
    let swapped = passed_on(&chain, &one, |bytes, nsh| {
        let items = others.start + 4..others.end;
        bytes[nsh + mine.start + 4..nsh + mine.end].copy_from_slice(&first[items]);
    });
    assert_eq!(refused(&mut chain, &swapped), WRONG);
    assert!(heard(&by[1]).is_empty());
}

/// The same keys, the same packet, another path: the digest tells.
#[test]
fn metadata_of_another_path_does_not_open() {
    let told = [(FORWARD, 1, IDENTITY), (RETURN, 1, IDENTITY)];
    let (mut chain, _) = listening(Wire::MplsNsh, &[], &told, &[false]);
    assert!(chain.forward(&packets::tcp(b"hello")).is_ok());
    assert!(chain.back(&packets::tcp_reply(b"hi")).is_ok());
    // The hop has the same key for both, the writers' differ in the path that they name.
    let shared = SaSpi(0x4abc);
    chain.key_metadata(FORWARD, 0, (1, 1), shared, 0);
    let on_path = |path, writer, chain: &mut Chain| {
        chain.key_metadata_as(FORWARD, path, writer, (1, 1), shared);
    };
    on_path(RETURN, 2, &mut chain);
    assert!(chain.forward(&packets::tcp(b"hello")).is_ok());
    assert!(chain.back(&packets::tcp_reply(b"hi")).is_ok(), "one key serves both paths here");
    let digest = |chain: &mut Chain, position: Position, other: u8| {
        let mut config = chain.paths(position).get(RETURN).expect("the path").config.clone();
        config.nsh.as_mut().expect("a header").digest.0[0] = other;
        chain.paths(position).put(config).expect("room");
    };
    // The writer means another path than the reader.
    digest(&mut chain, 2, 9);
    chain.rekey(RETURN, &[2, 1, 0]);
    on_path(RETURN, 2, &mut chain);
    let refused = chain.back(&packets::tcp_reply(b"hi"));
    assert_eq!(refused, Err(WRONG));
}

#[test]
fn an_element_cannot_take_away_what_is_said_nor_say_it_in_anothers_name() {
    let (mut chain, by) = insider();
    let place = places(&mut chain, FORWARD)[0].clone();
    let frame = chain.enter(&packets::tcp(b"hello")).expect("a frame");
    let empty = |bytes: &mut [u8], nsh: usize| {
        bytes[nsh + place.start..nsh + place.end].fill(0);
    };
    let silent = passed_on(&chain, &frame, empty);
    let missing = Verdict::Drop(DropReason::MetadataMissing);
    assert_eq!(refused(&mut chain, &silent), missing);
    // As the beginner of the packet, which it may be, it may say nothing, and nothing else.
    let own = passed_on(&chain, &frame, |bytes, nsh| bytes[nsh + 13] = 1);
    assert_eq!(refused(&mut chain, &own), WRONG);
    let own = passed_on(&chain, &frame, |bytes, nsh| {
        bytes[nsh + 13] = 1;
        empty(bytes, nsh);
    });
    assert!(chain.step(&own).frame.is_some());
    assert_eq!(heard(&by[1]), ["nothing"]);
}

/// Where nobody is told anything, frames are what they were before there was metadata.
#[test]
fn without_grants_nothing_is_longer_or_otherwise() {
    let mut plain = Chain::on(Wire::MplsNsh, &[], vec![forward(true)]);
    let mut told = Chain::telling(Wire::MplsNsh, &[], &[], vec![forward(true)]);
    for chain in [&mut plain, &mut told] {
        chain.gateway.pin(packets::flow(), FORWARD).expect("room");
    }
    let packet = packets::tcp(b"hello");
    let [one, other] =
        [&mut plain, &mut told].map(|chain| chain.enter(&packet).expect("one").bytes);
    assert_eq!(one, other);
}
