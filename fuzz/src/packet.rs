//! The bodies of the fuzz targets of `ringmail-packet`: one function a codec, which takes any bytes, calls everything that the
//! codec has, and panics where a promise is broken. `crates/packet/tests` calls them too, with the committed corpus.

use std::net::{Ipv4Addr, Ipv6Addr};

use ringmail_packet::flow::{FlowError, FlowKey};
use ringmail_packet::ip::{Addresses, Ecn};
use ringmail_packet::{
    Error, Layer, checksum, esp, ethernet, icmp, ipv4, ipv6, limits, mpls, nsh, tcp, udp, vlan,
};

/// The body of one target.
pub type Body = fn(&[u8]);

/// Every target by name; the name is the corpus's folder too.
pub const TARGETS: [(&str, Body); 12] = [
    ("packet_checksum", checksum),
    ("packet_esp", esp),
    ("packet_ethernet", ethernet),
    ("packet_flow", flow),
    ("packet_icmp", icmp),
    ("packet_ipv4", ipv4),
    ("packet_ipv6", ipv6),
    ("packet_mpls", mpls),
    ("packet_nsh", nsh),
    ("packet_tcp", tcp),
    ("packet_udp", udp),
    ("packet_vlan", vlan),
];

const V4: Addresses =
    Addresses::V4 { src: Ipv4Addr::new(10, 0, 0, 1), dst: Ipv4Addr::new(255, 255, 255, 254) };
const V6: Addresses = Addresses::V6 {
    src: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    dst: Ipv6Addr::new(0xffff, 0xffff, 0xffff, 0xffff, 0, 0, 0, 2),
};

/// The first byte says where the bytes are cut: parts of even length must combine to the whole.
pub fn checksum(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let mut expected = 0u32;
    for word in bytes.chunks(2) {
        expected += u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low));
        expected = (expected & 0xffff) + (expected >> 16);
    }
    assert_eq!(u32::from(checksum::data(bytes)), expected);
    let (first, second) = bytes.split_at((usize::from(cut) * 2).min(bytes.len() & !1));
    let parts = [checksum::data(first), checksum::data(second)];
    assert_eq!(u32::from(checksum::combine(&parts)), expected);
    let mut changed = bytes.to_vec();
    if let [old_high, old_low, ..] = *bytes {
        let old = u16::from_be_bytes([old_high, old_low]);
        let new = old.rotate_left(3) ^ u16::from(cut);
        changed[..2].copy_from_slice(&new.to_be_bytes());
        let updated = !checksum::update(!checksum::data(bytes), old, new);
        // 0 and 0xffff are the same number; only bytes that are all zero have the sum 0.
        assert_eq!(updated % 0xffff, checksum::data(&changed) % 0xffff);
    }
}

/// A frame.
pub fn ethernet(data: &[u8]) {
    let Ok(packet) = ethernet::Packet::new_checked(data) else { return };
    assert_eq!(packet.payload().len(), data.len() - ethernet::HEADER_LEN_BYTES);
    let repr = ethernet::Repr::parse(&packet).expect("a checked packet parses");
    let mut bytes = vec![0xa5; repr.buffer_len()];
    repr.emit(&mut ethernet::Packet::new_unchecked(&mut bytes)).expect("there is room");
    assert_eq!(bytes, data[..bytes.len()]);
}

/// A tag.
pub fn vlan(data: &[u8]) {
    let Ok(packet) = vlan::Packet::new_checked(data) else { return };
    assert_eq!(packet.payload().len(), data.len() - vlan::HEADER_LEN_BYTES);
    let repr = vlan::Repr::parse(&packet).expect("a checked packet parses");
    let mut bytes = vec![0xa5; repr.buffer_len()];
    repr.emit(&mut vlan::Packet::new_unchecked(&mut bytes)).expect("there is room");
    assert_eq!(bytes, data[..bytes.len()]);
}

