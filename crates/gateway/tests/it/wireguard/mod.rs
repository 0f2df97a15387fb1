//! The WireGuard end by itself, with clients that do what no honest one does.

#![allow(clippy::cloned_ref_to_slice_refs, reason = "a list of one packet reads as such")]

mod lost;
mod world;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringmail_gateway::limits::{
    WIREGUARD_FRAGMENTS_A_PACKET, WIREGUARD_PACKETS_IN_PARTS_A_PEER, WIREGUARD_PARTS_MS,
};

use self::world::{CLIENT, Client, OTHER, World, echo, fragments, identified, sctp, tcp, udp};

const SERVICE: &str = "10.79.0.10";

#[test]
fn a_packet_of_an_authentic_client_goes_by_the_path_of_its_rule_and_its_answer_comes_back() {
    let mut world = World::new("");
    let mut client = world.client(CLIENT);
    for packet in [
        udp("10.78.0.7", SERVICE, 4000, 53, b"question"),
        tcp("10.78.0.7", SERVICE, 4000, 80),
        sctp("10.78.0.7", SERVICE, 4000, 2905),
        echo("10.78.0.7", SERVICE, 64),
        udp("fd00:78::7", "fd00:79::10", 4000, 53, b"question"),
    ] {
        assert_eq!(world.send(&mut client, &packet), [packet.clone()]);
    }
    let answer = udp(SERVICE, "10.78.0.7", 53, 4000, b"answer");
    assert_eq!(world.answer(&mut client, &answer), [answer.clone()]);
    // An answer that nobody asked for does not come through, nor one to nobody.
    let unasked = udp(SERVICE, "10.78.0.7", 54, 4000, b"answer");
    assert_eq!(world.answer(&mut client, &unasked), Vec::<Vec<u8>>::new());
    let nobody = udp(SERVICE, "10.78.0.99", 53, 4000, b"answer");
    assert_eq!(world.answer(&mut client, &nobody), Vec::<Vec<u8>>::new());
    assert_eq!(world.read("wireguard_no_flow"), 1);
    assert_eq!(world.chain.pinned.len(), 5);
}

#[test]
fn addresses_of_others_and_wrapped_packets_are_dropped_and_counted() {
    let mut world = World::new("");
    let mut client = world.client(CLIENT);
    for src in ["10.78.0.8", "10.78.0.1", "10.77.0.1", "10.79.0.10", "192.0.2.11"] {
        assert!(world.send(&mut client, &udp(src, SERVICE, 4000, 53, b"x")).is_empty(), "{src}");
    }
    assert!(world.send(&mut client, &udp("fd00:78::8", "fd00:79::10", 1, 53, b"x")).is_empty());
    assert_eq!(world.read("wireguard_spoofed"), 6);
    for port in [6635, 4789, 4790, 6081, 7000] {
        let packet = udp("10.78.0.7", SERVICE, 4000, port, b"x");
        assert!(world.send(&mut client, &packet).is_empty(), "{port}");
    }
    assert_eq!(world.read("wireguard_wrapped"), 5);
    // What came in without is not let out with it either.
    world.send(&mut client, &udp("10.78.0.7", SERVICE, 6635, 53, b"x"));
    let answer = udp(SERVICE, "10.78.0.7", 53, 6635, b"x");
    assert!(world.answer(&mut client, &answer).is_empty());
    assert_eq!(world.read("wireguard_wrapped"), 6);
    assert_eq!(world.chain.sent.len(), 1);
}

