//! Every field of every header in every capture, as `etherparse` reads it.

use etherparse::{
    EtherType, Icmpv4Slice, Icmpv6Slice, Ipv6ExtensionSlice, LinkExtSlice, LinkSlice, NetSlice,
    SlicedPacket, TcpOptionElement, TcpSlice, TransportSlice, UdpSlice,
};
use ringmail_packet::flow::{FlowError, FlowKey};
use ringmail_packet::ip::{Addresses, protocol};
use ringmail_packet::tcp::{Flags, TcpOption};
use ringmail_packet::{checksum, icmp, ipv4, ipv6, tcp, udp};

use crate::capture::{self, Network};

/// How many headers of each kind were compared, so that an empty comparison shows.
#[derive(Debug, Default)]
struct Seen {
    tags: usize,
    ipv4: usize,
    ipv4_options: usize,
    ipv6: usize,
    extensions: usize,
    fragments: usize,
    udp: usize,
    tcp: usize,
    sack: usize,
    icmpv4: usize,
    icmpv6: usize,
}

#[test]
fn etherparse_reads_the_same_from_every_capture() {
    let mut seen = Seen::default();
    for name in capture::ALL {
        for (index, frame) in capture::frames(name).iter().enumerate() {
            let index = index + 1;
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| same_frame(frame, &mut seen)))
                .unwrap_or_else(|_| panic!("{name}.pcap, frame {index}"));
        }
    }
    let Seen { tags, ipv4, ipv4_options, ipv6, extensions, fragments, .. } = seen;
    assert!(tags >= 5 && ipv4 >= 60 && ipv4_options >= 4 && ipv6 >= 60, "{seen:?}");
    assert!(extensions >= 12 && fragments >= 10, "{seen:?}");
    let Seen { udp, tcp, sack, icmpv4, icmpv6, .. } = seen;
    assert!(udp >= 25 && tcp >= 50 && sack >= 5 && icmpv4 >= 15 && icmpv6 >= 20, "{seen:?}");
}

fn same_frame(frame: &[u8], seen: &mut Seen) {
    let link = capture::link(frame);
    let sliced = SlicedPacket::from_ethernet(frame).expect("etherparse reads it");
    let Some(LinkSlice::Ethernet2(ethernet)) = &sliced.link else { panic!("no Ethernet") };
    assert_eq!(link.ethernet.dst_addr().0, ethernet.destination());
    assert_eq!(link.ethernet.src_addr().0, ethernet.source());
    assert_eq!(EtherType(link.ethernet.ethertype().0), ethernet.ether_type());
    assert_eq!(link.ethernet.payload(), ethernet.payload_slice());
    assert_eq!(link.tags.len(), sliced.link_exts.len());
    for (tag, other) in link.tags.iter().zip(&sliced.link_exts) {
        let LinkExtSlice::Vlan(other) = other else { panic!("no tag") };
        seen.tags += 1;
        assert_eq!(tag.priority(), other.priority_code_point().value());
        assert_eq!(tag.drop_eligible(), other.drop_eligible_indicator());
        assert_eq!(tag.id(), other.vlan_identifier().value());
        assert_eq!(EtherType(tag.ethertype().0), other.ether_type());
        assert_eq!(tag.payload(), other.payload_slice());
    }
    if !link.is_ip {
        return;
    }
    // etherparse knows no MPLS: below a stack it begins anew.
    let sliced = match link.stack {
        Some(_) => SlicedPacket::from_ip(link.payload).expect("etherparse reads it"),
        None => sliced,
    };
    same_packet(link.payload, &sliced, seen);
    let (_, inner) = capture::steered(frame);
    if inner.as_ptr() != link.payload.as_ptr() {
        same_packet(inner, &SlicedPacket::from_ip(inner).expect("etherparse reads it"), seen);
    }
}

