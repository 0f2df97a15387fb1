//! `parse(emit(x)) = x` for every codec, for every x that its types can hold and its fields too.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use ringmail_packet::ethernet::{Address, EtherType};
use ringmail_packet::ip::{Addresses, Ecn};
use ringmail_packet::tcp::{Flags, Options, TcpOption, options};
use ringmail_packet::{
    Error, Layer, esp, ethernet, icmp, ipv4, ipv6, limits, mpls, nsh, tcp, udp, vlan,
};

fn ecn() -> impl Strategy<Value = Ecn> {
    (0..4u8).prop_map(Ecn::from_bits)
}

fn addresses() -> impl Strategy<Value = Addresses> {
    prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(src, dst)| Addresses::V4 { src, dst }),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(src, dst)| Addresses::V6 { src, dst }),
    ]
}

fn entry() -> impl Strategy<Value = mpls::Entry> {
    (0..=mpls::MAX_LABEL, 0..8u8, any::<bool>(), any::<u8>())
        .prop_map(|(label, tc, bottom, ttl)| mpls::Entry { label, tc, bottom, ttl })
}

/// An option as values that own their bytes.
#[derive(Clone, Debug)]
enum OwnedOption {
    Plain(TcpOption<'static>),
    Sack(Vec<(u32, u32)>),
    Other(u8, Vec<u8>),
}

fn option() -> impl Strategy<Value = OwnedOption> {
    let plain = prop_oneof![
        Just(TcpOption::NoOperation),
        any::<u16>().prop_map(TcpOption::MaxSegmentSize),
        any::<u8>().prop_map(TcpOption::WindowScale),
        Just(TcpOption::SackPermitted),
        any::<(u32, u32)>()
            .prop_map(|(value, echo_reply)| TcpOption::Timestamps { value, echo_reply }),
    ];
    let other_kind = prop_oneof![6..8u8, 9..=255u8];
    prop_oneof![
        4 => plain.prop_map(OwnedOption::Plain),
        1 => vec(any::<(u32, u32)>(), 1..5).prop_map(OwnedOption::Sack),
        1 => (other_kind, vec(any::<u8>(), 0..12)).prop_map(|(kind, data)| OwnedOption::Other(kind, data)),
    ]
}

/// Never written short: one byte less room is refused with nothing written.
fn refused_when_short(
    layer: Layer,
    needed_bytes: usize,
    emit: impl FnOnce(&mut [u8]) -> Result<(), Error>,
) {
    let mut short = vec![0xa5; needed_bytes - 1];
    let refused = Error::NoRoom { layer, needed_bytes, present_bytes: needed_bytes - 1 };
    assert_eq!(emit(&mut short), Err(refused));
    assert!(short.iter().all(|&byte| byte == 0xa5));
}

proptest! {
    #[test]
    fn ethernet(dst in any::<[u8; 6]>(), src in any::<[u8; 6]>(), ethertype in any::<u16>()) {
        let repr = ethernet::Repr { dst_addr: Address(dst), src_addr: Address(src), ethertype: EtherType(ethertype) };
        let mut bytes = vec![0xa5; repr.buffer_len()];
        repr.emit(&mut ethernet::Packet::new_unchecked(&mut bytes))?;
        prop_assert_eq!(ethernet::Repr::parse(&ethernet::Packet::new_checked(&bytes)?)?, repr);
        refused_when_short(Layer::Ethernet, bytes.len(), |short| repr.emit(&mut ethernet::Packet::new_unchecked(short)));
    }

    #[test]
    fn vlan(priority in 0..8u8, drop_eligible in any::<bool>(), id in 0..4096u16, ethertype in any::<u16>()) {
        let repr = vlan::Repr { priority, drop_eligible, id, ethertype: EtherType(ethertype) };
        let mut bytes = vec![0xa5; repr.buffer_len()];
        repr.emit(&mut vlan::Packet::new_unchecked(&mut bytes))?;
        prop_assert_eq!(vlan::Repr::parse(&vlan::Packet::new_checked(&bytes)?)?, repr);
        refused_when_short(Layer::Vlan, bytes.len(), |short| repr.emit(&mut vlan::Packet::new_unchecked(short)));
    }

    #[test]
    fn mpls_entry(entry in entry()) {
        let mut bytes = vec![0xa5; entry.buffer_len()];
        entry.emit(&mut mpls::Packet::new_unchecked(&mut bytes))?;
        prop_assert_eq!(mpls::Entry::parse(&mpls::Packet::new_checked(&bytes)?)?, entry);
        prop_assert_eq!(mpls::Entry::from_bytes(entry.to_bytes()), entry);
        refused_when_short(Layer::Mpls, bytes.len(), |short| entry.emit(&mut mpls::Packet::new_unchecked(short)));
    }

    #[test]
    fn mpls_stack(mut entries in vec(entry(), 1..=limits::MPLS_STACK_ENTRIES), payload in vec(any::<u8>(), 0..8)) {
        let mut bytes = vec![0xa5; entries.len() * mpls::ENTRY_LEN_BYTES];
        mpls::emit_stack(&entries, &mut bytes)?;
        let last = entries.len() - 1;
        entries.iter_mut().enumerate().for_each(|(index, entry)| entry.bottom = index == last);
        bytes.extend_from_slice(&payload);
        let stack = mpls::Stack::new_checked(&bytes)?;
        prop_assert_eq!(stack.entries().collect::<Vec<_>>(), entries);
        prop_assert_eq!(stack.payload(), payload);
    }

    #[test]
    fn nsh(
        (oam, next_protocol, si) in any::<(bool, u8, u8)>(),
        (ttl, spi) in (0..64u8, 0..=nsh::MAX_SPI),
        fixed in prop::option::weighted(0.2, any::<[u8; nsh::MD1_LEN_BYTES]>()),
        contexts in vec((any::<(u16, u8)>(), vec(any::<u8>(), 0..40)), 0..5),
        payload in vec(any::<u8>(), 0..8),
    ) {
        let contexts: Vec<_> = contexts
            .iter()
            .map(|((class, kind), value)| nsh::context::Context { class: *class, kind: *kind, value })
            .collect();
        let metadata_len = match fixed {
            Some(fixed) => fixed.len(),
            None => contexts.iter().map(|context| context.buffer_len()).sum(),
        };
        let md_type = if fixed.is_some() { nsh::md_type::FIXED } else { nsh::md_type::VARIABLE };
        let repr = nsh::Repr { oam, ttl, md_type, next_protocol, spi, si, metadata_len };
        let mut bytes = vec![0xa5; repr.buffer_len()];
        refused_when_short(Layer::Nsh, bytes.len(), |short| repr.emit(&mut nsh::Packet::new_unchecked(short)));
        let mut packet = nsh::Packet::new_unchecked(&mut bytes);
        repr.emit(&mut packet)?;
        match fixed {
            Some(fixed) => packet.metadata_mut().copy_from_slice(&fixed),
            None => {
                let mut rest = packet.metadata_mut();
                for context in &contexts {
                    let len = context.emit(rest)?;
                    rest = &mut rest[len..];
                }
            }
        }
        bytes.extend_from_slice(&payload);
        let packet = nsh::Packet::new_checked(&bytes[..])?;
        prop_assert_eq!(nsh::Repr::parse(&packet)?, repr);
        prop_assert_eq!(packet.payload(), payload);
        let read = packet.contexts().collect::<Result<Vec<_>, _>>()?;
        prop_assert_eq!(read, if fixed.is_some() { vec![] } else { contexts });
    }

    #[test]
    fn ipv4(
        (dscp, ecn, identification) in (0..64u8, ecn(), any::<u16>()),
        (dont_fragment, more_fragments, eighths) in (any::<bool>(), any::<bool>(), 0..0x2000u16),
        (ttl, protocol, src_addr, dst_addr) in any::<(u8, u8, Ipv4Addr, Ipv4Addr)>(),
        words in vec(any::<[u8; 4]>(), 0..=10),
        payload in vec(any::<u8>(), 0..64),
    ) {
        let options = words.concat();
        let repr = ipv4::Repr {
            dscp, ecn, identification, dont_fragment, more_fragments, fragment_offset_bytes: eighths * 8,
            ttl, protocol, src_addr, dst_addr, options: &options, payload_len: payload.len(),
        };
        let mut bytes = vec![0xa5; repr.buffer_len()];
        repr.emit(&mut ipv4::Packet::new_unchecked(&mut bytes))?;
        refused_when_short(Layer::Ipv4, bytes.len(), |short| repr.emit(&mut ipv4::Packet::new_unchecked(short)));
        bytes.extend_from_slice(&payload);
        let packet = ipv4::Packet::new_checked(&bytes)?;
        prop_assert_eq!(ipv4::Repr::parse(&packet)?, repr);
        prop_assert_eq!(packet.payload(), payload);
    }

    #[test]
    fn ipv6(
        (dscp, ecn, flow_label) in (0..64u8, ecn(), 0..=ipv6::MAX_FLOW_LABEL),
        (next_header, hop_limit, src_addr, dst_addr) in any::<(u8, u8, Ipv6Addr, Ipv6Addr)>(),
        payload in vec(any::<u8>(), 0..64),
    ) {
        let payload_len = payload.len() as u16;
        let repr = ipv6::Repr { dscp, ecn, flow_label, payload_len, next_header, hop_limit, src_addr, dst_addr };
        let mut bytes = vec![0xa5; repr.buffer_len()];
        repr.emit(&mut ipv6::Packet::new_unchecked(&mut bytes))?;
        refused_when_short(Layer::Ipv6, bytes.len(), |short| repr.emit(&mut ipv6::Packet::new_unchecked(short)));
        bytes.extend_from_slice(&payload);
        let packet = ipv6::Packet::new_checked(&bytes)?;
        prop_assert_eq!(ipv6::Repr::parse(&packet)?, repr);
        prop_assert_eq!(packet.payload(), payload);
    }

    #[test]
    fn ipv6_extension(next_header in any::<u8>(), units in 1..=256usize, fill in any::<u8>()) {
        let data: Vec<u8> = (0..units * 8 - 2).map(|at| (at as u8).wrapping_mul(fill)).collect();
        let repr = ipv6::extension::Repr { next_header, data: &data };
        let mut bytes = vec![0xa5; repr.buffer_len()];
        repr.emit(&mut ipv6::extension::Packet::new_unchecked(&mut bytes))?;
        prop_assert_eq!(ipv6::extension::Repr::parse(&ipv6::extension::Packet::new_checked(&bytes)?)?, repr);
        refused_when_short(Layer::Ipv6Extension, bytes.len(), |short| {
            repr.emit(&mut ipv6::extension::Packet::new_unchecked(short))
        });
    }

    #[test]
    fn ipv6_fragment(
        (next_header, more_fragments, identification) in any::<(u8, bool, u32)>(),
        eighths in 0..0x2000u16,
    ) {
        let repr = ipv6::fragment::Repr { next_header, offset_bytes: eighths * 8, more_fragments, identification };
        let mut bytes = vec![0xa5; repr.buffer_len()];
        repr.emit(&mut ipv6::fragment::Packet::new_unchecked(&mut bytes))?;
        prop_assert_eq!(ipv6::fragment::Repr::parse(&ipv6::fragment::Packet::new_checked(&bytes)?)?, repr);
        refused_when_short(Layer::Ipv6Extension, bytes.len(), |short| {
            repr.emit(&mut ipv6::fragment::Packet::new_unchecked(short))
        });
    }

    #[test]
    fn udp(
        (src_port, dst_port) in any::<(u16, u16)>(),
        payload in vec(any::<u8>(), 0..64),
        addresses in addresses(),
    ) {
        let repr = udp::Repr { src_port, dst_port, payload_len: payload.len() };
        let mut bytes = vec![0xa5; repr.buffer_len()];
        refused_when_short(Layer::Udp, bytes.len(), |short| repr.emit(&mut udp::Packet::new_unchecked(short)));
        bytes.extend_from_slice(&payload);
        let mut packet = udp::Packet::new_unchecked(&mut bytes);
        repr.emit(&mut packet)?;
        packet.fill_checksum(addresses);
        let packet = udp::Packet::new_checked(&bytes)?;
        prop_assert!(packet.verify_checksum(addresses));
        prop_assert_eq!(udp::Repr::parse(&packet)?, repr);
        prop_assert_eq!(packet.payload(), payload);
    }

    #[test]
    fn tcp(
        (src_port, dst_port, seq_number, ack_number) in any::<(u16, u16, u32, u32)>(),
        (flags, window, urgent_pointer) in (0..0x1000u16, any::<u16>(), any::<u16>()),
        owned in vec(option(), 0..6),
        payload in vec(any::<u8>(), 0..64),
        addresses in addresses(),
    ) {
        let blocks: Vec<Vec<u8>> = owned.iter().map(|option| match option {
            OwnedOption::Sack(blocks) => {
                blocks.iter().flat_map(|(left, right)| [left.to_be_bytes(), right.to_be_bytes()].concat()).collect()
            }
            OwnedOption::Plain(_) | OwnedOption::Other(..) => Vec::new(),
        }).collect();
        let written: Vec<TcpOption<'_>> = owned.iter().zip(&blocks).map(|(option, blocks)| match option {
            OwnedOption::Plain(option) => *option,
            OwnedOption::Sack(_) => TcpOption::Sack(options::SackBlocks::new(blocks).expect("whole blocks")),
            OwnedOption::Other(kind, data) => TcpOption::Other { kind: *kind, data },
        }).collect();
        let mut area = [0xa5; tcp::MAX_OPTIONS_LEN_BYTES];
        let len_bytes = match options::emit(&written, &mut area) {
            Ok(len_bytes) => len_bytes,
            Err(error) => {
                prop_assert!(written.iter().map(TcpOption::buffer_len).sum::<usize>() > tcp::MAX_OPTIONS_LEN_BYTES);
                prop_assert_eq!(error, Error::FieldValue { layer: Layer::Tcp, field: "options" });
                return Ok(());
            }
        };
        let options = Options::new(&area[..len_bytes]);
        prop_assert_eq!(options.collect::<Result<Vec<_>, _>>()?, written);
        let flags = Flags(flags);
        let repr = tcp::Repr { src_port, dst_port, seq_number, ack_number, flags, window, urgent_pointer, options };
        let mut bytes = vec![0xa5; repr.buffer_len()];
        refused_when_short(Layer::Tcp, bytes.len(), |short| repr.emit(&mut tcp::Packet::new_unchecked(short)));
        bytes.extend_from_slice(&payload);
        let mut packet = tcp::Packet::new_unchecked(&mut bytes);
        repr.emit(&mut packet)?;
        packet.fill_checksum(addresses);
        let packet = tcp::Packet::new_checked(&bytes)?;
        prop_assert!(packet.verify_checksum(addresses));
        prop_assert_eq!(tcp::Repr::parse(&packet)?, repr);
        prop_assert_eq!(packet.payload(), payload);
    }

    #[test]
    fn icmp_v4(choice in 0..4u8, (first, second) in any::<(u16, u16)>(), (kind, code, rest) in any::<(u8, u8, [u8; 4])>()) {
        use icmp::v4::Repr;
        let repr = match choice {
            0 => Repr::EchoRequest { identifier: first, sequence: second },
            1 => Repr::EchoReply { identifier: first, sequence: second },
            2 => Repr::FragmentationNeeded { mtu_bytes: first },
            _ => Repr::Other { kind, code, rest },
        };
        let mut packet = icmp::Packet::new_unchecked([0xa5; icmp::HEADER_LEN_BYTES]);
        match repr.emit(&mut packet) {
            Ok(()) => prop_assert_eq!(Repr::parse(&packet)?, repr),
            Err(error) => {
                prop_assert_eq!(error, Error::FieldValue { layer: Layer::Icmpv4, field: "kind" });
                prop_assert!(matches!((kind, code, rest), (0 | 8, 0, _) | (3, 4, [0, 0, ..])));
            }
        }
    }

    #[test]
    fn icmp_v6(choice in 0..4u8, (first, second) in any::<(u16, u16)>(), (kind, code, rest) in any::<(u8, u8, [u8; 4])>()) {
        use icmp::v6::Repr;
        let repr = match choice {
            0 => Repr::EchoRequest { identifier: first, sequence: second },
            1 => Repr::EchoReply { identifier: first, sequence: second },
            2 => Repr::PacketTooBig { mtu_bytes: u32::from_be_bytes(rest) },
            _ => Repr::Other { kind, code, rest },
        };
        let mut packet = icmp::Packet::new_unchecked([0xa5; icmp::HEADER_LEN_BYTES]);
        match repr.emit(&mut packet) {
            Ok(()) => prop_assert_eq!(Repr::parse(&packet)?, repr),
            Err(error) => {
                prop_assert_eq!(error, Error::FieldValue { layer: Layer::Icmpv6, field: "kind" });
                prop_assert!(matches!((kind, code), (2 | 128 | 129, 0)));
            }
        }
    }

    #[test]
    fn esp_header((spi, seq_low, iv) in any::<(u32, u32, u64)>(), behind in 20..64usize) {
        let repr = esp::Repr { spi, seq_low, iv };
        let mut bytes = vec![0xa5; repr.buffer_len()];
        refused_when_short(Layer::Esp, bytes.len(), |short| repr.emit(&mut esp::Packet::new_unchecked(short)));
        repr.emit(&mut esp::Packet::new_unchecked(&mut bytes))?;
        bytes.resize(bytes.len() + behind, 0xa5);
        prop_assert_eq!(esp::Repr::parse(&esp::Packet::new_checked(&bytes)?)?, repr);
    }

    #[test]
    fn esp_trailer(payload in vec(any::<u8>(), 0..64), next_header in any::<u8>()) {
        let trailer = esp::Trailer { payload_len: payload.len(), next_header };
        let mut bytes = payload.clone();
        bytes.resize(payload.len() + trailer.buffer_len(), 0xa5);
        prop_assert_eq!(trailer.emit(&mut bytes), Ok(bytes.len()));
        prop_assert_eq!(esp::Trailer::parse(&bytes)?, trailer);
        prop_assert_eq!(&bytes[..payload.len()], &payload[..]);
        prop_assert_eq!(esp::packet_len_bytes(payload.len()), bytes.len() + esp::HEADER_LEN_BYTES + esp::ICV_LEN_BYTES);
    }
}
