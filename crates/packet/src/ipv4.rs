//! The IPv4 header with its options (RFC 791 section 3.1, RFC 2474 for the DSCP, RFC 3168 for ECN).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |Version|  IHL  |    DSCP   |ECN|         Total Length          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Identification         |0 D M|     Fragment Offset     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Time to Live  |   Protocol    |        Header Checksum        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Source Address                         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                      Destination Address                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                 Options, 0 to 40 bytes, in words              |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::net::Ipv4Addr;

use crate::bytes::{need, need_fit, need_room, read, read_u16, write_u16};
use crate::ip::{Addresses, Ecn};
use crate::{Error, Layer, Result, checksum};

/// Bytes of a header without options.
pub const MIN_HEADER_LEN_BYTES: usize = 20;

/// The most bytes that options take.
pub const MAX_OPTIONS_LEN_BYTES: usize = 40;

mod field {
    use crate::bytes::Field;

    pub(super) const VERSION_IHL: usize = 0;
    pub(super) const DSCP_ECN: usize = 1;
    pub(super) const FIRST_WORD: Field = 0..2;
    pub(super) const TOTAL_LENGTH: Field = 2..4;
    pub(super) const IDENTIFICATION: Field = 4..6;
    pub(super) const FRAGMENT: Field = 6..8;
    pub(super) const TTL: usize = 8;
    pub(super) const TTL_PROTOCOL: Field = 8..10;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const CHECKSUM: Field = 10..12;
    pub(super) const SOURCE: Field = 12..16;
    pub(super) const DESTINATION: Field = 16..20;
}

const DONT_FRAGMENT_BIT: u16 = 0x4000;
const MORE_FRAGMENTS_BIT: u16 = 0x2000;
const OFFSET_BITS: u16 = 0x1fff;

