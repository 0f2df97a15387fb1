//! Big-endian fields at fixed places in a header.

use core::ops::Range;

use crate::{Error, Layer};

/// Where a field of fixed size lies, in bytes from the start of its header.
pub(crate) type Field = Range<usize>;

#[inline]
pub(crate) fn read_u16(data: &[u8], field: Field) -> u16 {
    u16::from_be_bytes(read(data, field))
}

#[inline]
pub(crate) fn read_u32(data: &[u8], field: Field) -> u32 {
    u32::from_be_bytes(read(data, field))
}

#[inline]
pub(crate) fn read_u64(data: &[u8], field: Field) -> u64 {
    u64::from_be_bytes(read(data, field))
}

/// The bytes of a field as an array. `N` is the field's size.
#[inline]
pub(crate) fn read<const N: usize>(data: &[u8], field: Field) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&data[field]);
    value
}

#[inline]
pub(crate) fn write_u16(data: &mut [u8], field: Field, value: u16) {
    data[field].copy_from_slice(&value.to_be_bytes());
}

#[inline]
pub(crate) fn write_u32(data: &mut [u8], field: Field, value: u32) {
    data[field].copy_from_slice(&value.to_be_bytes());
}

#[inline]
pub(crate) fn write_u64(data: &mut [u8], field: Field, value: u64) {
    data[field].copy_from_slice(&value.to_be_bytes());
}

/// Refuses received bytes that end before the header does.
#[inline]
pub(crate) fn need(layer: Layer, data: &[u8], needed_bytes: usize) -> Result<(), Error> {
    if data.len() < needed_bytes {
        return Err(Error::Truncated { layer, needed_bytes, present_bytes: data.len() });
    }
    Ok(())
}

/// Refuses a buffer that has no room for what is to be written into it.
#[inline]
pub(crate) fn need_room(layer: Layer, buffer: &[u8], needed_bytes: usize) -> Result<(), Error> {
    if buffer.len() < needed_bytes {
        return Err(Error::NoRoom { layer, needed_bytes, present_bytes: buffer.len() });
    }
    Ok(())
}

/// Refuses a value that is wider than its field.
#[inline]
pub(crate) fn need_fit(layer: Layer, field: &'static str, fits: bool) -> Result<(), Error> {
    if fits { Ok(()) } else { Err(Error::FieldValue { layer, field }) }
}
