//! Machines of two builds, side by side.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use super::{Block, Machines, answer, chapter, command};
use crate::live::world::{eventually, live};

impl Machines {
    /// A reload while builds are mixed is taken, or refused by the element that cannot take it; so is one with --restart,
    /// which an older element does not know. Nobody hangs up, and traffic passes afterwards.
    fn change_while_mixed(&mut self, blocks: &[Block], old: &[&str]) {
        let mut before = "contraband";
        for (args, word) in [("", "banned"), ("--restart", "barred")] {
            self.must("one", &format!("sed -i s/{before}/{word}/ campus.yaml"));
            let Some(changed) = self.reload_somehow(args) else {
                // One that gives a path that changes no other number changes no function.
                eventually("it is taken or refused", || {
                    self.revive(blocks);
                    let refused = self.log("control").contains("control is of an older build");
                    (refused || self.passes(word) == (false, true)).then_some(())
                });
                if self.passes(word) != (false, true) {
                    assert_eq!(self.passes(before), (false, true), "what ran goes on");
                    self.must("one", &format!("sed -i s/{word}/{before}/ campus.yaml"));
                    return;
                }
                before = word;
                continue;
            };
            let said = format!("{old:?}: {}", said(&changed));
            if !changed.status.success() {
                // It names who cannot take part in a change until it is upgraded.
                assert!(said.contains("of an older build"), "{said}\n{}", self.logs());
                self.must("one", &format!("sed -i s/{word}/{before}/ campus.yaml"));
                self.come_again(blocks, before);
                continue;
            }
            for element in ["gateway", "sf1", "egress"] {
                assert_ne!(answer(&changed, element)["away"], true, "{said}");
            }
            self.come_again(blocks, word);
            before = word;
        }
        // What needs a new start is refused by name, unless its element may start again and knows how.
        self.must("one", "cp campus.yaml same.yaml; sed -i 's/mtu: 1500/mtu: 1400/' campus.yaml");
        for file in ["campus.yaml", "same.yaml"] {
            self.must("one", &format!("cmp -s {file} campus.yaml || cp {file} campus.yaml"));
            if let Some(changed) = self.reload_somehow("--restart") {
                let said = said(&changed);
                eprintln!("{old:?}: --restart: {}", changed.status);
                assert!(changed.status.success() || said.contains("of an older build"), "{said}");
            }
            self.come_again(blocks, before);
        }
        // As the chapter goes on from.
        if before != "contraband" {
            self.must("one", &format!("sed -i s/{before}/contraband/ campus.yaml"));
            drop(self.reload_somehow(""));
            self.come_again(blocks, "contraband");
        }
    }

    /// Reloads the domain file; by a signal where control is of a build that cannot be asked.
    fn reload_somehow(&self, args: &str) -> Option<Output> {
        let changed = self.reload(&format!("campus.yaml {args}"));
        if self.folder("one").join("control/admin.sock").exists() {
            return Some(changed);
        }
        assert!(said(&changed).contains("nothing runs with control"), "{}", said(&changed));
        let id = self.services["control"].process.id();
        self.must("one", &format!("kill -HUP {id}"));
        None
    }

    /// Starts services that have ended for a new version, as their service manager does, until all run what counts and this
    /// word is stopped.
    fn come_again(&mut self, blocks: &[Block], word: &str) {
        eventually("all run what counts, and traffic passes", || {
            self.revive(blocks);
            (self.all_current() && self.passes(word) == (false, true)).then_some(())
        });
    }

    fn revive(&mut self, blocks: &[Block]) {
        let names: Vec<String> = self.services.keys().cloned().collect();
        for name in names {
            let service = self.services.get_mut(&name).expect("it is there");
            if service.process.try_wait().expect("it is ours").is_some() {
                let (machine, text) = command(blocks, &name);
                self.start(&machine, &name, &text);
            }
        }
    }

    /// Waits until control of this build has all elements at what counts.
    fn settled_again(&self) {
        let socket = self.folder("one").join("control/admin.sock");
        eventually("all are there again", || (socket.exists() && self.all_current()).then_some(()));
    }

    /// Whether everybody runs what counts, as far as control can be asked.
    fn all_current(&self) -> bool {
        if !self.folder("one").join("control/admin.sock").exists() {
            return true;
        }
        let asked = self.run("one", "ringmail --output json status --state control");
        let Ok(status) = serde_json::from_slice::<Value>(&asked.stdout) else { return false };
        let current = |element: &Value| element["version"]["progress"] == "current";
        status["elements"].as_array().is_some_and(|elements| elements.iter().all(current))
    }
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
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
            let mut blocks = chapter();
            // What the release before takes a file for that leaves the profile out.
            let named = "domain: campus.example\n";
            let profile = format!("{named}profile: mpls\n");
            blocks.iter_mut().for_each(|block| block.text = block.text.replace(named, &profile));
            assert!(blocks.iter().any(|block| block.text.contains(&profile)), "the domain file");
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
            machines.settled_again();
            // And takes new versions from there.
            blocks[before..].iter().for_each(|block| machines.follow(block));
            eventually("the new version runs", || {
                (machines.passes("smuggled") == (false, true)).then_some(())
            });
        }
    });
}
