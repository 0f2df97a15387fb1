//! Cuts a TSO or USO super-packet into packets as a network card would (RFC 9293 section 3.1, RFC 768), without I/O.
//!
//! Each packet gets the headers with its own length, IPv4 identification, sequence number and full checksums. FIN and PSH
//! stay on the last packet only, CWR on the first only (RFC 3168 section 6.1.2). What the kernel knows of a super-packet
//! is summed once, so that a packet costs its copy, the sum of its payload on the way, and a few additions.

use super::virtio::{Gso, VirtioHeader};
use crate::checksum;

const IPV4_HEADER_BYTES_MIN: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;
const TCP_HEADER_BYTES_MIN: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
/// No other protocol whose checksum the kernel leaves to be finished stores it there.
const UDP_CHECKSUM_OFFSET: usize = 6;
const TCP_FIN_PSH: u16 = 0x0009;
const TCP_CWR: u16 = 0x0080;

/// Why a super-packet cannot be cut. The kernel made it: these are its fault, or a header's that was not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The headers that the super-packet should begin with are not there in full.
    #[error("the super-packet is shorter than its headers")]
    Truncated,
    /// The IP version is not what the kind of super-packet says.
    #[error("the super-packet's IP version is not what its kind says")]
    Version,
    /// No packet size is given.
    #[error("the super-packet says no packet size")]
    NoSize,
    /// Of a kind that this driver did not offer to take.
    #[error("a super-packet of kind {0} was not asked for")]
    Unknown(u8),
    /// The checksum is to be stored outside the packet.
    #[error("the checksum is to be stored outside the packet")]
    Checksum,
}

/// A packet as read from a TUN, and how much of it was cut off already.
#[derive(Clone, Copy, Debug)]
pub struct SuperPacket {
    kind: Kind,
    /// Bytes of the whole super-packet.
    len: usize,
    /// Where the payload of the next packet begins; `len` when all are cut off.
    next: usize,
    done: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// One packet, and where its checksum begins and is stored if that is to be finished.
    Whole(Option<(usize, usize)>),
    Tcp(Headers),
    Udp(Headers),
}

/// The headers that all packets share.
#[derive(Clone, Copy, Debug)]
struct Headers {
    v4: bool,
    /// Where the TCP or UDP header begins.
    l4: usize,
    /// Where the payload begins.
    len: usize,
    /// Bytes of payload in each packet but the last.
    segment: usize,
    /// Sum of the IPv4 header without length, identification and checksum.
    ip_sum: u64,
    identification: u16,
    /// Sum of the pseudo header and the TCP or UDP header, without what differs from packet to packet.
    l4_sum: u64,
    sequence: u32,
    /// Data offset and flags of TCP.
    flags: u16,
}

impl SuperPacket {
    /// Looks at the headers of a packet as read from a TUN.
    ///
    /// # Errors
    /// The super-packet cannot be cut.
    pub fn parse(header: &VirtioHeader, packet: &[u8]) -> Result<SuperPacket, SplitError> {
        let kind = match header.gso {
            Gso::None => Kind::Whole(checksum_place(header, packet)?),
            Gso::Unknown(kind) => return Err(SplitError::Unknown(kind)),
            Gso::TcpV4 | Gso::TcpV6 | Gso::Udp => {
                let headers = Headers::parse(header, packet)?;
                if header.gso == Gso::Udp { Kind::Udp(headers) } else { Kind::Tcp(headers) }
            }
        };
        let next = match kind {
            Kind::Whole(_) => 0,
            Kind::Tcp(headers) | Kind::Udp(headers) => headers.len,
        };
        Ok(SuperPacket { kind, len: packet.len(), next, done: false })
    }

    /// How many packets are still to come.
    pub fn remaining(&self) -> usize {
        match self.kind {
            _ if self.done => 0,
            Kind::Whole(_) => 1,
            Kind::Tcp(headers) | Kind::Udp(headers) => {
                (self.len - self.next).div_ceil(headers.segment).max(1)
            }
        }
    }

    /// Bytes of the next packet; `None` when all were cut off.
    pub fn next_len(&self) -> Option<usize> {
        match self.kind {
            _ if self.done => None,
            Kind::Whole(_) => Some(self.len),
            Kind::Tcp(headers) | Kind::Udp(headers) => {
                Some(headers.len + headers.segment.min(self.len - self.next))
            }
        }
    }

    /// Writes the next packet, [`SuperPacket::next_len`] bytes, to `out`. `packet` is what [`SuperPacket::parse`] saw.
    ///
    /// # Panics
    /// If `packet` or `out` is of another length.
    pub fn cut_next(&mut self, packet: &[u8], out: &mut [u8]) {
        assert_eq!(packet.len(), self.len, "another packet than was parsed");
        assert_eq!(Some(out.len()), self.next_len(), "not the length of the next packet");
        match self.kind {
            Kind::Whole(None) => out.copy_from_slice(packet),
            Kind::Whole(Some((start, at))) => {
                out[..start].copy_from_slice(&packet[..start]);
                let sum = checksum::copy_and_sum(&mut out[start..], &packet[start..]);
                let udp = at - start == UDP_CHECKSUM_OFFSET;
                let finish = if udp { checksum::finish_nonzero } else { checksum::finish };
                out[at..at + 2].copy_from_slice(&finish(sum));
            }
            Kind::Tcp(headers) => self.cut_tcp(&headers, packet, out),
            Kind::Udp(headers) => self.cut_udp(&headers, packet, out),
        }
        self.next += match self.kind {
            Kind::Whole(_) => out.len(),
            Kind::Tcp(headers) | Kind::Udp(headers) => out.len() - headers.len,
        };
        self.done = self.next >= self.len;
    }