fn same_packet(packet: &[u8], sliced: &SlicedPacket<'_>, seen: &mut Seen) {
    match sliced.net.as_ref().expect("an IP header") {
        NetSlice::Ipv4(other) => {
            same_ipv4(packet, other, seen);
        }
        NetSlice::Ipv6(other) => {
            same_ipv6(packet, other, seen);
        }
        NetSlice::Arp(_) => panic!("ARP where IP should be"),
    }
    let network = capture::network(packet);
    seen.fragments += usize::from(network.is_fragment);
    let ports = match &sliced.transport {
        Some(TransportSlice::Udp(other)) => same_udp(&network, other, seen),
        Some(TransportSlice::Tcp(other)) => same_tcp(&network, other, seen),
        Some(TransportSlice::Icmpv4(other)) => same_icmpv4(&network, other, seen),
        Some(TransportSlice::Icmpv6(other)) => same_icmpv6(&network, other, seen),
        Some(TransportSlice::Igmp(_)) | None => (0, 0),
    };
    let key = FlowKey::of(packet);
    if network.is_fragment {
        assert_eq!(key, Err(FlowError::Fragment));
        return;
    }
    let key = key.expect("a flow key");
    assert_eq!((key.src, key.dst), (network.addresses.src(), network.addresses.dst()));
    assert_eq!(key.protocol, network.protocol);
    if key.protocol != protocol::SCTP {
        assert_eq!((key.src_port, key.dst_port), ports);
    }
}

fn same_ipv4(packet: &[u8], other: &etherparse::Ipv4Slice<'_>, seen: &mut Seen) {
    let header = other.header();
    let packet = ipv4::Packet::new_checked(packet).expect("an IPv4 header");
    seen.ipv4 += 1;
    seen.ipv4_options += usize::from(!packet.options().is_empty());
    assert_eq!(packet.version(), header.version());
    assert_eq!(packet.header_len(), usize::from(header.ihl()) * 4);
    assert_eq!(packet.dscp(), header.dcp().value());
    assert_eq!(packet.ecn().bits(), header.ecn().value());
    assert_eq!(packet.total_len(), header.total_len());
    assert_eq!(packet.identification(), header.identification());
    assert_eq!(packet.dont_fragment(), header.dont_fragment());
    assert_eq!(packet.more_fragments(), header.more_fragments());
    assert_eq!(packet.fragment_offset_bytes(), header.fragments_offset().byte_offset());
    assert_eq!(packet.is_fragment(), header.is_fragmenting_payload());
    assert_eq!(packet.ttl(), header.ttl());
    assert_eq!(packet.protocol(), header.protocol().0);
    assert_eq!(packet.checksum(), header.header_checksum());
    assert_eq!(packet.src_addr(), header.source_addr());
    assert_eq!(packet.dst_addr(), header.destination_addr());
    assert_eq!(packet.options(), header.options());
    assert_eq!(packet.payload(), other.payload().payload);
    assert_eq!(packet.checksum(), header.to_header().calc_header_checksum());
    assert!(packet.verify_checksum());
    let mut bytes = header.slice().to_vec();
    let mut changed = ipv4::Packet::new_unchecked(&mut bytes);
    changed.rewrite_ttl(packet.ttl().wrapping_sub(1));
    let anew = etherparse::Ipv4HeaderSlice::from_slice(&bytes).expect("a header").to_header();
    assert_eq!(anew.header_checksum, anew.calc_header_checksum());
}

fn same_ipv6(packet: &[u8], other: &etherparse::Ipv6Slice<'_>, seen: &mut Seen) {
    let header = other.header();
    let packet = ipv6::Packet::new_checked(packet).expect("an IPv6 header");
    seen.ipv6 += 1;
    assert_eq!(packet.version(), header.version());
    assert_eq!(packet.dscp(), header.dscp().value());
    assert_eq!(packet.ecn().bits(), header.ecn().value());
    assert_eq!(packet.flow_label(), header.flow_label().value());
    assert_eq!(packet.payload_len(), header.payload_length());
    assert_eq!(packet.next_header(), header.next_header().0);
    assert_eq!(packet.hop_limit(), header.hop_limit());
    assert_eq!(packet.src_addr(), header.source_addr());
    assert_eq!(packet.dst_addr(), header.destination_addr());
    let upper = packet.upper_layer().expect("extension headers");
    assert_eq!(upper.protocol, other.payload().ip_number.0);
    assert_eq!(upper.payload, other.payload().payload);
    assert_eq!(upper.extensions_len_bytes, other.extensions().slice().len());
    assert_eq!(upper.is_fragment(), other.is_payload_fragmented());
    for extension in other.extensions().clone() {
        seen.extensions += 1;
        same_extension(&extension, upper.fragment);
    }
}

