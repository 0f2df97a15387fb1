//! Machines of two builds, side by side.

use std::path::PathBuf;

use serde_json::Value;

use super::{Block, Machines, answer, chapter, command};
use crate::live::world::{eventually, live};

impl Machines {
    /// A reload while builds are mixed is taken, or refused by the element that cannot take it; so is one with --restart,
    /// which an older element does not know. Nobody hangs up, and traffic passes afterwards.
    fn change_while_mixed(&mut self, blocks: &[Block], old: &[&str]) {
        for (args, word) in [("", "forbidden"), ("--restart", "contraband")] {
            let before = if word == "contraband" { "forbidden" } else { "contraband" };
            self.must("one", &format!("sed -i s/{before}/{word}/ campus.yaml"));
            let changed = self.reload(&format!("campus.yaml {args}"));
            let said = format!(
                "{old:?}: {}{}",
                String::from_utf8_lossy(&changed.stdout),
                String::from_utf8_lossy(&changed.stderr)
            );
            assert!(changed.status.success(), "{said}\n{}", self.logs());
            for element in ["gateway", "sf1", "egress"] {
                assert_ne!(answer(&changed, element)["away"], true, "{said}");
            }
            self.come_again(blocks);
            assert_eq!(self.passes(word), (false, true), "{said}");
        }
        // What needs a new start is refused by name, unless its element may start again and knows how.
        self.must("one", "cp campus.yaml same.yaml; sed -i 's/mtu: 1500/mtu: 1400/' campus.yaml");
        let changed = self.reload("campus.yaml --restart");
        let said = String::from_utf8_lossy(&changed.stdout).into_owned();
        eprintln!("{old:?}: --restart: {}, {said}", changed.status);
        if !changed.status.success() {
            assert!(said.contains("upgrade it first"), "{said}");
        }
        self.come_again(blocks);
        self.must("one", "mv same.yaml campus.yaml");
        let changed = self.reload("campus.yaml --restart");
        let said = String::from_utf8_lossy(&changed.stdout).into_owned();
        assert!(changed.status.success() || said.contains("upgrade it first"), "{said}");
        self.come_again(blocks);
        self.fetches();
    }

    /// Starts services that have ended for a new version, as their service manager does, until all run what counts and
    /// traffic passes.
    fn come_again(&mut self, blocks: &[Block]) {
        eventually("all run what counts, and traffic passes", || {
            let names: Vec<String> = self.services.keys().cloned().collect();
            for name in names {
                let service = self.services.get_mut(&name).expect("it is there");
                if service.process.try_wait().expect("it is ours").is_some() {
                    let (machine, text) = command(blocks, &name);
                    self.start(&machine, &name, &text);
                }
            }
            let asked = self.run("one", "ringmail --output json status --state control");
            let status: Value = serde_json::from_slice(&asked.stdout).ok()?;
            let elements = status["elements"].as_array()?;
            let current = |element: &Value| element["version"]["progress"] == "current";
            let passes = || {
                let got = self.run("client", &Machines::curl("/", "--max-time 5"));
                got.status.success()
            };
            (elements.iter().all(current) && passes()).then_some(())
        });
    }
}

/// Services of one build among those of another, as while a domain is upgraded; then the others are upgraded where they
/// stand. RINGMAIL_OTHER names the folder of the other build's program.
#[test]
#[ignore = "needs another build: cargo xtask mixed"]
fn neighbours_of_two_builds() {
    let other = std::env::var_os("RINGMAIL_OTHER").expect("RINGMAIL_OTHER: cargo xtask mixed");
    let other = PathBuf::from(other);
    live(|privilege| {
        for old in [&["control"][..], &["hop"], &["gateway", "egress"], &["control", "hop"]] {
            eprintln!("of the other build: {old:?}");
            let blocks = chapter();
            let mut machines = Machines::new(privilege);
            machines.nginx();
            machines.elsewhere = old.iter().map(|n| ((*n).to_owned(), other.clone())).collect();
            let change = |block: &Block| block.option.as_ref().is_some_and(|(n, _)| n == "change");
            let before = blocks.iter().position(change).expect("the chapter changes the domain");
            blocks[..before].iter().for_each(|block| machines.follow(block));
            machines.fetches();
            assert_eq!(machines.passes("contraband"), (false, true));
            machines.change_while_mixed(&blocks, old);
            // Each is upgraded in its place: what it kept on disk is taken over.
            for name in old {
                machines.services.get_mut(*name).expect("it runs").kill();
                machines.elsewhere.remove(*name);
                let (machine, text) = command(&blocks, name);
                machines.start(&machine, name, &text);
            }
            eventually("traffic passes after the upgrade", || {
                machines.check_alive();
                let got = machines.run("client", &Machines::curl("/", "--max-time 5"));
                got.status.success().then_some(())
            });
            assert_eq!(machines.passes("contraband"), (false, true));
            eventually("all are there again", || {
                let asked = machines.run("one", "ringmail --output json status --state control");
                let status: Value = serde_json::from_slice(&asked.stdout).ok()?;
                let elements = status["elements"].as_array()?;
                let current = |element: &Value| element["version"]["progress"] == "current";
                elements.iter().all(current).then_some(())
            });
            // And takes new versions from there.
            blocks[before..].iter().for_each(|block| machines.follow(block));
            eventually("the new version runs", || {
                (machines.passes("smuggled") == (false, true)).then_some(())
            });
        }
    });
}
