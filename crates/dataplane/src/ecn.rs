//! Congestion marks across a tunnel (RFC 6040): copied out when a segment begins, combined when it ends.

use ringmail_packet::ip::Ecn;
use ringmail_packet::{ipv4, ipv6};

use crate::verdict::DropReason;

/// The inner field after decapsulation (RFC 6040 section 4.2, figure 4), or `None` where the packet must be dropped: it
/// was marked, and its sender does not know marks.
pub fn decapsulate(inner: Ecn, outer: Ecn) -> Option<Ecn> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => None,
        (Ecn::NotEct, _) => Some(Ecn::NotEct),
        (_, Ecn::Ce) | (Ecn::Ce, _) => Some(Ecn::Ce),
        (Ecn::Ect0, Ecn::Ect1) => Some(Ecn::Ect1),
        (inner, _) => Some(inner),
    }
}

/// The field of an IP packet; `NotEct` if it is none.
pub fn of(packet: &[u8]) -> Ecn {
    match packet {
        [first, second, ..] if first >> 4 == 4 => Ecn::from_bits(*second),
        [first, second, ..] if first >> 4 == 6 => Ecn::from_bits(second >> 4),
        _ => Ecn::NotEct,
    }
}

/// Combines the outer field into the inner packet, as a segment's end must.
pub(crate) fn leave_tunnel(inner: &mut [u8], outer: Ecn) -> Result<(), DropReason> {
    let before = of(inner);
    let after = decapsulate(before, outer).ok_or(DropReason::CongestionNotEct)?;
    if after != before {
        write(inner, after);
    }
    Ok(())
}

/// Writes the field into an IP packet, whose checksum stays right. What is no IP packet stays as it is.
pub fn write(packet: &mut [u8], ecn: Ecn) {
    if let Ok(mut packet) = ipv4::Packet::new_checked(&mut *packet) {
        packet.rewrite_ecn(ecn);
    } else if let Ok(mut packet) = ipv6::Packet::new_checked(packet) {
        packet.set_ecn(ecn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_4_of_rfc_6040() {
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        let rows = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect1), Some(Ect0), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce); 4]),
        ];
        for (inner, row) in rows {
            for (outer, expected) in [NotEct, Ect1, Ect0, Ce].into_iter().zip(row) {
                assert_eq!(decapsulate(inner, outer), expected, "inner {inner:?} outer {outer:?}");
            }
        }
    }

    #[test]
    fn a_combined_mark_keeps_the_header_checksum_right() {
        let mut bytes = [0x45, 2, 0, 20, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        ipv4::Packet::new_unchecked(&mut bytes[..]).fill_checksum();
        assert_eq!(leave_tunnel(&mut bytes, Ecn::Ce), Ok(()));
        let packet = ipv4::Packet::new_checked(&bytes[..]).unwrap();
        assert_eq!((packet.ecn(), packet.verify_checksum()), (Ecn::Ce, true));
    }
}
