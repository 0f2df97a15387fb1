//! A function behind TAPs: a program of another language that opens them and copies frames.

use std::path::Path;
use std::process::Command;

use super::{Account, FUNCTION, attached, nothing_unmatched, serves};
use crate::live::programs::Curl;
use crate::live::world::{World, eventually, live};

fn has_carrier(world: &World, interface: &str) -> bool {
    let shown = world.run(FUNCTION, Command::new("ip").args(["-d", "link", "show", interface]));
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("tun type tap"), "{shown}");
    shown.contains("LOWER_UP")
}

#[test]
fn a_program_that_opens_its_interfaces_as_taps() {
    live(|privilege| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/live/attached");
        let program = folder.join("taps.py");
        let settings = format!(
            "      shape: bridge\n      interfaces: tap\n      run: [python3, {}]",
            program.display()
        );
        let world = attached(privilege, &settings).up();
        eventually("the program has opened both", || {
            ["in0", "out0"].iter().all(|tap| has_carrier(&world, tap)).then_some(())
        });
        serves(&world);
        let account = Account::settled(&world);
        assert!(account.sent_in > 200, "{account:?}");
        // The program reads packets as they travel, whatever they were on the cable.
        assert_eq!(account.sent_in, account.same + account.not_returned, "{account:?}");
        assert_eq!((account.rewritten, account.originated), (0, 0), "{account:?}");
        nothing_unmatched(&world);
    });
}

#[test]
fn nobody_at_the_taps_is_counted_and_not_waited_for() {
    live(|privilege| {
        let settings = "      shape: router\n      interfaces: tap";
        let world = attached(privilege, settings).up();
        let got = Curl::new(&world, "client1").get("/page", &["--max-time", "3"]);
        assert!(!got.verdict.ends_with("200"), "{}", got.said);
        let account = Account::settled(&world);
        assert!(account.sent_in > 0, "{account:?}");
        assert_eq!(account.not_returned, account.sent_in, "{account:?}");
        nothing_unmatched(&world);
        let shown = world.run(FUNCTION, Command::new("ip").args(["-br", "addr"]));
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("in0") && shown.contains("out0"), "{shown}");
        assert!(!shown.contains("169.254"), "the TAPs have no addresses: {shown}");
    });
}
