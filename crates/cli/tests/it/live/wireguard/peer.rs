//! A client with WireGuard that nobody here wrote: wireguard-go, told what to do by `wg`.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::live::world::{Setting, World, eventually};

/// The gateway's key pair in `wireguard.yaml`.
pub(crate) const GATEWAY: (&str, &str) = (
    "wJO/iE0Jnoa+ZyS7VGICLNfEakJEdPre1upxucIA900=",
    "W3u3n0TOnfj8ReEzTM0Nc9c7uhPGNXMBpDhC//KNmx4=",
);

const SHARED: &str = "NUlUniMs9ramW7pADatWwQMQ1XFr/SIJ8q3ZpKEDW6w=";

/// A client of `wireguard.yaml`.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    key: &'static str,
    shared: Option<&'static str>,
    endpoint: &'static str,
    pub(crate) addresses: [&'static str; 2],
}

pub(crate) const LAPTOP: Known = Known {
    name: "laptop",
    key: "cLrTjqiPTvLKnACWnVQlCeXDSBJOwnu0KLafIKHKSHo=",
    shared: Some(SHARED),
    endpoint: "192.0.2.1:51820",
    addresses: ["10.78.0.11", "fd00:78::11"],
};

pub(crate) const PHONE: Known = Known {
    name: "phone",
    key: "cIdguP116whrGyMSLVJ/ofMO5lg1S2Dlb+2wH+sQFVM=",
    shared: None,
    endpoint: "[2001:db8:2::1]:51820",
    addresses: ["10.78.0.12", "fd00:78::12"],
};

/// The domain, with its key files.
pub(crate) fn setting(privilege: ringmail_node::topology::Privilege) -> Setting {
    let setting = Setting::new(privilege, "wireguard.yaml");
    setting.file("gateway.key", GATEWAY.0);
    setting.file("laptop.psk", SHARED);
    setting
}

/// wireguard-go in the namespace of a client. It ends with its owner.
pub(crate) struct Peer<'a> {
    world: &'a World,
    pub(crate) client: &'static str,
    pub(crate) interface: String,
    process: Child,
    socket: PathBuf,
}

impl<'a> Peer<'a> {
    /// A client that may come, all of its packets to services sent to the gateway.
    pub(crate) fn start(world: &'a World, known: &Known) -> Peer<'a> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Its control socket has this name for the whole machine.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let interface = format!("wg{}x{count}", std::process::id());
        let mut program = Command::new("wireguard-go");
        program.args(["-f", &interface]).env("LOG_LEVEL", "error");
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = world.inside(known.name, || program.spawn());
        let process = process.expect("wireguard-go is installed");
        let socket = PathBuf::from(format!("/var/run/wireguard/{interface}.sock"));
        eventually("wireguard-go can be told", || socket.exists().then_some(()));
        let peer = Peer { world, client: known.name, interface, process, socket };
        let key = world.folder().join(format!("{}.key", known.name));
        std::fs::write(&key, known.key).expect("a file");
        let mut args = vec!["set", &peer.interface, "private-key"];
        let key = key.to_str().expect("UTF-8");
        args.extend([key, "peer", GATEWAY.1, "endpoint", known.endpoint]);
        let shared = world.folder().join(format!("{}.shared", known.name));
        if let Some(secret) = known.shared {
            std::fs::write(&shared, secret).expect("a file");
            args.extend(["preshared-key", shared.to_str().expect("UTF-8")]);
        }
        args.extend(["allowed-ips", "10.79.0.0/24,10.78.0.1/32,fd00:79::/64,fd00:78::1/128"]);
        peer.run("wg", &args);
        for (address, bits) in known.addresses.iter().zip([32, 128]) {
            let address = format!("{address}/{bits}");
            peer.run("ip", &["address", "add", &address, "dev", &peer.interface, "nodad"]);
        }
        peer.run("ip", &["link", "set", &peer.interface, "up", "mtu", "1500"]);
        for network in ["10.79.0.0/24", "fd00:79::/64"] {
            peer.run("ip", &["route", "add", network, "dev", &peer.interface]);
        }
        peer
    }

    /// Runs a program beside it, which must succeed; what it wrote.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> String {
        let (success, said) = self.tries(program, args);
        assert!(success, "{program} {args:?}: {said}");
        said
    }

    /// Runs a program beside it: whether it succeeded, and what it wrote.
    pub(crate) fn tries(&self, program: &str, args: &[&str]) -> (bool, String) {
        let output = self.world.run(self.client, Command::new(program).args(args));
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Whether so many echoes of three come back at once.
    pub(crate) fn pings(&self, to: &str) -> bool {
        self.tries("ping", &["-c", "1", "-W", "5", to]).0
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(std::fs::remove_file(&self.socket));
    }
}