#[test]
fn fragments_are_put_together_and_judged_whole() {
    let mut world = World::new("");
    let mut client = world.client(CLIENT);
    let content: Vec<u8> = (0..1200u32).map(|at| at as u8).collect();
    for (src, dst) in [("10.78.0.7", SERVICE), ("fd00:78::7", "fd00:79::10")] {
        let whole = identified(udp(src, dst, 4000, 53, &content), 7);
        let mut parts = fragments(&whole, 400, 7);
        assert!(parts.len() >= 3);
        // In any order; nothing of it goes on before all of it is there.
        parts.reverse();
        let last = parts.pop().expect("a part");
        for part in parts {
            assert!(world.send(&mut client, &part).is_empty());
        }
        assert!(world.send(&mut client, &last) == [whole], "from {src}");
    }
    assert_eq!(world.read("wireguard_reassembled"), 2);
    // A rule sees the ports, which only the first part has; another port's packet does not slip by as a part.
    let refused = udp("10.78.0.7", SERVICE, 4000, 54, &content);
    for part in fragments(&refused, 400, 8) {
        assert!(world.send(&mut client, &part).is_empty());
    }
    assert_eq!(world.read("wireguard_refused_by_rules"), 1);
    // Parts of another's address are as much as its packets.
    let spoofed = udp("10.78.0.8", SERVICE, 4000, 53, &content);
    for part in fragments(&spoofed, 400, 9) {
        assert!(world.send(&mut client, &part).is_empty());
    }
    assert_eq!(world.read("wireguard_spoofed"), 1);
}

#[test]
fn fragments_that_contradict_each_other_end_their_packet_and_their_number_is_bounded() {
    let mut world = World::new("");
    let mut client = world.client(CLIENT);
    let content = [7u8; 1200];
    let whole = udp("10.78.0.7", SERVICE, 4000, 53, &content);
    let parts = fragments(&whole, 400, 7);
    // The same part again is an overlap, and the rest finds nothing to belong to.
    for part in [&parts[0], &parts[1], &parts[1], &parts[2]] {
        assert!(world.send(&mut client, part).is_empty());
    }
    assert_eq!(world.read("wireguard_fragments"), 1);
    // What is left of it goes with time, and so does the space.
    world.advance(Duration::from_millis(WIREGUARD_PARTS_MS));
    assert_eq!(world.read("wireguard_fragments"), 2);
    // One client's unfinished packets are so many, and others' fare as before.
    for identification in 0..WIREGUARD_PACKETS_IN_PARTS_A_PEER as u16 + 10 {
        let part = &fragments(&whole, 400, 100 + identification)[0];
        assert!(world.send(&mut client, part).is_empty());
    }
    assert_eq!(world.read("wireguard_fragments"), 12);
    let mut other = world.client(OTHER);
    let whole = identified(udp("10.78.0.8", SERVICE, 4000, 53, &content), 1);
    let sent: Vec<_> =
        fragments(&whole, 400, 1).iter().flat_map(|part| world.send(&mut other, part)).collect();
    assert!(sent == [whole]);
    // Parts of 8 bytes are too many.
    let before = world.read("wireguard_fragments");
    world.advance(Duration::from_millis(WIREGUARD_PARTS_MS));
    let late = world.read("wireguard_fragments");
    assert_eq!(late - before, WIREGUARD_PACKETS_IN_PARTS_A_PEER as u64);
    let whole = udp("10.78.0.7", SERVICE, 4000, 53, &content);
    for part in fragments(&whole, 8, 3).iter().take(WIREGUARD_FRAGMENTS_A_PACKET + 1) {
        assert!(world.send(&mut client, part).is_empty());
    }
    assert_eq!(world.read("wireguard_fragments") - late, 1);
}

#[test]
fn a_client_has_so_many_flows_and_others_do_not_notice() {
    let mut world = World::new("");
    let (mut client, mut other) = (world.client(CLIENT), world.client(OTHER));
    let flow = |src, port| udp(src, SERVICE, port, 53, b"x");
    for port in 1..=8 {
        assert_eq!(world.send(&mut client, &flow("10.78.0.7", port)).len(), 1);
    }
    assert!(world.send(&mut client, &flow("10.78.0.7", 9)).is_empty());
    assert_eq!(world.read("wireguard_flows_limited"), 1);
    assert_eq!(world.send(&mut client, &flow("10.78.0.7", 1)).len(), 1, "what is there goes on");
    assert_eq!(world.send(&mut other, &flow("10.78.0.8", 9)).len(), 1);
    // Idle flows make room, and are let go of.
    world.advance(Duration::from_secs(61));
    assert_eq!((world.chain.pinned.len(), world.front.flows()), (0, 0));
    assert_eq!(world.send(&mut client, &flow("10.78.0.7", 9)).len(), 1);
}

