//! Answers an attached function that looks for its neighbours: ARP (RFC 826) and IPv6 Neighbour Discovery (RFC 4861
//! section 7.2), without I/O.
//!
//! The function's cable leads to ringmail and to nobody else, so every address but the function's own is found there. Who
//! asks whether an address is free (RFC 5227, RFC 4862 section 5.4) gets no answer: it is.

use std::net::Ipv6Addr;

use ringmail_packet::ethernet::{self, Address, EtherType};
use ringmail_packet::ip::{Addresses, Ecn, protocol};
use ringmail_packet::{icmp, ipv6};

/// Bytes of the longest answer.
pub(super) const ANSWER_BYTES_MAX: usize = ethernet::HEADER_LEN_BYTES + ipv6::HEADER_LEN_BYTES + 32;

/// EtherType of ARP.
pub(super) const ARP: EtherType = EtherType(0x0806);

const ARP_BYTES: usize = 28;
/// Ethernet, IPv4, six and four bytes of address, request.
const ARP_REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
const ARP_REPLY: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 2];
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Router, solicited, override (RFC 4861 section 4.4).
const FLAGS: u8 = 0xe0;
/// Target link-layer address, one unit of eight bytes (RFC 4861 section 4.6.1).
const TARGET_OPTION: [u8; 2] = [2, 1];

/// Writes the answer to the ARP packet `asked` and returns its length as a frame; `None` where there is nothing to say.
pub(super) fn arp(asked: &[u8], own: Address, out: &mut [u8; ANSWER_BYTES_MAX]) -> Option<usize> {
    let asked: &[u8; ARP_BYTES] = asked.first_chunk()?;
    let (sender, target) = (&asked[14..18], &asked[24..28]);
    if asked[..8] != ARP_REQUEST || sender == [0; 4] || sender == target {
        return None;
    }
    let asker = Address(*asked[8..].first_chunk()?);
    let len = ethernet::HEADER_LEN_BYTES + ARP_BYTES;
    frame(out, asker, own, ARP)?;
    let answer = &mut out[ethernet::HEADER_LEN_BYTES..len];
    answer[..8].copy_from_slice(&ARP_REPLY);
    answer[8..14].copy_from_slice(&own.0);
    answer[14..18].copy_from_slice(target);
    answer[18..24].copy_from_slice(&asker.0);
    answer[24..28].copy_from_slice(sender);
    Some(len)
}

/// The same for the IPv6 packet `asked`, which came from the MAC address `asker`.
pub(super) fn solicitation(
    asked: &[u8],
    asker: Address,
    own: Address,
    out: &mut [u8; ANSWER_BYTES_MAX],
) -> Option<usize> {
    let packet = ipv6::Packet::new_checked(asked).ok()?;
    let message = packet.payload();
    let target: [u8; 16] = *message.get(8..)?.first_chunk()?;
    let (src, target) = (packet.src_addr(), Ipv6Addr::from(target));
    if packet.next_header() != protocol::ICMPV6
        || packet.hop_limit() != 255
        || message[..2] != [SOLICITATION, 0]
        || src.is_unspecified()
        || src == target
        || target.is_multicast()
    {
        return None;
    }
    let len = ANSWER_BYTES_MAX;
    frame(out, asker, own, EtherType::IPV6)?;
    let header = ipv6::Repr {
        dscp: 0,
        ecn: Ecn::NotEct,
        flow_label: 0,
        payload_len: 32,
        next_header: protocol::ICMPV6,
        hop_limit: 255,
        src_addr: target,
        dst_addr: src,
    };
    let at = ethernet::HEADER_LEN_BYTES;
    header.emit(&mut ipv6::Packet::new_unchecked(&mut out[at..])).ok()?;
    let answer = &mut out[at + ipv6::HEADER_LEN_BYTES..len];
    answer.fill(0);
    answer[..5].copy_from_slice(&[ADVERTISEMENT, 0, 0, 0, FLAGS]);
    answer[8..24].copy_from_slice(&target.octets());
    answer[24..26].copy_from_slice(&TARGET_OPTION);
    answer[26..32].copy_from_slice(&own.0);
    icmp::Packet::new_unchecked(answer).fill_checksum(Addresses::V6 { src: target, dst: src });
    Some(len)
}

