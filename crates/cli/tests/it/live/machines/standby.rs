//! Two gateways that share an address: the commands of docs/manual/src/two-gateways.md, with keepalived; then the one that has
//! the address is killed, comes back, and the other stands still.

use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{Machines, chapter_of, command};
use crate::live::world::{eventually, live};

#[test]
fn the_standby_gateway_takes_over() {
    live(|privilege| {
        let (mut machines, before) = Machines::running(privilege);
        let blocks = chapter_of("two-gateways.md");
        for block in &blocks {
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
        machines.await_log("keepalived-four", "Entering BACKUP STATE", || false);
        machines.has_the_address("one");
        machines.fetches();

        // Killed: connections through it end, new ones are served by the standby.
        let mut download = machines.download();
        let gateway = machines.services.get_mut("gateway").expect("it runs");
        gateway.kill();
        machines.taken_over("killed");
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
        // The client hears of the end from whoever has the address now.
        drop(download.stream);
        drop(download.process.kill());
        drop(download.process.wait());

        // It comes back, and takes nothing away.
        let (machine, text) = command(&before, "gateway");
        machines.start(&machine, "gateway", &text);
        eventually("the gateway is healthy again", || {
            machines.check_alive();
            machines.run("one", "ringmail health --state gateway").status.success().then_some(())
        });
        machines.await_log("keepalived-one", "(outside) Entering BACKUP STATE", || false);
        eventually("keepalived takes it back", || {
            (machines.count("keepalived-one", "Entering BACKUP STATE") >= 2).then_some(())
        });
        machines.has_the_address("four");
        machines.fetches();

        // It stands still: its machine gives the address up.
        let id = Pid::from_child(&machines.services["standby"].process);
        kill_process(id, Signal::STOP).expect("it is ours");
        machines.taken_over("stopped");
        machines.has_the_address("one");
        assert_eq!(machines.passes("contraband"), (false, true));
        let answer = machines.run("four", "ringmail health --state standby");
        assert_eq!(answer.status.code(), Some(1), "{answer:?}");
        kill_process(id, Signal::CONT).expect("it is ours");
    });
}

impl Machines {
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

    /// Waits until a new connection is served, and says how long that took.
    fn taken_over(&self, how: &str) {
        let since = Instant::now();
        eventually("new connections are served", || {
            let got = self.run("client", &Machines::curl("/", "--max-time 1"));
            got.status.success().then_some(())
        });
        eprintln!("{how}: new connections are served after {:.2} s", since.elapsed().as_secs_f64());
    }
}
