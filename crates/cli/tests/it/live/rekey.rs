//! Keys that change under traffic: by time, by packets and on demand, and nothing of it is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;

use ringmail_node::control::PinnedFlow;
use serde_json::Value;

use crate::live::load::{Numbered, Numbers};
use crate::live::programs::{Curl, Nginx};
use crate::live::reload::said;
use crate::live::world::{Setting, World, eventually, live};

const WWW: &str = "10.79.0.10:80";
const ELEMENTS: [&str; 4] = ["gateway", "sf1", "sf2", "egress"];

/// IP protocol number.
const UDP: u8 = 17;

fn campus(setting: Setting, profile: &str, limits: &str) -> World {
    let more = format!("\nprofile: {profile}\nlimits: {{{limits}}}\nlinks:\n");
    setting.with("\nlinks:\n", &more).up()
}

/// Numbers over path `inspected`.
fn numbers(world: &World, port: u16) -> Numbered {
    let source = SocketAddr::from(([10, 78, 0, 1], port));
    let destination = WWW.parse().expect("an address");
    let path = "inspected".to_owned();
    world.pin(PinnedFlow { path, source, destination, protocol: UDP });
    Numbered::start(world, ("gateway", source), ("www", destination))
}

/// The epochs of an element's keys, by neighbour.
fn epochs(world: &World, element: &str) -> BTreeMap<String, u32> {
    let epochs = world.status(element).epochs;
    epochs.into_iter().map(|of| (of.neighbour, of.epoch.unwrap_or(0))).collect()
}

fn spis(world: &World) -> BTreeSet<u32> {
    world.keys().iter().map(|key| key.sa_spi).collect()
}

/// Waits until these elements' keys have changed so many times with every neighbour.
fn await_epochs(world: &World, elements: &[&str], times: u32) {
    for element in elements {
        let before = epochs(world, element);
        assert!(!before.is_empty(), "{element} has neighbours");
        eventually("keys change", || {
            let now = epochs(world, element);
            before.iter().all(|(neighbour, epoch)| now[neighbour] >= epoch + times).then_some(())
        });
    }
}

fn nothing_is_lost(world: &World, numbers: &Numbers) {
    assert_eq!((numbers.came, numbers.repeated), (numbers.sent, 0), "{numbers:?}");
    for element in ELEMENTS {
        let drops = world.status(element).drops;
        assert!(drops.is_empty(), "{element} dropped {drops:?}");
        assert_eq!(world.restarts(element), 0);
    }
}

fn every_second(profile: &'static str) {
    live(|privilege| {
        let world = campus(Setting::new(privilege, "campus.yaml"), profile, "rekey_after_s: 1");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", &[7; 100_000]);
        let curl = Curl::new(&world, "client2");
        let numbers = numbers(&world, 7000);
        let replaced = |element| world.counter(element, "sap_associations_replaced");
        let before = ELEMENTS.map(replaced);
        // What sees no payload has no part in ESP.
        let agree = |element: &str| element != "sf1" || profile == "mpls-nsh";
        let agreeing: Vec<&str> = ELEMENTS.into_iter().filter(|of| agree(of)).collect();
        for _ in 0..5 {
            await_epochs(&world, &agreeing, 1);
            // What travels back changes its keys, too.
            assert_eq!(curl.get("/page", &[]).verdict, "2 200");
        }
        let numbers = numbers.stop();
        eprintln!("{profile}: {numbers:?}, epochs {:?}", epochs(&world, "gateway"));
        nothing_is_lost(&world, &numbers);
        assert!(numbers.sent > 1000);
        for (element, before) in ELEMENTS.into_iter().zip(before) {
            assert!(!agree(element) || replaced(element) >= before + 5, "{element}");
            let ages = world.status(element).epochs.into_iter().map(|of| of.age_s);
            assert!(ages.flatten().all(|age_s| (0.0..60.0).contains(&age_s)), "{element}");
        }
    });
}

#[test]
fn no_number_is_lost_while_all_keys_change_every_second() {
    every_second("mpls-nsh");
}

#[test]
fn no_number_is_lost_while_keys_of_esp_change_every_second() {
    every_second("mpls");
}

#[test]
fn keys_change_after_so_many_packets() {
    live(|privilege| {
        let setting = Setting::new(privilege, "campus.yaml");
        let world = campus(setting, "mpls-nsh", "rekey_after_packets: 1024");
        let before = epochs(&world, "gateway");
        let numbers = numbers(&world, 7000);
        eventually("the gateway's keys change twice", || {
            let now = epochs(&world, "gateway");
            let changed = before.iter().any(|(neighbour, epoch)| now[neighbour] >= epoch + 2);
            changed.then_some(())
        });
        nothing_is_lost(&world, &numbers.stop());
    });
}

