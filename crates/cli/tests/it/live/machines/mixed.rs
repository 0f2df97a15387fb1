//! Machines of two builds, side by side.

use std::path::PathBuf;

use serde_json::Value;

use super::{Block, Machines, chapter, command};
use crate::live::world::{eventually, live};

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
