//! The MPLS label stack (RFC 3032 section 2.1, RFC 5462 for the traffic class).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                Label                  |  TC |S|      TTL      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! [`Packet`] is the view over the top entry, which is all that a hop touches; [`Stack`] is the view over all entries
//! down to the bottom; [`Entry`] is one entry as values.

use crate::bytes::{need, need_fit, need_room, read, read_u32, write_u32};
use crate::limits::MPLS_STACK_ENTRIES;
use crate::{Error, Layer, Result};

/// Bytes of one entry.
pub const ENTRY_LEN_BYTES: usize = 4;

/// The greatest label.
pub const MAX_LABEL: u32 = 0xf_ffff;

/// The first label that is not reserved (RFC 3032 section 2.1, RFC 7274).
pub const FIRST_FREE_LABEL: u32 = 16;

mod field {
    use crate::bytes::Field;

    pub(super) const ENTRY: Field = 0..4;
    pub(super) const TTL: usize = 3;
}

const LABEL_SHIFT: u32 = 12;
const CLASS_SHIFT: u32 = 9;
const BOTTOM_BIT: u32 = 0x100;

/// One entry of a stack as values: this module's `Repr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The label, 20 bits.
    pub label: u32,
    /// Traffic class, 3 bits (RFC 5462).
    pub tc: u8,
    /// Whether it is the bottom of the stack.
    pub bottom: bool,
    /// Time to live.
    pub ttl: u8,
}

/// The name that other modules have for [`Entry`].
pub type Repr = Entry;

impl Entry {
    /// From the four bytes on the wire; every value is an entry.
    pub fn from_bytes(bytes: [u8; ENTRY_LEN_BYTES]) -> Entry {
        let word = u32::from_be_bytes(bytes);
        Entry {
            label: word >> LABEL_SHIFT,
            tc: (word >> CLASS_SHIFT & 0b111) as u8,
            bottom: word & BOTTOM_BIT != 0,
            ttl: word as u8,
        }
    }

    /// The four bytes on the wire. Bits of `label` and `tc` beyond their fields are left out.
    pub fn to_bytes(self) -> [u8; ENTRY_LEN_BYTES] {
        let word = (self.label & MAX_LABEL) << LABEL_SHIFT
            | u32::from(self.tc & 0b111) << CLASS_SHIFT
            | if self.bottom { BOTTOM_BIT } else { 0 }
            | u32::from(self.ttl);
        word.to_be_bytes()
    }

    /// Reads the top entry.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Entry> {
        packet.check_len()?;
        Ok(packet.entry())
    }

    /// Bytes that [`Entry::emit`] writes.
    pub fn buffer_len(&self) -> usize {
        ENTRY_LEN_BYTES
    }

    /// Writes the entry as the top one.
    ///
    /// # Errors
    /// [`Error::NoRoom`], or [`Error::FieldValue`] for a value wider than its field; nothing was written.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) -> Result<()> {
        need_room(Layer::Mpls, packet.buffer.as_ref(), self.buffer_len())?;
        self.check_fit()?;
        packet.set_entry(*self);
        Ok(())
    }

    fn check_fit(&self) -> Result<()> {
        need_fit(Layer::Mpls, "label", self.label <= MAX_LABEL)?;
        need_fit(Layer::Mpls, "tc", self.tc < 8)
    }
}

/// Writes a whole stack, top first, and returns its length in bytes. The bottom bit is set on the last entry and
/// cleared on the others, whatever `entries` say.
///
/// # Errors
/// [`Error::StackTooDeep`] for more than [`MPLS_STACK_ENTRIES`], [`Error::NoRoom`], or [`Error::FieldValue`] for a
/// value wider than its field or no entry at all; nothing was written.
pub fn emit_stack(entries: &[Entry], buffer: &mut [u8]) -> Result<usize> {
    let len_bytes = entries.len().saturating_mul(ENTRY_LEN_BYTES);
    need_fit(Layer::Mpls, "entries", !entries.is_empty())?;
    if entries.len() > MPLS_STACK_ENTRIES {
        return Err(Error::StackTooDeep);
    }
    need_room(Layer::Mpls, buffer, len_bytes)?;
    entries.iter().try_for_each(Entry::check_fit)?;
    let places = buffer.chunks_exact_mut(ENTRY_LEN_BYTES);
    for (index, (place, entry)) in places.zip(entries).enumerate() {
        let entry = Entry { bottom: index + 1 == entries.len(), ..*entry };
        place.copy_from_slice(&entry.to_bytes());
    }
    Ok(len_bytes)
}

