//! What encapsulation costs, in bytes: the one place that knows, for the inner MTU, head and tail room, and the tests.
//!
//! Frame of profile `mpls` over a UDP link (RFC 7510), ESP in tunnel mode (RFC 4303, RFC 4106):
//!
//! ```text
//! IPv4 20 | UDP 8 | label 4 × (hops + 1) | IPv4 20 | SPI 4, sequence 4, IV 8 | inner packet | pad 0..3 | 2 | ICV 16
//! ```
//!
//! Profile `mpls-nsh` has one label more and a Network Service Header behind the labels ([`crate::nsh`]), profile `nsh` that
//! header and over UDP one label. In transport mode the inner IP header takes the place of the second IPv4 header. On an Ethernet link (RFC 3032 section 5)
//! the label stack begins the frame's payload: there is neither the first IPv4 header nor UDP's, and the link MTU counts
//! from the first label on.

use crate::domain::LinkKind;

/// The IPv4 header of the link (RFC 791), without options.
pub const LINK_IPV4_BYTES: usize = 20;
/// The UDP header of the link (RFC 768).
pub const LINK_UDP_BYTES: usize = 8;
/// One label stack entry (RFC 3032 section 2.1).
pub const LABEL_BYTES: usize = 4;
/// The outer IPv4 header of ESP in tunnel mode.
pub const OUTER_IPV4_BYTES: usize = 20;
/// SPI and sequence number (RFC 4303 section 2).
pub const ESP_HEADER_BYTES: usize = 8;
/// The explicit IV of all three suites (RFC 4106 section 3.1, RFC 7634 section 2).
pub const ESP_IV_BYTES: usize = 8;
/// Pad length and next header (RFC 4303 section 2).
pub const ESP_TRAILER_BYTES: usize = 2;
/// Ciphertext is padded to a multiple of this (RFC 4303 section 2.4).
pub const ESP_ALIGN_BYTES: usize = 4;
/// The integrity check value of all three suites.
pub const ESP_ICV_BYTES: usize = 16;

/// What of a frame steers it: everything between the headers of the link and the outer IP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steering {
    /// Label stack entries, that of the SFF included.
    pub labels: usize,
    /// Bytes of the Network Service Header; 0 where there is none.
    pub nsh_bytes: usize,
}

impl Steering {
    /// A label stack alone.
    pub const fn labels(labels: usize) -> Steering {
        Steering { labels, nsh_bytes: 0 }
    }

    /// Bytes on the wire.
    pub const fn len_bytes(self) -> usize {
        LABEL_BYTES * self.labels + self.nsh_bytes
    }
}

/// How ESP wraps the inner packet.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EspMode {
    /// A new outer IPv4 header; inner addresses are encrypted.
    #[default]
    Tunnel,
    /// The inner IP header stays in the clear, as in the paper.
    Transport,
}

/// Bytes in front of the inner packet in tunnel mode, from the first label on: what an encapsulator needs as headroom
/// before the UDP payload.
pub const fn headroom_bytes(steering: Steering) -> usize {
    steering.len_bytes() + OUTER_IPV4_BYTES + ESP_HEADER_BYTES + ESP_IV_BYTES
}

/// The most bytes behind the inner packet: padding, trailer and ICV.
pub const TAILROOM_BYTES: usize = ESP_ALIGN_BYTES - 1 + ESP_TRAILER_BYTES + ESP_ICV_BYTES;

/// Pad bytes of a plaintext of this many bytes, so that it ends with its trailer on a multiple of four.
pub const fn pad_bytes(plaintext_bytes: usize) -> usize {
    (ESP_ALIGN_BYTES - (plaintext_bytes + ESP_TRAILER_BYTES) % ESP_ALIGN_BYTES) % ESP_ALIGN_BYTES
}

/// Bytes in front of the first label that count for the link MTU.
pub const fn link_bytes(link: LinkKind) -> usize {
    match link {
        LinkKind::Udp => LINK_IPV4_BYTES + LINK_UDP_BYTES,
        LinkKind::Ethernet => 0,
    }
}

