//! A capture cut into the frames that it stands for, each looked at.

use ringmail_model::pathset::SFF_LABEL;
use ringmail_packet::ip::protocol;
use ringmail_packet::{ethernet, ipv4, mpls, nsh, udp};

use super::Captured;

/// What a frame on a link between elements is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MPLS, with or without NSH, and ESP below, in UDP or in Ethernet: what belongs there.
    Protected {
        /// Bytes that count for the link's MTU: of the IP packet that carries it, or from the first label on.
        ip_len_bytes: usize,
    },
    /// TCP of the key agreement.
    Control,
    /// Not IPv4: ARP, or IPv6 of the interfaces themselves.
    Neighbourhood,
    /// Anything else.
    Unprotected,
}

/// The frames of one capture.
#[derive(Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    segment_bytes: usize,
    /// Bytes in front of the stack that count for the link's MTU.
    link_bytes: usize,
    other: Option<Kind>,
}

impl<'a> Frames<'a> {
    /// The frames of a capture on a link where `udp_port` carries encapsulated packets.
    pub fn of(captured: &Captured<'a>, udp_port: u16, control_port: u16) -> Frames<'a> {
        let (rest, link_bytes, other) = match payload(captured.bytes, udp_port, control_port) {
            Ok((payload, link_bytes)) => (payload, link_bytes, None),
            Err(kind) => (&[][..], 0, Some(kind)),
        };
        let segment_bytes = captured.segment_bytes.unwrap_or(rest.len()).max(1);
        Frames { rest, segment_bytes, link_bytes, other }
    }
}

impl Iterator for Frames<'_> {
    type Item = Kind;

    fn next(&mut self) -> Option<Kind> {
        if let Some(kind) = self.other.take() {
            return Some(kind);
        }
        if self.rest.is_empty() {
            return None;
        }
        let (frame, rest) = self.rest.split_at(self.segment_bytes.min(self.rest.len()));
        self.rest = rest;
        Some(judge(frame, self.link_bytes))
    }
}

/// The label stack of encapsulated packets with what it covers, and how many bytes before it count for the link's MTU; or
/// what the capture is instead.
fn payload(bytes: &[u8], udp_port: u16, control_port: u16) -> Result<(&[u8], usize), Kind> {
    let frame = ethernet::Packet::new_checked(bytes).map_err(|_| Kind::Unprotected)?;
    match frame.ethertype() {
        ethernet::EtherType::IPV4 => {}
        ethernet::EtherType::MPLS => return Ok((frame.payload(), 0)),
        ethernet::EtherType::NSH => {
            let below = nsh::Packet::new_checked(frame.payload()).map_err(|_| Kind::Unprotected)?;
            return match is_esp(below.payload()) {
                true => Err(Kind::Protected { ip_len_bytes: frame.payload().len() }),
                false => Err(Kind::Unprotected),
            };
        }
        _ => return Err(Kind::Neighbourhood),
    }
    // A super-packet's length fields are those of the whole or of a frame; only the header's own length is needed.
    let ip = frame.payload();
    let header_len = usize::from(ip.first().map_or(0, |byte| byte & 0xf)) * 4;
    let upper = ip.get(header_len.max(20)..).ok_or(Kind::Unprotected)?;
    let ports = |at: usize| upper.get(at..at + 2).map(|p| u16::from_be_bytes([p[0], p[1]]));
    match ip.get(9).copied() {
        Some(protocol::TCP) if ports(0) == Some(control_port) || ports(2) == Some(control_port) => {
            Err(Kind::Control)
        }
        Some(protocol::UDP) if ports(2) == Some(udp_port) => {
            let payload = upper.get(udp::HEADER_LEN_BYTES..).ok_or(Kind::Unprotected)?;
            Ok((payload, 20 + udp::HEADER_LEN_BYTES))
        }
        _ => Err(Kind::Unprotected),
    }
}

/// Whether a payload is MPLS or NSH or both, IPv4 and ESP, exactly to its end.
fn judge(frame: &[u8], link_bytes: usize) -> Kind {
    match behind_labels(frame).is_some_and(is_esp) {
        true => Kind::Protected { ip_len_bytes: link_bytes + frame.len() },
        false => Kind::Unprotected,
    }
}

/// Whether this is an IPv4 packet with ESP, exactly to its end.
fn is_esp(ip: &[u8]) -> bool {
    ipv4::Packet::new_checked(ip).is_ok_and(|packet| {
        packet.protocol() == protocol::ESP
            && usize::from(packet.total_len()) == ip.len()
            && packet.verify_checksum()
    })
}

/// What follows the label stack, and the NSH where the last label says that there is one.
fn behind_labels(frame: &[u8]) -> Option<&[u8]> {
    let mut entries = frame.as_chunks::<{ mpls::ENTRY_LEN_BYTES }>().0.iter();
    let (mut labels, mut last) = (0, mpls::Entry::from_bytes(*entries.next()?));
    while !last.bottom {
        (labels, last) = (labels + 1, mpls::Entry::from_bytes(*entries.next()?));
    }
    let below = frame.get((labels + 1) * mpls::ENTRY_LEN_BYTES..)?;
    match last.label == SFF_LABEL.get() {
        true => Some(nsh::Packet::new_checked(below).ok()?.payload()),
        false => Some(below),
    }
}
