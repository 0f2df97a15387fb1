//! A domain of two services on several machines that is reloaded, and whose control begins anew, while it carries traffic.
//!
//! ```text
//!                  ┌─ a1 ─ a2 ─┐            ┌─ a
//!   client ── one ─┤    two    ├─ three ────┤
//!                  └─ b1 ─ b2 ─┘            └─ b
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringmail_node::control::Blob;
use ringmail_node::topology::Privilege;
use ringmail_trust::EmbeddedCa;
use serde_json::Value;

use super::Machines;
use crate::live::load::{Load, Wanted, client_tls};
use crate::live::reload::{pattern, said, variant};
use crate::live::world::{eventually, live};

const TEXT: &str = include_str!("../domains/machines.yaml");

const CONTROL: &str =
    "ringmail -v control campus.yaml --ca ca --state control --listen 198.18.0.1:6638";

impl Machines {
    /// The machines with two services, and what is asked of them.
    fn with_two_services(privilege: Privilege) -> (Machines, Vec<Wanted>) {
        let mut machines = Machines::new(privilege);
        let mut files = Vec::new();
        for (seed, service) in ["a", "b"].into_iter().enumerate() {
            let dir = machines.folder("service").join(service);
            std::fs::create_dir(&dir).expect("a new folder");
            let (short, long) = (pattern(seed, 20_000), pattern(seed + 2, 4_000_000));
            std::fs::write(dir.join("short"), &*short).expect("a file");
            std::fs::write(dir.join("long"), &*long).expect("a file");
            let host = format!("{service}.campus.example");
            let file = |path, body: &Arc<Vec<u8>>, slow| Wanted {
                host: host.clone(),
                path,
                body: Arc::clone(body),
                slow,
            };
            files.extend((0..9).map(|_| file("/short", &short, false)));
            files.push(file("/long", &long, true));
        }
        machines.must("service", "ip addr add 10.79.0.20/24 dev eth0");
        machines.must("service", "ip route add 10.78.0.0/24 via 10.79.0.1");
        machines.must("three", "sysctl -q -w net.ipv4.ip_forward=1");
        for last in 11..15 {
            machines.must("two", &format!("ip addr add 198.18.0.{last}/24 dev eth0"));
        }
        machines.nginx_with(
            "server { listen 10.79.0.10:80; root a; } server { listen 10.79.0.20:80; root b; }",
        );
        std::fs::write(machines.folder("one").join("campus.yaml"), TEXT).expect("a file");
        machines.must("one", "ringmail ca init --domain campus.example --dir ca");
        machines.must("one", "ringmail ca client alice --dir ca");
        machines.start("one", "control", CONTROL);
        machines.await_control();
        let elements = [
            ("one", "gateway", "gateway"),
            ("two", "a1", "hop --name a1"),
            ("two", "a2", "hop --name a2"),
            ("two", "b1", "hop --name b1"),
            ("two", "b2", "hop --name b2"),
            ("three", "egress", "egress"),
        ];
        for (machine, name, verb) in elements {
            let token = machines.folder(machine).join(format!("{name}.token"));
            let token = token.display();
            machines.must("one", &format!("ringmail ca token {name} --dir ca > {token}"));
            let state = format!("--state {name} --control 198.18.0.1 --token {token}");
            machines.start(machine, name, &format!("ringmail -v {verb} {state}"));
        }
        machines.settled();
        (machines, files)
    }

    fn await_control(&self) {
        let socket = self.folder("one").join("control/admin.sock");
        eventually("control can be asked", || socket.exists().then_some(()));
    }

    /// This many connections, from the client's machine.
    fn load(&self, connections: usize, files: &[Wanted]) -> Load {
        let authority = EmbeddedCa::open(&self.folder("one").join("ca")).expect("the authority");
        let tls = client_tls(&authority, "alice");
        let address = "192.0.2.1:443".parse().expect("an address");
        Load::from(self.netns("client"), address, &tls, connections, files)
    }

    fn reloads(&self, text: &str) {
        std::fs::write(self.folder("one").join("next.yaml"), text).expect("a file");
        let output = self.reload("next.yaml");
        assert!(output.status.success(), "{}\n{}", said(&output), self.logs());
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let elements = report["elements"].as_array().expect("elements");
        assert!(elements.iter().all(|element| element["away"].is_null()), "{report}");
    }

    /// The end of each lease that an element keeps, by the path's digest.
    fn leases(&self, machine: &str, state: &str) -> BTreeMap<Vec<u8>, u64> {
        let file = self.folder(machine).join(state).join("leases.json");
        let kept = std::fs::read(file).unwrap_or_default();
        let blobs: Vec<Blob> = serde_json::from_slice(&kept).unwrap_or_default();
        // Element 2, digest 32, end 8 (docs/sap.md, "Leases").
        let lease = |Blob(bytes): &Blob| {
            let end = u64::from_be_bytes(*bytes.get(34..)?.first_chunk()?);
            Some((bytes.get(2..34)?.to_vec(), end))
        };
        blobs.iter().filter_map(lease).collect()
    }
}