/// A view over an IPv4 packet.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view without any check: getters and setters panic if `buffer` is shorter than the header, or than its length
    /// fields say where they take part.
    pub fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// A view whose getters cannot panic, as long as the length fields are not set anew. The checksum is not verified.
    ///
    /// # Errors
    /// As [`Packet::check_len`].
    pub fn new_checked(buffer: T) -> Result<Packet<T>> {
        let packet = Packet::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// The check of [`Packet::new_checked`]: version and all lengths. Bytes behind the total length are allowed; they are a link's padding.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Version`], [`Error::HeaderLength`] or [`Error::PacketLength`].
    pub fn check_len(&self) -> Result<()> {
        let data = self.buffer.as_ref();
        let layer = Layer::Ipv4;
        need(layer, data, MIN_HEADER_LEN_BYTES)?;
        if self.version() != 4 {
            return Err(Error::Version { layer, found: self.version() });
        }
        let header_len = self.header_len();
        if header_len < MIN_HEADER_LEN_BYTES {
            return Err(Error::HeaderLength { layer, found_bytes: header_len });
        }
        let total_len = usize::from(self.total_len());
        if total_len < header_len {
            return Err(Error::PacketLength { layer, found_bytes: total_len });
        }
        need(layer, data, total_len)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The version, 4.
    pub fn version(&self) -> u8 {
        self.buffer.as_ref()[field::VERSION_IHL] >> 4
    }

    /// Bytes of the header, options included.
    pub fn header_len(&self) -> usize {
        usize::from(self.buffer.as_ref()[field::VERSION_IHL] & 0xf) * 4
    }

    /// Differentiated services codepoint, 6 bits.
    pub fn dscp(&self) -> u8 {
        self.buffer.as_ref()[field::DSCP_ECN] >> 2
    }

    /// Explicit congestion notification.
    pub fn ecn(&self) -> Ecn {
        Ecn::from_bits(self.buffer.as_ref()[field::DSCP_ECN])
    }

    /// Bytes of the whole packet.
    pub fn total_len(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::TOTAL_LENGTH)
    }

    /// What fragments of one packet share.
    pub fn identification(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::IDENTIFICATION)
    }

    /// Whether routers must not fragment it.
    pub fn dont_fragment(&self) -> bool {
        read_u16(self.buffer.as_ref(), field::FRAGMENT) & DONT_FRAGMENT_BIT != 0
    }

    /// Whether it is a fragment and not the last.
    pub fn more_fragments(&self) -> bool {
        read_u16(self.buffer.as_ref(), field::FRAGMENT) & MORE_FRAGMENTS_BIT != 0
    }

    /// Where its payload begins in the whole packet's, in bytes.
    pub fn fragment_offset_bytes(&self) -> u16 {
        (read_u16(self.buffer.as_ref(), field::FRAGMENT) & OFFSET_BITS) << 3
    }

    /// Whether it is a part of a packet.
    pub fn is_fragment(&self) -> bool {
        read_u16(self.buffer.as_ref(), field::FRAGMENT) & (MORE_FRAGMENTS_BIT | OFFSET_BITS) != 0
    }

    /// Time to live.
    pub fn ttl(&self) -> u8 {
        self.buffer.as_ref()[field::TTL]
    }

    /// What the payload is ([`crate::ip::protocol`]).
    pub fn protocol(&self) -> u8 {
        self.buffer.as_ref()[field::PROTOCOL]
    }

    /// The header checksum.
    pub fn checksum(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// The source.
    pub fn src_addr(&self) -> Ipv4Addr {
        Ipv4Addr::from(read::<4>(self.buffer.as_ref(), field::SOURCE))
    }

    /// The destination.
    pub fn dst_addr(&self) -> Ipv4Addr {
        Ipv4Addr::from(read::<4>(self.buffer.as_ref(), field::DESTINATION))
    }

    /// Source and destination, as transport checksums need them.
    pub fn addresses(&self) -> Addresses {
        Addresses::V4 { src: self.src_addr(), dst: self.dst_addr() }
    }

    /// Whether the header checksum is right.
    pub fn verify_checksum(&self) -> bool {
        checksum::data(&self.buffer.as_ref()[..self.header_len()]) == 0xffff
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> Packet<&'a T> {
    /// The options, 0 to 40 bytes.
    pub fn options(&self) -> &'a [u8] {
        &self.buffer.as_ref()[MIN_HEADER_LEN_BYTES..self.header_len()]
    }

    /// What the packet carries, without a link's padding behind it.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer.as_ref()[self.header_len()..usize::from(self.total_len())]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the version, and the header's length in bytes: a multiple of 4 up to 60.
    pub fn set_version_and_header_len(&mut self, header_len_bytes: usize) {
        self.buffer.as_mut()[field::VERSION_IHL] = 4 << 4 | (header_len_bytes / 4) as u8 & 0xf;
    }

    /// Sets the DSCP; only its low six bits count. The checksum stays.
    pub fn set_dscp(&mut self, dscp: u8) {
        let byte = &mut self.buffer.as_mut()[field::DSCP_ECN];
        *byte = dscp << 2 | *byte & 0b11;
    }

    /// Sets ECN. The checksum stays.
    pub fn set_ecn(&mut self, ecn: Ecn) {
        let byte = &mut self.buffer.as_mut()[field::DSCP_ECN];
        *byte = *byte & !0b11 | ecn.bits();
    }

    /// Sets the bytes of the whole packet. The checksum stays.
    pub fn set_total_len(&mut self, total_len_bytes: u16) {
        write_u16(self.buffer.as_mut(), field::TOTAL_LENGTH, total_len_bytes);
    }

    /// Sets the identification. The checksum stays.
    pub fn set_identification(&mut self, identification: u16) {
        write_u16(self.buffer.as_mut(), field::IDENTIFICATION, identification);
    }

    /// Sets the fragmentation flags and the offset in bytes, of which the low three bits do not count. The checksum stays.
    pub fn set_fragment(&mut self, dont: bool, more: bool, offset_bytes: u16) {
        let dont = if dont { DONT_FRAGMENT_BIT } else { 0 };
        let more = if more { MORE_FRAGMENTS_BIT } else { 0 };
        write_u16(self.buffer.as_mut(), field::FRAGMENT, dont | more | offset_bytes >> 3);
    }

    /// Sets the time to live. The checksum stays; see [`Packet::rewrite_ttl`].
    pub fn set_ttl(&mut self, ttl: u8) {
        self.buffer.as_mut()[field::TTL] = ttl;
    }

    /// Sets what the payload is. The checksum stays.
    pub fn set_protocol(&mut self, protocol: u8) {
        self.buffer.as_mut()[field::PROTOCOL] = protocol;
    }

    /// Sets the header checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        write_u16(self.buffer.as_mut(), field::CHECKSUM, checksum);
    }

    /// Sets the source. The checksum stays.
    pub fn set_src_addr(&mut self, address: Ipv4Addr) {
        self.buffer.as_mut()[field::SOURCE].copy_from_slice(&address.octets());
    }

    /// Sets the destination. The checksum stays.
    pub fn set_dst_addr(&mut self, address: Ipv4Addr) {
        self.buffer.as_mut()[field::DESTINATION].copy_from_slice(&address.octets());
    }

    /// Computes the header checksum anew.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let sum = checksum::data(&self.buffer.as_ref()[..self.header_len()]);
        self.set_checksum(!sum);
    }

    /// Sets the time to live and updates the checksum (RFC 1624); a checksum that was wrong stays wrong.
    pub fn rewrite_ttl(&mut self, ttl: u8) {
        self.rewrite_word(field::TTL_PROTOCOL, |packet| packet.set_ttl(ttl));
    }

    /// Sets ECN and updates the checksum (RFC 1624); a checksum that was wrong stays wrong.
    pub fn rewrite_ecn(&mut self, ecn: Ecn) {
        self.rewrite_word(field::FIRST_WORD, |packet| packet.set_ecn(ecn));
    }

    /// Sets the DSCP and updates the checksum (RFC 1624); a checksum that was wrong stays wrong.
    pub fn rewrite_dscp(&mut self, dscp: u8) {
        self.rewrite_word(field::FIRST_WORD, |packet| packet.set_dscp(dscp));
    }

    /// Sets the total length and updates the checksum (RFC 1624); a checksum that was wrong stays wrong.
    pub fn rewrite_total_len(&mut self, total_len_bytes: u16) {
        self.rewrite_word(field::TOTAL_LENGTH, |packet| packet.set_total_len(total_len_bytes));
    }

    /// Sets the identification and updates the checksum (RFC 1624); a checksum that was wrong stays wrong.
    pub fn rewrite_identification(&mut self, identification: u16) {
        self.rewrite_word(field::IDENTIFICATION, |packet| {
            packet.set_identification(identification);
        });
    }

    fn rewrite_word(&mut self, word: crate::bytes::Field, change: impl FnOnce(&mut Self)) {
        let old = read_u16(self.buffer.as_ref(), word.clone());
        change(self);
        let new = read_u16(self.buffer.as_ref(), word);
        self.set_checksum(checksum::update(self.checksum(), old, new));
    }

    /// The options, to change in place. The checksum stays.
    pub fn options_mut(&mut self) -> &mut [u8] {
        let end = self.header_len();
        &mut self.buffer.as_mut()[MIN_HEADER_LEN_BYTES..end]
    }

    /// What the packet carries, to change in place.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.header_len(), usize::from(self.total_len()));
        &mut self.buffer.as_mut()[start..end]
    }
}

