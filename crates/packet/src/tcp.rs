//! TCP (RFC 9293 section 3.1); its options are in [`options`].
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          Source Port          |       Destination Port        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Sequence Number                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                    Acknowledgment Number                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Data |     |A|C|E|U|A|P|R|S|F|                               |
//! | Offset| Rsr |E|W|C|R|C|S|S|Y|I|            Window             |
//! |       |     | |R|E|G|K|H|T|N|N|                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Checksum            |         Urgent Pointer        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                 Options, 0 to 40 bytes, in words              |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

use crate::bytes::{need, need_fit, need_room, read_u16, read_u32, write_u16, write_u32};
use crate::ip::{Addresses, protocol};
use crate::{Error, Layer, Result, checksum};

pub mod options;

pub use options::{Options, TcpOption};

/// Bytes of a header without options.
pub const MIN_HEADER_LEN_BYTES: usize = 20;

/// The most bytes that options take.
pub const MAX_OPTIONS_LEN_BYTES: usize = 40;

mod field {
    use crate::bytes::Field;

    pub(super) const SOURCE: Field = 0..2;
    pub(super) const DESTINATION: Field = 2..4;
    pub(super) const SEQUENCE: Field = 4..8;
    pub(super) const ACKNOWLEDGMENT: Field = 8..12;
    pub(super) const OFFSET_FLAGS: Field = 12..14;
    pub(super) const WINDOW: Field = 14..16;
    pub(super) const CHECKSUM: Field = 16..18;
    pub(super) const URGENT: Field = 18..20;
}