/// Every connection checks each byte that it gets, and each function stops what is not its own. More of it:
/// `RINGMAIL_CONNECTIONS=1000 RINGMAIL_SECONDS=60`.
#[test]
fn reloads_under_load_lose_nothing_and_misroute_nothing_over_several_machines() {
    live(|privilege| {
        let wanted = |name: &str, usual: usize| {
            std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
        };
        let connections = wanted("RINGMAIL_CONNECTIONS", 50);
        let seconds = wanted("RINGMAIL_SECONDS", 6);
        let (mut machines, files) = Machines::with_two_services(privilege);
        let load = machines.load(connections, &files);
        let tally = Arc::clone(&load.tally);
        eventually("all connections are open", || {
            (tally.open.load(Ordering::Relaxed) as usize >= connections * 9 / 10).then_some(())
        });
        let until = Instant::now() + Duration::from_secs(seconds as u64);
        let (mut reloads, mut longest) = (0, Duration::ZERO);
        while Instant::now() < until {
            let began = Instant::now();
            machines.reloads(&variant(TEXT, reloads));
            longest = longest.max(began.elapsed());
            reloads += 1;
            std::thread::sleep(Duration::from_secs(2).saturating_sub(began.elapsed()));
        }
        let tally = load.stop();
        let lost = tally.lost.lock().expect("nobody panicked");
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (answers, wrong, made) =
            (count(&tally.answers), count(&tally.wrong), count(&tally.made));
        eprintln!(
            "{reloads} reloads of several machines in {seconds} s, the longest {:.2} s, under {connections} connections \
             ({made} made): {answers} answers, {} lost, {wrong} misrouted",
            longest.as_secs_f64(),
            lost.len()
        );
        assert!(lost.is_empty(), "{} lost: {:#?}", lost.len(), &lost[..lost.len().min(5)]);
        assert_eq!(wrong, 0, "answers of another service");
        assert!(reloads > 2 && answers > connections as u64, "{answers} answers");
        machines.check_alive();
        for function in ["a1", "a2", "b1", "b2"] {
            let metrics = machines.metrics("two", function);
            let of = |name: &str| {
                let lines = metrics.lines().filter(|line| line.starts_with(name));
                lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
            };
            assert_eq!(
                of("ringmail_dpi_alerts_packets_total"),
                0.0,
                "{function} saw what is not its own"
            );
            assert!(
                of("ringmail_dpi_tcp_packets_total") > 0.0,
                "{function} saw nothing: {metrics}"
            );
        }
    });
}

#[test]
fn what_drains_goes_on_over_a_restart_of_control() {
    live(|privilege| {
        let (mut machines, files) = Machines::with_two_services(privilege);
        let long: Vec<_> = files.iter().filter(|file| file.slow).cloned().collect();
        let names = ["a1", "b1", "egress", "gateway"].map(str::to_owned);
        let before = eventually("leases are kept", || {
            let leases = machines.leases_of_all();
            let has = |name: &String| leases.keys().any(|(other, _)| other == name);
            names.iter().all(has).then_some(leases)
        });
        let load = machines.load(4, &long);
        let tally = Arc::clone(&load.tally);
        eventually("all connections are open", || {
            (tally.open.load(Ordering::Relaxed) == 4).then_some(())
        });
        machines.reloads(&variant(TEXT, 1));
        // Everything that runs stands on paths that were taken out now.
        machines.services.get_mut("control").expect("it runs").kill();
        let ends = machines.leases_of_all();
        machines.start("one", "control", CONTROL);
        machines.await_control();
        eventually("paths that drain get new leases", || {
            let now = machines.leases_of_all();
            let renewed = |key: &&(String, Vec<u8>)| now.get(*key) > ends.get(*key);
            let drained = before.keys().filter(renewed).map(|(name, _)| name.clone());
            let drained: BTreeSet<_> = drained.collect();
            drained.iter().eq(&names).then_some(())
        });
        let tally = load.stop();
        let lost = tally.lost.lock().expect("nobody panicked");
        assert!(lost.is_empty(), "{lost:#?}\n{}", machines.logs());
        assert_eq!(tally.wrong.load(Ordering::Relaxed), 0);
        machines.check_alive();
    });
}

impl Machines {
    /// The end of each lease, by element and the path's digest.
    fn leases_of_all(&self) -> BTreeMap<(String, Vec<u8>), u64> {
        let mut all = BTreeMap::new();
        for (machine, name) in
            [("one", "gateway"), ("two", "a1"), ("two", "b1"), ("three", "egress")]
        {
            let leases = self.leases(machine, name).into_iter();
            all.extend(leases.map(|(digest, end)| ((name.to_owned(), digest), end)));
        }
        all
    }
}
