//! Congestion marks across a tunnel (RFC 6040): copied out when a segment begins, combined when it ends.

use crate::verdict::DropReason;

/// The ECN field, the low two bits of the IPv4 type of service or the IPv6 traffic class.
pub const NOT_ECT: u8 = 0b00;
/// ECN-capable transport, codepoint 1.
pub const ECT1: u8 = 0b01;
/// ECN-capable transport, codepoint 0.
pub const ECT0: u8 = 0b10;
/// Congestion experienced.
pub const CE: u8 = 0b11;

/// The inner field after decapsulation (RFC 6040 section 4.2, figure 4), or `None` where the packet must be dropped: it
/// was marked, and its sender does not know marks.
pub fn decapsulate(inner: u8, outer: u8) -> Option<u8> {
    match (inner & 3, outer & 3) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) | (CE, _) => Some(CE),
        (ECT0, ECT1) => Some(ECT1),
        (inner, _) => Some(inner),
    }
}

/// The ECN field of an IP packet, version 4 or 6.
pub fn of(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 4 => second & 3,
        [first, second, ..] if first >> 4 == 6 => (second >> 4) & 3,
        _ => NOT_ECT,
    }
}

/// Sets the ECN field of an IP packet; the IPv4 header checksum follows (RFC 1624).
pub fn set(packet: &mut [u8], ecn: u8) {
    match packet {
        [first, ..] if *first >> 4 == 4 && packet.len() >= 20 => {
            let before = u16::from_be_bytes([packet[0], packet[1]]);
            packet[1] = (packet[1] & !3) | (ecn & 3);
            let after = u16::from_be_bytes([packet[0], packet[1]]);
            let checksum = u16::from_be_bytes([packet[10], packet[11]]);
            // RFC 1624 equation 3: HC' = ~(~HC + ~m + m')
            let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = (sum & 0xffff) + (sum >> 16);
            packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        }
        [first, second, ..] if *first >> 4 == 6 => *second = (*second & !0x30) | ((ecn & 3) << 4),
        _ => {}
    }
}

/// Combines the outer field into the inner packet, as a segment's end must.
pub(crate) fn leave_tunnel(inner: &mut [u8], outer: u8) -> Result<(), DropReason> {
    let before = of(inner);
    let after = decapsulate(before, outer).ok_or(DropReason::CongestionNotEct)?;
    if after != before {
        set(inner, after);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_4_of_rfc_6040() {
        let rows = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT0, [Some(ECT0), Some(ECT1), Some(ECT0), Some(CE)]),
            (ECT1, [Some(ECT1), Some(ECT1), Some(ECT1), Some(CE)]),
            (CE, [Some(CE); 4]),
        ];
        for (inner, row) in rows {
            for (outer, expected) in [NOT_ECT, ECT1, ECT0, CE].into_iter().zip(row) {
                assert_eq!(
                    decapsulate(inner, outer),
                    expected,
                    "inner {inner:02b} outer {outer:02b}"
                );
            }
        }
    }

    #[test]
    fn a_set_mark_keeps_the_header_checksum_right() {
        let mut packet = [
            0x45, 0x02, 0x00, 0x14, 0x00, 0x01, 0x40, 0x00, 0x40, 0x06, 0x00, 0x00, 10, 0, 0, 1,
            10, 0, 0, 2,
        ];
        let sum = |p: &[u8]| {
            let s: u32 = p.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
            let s = (s & 0xffff) + (s >> 16);
            ((s & 0xffff) + (s >> 16)) as u16
        };
        let checksum = !sum(&packet);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        set(&mut packet, CE);
        assert_eq!((of(&packet), sum(&packet)), (CE, 0xffff));
    }
}
