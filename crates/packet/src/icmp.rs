//! What ICMP (RFC 792) and ICMPv6 (RFC 4443) share: the header. Their messages are in [`v4`] and [`v6`].
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Type      |     Code      |          Checksum             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            rest of the header, by type and code               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! The checksums differ: ICMPv6 covers a pseudo-header. So [`Packet`] asks for [`Addresses`] to fill or verify one, and uses them where they
//! are IPv6.

use crate::bytes::{need, need_room, read, read_u16, write_u16};
use crate::ip::{Addresses, protocol};
use crate::{Layer, Result, checksum};

mod about;
pub mod quoted;
pub mod v4;
pub mod v6;

pub use about::subject;

/// Bytes of the header.
pub const HEADER_LEN_BYTES: usize = 8;

mod field {
    use crate::bytes::Field;

    pub(super) const KIND: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const CHECKSUM: Field = 2..4;
    pub(super) const REST: Field = 4..8;
}

/// A view over an ICMP or ICMPv6 message.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view without any check: getters and setters panic if `buffer` is shorter than the header.
    pub fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// A view whose getters cannot panic. The checksum is not verified.
    ///
    /// # Errors
    /// [`Error::Truncated`](crate::Error::Truncated).
    pub fn new_checked(buffer: T) -> Result<Packet<T>> {
        let packet = Packet::new_unchecked(buffer);
        packet.check_len(Layer::Icmpv4)?;
        Ok(packet)
    }

    fn check_len(&self, layer: Layer) -> Result<()> {
        need(layer, self.buffer.as_ref(), HEADER_LEN_BYTES)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The type.
    pub fn kind(&self) -> u8 {
        self.buffer.as_ref()[field::KIND]
    }

    /// The code.
    pub fn code(&self) -> u8 {
        self.buffer.as_ref()[field::CODE]
    }

    /// The checksum.
    pub fn checksum(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// The four bytes whose meaning depends on type and code.
    pub fn rest_of_header(&self) -> [u8; 4] {
        read(self.buffer.as_ref(), field::REST)
    }

    /// Whether the checksum is right. The buffer ends where the message does.
    pub fn verify_checksum(&self, addresses: Addresses) -> bool {
        self.sum(addresses) == 0xffff
    }

    fn sum(&self, addresses: Addresses) -> u16 {
        let data = self.buffer.as_ref();
        let pseudo_header = match addresses {
            Addresses::V4 { .. } => 0,
            Addresses::V6 { .. } => addresses.pseudo_header(protocol::ICMPV6, data.len()),
        };
        checksum::combine(&[pseudo_header, checksum::data(data)])
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> Packet<&'a T> {
    /// Everything behind the header: an echo's data, or the packet that an error is about.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer.as_ref()[HEADER_LEN_BYTES..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the type. The checksum stays.
    pub fn set_kind(&mut self, kind: u8) {
        self.buffer.as_mut()[field::KIND] = kind;
    }

    /// Sets the code. The checksum stays.
    pub fn set_code(&mut self, code: u8) {
        self.buffer.as_mut()[field::CODE] = code;
    }

    /// Sets the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        write_u16(self.buffer.as_mut(), field::CHECKSUM, checksum);
    }

    /// Sets the four bytes whose meaning depends on type and code. The checksum stays.
    pub fn set_rest_of_header(&mut self, rest: [u8; 4]) {
        self.buffer.as_mut()[field::REST].copy_from_slice(&rest);
    }

    /// Computes the checksum. The buffer ends where the message does.
    pub fn fill_checksum(&mut self, addresses: Addresses) {
        self.set_checksum(0);
        let sum = self.sum(addresses);
        self.set_checksum(!sum);
    }

    /// Everything behind the header, to change in place.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN_BYTES..]
    }

    /// Writes a header with checksum 0.
    fn emit(&mut self, layer: Layer, kind: u8, code: u8, rest: [u8; 4]) -> Result<()> {
        need_room(layer, self.buffer.as_ref(), HEADER_LEN_BYTES)?;
        self.set_kind(kind);
        self.set_code(code);
        self.set_checksum(0);
        self.set_rest_of_header(rest);
        Ok(())
    }
}

/// An echo's identifier and sequence number, as they lie in the rest of the header.
fn echo_from(rest: [u8; 4]) -> (u16, u16) {
    (read_u16(&rest, 0..2), read_u16(&rest, 2..4))
}

fn echo_into(identifier: u16, sequence: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
    [a, b, c, d]
}