fn frame(out: &mut [u8], dst: Address, src: Address, ethertype: EtherType) -> Option<()> {
    let header = ethernet::Repr { dst_addr: dst, src_addr: src, ethertype };
    header.emit(&mut ethernet::Packet::new_unchecked(out)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Address = Address([2, 0, 0, 0, 0, 1]);
    const ASKER: Address = Address([2, 0, 0, 0, 0, 2]);

    fn arp_request(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        [&ARP_REQUEST[..], &ASKER.0, &sender, &[0; 6], &target].concat()
    }

    #[test]
    fn whoever_is_asked_for_is_here() {
        let mut out = [0; ANSWER_BYTES_MAX];
        let asked = arp_request([169, 254, 77, 1], [10, 79, 0, 10]);
        let len = arp(&asked, OWN, &mut out).unwrap();
        let answer = ethernet::Packet::new_checked(&out[..len]).unwrap();
        assert_eq!((answer.dst_addr(), answer.src_addr()), (ASKER, OWN));
        let expected =
            [&ARP_REPLY[..], &OWN.0, &[10, 79, 0, 10], &ASKER.0, &[169, 254, 77, 1]].concat();
        assert_eq!(answer.payload(), expected);
    }

    #[test]
    fn who_asks_whether_an_address_is_free_gets_no_answer() {
        let mut out = [0; ANSWER_BYTES_MAX];
        for (sender, target) in [([0; 4], [10, 0, 0, 1]), ([10, 0, 0, 1], [10, 0, 0, 1])] {
            assert_eq!(arp(&arp_request(sender, target), OWN, &mut out), None);
        }
        let reply = [&ARP_REPLY[..], &[1; 20]].concat();
        assert_eq!(arp(&reply, OWN, &mut out), None);
        for len in 0..ARP_BYTES {
            assert_eq!(arp(&arp_request([1; 4], [2; 4])[..len], OWN, &mut out), None);
        }
    }

    fn solicit(src: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
        let header = ipv6::Repr {
            dscp: 0,
            ecn: Ecn::NotEct,
            flow_label: 0,
            payload_len: 24,
            next_header: protocol::ICMPV6,
            hop_limit: 255,
            src_addr: src,
            dst_addr: "ff02::1:ff00:10".parse().unwrap(),
        };
        let mut packet = vec![0; 64];
        header.emit(&mut ipv6::Packet::new_unchecked(&mut packet[..])).unwrap();
        packet[40] = SOLICITATION;
        packet[48..64].copy_from_slice(&target.octets());
        packet
    }

    #[test]
    fn a_solicitation_is_answered_with_a_sound_advertisement() {
        let (src, target): (Ipv6Addr, Ipv6Addr) =
            ("fe80::2".parse().unwrap(), "fd79::10".parse().unwrap());
        let mut out = [0; ANSWER_BYTES_MAX];
        let len = solicitation(&solicit(src, target), ASKER, OWN, &mut out).unwrap();
        let packet = ipv6::Packet::new_checked(&out[14..len]).unwrap();
        assert_eq!((packet.src_addr(), packet.dst_addr()), (target, src));
        let message = icmp::Packet::new_checked(packet.payload()).unwrap();
        assert!(message.verify_checksum(packet.addresses()));
        assert_eq!(message.kind(), ADVERTISEMENT);
        assert_eq!(&packet.payload()[26..], &OWN.0);
        let unspecified = Ipv6Addr::UNSPECIFIED;
        let asked = solicit(unspecified, target);
        assert_eq!(solicitation(&asked, ASKER, OWN, &mut out), None);
        let cut = &solicit(src, target)[..60];
        assert_eq!(solicitation(cut, ASKER, OWN, &mut out), None);
    }
}