/// A view over the top entry of a stack and what follows it.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view without any check: getters and setters panic if `buffer` is shorter than an entry.
    pub fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// A view whose getters cannot panic.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn new_checked(buffer: T) -> Result<Packet<T>> {
        let packet = Packet::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// The check of [`Packet::new_checked`].
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn check_len(&self) -> Result<()> {
        need(Layer::Mpls, self.buffer.as_ref(), ENTRY_LEN_BYTES)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The whole entry.
    pub fn entry(&self) -> Entry {
        Entry::from_bytes(read(self.buffer.as_ref(), field::ENTRY))
    }

    /// The label, 20 bits.
    pub fn label(&self) -> u32 {
        read_u32(self.buffer.as_ref(), field::ENTRY) >> LABEL_SHIFT
    }

    /// Traffic class, 3 bits.
    pub fn tc(&self) -> u8 {
        self.entry().tc
    }

    /// Whether this is the bottom of the stack.
    pub fn bottom(&self) -> bool {
        self.entry().bottom
    }

    /// Time to live.
    pub fn ttl(&self) -> u8 {
        self.buffer.as_ref()[field::TTL]
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> Packet<&'a T> {
    /// Everything behind the entry: the next entry, or the packet below the stack.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer.as_ref()[ENTRY_LEN_BYTES..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the whole entry. Bits of `label` and `tc` beyond their fields are left out.
    pub fn set_entry(&mut self, entry: Entry) {
        write_u32(self.buffer.as_mut(), field::ENTRY, u32::from_be_bytes(entry.to_bytes()));
    }

    /// Sets the label; only its low twenty bits count.
    pub fn set_label(&mut self, label: u32) {
        self.set_entry(Entry { label, ..self.entry() });
    }

    /// Sets the traffic class; only its low three bits count.
    pub fn set_tc(&mut self, tc: u8) {
        self.set_entry(Entry { tc, ..self.entry() });
    }

    /// Sets the bottom-of-stack bit.
    pub fn set_bottom(&mut self, bottom: bool) {
        self.set_entry(Entry { bottom, ..self.entry() });
    }

    /// Sets the time to live.
    pub fn set_ttl(&mut self, ttl: u8) {
        self.buffer.as_mut()[field::TTL] = ttl;
    }

    /// Everything behind the entry, to change in place.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[ENTRY_LEN_BYTES..]
    }
}