/// Bytes on the link, of those that count for its MTU, of what carries an inner packet of `inner_bytes`.
pub const fn frame_bytes(
    link: LinkKind,
    inner_bytes: usize,
    steering: Steering,
    mode: EspMode,
) -> usize {
    // In transport mode the header that moves in front is a multiple of four, so the padding is the same.
    let outer = match mode {
        EspMode::Tunnel => OUTER_IPV4_BYTES,
        EspMode::Transport => 0,
    };
    link_bytes(link)
        + steering.len_bytes()
        + outer
        + ESP_HEADER_BYTES
        + ESP_IV_BYTES
        + inner_bytes
        + pad_bytes(inner_bytes)
        + ESP_TRAILER_BYTES
        + ESP_ICV_BYTES
}

/// The largest inner packet whose frame fits `link_mtu_bytes`; `None` where nothing fits.
pub const fn inner_mtu_bytes(
    link: LinkKind,
    link_mtu_bytes: usize,
    steering: Steering,
    mode: EspMode,
) -> Option<usize> {
    // What a frame costs around the aligned plaintext. frame_bytes(2, …) is the smallest: 2 bytes and no padding.
    let around = frame_bytes(link, 2, steering, mode) - 4;
    let Some(aligned) = link_mtu_bytes.checked_sub(around) else { return None };
    let aligned = aligned - aligned % ESP_ALIGN_BYTES;
    aligned.checked_sub(ESP_TRAILER_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: LinkKind = LinkKind::Udp;

    /// The biggest inner packet gives a frame within the link MTU, one byte more does not.
    #[test]
    fn the_inner_mtu_is_exact() {
        for (link, mode) in [LinkKind::Udp, LinkKind::Ethernet]
            .into_iter()
            .flat_map(|link| [EspMode::Tunnel, EspMode::Transport].map(|mode| (link, mode)))
        {
            for labels in 2..=7 {
                for link_mtu in [1000, 1280, 1499, 1500, 1501, 1502, 1503, 9000] {
                    let steering = Steering { labels, nsh_bytes: labels % 2 * 136 };
                    let inner = inner_mtu_bytes(link, link_mtu, steering, mode).expect("fits");
                    let frame = |inner| frame_bytes(link, inner, steering, mode);
                    assert!(frame(inner) <= link_mtu, "{link:?} {labels} {link_mtu}");
                    assert!(frame(inner + 1) > link_mtu, "{link:?} {labels} {link_mtu}");
                }
            }
        }
    }

    /// Worked by hand: 1500 − 20 − 8 − 4·labels − 20 − 16 − 16, down to a multiple of four, less the trailer.
    #[test]
    fn the_inner_mtu_by_hand() {
        let tunnel = [1410, 1406, 1402, 1398, 1394, 1390];
        for (functions, expected) in (1..=6).zip(tunnel) {
            let inner = |mode| inner_mtu_bytes(UDP, 1500, Steering::labels(functions + 1), mode);
            assert_eq!(inner(EspMode::Tunnel), Some(expected));
            assert_eq!(inner(EspMode::Transport), Some(expected + 20));
            // Without the IPv4 and the UDP header of the link.
            let ethernet = inner_mtu_bytes(
                LinkKind::Ethernet,
                1500,
                Steering::labels(functions + 1),
                EspMode::Tunnel,
            );
            assert_eq!(ethernet, Some(expected + 28));
        }
        assert_eq!(inner_mtu_bytes(UDP, 80, Steering::labels(1), EspMode::Tunnel), None);
    }

    /// A label more, that of the SFF, and 136 bytes of NSH: six intrusive functions.
    #[test]
    fn the_inner_mtu_under_an_nsh_by_hand() {
        let steering = Steering { labels: 8, nsh_bytes: 136 };
        assert_eq!(inner_mtu_bytes(UDP, 1500, steering, EspMode::Tunnel), Some(1390 - 140));
    }

    #[test]
    fn tunnel_mode_costs_what_the_diagram_says() {
        let wanted = 20 + 8 + 8 + 20 + 16 + 1410 + 2 + 16;
        assert_eq!(frame_bytes(UDP, 1410, Steering::labels(2), EspMode::Tunnel), wanted);
        let ethernet = frame_bytes(LinkKind::Ethernet, 1410, Steering::labels(2), EspMode::Tunnel);
        assert_eq!(ethernet, wanted - 28);
        assert_eq!(headroom_bytes(Steering::labels(2)), 8 + 20 + 16);
    }
}
