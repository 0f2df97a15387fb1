//! What of an inner IP packet the search needs: which connection and direction, and where the content is
//! (RFC 791, RFC 8200, RFC 9293 section 3.1).

use ringmail_packet::ip::protocol;
use ringmail_packet::tcp::Flags;
use ringmail_packet::{ipv4, ipv6, tcp, udp};

use super::refusal::Refusal;

/// A parsed inner packet.
#[derive(Debug)]
pub(super) enum Inner<'a> {
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// A UDP datagram: its ports and payload.
    Udp([u16; 2], &'a [u8]),
    /// Anything else.
    Other,
}

/// A TCP segment.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    pub(super) connection: ConnectionKey,
    /// 0 from the connection's low end to its high end, 1 back.
    pub(super) direction: usize,
    /// Source and destination.
    pub(super) ports: [u16; 2],
    pub(super) seq: u32,
    pub(super) ack: Option<u32>,
    pub(super) flags: Flags,
    pub(super) content: &'a [u8],
}

impl Segment<'_> {
    /// The sequence number of the first byte of content; a SYN takes one before it (RFC 9293 section 3.4).
    pub(super) fn content_seq(&self) -> u32 {
        self.seq.wrapping_add(u32::from(self.flags.contains(Flags::SYN)))
    }
}

/// Both ends of a TCP connection, the lower first, so that both directions have one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ConnectionKey {
    low: u128,
    high: u128,
    /// Low port, high port, IP version: 16 bits each.
    rest: u64,
}

impl<'a> Inner<'a> {
    /// Parses a packet that begins with its IP header.
    pub(super) fn parse(packet: &'a [u8]) -> Result<Inner<'a>, Refusal> {
        match packet.first().map(|byte| byte >> 4) {
            Some(4) => {
                let packet = ipv4::Packet::new_checked(packet).map_err(malformed)?;
                if packet.is_fragment() {
                    return Err(Refusal::Fragment);
                }
                let ends = (packet.src_addr().to_bits().into(), packet.dst_addr().to_bits().into());
                Inner::transport(4, ends, packet.protocol(), packet.payload())
            }
            Some(6) => {
                let packet = ipv6::Packet::new_checked(packet).map_err(malformed)?;
                let upper = packet.upper_layer().map_err(malformed)?;
                if upper.is_fragment() {
                    return Err(Refusal::Fragment);
                }
                let ends = (packet.src_addr().to_bits(), packet.dst_addr().to_bits());
                Inner::transport(6, ends, upper.protocol, upper.payload)
            }
            _ => Err(Refusal::Malformed),
        }
    }

    fn transport(
        version: u64,
        (src, dst): (u128, u128),
        protocol: u8,
        payload: &'a [u8],
    ) -> Result<Inner<'a>, Refusal> {
        match protocol {
            protocol::TCP => {
                let segment = tcp::Packet::new_checked(payload).map_err(malformed)?;
                let ports = [segment.src_port(), segment.dst_port()];
                let [src_port, dst_port] = ports.map(u64::from);
                let upwards = (src, src_port) <= (dst, dst_port);
                let (low, high, low_port, high_port) = if upwards {
                    (src, dst, src_port, dst_port)
                } else {
                    (dst, src, dst_port, src_port)
                };
                let rest = low_port << 32 | high_port << 16 | version;
                let flags = segment.flags();
                Ok(Inner::Tcp(Segment {
                    connection: ConnectionKey { low, high, rest },
                    direction: usize::from(!upwards),
                    ports,
                    seq: segment.seq_number(),
                    ack: flags.contains(Flags::ACK).then(|| segment.ack_number()),
                    flags,
                    content: segment.payload(),
                }))
            }
            protocol::UDP => {
                let datagram = udp::Packet::new_checked(payload).map_err(malformed)?;
                let ports = [datagram.src_port(), datagram.dst_port()];
                Ok(Inner::Udp(ports, datagram.payload()))
            }
            _ => Ok(Inner::Other),
        }
    }
}

fn malformed(_: ringmail_packet::Error) -> Refusal {
    Refusal::Malformed
}
