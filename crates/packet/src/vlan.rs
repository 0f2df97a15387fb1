//! The VLAN tag (IEEE 802.1Q clause 9.6), from behind the EtherType 0x8100 or 0x88a8 that announces it.
//!
//! ```text
//! +---------+-----+-----------------------+-------------------+---------
//! | PCP (3) |DEI 1|       VID (12)        |     type (16)     | payload
//! +---------+-----+-----------------------+-------------------+---------
//! ```

use crate::bytes::{need, need_fit, need_room, read_u16, write_u16};
use crate::ethernet::EtherType;
use crate::{Layer, Result};

/// Bytes of the tag, with the type of what follows and without the EtherType before it.
pub const HEADER_LEN_BYTES: usize = 4;

mod field {
    use crate::bytes::Field;

    pub(super) const CONTROL: Field = 0..2;
    pub(super) const ETHERTYPE: Field = 2..4;
}

const ID_BITS: u16 = 0x0fff;
const DROP_ELIGIBLE_BIT: u16 = 0x1000;
const PRIORITY_SHIFT: u32 = 13;

/// A view over a tag and what follows it.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view without any check: getters and setters panic if `buffer` is shorter than the tag.
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
        need(Layer::Vlan, self.buffer.as_ref(), HEADER_LEN_BYTES)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    fn control(&self) -> u16 {
        read_u16(self.buffer.as_ref(), field::CONTROL)
    }

    /// Priority code point, 0 to 7.
    pub fn priority(&self) -> u8 {
        (self.control() >> PRIORITY_SHIFT) as u8
    }

    /// Whether the frame may be dropped first.
    pub fn drop_eligible(&self) -> bool {
        self.control() & DROP_ELIGIBLE_BIT != 0
    }

    /// VLAN identifier, 12 bits; 0 is a mere priority tag.
    pub fn id(&self) -> u16 {
        self.control() & ID_BITS
    }

    /// What follows the tag.
    pub fn ethertype(&self) -> EtherType {
        EtherType(read_u16(self.buffer.as_ref(), field::ETHERTYPE))
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> Packet<&'a T> {
    /// Everything behind the tag.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer.as_ref()[HEADER_LEN_BYTES..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    fn set_control(&mut self, keep: u16, set: u16) {
        let control = self.control() & keep | set;
        write_u16(self.buffer.as_mut(), field::CONTROL, control);
    }

    /// Sets the priority; only its low three bits count.
    pub fn set_priority(&mut self, priority: u8) {
        let bits = u16::from(priority) << PRIORITY_SHIFT;
        self.set_control(ID_BITS | DROP_ELIGIBLE_BIT, bits);
    }

    /// Sets whether the frame may be dropped first.
    pub fn set_drop_eligible(&mut self, eligible: bool) {
        self.set_control(!DROP_ELIGIBLE_BIT, if eligible { DROP_ELIGIBLE_BIT } else { 0 });
    }

    /// Sets the VLAN; only the low twelve bits count.
    pub fn set_id(&mut self, id: u16) {
        self.set_control(!ID_BITS, id & ID_BITS);
    }

    /// Sets what follows.
    pub fn set_ethertype(&mut self, ethertype: EtherType) {
        write_u16(self.buffer.as_mut(), field::ETHERTYPE, ethertype.0);
    }

    /// Everything behind the tag, to change in place.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN_BYTES..]
    }
}

/// A tag as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Priority code point, 0 to 7.
    pub priority: u8,
    /// Whether the frame may be dropped first.
    pub drop_eligible: bool,
    /// VLAN identifier, 0 to 4095.
    pub id: u16,
    /// What follows the tag.
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads the tag.
    ///
    /// # Errors
    /// [`Error::Truncated`](crate::Error::Truncated).
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr> {
        packet.check_len()?;
        Ok(Repr {
            priority: packet.priority(),
            drop_eligible: packet.drop_eligible(),
            id: packet.id(),
            ethertype: packet.ethertype(),
        })
    }

    /// Bytes that [`Repr::emit`] writes.
    pub fn buffer_len(&self) -> usize {
        HEADER_LEN_BYTES
    }

    /// Writes the tag.
    ///
    /// # Errors
    /// [`Error::NoRoom`](crate::Error::NoRoom), or [`Error::FieldValue`](crate::Error::FieldValue) for a value wider
    /// than its field; nothing was written.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Result<()> {
        need_room(Layer::Vlan, packet.buffer.as_ref(), self.buffer_len())?;
        need_fit(Layer::Vlan, "priority", self.priority < 8)?;
        need_fit(Layer::Vlan, "id", self.id <= ID_BITS)?;
        packet.set_priority(self.priority);
        packet.set_drop_eligible(self.drop_eligible);
        packet.set_id(self.id);
        packet.set_ethertype(self.ethertype);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    /// Priority 5, drop eligible, VLAN 0x123, IPv4, as scapy writes it.
    const TAG: [u8; 6] = [0xb1, 0x23, 0x08, 0x00, 0x45, 0x00];

    #[test]
    fn a_tag_is_read_and_written() {
        let tag = Packet::new_checked(&TAG[..]).unwrap();
        let repr = Repr::parse(&tag).unwrap();
        let ethertype = EtherType::IPV4;
        assert_eq!(repr, Repr { priority: 5, drop_eligible: true, id: 0x123, ethertype });
        assert_eq!(tag.payload(), [0x45, 0x00]);
        let mut bytes = [0xff; 4];
        repr.emit(&mut Packet::new_unchecked(&mut bytes)).unwrap();
        assert_eq!(bytes, TAG[..4]);
    }

    #[test]
    fn setters_leave_the_other_fields_alone() {
        let mut bytes = TAG;
        let mut tag = Packet::new_unchecked(&mut bytes);
        tag.set_drop_eligible(false);
        assert_eq!((tag.priority(), tag.drop_eligible(), tag.id()), (5, false, 0x123));
        tag.set_priority(2);
        assert_eq!((tag.priority(), tag.drop_eligible(), tag.id()), (2, false, 0x123));
        tag.set_id(0xffff);
        assert_eq!((tag.priority(), tag.drop_eligible(), tag.id()), (2, false, 0xfff));
    }

    #[test]
    fn values_that_do_not_fit_and_short_tags_are_refused() {
        let fits = Repr { priority: 7, drop_eligible: false, id: 4095, ethertype: EtherType::IPV6 };
        let mut packet = Packet::new_unchecked([0; 4]);
        let wide = Repr { id: 4096, ..fits }.emit(&mut packet);
        assert_eq!(wide, Err(Error::FieldValue { layer: Layer::Vlan, field: "id" }));
        let wide = Repr { priority: 8, ..fits }.emit(&mut packet);
        assert_eq!(wide, Err(Error::FieldValue { layer: Layer::Vlan, field: "priority" }));
        assert_eq!(packet.into_inner(), [0; 4]);
        assert!(Packet::new_checked(&TAG[..3]).is_err());
    }
}
