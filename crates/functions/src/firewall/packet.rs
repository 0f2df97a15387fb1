//! What of a packet the firewall looks at: whose connection it is, and what it does there (RFC 791, 8200, 9293, 768, 792,
//! 4443).

use ringmail_packet::icmp::quoted;
use ringmail_packet::ip::{Addresses, protocol};
use ringmail_packet::tcp::{Flags, TcpOption};
use ringmail_packet::{ipv4, ipv6, tcp, udp};

use super::refusal::Refusal;

/// A packet.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) ends: Ends,
    pub(super) what: What,
    /// Its bytes, IP header included.
    pub(super) bytes: u64,
}

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) version: u8,
    pub(super) src: u128,
    pub(super) dst: u128,
    pub(super) protocol: u8,
    /// Of ICMP queries the identifier, on both sides.
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
}

/// What a packet does.
#[derive(Debug)]
pub(super) enum What {
    Tcp(Segment),
    /// A packet that may begin a connection, or go on with it.
    Datagram,
    /// A question of ICMP, of this type.
    Query(u8),
    /// The answer to one.
    Answer,
    /// An ICMP error about a packet between these ends.
    Error(Option<Ends>),
    /// Any other ICMP message, of this type: it is on its own.
    Alone(u8),
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) flags: Flags,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
    /// Sequence numbers that it takes.
    pub(super) len: u32,
    /// Of a SYN.
    pub(super) scale: Option<u8>,
}

/// Both ends of a connection, the lower first, so that both directions have one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    low: u128,
    high: u128,
    /// Low port, high port, protocol, IP version.
    rest: u64,
}

impl Ends {
    /// The connection, and the direction in it: 0 from the low end to the high end, 1 back.
    pub(super) fn key(&self) -> (Key, u8) {
        let Ends { version, src, dst, protocol, src_port, dst_port } = *self;
        let upwards = (src, src_port) <= (dst, dst_port);
        let (low, high, low_port, high_port) =
            if upwards { (src, dst, src_port, dst_port) } else { (dst, src, dst_port, src_port) };
        let rest = u64::from(low_port) << 32
            | u64::from(high_port) << 16
            | u64::from(protocol) << 8
            | u64::from(version);
        (Key { low, high, rest }, u8::from(!upwards))
    }

    pub(super) fn reversed(self) -> Ends {
        Ends {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            ..self
        }
    }

    fn new(addresses: Addresses, protocol: u8, [src_port, dst_port]: [u16; 2]) -> Ends {
        let (version, src, dst) = match addresses {
            Addresses::V4 { src, dst } => (4, src.to_bits().into(), dst.to_bits().into()),
            Addresses::V6 { src, dst } => (6, src.to_bits(), dst.to_bits()),
        };
        Ends { version, src, dst, protocol, src_port, dst_port }
    }
}

impl Seen {
    /// A packet that begins with its IP header and is there whole.
    pub(super) fn whole(packet: &[u8]) -> Result<Seen, Refusal> {
        let (addresses, protocol, payload) = match packet.first().map(|byte| byte >> 4) {
            Some(4) => {
                let packet = ipv4::Packet::new_checked(packet).map_err(malformed)?;
                if packet.is_fragment() {
                    return Err(Refusal::Fragment);
                }
                (packet.addresses(), packet.protocol(), packet.payload())
            }
            Some(6) => {
                let packet = ipv6::Packet::new_checked(packet).map_err(malformed)?;
                let upper = packet.upper_layer().map_err(malformed)?;
                if upper.is_fragment() {
                    return Err(Refusal::Fragment);
                }
                (packet.addresses(), upper.protocol, upper.payload)
            }
            _ => return Err(Refusal::Malformed),
        };
        let (ports, what) = transport(addresses, protocol, payload)?;
        let ends = Ends::new(addresses, protocol, ports);
        Ok(Seen { ends, what, bytes: packet.len() as u64 })
    }