fn same_extension(other: &Ipv6ExtensionSlice<'_>, fragment: Option<ipv6::fragment::Repr>) {
    let raw = match other {
        Ipv6ExtensionSlice::HopByHop(raw)
        | Ipv6ExtensionSlice::Routing(raw)
        | Ipv6ExtensionSlice::DestinationOptions(raw) => raw,
        Ipv6ExtensionSlice::Fragment(other) => {
            let fragment = fragment.expect("a Fragment header");
            assert_eq!(fragment.next_header, other.next_header().0);
            assert_eq!(fragment.offset_bytes, other.fragment_offset().byte_offset());
            assert_eq!(fragment.more_fragments, other.more_fragments());
            assert_eq!(fragment.identification, other.identification());
            return;
        }
        // Stepped over only, which the lengths above have compared.
        Ipv6ExtensionSlice::Authentication(_) => return,
    };
    let packet = ipv6::extension::Packet::new_checked(raw.slice()).expect("an extension header");
    assert_eq!(packet.next_header(), raw.next_header().0);
    assert_eq!(packet.header_len(), raw.slice().len());
    assert_eq!(packet.data(), raw.payload());
}

fn same_udp(network: &Network<'_>, other: &UdpSlice<'_>, seen: &mut Seen) -> (u16, u16) {
    let packet = udp::Packet::new_checked(network.payload).expect("a UDP header");
    seen.udp += 1;
    assert_eq!(packet.src_port(), other.source_port());
    assert_eq!(packet.dst_port(), other.destination_port());
    assert_eq!(packet.len(), other.length());
    assert_eq!(packet.checksum(), other.checksum());
    assert_eq!(packet.payload(), other.payload());
    let header = other.to_header();
    let right = match network.addresses {
        Addresses::V4 { src, dst } => {
            header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), other.payload())
        }
        Addresses::V6 { src, dst } => {
            header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), other.payload())
        }
    };
    let mut copy = udp::Packet::new_unchecked(network.payload.to_vec());
    copy.fill_checksum(network.addresses);
    assert_eq!(copy.checksum(), right.expect("a length in range"));
    assert!(packet.verify_checksum(network.addresses));
    (packet.src_port(), packet.dst_port())
}

fn same_tcp(network: &Network<'_>, other: &TcpSlice<'_>, seen: &mut Seen) -> (u16, u16) {
    let packet = tcp::Packet::new_checked(network.payload).expect("a TCP header");
    seen.tcp += 1;
    assert_eq!(packet.src_port(), other.source_port());
    assert_eq!(packet.dst_port(), other.destination_port());
    assert_eq!(packet.seq_number(), other.sequence_number());
    assert_eq!(packet.ack_number(), other.acknowledgment_number());
    assert_eq!(packet.header_len(), usize::from(other.data_offset()) * 4);
    assert_eq!(packet.window(), other.window_size());
    assert_eq!(packet.urgent_pointer(), other.urgent_pointer());
    let flags = [
        (Flags::FIN, other.fin()),
        (Flags::SYN, other.syn()),
        (Flags::RST, other.rst()),
        (Flags::PSH, other.psh()),
        (Flags::ACK, other.ack()),
        (Flags::URG, other.urg()),
        (Flags::ECE, other.ece()),
        (Flags::CWR, other.cwr()),
        (Flags::AE, other.ns()),
    ];
    for (flag, set) in flags {
        assert_eq!(packet.flags().contains(flag), set, "{flag:?}");
    }
    assert_eq!(packet.options().as_bytes(), other.options());
    assert_eq!(packet.payload(), other.payload());
    let ours: Vec<_> =
        packet.options().map(|option| same_option(option.expect("an option"), seen)).collect();
    let theirs: Vec<_> =
        other.options_iterator().map(|option| option.expect("an option")).collect();
    assert_eq!(ours, theirs);
    let right = match network.addresses {
        Addresses::V4 { src, dst } => other.calc_checksum_ipv4(src.octets(), dst.octets()),
        Addresses::V6 { src, dst } => other.calc_checksum_ipv6(src.octets(), dst.octets()),
    };
    assert_eq!(packet.checksum(), right.expect("a length in range"));
    assert!(packet.verify_checksum(network.addresses));
    (packet.src_port(), packet.dst_port())
}

