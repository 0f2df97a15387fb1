//! Messages cut out of a stream.

use super::MessageError;

/// Cuts a stream of bytes into messages.
#[derive(Debug)]
pub struct Framer {
    bytes: Vec<u8>,
    /// Where the first byte is that was not handed out.
    start: usize,
    longest: usize,
}

impl Framer {
    /// For messages of at most this many bytes.
    pub fn new(longest: usize) -> Framer {
        Framer { bytes: Vec::new(), start: 0, longest }
    }

    /// Takes bytes that came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message without its length, if it is there whole.
    ///
    /// # Errors
    /// [`MessageError::TooLong`]: nothing behind it can be found any more.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, MessageError> {
        let there = &self.bytes[self.start..];
        let Some((length, rest)) = there.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > self.longest {
            return Err(MessageError::TooLong(length));
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        self.start += 4 + length;
        Ok(Some(message))
    }
}
