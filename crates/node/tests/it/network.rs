//! The testbed as a network: who reaches whom, at what size, and what is left of it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use ringmail_node::runtime::Claim;
use ringmail_node::topology::{Fabric, Privilege, PrivilegeError, Route, Sysctl, TopologyError};

use crate::world::{Base, MTU, World, campus, domain, in_user_namespace, with_privilege};

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn clients_reach_the_service_over_the_fabric() {
    with_privilege("network::clients_reach_the_service_over_the_fabric", |privilege| {
        let world = World::new(privilege);
        for (client, service) in
            [("client1", "10.3.0.2"), ("client2", "10.3.0.2"), ("client1", "fd03::2")]
        {
            exchange(&world, client, "service", service.parse().unwrap());
        }
    });
}

#[test]
fn elements_reach_each_other_over_the_bridge() {
    with_privilege("network::elements_reach_each_other_over_the_bridge", |privilege| {
        let world = World::new(privilege);
        let hosts = [("gateway", 1), ("hop1", 2), ("hop2", 3), ("egress", 4)];
        for (from, _) in hosts {
            for (to, host) in hosts.iter().filter(|(to, _)| *to != from) {
                let address: IpAddr = format!("fd99::{host}").parse().unwrap();
                ping(&world, from, to, address);
            }
        }
    });
}

#[test]
fn a_network_is_nobody_elses() {
    with_privilege("network::a_network_is_nobody_elses", |privilege| {
        let one = World::new(privilege);
        let other = World::new(privilege);
        ping(&one, "hop1", "hop2", "10.99.0.3".parse().unwrap());
        ping(&other, "hop1", "hop2", "10.99.0.3".parse().unwrap());
    });
}

#[test]
fn a_super_packet_crosses_the_fabric_whole() {
    with_privilege("network::a_super_packet_crosses_the_fabric_whole", |privilege| {
        const PACKET: usize = 1400;
        const PACKETS: usize = 40;
        let world = World::new(privilege);
        let receiver = world.inside("hop2", || UdpSocket::bind("10.99.0.3:6635").unwrap());
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        set(&receiver, libc::UDP_GRO, 1);
        let sender = world.inside("hop1", || UdpSocket::bind("10.99.0.2:0").unwrap());
        set(&sender, libc::UDP_SEGMENT, i32::try_from(PACKET).unwrap());
        sender.connect("10.99.0.3:6635").unwrap();
        sender.send(&[7; PACKET * PACKETS]).unwrap();
        let mut buffer = vec![0; 1 << 16];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), PACKET * PACKETS);
    });
}

#[test]
fn links_have_the_mtu_that_was_asked_for() {
    with_privilege("network::links_have_the_mtu_that_was_asked_for", |privilege| {
        let (base, mut topology) = (Base::new(), campus(&domain()));
        for cable in &mut topology.cables {
            cable.mtu = 1337;
        }
        let (mut claim, _) = Claim::take(&base.place(), &topology.domain, privilege).unwrap();
        let fabric = Fabric::build(&topology, privilege, &mut claim).unwrap();
        for (name, to) in [("hop1", "10.99.0.3:1"), ("service", "10.1.0.2:1")] {
            let socket = fabric.namespace(name).unwrap().run(|| {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.connect(to).unwrap();
                socket
            });
            assert_eq!(rustix::net::sockopt::ip_mtu(socket.unwrap()).unwrap(), 1337, "{name}");
        }
        assert_ne!(MTU, 1337);
    });
}

#[test]
fn settings_hold_in_their_namespace_only() {
    with_privilege("network::settings_hold_in_their_namespace_only", |privilege| {
        let world = World::new(privilege);
        let forward = |name| {
            world.inside(name, || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap())
        };
        assert_eq!(forward("egress"), "1\n");
        assert_eq!(forward("hop1"), "0\n");
    });
}

#[test]
fn nothing_is_left_of_a_network() {
    with_privilege("network::nothing_is_left_of_a_network", |privilege| {
        let world = World::new(privilege);
        let (domain, dir) = (world.claim.record().domain.clone(), world.claim.dir().to_owned());
        assert!(dir.exists());
        assert_eq!(names(&domain), if privilege == Privilege::Root { 8 } else { 0 });
        drop(world.fabric);
        world.claim.release().unwrap();
        assert_eq!(names(&domain), 0);
        assert!(!dir.parent().unwrap().exists());
    });
}

