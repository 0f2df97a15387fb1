//! Reads the committed captures (libpcap's classic format, `pcap-savefile(5)`) and takes their frames apart with this
//! crate's views alone.

use std::path::{Path, PathBuf};

use ringmail_packet::ethernet::EtherType;
use ringmail_packet::ip::{Addresses, protocol};
use ringmail_packet::{ethernet, ipv4, ipv6, mpls, udp, vlan};

/// Every committed capture.
pub(crate) const ALL: [&str; 8] = ["http", "dns", "icmp", "vlan", "mpls", "nsh", "esp", "headers"];

/// Little-endian microseconds, as tcpdump and scapy write here.
const MAGIC: u32 = 0xa1b2_c3d4;
const FILE_HEADER_LEN_BYTES: usize = 24;
const RECORD_HEADER_LEN_BYTES: usize = 16;
const LINK_TYPE_ETHERNET: u32 = 1;

pub(crate) fn path(file_name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(file_name)
}

/// The frames of a capture. Panics on a capture that is cut or not of Ethernet.
pub(crate) fn frames(name: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path(&format!("{name}.pcap"))).expect("a committed capture");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    assert_eq!((word(0), word(20)), (MAGIC, LINK_TYPE_ETHERNET), "{name}");
    let mut frames = Vec::new();
    let mut at = FILE_HEADER_LEN_BYTES;
    while at < bytes.len() {
        let (captured, original) = (word(at + 8) as usize, word(at + 12));
        assert_eq!(captured, original as usize, "{name}: a frame was cut");
        at += RECORD_HEADER_LEN_BYTES;
        frames.push(bytes[at..at + captured].to_vec());
        at += captured;
    }
    assert!(!frames.is_empty(), "{name}");
    frames
}

/// A frame down to its IP packet.
pub(crate) struct Link<'a> {
    pub(crate) ethernet: ethernet::Packet<&'a [u8]>,
    pub(crate) tags: Vec<vlan::Packet<&'a [u8]>>,
    pub(crate) stack: Option<mpls::Stack<'a>>,
    /// What is behind Ethernet, tags and labels; not IP in an ARP frame.
    pub(crate) payload: &'a [u8],
    pub(crate) is_ip: bool,
}

pub(crate) fn link(frame: &[u8]) -> Link<'_> {
    let ethernet = ethernet::Packet::new_checked(frame).expect("an Ethernet header");
    let (mut ethertype, mut payload) = (ethernet.ethertype(), ethernet.payload());
    let mut tags = Vec::new();
    while matches!(ethertype, EtherType::VLAN | EtherType::SERVICE_VLAN) {
        let tag = vlan::Packet::new_checked(payload).expect("a tag");
        (ethertype, payload) = (tag.ethertype(), tag.payload());
        tags.push(tag);
    }
    let has_stack = matches!(ethertype, EtherType::MPLS | EtherType::MPLS_UPSTREAM);
    let stack = has_stack.then(|| mpls::Stack::new_checked(payload).expect("a label stack"));
    let payload = stack.map_or(payload, |stack| stack.payload());
    let is_ip = has_stack || matches!(ethertype, EtherType::IPV4 | EtherType::IPV6);
    Link { ethernet, tags, stack, payload, is_ip }
}

/// An IP packet down to its transport header.
pub(crate) struct Network<'a> {
    pub(crate) addresses: Addresses,
    pub(crate) protocol: u8,
    /// Transport header and data; of a fragment, its part.
    pub(crate) payload: &'a [u8],
    pub(crate) is_fragment: bool,
    /// Whether it holds the transport header, as whole packets and first fragments do.
    pub(crate) is_first: bool,
}

pub(crate) fn network(packet: &[u8]) -> Network<'_> {
    if packet[0] >> 4 == 4 {
        let packet = ipv4::Packet::new_checked(packet).expect("an IPv4 header");
        return Network {
            addresses: packet.addresses(),
            protocol: packet.protocol(),
            payload: packet.payload(),
            is_fragment: packet.is_fragment(),
            is_first: packet.fragment_offset_bytes() == 0,
        };
    }
    let packet = ipv6::Packet::new_checked(packet).expect("an IPv6 header");
    let upper = packet.upper_layer().expect("extension headers");
    Network {
        addresses: packet.addresses(),
        protocol: upper.protocol,
        payload: upper.payload,
        is_fragment: upper.is_fragment(),
        is_first: upper.fragment.is_none_or(|fragment| fragment.offset_bytes == 0),
    }
}

/// The label stack under Ethernet or under UDP, if there is one, and the innermost IP packet in sight.
pub(crate) fn steered(frame: &[u8]) -> (Option<mpls::Stack<'_>>, &[u8]) {
    let link = link(frame);
    if link.stack.is_some() || !link.is_ip {
        return (link.stack, link.payload);
    }
    let network = network(link.payload);
    if network.protocol != protocol::UDP || !network.is_first || network.is_fragment {
        return (None, link.payload);
    }
    let udp = udp::Packet::new_checked(network.payload).expect("a UDP header");
    if udp.dst_port() != udp::MPLS_PORT {
        return (None, link.payload);
    }
    let stack = mpls::Stack::new_checked(udp.payload()).expect("a label stack");
    (Some(stack), stack.payload())
}