/// A label stack.
pub fn mpls(data: &[u8]) {
    if let Ok(packet) = mpls::Packet::new_checked(data) {
        let entry = mpls::Entry::parse(&packet).expect("a checked packet parses");
        let parts = (packet.label(), packet.tc(), packet.bottom(), packet.ttl());
        assert_eq!(parts, (entry.label, entry.tc, entry.bottom, entry.ttl));
        assert_eq!(entry.to_bytes(), data[..mpls::ENTRY_LEN_BYTES]);
    }
    let Ok(stack) = mpls::Stack::new_checked(data) else { return };
    let entries: Vec<_> = stack.entries().collect();
    assert_eq!(entries.len(), stack.depth());
    assert!((1..=limits::MPLS_STACK_ENTRIES).contains(&stack.depth()));
    assert_eq!(entries.iter().filter(|entry| entry.bottom).count(), 1);
    assert_eq!(stack.header_len() + stack.payload().len(), data.len());
    let mut bytes = vec![0xa5; stack.header_len()];
    assert_eq!(mpls::emit_stack(&entries, &mut bytes), Ok(stack.header_len()));
    assert_eq!(bytes, data[..bytes.len()]);
}

/// An IPv4 packet.
pub fn ipv4(data: &[u8]) {
    let Ok(packet) = ipv4::Packet::new_checked(data) else { return };
    let (header, total) = (packet.header_len(), usize::from(packet.total_len()));
    assert_eq!(packet.options().len(), header - ipv4::MIN_HEADER_LEN_BYTES);
    assert_eq!(packet.payload().len(), total - header);
    let parsed = ipv4::Repr::parse(&packet);
    assert_eq!(parsed.is_ok(), packet.verify_checksum());

    let mut copy = ipv4::Packet::new_checked(data.to_vec()).expect("the same bytes");
    copy.fill_checksum();
    assert!(copy.verify_checksum());
    copy.rewrite_ttl(packet.ttl().wrapping_sub(1));
    copy.rewrite_ecn(Ecn::from_bits(data[0] ^ data[19]));
    copy.rewrite_dscp(data[18]);
    copy.rewrite_identification(packet.identification().wrapping_add(7));
    assert!(copy.verify_checksum());
    assert_eq!(copy.payload_mut(), packet.payload());
    assert_eq!(copy.options_mut(), packet.options());

    let bytes = copy.into_inner();
    let repr =
        ipv4::Repr::parse(&ipv4::Packet::new_unchecked(&bytes[..])).expect("a right checksum");
    let mut written = vec![0xa5; repr.buffer_len()];
    repr.emit(&mut ipv4::Packet::new_unchecked(&mut written)).expect("there is room");
    written.extend_from_slice(packet.payload());
    assert_eq!(ipv4::Repr::parse(&ipv4::Packet::new_unchecked(&written[..])), Ok(repr));
}

/// An IPv6 packet with its extension headers.
pub fn ipv6(data: &[u8]) {
    let Ok(packet) = ipv6::Packet::new_checked(data) else { return };
    let repr = ipv6::Repr::parse(&packet).expect("a checked packet parses");
    let mut bytes = vec![0xa5; repr.buffer_len()];
    repr.emit(&mut ipv6::Packet::new_unchecked(&mut bytes)).expect("there is room");
    assert_eq!(bytes, data[..bytes.len()]);
    let mut copy = ipv6::Packet::new_checked(data.to_vec()).expect("the same bytes");
    copy.set_hop_limit(packet.hop_limit().wrapping_sub(1));
    copy.set_ecn(Ecn::Ce);
    assert_eq!((copy.dscp(), copy.flow_label()), (packet.dscp(), packet.flow_label()));
    assert_eq!(copy.payload_mut(), packet.payload());

    extension(packet.payload());
    let Ok(upper) = packet.upper_layer() else { return };
    assert_eq!(upper.extensions_len_bytes + upper.payload.len(), packet.payload().len());
    let is_later_fragment = upper.fragment.is_some_and(|fragment| fragment.offset_bytes > 0);
    assert!(is_later_fragment || !ipv6::extension::is_extension(upper.protocol));
}