#[test]
fn a_flow_that_no_rule_allows_is_refused_for_a_while_without_asking_again() {
    let mut world = World::new("");
    let mut client = world.client(CLIENT);
    let packet = udp("10.78.0.7", SERVICE, 4000, 54, b"x");
    for _ in 0..5 {
        assert!(world.send(&mut client, &packet).is_empty());
    }
    assert_eq!(world.read("wireguard_refused_by_rules"), 1);
    assert_eq!(world.read("wireguard_refused_packets"), 5);
    // Other rules count at once.
    world.reload(
        "  - name: more\n    when: {packets: {protocols: [udp], ports: [54]}}\n    path: plain\n",
    );
    assert_eq!(world.send(&mut client, &packet), [packet]);
}

#[test]
fn another_ds_field_is_judged_by_itself() {
    let urgent = "  - name: urgent\n    when: {packets: {protocols: [udp], ports: [54], dscp: [46]}}\n    path: inspected\n";
    let mut world = World::new(urgent);
    let mut client = world.client(CLIENT);
    let plain = udp("10.78.0.7", SERVICE, 4000, 54, b"x");
    let mut marked = plain.clone();
    marked[1] = 46 << 2;
    world::refill(&mut marked);
    assert_eq!(world.send(&mut client, &marked), [marked.clone()]);
    assert!(world.send(&mut client, &plain).is_empty(), "no rule lets it through");
    assert_eq!(world.send(&mut client, &marked), [marked]);
}

#[test]
fn a_packet_too_large_is_answered_but_an_error_is_not() {
    let mut world = World::new("");
    let mut client = world.client(CLIENT);
    for (src, dst, router) in
        [("10.78.0.7", SERVICE, "10.78.0.1"), ("fd00:78::7", "fd00:79::10", "fd00:78::1")]
    {
        let large = echo(src, dst, 2000);
        assert!(world.send(&mut client, &large).is_empty());
        let told = client.received.pop().expect("an error");
        let (from, to, mtu, quoted) = world::too_big(&told);
        assert_eq!((from, to), (router.parse().unwrap(), src.parse().unwrap()));
        assert_eq!(usize::from(mtu), world.mtu);
        assert_eq!(quoted[..20], large[..20]);
    }
    // At most so many a second.
    for _ in 0..2000 {
        world.send(&mut client, &echo("10.78.0.7", SERVICE, 2000));
    }
    assert!(client.received.len() < 1000, "{}", client.received.len());
    assert_eq!(world.read("wireguard_too_big"), 2002);
}

#[test]
fn an_icmp_error_belongs_to_a_flow_or_goes_nowhere() {
    let mut world = World::new("");
    let mut client = world.client(CLIENT);
    let question = udp("10.78.0.7", SERVICE, 4000, 53, b"question");
    world.send(&mut client, &question);
    // A router behind the service tells the client; it is none of the flow's own packets.
    let told = world::unreachable("10.79.0.99", "10.78.0.7", &question);
    let heard = world.answer(&mut client, &told);
    assert_eq!((heard[0][12..16].to_vec(), &heard[0][20..]), (vec![10, 78, 0, 1], &told[20..]));
    let of_nothing = udp("10.78.0.7", SERVICE, 4001, 53, b"question");
    let told = world::unreachable("10.79.0.99", "10.78.0.7", &of_nothing);
    assert!(world.answer(&mut client, &told).is_empty());
    // The client tells the service about an answer that it got, and about nothing else.
    let answer = udp(SERVICE, "10.78.0.7", 53, 4000, b"answer");
    let tells = world::unreachable("10.78.0.7", SERVICE, &answer);
    assert_eq!(world.send(&mut client, &tells), [tells.clone()]);
    let never = udp(SERVICE, "10.78.0.7", 53, 4001, b"answer");
    assert!(world.send(&mut client, &world::unreachable("10.78.0.7", SERVICE, &never)).is_empty());
}

