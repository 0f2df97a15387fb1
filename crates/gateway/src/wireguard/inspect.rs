//! The DS field of a packet, by which rules may tell flows apart.

/// The DS field's six bits (RFC 2474) of an IP packet.
pub(super) fn dscp(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 4 => second >> 2,
        [first, second, ..] => (first << 2 | second >> 6) & 0x3f,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ds_field_is_read_in_both_ip_versions() {
        assert_eq!(dscp(&[0x45, 0xb8]), 46);
        assert_eq!(dscp(&[0x6b, 0x80]), 46);
        assert_eq!(dscp(&[]), 0);
    }
}