fn extension(data: &[u8]) {
    if let Ok(packet) = ipv6::extension::Packet::new_checked(data) {
        let repr = ipv6::extension::Repr::parse(&packet).expect("a checked packet parses");
        let mut bytes = vec![0xa5; repr.buffer_len()];
        repr.emit(&mut ipv6::extension::Packet::new_unchecked(&mut bytes)).expect("there is room");
        assert_eq!(bytes, data[..bytes.len()]);
        assert_eq!(bytes.len() + packet.payload().len(), data.len());
    }
    if let Ok(packet) = ipv6::fragment::Packet::new_checked(data) {
        let repr = ipv6::fragment::Repr::parse(&packet).expect("a checked packet parses");
        let mut bytes = vec![0xa5; repr.buffer_len()];
        repr.emit(&mut ipv6::fragment::Packet::new_unchecked(&mut bytes)).expect("there is room");
        let again = ipv6::fragment::Repr::parse(&ipv6::fragment::Packet::new_unchecked(&bytes));
        assert_eq!(again, Ok(repr));
    }
}

/// A packet that begins with an NSH, and the same bytes as context headers.
pub fn nsh(data: &[u8]) {
    use ringmail_packet::nsh::context::Contexts;
    let mut walked = 0;
    for context in Contexts::new(data).map_while(Result::ok) {
        let mut bytes = vec![0xa5; context.buffer_len()];
        assert_eq!(context.emit(&mut bytes), Ok(bytes.len()));
        assert_eq!(Contexts::new(&bytes).next(), Some(Ok(context)));
        walked += bytes.len();
    }
    assert!(walked <= data.len());

    let Ok(packet) = nsh::Packet::new_checked(data) else { return };
    let repr = nsh::Repr::parse(&packet).expect("a checked packet parses");
    assert_eq!(repr.buffer_len() + packet.payload().len(), data.len());
    assert!(packet.contexts().all(|context| context.is_ok()) || repr.md_type == 2);
    let mut bytes = data.to_vec();
    let mut copy = nsh::Packet::new_unchecked(&mut bytes);
    copy.set_ttl(repr.ttl.wrapping_sub(1));
    copy.set_si(!repr.si);
    copy.metadata_mut().fill(0);
    match repr.emit(&mut copy) {
        Ok(()) => assert_eq!(nsh::Repr::parse(&copy), Ok(repr)),
        Err(error) => {
            assert_eq!(error, Error::FieldValue { layer: Layer::Nsh, field: "metadata type" });
            assert!(!(1..=2).contains(&repr.md_type));
        }
    }
}

/// A UDP datagram.
pub fn udp(data: &[u8]) {
    let Ok(packet) = udp::Packet::new_checked(data) else { return };
    let repr = udp::Repr::parse(&packet).expect("a checked packet parses");
    assert_eq!(packet.payload().len(), repr.payload_len);
    packet.verify_checksum(V4);
    for addresses in [V4, V6] {
        let mut bytes = vec![0xa5; repr.buffer_len()];
        bytes.extend_from_slice(packet.payload());
        let mut copy = udp::Packet::new_unchecked(&mut bytes);
        repr.emit(&mut copy).expect("there is room");
        copy.fill_checksum(addresses);
        assert!(copy.verify_checksum(addresses) && copy.checksum() != 0);
        assert_eq!(udp::Repr::parse(&copy), Ok(repr));
        assert_eq!(copy.payload_mut(), packet.payload());
    }
}

/// A TCP segment.
pub fn tcp(data: &[u8]) {
    let Ok(packet) = tcp::Packet::new_checked(data) else { return };
    assert_eq!(packet.header_len() + packet.payload().len(), data.len());
    let options: Result<Vec<_>, Error> = packet.options().collect();
    let parsed = tcp::Repr::parse(&packet);
    assert_eq!(parsed.map(|_| ()), options.clone().map(|_| ()));

    let mut copy = tcp::Packet::new_checked(data.to_vec()).expect("the same bytes");
    for addresses in [V4, V6] {
        copy.fill_checksum(addresses);
        assert!(copy.verify_checksum(addresses));
    }
    let is_syn = packet.flags().contains(tcp::Flags::SYN);
    let changed = copy.clamp_mss(packet.window());
    assert!(copy.verify_checksum(V6));
    assert!(is_syn || !changed);
    assert!(!copy.clamp_mss(packet.window()));

    let (Ok(repr), Ok(options)) = (parsed, options) else { return };
    let mut bytes = vec![0xa5; repr.buffer_len()];
    repr.emit(&mut tcp::Packet::new_unchecked(&mut bytes)).expect("there is room");
    assert_eq!(tcp::Repr::parse(&tcp::Packet::new_unchecked(&bytes[..])), Ok(repr));
    let mut area = [0xa5; tcp::MAX_OPTIONS_LEN_BYTES];
    let len_bytes = tcp::options::emit(&options, &mut area).expect("they came from one header");
    let again: Result<Vec<_>, Error> = tcp::Options::new(&area[..len_bytes]).collect();
    assert_eq!(again, Ok(options));
}

