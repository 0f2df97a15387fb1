//! Open vSwitch as a forwarder between elements whose packets have a Network Service Header (RFC 8300, RFC 8596).
//!
//! ```text
//!   gateway ─┐                                gateway ─┐  ┌─ sf1 … sf4
//!   sf1 ─────┼─ sw ── a label more ── far ─── egress   sw, by path and service index
//!   sf2 ─────┘                                egress ──┘
//! ```

use std::collections::BTreeSet;
use std::process::Command;

use ringmail_model::pathset::Path;
use ringmail_node::topology::Privilege;

use crate::live::capture::{Capture, Captured};
use crate::live::headers::SCRIPT;
use crate::live::switch::Switch;
use crate::live::variants::serves;
use crate::live::world::{Setting, World, live};

const WWW: &str = "10.79.0.10:80";

/// The label of what goes from one bridge to the other.
const TRANSIT: u32 = 3000;

fn setting(privilege: Privilege, profile: &str) -> Setting {
    let network = "  network: 10.77.0.0/24\n";
    let setting = Setting::new(privilege, "campus.yaml");
    let setting = setting.with(network, &format!("{network}  kind: ethernet\n"));
    setting.with("\nlinks:\n", &format!("\nprofile: {profile}\nlinks:\n"))
}

/// Makes four functions of two, all on the longer of the paths.
fn longer(setting: Setting) -> Setting {
    let more = "functions:
  - name: sf3
    kind: forward
    intrusive: true
  - name: sf4
    kind: forward
    intrusive: false
";
    let setting = setting.with("functions:\n", more);
    setting.with("hops: [sf1, sf2]", "hops: [sf1, sf2, sf3, sf4]")
}

/// For each element that a path leads to: the path's number, the service index there, and the element's port.
pub(super) fn places(world: &World) -> Vec<(u32, u8, String)> {
    let set = world.paths();
    let of = |path: &Path| {
        let id = path.id.0;
        let visits = path.visits().zip((0..=u8::MAX).rev());
        visits.map(|(hop, si)| (id, si, format!("e{}", hop.element.0))).collect::<Vec<_>>()
    };
    set.paths.iter().flat_map(of).collect()
}

pub(super) fn seen(captured: &Captured, filter: &str, fields: &[&str]) -> BTreeSet<String> {
    let mut args = vec!["-X", SCRIPT, "-Y", filter, "-T", "fields"];
    fields.iter().for_each(|field| args.extend(["-e", field]));
    captured.tshark(&args).into_iter().collect()
}

/// It looks at path and service index below Ethernet, and at nothing else of a header of MD type 2.
#[test]
fn open_vswitch_forwards_by_path_and_service_index() {
    live(|privilege| {
        let world = longer(setting(privilege, "nsh")).up();
        let places = places(&world);
        let by_header = |(path, si, port): &(u32, u8, String)| {
            let header = format!("dl_type=0x894f,nsh_mdtype=2,nsh_np=1,nsh_spi={path},nsh_si={si}");
            format!("priority=100,{header},actions=output:{port}")
        };
        let flows: Vec<String> = places.iter().map(by_header).collect();
        let ports: BTreeSet<&str> = places.iter().map(|(.., port)| port.as_str()).collect();
        assert_eq!((ports.len(), flows.len()), (6, 2 * (2 + 5)));
        let switch = Switch::start(&world);
        switch.bridge("sw", ports, &flows);
        let capture = Capture::start(&world, "egress", "link0");
        serves(&world, WWW, &["client1", "client2"]);
        let captured = capture.stop();
        for (path, si, _) in &places {
            let packets = switch.packets("sw", &format!("nsh_spi=0x{path:x},nsh_si={si} "));
            assert!(packets > 100, "path {path}, index {si}: {packets} packets");
        }
        // At the egress: the ends of the forward paths, and where the others begin.
        let ends = seen(&captured, "nsh && eth.dst == 02:00:0a:4d:00:06", &["nsh.si", "nsh.ttl"]);
        let expected = ["251\t0x003b", "254\t0x003e"].map(str::to_owned);
        assert_eq!(ends, BTreeSet::from(expected));
        let bad = "nsh && (_ws.malformed || _ws.short || _ws.expert.severity==error)";
        assert_eq!(seen(&captured, bad, &["frame.number"]), BTreeSet::new());
    });
}

/// It pushes a label onto stacks of two and pops it at the other bridge; to stacks of more it adds none, since it looks at
/// three labels at most.
#[test]
fn open_vswitch_pushes_and_pops_labels_above_a_header() {
    live(|privilege| {
        let world = setting(privilege, "mpls-nsh").up();
        for args in ["add t0 mtu 1600 type veth peer name t1 mtu 1600", "set t0 up", "set t1 up"] {
            let mut ip = Command::new("ip");
            let done = world.run("fabric", ip.arg("link").args(args.split(' ')));
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        let switch = Switch::start(&world);
        let by_label = |(label, actions): (u32, &str)| {
            format!("priority=100,mpls,mpls_label={label},actions={actions}")
        };
        let push = format!("push_mpls:0x8847,set_field:{TRANSIT}->mpls_label,output:t0");
        let near = [(1000, "output:e0"), (1001, "output:e1"), (1002, "output:e2"), (1003, &push)];
        let far =
            [(TRANSIT, "pop_mpls:0x8847,output:e3"), (1001, "output:t1"), (1002, "output:t1")];
        switch.bridge("sw", ["e0", "e1", "e2", "t0"], &near.map(by_label));
        switch.bridge("far", ["e3", "t1"], &far.map(by_label));
        let between = Capture::start(&world, "fabric", "t0");
        let behind = Capture::start(&world, "egress", "link0");
        serves(&world, WWW, &["client1", "client2"]);
        let (between, behind) = (between.stop(), behind.stop());
        let stacks = |captured: &Captured| seen(captured, "mpls", &["mpls.label"]);
        let (pushed, popped) = ("3000,1003,1048575", "1003,1048575");
        assert!(stacks(&between).contains(pushed), "{:?}", stacks(&between));
        assert!(!stacks(&between).contains(popped), "{:?}", stacks(&between));
        assert!(stacks(&behind).contains(popped), "{:?}", stacks(&behind));
        for bridge_and_label in [("sw", 1001), ("sw", 1002), ("sw", 1003), ("far", TRANSIT)] {
            let (bridge, label) = bridge_and_label;
            let packets = switch.packets(bridge, &format!("mpls_label={label} "));
            assert!(packets > 100, "{bridge}, label {label}: {packets} packets");
        }
        let bad = "mpls && (_ws.malformed || _ws.short || _ws.expert.severity==error)";
        assert_eq!(seen(&between, bad, &["frame.number"]), BTreeSet::new());
    });
}