fn same_option(option: TcpOption<'_>, seen: &mut Seen) -> TcpOptionElement {
    match option {
        TcpOption::NoOperation => TcpOptionElement::Noop,
        TcpOption::MaxSegmentSize(size) => TcpOptionElement::MaximumSegmentSize(size),
        TcpOption::WindowScale(shift) => TcpOptionElement::WindowScale(shift),
        TcpOption::SackPermitted => TcpOptionElement::SelectiveAcknowledgementPermitted,
        TcpOption::Timestamps { value, echo_reply } => {
            TcpOptionElement::Timestamp(value, echo_reply)
        }
        TcpOption::Sack(blocks) => {
            seen.sack += 1;
            let mut blocks = blocks.iter();
            let first = blocks.next().expect("a block");
            TcpOptionElement::SelectiveAcknowledgement(
                first,
                [blocks.next(), blocks.next(), blocks.next()],
            )
        }
        TcpOption::Other { kind, .. } => panic!("option {kind}"),
    }
}

fn same_icmpv4(network: &Network<'_>, other: &Icmpv4Slice<'_>, seen: &mut Seen) -> (u16, u16) {
    let packet = icmp::Packet::new_checked(network.payload).expect("an ICMP header");
    seen.icmpv4 += 1;
    assert_eq!(packet.kind(), other.type_u8());
    assert_eq!(packet.code(), other.code_u8());
    assert_eq!(packet.checksum(), other.checksum());
    assert_eq!(packet.rest_of_header(), other.bytes5to8());
    assert_eq!(packet.payload(), other.payload());
    let ours = icmp::v4::Repr::parse(&packet).expect("an ICMP header");
    match other.icmp_type() {
        etherparse::Icmpv4Type::EchoRequest(echo) => {
            assert_eq!(
                ours,
                icmp::v4::Repr::EchoRequest { identifier: echo.id, sequence: echo.seq }
            );
        }
        etherparse::Icmpv4Type::EchoReply(echo) => {
            assert_eq!(ours, icmp::v4::Repr::EchoReply { identifier: echo.id, sequence: echo.seq });
        }
        etherparse::Icmpv4Type::DestinationUnreachable(
            etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu },
        ) => {
            assert_eq!(ours, icmp::v4::Repr::FragmentationNeeded { mtu_bytes: next_hop_mtu });
        }
        _ => assert!(matches!(ours, icmp::v4::Repr::Other { .. })),
    }
    if !network.is_fragment {
        let right = other.icmp_type().calc_checksum(other.payload());
        assert_eq!(packet.checksum(), right);
        assert!(packet.verify_checksum(network.addresses));
    }
    (0, 0)
}

fn same_icmpv6(network: &Network<'_>, other: &Icmpv6Slice<'_>, seen: &mut Seen) -> (u16, u16) {
    let packet = icmp::Packet::new_checked(network.payload).expect("an ICMPv6 header");
    seen.icmpv6 += 1;
    assert_eq!(packet.kind(), other.type_u8());
    assert_eq!(packet.code(), other.code_u8());
    assert_eq!(packet.checksum(), other.checksum());
    assert_eq!(packet.rest_of_header(), other.bytes5to8());
    assert_eq!(packet.payload(), other.payload());
    let ours = icmp::v6::Repr::parse(&packet).expect("an ICMPv6 header");
    match other.icmp_type() {
        etherparse::Icmpv6Type::EchoRequest(echo) => {
            assert_eq!(
                ours,
                icmp::v6::Repr::EchoRequest { identifier: echo.id, sequence: echo.seq }
            );
        }
        etherparse::Icmpv6Type::EchoReply(echo) => {
            assert_eq!(ours, icmp::v6::Repr::EchoReply { identifier: echo.id, sequence: echo.seq });
        }
        etherparse::Icmpv6Type::PacketTooBig { mtu } => {
            assert_eq!(ours, icmp::v6::Repr::PacketTooBig { mtu_bytes: mtu });
        }
        _ => assert!(matches!(ours, icmp::v6::Repr::Other { .. })),
    }
    let Addresses::V6 { src, dst } = network.addresses else { panic!("ICMPv6 in IPv4") };
    if !network.is_fragment {
        assert!(other.is_checksum_valid(src.octets(), dst.octets()));
        assert!(packet.verify_checksum(network.addresses));
    }
    (0, 0)
}

/// The sum of each whole frame, as etherparse's own adder has it.
#[test]
fn etherparse_adds_up_the_same() {
    for name in capture::ALL {
        for frame in capture::frames(name) {
            let theirs = etherparse::checksum::Sum16BitWords::new().add_slice(&frame);
            assert_eq!(!checksum::data(&frame), theirs.ones_complement().to_be());
        }
    }
}
