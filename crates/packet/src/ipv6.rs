//! The IPv6 header (RFC 8200 section 3); its extension headers are in [`extension`] and [`fragment`].
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |Version|    DSCP   |ECN|              Flow Label               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |         Payload Length        |  Next Header  |   Hop Limit   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                    Source Address (16 bytes)                  |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                 Destination Address (16 bytes)                |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::net::Ipv6Addr;

use crate::bytes::{need, need_fit, need_room, read, read_u16, read_u32, write_u16, write_u32};
use crate::ip::{Addresses, Ecn};
use crate::{Error, Layer, Result};

pub mod extension;
pub mod fragment;

/// Bytes of the fixed header.
pub const HEADER_LEN_BYTES: usize = 40;

/// The greatest flow label.
pub const MAX_FLOW_LABEL: u32 = 0xf_ffff;

mod field {
    use crate::bytes::Field;

    pub(super) const FIRST_WORD: Field = 0..4;
    pub(super) const PAYLOAD_LENGTH: Field = 4..6;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SOURCE: Field = 8..24;
    pub(super) const DESTINATION: Field = 24..40;
}

const DSCP_SHIFT: u32 = 22;
const ECN_SHIFT: u32 = 20;

/// A view over an IPv6 packet.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view without any check: getters and setters panic if `buffer` is shorter than the header, or than its payload
    /// length says where that takes part.
    pub fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// A view whose getters cannot panic, as long as the payload length is not set anew.
    ///
    /// # Errors
    /// As [`Packet::check_len`].
    pub fn new_checked(buffer: T) -> Result<Packet<T>> {
        let packet = Packet::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// The check of [`Packet::new_checked`]: version and lengths. Bytes behind the payload length are allowed; they are
    /// a link's padding. A jumbogram (RFC 2675) has payload length 0 and so reads as empty.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Version`].
    pub fn check_len(&self) -> Result<()> {
        let data = self.buffer.as_ref();
        need(Layer::Ipv6, data, HEADER_LEN_BYTES)?;
        if self.version() != 6 {
            return Err(Error::Version { layer: Layer::Ipv6, found: self.version() });
        }
        need(Layer::Ipv6, data, HEADER_LEN_BYTES + usize::from(self.payload_len()))
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    fn first_word(&self) -> u32 {
        read_u32(self.buffer.as_ref(), field::FIRST_WORD)
    }

    /// The version, 6.
    pub fn version(&self) -> u8 {
        (self.first_word() >> 28) as u8
    }

    /// Differentiated services codepoint, 6 bits.
    pub fn dscp(&self) -> u8 {
        (self.first_word() >> DSCP_SHIFT & 0x3f) as u8
    }

    /// Explicit congestion notification.
    pub fn ecn(&self) -> Ecn {
        Ecn::from_bits((self.first_word() >> ECN_SHIFT) as u8)
    }

    /// Flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        self.first_word() & MAX_FLOW_LABEL
    }

    /// Bytes behind the fixed header, extension headers included.
    pub fn payload_len(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::PAYLOAD_LENGTH)
    }

    /// Bytes of the whole packet.
    pub fn total_len(&self) -> usize {
        HEADER_LEN_BYTES + usize::from(self.payload_len())
    }

    /// What the payload begins with ([`crate::ip::protocol`]): an extension header or a transport protocol.
    pub fn next_header(&self) -> u8 {
        self.buffer.as_ref()[field::NEXT_HEADER]
    }

    /// Hop limit.
    pub fn hop_limit(&self) -> u8 {
        self.buffer.as_ref()[field::HOP_LIMIT]
    }

    /// The source.
    pub fn src_addr(&self) -> Ipv6Addr {
        Ipv6Addr::from(read::<16>(self.buffer.as_ref(), field::SOURCE))
    }

    /// The destination.
    pub fn dst_addr(&self) -> Ipv6Addr {
        Ipv6Addr::from(read::<16>(self.buffer.as_ref(), field::DESTINATION))
    }

    /// Source and destination, as transport checksums need them where no Routing header has segments left.
    pub fn addresses(&self) -> Addresses {
        Addresses::V6 { src: self.src_addr(), dst: self.dst_addr() }
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> Packet<&'a T> {
    /// Everything behind the fixed header, without a link's padding behind it.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer.as_ref()[HEADER_LEN_BYTES..self.total_len()]
    }

    /// The transport header behind all extension headers.
    ///
    /// # Errors
    /// As [`extension::walk`].
    pub fn upper_layer(&self) -> Result<extension::UpperLayer<'a>> {
        extension::walk(self.next_header(), self.payload())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    fn set_first_word(&mut self, mask: u32, bits: u32) {
        let word = self.first_word() & !mask | bits & mask;
        write_u32(self.buffer.as_mut(), field::FIRST_WORD, word);
    }

    /// Sets the version to 6.
    pub fn set_version(&mut self) {
        self.set_first_word(0xf000_0000, 6 << 28);
    }

    /// Sets the DSCP; only its low six bits count.
    pub fn set_dscp(&mut self, dscp: u8) {
        self.set_first_word(0x3f << DSCP_SHIFT, u32::from(dscp) << DSCP_SHIFT);
    }

    /// Sets ECN.
    pub fn set_ecn(&mut self, ecn: Ecn) {
        self.set_first_word(0b11 << ECN_SHIFT, u32::from(ecn.bits()) << ECN_SHIFT);
    }

    /// Sets the flow label; only its low twenty bits count.
    pub fn set_flow_label(&mut self, flow_label: u32) {
        self.set_first_word(MAX_FLOW_LABEL, flow_label);
    }

    /// Sets the bytes behind the fixed header.
    pub fn set_payload_len(&mut self, payload_len_bytes: u16) {
        write_u16(self.buffer.as_mut(), field::PAYLOAD_LENGTH, payload_len_bytes);
    }

    /// Sets what the payload begins with.
    pub fn set_next_header(&mut self, next_header: u8) {
        self.buffer.as_mut()[field::NEXT_HEADER] = next_header;
    }

    /// Sets the hop limit. No checksum covers it.
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        self.buffer.as_mut()[field::HOP_LIMIT] = hop_limit;
    }

    /// Sets the source.
    pub fn set_src_addr(&mut self, address: Ipv6Addr) {
        self.buffer.as_mut()[field::SOURCE].copy_from_slice(&address.octets());
    }

    /// Sets the destination.
    pub fn set_dst_addr(&mut self, address: Ipv6Addr) {
        self.buffer.as_mut()[field::DESTINATION].copy_from_slice(&address.octets());
    }

    /// Everything behind the fixed header, to change in place.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let end = self.total_len();
        &mut self.buffer.as_mut()[HEADER_LEN_BYTES..end]
    }
}

