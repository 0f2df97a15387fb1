//! What differs for an element on a machine of its own: nobody makes its function's network, and a machine may be gone without
//! a word.

use super::{Machines, answer, command};
use crate::live::world::{eventually, live};

const SF2: &str = "ringmail -v hop --name sf2 --state sf2 --control 198.18.0.1 --token sf2.token";

#[test]
fn an_attached_function_is_served_where_its_interfaces_are() {
    live(|privilege| {
        let (mut machines, _) = Machines::running(privilege);
        machines.must("two", "ip addr add 198.18.0.4/24 dev eth0");
        for machine in ["one", "two", "three"] {
            machines.must(machine, "nft add element inet ringmail machines '{ 198.18.0.4 }'");
        }
        let function = "functions:\n  - {name: sf2, kind: attached, intrusive: true, address: 198.18.0.4, \
                        attached: {setup: [[touch, it-ran]]}}\n";
        machines.changes(("functions:\n", function));
        machines.must("one", "ringmail ca token sf2 --dir ca > ../two/sf2.token");
        machines.start("two", "sf2", SF2);
        // It is told to the operator, with what to do.
        machines.await_log("control", "there is no fn-in and no fn-out", || false);
        let log = machines.log("control");
        machines.start("two", "function", "unshare --net sleep 1000");
        let id = machines.services["function"].process.id();
        eventually("it has a network of its own", || {
            let apart =
                format!("test $(readlink /proc/{id}/ns/net) != $(readlink /proc/self/ns/net)");
            machines.run("two", &apart).status.success().then_some(())
        });
        let inside = |machines: &Machines, text: &str| {
            machines.must("two", &format!("nsenter -n -t {id} sh -ec '{text}'"))
        };
        for interface in ["fn-in", "fn-out"] {
            let begin = log.find(&format!("ip link add {interface} ")).expect("how it is made");
            let (command, _) = log[begin..].split_once("sf2.function").expect("where");
            machines.must("two", &format!("{command}{id}"));
        }
        inside(&machines, "echo 1 >/proc/sys/net/ipv4/ip_forward");
        for (interface, address) in [("in0", "169.254.77.1"), ("out0", "169.254.77.2")] {
            inside(&machines, &format!("echo 0 >/proc/sys/net/ipv4/conf/{interface}/rp_filter"));
            inside(
                &machines,
                &format!("ip addr add {address} dev {interface}; ip link set {interface} up"),
            );
        }
        inside(&machines, "ip route add 10.78.0.0/24 dev in0; ip route add default dev out0");
        let packets = |machines: &Machines| {
            let told: serde_json::Value =
                serde_json::from_str(&inside(machines, "ip -json -stats link show in0"))
                    .expect("JSON");
            told[0]["stats64"]["rx"]["packets"].as_u64().expect("a count")
        };
        // What is not taken is offered again after a while, and at once to who comes anew.
        machines.services.get_mut("sf2").expect("it runs").kill();
        machines.start("two", "sf2", SF2);
        machines.settled();
        machines.changes(("hops: [sf1]", "hops: [sf1, sf2]"));
        machines.settled();
        let before = packets(&machines);
        assert_eq!(machines.passes("contraband"), (false, true));
        assert!(packets(&machines) > before, "nothing came to the function");
        machines.check_alive();
        // What runs on a machine is its operator's affair, not that of whoever feeds its element.
        assert!(machines.log("sf2").contains("are not run"), "{}", machines.log("sf2"));
        assert!(!machines.folder("two").join("it-ran").exists());
        machines.services.get_mut("sf2").expect("it runs").kill();
        machines.must("two", "ip link del fn-out");
        machines.start("two", "sf2", SF2);
        machines.await_log("sf2", "there is no fn-out here", || false);
    });
}

#[test]
fn a_machine_that_is_gone_without_a_word_is_soon_away() {
    live(|privilege| {
        let (mut machines, blocks) = Machines::running(privilege);
        machines.services.get_mut("control").expect("it runs").kill();
        let (machine, text) = command(&blocks, "control");
        assert!(text.contains("ringmail -v "), "{text}");
        machines.start(&machine, "control", &text.replace("ringmail -v ", "ringmail -vv "));
        machines.await_log("control", "took the place of this one", || true);
        for element in ["gateway", "sf1", "egress"] {
            machines.await_log("control", &format!("element=\"{element}\""), || false);
        }
        machines.must("two", "ip link set eth0 down");
        let changed = machines.changes(("contraband", "smuggled"));
        assert_eq!(answer(&changed, "sf1")["away"], true);
        // It was not its silence that told, for which a version would have waited half a minute.
        let log = machines.log("control");
        assert!(!log.contains("a session ends"), "{log}");
        machines.must("two", "ip link set eth0 up");
        machines.settled();
        assert_eq!(machines.passes("smuggled"), (false, true));
    });
}
