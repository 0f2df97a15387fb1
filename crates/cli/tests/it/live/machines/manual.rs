//! The walkthrough of the manual to its end; then what it promises when something is gone.

use serde_json::Value;

use super::{Block, Machines, answer, command, element, ends_soon};
use crate::live::world::{eventually, live};

#[test]
fn the_three_machines_of_the_manual() {
    live(|privilege| {
        let (mut machines, blocks) = Machines::running(privilege);
        let change =
            |block: &Block| block.option.as_ref().is_some_and(|(name, _)| name == "change");
        let change = blocks.iter().position(change).expect("the chapter changes the domain");
        let after = &blocks[change..];
        let first = machines.folder("two").join("sf1/paths.json");
        let first = std::fs::read(&first).expect("the hop keeps its version");
        assert_eq!(machines.passes("contraband"), (false, true));

        // A new version while a download runs: the download goes on, and what begins is on the new one.
        let mut download = machines.download();
        after.iter().for_each(|block| machines.follow(block));
        // The gateway is the last to change; no element ends for it.
        eventually("the gateway runs the version", || {
            (machines.count("gateway", "runs the version") == 2).then_some(())
        });
        assert_eq!(machines.passes("smuggled"), (false, true));
        assert_eq!(machines.passes("contraband"), (true, true));
        machines.check_alive();
        let status = machines.status("one", "control");
        for element in status["elements"].as_array().expect("elements") {
            assert_eq!(element["version"]["progress"], "current", "{status}");
        }
        let sf1 = machines.status("two", "sf1");
        let running = &element(&sf1, "sf1")["status"]["version"];
        assert_eq!(*running, status["distribution"]["version"], "{sf1}");
        let metrics = machines.metrics("one", "control");
        assert!(metrics.contains("ringmail_element_current{element=\"sf1\"} 1"), "{metrics}");
        assert!(
            machines.metrics("three", "egress").contains("ringmail_element_up{element=\"egress\"")
        );
        assert_eq!(machines.asks("one", "control", "readyz").lines().last(), Some("200"));
        machines.finish(&mut download);

        // Control follows packets over the machines, there and back.
        let trace = machines.trace("inspected");
        assert_eq!(trace["probe"]["error"], Value::Null, "{trace:#}");
        for (way, names) in
            [["gateway", "sf1", "egress"], ["egress", "sf1", "gateway"]].iter().enumerate()
        {
            let hops = trace["ways"][way]["hops"].as_array().expect("hops");
            let found: Vec<_> = hops.iter().map(|hop| hop["element"].as_str()).collect();
            assert_eq!(found, names.map(Some), "{trace:#}");
            for hop in hops {
                // SYN, ACK and FIN at least, and each of them at each element.
                assert_eq!(hop["packets"], hops[0]["packets"], "{trace:#}");
                assert_eq!(hop["packets"], hop["passed"], "{trace:#}");
                assert!(hop["packets"].as_u64() >= Some(2 + u64::from(way == 0)), "{trace:#}");
                assert!(hop["inside_us"]["median"].as_f64() > Some(0.0), "{trace:#}");
                // The clocks of two machines are not compared.
                assert_eq!(hop["on_link_us"], Value::Null, "{trace:#}");
            }
        }
        let alone = machines.run("two", "ringmail trace inspected --state sf1");
        assert!(String::from_utf8_lossy(&alone.stderr).contains("asks control"), "{alone:?}");

        // A version that one element refuses changes nothing anywhere: the gateway has no such file.
        let id = machines.services["control"].process.id();
        let files = "s/server_names: .www.campus.example./&\\n          files: {chain: none.pem, key: none.pem}/";
        machines.must("one", "cp campus.yaml good.yaml");
        machines.must("one", &format!("sed -i '0,/server_names/{files}' campus.yaml"));
        machines.must("one", &format!("kill -HUP {id}"));
        machines.await_log("control", "the domain file is not distributed", || false);
        assert!(machines.log("control").contains("none.pem"), "{}", machines.log("control"));
        let status = machines.status("one", "control");
        let gateway = element(&status, "gateway");
        let refused = &gateway["version"]["refused"];
        assert!(refused["reason"].to_string().contains("none.pem"), "{status}");
        assert_eq!(gateway["version"]["active"], status["distribution"]["version"]);
        // The same of the element itself, and of who asks before trying.
        let own = machines.status("one", "gateway");
        let refused = &element(&own, "gateway")["version"]["refused"];
        assert!(refused["reason"].to_string().contains("none.pem"), "{own}");
        let tried = machines.reload("campus.yaml --dry-run");
        assert!(!tried.status.success());
        assert!(answer(&tried, "gateway")["nack"]["reason"].to_string().contains("none.pem"));
        machines.must("one", "mv good.yaml campus.yaml");
        let before = machines.status("one", "control");
        machines.must("one", "sed 's/smuggled/hidden/' campus.yaml > tried.yaml");
        assert!(machines.reload("tried.yaml --dry-run").status.success());
        let after = machines.status("one", "control");
        assert_eq!(before["distribution"], after["distribution"], "it was only tried");
        machines.fetches();

        let mut download = machines.download();
        // Control is killed: what runs goes on, and what begins, too.
        machines.services.get_mut("control").expect("it runs").kill();
        let mut control = machines.services.remove("control").expect("it ran");
        machines.fetches();
        machines.finish(&mut download);
        machines.fetches();

        // A hop restarted without control begins with what its disk holds.
        machines.services.get_mut("hop").expect("it runs").kill();
        let (machine, text) = command(&blocks, "hop");
        machines.start(&machine, "hop", &text);
        machines.await_log("hop", "begins with the version that ran last", || false);
        eventually("the chain comes back", || {
            machines.check_alive();
            let got = machines.run("client", &Machines::curl("/", "--max-time 2"));
            got.status.success().then_some(())
        });
        assert_eq!(machines.count("hop", "control has answered"), 0);

        // An old version on the hop's disk is not run: it waits for control.
        machines.services.get_mut("hop").expect("it runs").kill();
        std::fs::write(machines.folder("two").join("sf1/paths.json"), first).expect("a file");
        machines.start(&machine, "hop", &text);
        machines.await_log("hop", "does not hold", || false);
        assert!(machines.log("hop").contains("was seen before"), "{}", machines.log("hop"));
        assert!(!machines.run("client", &Machines::curl("/", "--max-time 2")).status.success());

        // Control is back: nothing changes for the others, and the hop gets what counts.
        drop(control.process.try_wait());
        let (machine, text) = command(&blocks, "control");
        machines.start(&machine, "control", &text);
        machines.await_log("hop", "runs the version", || false);
        eventually("the chain comes back", || {
            machines.check_alive();
            let got = machines.run("client", &Machines::curl("/", "--max-time 2"));
            got.status.success().then_some(())
        });
        machines.settled();
        // A listener's certificate that runs out is renewed without a new version.
        let version = |machines: &Machines| {
            machines.status("one", "control")["distribution"]["version"].clone()
        };
        let unchanged = version(&machines);
        machines.services.get_mut("gateway").expect("it runs").kill();
        let before = machines.shown();
        let kept = machines.folder("one").join("gateway/listeners.json");
        let text = std::fs::read_to_string(&kept).expect("the gateway keeps its certificates");
        std::fs::write(&kept, ends_soon(&text)).expect("a file");
        let (machine, text) = command(&blocks, "gateway");
        machines.start(&machine, "gateway", &text);
        machines.await_log("gateway", "shows renewed certificates", || false);
        eventually("the chain comes back", || {
            machines.check_alive();
            machines.passes("page").1.then_some(())
        });
        assert_ne!(machines.shown(), before);
        assert_eq!(version(&machines), unchanged, "no version went for it");

        // Who is revoked is hung up on; the others are not.
        machines.must("one", "ringmail ca revoke element/sf1 --dir ca");
        machines.await_log("hop", "the certificate was revoked", || false);
        machines.check_alive();
        // A trace names who cannot be asked, and waits for nobody.
        let trace = machines.trace("inspected");
        let unknown: Vec<_> = trace["ways"][0]["hops"]
            .as_array()
            .expect("hops")
            .iter()
            .map(|hop| hop["unknown"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(unknown, ["", "it is away", "what came of sf1 is not known"], "{trace:#}");
    });
}
