//! Flows through a replica that is dead: closed or moved, as the domain says.

use ringmail_model::PathId;
use ringmail_model::domain::LostConnections;
use ringmail_packet::ip::Addresses;
use ringmail_packet::tcp::Flags;
use ringmail_packet::{ipv4, ipv6, tcp as wire};

use super::world::{CLIENT, World, echo, segment, tcp, udp};

const SERVICE: &str = "10.79.0.10";
const SERVICE_V6: &str = "fd00:79::10";
const ELSEWHERE: PathId = PathId(900);

/// The path that the only flow so far takes.
fn taken(world: &World) -> PathId {
    *world.chain.pinned.values().next().expect("a flow")
}

/// Addresses and segment of a packet whose checksums are right.
fn parsed(packet: &[u8]) -> (Addresses, wire::Packet<&[u8]>) {
    let (addresses, payload) = match packet[0] >> 4 {
        4 => {
            let packet = ipv4::Packet::new_checked(packet).expect("a packet");
            assert!(packet.verify_checksum());
            (packet.addresses(), packet.payload())
        }
        _ => {
            let packet = ipv6::Packet::new_checked(packet).expect("a packet");
            (packet.addresses(), packet.upper_layer().expect("whole").payload)
        }
    };
    let segment = wire::Packet::new_checked(payload).expect("a segment");
    assert!(segment.verify_checksum(addresses));
    (addresses, segment)
}

#[test]
fn flows_that_are_to_move_go_on_by_another_path() {
    let mut world = World::new("");
    let mut client = world.client(CLIENT);
    let flows = [
        tcp("10.78.0.7", SERVICE, 4000, 80),
        udp("10.78.0.7", SERVICE, 4000, 53, b"question"),
        echo("10.78.0.7", SERVICE, 8),
    ];
    for packet in &flows {
        assert_eq!(world.send(&mut client, packet).len(), 1);
    }
    let dead = taken(&world);
    assert_eq!(world.leave(PathId(901), ELSEWHERE, LostConnections::Move), 0, "nothing takes it");
    assert_eq!(world.leave(dead, ELSEWHERE, LostConnections::Move), 3);
    assert!(world.chain.pinned.values().all(|path| *path == ELSEWHERE));
    assert_eq!(world.outside.len(), 1, "the client of the connection is to speak");
    assert_eq!(world.chain.pinned.len(), 3);
    // A path that nobody knows carries nothing; that it is asked shows that the flow goes by it.
    assert!(world.send(&mut client, &flows[1]).is_empty());
    assert_eq!(world.read("wireguard_too_big"), 1);
}

#[test]
fn what_has_no_beginning_begins_anew_with_its_next_packet() {
    let mut world = World::new("");
    let mut client = world.client(CLIENT);
    let question = udp("10.78.0.7", SERVICE, 4000, 53, b"question");
    world.send(&mut client, &question);
    let dead = taken(&world);
    assert_eq!(world.leave(dead, dead, LostConnections::Close), 1);
    assert!(world.chain.pinned.is_empty());
    assert_eq!(world.send(&mut client, &question), [question.clone()]);
    assert_eq!(world.read("wireguard_flows"), 2);
}

#[test]
fn a_connection_is_reset_and_may_begin_anew_at_once() {
    let mut world = World::new("");
    let mut client = world.client(CLIENT);
    for (src, dst) in [("10.78.0.7", SERVICE), ("fd00:78::7", SERVICE_V6)] {
        let begin = tcp(src, dst, 4000, 80);
        assert_eq!(world.send(&mut client, &begin), [begin.clone()]);
        let dead = taken(&world);
        assert_eq!(world.leave(dead, dead, LostConnections::Close), 1);
        assert!(world.chain.pinned.is_empty());
        // A client that waits is made to speak.
        let [(_, probe)] = &*std::mem::take(&mut world.outside) else { panic!("one probe") };
        client.take(probe);
        let (addresses, probe) = parsed(client.received.last().expect("a packet"));
        assert_eq!([addresses.src().to_string(), addresses.dst().to_string()], [dst, src]);
        assert_eq!((probe.flags(), probe.src_port(), probe.dst_port()), (Flags::ACK, 80, 4000));
        // Answers of the service are nobody's now.
        let late = segment(dst, src, (80, 4000), (9, 2), 0x10, b"late");
        assert!(world.answer(&mut client, &late).is_empty());

        let before = client.received.len();
        let data = segment(src, dst, (4000, 80), (500, 777), 0x18, b"more");
        assert!(world.send(&mut client, &data).is_empty());
        let [answer] = &client.received[before..] else { panic!("one reset") };
        let (addresses, reset) = parsed(answer);
        assert_eq!([addresses.src().to_string(), addresses.dst().to_string()], [dst, src]);
        assert_eq!((reset.src_port(), reset.dst_port()), (80, 4000));
        assert_eq!((reset.flags(), reset.seq_number()), (Flags::RST, 777), "RFC 9293, 3.10.7.1");
        // A reset is not answered.
        let over = segment(src, dst, (4000, 80), (504, 777), 0x14, b"");
        assert!(world.send(&mut client, &over).is_empty());
        assert_eq!(client.received.len(), before + 1);

        assert_eq!(world.send(&mut client, &begin), [begin.clone()], "the same ports anew");
        let taken = taken(&world);
        world.leave(taken, taken, LostConnections::Close);
    }
}