/// The control bits, with the three reserved ones above them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u16);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x001);
    /// Synchronize sequence numbers.
    pub const SYN: Flags = Flags(0x002);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x004);
    /// Push.
    pub const PSH: Flags = Flags(0x008);
    /// The acknowledgment number counts.
    pub const ACK: Flags = Flags(0x010);
    /// The urgent pointer counts.
    pub const URG: Flags = Flags(0x020);
    /// ECN echo (RFC 3168).
    pub const ECE: Flags = Flags(0x040);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Flags = Flags(0x080);
    /// Accurate ECN (RFC 9768), once the nonce sum of RFC 3540.
    pub const AE: Flags = Flags(0x100);

    /// All twelve bits below the data offset.
    const ALL: u16 = 0x0fff;
    const NAMES: [&'static str; 9] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"];

    /// Whether all of these are set.
    pub fn contains(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether one of these is set.
    pub fn intersects(self, flags: Flags) -> bool {
        self.0 & flags.0 != 0
    }

    /// Without these.
    #[must_use]
    pub fn without(self, flags: Flags) -> Flags {
        Flags(self.0 & !flags.0)
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#05x}", self.0)?;
        for (bit, name) in Flags::NAMES.iter().enumerate() {
            if self.0 & 1 << bit != 0 {
                write!(f, " {name}")?;
            }
        }
        f.write_str(")")
    }
}

/// A view over a TCP segment.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view without any check: getters and setters panic if `buffer` is shorter than the header.
    pub fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// A view whose getters cannot panic, as long as the data offset is not set anew. Neither the checksum nor the options are
    /// verified.
    ///
    /// # Errors
    /// As [`Packet::check_len`].
    pub fn new_checked(buffer: T) -> Result<Packet<T>> {
        let packet = Packet::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// The check of [`Packet::new_checked`].
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::HeaderLength`].
    pub fn check_len(&self) -> Result<()> {
        let data = self.buffer.as_ref();
        need(Layer::Tcp, data, MIN_HEADER_LEN_BYTES)?;
        let header_len = self.header_len();
        if header_len < MIN_HEADER_LEN_BYTES {
            return Err(Error::HeaderLength { layer: Layer::Tcp, found_bytes: header_len });
        }
        need(Layer::Tcp, data, header_len)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The source port.
    pub fn src_port(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::SOURCE)
    }

    /// The destination port.
    pub fn dst_port(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::DESTINATION)
    }

    /// The sequence number of the first byte, or of SYN.
    pub fn seq_number(&self) -> u32 {
        read_u32(self.buffer.as_ref(), field::SEQUENCE)
    }

    /// The sequence number that is expected next from the other end.
    pub fn ack_number(&self) -> u32 {
        read_u32(self.buffer.as_ref(), field::ACKNOWLEDGMENT)
    }

    /// Bytes of the header, options included.
    pub fn header_len(&self) -> usize {
        usize::from(read_u16(self.buffer.as_ref(), field::OFFSET_FLAGS) >> 12) * 4
    }

    /// The control bits.
    pub fn flags(&self) -> Flags {
        Flags(read_u16(self.buffer.as_ref(), field::OFFSET_FLAGS) & Flags::ALL)
    }

    /// The window, not yet scaled.
    pub fn window(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::WINDOW)
    }

    /// The checksum.
    pub fn checksum(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// The urgent pointer.
    pub fn urgent_pointer(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::URGENT)
    }

    /// Whether the checksum over pseudo-header, header and payload is right. The buffer ends where the segment does.
    pub fn verify_checksum(&self, addresses: Addresses) -> bool {
        self.sum(addresses) == 0xffff
    }

    fn sum(&self, addresses: Addresses) -> u16 {
        let data = self.buffer.as_ref();
        checksum::combine(&[
            addresses.pseudo_header(protocol::TCP, data.len()),
            checksum::data(data),
        ])
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> Packet<&'a T> {
    /// The options, one by one.
    pub fn options(&self) -> Options<'a> {
        Options::new(&self.buffer.as_ref()[MIN_HEADER_LEN_BYTES..self.header_len()])
    }

    /// What the segment carries: the rest of the buffer.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer.as_ref()[self.header_len()..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the source port. The checksum stays.
    pub fn set_src_port(&mut self, port: u16) {
        write_u16(self.buffer.as_mut(), field::SOURCE, port);
    }

    /// Sets the destination port. The checksum stays.
    pub fn set_dst_port(&mut self, port: u16) {
        write_u16(self.buffer.as_mut(), field::DESTINATION, port);
    }

    /// Sets the sequence number. The checksum stays.
    pub fn set_seq_number(&mut self, number: u32) {
        write_u32(self.buffer.as_mut(), field::SEQUENCE, number);
    }

    /// Sets the acknowledgment number. The checksum stays.
    pub fn set_ack_number(&mut self, number: u32) {
        write_u32(self.buffer.as_mut(), field::ACKNOWLEDGMENT, number);
    }

    /// Sets the bytes of the header: a multiple of 4 from 20 to 60. The checksum stays.
    pub fn set_header_len(&mut self, header_len_bytes: usize) {
        let word = (header_len_bytes as u16 / 4) << 12 | self.flags().0;
        write_u16(self.buffer.as_mut(), field::OFFSET_FLAGS, word);
    }

    /// Sets the control bits, the reserved ones included. The checksum stays.
    pub fn set_flags(&mut self, flags: Flags) {
        let offset = read_u16(self.buffer.as_ref(), field::OFFSET_FLAGS) & !Flags::ALL;
        write_u16(self.buffer.as_mut(), field::OFFSET_FLAGS, offset | flags.0 & Flags::ALL);
    }

    /// Sets the window. The checksum stays.
    pub fn set_window(&mut self, window: u16) {
        write_u16(self.buffer.as_mut(), field::WINDOW, window);
    }

    /// Sets the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        write_u16(self.buffer.as_mut(), field::CHECKSUM, checksum);
    }

    /// Sets the urgent pointer. The checksum stays.
    pub fn set_urgent_pointer(&mut self, pointer: u16) {
        write_u16(self.buffer.as_mut(), field::URGENT, pointer);
    }

    /// Computes the checksum over pseudo-header, header and payload. The buffer ends where the segment does.
    pub fn fill_checksum(&mut self, addresses: Addresses) {
        self.set_checksum(0);
        let sum = self.sum(addresses);
        self.set_checksum(!sum);
    }

    /// Lowers the maximum segment size of a SYN to `mss_bytes` where it says more, and updates the checksum (RFC 1624).
    /// True if it changed. Segments without SYN, without the option, or with broken options stay as they are.
    pub fn clamp_mss(&mut self, mss_bytes: u16) -> bool {
        if !self.flags().contains(Flags::SYN) {
            return false;
        }
        let area = MIN_HEADER_LEN_BYTES..self.header_len();
        let Some(at) = options::find_mss(&self.buffer.as_ref()[area]) else {
            return false;
        };
        let at = MIN_HEADER_LEN_BYTES + at;
        let old = read_u16(self.buffer.as_ref(), at..at + 2);
        if old <= mss_bytes {
            return false;
        }
        write_u16(self.buffer.as_mut(), at..at + 2, mss_bytes);
        // At an odd offset the value's two bytes stand in the sum the other way round.
        let (old, new) = match at.is_multiple_of(2) {
            true => (old, mss_bytes),
            false => (old.swap_bytes(), mss_bytes.swap_bytes()),
        };
        self.set_checksum(checksum::update(self.checksum(), old, new));
        true
    }

    /// The options as bytes, to change in place.
    pub fn options_mut(&mut self) -> &mut [u8] {
        let end = self.header_len();
        &mut self.buffer.as_mut()[MIN_HEADER_LEN_BYTES..end]
    }

    /// What the segment carries, to change in place.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let start = self.header_len();
        &mut self.buffer.as_mut()[start..]
    }
}

/// A TCP header as values. The checksum is not among them: it covers the payload, so it is filled or verified on the
/// [`Packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr<'a> {
    /// The source port.
    pub src_port: u16,
    /// The destination port.
    pub dst_port: u16,
    /// The sequence number of the first byte, or of SYN.
    pub seq_number: u32,
    /// The sequence number that is expected next from the other end.
    pub ack_number: u32,
    /// The control bits.
    pub flags: Flags,
    /// The window, not yet scaled.
    pub window: u16,
    /// The urgent pointer.
    pub urgent_pointer: u16,
    /// Options as they lie in the header: a multiple of 4 bytes, at most 40, made by [`options::emit`].
    pub options: Options<'a>,
}

impl<'a> Repr<'a> {
    /// Reads the header and checks that its options can be told apart.
    ///
    /// # Errors
    /// As [`Packet::check_len`], and [`Error::OptionLength`].
    pub fn parse<T: AsRef<[u8]> + ?Sized>(packet: &Packet<&'a T>) -> Result<Repr<'a>> {
        packet.check_len()?;
        for option in packet.options() {
            option?;
        }
        Ok(Repr {
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            seq_number: packet.seq_number(),
            ack_number: packet.ack_number(),
            flags: packet.flags(),
            window: packet.window(),
            urgent_pointer: packet.urgent_pointer(),
            options: packet.options(),
        })
    }

    /// Bytes that [`Repr::emit`] writes: the header, without the payload.
    pub fn buffer_len(&self) -> usize {
        MIN_HEADER_LEN_BYTES + self.options.as_bytes().len()
    }

    /// Writes the header with checksum 0.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::FieldValue`] for a value that its field cannot hold; nothing was written.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Result<()> {
        let layer = Layer::Tcp;
        let options = self.options.as_bytes();
        need_fit(layer, "options", options.len() <= MAX_OPTIONS_LEN_BYTES)?;
        need_fit(layer, "options", options.len().is_multiple_of(4))?;
        need_fit(layer, "flags", self.flags.0 <= Flags::ALL)?;
        need_room(layer, packet.buffer.as_ref(), self.buffer_len())?;
        packet.set_src_port(self.src_port);
        packet.set_dst_port(self.dst_port);
        packet.set_seq_number(self.seq_number);
        packet.set_ack_number(self.ack_number);
        packet.set_flags(self.flags);
        packet.set_header_len(self.buffer_len());
        packet.set_window(self.window);
        packet.set_checksum(0);
        packet.set_urgent_pointer(self.urgent_pointer);
        packet.options_mut().copy_from_slice(options);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;
    use std::format;

    use super::*;

    /// A SYN from 172.16.10.99 to 172.16.10.12 as scapy writes it.
    const SYN: [u8; 40] = [
        0x9b, 0x2c, 0x00, 0x50, 0x12, 0x34, 0x56, 0x78, 0x00, 0x00, 0x00, 0x00, 0xa0, 0xc2, 0xfa,
        0xf0, 0x97, 0x30, 0x00, 0x00, 0x02, 0x04, 0x05, 0xb4, 0x04, 0x02, 0x08, 0x0a, 0x11, 0x22,
        0x33, 0x44, 0x00, 0x00, 0x00, 0x00, 0x01, 0x03, 0x03, 0x07,
    ];
    const ADDRESSES: Addresses =
        Addresses::V4 { src: Ipv4Addr::new(172, 16, 10, 99), dst: Ipv4Addr::new(172, 16, 10, 12) };

    fn syn() -> Repr<'static> {
        Repr {
            src_port: 39724,
            dst_port: 80,
            seq_number: 0x1234_5678,
            ack_number: 0,
            flags: Flags::SYN | Flags::ECE | Flags::CWR,
            window: 64240,
            urgent_pointer: 0,
            options: Options::new(&SYN[20..]),
        }
    }

    #[test]
    fn a_segment_is_read_and_written() {
        let packet = Packet::new_checked(&SYN[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(syn()));
        assert_eq!((packet.header_len(), packet.payload()), (40, &[][..]));
        let mut bytes = [0xff; 40];
        let mut packet = Packet::new_unchecked(&mut bytes);
        syn().emit(&mut packet).unwrap();
        packet.fill_checksum(ADDRESSES);
        assert_eq!(bytes, SYN);
    }

    #[test]
    fn the_checksum_covers_every_byte() {
        assert!(Packet::new_unchecked(SYN).verify_checksum(ADDRESSES));
        for at in 0..SYN.len() {
            let mut bad = SYN;
            bad[at] ^= 0x10;
            assert!(!Packet::new_unchecked(bad).verify_checksum(ADDRESSES), "byte {at}");
        }
    }

    #[test]
    fn setters_leave_the_other_fields_alone() {
        let mut bytes = SYN;
        let mut packet = Packet::new_unchecked(&mut bytes);
        packet.set_flags(Flags::ACK | Flags::PSH);
        packet.set_seq_number(7);
        packet.set_ack_number(8);
        packet.set_window(9);
        assert_eq!(packet.header_len(), 40);
        let changed = Repr {
            flags: Flags::ACK | Flags::PSH,
            seq_number: 7,
            ack_number: 8,
            window: 9,
            ..syn()
        };
        assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Ok(changed));
    }

    #[test]
    fn the_mss_is_lowered_never_raised_and_the_checksum_follows() {
        let mut packet = Packet::new_unchecked(SYN);
        assert!(packet.clamp_mss(1260) && !packet.clamp_mss(1260) && !packet.clamp_mss(1400));
        assert!(packet.verify_checksum(ADDRESSES));
        let bytes = packet.into_inner();
        let mss = Packet::new_unchecked(&bytes).options().next();
        assert_eq!(mss, Some(Ok(TcpOption::MaxSegmentSize(1260))));
    }

    #[test]
    fn an_mss_at_an_odd_offset_keeps_the_checksum_right() {
        let mut bytes = SYN;
        bytes[20..26].copy_from_slice(&[1, 2, 4, 0x05, 0xb4, 1]);
        bytes[26..].fill(1);
        let mut packet = Packet::new_unchecked(bytes);
        packet.fill_checksum(ADDRESSES);
        assert!(packet.clamp_mss(0x0123));
        assert!(packet.verify_checksum(ADDRESSES));
    }

    #[test]
    fn only_a_syn_is_clamped() {
        let mut packet = Packet::new_unchecked(SYN);
        packet.set_flags(Flags::ACK);
        assert!(!packet.clamp_mss(100));
    }

    #[test]
    fn bad_segments_are_refused() {
        let layer = Layer::Tcp;
        let with_offset = |words: u8| {
            let mut bytes = SYN;
            bytes[12] = words << 4;
            Packet::new_checked(bytes).map(|_| ())
        };
        assert_eq!(with_offset(4), Err(Error::HeaderLength { layer, found_bytes: 16 }));
        let truncated = Error::Truncated { layer, needed_bytes: 44, present_bytes: 40 };
        assert_eq!(with_offset(11), Err(truncated));
        assert!(Packet::new_checked(&SYN[..19]).is_err());
        let mut bytes = SYN;
        bytes[21] = 5;
        let parsed = Repr::parse(&Packet::new_unchecked(&bytes)).map(|_| ());
        assert_eq!(parsed, Err(Error::OptionLength { layer, kind: 2 }));
    }

    #[test]
    fn values_that_cannot_be_written_are_refused() {
        let layer = Layer::Tcp;
        let mut packet = Packet::new_unchecked([0; 64]);
        let refused = Err(Error::FieldValue { layer, field: "options" });
        assert_eq!(Repr { options: Options::new(&[1; 44]), ..syn() }.emit(&mut packet), refused);
        assert_eq!(Repr { options: Options::new(&[1; 3]), ..syn() }.emit(&mut packet), refused);
        let wide = Repr { flags: Flags(0x1000), ..syn() }.emit(&mut packet);
        assert_eq!(wide, Err(Error::FieldValue { layer, field: "flags" }));
        assert_eq!(packet.into_inner(), [0; 64]);
        assert!(syn().emit(&mut Packet::new_unchecked([0; 39])).is_err());
    }

    #[test]
    fn flags_say_their_names() {
        let flags = Flags::SYN | Flags::ACK;
        assert_eq!(format!("{flags:?}"), "Flags(0x012 SYN ACK)");
        assert!(flags.contains(Flags::SYN) && !flags.contains(Flags::SYN | Flags::FIN));
        assert!(flags.intersects(Flags::SYN | Flags::FIN));
        assert_eq!(flags.without(Flags::ACK), Flags::SYN);
    }
}