    /// An outer IPv4 header with the beginning of ESP behind it; the rest is not there.
    pub(super) fn outer(packet: &[u8]) -> Result<Seen, Refusal> {
        let header: &[u8; ipv4::MIN_HEADER_LEN_BYTES] =
            packet.first_chunk().filter(|header| header[0] == 0x45).ok_or(Refusal::Malformed)?;
        let packet = ipv4::Packet::new_unchecked(&header[..]);
        let ends = Ends::new(packet.addresses(), packet.protocol(), [0; 2]);
        Ok(Seen { ends, what: What::Datagram, bytes: packet.total_len().into() })
    }
}

fn transport(
    addresses: Addresses,
    protocol: u8,
    payload: &[u8],
) -> Result<([u16; 2], What), Refusal> {
    match protocol {
        protocol::TCP => {
            let segment = tcp::Packet::new_checked(payload).map_err(malformed)?;
            let flags = segment.flags();
            let control =
                u32::from(flags.contains(Flags::SYN)) + u32::from(flags.contains(Flags::FIN));
            let scale = if flags.contains(Flags::SYN) { scale(&segment) } else { None };
            let what = What::Tcp(Segment {
                flags,
                seq: segment.seq_number(),
                ack: segment.ack_number(),
                window: segment.window(),
                len: segment.payload().len() as u32 + control,
                scale,
            });
            Ok(([segment.src_port(), segment.dst_port()], what))
        }
        protocol::UDP => {
            let datagram = udp::Packet::new_checked(payload).map_err(malformed)?;
            Ok(([datagram.src_port(), datagram.dst_port()], What::Datagram))
        }
        protocol::SCTP => Ok((first_ports(payload).ok_or(Refusal::Malformed)?, What::Datagram)),
        protocol::ICMP | protocol::ICMPV6 => {
            let [kind, _, _, _, a, b, ..] = *payload else { return Err(Refusal::Malformed) };
            let identifier = u16::from_be_bytes([a, b]);
            Ok(match question(protocol, kind) {
                Some(true) => ([identifier; 2], What::Query(kind)),
                Some(false) => ([identifier; 2], What::Answer),
                None if quoted::is_error(protocol, kind) => {
                    ([0; 2], What::Error(about(addresses, protocol, payload)))
                }
                None => ([0; 2], What::Alone(kind)),
            })
        }
        _ => Ok(([0; 2], What::Datagram)),
    }
}

fn scale(segment: &tcp::Packet<&[u8]>) -> Option<u8> {
    segment.options().find_map(|option| match option {
        Ok(TcpOption::WindowScale(shift)) => Some(shift.min(14)),
        _ => None,
    })
}

/// Whether an ICMP message of this type asks (true) or answers (false); echo, timestamp, information, address mask.
fn question(protocol: u8, kind: u8) -> Option<bool> {
    match (protocol, kind) {
        (protocol::ICMP, 8 | 13 | 15 | 17) | (protocol::ICMPV6, 128) => Some(true),
        (protocol::ICMP, 0 | 14 | 16 | 18) | (protocol::ICMPV6, 129) => Some(false),
        _ => None,
    }
}

/// The ends of the packet that an ICMP error is about.
fn about(addresses: Addresses, icmp: u8, message: &[u8]) -> Option<Ends> {
    let subject = quoted::of(addresses, icmp, message)?;
    let ports = match subject.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => first_ports(subject.transport)?,
        protocol::ICMP | protocol::ICMPV6 => {
            let [kind, _, _, _, a, b, ..] = *subject.transport else { return None };
            question(subject.protocol, kind)?;
            [u16::from_be_bytes([a, b]); 2]
        }
        _ => [0; 2],
    };
    Some(Ends::new(subject.addresses, subject.protocol, ports))
}

fn first_ports(transport: &[u8]) -> Option<[u16; 2]> {
    let [a, b, c, d, ..] = *transport else { return None };
    Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}

fn malformed(_: ringmail_packet::Error) -> Refusal {
    Refusal::Malformed
}
