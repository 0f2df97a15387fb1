//! Two gateways that share an address: the commands of docs/manual/src/two-gateways.md, with keepalived; then the one that has
//! the address is killed, comes back, and the other stands still.

use std::io::Read;
use std::time::Instant;

use ringmail_node::topology::Privilege;
use rustix::process::{Pid, Signal, kill_process};

use super::{Machines, chapter_of, command};
use crate::live::world::{eventually, live};

/// What keepalived says of a machine that waits.
const BACKUP: &str = "Entering BACKUP STATE";

#[test]
fn the_standby_gateway_takes_over() {
    live(|privilege| {
        let mut machines = Machines::with_two_gateways(privilege);
        // Killed: connections through it end, new ones are served by the standby.
        let mut download = machines.download();
        machines.services.get_mut("gateway").expect("it runs").kill();
        machines.taken_over();
        machines.has_the_address("four");
        assert_eq!(machines.passes("contraband"), (false, true));
        let status = machines.status("four", "standby");
        let paths = status["elements"][0]["status"]["paths"].as_array().expect("paths");
        let of = |name: &str| paths.iter().find(|path| path["name"] == name).expect("a path");
        assert!(of("inspected-standby")["packets"].as_u64() > Some(0), "{status:#}");
        assert!(of("inspected-standby.return")["packets"].as_u64() > Some(0), "{status:#}");
        assert!(!paths.iter().any(|path| path["name"] == "inspected"), "{status:#}");
        let trace = machines.trace("inspected-standby");
        assert_eq!(trace["ways"][0]["hops"][0]["element"], "standby", "{trace:#}");
        // It lives no longer, and its client hears of that.
        download.stream.read_to_end(&mut download.got).expect("the pipe ends");
        assert!(!download.process.wait().expect("it is ours").success());

        // It comes back, and takes nothing away.
        machines.starts_gateway();
        machines.has_the_address("four");
        machines.fetches();

        // It stands still: its machine gives the address up.
        let id = machines.stop("standby");
        machines.taken_over();
        machines.has_the_address("one");
        assert_eq!(machines.passes("contraband"), (false, true));
        let answer = machines.run("four", "ringmail health --state standby");
        assert_eq!(answer.status.code(), Some(1), "{answer:?}");
        kill_process(id, Signal::CONT).expect("it is ours");
    });
}

/// `RINGMAIL_TAKEOVERS=10 cargo test --test it -- --ignored --nocapture how_long_until_the_standby_serves`
#[test]
#[ignore = "it measures; it decides nothing"]
fn how_long_until_the_standby_serves() {
    live(|privilege| {
        let rounds = std::env::var("RINGMAIL_TAKEOVERS").ok().and_then(|text| text.parse().ok());
        let mut machines = Machines::with_two_gateways(privilege);
        let (mut killed, mut stopped) = (Vec::new(), Vec::new());
        for _ in 0..rounds.unwrap_or(5) {
            machines.services.get_mut("gateway").expect("it runs").kill();
            killed.push(machines.taken_over());
            machines.has_the_address("four");
            machines.starts_gateway();
            let backs = machines.backs("keepalived-four");
            let id = machines.stop("standby");
            stopped.push(machines.taken_over());
            machines.has_the_address("one");
            kill_process(id, Signal::CONT).expect("it is ours");
            eventually("the standby is there again", || {
                (machines.backs("keepalived-four") > backs).then_some(())
            });
        }
        for (how, mut times) in [("killed", killed), ("stopped", stopped)] {
            times.sort_by(f64::total_cmp);
            eprintln!("{how}: median {:.2} s of {times:.2?}", times[times.len() / 2]);
        }
    });
}

impl Machines {
    /// The machines of the manual with a second gateway; the first has the address.
    fn with_two_gateways(privilege: Privilege) -> Machines {
        let (mut machines, _) = Machines::running(privilege);
        for block in &chapter_of("two-gateways.md") {
            machines.follow(block);
            if block.option.as_ref().is_some_and(|(_, name)| name == "keepalived.conf") {
                machines.points_at_its_gateway("one", "gateway");
            }
            if block.text.starts_with("sed -i -e") {
                machines.points_at_its_gateway("four", "standby");
            }
            if block.option.as_ref().is_some_and(|(_, name)| name == "keepalived-one") {
                machines.has_the_address("one");
            }
        }
        machines.await_log("keepalived-four", BACKUP, || false);
        machines.has_the_address("one");
        machines.fetches();
        machines
    }

    /// The first gateway is there again, and its keepalived knows.
    fn starts_gateway(&mut self) {
        let backs = self.backs("keepalived-one");
        let (machine, text) = command(&chapter_of("three-machines.md"), "gateway");
        self.start(&machine, "gateway", &text);
        eventually("the gateway is healthy again", || {
            self.check_alive();
            self.run("one", "ringmail health --state gateway").status.success().then_some(())
        });
        eventually("keepalived takes it back", || {
            (self.backs("keepalived-one") > backs).then_some(())
        });
    }

    /// How often a machine became the one in waiting.
    fn backs(&self, keepalived: &str) -> usize {
        self.count(keepalived, BACKUP)
    }

    fn stop(&self, service: &str) -> Pid {
        let id = Pid::from_child(&self.services[service].process);
        kill_process(id, Signal::STOP).expect("it is ours");
        id
    }
    /// The paths in the chapter are those of an installed package.
    fn points_at_its_gateway(&self, machine: &str, state: &str) {
        let file = self.folder(machine).join("keepalived.conf");
        let text = std::fs::read_to_string(&file).expect("the chapter writes it");
        let own = self.folder(machine).join(state);
        let mut text = text
            // Where a build stands, others than root may write.
            .replace("    enable_script_security\n", "")
            .replace("/usr/bin/ringmail", env!("CARGO_BIN_EXE_ringmail"));
        for elsewhere in
            ["/var/lib/private/ringmail/gateway".into(), self.folder("one").join("gateway")]
        {
            text = text.replace(&*elsewhere.to_string_lossy(), &own.to_string_lossy());
        }
        std::fs::write(&file, text).expect("a file");
    }

    fn has_the_address(&self, machine: &str) {
        eventually(&format!("{machine} has the address"), || {
            let shown = self.must(machine, "ip -brief address show dev eth1");
            shown.contains("192.0.2.1/24").then_some(())
        });
    }

    /// Waits until a new connection is served; how long that took, in seconds.
    fn taken_over(&self) -> f64 {
        let since = Instant::now();
        eventually("new connections are served", || {
            let got = self.run("client", &Machines::curl("/", "--max-time 0.5"));
            got.status.success().then_some(())
        });
        since.elapsed().as_secs_f64()
    }
}