/// A view over a whole stack, from the top entry to the one with the bottom bit.
#[derive(Clone, Copy, Debug)]
pub struct Stack<'a> {
    entries: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Stack<'a> {
    /// Finds the bottom of the stack that `bytes` begin with.
    ///
    /// # Errors
    /// [`Error::Truncated`] if the bytes end before the bottom, [`Error::StackTooDeep`] if none of the first
    /// [`MPLS_STACK_ENTRIES`] is the bottom.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Stack<'a>> {
        for depth in 1..=MPLS_STACK_ENTRIES {
            let end = depth * ENTRY_LEN_BYTES;
            need(Layer::Mpls, bytes, end)?;
            if Packet::new_unchecked(&bytes[end - ENTRY_LEN_BYTES..]).bottom() {
                let (entries, payload) = bytes.split_at(end);
                return Ok(Stack { entries, payload });
            }
        }
        Err(Error::StackTooDeep)
    }

    /// How many entries there are; at least one.
    pub fn depth(&self) -> usize {
        self.entries.len() / ENTRY_LEN_BYTES
    }

    /// Bytes of the stack.
    pub fn header_len(&self) -> usize {
        self.entries.len()
    }

    /// The entries, top first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry> + 'a {
        let entries = self.entries.chunks_exact(ENTRY_LEN_BYTES);
        entries.map(|bytes| Packet::new_unchecked(bytes).entry())
    }

    /// What the stack stands before.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// Two entries: 16001 with class 5 and TTL 64, then 100000 at the bottom with TTL 255, as scapy writes them; then IPv4.
    const STACK: [u8; 10] = [0x03, 0xe8, 0x1a, 0x40, 0x18, 0x6a, 0x01, 0xff, 0x45, 0x00];
    const TOP: Entry = Entry { label: 16001, tc: 5, bottom: false, ttl: 64 };
    const BOTTOM: Entry = Entry { label: 100_000, tc: 0, bottom: true, ttl: 255 };

    #[test]
    fn a_stack_is_read() {
        let stack = Stack::new_checked(&STACK).unwrap();
        assert_eq!(stack.entries().collect::<Vec<_>>(), [TOP, BOTTOM]);
        assert_eq!((stack.depth(), stack.header_len()), (2, 8));
        assert_eq!(stack.payload(), [0x45, 0x00]);
    }

    #[test]
    fn a_stack_is_written_with_the_bottom_bit_on_the_last_entry_only() {
        let mut bytes = [0; 10];
        let wrong_bits = [Entry { bottom: true, ..TOP }, Entry { bottom: false, ..BOTTOM }];
        assert_eq!(emit_stack(&wrong_bits, &mut bytes), Ok(8));
        assert_eq!(bytes[..8], STACK[..8]);
    }

    #[test]
    fn the_top_entry_is_changed_in_place() {
        let mut bytes = STACK;
        let mut top = Packet::new_checked(&mut bytes).unwrap();
        assert_eq!((top.label(), top.tc(), top.bottom(), top.ttl()), (16001, 5, false, 64));
        top.set_ttl(63);
        assert_eq!(top.entry(), Entry { ttl: 63, ..TOP });
        top.set_label(MAX_LABEL + 2);
        assert_eq!(top.entry(), Entry { ttl: 63, label: 1, ..TOP });
        top.set_tc(1);
        top.set_bottom(true);
        assert_eq!(top.entry(), Entry { label: 1, tc: 1, bottom: true, ttl: 63 });
        top.set_entry(TOP);
        assert_eq!(bytes, STACK);
    }

    #[test]
    fn a_stack_without_bottom_is_refused() {
        let layer = Layer::Mpls;
        let cut = Stack::new_checked(&STACK[..7]).map(|_| ());
        assert_eq!(cut, Err(Error::Truncated { layer, needed_bytes: 8, present_bytes: 7 }));
        let deep = [0u8; ENTRY_LEN_BYTES * (MPLS_STACK_ENTRIES + 1)];
        assert_eq!(Stack::new_checked(&deep).map(|_| ()), Err(Error::StackTooDeep));
        assert!(Packet::new_checked(&STACK[..3]).is_err());
    }

    #[test]
    fn values_that_cannot_be_written_are_refused() {
        let mut bytes = [0; 4 * (MPLS_STACK_ENTRIES + 1)];
        let layer = Layer::Mpls;
        let wide = [Entry { label: MAX_LABEL + 1, ..TOP }];
        let refused = Err(Error::FieldValue { layer, field: "label" });
        assert_eq!(emit_stack(&wide, &mut bytes), refused);
        let refused = Err(Error::FieldValue { layer, field: "tc" });
        assert_eq!(
            Entry { tc: 8, ..TOP }.emit(&mut Packet::new_unchecked(&mut bytes)),
            refused.map(|_: ()| ())
        );
        let deep = [TOP; MPLS_STACK_ENTRIES + 1];
        assert_eq!(emit_stack(&deep, &mut bytes), Err(Error::StackTooDeep));
        assert_eq!(emit_stack(&[], &mut bytes), Err(Error::FieldValue { layer, field: "entries" }));
        let full = Err(Error::NoRoom { layer, needed_bytes: 8, present_bytes: 7 });
        assert_eq!(emit_stack(&[TOP, BOTTOM], &mut bytes[..7]), full);
        assert_eq!(bytes, [0; 4 * (MPLS_STACK_ENTRIES + 1)]);
    }
}