/// An IPv4 header as values. The reserved bit of RFC 791 is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr<'a> {
    /// Differentiated services codepoint, 6 bits.
    pub dscp: u8,
    /// Explicit congestion notification.
    pub ecn: Ecn,
    /// What fragments of one packet share.
    pub identification: u16,
    /// Whether routers must not fragment it.
    pub dont_fragment: bool,
    /// Whether it is a fragment and not the last.
    pub more_fragments: bool,
    /// Where its payload begins in the whole packet's, in bytes, a multiple of 8.
    pub fragment_offset_bytes: u16,
    /// Time to live.
    pub ttl: u8,
    /// What the payload is ([`crate::ip::protocol`]).
    pub protocol: u8,
    /// The source.
    pub src_addr: Ipv4Addr,
    /// The destination.
    pub dst_addr: Ipv4Addr,
    /// Options as they lie in the header: a multiple of 4 bytes, at most 40.
    pub options: &'a [u8],
    /// Bytes behind the header.
    pub payload_len: usize,
}

impl<'a> Repr<'a> {
    /// Reads the header and verifies its checksum.
    ///
    /// # Errors
    /// As [`Packet::check_len`], and [`Error::Checksum`].
    pub fn parse<T: AsRef<[u8]> + ?Sized>(packet: &Packet<&'a T>) -> Result<Repr<'a>> {
        packet.check_len()?;
        if !packet.verify_checksum() {
            return Err(Error::Checksum { layer: Layer::Ipv4 });
        }
        Ok(Repr {
            dscp: packet.dscp(),
            ecn: packet.ecn(),
            identification: packet.identification(),
            dont_fragment: packet.dont_fragment(),
            more_fragments: packet.more_fragments(),
            fragment_offset_bytes: packet.fragment_offset_bytes(),
            ttl: packet.ttl(),
            protocol: packet.protocol(),
            src_addr: packet.src_addr(),
            dst_addr: packet.dst_addr(),
            options: packet.options(),
            payload_len: packet.payload().len(),
        })
    }

    /// Bytes that [`Repr::emit`] writes: the header, without the payload.
    pub fn buffer_len(&self) -> usize {
        MIN_HEADER_LEN_BYTES + self.options.len()
    }

    /// Writes the header with its checksum. The buffer need not hold the payload yet.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::FieldValue`] for a value that its field cannot hold; nothing was written.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Result<()> {
        let layer = Layer::Ipv4;
        let header_len = self.buffer_len();
        need_fit(layer, "options", self.options.len() <= MAX_OPTIONS_LEN_BYTES)?;
        need_fit(layer, "options", self.options.len().is_multiple_of(4))?;
        need_fit(layer, "dscp", self.dscp < 64)?;
        need_fit(layer, "fragment_offset_bytes", self.fragment_offset_bytes.is_multiple_of(8))?;
        let total_len = self.payload_len.checked_add(header_len);
        let total_len = total_len.and_then(|len| u16::try_from(len).ok());
        let Some(total_len) = total_len else {
            return Err(Error::FieldValue { layer, field: "payload_len" });
        };
        need_room(layer, packet.buffer.as_ref(), header_len)?;
        packet.set_version_and_header_len(header_len);
        packet.set_dscp(self.dscp);
        packet.set_ecn(self.ecn);
        packet.set_total_len(total_len);
        packet.set_identification(self.identification);
        packet.set_fragment(self.dont_fragment, self.more_fragments, self.fragment_offset_bytes);
        packet.set_ttl(self.ttl);
        packet.set_protocol(self.protocol);
        packet.set_src_addr(self.src_addr);
        packet.set_dst_addr(self.dst_addr);
        packet.options_mut().copy_from_slice(self.options);
        packet.fill_checksum();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As scapy writes it.
    const PLAIN: [u8; 24] = [
        0x45, 0x02, 0x00, 0x18, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0xb2, 0x08, 0xac, 0x10, 0x0a,
        0x63, 0xac, 0x10, 0x0a, 0x0c, 0x01, 0x02, 0x03, 0x04,
    ];

    fn with_router_alert() -> [u8; 26] {
        let mut bytes = [0; 26];
        let options = [0x94, 0x04, 0x00, 0x00];
        let repr = Repr { options: &options, payload_len: 2, ..plain() };
        repr.emit(&mut Packet::new_unchecked(&mut bytes)).unwrap();
        bytes
    }

    fn plain() -> Repr<'static> {
        Repr {
            dscp: 0,
            ecn: Ecn::Ect0,
            identification: 0x1c46,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset_bytes: 0,
            ttl: 64,
            protocol: 6,
            src_addr: Ipv4Addr::new(172, 16, 10, 99),
            dst_addr: Ipv4Addr::new(172, 16, 10, 12),
            options: &[],
            payload_len: 4,
        }
    }

