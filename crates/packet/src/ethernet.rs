//! Ethernet II frames (IEEE 802.3 clause 3.2.6, RFC 894), without preamble and frame check sequence.
//!
//! ```text
//! +-------------------+-------------------+-----------+---------
//! | destination  (6)  |   source    (6)   | type  (2) | payload
//! +-------------------+-------------------+-----------+---------
//! ```

use core::fmt;

use crate::bytes::{need, need_room, read, read_u16, write_u16};
use crate::{Layer, Result};

/// Bytes of the header.
pub const HEADER_LEN_BYTES: usize = 14;

/// A MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 6]);

impl Address {
    /// Every station.
    pub const BROADCAST: Address = Address([0xff; 6]);

    /// Whether it names a group of stations; the broadcast address does too.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a frame carries (IANA registry "IEEE 802 Numbers"). Below 0x0600 it is a length of IEEE 802.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: EtherType = EtherType(0x0800);
    /// ARP.
    pub const ARP: EtherType = EtherType(0x0806);
    /// An 802.1Q tag.
    pub const VLAN: EtherType = EtherType(0x8100);
    /// An 802.1ad service tag.
    pub const SERVICE_VLAN: EtherType = EtherType(0x88a8);
    /// IPv6.
    pub const IPV6: EtherType = EtherType(0x86dd);
    /// MPLS, downstream-assigned labels (RFC 5332).
    pub const MPLS: EtherType = EtherType(0x8847);
    /// MPLS, upstream-assigned labels (RFC 5332).
    pub const MPLS_UPSTREAM: EtherType = EtherType(0x8848);
    /// NSH (RFC 8300).
    pub const NSH: EtherType = EtherType(0x894f);
}

mod field {
    use crate::bytes::Field;

    pub(super) const DESTINATION: Field = 0..6;
    pub(super) const SOURCE: Field = 6..12;
    pub(super) const ETHERTYPE: Field = 12..14;
}

/// A view over an Ethernet frame.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view without any check: getters and setters panic if `buffer` is shorter than the header.
    pub fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// A view whose getters cannot panic.
    ///
    /// # Errors
    /// [`Error::Truncated`](crate::Error::Truncated).
    pub fn new_checked(buffer: T) -> Result<Packet<T>> {
        let packet = Packet::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// The check of [`Packet::new_checked`].
    ///
    /// # Errors
    /// [`Error::Truncated`](crate::Error::Truncated).
    pub fn check_len(&self) -> Result<()> {
        need(Layer::Ethernet, self.buffer.as_ref(), HEADER_LEN_BYTES)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The destination.
    pub fn dst_addr(&self) -> Address {
        Address(read(self.buffer.as_ref(), field::DESTINATION))
    }

    /// The source.
    pub fn src_addr(&self) -> Address {
        Address(read(self.buffer.as_ref(), field::SOURCE))
    }

    /// What the payload is.
    pub fn ethertype(&self) -> EtherType {
        EtherType(read_u16(self.buffer.as_ref(), field::ETHERTYPE))
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> Packet<&'a T> {
    /// Everything behind the header, trailing padding to 60 bytes included.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer.as_ref()[HEADER_LEN_BYTES..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the destination.
    pub fn set_dst_addr(&mut self, address: Address) {
        self.buffer.as_mut()[field::DESTINATION].copy_from_slice(&address.0);
    }

    /// Sets the source.
    pub fn set_src_addr(&mut self, address: Address) {
        self.buffer.as_mut()[field::SOURCE].copy_from_slice(&address.0);
    }

    /// Sets what the payload is.
    pub fn set_ethertype(&mut self, ethertype: EtherType) {
        write_u16(self.buffer.as_mut(), field::ETHERTYPE, ethertype.0);
    }

    /// Everything behind the header, to change in place.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN_BYTES..]
    }
}

/// An Ethernet header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// The destination.
    pub dst_addr: Address,
    /// The source.
    pub src_addr: Address,
    /// What the payload is.
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Truncated`](crate::Error::Truncated).
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr> {
        packet.check_len()?;
        Ok(Repr {
            dst_addr: packet.dst_addr(),
            src_addr: packet.src_addr(),
            ethertype: packet.ethertype(),
        })
    }

    /// Bytes that [`Repr::emit`] writes.
    pub fn buffer_len(&self) -> usize {
        HEADER_LEN_BYTES
    }

    /// Writes the header.
    ///
    /// # Errors
    /// [`Error::NoRoom`](crate::Error::NoRoom); nothing was written.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Result<()> {
        need_room(Layer::Ethernet, packet.buffer.as_ref(), self.buffer_len())?;
        packet.set_dst_addr(self.dst_addr);
        packet.set_src_addr(self.src_addr);
        packet.set_ethertype(self.ethertype);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::Error;

    /// An ARP request.
    const ARP: [u8; 42] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0x08, 0x06, 0x00,
        0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0x0a, 0x00,
        0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0a, 0x00, 0x00, 0x02,
    ];

    #[test]
    fn a_frame_is_read() {
        let frame = Packet::new_checked(&ARP[..]).unwrap();
        assert_eq!(frame.dst_addr(), Address::BROADCAST);
        assert!(frame.dst_addr().is_multicast() && !frame.src_addr().is_multicast());
        assert_eq!(frame.src_addr().to_string(), "52:54:00:12:34:56");
        assert_eq!(frame.ethertype(), EtherType::ARP);
        assert_eq!(frame.payload(), &ARP[14..]);
    }

    #[test]
    fn a_frame_is_written() {
        let repr = Repr::parse(&Packet::new_checked(&ARP[..]).unwrap()).unwrap();
        let mut bytes = [0; 14];
        repr.emit(&mut Packet::new_unchecked(&mut bytes)).unwrap();
        assert_eq!(bytes, ARP[..14]);
    }

    #[test]
    fn a_short_frame_is_refused() {
        let short = Packet::new_checked(&ARP[..13]).map(|_| ());
        let layer = Layer::Ethernet;
        assert_eq!(short, Err(Error::Truncated { layer, needed_bytes: 14, present_bytes: 13 }));
        let repr = Repr::parse(&Packet::new_unchecked(&ARP[..])).unwrap();
        let emitted = repr.emit(&mut Packet::new_unchecked([0; 13]));
        assert_eq!(emitted, Err(Error::NoRoom { layer, needed_bytes: 14, present_bytes: 13 }));
    }
}