#[test]
fn who_is_taken_out_is_cut_off_and_flows_end_with_their_path() {
    let mut world = World::new("");
    let (mut client, mut other) = (world.client(CLIENT), world.client(OTHER));
    let (one, two) =
        (udp("10.78.0.7", SERVICE, 1, 53, b"x"), udp("10.78.0.8", SERVICE, 1, 53, b"x"));
    world.send(&mut client, &one);
    world.send(&mut other, &two);
    let paths: Vec<_> = world.chain.pinned.values().copied().collect();
    world.cut(&paths[..1]);
    assert!(world.chain.pinned.is_empty(), "both took it");
    assert_eq!(world.send(&mut client, &one), [one.clone()], "it is judged anew");
    world.take_out(CLIENT);
    assert!(world.chain.pinned.is_empty());
    assert!(world.send(&mut client, &one).is_empty());
    assert_eq!(world.read("wireguard_unknown_peer"), 1);
    assert_eq!(world.send(&mut other, &two), [two]);
    // Nor does anything of an old key outlive it.
    let renewed = ([3; 32], OTHER.1);
    world.rekey(OTHER, renewed);
    assert!(world.chain.pinned.is_empty());
    assert!(world.send(&mut other, &udp("10.78.0.8", SERVICE, 2, 53, b"x")).is_empty());
    let mut other = world.client(renewed);
    assert_eq!(world.send(&mut other, &udp("10.78.0.8", SERVICE, 1, 53, b"x")).len(), 1);
}

#[test]
fn what_was_sent_before_or_changed_on_the_way_is_not_taken_again() {
    let mut world = World::new("");
    let mut client = world.client(CLIENT);
    let datagram = client.seal(&udp("10.78.0.7", SERVICE, 4000, 53, b"once"));
    assert_eq!(world.datagram(&client, &datagram).len(), 1);
    assert!(world.datagram(&client, &datagram).is_empty(), "replayed");
    let datagram = client.seal(&udp("10.78.0.7", SERVICE, 4000, 53, b"once more"));
    for at in [0, 4, 8, 16, datagram.len() - 1] {
        let mut changed = datagram.clone();
        changed[at] ^= 1;
        assert!(world.datagram(&client, &changed).is_empty(), "byte {at}");
    }
    assert_eq!(world.datagram(&client, &datagram).len(), 1);
    // Where a client is says only what is authentic.
    let elsewhere: SocketAddr = "203.0.113.9:4".parse().unwrap();
    world.from(elsewhere, &datagram);
    let answer = udp(SERVICE, "10.78.0.7", 53, 4000, b"answer");
    world.answer(&mut client, &answer);
    assert!(world.outside.iter().all(|(to, _)| *to != elsewhere));
}

#[test]
fn a_flood_of_handshakes_is_answered_with_cookies_and_who_is_in_stays_in() {
    let mut world = World::new("");
    let mut client = world.client(CLIENT);
    let began = Instant::now();
    let mut stranger = Client::stranger(&world);
    let flood = 3000u32;
    for nth in 0..flood {
        let from = SocketAddr::from(([203, 0, (nth >> 8) as u8, nth as u8], 4000));
        let initiation = stranger.initiation();
        world.from(from, &initiation);
    }
    // Only so many got as far as the keys; the others a cookie, which is shorter than what they sent.
    let seconds = began.elapsed().as_secs() + 1;
    let (let_in, cookies) = (world.read("wireguard_handshakes"), world.read("wireguard_cookies"));
    assert!(let_in <= world::HANDSHAKES_A_SECOND * (seconds + 1) + 1, "{let_in} in {seconds} s");
    assert_eq!(let_in + cookies, u64::from(flood) + 1, "the client's own was the first");
    assert!(world.outside.iter().all(|(_, datagram)| datagram.len() <= 64));
    let packet = udp("10.78.0.7", SERVICE, 4000, 53, b"still here");
    assert_eq!(world.send(&mut client, &packet), [packet]);
    // One that receives what it is sent comes in all the same.
    let mut other = Client::of(&world, OTHER);
    assert!(other.shake(&mut world), "the cookie opens the gate");
    // What is for another key, or nothing at all, costs nothing.
    let invalid = world.read("wireguard_invalid");
    world.from("203.0.113.1:1".parse().unwrap(), &[1; 148]);
    world.from("203.0.113.1:1".parse().unwrap(), b"");
    world.from("203.0.113.1:1".parse().unwrap(), &[0xff; 1400]);
    assert_eq!(world.read("wireguard_invalid") - invalid, 3);
}