/// An IPv6 header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Differentiated services codepoint, 6 bits.
    pub dscp: u8,
    /// Explicit congestion notification.
    pub ecn: Ecn,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Bytes behind the fixed header.
    pub payload_len: u16,
    /// What the payload begins with ([`crate::ip::protocol`]).
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// The source.
    pub src_addr: Ipv6Addr,
    /// The destination.
    pub dst_addr: Ipv6Addr,
}

impl Repr {
    /// Reads the header.
    ///
    /// # Errors
    /// As [`Packet::check_len`].
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr> {
        packet.check_len()?;
        Ok(Repr {
            dscp: packet.dscp(),
            ecn: packet.ecn(),
            flow_label: packet.flow_label(),
            payload_len: packet.payload_len(),
            next_header: packet.next_header(),
            hop_limit: packet.hop_limit(),
            src_addr: packet.src_addr(),
            dst_addr: packet.dst_addr(),
        })
    }

    /// Bytes that [`Repr::emit`] writes: the fixed header.
    pub fn buffer_len(&self) -> usize {
        HEADER_LEN_BYTES
    }

    /// Writes the header. The buffer need not hold the payload yet.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::FieldValue`] for a value wider than its field; nothing was written.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Result<()> {
        need_room(Layer::Ipv6, packet.buffer.as_ref(), self.buffer_len())?;
        need_fit(Layer::Ipv6, "dscp", self.dscp < 64)?;
        need_fit(Layer::Ipv6, "flow_label", self.flow_label <= MAX_FLOW_LABEL)?;
        packet.set_version();
        packet.set_dscp(self.dscp);
        packet.set_ecn(self.ecn);
        packet.set_flow_label(self.flow_label);
        packet.set_payload_len(self.payload_len);
        packet.set_next_header(self.next_header);
        packet.set_hop_limit(self.hop_limit);
        packet.set_src_addr(self.src_addr);
        packet.set_dst_addr(self.dst_addr);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As scapy writes it.
    const ECHO: [u8; 44] = [
        0x6b, 0x96, 0x3a, 0x05, 0x00, 0x04, 0x3a, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 1, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x80, 0x00, 0x12, 0x34,
    ];