    #[test]
    fn a_packet_is_read() {
        let packet = Packet::new_checked(&PLAIN[..]).unwrap();
        assert!(packet.verify_checksum() && !packet.is_fragment());
        assert_eq!(Repr::parse(&packet), Ok(plain()));
        assert_eq!(packet.payload(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_packet_is_written() {
        let mut bytes = PLAIN;
        bytes[..20].fill(0xff);
        plain().emit(&mut Packet::new_unchecked(&mut bytes)).unwrap();
        assert_eq!(bytes, PLAIN);
    }

    #[test]
    fn options_are_kept_apart_from_the_payload() {
        let bytes = with_router_alert();
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!((packet.header_len(), packet.total_len()), (24, 26));
        assert_eq!(packet.options(), [0x94, 0x04, 0x00, 0x00]);
        assert_eq!(packet.payload(), [0, 0]);
        assert!(packet.verify_checksum());
    }

    #[test]
    fn a_rewrite_keeps_the_checksum_right() {
        let mut bytes = with_router_alert();
        let mut packet = Packet::new_checked(&mut bytes).unwrap();
        for value in 0..=255u8 {
            packet.rewrite_ttl(value);
            packet.rewrite_ecn(Ecn::from_bits(value));
            packet.rewrite_dscp(value >> 2);
            packet.rewrite_identification(u16::from(value) << 7);
            assert!(packet.verify_checksum(), "{value}");
            assert_eq!((packet.ttl(), packet.dscp()), (value, value >> 2));
        }
        packet.rewrite_total_len(25);
        assert!(packet.verify_checksum());
        assert_eq!(packet.total_len(), 25);
        packet.set_ttl(1);
        assert!(!packet.verify_checksum());
    }

    #[test]
    fn link_padding_is_no_payload() {
        let mut padded = [0xaa; 46];
        padded[..24].copy_from_slice(&PLAIN);
        assert_eq!(Packet::new_checked(&padded[..]).unwrap().payload(), [1, 2, 3, 4]);
    }

    #[test]
    fn bad_lengths_versions_and_checksums_are_refused() {
        let layer = Layer::Ipv4;
        let changed = |at: usize, byte: u8| {
            let mut bytes = PLAIN;
            bytes[at] = byte;
            Repr::parse(&Packet::new_unchecked(&bytes[..])).map(|_| ())
        };
        assert_eq!(changed(0, 0x65), Err(Error::Version { layer, found: 6 }));
        assert_eq!(changed(0, 0x44), Err(Error::HeaderLength { layer, found_bytes: 16 }));
        assert_eq!(changed(3, 19), Err(Error::PacketLength { layer, found_bytes: 19 }));
        let truncated = Error::Truncated { layer, needed_bytes: 25, present_bytes: 24 };
        assert_eq!(changed(3, 25), Err(truncated));
        assert_eq!(changed(8, 63), Err(Error::Checksum { layer }));
        assert!(Packet::new_checked(&PLAIN[..19]).is_err());
    }

    #[test]
    fn values_that_cannot_be_written_are_refused() {
        let refused = |repr: Repr<'_>| {
            let mut packet = Packet::new_unchecked([0; 64]);
            let error = repr.emit(&mut packet).unwrap_err();
            assert_eq!(packet.into_inner(), [0; 64]);
            match error {
                Error::FieldValue { field, .. } => field,
                other => panic!("{other}"),
            }
        };
        assert_eq!(refused(Repr { options: &[1; 44], ..plain() }), "options");
        assert_eq!(refused(Repr { options: &[1; 3], ..plain() }), "options");
        assert_eq!(refused(Repr { dscp: 64, ..plain() }), "dscp");
        assert_eq!(refused(Repr { payload_len: 65516, ..plain() }), "payload_len");
        assert_eq!(refused(Repr { payload_len: usize::MAX, ..plain() }), "payload_len");
        let odd = Repr { fragment_offset_bytes: 4, ..plain() };
        assert_eq!(refused(odd), "fragment_offset_bytes");
        assert!(plain().emit(&mut Packet::new_unchecked([0; 19])).is_err());
    }

    #[test]
    fn fragments_are_told_from_whole_packets() {
        let mut packet = Packet::new_unchecked(PLAIN);
        packet.set_fragment(false, true, 0);
        assert!(packet.is_fragment() && packet.more_fragments() && !packet.dont_fragment());
        packet.set_fragment(false, false, 65528);
        assert!(packet.is_fragment());
        assert_eq!(packet.fragment_offset_bytes(), 65528);
    }
}
