//! Big-endian fields of fixed width, written to and read from messages, leases and exporter contexts.

use ringmail_model::PathDigest;

/// Appends fields to a buffer.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Writer {
        Writer(Vec::with_capacity(bytes))
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Writer {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn u8(self, value: u8) -> Writer {
        self.bytes(&[value])
    }

    pub(super) fn u16(self, value: u16) -> Writer {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Writer {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Writer {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn digest(self, digest: &PathDigest) -> Writer {
        self.bytes(&digest.0)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes fields off the front of a buffer.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

/// The buffer ends within a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short;

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Short)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Short> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn digest(&mut self) -> Result<PathDigest, Short> {
        self.array().map(PathDigest)
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }
}
