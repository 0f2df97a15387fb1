//! Another root takes the place of the old one on several machines, while a download runs: elements and listeners ask for
//! other certificates by themselves, and the old root goes when they have them.

use serde_json::Value;

use super::Machines;
use crate::live::world::{eventually, live};

impl Machines {
    fn rotate(&self, verb: &str) -> Value {
        let said = self.must("one", &format!("ringmail --output json ca --dir ca rotate {verb}"));
        serde_json::from_str(&said).expect("JSON")
    }

    /// What the old root is still believed for, as `kind/name`.
    fn waited_for(&self) -> Vec<String> {
        let status = self.rotate("status");
        let all = status["waits_for"].as_array().expect("a list").iter();
        let named = |held: &Value| {
            let text = |key: &str| held[key].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text("kind"), text("name"))
        };
        all.map(named).collect()
    }

    /// How many roots an element believes.
    fn believed(&self, machine: &str, state: &str) -> usize {
        let kept = self.folder(machine).join(state).join("identity.json");
        let kept: Value =
            serde_json::from_slice(&std::fs::read(kept).expect("it is kept")).expect("JSON");
        kept["roots"].as_array().map_or(0, Vec::len)
    }
}

#[test]
fn a_root_is_replaced_on_several_machines_while_a_download_runs() {
    live(|privilege| {
        let (mut machines, _) = Machines::running(privilege);
        let elements = [("one", "gateway"), ("two", "sf1"), ("three", "egress")];
        let mut download = machines.download();
        machines.rotate("begin");
        eventually("everybody believes both roots", || {
            let both = |(machine, state): &(&str, &str)| machines.believed(machine, state) == 2;
            elements.iter().all(both).then_some(())
        });
        // Clients are given both before the new one signs.
        machines.carry("scp ca/root.pem client:");
        machines.rotate("switch --early");
        // Elements, the listener and control ask for others; the client is for people to see to.
        eventually("only the client's is left", || {
            (machines.waited_for() == ["client/alice"]).then_some(())
        });
        let refused = machines.run("one", "ringmail ca --dir ca rotate finish");
        assert!(!refused.status.success(), "the client's still holds");
        machines.fetches();
        machines.must("one", "ringmail ca --dir ca client alice --force");
        for file in ["ca/root.pem", "ca/client/alice/cert.pem", "ca/client/alice/key.pem"] {
            machines.carry(&format!("scp {file} client:"));
        }
        machines.fetches();
        // Whoever came with what goes is cut off with it: this one ends first, and another begins.
        machines.finish(&mut download);
        let mut download = machines.download();
        machines.rotate("finish --early");
        eventually("everybody forgets the old root", || {
            let one = |(machine, state): &(&str, &str)| machines.believed(machine, state) == 1;
            elements.iter().all(one).then_some(())
        });
        machines.check_alive();
        eventually("the listener believes the new root alone, and traffic passes", || {
            machines.passes("page").1.then_some(())
        });
        // Under the new root alone a version is agreed on, too.
        machines.must("one", "sed -i 's/contraband/smuggled/' campus.yaml");
        let changed = machines.reload("campus.yaml");
        assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
        machines.settled();
        assert_eq!(machines.passes("smuggled"), (false, true));
        machines.finish(&mut download);
        // An operator may end a lone element and control over their sockets.
        for (machine, name, service) in [("two", "sf1", "hop"), ("one", "control", "control")] {
            let said = machines.must(machine, &format!("ringmail down --state {name}"));
            assert_eq!(said, "campus.example is down\n");
            let process = &mut machines.services.get_mut(service).expect("it ran").process;
            assert!(process.try_wait().expect("it is ours").is_some_and(|end| end.success()));
        }
    });
}
