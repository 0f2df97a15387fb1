//! IPFIX messages (RFC 7011 section 3): templates that say what records hold, and records.
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       Version Number (10)     |            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                           Export Time                         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       Sequence Number                         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                    Observation Domain ID                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          Set ID               |          Length               |  then templates or records, and further sets
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::bytes::{need_room, write_u16, write_u32};
use crate::{Layer, Result};

/// The version.
pub const VERSION: u16 = 10;

/// Bytes of a message's header.
pub const HEADER_LEN_BYTES: usize = 16;

/// Bytes of a set's header.
pub const SET_HEADER_LEN_BYTES: usize = 4;

/// The port of collectors, over UDP and TCP.
pub const PORT: u16 = 4739;

/// The least number of a template; below it are those of special sets.
pub const FIRST_TEMPLATE: u16 = 256;

/// The set of templates, and that of templates of options.
const TEMPLATES: u16 = 2;
const OPTIONS_TEMPLATES: u16 = 3;

/// The length of a field whose values say themselves how long they are (RFC 7011 section 7).
pub const VARIABLE: u16 = 0xffff;

mod field {
    use crate::bytes::Field;

    pub(super) const VERSION: Field = 0..2;
    pub(super) const LENGTH: Field = 2..4;
    pub(super) const EXPORT_TIME: Field = 4..8;
    pub(super) const SEQUENCE: Field = 8..12;
    pub(super) const DOMAIN: Field = 12..16;
}

/// What a message's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When it is sent.
    pub export_time_unix_s: u32,
    /// Records sent before, modulo 2^32; templates are none.
    pub sequence: u32,
    /// Who observed.
    pub domain: u32,
}

/// A field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The information element.
    pub element: u16,
    /// Whose; IANA's where it is none.
    pub enterprise: Option<u32>,
    /// Bytes of its values, or [`VARIABLE`].
    pub len_bytes: u16,
}

/// A value of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// One byte.
    U8(u8),
    /// Two.
    U16(u16),
    /// Four.
    U32(u32),
    /// Eight.
    U64(u64),
    /// As many as the template says.
    Bytes(&'a [u8]),
    /// Of variable length; cut after 65,535 bytes, between characters.
    Text(&'a str),
}

/// A message that is being written. What does not fit is refused whole, and the message stays as it was.
#[derive(Debug)]
pub struct Message<'b> {
    buffer: &'b mut [u8],
    len_bytes: usize,
    /// The set that is open: its number and where it begins.
    set: Option<(u16, usize)>,
    records: u32,
}

