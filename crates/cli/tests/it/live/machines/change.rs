//! A domain on several machines changes while connections run through it: none is lost, and no element ends unless an
//! operator lets it.

use std::path::Path;
use std::time::Instant;

use super::{Machines, answer, command, element};
use crate::live::world::{eventually, live};

impl Machines {
    /// Writes `new` in the place of `old` into the domain file, and reloads it; what it says as JSON.
    fn change(&self, (old, new): (&str, &str), args: &str) -> std::process::Output {
        let file = self.folder("one").join("campus.yaml");
        let text = std::fs::read_to_string(&file).expect("the domain file");
        assert!(text.contains(old), "`{old}` is not in the file");
        std::fs::write(&file, text.replace(old, new)).expect("a file");
        self.reload(&format!("campus.yaml {args}"))
    }

    pub(super) fn changes(&self, change: (&str, &str)) -> std::process::Output {
        let output = self.change(change, "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{change:?}: {said}\n{}", self.logs());
        output
    }

    /// The status by which the gateway answers a request of this method.
    fn answered(&self, method: &str) -> String {
        let curl = Machines::curl(
            "/",
            &format!("--max-time 10 -X {method} -o /dev/null -w '%{{http_code}}'"),
        );
        let output = self.run("client", &curl.replace("--fail ", ""));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Lets a service end by SIGTERM.
    fn terminate(&self, name: &str) {
        let id = self.services[name].process.id();
        self.must("one", &format!("kill -TERM {id}"));
    }

    /// Waits until a service has ended by itself.
    fn await_end(&mut self, name: &str) -> std::process::ExitStatus {
        let process = &mut self.services.get_mut(name).expect("it was started").process;
        eventually(&format!("the end of {name}"), || process.try_wait().expect("it is ours"))
    }
}

#[test]
fn rules_patterns_paths_and_machines_change_and_no_connection_is_lost() {
    live(|privilege| {
        let (mut machines, blocks) = Machines::running(privilege);
        let mut downloads = vec![machines.download()];

        // What the inspection looks for.
        assert_eq!(machines.passes("contraband"), (false, true));
        machines.changes(("contraband", "smuggled"));
        machines.settled();
        assert_eq!(machines.passes("contraband"), (true, true));
        assert_eq!(machines.passes("smuggled"), (false, true));
        downloads.push(machines.download());

        // The rules.
        assert_eq!(machines.answered("PUT"), "405", "nginx does not know it");
        machines.changes(("when: {clients: [alice]}", "when: {clients: [alice], methods: [GET]}"));
        machines.settled();
        assert_eq!((&*machines.answered("PUT"), &*machines.answered("GET")), ("403", "200"));
        downloads.push(machines.download());

        // Another machine, before anything passes it, and then a path through it.
        machines.must("two", "ip addr add 198.18.0.4/24 dev eth0");
        for machine in ["one", "two", "three"] {
            machines.must(machine, "nft add element inet ringmail machines '{ 198.18.0.4 }'");
        }
        let function =
            "functions:\n  - {name: sf2, kind: forward, intrusive: true, address: 198.18.0.4}\n";
        let added = machines.changes(("functions:\n", function));
        assert_eq!(answer(&added, "sf2")["away"], true);
        machines.must("one", "ringmail ca token sf2 --dir ca > ../two/sf2.token");
        let sf2 = "ringmail -v hop --name sf2 --state sf2 --control 198.18.0.1 --token sf2.token";
        machines.start("two", "sf2", sf2);
        machines.settled();
        machines.changes(("hops: [sf1]", "hops: [sf1, sf2]"));
        machines.settled();
        assert_eq!(machines.passes("smuggled"), (false, true));
        let status = machines.status("two", "sf2");
        let passed = element(&status, "sf2")["status"]["paths"][0]["packets"].as_u64();
        assert!(passed.is_some_and(|packets| packets > 0), "{status}");
        downloads.push(machines.download());

        // Everything went on as it began, by the same processes.
        machines.check_alive();
        machines.finish_all(&mut downloads);

        // One that is away holds nobody up: the path through it is closed until it is back.
        machines.services.get_mut("sf2").expect("it runs").kill();
        let changed = machines.changes(("smuggled", "hidden"));
        assert_eq!(answer(&changed, "sf2")["away"], true, "{}", machines.logs());
        // Nor does anybody wait for keys with it.
        for name in ["gateway", "hop", "egress"] {
            assert_eq!(machines.count(name, "no keys within"), 0, "{}", machines.log(name));
        }
        machines.start("two", "sf2", sf2);
        machines.settled();
        eventually("the chain comes back", || {
            (machines.passes("hidden") == (false, true)).then_some(())
        });

        // One change after the other.
        let mut download = machines.download();
        let (began, words) = (Instant::now(), ["hidden", "concealed"]);
        for round in 0..10 {
            machines.changes((words[round % 2], words[(round + 1) % 2]));
            assert!(machines.passes("page").1);
        }
        eprintln!("10 changes and 20 requests in {:.1} s", began.elapsed().as_secs_f64());
        machines.settled();
        machines.check_alive();
        machines.finish(&mut download);

        // What cannot change in place is refused, and taken by a new start where an operator lets it.
        let mtu = ("mtu: 1500", "mtu: 1400");
        let refused = machines.change(mtu, "");
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stdout);
        assert!(said.contains("`links.mtu` cannot change"), "{said}");
        machines.check_alive();
        let allowed = machines.reload("campus.yaml --restart");
        assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
        for name in ["hop", "sf2", "egress", "gateway"] {
            machines.await_end(name);
            let (machine, text) = match name {
                "sf2" => ("two".to_owned(), sf2.to_owned()),
                name => command(&blocks, name),
            };
            machines.start(&machine, name, &text);
        }
        machines.settled();
        eventually("the chain comes back", || machines.passes("page").1.then_some(()));
        let inner = machines.must("three", "ip link show rm-inner");
        assert!(inner.contains("mtu 12"), "{inner}");

        // A gateway that is told to end lets what it carries end first.
        let mut download = machines.download();
        machines.terminate("gateway");
        eventually("it takes no more connections", || {
            let got = machines.run("client", &Machines::curl("/", "--max-time 2"));
            (got.status.code() == Some(7)).then_some(())
        });
        machines.finish(&mut download);
        assert!(machines.await_end("gateway").success());
    });
}

#[test]
fn what_was_reloaded_stays_over_a_restart_of_control() {
    live(|privilege| {
        let (mut machines, blocks) = Machines::running(privilege);
        machines.must("one", "sed 's/contraband/smuggled/' campus.yaml > other.yaml");
        assert!(machines.reload("other.yaml").status.success());
        machines.settled();
        let counts = |machines: &Machines| {
            machines.status("one", "control")["distribution"]["version"].as_u64()
        };
        let version = counts(&machines);
        machines.services.get_mut("control").expect("it runs").kill();
        let (machine, text) = command(&blocks, "control");
        machines.start(&machine, "control", &text);
        let socket = machines.folder("one").join("control/admin.sock");
        eventually("control is back", || Path::new(&socket).exists().then_some(()));
        machines.await_log("control", "took the place of this one", || false);
        machines.settled();
        assert_eq!(counts(&machines), version);
        assert_eq!(machines.passes("smuggled"), (false, true));
    });
}
