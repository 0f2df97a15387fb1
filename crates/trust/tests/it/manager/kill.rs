//! Killed at any moment, the manager comes back whole, and no certificate is out that is not in its log.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ringmail_trust::manager::{Service, Settings, bound};
use ringmail_trust::{ElementKey, EmbeddedCa};
use ringmail_trust_core::manager::audit::{Act, Walk};
use ringmail_trust_core::manager::{Serial, Subject, Word};

use super::harness::{Believer, POLICY, World, evidence, public_key, request};
use crate::harness::name;

/// Started by the tests below as a process of its own: issues, revokes and recovers until it is killed. It says what it
/// hands out, as a server would.
#[test]
#[ignore = "not a test: the process that the next tests kill"]
fn child() {
    let place = std::env::var_os("RINGMAIL_MANAGER_CHILD").expect("the tests below say where");
    let place = std::path::PathBuf::from(place);
    let service = Service::open(Settings {
        dir: place.join("manager"),
        ca: Arc::new(EmbeddedCa::open(&place.join("ca")).unwrap()),
        appraiser: Arc::new(Believer),
        clock: Settings::system_clock(),
    })
    .unwrap();
    service.set_policy("the child", POLICY).unwrap();
    let h1 = name("h1");
    let (host, sf1) = (Subject::host(h1.clone()), name("sf1"));
    let key = b"the key of h1";
    if service.hosts().unwrap().is_empty() {
        let token = service.token(&h1, Duration::from_secs(60)).unwrap();
        let secret = token.danger_secret();
        service.begin_enrolment(&h1, secret, key).unwrap();
        let agent = ElementKey::generate().unwrap();
        service.enrol(&h1, secret, key, &request(&agent)).unwrap();
    }
    let mut out = std::io::stdout();
    for round in 0_u32.. {
        let hosts_key = ElementKey::generate().unwrap();
        let nonce = service.nonce(&h1).unwrap().0;
        let bad = (round % 5 == 4).then_some("a file that nobody knows");
        let answers = bound(&nonce, &public_key(&hosts_key));
        let shown = evidence(&answers, key, bad);
        let csr = request(&hosts_key);
        let attested = service.host_evidence(&h1, &nonce, &shown, Some(&csr)).unwrap();
        if let Some(certified) = attested.certified {
            writeln!(out, "out {}", certified.serial).unwrap();
        }
        if bad.is_some() {
            writeln!(out, "revoked").unwrap();
        }
        // After a bad round, or after one that the last kill cut off.
        if !attested.judged.unwrap().takes_part {
            service.say("op", &host, Word::Recover, "").unwrap();
            continue;
        }
        let key_of_function = ElementKey::generate().unwrap();
        let nonce = service.nonce(&h1).unwrap().0;
        let (shown, csr) = (evidence(&nonce, key, None), request(&key_of_function));
        let attested = service.function_evidence(&sf1, &h1, &nonce, &shown, &csr).unwrap();
        if let Some(certified) = attested.certified {
            writeln!(out, "out {}", certified.serial).unwrap();
        }
    }
}

/// Kills so many managers, each somewhere in its work, and looks at what each left.
fn killed(rounds: usize) {
    let world = World::new();
    let mut out = BTreeSet::new();
    let mut seen: Option<ringmail_trust_core::manager::SignedHead> = None;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "manager::kill::child", "--nocapture"])
            .env("RINGMAIL_MANAGER_CHILD", world.place.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // So many answers, then somewhere within what comes next.
        for line in lines.by_ref().map(Result::unwrap).take(round * 7 % 23 + 2) {
            out.extend(line.strip_prefix("out ").map(str::to_owned));
        }
        std::thread::sleep(Duration::from_micros((round as u64 * 1_777) % 9_000));
        child.kill().unwrap();
        child.wait().unwrap();
        // What came out until the very end.
        for line in lines.map_while(Result::ok) {
            let serial = line.strip_prefix("out ").filter(|serial| serial.len() == 32);
            out.extend(serial.map(str::to_owned));
        }

        let service = Service::open(world.settings()).unwrap();
        if let Some(seen) = &seen {
            service.continues(seen).unwrap();
        }
        let head = service.head().unwrap();
        let (mut walk, mut issued) = (Walk::START, BTreeSet::new());
        while walk.next < head.head.size {
            for entry in service.entries(walk.next, 1000).unwrap() {
                if let Act::Issued(found) = walk.step(&entry).unwrap().act {
                    issued.insert(found.serial.to_string());
                }
            }
        }
        assert_eq!(walk.last, head.head.last);
        let missing: Vec<_> = out.difference(&issued).collect();
        assert!(missing.is_empty(), "round {round}: handed out and not in the log: {missing:?}");
        let path_key = world.ca.path_key();
        assert!(head.is_signed_by(&path_key));
        for serial in out.iter().rev().take(3) {
            let serial: Serial = serial.parse().unwrap();
            let receipt = service.receipt(&serial).unwrap().unwrap();
            let entry = ringmail_trust_core::manager::audit::Entry::decode(&receipt.entry).unwrap();
            let Act::Issued(issued) = entry.act else { panic!("{entry:?}") };
            receipt.check(&path_key, &issued.certificate).unwrap();
        }
        seen = Some(head);
    }
    assert!(out.len() >= rounds, "{} handed out in {rounds} rounds", out.len());
}

#[test]
fn a_killed_manager_comes_back_with_everything_that_it_handed_out() {
    killed(5);
}

#[test]
#[ignore = "takes minutes: the same fifty times"]
fn a_manager_killed_fifty_times_comes_back_with_everything_that_it_handed_out() {
    killed(50);
}