    fn echo() -> Repr {
        Repr {
            dscp: 46,
            ecn: Ecn::Ect1,
            flow_label: 0x6_3a05,
            payload_len: 4,
            next_header: 58,
            hop_limit: 64,
            src_addr: Ipv6Addr::LOCALHOST,
            dst_addr: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
        }
    }

    #[test]
    fn a_packet_is_read_and_written() {
        let packet = Packet::new_checked(&ECHO[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(echo()));
        assert_eq!(packet.payload(), [0x80, 0x00, 0x12, 0x34]);
        let mut bytes = [0xff; 40];
        echo().emit(&mut Packet::new_unchecked(&mut bytes)).unwrap();
        assert_eq!(bytes, ECHO[..40]);
    }

    #[test]
    fn setters_leave_the_other_fields_alone() {
        let mut packet = Packet::new_unchecked(ECHO);
        packet.set_ecn(Ecn::Ce);
        packet.set_hop_limit(1);
        assert_eq!(Repr::parse(&packet), Ok(Repr { ecn: Ecn::Ce, hop_limit: 1, ..echo() }));
        packet.set_dscp(0xc1);
        packet.set_flow_label(0xfff0_0001);
        let changed = Repr { dscp: 1, flow_label: 1, ecn: Ecn::Ce, hop_limit: 1, ..echo() };
        assert_eq!(Repr::parse(&packet), Ok(changed));
        assert_eq!(packet.payload_mut(), [0x80, 0x00, 0x12, 0x34]);
    }

    #[test]
    fn bad_packets_are_refused() {
        let layer = Layer::Ipv6;
        let short = Packet::new_checked(&ECHO[..43]).map(|_| ());
        assert_eq!(short, Err(Error::Truncated { layer, needed_bytes: 44, present_bytes: 43 }));
        assert!(Packet::new_checked(&ECHO[..39]).is_err());
        let mut four = ECHO;
        four[0] = 0x45;
        let version = Packet::new_checked(&four).map(|_| ());
        assert_eq!(version, Err(Error::Version { layer, found: 4 }));
    }

    #[test]
    fn values_that_cannot_be_written_are_refused() {
        let mut packet = Packet::new_unchecked([0; 40]);
        let wide = Repr { flow_label: MAX_FLOW_LABEL + 1, ..echo() }.emit(&mut packet);
        assert_eq!(wide, Err(Error::FieldValue { layer: Layer::Ipv6, field: "flow_label" }));
        let wide = Repr { dscp: 64, ..echo() }.emit(&mut packet);
        assert_eq!(wide, Err(Error::FieldValue { layer: Layer::Ipv6, field: "dscp" }));
        assert_eq!(packet.into_inner(), [0; 40]);
        assert!(echo().emit(&mut Packet::new_unchecked([0; 39])).is_err());
    }
}