impl<'b> Message<'b> {
    /// A message without sets.
    ///
    /// # Errors
    /// `buffer` has no room for the header.
    pub fn begin(buffer: &'b mut [u8], header: &Header) -> Result<Message<'b>> {
        need_room(Layer::Ipfix, buffer, HEADER_LEN_BYTES)?;
        write_u16(buffer, field::VERSION, VERSION);
        write_u32(buffer, field::EXPORT_TIME, header.export_time_unix_s);
        write_u32(buffer, field::SEQUENCE, header.sequence);
        write_u32(buffer, field::DOMAIN, header.domain);
        Ok(Message { buffer, len_bytes: HEADER_LEN_BYTES, set: None, records: 0 })
    }

    /// Adds a template.
    ///
    /// # Errors
    /// There is no room.
    pub fn template(&mut self, id: u16, fields: &[Field]) -> Result<()> {
        let needed = 4 + fields.iter().map(Field::len_bytes).sum::<usize>();
        self.open(TEMPLATES, needed)?;
        self.push(&id.to_be_bytes());
        self.push(&count(fields.len()));
        fields.iter().for_each(|field| self.push_field(field));
        Ok(())
    }

    /// Adds a template of options, whose first fields say what a record is about.
    ///
    /// # Errors
    /// There is no room.
    pub fn options_template(&mut self, id: u16, scope: &[Field], fields: &[Field]) -> Result<()> {
        let all = || scope.iter().chain(fields);
        let needed = 6 + all().map(Field::len_bytes).sum::<usize>();
        self.open(OPTIONS_TEMPLATES, needed)?;
        self.push(&id.to_be_bytes());
        self.push(&count(scope.len() + fields.len()));
        self.push(&count(scope.len()));
        all().for_each(|field| self.push_field(field));
        Ok(())
    }

    /// Adds a record of a template, its values in the order and sizes of the template's fields.
    ///
    /// # Errors
    /// There is no room.
    pub fn record(&mut self, template: u16, values: &[Value<'_>]) -> Result<()> {
        let needed = values.iter().map(Value::len_bytes).sum();
        self.open(template, needed)?;
        values.iter().for_each(|value| self.push_value(value));
        self.records = self.records.wrapping_add(1);
        Ok(())
    }

    /// Records so far.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len_bytes == HEADER_LEN_BYTES
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.len_bytes
    }

    /// The message, its lengths set. Bytes of the buffer behind it are left alone.
    pub fn finish(mut self) -> usize {
        self.close();
        write_u16(self.buffer, field::LENGTH, self.len_bytes as u16);
        self.len_bytes
    }

    /// Opens a set of this number, if another is open, and looks for room for what is to be in it.
    fn open(&mut self, set: u16, needed: usize) -> Result<()> {
        let fresh = self.set.is_none_or(|(open, _)| open != set);
        let header = if fresh { SET_HEADER_LEN_BYTES } else { 0 };
        let most = self.buffer.len().min(usize::from(u16::MAX));
        need_room(Layer::Ipfix, &self.buffer[..most], self.len_bytes + header + needed)?;
        if fresh {
            self.close();
            self.set = Some((set, self.len_bytes));
            self.push(&set.to_be_bytes());
            self.push(&[0, 0]);
        }
        Ok(())
    }

    fn close(&mut self) {
        if let Some((_, at)) = self.set.take() {
            write_u16(self.buffer, at + 2..at + 4, (self.len_bytes - at) as u16);
        }
    }

    /// Room was looked for before.
    fn push(&mut self, bytes: &[u8]) {
        self.buffer[self.len_bytes..self.len_bytes + bytes.len()].copy_from_slice(bytes);
        self.len_bytes += bytes.len();
    }

    fn push_field(&mut self, field: &Field) {
        // The first bit says that a number of an enterprise follows.
        let enterprise = if field.enterprise.is_some() { 0x8000 } else { 0 };
        self.push(&(field.element & 0x7fff | enterprise).to_be_bytes());
        self.push(&field.len_bytes.to_be_bytes());
        if let Some(number) = field.enterprise {
            self.push(&number.to_be_bytes());
        }
    }

    fn push_value(&mut self, value: &Value<'_>) {
        match value {
            Value::U8(value) => self.push(&[*value]),
            Value::U16(value) => self.push(&value.to_be_bytes()),
            Value::U32(value) => self.push(&value.to_be_bytes()),
            Value::U64(value) => self.push(&value.to_be_bytes()),
            Value::Bytes(bytes) => self.push(bytes),
            Value::Text(text) => {
                let text = cut(text).as_bytes();
                match u8::try_from(text.len()) {
                    Ok(len) if len < 255 => self.push(&[len]),
                    _ => {
                        self.push(&[255]);
                        self.push(&(text.len() as u16).to_be_bytes());
                    }
                }
                self.push(text);
            }
        }
    }
}

impl Field {
    /// A field of IANA's.
    pub const fn new(element: u16, len_bytes: u16) -> Field {
        Field { element, enterprise: None, len_bytes }
    }

    /// One of an enterprise.
    pub const fn of(enterprise: u32, element: u16, len_bytes: u16) -> Field {
        Field { element, enterprise: Some(enterprise), len_bytes }
    }

    /// Bytes of its specifier in a template.
    fn len_bytes(&self) -> usize {
        if self.enterprise.is_some() { 8 } else { 4 }
    }
}

impl Value<'_> {
    fn len_bytes(&self) -> usize {
        match self {
            Value::U8(_) => 1,
            Value::U16(_) => 2,
            Value::U32(_) => 4,
            Value::U64(_) => 8,
            Value::Bytes(bytes) => bytes.len(),
            Value::Text(text) => match cut(text).len() {
                len if len < 255 => 1 + len,
                len => 3 + len,
            },
        }
    }
}

fn count(fields: usize) -> [u8; 2] {
    (fields as u16).to_be_bytes()
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
