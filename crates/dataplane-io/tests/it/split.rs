//! Super-packets cut and coalesced without a kernel: nothing is lost, changed or wrongly joined, and nothing panics.

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader};
use proptest::prelude::*;
use ringmail_dataplane::{Batch, Verdict};
use ringmail_dataplane_io::tun::coalesce::{Coalesce, Coalescer, HEADERS_BYTES_MAX};
use ringmail_dataplane_io::tun::split::{SplitError, SuperPacket};
use ringmail_dataplane_io::tun::virtio::{Gso, HEADER_BYTES, VirtioHeader};

use crate::fuzz_bodies::fuzz_split;
use crate::packets;

const ALL: Coalesce = Coalesce { tcp: true, udp: true, verify: true };

/// What the kernel would hand over, or take: header, and the packet with the pseudo header's sum in its checksum.
#[derive(Clone, Debug)]
struct Whole {
    header: VirtioHeader,
    packet: Vec<u8>,
    headers_len: usize,
}

#[derive(Clone, Debug)]
struct Shape {
    v6: bool,
    udp: bool,
    options: Vec<u8>,
    /// Of ACK, PSH, FIN, ECE and CWR, the last four.
    flags: [bool; 4],
    dont_fragment: bool,
    identification: u16,
    sequence: u32,
    segment: usize,
    payload: Vec<u8>,
}

impl Shape {
    fn whole(&self) -> Whole {
        let mut l4 = Vec::new();
        if self.udp {
            let len = (8 + self.payload.len()) as u16;
            UdpHeader { source_port: 53, destination_port: 4433, length: len, checksum: 0 }
                .write(&mut l4)
                .unwrap();
        } else {
            let mut tcp = TcpHeader::new(80, 40_000, self.sequence, 500);
            tcp.acknowledgment_number = 77;
            tcp.ack = true;
            [tcp.psh, tcp.fin, tcp.ece, tcp.cwr] = self.flags;
            tcp.set_options_raw(&self.options).unwrap();
            tcp.write(&mut l4).unwrap();
        }
        let l4_len = l4.len();
        l4.extend_from_slice(&self.payload);
        let protocol = if self.udp { IpNumber::UDP } else { IpNumber::TCP };
        let mut packet = Vec::new();
        let addresses: Vec<u8> = if self.v6 {
            let ip = Ipv6Header {
                traffic_class: 3,
                flow_label: Ipv6FlowLabel::try_new(0x12345).unwrap(),
                payload_length: l4.len() as u16,
                next_header: protocol,
                hop_limit: 9,
                source: [0xfd; 16],
                destination: [0xfc; 16],
            };
            ip.write(&mut packet).unwrap();
            [ip.source, ip.destination].concat()
        } else {
            let mut ip =
                Ipv4Header::new(l4.len() as u16, 9, protocol, [10, 0, 0, 1], [10, 0, 0, 2])
                    .unwrap();
            ip.dont_fragment = self.dont_fragment;
            ip.identification = self.identification;
            ip.header_checksum = ip.calc_header_checksum();
            ip.write(&mut packet).unwrap();
            [ip.source, ip.destination].concat()
        };
        let start = packet.len();
        let offset = if self.udp { 6 } else { 16 };
        let pseudo = [&addresses[..], &[0, protocol.0], &(l4.len() as u16).to_be_bytes()].concat();
        l4[offset..offset + 2].copy_from_slice(&ones_complement_sum(&pseudo).to_be_bytes());
        packet.extend(l4);
        let headers_len = start + l4_len;
        let header = VirtioHeader {
            needs_checksum: Some((start as u16, offset as u16)),
            gso: match (self.udp, self.v6) {
                (true, _) => Gso::Udp,
                (false, false) => Gso::TcpV4,
                (false, true) => Gso::TcpV6,
            },
            ecn: !self.udp && self.flags[3],
            header_len: headers_len as u16,
            gso_size: self.segment as u16,
        };
        Whole { header, packet, headers_len }
    }
}

fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

fn cut(whole: &Whole) -> Vec<Vec<u8>> {
    let mut packet = SuperPacket::parse(&whole.header, &whole.packet).unwrap();
    let mut cut = Vec::new();
    while let Some(len) = packet.next_len() {
        let mut out = vec![0; len];
        packet.cut_next(&whole.packet, &mut out);
        cut.push(out);
    }
    cut
}

/// Coalesces these packets; one super-packet, or packet with an empty header, after the other.
fn join(packets: &[Vec<u8>]) -> Vec<(VirtioHeader, Vec<u8>)> {
    let mut batch = Batch::with_capacity_bytes(1 << 20);
    for packet in packets {
        let slot = batch.push_copy(1, packet, 2).unwrap();
        batch.set_verdict(slot, Verdict::Deliver);
    }
    let mut coalescer = Coalescer::default();
    coalescer.build(&batch, Verdict::Deliver, ALL);
    let packet = |slot: &u8| batch.packet(usize::from(*slot));
    let supers = coalescer.supers().iter().map(|group| {
        let slots = &coalescer.members()[group.members()];
        if let [slot] = slots {
            return (VirtioHeader::default(), packet(slot).to_vec());
        }
        let mut headers = [0; HEADERS_BYTES_MAX];
        let header = group.emit_headers(packet(&slots[0]), &mut headers);
        let mut joined = headers[..group.header_len()].to_vec();
        slots.iter().for_each(|slot| joined.extend_from_slice(&packet(slot)[group.header_len()..]));
        (header, joined)
    });
    supers.collect()
}

prop_compose! {
    fn shape()(
        v6: bool,
        udp: bool,
        option_words in 0usize..=10,
        flags: [bool; 4],
        dont_fragment: bool,
        identification: u16,
        sequence: u32,
        segment in 1usize..1500,
        segments in 1usize..=64,
        last in 0.0f64..1.0,
        seed: u8,
    ) -> Shape {
        let payload = (segment * (segments - 1) + 1 + (last * (segment - 1) as f64) as usize)
            .min(65_000);
        Shape {
            v6,
            udp,
            options: vec![1; option_words * 4],
            flags,
            dont_fragment,
            identification,
            sequence,
            segment,
            payload: (0..payload).map(|at| (at as u8).wrapping_mul(seed | 1)).collect(),
        }
    }
}