fn rekey(world: &World, elements: &[&str]) -> Value {
    let output = world.ringmail(&[&["rekey"], elements, &["--output", "json"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn keys_change_when_somebody_asks() {
    live(|privilege| {
        let setting = Setting::new(privilege, "campus.yaml");
        let world = campus(setting, "mpls", "rekey_after_s: 600");
        let first = spis(&world);
        assert_eq!(first.len(), 6, "one for each segment");
        let numbers = numbers(&world, 7000);
        let said_all = rekey(&world, &[]);
        assert_eq!(said_all["schema"], "ringmail.rekey/1");
        assert_eq!(said_all["associations"], 6, "{said_all}");
        // What the command waited for: nothing is sealed under an earlier key any more.
        let second: BTreeSet<u32> = &spis(&world) - &first;
        assert!(second.len() >= 6, "{second:?}");
        let (at_gateway, at_sf2) = (epochs(&world, "gateway"), epochs(&world, "sf2"));
        // Two segments end at the inspection, two begin there; those from end to end stay.
        let said_one = rekey(&world, &["sf2"]);
        assert_eq!(said_one["associations"], 4, "{said_one}");
        assert!(epochs(&world, "sf2").iter().all(|(name, epoch)| *epoch > at_sf2[name]));
        assert_eq!(epochs(&world, "gateway")["egress"], at_gateway["egress"]);
        eventually("numbers travel", || {
            (world.counter("egress", "opened_packets") > 300).then_some(())
        });
        nothing_is_lost(&world, &numbers.stop());

        let unknown = world.ringmail(&["rekey", "sf9"]);
        assert_eq!(unknown.status.code(), Some(1));
        let text = said(&unknown);
        assert!(text.contains("no element `sf9`") && text.contains("keys are as"), "{text}");
    });
}

#[test]
fn a_neighbour_that_does_not_answer_is_named_and_old_keys_go_on() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let held = world.hold("sf2");
        let output = world.ringmail(&["rekey", "gateway"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let text = said(&output);
        assert!(text.contains("gateway and sf2 are not in use in time"), "{text}");
        assert!(text.contains("gateway  egress  epoch 2"), "{text}");
        drop(held);
        // The keys of before are still good, and soon there are new ones.
        let numbers = numbers(&world, 7000);
        eventually("the inspection has new keys", || {
            (epochs(&world, "sf2")["gateway"] >= 2).then_some(())
        });
        nothing_is_lost(&world, &numbers.stop());
    });
}

/// All that a process can read and write, looked through for these bytes.
fn holds(pid: u32, wanted: &[Vec<u8>]) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let mut found = 0;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(rights)) = (fields.next(), fields.next()) else { continue };
        let Some((from, to)) = range.split_once('-') else { continue };
        let at = |text: &str| u64::from_str_radix(text, 16).expect("an address");
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = (at(from), at(to));
        let mut bytes = vec![0; usize::try_from(to - from).expect("a length")];
        // A mapping may have gone meanwhile, and some cannot be read.
        let read = memory.seek(SeekFrom::Start(from)).and_then(|_| memory.read_exact(&mut bytes));
        if read.is_err() {
            continue;
        }
        let begins: BTreeSet<[u8; 8]> =
            wanted.iter().filter_map(|key| key.first_chunk().copied()).collect();
        for at in 0..bytes.len().saturating_sub(16) {
            let Some(begin) = bytes[at..].first_chunk::<8>() else { break };
            if begins.contains(begin) && wanted.iter().any(|key| bytes[at..].starts_with(key)) {
                found += 1;
            }
        }
    }
    found
}

/// Whoever takes an element over later finds nothing that opens what was recorded before.
#[test]
fn keys_of_an_epoch_that_is_over_are_gone_from_memory() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client2");
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
        let keys: Vec<Vec<u8>> =
            world.keys().iter().map(|key| key.key_and_salt.danger_bytes()[..16].to_vec()).collect();
        let old = spis(&world);
        let copies = || ELEMENTS.map(|element| (element, holds(world.pid(element), &keys)));
        let [gateway, _, sf2, egress] = copies();
        for (element, copies) in [gateway, sf2, egress] {
            assert!(copies > 0, "{element} works with keys, so they are there");
        }
        rekey(&world, &[]);
        eventually("the grace is over", || spis(&world).is_disjoint(&old).then_some(()));
        // The workers have more to do than this.
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
        eventually("nobody holds the old keys", || {
            copies().iter().all(|(_, copies)| *copies == 0).then_some(())
        });
    });
}