    fn cut_tcp(&self, headers: &Headers, packet: &[u8], out: &mut [u8]) {
        let l4_len = out.len() - headers.l4;
        let payload_sum = self.copy(headers, packet, out);
        let tcp = &mut out[headers.l4..headers.len];
        let sequence = headers.sequence.wrapping_add((self.next - headers.len) as u32);
        let mut flags = headers.flags;
        if self.next + l4_len + headers.l4 - headers.len < self.len {
            flags &= !TCP_FIN_PSH;
        }
        if self.next > headers.len {
            flags &= !TCP_CWR;
        }
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        tcp[12..14].copy_from_slice(&flags.to_be_bytes());
        let sum = headers.l4_sum
            + payload_sum
            + checksum::number(l4_len as u16)
            + checksum::number((sequence >> 16) as u16)
            + checksum::number(sequence as u16)
            + checksum::number(flags);
        tcp[16..18].copy_from_slice(&checksum::finish(sum));
    }

    fn cut_udp(&self, headers: &Headers, packet: &[u8], out: &mut [u8]) {
        let l4_len = out.len() - headers.l4;
        let payload_sum = self.copy(headers, packet, out);
        let udp = &mut out[headers.l4..headers.len];
        udp[4..6].copy_from_slice(&(l4_len as u16).to_be_bytes());
        // The length is in the pseudo header and in the header.
        let sum = headers.l4_sum + payload_sum + 2 * checksum::number(l4_len as u16);
        udp[6..8].copy_from_slice(&checksum::finish_nonzero(sum));
    }

    /// Copies headers and payload, finishes the IP header and returns the sum of the payload.
    fn copy(&self, headers: &Headers, packet: &[u8], out: &mut [u8]) -> u64 {
        let len = out.len();
        let (head, payload) = out.split_at_mut(headers.len);
        head.copy_from_slice(&packet[..headers.len]);
        if headers.v4 {
            let index = (self.next - headers.len) / headers.segment;
            let identification = headers.identification.wrapping_add(index as u16);
            head[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            head[4..6].copy_from_slice(&identification.to_be_bytes());
            let sum =
                headers.ip_sum + checksum::number(len as u16) + checksum::number(identification);
            head[10..12].copy_from_slice(&checksum::finish(sum));
        } else {
            head[4..6].copy_from_slice(&((len - IPV6_HEADER_BYTES) as u16).to_be_bytes());
        }
        checksum::copy_and_sum(payload, &packet[self.next..self.next + payload.len()])
    }
}

impl Headers {
    fn parse(header: &VirtioHeader, packet: &[u8]) -> Result<Headers, SplitError> {
        let version = packet.first().ok_or(SplitError::Truncated)? >> 4;
        let v4 = match (version, header.gso) {
            (4, Gso::TcpV4 | Gso::Udp) => true,
            (6, Gso::TcpV6 | Gso::Udp) => false,
            _ => return Err(SplitError::Version),
        };
        let ip_len = if v4 { usize::from(packet[0] & 0x0f) * 4 } else { IPV6_HEADER_BYTES };
        // IPv6 extension headers stand before `csum_start`; there are none if it is not told.
        let l4 = header.needs_checksum.map_or(ip_len, |(start, _)| usize::from(start));
        let l4_min = if header.gso == Gso::Udp { UDP_HEADER_BYTES } else { TCP_HEADER_BYTES_MIN };
        if ip_len < IPV4_HEADER_BYTES_MIN || l4 < ip_len || packet.len() < l4 + l4_min {
            return Err(SplitError::Truncated);
        }
        if header.gso_size == 0 {
            return Err(SplitError::NoSize);
        }
        let mut headers = Headers {
            v4,
            l4,
            len: l4 + l4_min,
            segment: usize::from(header.gso_size),
            ip_sum: 0,
            identification: u16::from_be_bytes([packet[4], packet[5]]),
            l4_sum: pseudo_header_sum(packet, v4, header.gso == Gso::Udp),
            sequence: 0,
            flags: 0,
        };
        if v4 {
            let ip = &packet[..ip_len];
            headers.ip_sum =
                checksum::sum(&ip[..2]) + checksum::sum(&ip[6..10]) + checksum::sum(&ip[12..]);
        }
        let transport = &packet[l4..];
        headers.l4_sum += checksum::sum(&transport[..4]);
        if header.gso != Gso::Udp {
            let tcp_len = usize::from(transport[12] >> 4) * 4;
            if tcp_len < TCP_HEADER_BYTES_MIN || transport.len() < tcp_len {
                return Err(SplitError::Truncated);
            }
            headers.len = l4 + tcp_len;
            headers.sequence =
                u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
            headers.flags = u16::from_be_bytes([transport[12], transport[13]]);
            headers.l4_sum += checksum::sum(&transport[8..12])
                + checksum::sum(&transport[14..16])
                + checksum::sum(&transport[18..tcp_len]);
        }
        Ok(headers)
    }
}

/// Addresses and protocol; the length comes with each packet.
fn pseudo_header_sum(packet: &[u8], v4: bool, udp: bool) -> u64 {
    let addresses = if v4 { &packet[12..20] } else { &packet[8..40] };
    checksum::sum(addresses) + checksum::number(if udp { 17 } else { 6 })
}

fn checksum_place(
    header: &VirtioHeader,
    packet: &[u8],
) -> Result<Option<(usize, usize)>, SplitError> {
    let Some((start, offset)) = header.needs_checksum else { return Ok(None) };
    let (start, at) = (usize::from(start), usize::from(start) + usize::from(offset));
    if at + 2 > packet.len() {
        return Err(SplitError::Checksum);
    }
    Ok(Some((start, at)))
}
