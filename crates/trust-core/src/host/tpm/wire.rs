//! Big-endian values and sized buffers, as every structure of a TPM is made of them (TPM 2.0 Library, Part 2, section 4).
//!
//! A reader never takes more than is there, and a list or buffer never more than the caller's limit.

/// Why bytes are not the structure that they should be. Whoever sent them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end too early.
    #[error("{what} ends too early")]
    Short {
        /// What was being read.
        what: &'static str,
    },
    /// A length or count passes its limit.
    #[error("{what} is longer than {limit} bytes")]
    Long {
        /// What was being read.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Bytes follow that belong to nothing.
    #[error("{left} bytes follow the end of {what}")]
    Trailing {
        /// What was read.
        what: &'static str,
        /// How many follow.
        left: usize,
    },
    /// A value that has no meaning here.
    #[error("{what} has the value {value:#x}, which is not known here")]
    Value {
        /// What was being read.
        what: &'static str,
        /// The value.
        value: u64,
    },
}

/// Reads from the front of bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Over these bytes, which should be `what`.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { left: bytes, what }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, left) =
            self.left.split_at_checked(count).ok_or(WireError::Short { what: self.what })?;
        self.left = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, left) =
            self.left.split_first_chunk().ok_or(WireError::Short { what: self.what })?;
        self.left = left;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(|[byte]| byte)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `TPM2B`: two bytes of length, then that many.
    ///
    /// # Errors
    /// [`WireError::Long`] past `limit`, [`WireError::Short`].
    pub fn sized(&mut self, limit: usize) -> Result<&'a [u8], WireError> {
        let length = usize::from(self.u16()?);
        if length > limit {
            return Err(WireError::Long { what: self.what, limit });
        }
        self.take(length)
    }

    /// What was not read.
    pub fn rest(self) -> &'a [u8] {
        self.left
    }

    /// How much was not read.
    pub fn left_bytes(&self) -> usize {
        self.left.len()
    }

    /// That everything was read.
    ///
    /// # Errors
    /// [`WireError::Trailing`].
    pub fn end(self) -> Result<(), WireError> {
        match self.left.len() {
            0 => Ok(()),
            left => Err(WireError::Trailing { what: self.what, left }),
        }
    }
}

/// Appends to bytes. What is longer than its length field can say is the caller's fault and is cut off in none: it is
/// refused.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Nothing yet.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Writer {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// One byte.
    #[must_use]
    pub fn u8(self, value: u8) -> Writer {
        self.raw(&[value])
    }

    /// Two bytes.
    #[must_use]
    pub fn u16(self, value: u16) -> Writer {
        self.raw(&value.to_be_bytes())
    }

    /// Four bytes.
    #[must_use]
    pub fn u32(self, value: u32) -> Writer {
        self.raw(&value.to_be_bytes())
    }

    /// Eight bytes.
    #[must_use]
    pub fn u64(self, value: u64) -> Writer {
        self.raw(&value.to_be_bytes())
    }

    /// A `TPM2B`. Past 65,535 bytes there is none: an empty one is written, which no TPM takes for the long one.
    #[must_use]
    pub fn sized(self, bytes: &[u8]) -> Writer {
        match u16::try_from(bytes.len()) {
            Ok(length) => self.u16(length).raw(bytes),
            Err(_) => self.u16(0),
        }
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Reader, WireError, Writer};

    #[test]
    fn what_is_written_is_read() {
        let bytes = Writer::new().u8(1).u16(2).u32(3).u64(4).sized(b"five").raw(b"6").into_bytes();
        let mut reader = Reader::new("it", &bytes);
        assert_eq!((reader.u8(), reader.u16(), reader.u32()), (Ok(1), Ok(2), Ok(3)));
        assert_eq!((reader.u64(), reader.sized(4)), (Ok(4), Ok(&b"five"[..])));
        assert_eq!(reader.clone().end(), Err(WireError::Trailing { what: "it", left: 1 }));
        assert_eq!(reader.rest(), b"6");
    }

    #[test]
    fn nothing_is_read_past_the_end_or_a_limit() {
        let mut reader = Reader::new("it", &[0, 5, 1, 2]);
        assert_eq!(reader.clone().sized(4), Err(WireError::Long { what: "it", limit: 4 }));
        assert_eq!(reader.clone().sized(5), Err(WireError::Short { what: "it" }));
        assert_eq!(reader.u64(), Err(WireError::Short { what: "it" }));
        assert_eq!(Writer::new().sized(&[0; 65_536]).into_bytes(), [0, 0]);
    }
}
