//! Numbers and texts of the canonical encoding: written, and read without trust.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::DecodeError;
use crate::ids::Label;
use crate::mac::MacAddress;

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Every text of a path set is bounded far below 64 KiB by its type.
    pub(super) fn text(&mut self, text: &str) {
        self.u16(text.len() as u16);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn address(&mut self, address: SocketAddrV4) {
        self.0.extend_from_slice(&address.ip().octets());
        self.u16(address.port());
    }
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(
        &mut self,
        count: usize,
        what: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(DecodeError::Truncated(what))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Truncated(what))?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_be_bytes)
    }

    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        let len = self.u16(what)?;
        let bytes = self.take(len.into(), what)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::Value("text"))
    }

    pub(super) fn parsed<T: std::str::FromStr>(
        &mut self,
        what: &'static str,
    ) -> Result<T, DecodeError> {
        self.text(what)?.parse().map_err(|_| DecodeError::Value(what))
    }

    pub(super) fn label(&mut self) -> Result<Label, DecodeError> {
        Label::new(self.u32("a label")?).ok_or(DecodeError::Value("label"))
    }

    pub(super) fn mac(&mut self) -> Result<MacAddress, DecodeError> {
        let bytes = self.array::<6>("an element")?;
        MacAddress::new(bytes).ok_or(DecodeError::Value("MAC address"))
    }

    pub(super) fn address(&mut self, what: &'static str) -> Result<SocketAddrV4, DecodeError> {
        let ip = Ipv4Addr::from(self.array::<4>(what)?);
        Ok(SocketAddrV4::new(ip, self.u16(what)?))
    }
}
