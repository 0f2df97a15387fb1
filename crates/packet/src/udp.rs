//! UDP (RFC 768), whose zero checksum means none over IPv4 and is forbidden over IPv6 but for tunnels (RFC 8200
//! section 8.1, RFC 6935).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          Source Port          |       Destination Port        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Length             |           Checksum            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::bytes::{need, need_room, read_u16, write_u16};
use crate::ip::{Addresses, protocol};
use crate::{Error, Layer, Result, checksum};

/// Bytes of the header.
pub const HEADER_LEN_BYTES: usize = 8;

/// The destination port of MPLS in UDP (RFC 7510).
pub const MPLS_PORT: u16 = 6635;

mod field {
    use crate::bytes::Field;

    pub(super) const SOURCE: Field = 0..2;
    pub(super) const DESTINATION: Field = 2..4;
    pub(super) const LENGTH: Field = 4..6;
    pub(super) const CHECKSUM: Field = 6..8;
}

/// A view over a UDP datagram.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view without any check: getters and setters panic if `buffer` is shorter than the header, or than its length
    /// field says where that takes part.
    pub fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// A view whose getters cannot panic, as long as the length is not set anew. The checksum is not verified.
    ///
    /// # Errors
    /// As [`Packet::check_len`].
    pub fn new_checked(buffer: T) -> Result<Packet<T>> {
        let packet = Packet::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// The check of [`Packet::new_checked`]. Bytes behind the length are allowed.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::PacketLength`].
    pub fn check_len(&self) -> Result<()> {
        let data = self.buffer.as_ref();
        need(Layer::Udp, data, HEADER_LEN_BYTES)?;
        let len = usize::from(self.len());
        if len < HEADER_LEN_BYTES {
            return Err(Error::PacketLength { layer: Layer::Udp, found_bytes: len });
        }
        need(Layer::Udp, data, len)
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

    /// Bytes of header and payload.
    #[expect(clippy::len_without_is_empty, reason = "a field of the header, never 0")]
    pub fn len(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::LENGTH)
    }

    /// The checksum; 0 says that there is none.
    pub fn checksum(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// Whether the checksum is right. A missing one is right over IPv4 and wrong over IPv6.
    pub fn verify_checksum(&self, addresses: Addresses) -> bool {
        if self.checksum() == 0 {
            return matches!(addresses, Addresses::V4 { .. });
        }
        self.sum(addresses) == 0xffff
    }

    fn sum(&self, addresses: Addresses) -> u16 {
        let data = &self.buffer.as_ref()[..usize::from(self.len())];
        checksum::combine(&[
            addresses.pseudo_header(protocol::UDP, data.len()),
            checksum::data(data),
        ])
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> Packet<&'a T> {
    /// What the datagram carries.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer.as_ref()[HEADER_LEN_BYTES..usize::from(self.len())]
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

    /// Sets the bytes of header and payload. The checksum stays.
    pub fn set_len(&mut self, len_bytes: u16) {
        write_u16(self.buffer.as_mut(), field::LENGTH, len_bytes);
    }

    /// Sets the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        write_u16(self.buffer.as_mut(), field::CHECKSUM, checksum);
    }

    /// Computes the checksum over pseudo-header, header and payload. A sum of zero is written as 0xffff (RFC 768).
    pub fn fill_checksum(&mut self, addresses: Addresses) {
        self.set_checksum(0);
        let checksum = match !self.sum(addresses) {
            0 => 0xffff,
            checksum => checksum,
        };
        self.set_checksum(checksum);
    }

    /// What the datagram carries, to change in place.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let end = usize::from(self.len());
        &mut self.buffer.as_mut()[HEADER_LEN_BYTES..end]
    }
}

/// A UDP header as values. The checksum is not among them: it covers the payload, so it is filled or verified on the
/// [`Packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// The source port.
    pub src_port: u16,
    /// The destination port.
    pub dst_port: u16,
    /// Bytes behind the header.
    pub payload_len: usize,
}

impl Repr {
    /// Reads the header.
    ///
    /// # Errors
    /// As [`Packet::check_len`].
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr> {
        packet.check_len()?;
        Ok(Repr {
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            payload_len: usize::from(packet.len()) - HEADER_LEN_BYTES,
        })
    }

    /// Bytes that [`Repr::emit`] writes: the header.
    pub fn buffer_len(&self) -> usize {
        HEADER_LEN_BYTES
    }

