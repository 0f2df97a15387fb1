//! Where services are, nobody speaks for another, and nobody speaks to the elements: packets that come to the egress's machine
//! by the wrong interface are refused, and counted.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use ringmail_node::control::PinnedFlow;

use crate::live::world::{Setting, World, eventually, live};

/// IP protocol number.
const UDP: u8 = 17;

const OTHER: &str = "services:\n  - name: other\n    addresses: [10.79.0.20:80, '[fd00:79::20]:80']\n    \
                     server_names: [spare.live.example]\n";

fn bound(world: &World, namespace: &str, address: SocketAddr) -> UdpSocket {
    let socket = world.inside(namespace, || UdpSocket::bind(address));
    let socket = socket.unwrap_or_else(|error| panic!("{namespace}: {address}: {error}"));
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    socket
}

fn ip(world: &World, namespace: &str, words: &str) {
    let output = world.run(namespace, Command::new("ip").args(words.split(' ')));
    assert!(output.status.success(), "{namespace}: ip {words}: {output:?}");
}

/// Honest answers come back, and what another service sends with the address of this one does not.
fn speaks_for_itself(world: &World, client: &str, service: &str) {
    let [client, service]: [SocketAddr; 2] =
        [client, service].map(|text| text.parse().expect("an address"));
    let path = "inspected".to_owned();
    world.pin(PinnedFlow { path, source: client, destination: service, protocol: UDP });
    let (here, there) = (bound(world, "gateway", client), bound(world, "www", service));
    let mut buffer = [0; 64];
    let mut answered = |words: &[u8]| {
        there.send_to(words, client).expect("it is sent");
        let (len, _) = here.recv_from(&mut buffer).expect("an answer comes back");
        buffer[..len].to_vec()
    };
    here.send_to(b"a question", service).expect("it is sent");
    there.recv_from(&mut [0; 64]).expect("the question arrives");
    assert_eq!(answered(b"honest 1"), b"honest 1");
    let before = world.drops("egress", "foreign_source");
    let prefix = if service.is_ipv4() { 32 } else { 128 };
    let flags = if service.is_ipv4() { "" } else { " nodad" };
    ip(world, "other", &format!("address add {}/{prefix} dev lo{flags}", service.ip()));
    let forger = bound(world, "other", service);
    for _ in 0..3 {
        forger.send_to(b"forged", client).expect("it is sent");
    }
    eventually("all of them are refused", || {
        (world.drops("egress", "foreign_source") == before + 3).then_some(())
    });
    assert_eq!(answered(b"honest 2"), b"honest 2");
}

#[test]
fn services_speak_for_themselves_and_not_to_elements() {
    live(|privilege| {
        let world = Setting::new(privilege, "campus.yaml")
            .with("inner: [10.78.0.0/24]", "inner: [10.78.0.0/24, 'fd00:78::/64']")
            .with("networks: [10.79.0.0/24]", "networks: [10.79.0.0/24, 'fd00:79::/64']")
            .with("addresses: [10.79.0.10:80]", "addresses: [10.79.0.10:80, '[fd00:79::10]:80']")
            .with("services:\n", OTHER)
            .up();
        speaks_for_itself(&world, "10.78.0.1:7000", "10.79.0.10:80");
        speaks_for_itself(&world, "[fd00:78::1]:7000", "[fd00:79::10]:80");

        // The link port of an element is no business of a service's.
        let unknown = || world.counter("sf1", "link_received_from_unknown");
        let (before, strange) = (world.drops("egress", "towards_links"), unknown());
        let other = bound(&world, "other", "0.0.0.0:0".parse().expect("an address"));
        for element in ["10.77.0.1:6635", "10.77.0.2:6635", "10.77.0.3:6635"] {
            other.send_to(b"no frame", element).expect("it is sent");
        }
        eventually("all of them are refused", || {
            (world.drops("egress", "towards_links") == before + 3).then_some(())
        });
        assert_eq!(unknown(), strange);
        // The egress's own link address is reached, by an interface that is not the link's.
        let elsewhere = || world.counter("egress", "link_received_elsewhere");
        let before = elsewhere();
        let egress = "10.77.0.4:6635";
        other.send_to(b"no frame", egress).expect("it is sent");
        eventually("it is refused", || (elsewhere() == before + 1).then_some(()));
    });
}