/// An ICMP or ICMPv6 message.
pub fn icmp(data: &[u8]) {
    let Ok(packet) = icmp::Packet::new_checked(data) else { return };
    let v4 = icmp::v4::Repr::parse(&packet).expect("a checked packet parses");
    let v6 = icmp::v6::Repr::parse(&packet).expect("a checked packet parses");
    for addresses in [V4, V6] {
        let mut bytes = vec![0xa5; v4.buffer_len()];
        bytes.extend_from_slice(packet.payload());
        let mut copy = icmp::Packet::new_unchecked(&mut bytes);
        match addresses {
            Addresses::V4 { .. } => v4.emit(&mut copy),
            Addresses::V6 { .. } => v6.emit(&mut copy),
        }
        .expect("there is room");
        copy.fill_checksum(addresses);
        assert!(copy.verify_checksum(addresses));
        assert_eq!((copy.kind(), copy.code()), (packet.kind(), packet.code()));
        assert_eq!(copy.rest_of_header(), packet.rest_of_header());
        assert_eq!(icmp::v4::Repr::parse(&copy), Ok(v4));
        assert_eq!(icmp::v6::Repr::parse(&copy), Ok(v6));
        assert_eq!(copy.payload_mut(), packet.payload());
    }
}

/// An ESP packet, and the same bytes as a plaintext.
pub fn esp(data: &[u8]) {
    if let Ok(packet) = esp::Packet::new_checked(data) {
        let repr = esp::Repr::parse(&packet).expect("a checked packet parses");
        let mut bytes = vec![0xa5; repr.buffer_len()];
        repr.emit(&mut esp::Packet::new_unchecked(&mut bytes)).expect("there is room");
        assert_eq!(bytes, data[..bytes.len()]);
        assert_eq!(packet.icv().len(), esp::ICV_LEN_BYTES);
        assert_eq!(data[packet.ciphertext_range()], *packet.ciphertext());
        let mut copy = esp::Packet::new_unchecked(data.to_vec());
        assert_eq!(
            copy.split_mut(),
            (&mut packet.ciphertext().to_vec()[..], &mut packet.icv().to_vec()[..])
        );
    }
    let Ok(trailer) = esp::Trailer::parse(data) else { return };
    assert!(trailer.payload_len + 2 <= data.len());
    let mut bytes = data.to_vec();
    bytes.resize(data.len() + esp::trailer::ALIGNMENT_BYTES, 0xa5);
    let end = trailer.emit(&mut bytes).expect("there is room");
    assert!(end.is_multiple_of(esp::trailer::ALIGNMENT_BYTES));
    assert_eq!(end, trailer.payload_len + trailer.buffer_len());
    assert_eq!(esp::Trailer::parse(&bytes[..end]), Ok(trailer));
    assert_eq!(bytes[..trailer.payload_len], data[..trailer.payload_len]);
}

/// An IP packet of either version.
pub fn flow(data: &[u8]) {
    match FlowKey::of(data) {
        Ok(key) => {
            assert_eq!(key.src.is_ipv4(), key.dst.is_ipv4());
            assert_eq!(key.reversed().reversed(), key);
            assert!(matches!(key.protocol, 6 | 17 | 132) || (key.src_port, key.dst_port) == (0, 0));
        }
        Err(FlowError::Fragment) => {
            let fragment = match data[0] >> 4 {
                4 => ipv4::Packet::new_unchecked(data).is_fragment(),
                _ => {
                    ipv6::Packet::new_unchecked(data).upper_layer().is_ok_and(|it| it.is_fragment())
                }
            };
            assert!(fragment);
        }
        Err(_) => {}
    }
}