#[test]
fn nothing_is_left_of_a_network_that_cannot_be_built() {
    with_privilege("network::nothing_is_left_of_a_network_that_cannot_be_built", |privilege| {
        let (base, mut topology) = (Base::new(), campus(&domain()));
        let nowhere = Route::via("10.77.0.0/16".parse().unwrap(), "10.66.0.1".parse().unwrap());
        topology.namespaces[3].routes.push(nowhere);
        let (mut claim, _) = Claim::take(&base.place(), &topology.domain, privilege).unwrap();
        let failed = Fabric::build(&topology, privilege, &mut claim);
        assert!(matches!(failed, Err(TopologyError::Route { .. })), "{failed:?}");
        drop(claim);
        assert_eq!(names(&topology.domain), 0);
        assert!(!base.0.exists());
    });
}

#[test]
fn a_setting_that_the_kernel_lacks_fails_only_if_it_is_needed() {
    with_privilege(
        "network::a_setting_that_the_kernel_lacks_fails_only_if_it_is_needed",
        |privilege| {
            let (base, mut topology) = (Base::new(), campus(&domain()));
            topology.namespaces[1].sysctls.push(Sysctl::wished("net.ipv4.no_such_thing", "1"));
            let (mut claim, _) = Claim::take(&base.place(), &topology.domain, privilege).unwrap();
            Fabric::build(&topology, privilege, &mut claim).unwrap();
            drop(claim);
            topology.namespaces[1].sysctls.push(Sysctl::needed("net.ipv4.no_such_thing", "1"));
            let (mut claim, _) = Claim::take(&base.place(), &topology.domain, privilege).unwrap();
            let failed = Fabric::build(&topology, privilege, &mut claim);
            assert!(matches!(failed, Err(TopologyError::Sysctl { .. })), "{failed:?}");
        },
    );
}

#[test]
fn a_user_without_rights_has_networks_in_a_user_namespace() {
    // Under root as the user nobody; else `with_privilege` has done the same for every test here.
    if Privilege::is_root() {
        const NOBODY: u32 = 65534;
        for test in [
            "network::clients_reach_the_service_over_the_fabric",
            "network::a_super_packet_crosses_the_fabric_whole",
            "network::nothing_is_left_of_a_network",
        ] {
            in_user_namespace(test, Some(NOBODY));
        }
    }
}

#[test]
fn a_process_with_threads_cannot_change_its_user_namespace() {
    with_privilege(
        "network::a_process_with_threads_cannot_change_its_user_namespace",
        |privilege| {
            if privilege != Privilege::Root {
                let refused = Privilege::acquire();
                assert!(matches!(refused, Err(PrivilegeError::UserNamespace(_))), "{refused:?}");
            }
        },
    );
}

/// How many mounts and names a domain has under /run/netns.
pub(crate) fn names(domain: &str) -> usize {
    let prefix = format!("ringmail-{domain}-");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounted = mounts.matches(&format!("/netns/{prefix}")).count();
    let named = Path::new("/run/netns").read_dir().map_or(0, |entries| {
        entries
            .filter(|entry| {
                entry
                    .as_ref()
                    .is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            })
            .count()
    });
    assert_eq!(mounted, named, "names without a namespace, or the other way round");
    named
}

fn exchange(world: &World, client: &str, server: &str, address: IpAddr) {
    let listener = world.inside(server, || TcpListener::bind((address, 0)).unwrap());
    let to = listener.local_addr().unwrap();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
    });
    let answer = world.inside(client, || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    });
    echo.join().unwrap();
    assert_eq!(&answer, b"hello", "{client} to {address}");
}

fn ping(world: &World, from: &str, to: &str, address: IpAddr) {
    let receiver = world.inside(to, || UdpSocket::bind((address, 0)).unwrap());
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let target = receiver.local_addr().unwrap();
    let any: SocketAddr = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    world.inside(from, || UdpSocket::bind(any).unwrap().send_to(b"ping", target).unwrap());
    let mut bytes = [0; 8];
    assert_eq!(receiver.recv(&mut bytes).unwrap(), 4, "{from} to {to}");
}

fn set(socket: &UdpSocket, option: i32, value: i32) {
    // SAFETY: the pointer and the length are those of a c_int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            option,
            std::ptr::from_ref(&value).cast(),
            u32::try_from(size_of_val(&value)).unwrap(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