    /// Writes the header with checksum 0. The buffer need not hold the payload yet.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::FieldValue`] for a payload longer than the length field can say; nothing was written.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Result<()> {
        let layer = Layer::Udp;
        need_room(layer, packet.buffer.as_ref(), self.buffer_len())?;
        let len = self.payload_len.checked_add(HEADER_LEN_BYTES);
        let Some(len) = len.and_then(|len| u16::try_from(len).ok()) else {
            return Err(Error::FieldValue { layer, field: "payload_len" });
        };
        packet.set_src_port(self.src_port);
        packet.set_dst_port(self.dst_port);
        packet.set_len(len);
        packet.set_checksum(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    /// From 192.168.1.1 to 192.168.1.2, as smoltcp's test has it.
    const DATAGRAM: [u8; 12] =
        [0xbf, 0x00, 0x00, 0x35, 0x00, 0x0c, 0x12, 0x4d, 0xaa, 0x00, 0x00, 0xff];
    const V4: Addresses =
        Addresses::V4 { src: Ipv4Addr::new(192, 168, 1, 1), dst: Ipv4Addr::new(192, 168, 1, 2) };
    const V6: Addresses = Addresses::V6 { src: Ipv6Addr::LOCALHOST, dst: Ipv6Addr::LOCALHOST };
    const REPR: Repr = Repr { src_port: 48896, dst_port: 53, payload_len: 4 };

    #[test]
    fn a_datagram_is_read() {
        let packet = Packet::new_checked(&DATAGRAM[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(REPR));
        assert_eq!(packet.payload(), [0xaa, 0x00, 0x00, 0xff]);
        assert!(packet.verify_checksum(V4) && !packet.verify_checksum(V6));
    }

    #[test]
    fn a_datagram_is_written() {
        let mut bytes = DATAGRAM;
        bytes[..8].fill(0xff);
        let mut packet = Packet::new_unchecked(&mut bytes);
        REPR.emit(&mut packet).unwrap();
        packet.fill_checksum(V4);
        assert_eq!(bytes, DATAGRAM);
    }

    #[test]
    fn a_zero_checksum_is_none_over_ipv4_and_wrong_over_ipv6() {
        let mut packet = Packet::new_unchecked(DATAGRAM);
        packet.set_checksum(0);
        assert!(packet.verify_checksum(V4) && !packet.verify_checksum(V6));
        packet.fill_checksum(V6);
        assert!(packet.verify_checksum(V6));
    }

    #[test]
    fn bytes_behind_the_length_are_neither_payload_nor_summed() {
        let mut padded = [0xee; 20];
        padded[..12].copy_from_slice(&DATAGRAM);
        let packet = Packet::new_checked(&padded[..]).unwrap();
        assert_eq!(packet.payload(), [0xaa, 0x00, 0x00, 0xff]);
        assert!(packet.verify_checksum(V4));
        let mut packet = Packet::new_checked(&mut padded[..]).unwrap();
        packet.fill_checksum(V4);
        assert_eq!(padded[..12], DATAGRAM);
    }

    #[test]
    fn a_computed_zero_is_written_as_ones() {
        let mut packet = Packet::new_unchecked(DATAGRAM);
        packet.set_checksum(0);
        packet.payload_mut()[2..].copy_from_slice(&[0, 0]);
        let rest = !packet.sum(V4);
        packet.payload_mut()[2..].copy_from_slice(&rest.to_be_bytes());
        packet.fill_checksum(V4);
        assert_eq!(packet.checksum(), 0xffff);
        assert!(packet.verify_checksum(V4));
    }

    #[test]
    fn bad_lengths_are_refused() {
        let layer = Layer::Udp;
        let with_len = |len: u8| {
            let mut bytes = DATAGRAM;
            bytes[5] = len;
            Packet::new_checked(bytes).map(|_| ())
        };
        assert_eq!(with_len(7), Err(Error::PacketLength { layer, found_bytes: 7 }));
        let truncated = Error::Truncated { layer, needed_bytes: 13, present_bytes: 12 };
        assert_eq!(with_len(13), Err(truncated));
        assert_eq!(with_len(8), Ok(()));
        assert!(Packet::new_checked(&DATAGRAM[..7]).is_err());
        let wide = Repr { payload_len: 65528, ..REPR }.emit(&mut Packet::new_unchecked([0; 8]));
        assert_eq!(wide, Err(Error::FieldValue { layer, field: "payload_len" }));
        assert!(REPR.emit(&mut Packet::new_unchecked([0; 7])).is_err());
    }
}
