//! Numbers, bytes, texts and lists of a message, written and read.

use super::MessageError;
use crate::ids::PathVersion;
use crate::limits;

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn kind(&mut self, kind: u8) -> &mut Writer {
        self.u8(kind)
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Writer {
        self.0.push(value);
        self
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Writer {
        self.fixed(&value.to_be_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Writer {
        self.fixed(&value.to_be_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Writer {
        self.fixed(&value.to_be_bytes())
    }

    pub(super) fn fixed(&mut self, bytes: &[u8]) -> &mut Writer {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Writer {
        self.u32(bytes.len() as u32).fixed(bytes)
    }

    pub(super) fn list(&mut self, entries: &[Vec<u8>]) -> &mut Writer {
        let entries = &entries[..entries.len().min(limits::PDP_LIST_ENTRIES)];
        self.u16(entries.len() as u16);
        for entry in entries {
            self.bytes(entry);
        }
        self
    }
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn fixed<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], MessageError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(MessageError::Truncated(what))?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, MessageError> {
        self.fixed::<1>(what).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, MessageError> {
        self.fixed(what).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, MessageError> {
        self.fixed(what).map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, MessageError> {
        self.fixed(what).map(u64::from_be_bytes)
    }

    pub(super) fn version(&mut self) -> Result<PathVersion, MessageError> {
        self.u64("version").map(PathVersion)
    }

    pub(super) fn bytes(
        &mut self,
        what: &'static str,
        most: usize,
    ) -> Result<&'a [u8], MessageError> {
        let length = self.u32(what)? as usize;
        if length > most {
            return Err(MessageError::Value(what));
        }
        let (head, tail) = self.0.split_at_checked(length).ok_or(MessageError::Truncated(what))?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn text(&mut self, what: &'static str, most: usize) -> Result<String, MessageError> {
        let bytes = self.bytes(what, most)?;
        let text = std::str::from_utf8(bytes).map_err(|_| MessageError::Value(what))?;
        Ok(text.to_owned())
    }

    pub(super) fn detail(&mut self) -> Result<String, MessageError> {
        self.text("detail", limits::PDP_DETAIL_BYTES)
    }

    pub(super) fn list(
        &mut self,
        what: &'static str,
        most: usize,
    ) -> Result<Vec<Vec<u8>>, MessageError> {
        let count = usize::from(self.u16(what)?);
        if count > limits::PDP_LIST_ENTRIES {
            return Err(MessageError::Value(what));
        }
        (0..count).map(|_| self.bytes(what, most).map(<[u8]>::to_vec)).collect()
    }
}
