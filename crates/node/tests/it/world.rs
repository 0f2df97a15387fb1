//! A place for tests of the network: root of the machine or of a user namespace, and the paper's testbed in it.
//!
//! ```text
//!   client1 10.1.0.2 ──┐                 ┌── hop1 10.99.0.2
//!                   gateway 10.99.0.1 ─ br0 ─ hop2 10.99.0.3
//!   client2 10.2.0.2 ──┘                 └── egress 10.99.0.4 ── service 10.3.0.2
//! ```

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use ringmail_node::runtime::{Claim, Place};
use ringmail_node::topology::{
    Bridge, Cable, End, Fabric, Namespace, Privilege, Route, Sysctl, Topology,
};

/// Set in a process that a test started inside a user namespace.
const INSIDE: &str = "RINGMAIL_TEST_INSIDE";

/// Runs a test with the right to make networks: as it is under root, or else by starting it again in a user namespace.
pub(crate) fn with_privilege(test: &str, body: impl FnOnce(Privilege)) {
    if std::env::var_os(INSIDE).is_some() {
        body(Privilege::Rootless { uid: 0 });
    } else if Privilege::is_root() {
        body(Privilege::Root);
    } else {
        in_user_namespace(test, None);
    }
}

/// Starts a test of this program again inside a user namespace, as another user if one is given.
pub(crate) fn in_user_namespace(test: &str, uid: Option<u32>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--include-ignored"]).env(INSIDE, "1");
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    // SAFETY: the child has one thread, and what runs is a few system calls on files of /proc.
    unsafe {
        command.pre_exec(|| {
            // A change of user makes /proc/self belong to root until the next exec.
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?;
            Privilege::acquire().map(drop).map_err(io::Error::other)
        });
    }
    let output = command.output().expect("a user namespace can be made here");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "inside a user namespace:\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A name that no other test uses: names under /run/netns are the machine's.
pub(crate) fn domain() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A directory for runtime directories, gone with the value.
pub(crate) struct Base(pub(crate) PathBuf);

impl Base {
    pub(crate) fn new() -> Base {
        Base(std::env::temp_dir().join(format!("ringmail-test-{}", domain())))
    }

    pub(crate) fn place(&self) -> Place {
        Place::at(&self.0)
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A running testbed.
pub(crate) struct World {
    pub(crate) fabric: Fabric,
    pub(crate) claim: Claim,
    _base: Base,
}

impl World {
    pub(crate) fn new(privilege: Privilege) -> World {
        let (base, topology) = (Base::new(), campus(&domain()));
        let (mut claim, _) = Claim::take(&base.place(), &topology.domain, privilege).unwrap();
        let fabric = Fabric::build(&topology, privilege, &mut claim).unwrap_or_else(|error| {
            panic!("the testbed cannot be built: {:?}", anyhow::Error::from(error))
        });
        World { fabric, claim, _base: base }
    }

    pub(crate) fn inside<T: Send>(&self, namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        self.fabric.namespace(namespace).unwrap().run(work).unwrap()
    }
}

pub(crate) const MTU: u32 = 1500;

pub(crate) fn campus(domain: &str) -> Topology {
    let mut topology = Topology::new(domain);
    let names = ["fabric", "gateway", "hop1", "hop2", "egress", "client1", "client2", "service"];
    for name in names {
        let mut namespace = Namespace { name: name.into(), ..Namespace::default() };
        let default = |v4: &str, v6: &str| {
            vec![
                Route::via("0.0.0.0/0".parse().unwrap(), v4.parse().unwrap()),
                Route::via("::/0".parse().unwrap(), v6.parse().unwrap()),
            ]
        };
        match name {
            "fabric" => namespace.bridges.push(Bridge { name: "br0".into(), mtu: MTU }),
            "gateway" => {
                namespace.sysctls.extend(Sysctl::forwarding());
                namespace.routes = vec![
                    Route::via("10.3.0.0/24".parse().unwrap(), "10.99.0.4".parse().unwrap()),
                    Route::via("fd03::/64".parse().unwrap(), "fd99::4".parse().unwrap()),
                ];
            }
            "egress" => {
                namespace.sysctls.extend(Sysctl::forwarding());
                namespace.routes = default("10.99.0.1", "fd99::1");
            }
            "client1" => namespace.routes = default("10.1.0.1", "fd01::1"),
            "client2" => namespace.routes = default("10.2.0.1", "fd02::1"),
            "service" => namespace.routes = default("10.3.0.1", "fd03::1"),
            _ => {}
        }
        topology.namespaces.push(namespace);
    }
    let end = |namespace: &str, interface: &str, net: &str, host: u32| End {
        namespace: namespace.into(),
        interface: interface.into(),
        addresses: vec![
            format!("10.{}.0.{host}/24", net.parse::<u32>().unwrap()).parse().unwrap(),
            format!("fd{net}::{host}/64").parse().unwrap(),
        ],
        ..End::default()
    };
    for (host, name) in [(1, "gateway"), (2, "hop1"), (3, "hop2"), (4, "egress")] {
        let port = End {
            namespace: "fabric".into(),
            interface: format!("p-{name}"),
            bridge: Some("br0".into()),
            ..End::default()
        };
        topology.cables.push(Cable { mtu: MTU, ends: [end(name, "fab0", "99", host), port] });
    }
    for (near, interface, far, net) in [
        ("gateway", "client1", "client1", "01"),
        ("gateway", "client2", "client2", "02"),
        ("egress", "service", "service", "03"),
    ] {
        let ends = [end(near, interface, net, 1), end(far, "eth0", net, 2)];
        topology.cables.push(Cable { mtu: MTU, ends });
    }
    topology
}