proptest! {
    #[test]
    fn what_was_cut_is_whole_and_coalesces_to_the_same(shape in shape()) {
        let whole = shape.whole();
        let cut = cut(&whole);
        prop_assert_eq!(cut.len(), shape.payload.len().div_ceil(shape.segment));
        for packet in &cut {
            prop_assert!(packet.len() <= whole.headers_len + shape.segment);
            packets::check(packet);
        }
        let joined = join(&cut);
        prop_assert_eq!(joined.len(), 1);
        let (header, packet) = &joined[0];
        if cut.len() > 1 {
            prop_assert_eq!(header, &whole.header);
            prop_assert!(*packet == whole.packet, "bytes differ");
        } else {
            prop_assert_eq!(header, &VirtioHeader::default());
        }
    }

    #[test]
    fn flows_that_alternate_make_a_super_packet_each(shape in shape()) {
        let mut shapes = [shape.clone(), shape.clone(), shape];
        shapes[1].v6 = !shapes[1].v6;
        shapes[2].udp = !shapes[2].udp;
        for shape in &mut shapes {
            shape.payload.truncate(shape.segment * 21);
        }
        let wholes = shapes.map(|shape| shape.whole());
        let cuts = wholes.each_ref().map(cut);
        let mut mixed = Vec::new();
        for index in 0..21 {
            mixed.extend(cuts.iter().filter_map(|cut| cut.get(index)).cloned());
        }
        let joined = join(&mixed);
        prop_assert_eq!(joined.len(), 3);
        if cuts[0].len() > 1 {
            for (one, whole) in joined.iter().zip(&wholes) {
                prop_assert!(one.1 == whole.packet, "bytes differ");
            }
        }
    }

    #[test]
    fn a_packet_that_differs_from_the_others_is_not_joined(
        shape in shape().prop_filter("several", |shape| {
            shape.segment > 20 && shape.payload.len() > 3 * shape.segment
        }),
        at in 0usize..100,
        bit in 0u8..8,
    ) {
        let mut packets = cut(&shape.whole());
        let at = at % packets[1].len();
        packets[1][at] ^= 1 << bit;
        // Whatever was changed, some checksum is wrong now: the packet stays alone, and nothing is lost.
        let joined = join(&packets);
        let alone = joined.iter().filter(|(_, packet)| *packet == packets[1]).count();
        prop_assert_eq!(alone, 1);
        let payload: usize = joined.iter().map(|(_, packet)| packet.len()).sum();
        prop_assert!(payload >= shape.payload.len());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        fuzz_split(&bytes);
    }

    #[test]
    fn damaged_super_packets_never_panic(
        shape in shape(),
        damage in proptest::collection::vec((0usize..120, any::<u8>()), 0..8),
        cut_off in 0usize..200,
    ) {
        let whole = shape.whole();
        let mut bytes = [&whole.header.emit()[..], &whole.packet].concat();
        for (at, value) in damage {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(bytes.len().saturating_sub(cut_off));
        fuzz_split(&bytes);
    }
}

/// A TCP packet of one flow: sequence, flags, payload.
fn tcp(sequence: u32, flags: u8, payload: usize) -> Vec<u8> {
    let shape = Shape {
        v6: false,
        udp: false,
        options: vec![1; 12],
        flags: [0x08, 0x01, 0x40, 0x80].map(|flag| flags & flag != 0),
        dont_fragment: true,
        identification: 1,
        sequence,
        segment: 9000,
        payload: vec![5; payload],
    };
    cut(&shape.whole()).remove(0)
}

fn lens(packets: &[Vec<u8>]) -> Vec<usize> {
    join(packets).iter().map(|(_, packet)| packet.len() - 52).collect()
}

const ACK: u8 = 0x10;
const PSH: u8 = 0x18;
const CWR: u8 = 0x90;

#[test]
fn joining_follows_the_rules_of_the_kernels_gro() {
    let run = |flags: [u8; 3], payloads: [u32; 3]| {
        let mut sequence = u32::MAX - 150;
        let packets: Vec<_> = flags
            .iter()
            .zip(payloads)
            .map(|(flags, len)| {
                let packet = tcp(sequence, *flags, len as usize);
                sequence = sequence.wrapping_add(len);
                packet
            })
            .collect();
        lens(&packets)
    };
    assert_eq!(run([ACK, ACK, ACK], [100, 100, 100]), [300]);
    assert_eq!(run([ACK, ACK, ACK], [100, 50, 100]), [150, 100], "a shorter one is the last");
    assert_eq!(run([ACK, ACK, ACK], [50, 100, 100]), [50, 200], "a longer one begins anew");
    assert_eq!(run([ACK, PSH, ACK], [100, 100, 100]), [200, 100], "PSH is the last");
    assert_eq!(run([ACK, CWR, ACK], [100, 100, 100]), [100, 200], "CWR is the first");
    assert_eq!(run([ACK, ACK, ACK], [100, 0, 100]), [100, 0, 100], "an empty one keeps its place");
    let gap = [tcp(0, ACK, 100), tcp(101, ACK, 100)];
    assert_eq!(lens(&gap), [100, 100], "a gap");
    let swapped = [tcp(100, ACK, 100), tcp(0, ACK, 100), tcp(200, ACK, 100)];
    assert_eq!(lens(&swapped), [100, 100, 100], "what came late is not put right");
}

/// RFC 6864 section 4.1: the identification counts only where a packet may be fragmented.
#[test]
fn identifications_count_up_where_packets_may_be_fragmented() {
    let packets = |dont_fragment, identifications: [u16; 3]| {
        let packet = |(index, identification): (u32, u16)| {
            let shape = Shape {
                v6: false,
                udp: false,
                options: vec![1; 12],
                flags: [false; 4],
                dont_fragment,
                identification,
                sequence: index * 100,
                segment: 9000,
                payload: vec![5; 100],
            };
            cut(&shape.whole()).remove(0)
        };
        lens(&(0..).zip(identifications).map(packet).collect::<Vec<_>>())
    };
    assert_eq!(packets(false, [u16::MAX, 0, 1]), [300]);
    assert_eq!(packets(false, [1, 2, 4]), [200, 100]);
    assert_eq!(packets(true, [1, 1, 0]), [300]);
}

#[test]
fn a_packet_of_unknown_kind_is_not_overtaken() {
    let mut fragment = tcp(100, ACK, 100);
    fragment[6] = 0x20;
    let packets = [tcp(0, ACK, 100), fragment, tcp(100, ACK, 100)];
    assert_eq!(lens(&packets), [100, 100, 100]);
}

#[test]
fn super_packets_that_cannot_be_cut_say_why() {
    let packet = tcp(0, ACK, 100);
    let header = VirtioHeader {
        needs_checksum: Some((20, 16)),
        gso: Gso::TcpV4,
        gso_size: 50,
        ..VirtioHeader::default()
    };
    let error =
        |header: VirtioHeader, packet: &[u8]| SuperPacket::parse(&header, packet).unwrap_err();
    assert_eq!(error(header, &packet[..30]), SplitError::Truncated);
    assert_eq!(error(header, &[]), SplitError::Truncated);
    assert_eq!(error(VirtioHeader { gso_size: 0, ..header }, &packet), SplitError::NoSize);
    assert_eq!(error(VirtioHeader { gso: Gso::TcpV6, ..header }, &packet), SplitError::Version);
    let unknown = VirtioHeader { gso: Gso::Unknown(3), ..header };
    assert_eq!(error(unknown, &packet), SplitError::Unknown(3));
    let outside = VirtioHeader { needs_checksum: Some((20, 200)), ..VirtioHeader::default() };
    assert_eq!(error(outside, &packet), SplitError::Checksum);
    assert_eq!(HEADER_BYTES, header.emit().len());
}

#[test]
fn a_packet_alone_gets_its_checksum() {
    let whole = Shape {
        v6: true,
        udp: true,
        options: Vec::new(),
        flags: [false; 4],
        dont_fragment: true,
        identification: 0,
        sequence: 0,
        segment: 9000,
        payload: vec![9; 333],
    }
    .whole();
    let header = VirtioHeader { gso: Gso::None, gso_size: 0, ..whole.header };
    let cut = cut(&Whole { header, ..whole });
    assert_eq!(cut.len(), 1);
    packets::check(&cut[0]);
}

/// Of 65,536 packets that differ in one 16-bit word one has the checksum zero, which only UDP must not send.
#[test]
fn a_checksum_of_zero_is_zero_but_for_udp() {
    for udp in [false, true] {
        let mut zeros = 0;
        for word in 0..=u16::MAX {
            let payload = word.to_be_bytes().to_vec();
            let mut whole = Shape { udp, payload, ..SMALL }.whole();
            whole.header.gso = Gso::None;
            let packets = cut(&whole);
            packets::check(&packets[0]);
            let at = 20 + whole.header.needs_checksum.unwrap().1 as usize;
            let zero = if udp { [0xff, 0xff] } else { [0, 0] };
            zeros += usize::from(packets[0][at..at + 2] == zero);
        }
        assert_eq!(zeros, 1, "udp: {udp}");
    }
}

const SMALL: Shape = Shape {
    v6: false,
    udp: false,
    options: Vec::new(),
    flags: [false; 4],
    dont_fragment: true,
    identification: 1,
    sequence: 1,
    segment: 1348,
    payload: Vec::new(),
};
