//! The messages of the Segment Agreement Protocol and their one encoding (`docs/sap.md`, "Messages").
//!
//! ```text
//!  0                   1                   2
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3
//! +-------------------------------+---------------+----------
//! |     length of what follows    |     type      |  fields …
//! +-------------------------------+---------------+----------
//! ```
//!
//! Every type has one length, so that each message has exactly one encoding and anything else is an error.

use ringmail_model::{ElementId, Epoch, PathDigest, SaSpi, WorkerId};

use super::lease::SignedLease;
use super::limits::MESSAGE_BYTES_MAX;
use super::uses::Use;
use super::wire::{Reader, Short, Writer};
use crate::sa::SegmentIndex;

/// The version of the protocol that HELLO names.
pub const VERSION: u8 = 1;

/// What an element calls one of its lives: random, drawn at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub [u8; 16]);

/// The number of an OFFER within its session, counted by its sender from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId(pub u32);

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who speaks, and the lowest epoch that it takes; the first message either way.
    Hello(Hello),
    /// The sender of a segment asks the receiver to install.
    Offer(Offer),
    /// The receiver has installed and may be sent to.
    Installed(Installed),
    /// The receiver does not install.
    Refused {
        /// Which OFFER.
        offer: OfferId,
        /// Why.
        reason: Refusal,
    },
    /// A renewed lease of the element that speaks.
    Lease(SignedLease),
    /// The sender has stopped using an association.
    Last {
        /// Which one.
        spi: SaSpi,
        /// The last sequence number that it used; 0 when it sent nothing.
        sequence: u64,
    },
    /// The receiver has removed an association, or does not have it.
    Deleted {
        /// Which one.
        spi: SaSpi,
    },
    /// The session ends.
    Close(Goodbye),
}

/// HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who speaks.
    pub element: ElementId,
    /// In which of its lives.
    pub boot: BootId,
    /// The lowest epoch that it takes for this session; the higher one of both counts.
    pub epoch: Epoch,
    /// Whether the neighbour's HELLO has come; if not, it is to be said again.
    pub heard: bool,
}

/// OFFER. Profile and suite are bare codes: an unknown one is refused, not malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The number of this OFFER.
    pub offer: OfferId,
    /// The epoch of the session.
    pub epoch: Epoch,
    /// The path.
    pub digest: PathDigest,
    /// What the association is for.
    pub usage: Use,
    /// The segment of the path; of another use than ESP, a position on it. At most 63.
    pub segment: SegmentIndex,
    /// The code of the profile.
    pub profile: u8,
    /// The code of the suite.
    pub suite: u8,
    /// The sender's worker that will seal.
    pub worker: WorkerId,
    /// The sender's lease.
    pub lease: SignedLease,
}

/// INSTALLED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Which OFFER.
    pub offer: OfferId,
    /// The SPI that the receiver chose.
    pub spi: SaSpi,
    /// The receiver's lease.
    pub lease: SignedLease,
}

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal: $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_doc])* $variant = $code,)+ }

        impl $name {
            /// Every value, by ascending code.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The byte on the wire.
            pub const fn code(self) -> u8 {
                self as u8
            }

            fn of(code: u8) -> Option<$name> {
                $name::ALL.iter().copied().find(|value| value.code() == code)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $($name::$variant => $text,)+ })
            }
        }
    };
}

codes! {
    /// Why a receiver does not install. The sender asks again, ever more slowly: most of these pass.
    Refusal {
        /// The receiver has no such path, or none with such a segment.
        UnknownPath = 1: "it knows no such path",
        /// The path names another sender or receiver at this segment.
        WrongNeighbour = 2: "the path names other elements at this segment",
        /// The path has another profile.
        WrongProfile = 3: "the path has another profile",
        /// The path has another suite.
        WrongSuite = 4: "the path has another suite",
        /// The sender has no such worker.
        UnknownWorker = 5: "the path set gives the sender no such worker",
        /// The OFFER names another epoch than the session has.
        StaleEpoch = 6: "the offer is of another epoch than the session",
        /// The sender's lease is not signed by the domain.
        BadLease = 7: "the lease is not signed by the domain",
        /// The sender's lease is that of another element, or for another path.
        AnotherLease = 8: "the lease is for another element or path",
        /// The sender's lease has ended, or runs too long.
        LeaseExpired = 9: "the lease has ended, or would run too long",
        /// The receiver itself holds no lease.
        NoLease = 10: "it holds no lease of its own",
        /// The receiver can hold no more associations, or its data plane did not install one.
        NoRoom = 11: "it can install no more associations",
    }
}

codes! {
    /// Why a session ends.
    Goodbye {
        /// A newer session has taken its place.
        Superseded = 1: "a newer session took its place",
        /// The neighbour broke the protocol.
        Violation = 2: "the protocol was broken",
        /// Nothing was heard for too long.
        Silent = 3: "nothing was heard for too long",
        /// The two elements share no path any more.
        NoPaths = 4: "the elements share no path any more",
        /// Something failed on the side that says so.
        Failure = 5: "something failed at the other end",
    }
}

/// Why bytes are no message: always the fault of who sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length is not that of the type, or not that of the bytes.
    #[error("{found} bytes are no message of type {kind}")]
    Length {
        /// The type.
        kind: u8,
        /// Bytes that there are.
        found: usize,
    },
    /// The bytes end before the type, or the length field is not theirs.
    #[error("the bytes are not one whole message")]
    Frame,
    /// The length field names more than any message has.
    #[error("a message of {0} bytes is longer than any")]
    TooLong(usize),
    /// There is no such type.
    #[error("there is no message of type {0}")]
    UnknownType(u8),
    /// A field has a value that version 1 does not have.
    #[error("{value} is no value of the field `{field}`")]
    UnknownValue {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u8,
    },
}

/// Bytes of the length field.
const LENGTH_BYTES: usize = 2;

impl Message {
    /// The name in the protocol text.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Hello(_) => "HELLO",
            Message::Offer(_) => "OFFER",
            Message::Installed(_) => "INSTALLED",
            Message::Refused { .. } => "REFUSED",
            Message::Lease(_) => "LEASE",
            Message::Last { .. } => "LAST",
            Message::Deleted { .. } => "DELETED",
            Message::Close(_) => "CLOSE",
        }
    }

    /// The one encoding, length field included; at most [`MESSAGE_BYTES_MAX`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        let kind = Writer::with_capacity(MESSAGE_BYTES_MAX).u16(0).u8(self.kind());
        let writer = match self {
            Message::Hello(hello) => kind
                .u8(VERSION)
                .u8(u8::from(hello.heard))
                .u16(hello.element.0)
                .bytes(&hello.boot.0)
                .u32(hello.epoch.0),
            Message::Offer(offer) => {
                let writer = kind.u32(offer.offer.0).u32(offer.epoch.0).digest(&offer.digest);
                let writer = writer.u8(offer.usage.offer_byte(offer.segment));
                let writer = writer.u8(offer.profile).u8(offer.suite);
                offer.lease.write(writer.u16(offer.worker.0))
            }
            Message::Installed(installed) => {
                installed.lease.write(kind.u32(installed.offer.0).u32(installed.spi.0))
            }
            Message::Refused { offer, reason } => kind.u32(offer.0).u8(reason.code()),
            Message::Lease(lease) => lease.write(kind),
            Message::Last { spi, sequence } => kind.u32(spi.0).u64(*sequence),
            Message::Deleted { spi } => kind.u32(spi.0),
            Message::Close(goodbye) => kind.u8(goodbye.code()),
        };
        let mut bytes = writer.finish();
        let length = (bytes.len() - LENGTH_BYTES) as u16;
        bytes[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    /// The message that these bytes, length field included, encode.
    ///
    /// # Errors
    /// [`DecodeError`] when they are anything but the encoding of one message.
    pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
        let mut reader = Reader::new(bytes);
        let length = reader.u16().map_err(|Short| DecodeError::Frame)?;
        if usize::from(length) != reader.left() {
            return Err(DecodeError::Frame);
        }
        let kind = reader.u8().map_err(|Short| DecodeError::Frame)?;
        let wrong_length = DecodeError::Length { kind, found: bytes.len() };
        let message = Message::read(kind, &mut reader).map_err(|error| match error {
            ReadError::Short => wrong_length,
            ReadError::Refused(error) => error,
        })?;
        if reader.left() == 0 { Ok(message) } else { Err(wrong_length) }
    }

    fn kind(&self) -> u8 {
        match self {
            Message::Hello(_) => 1,
            Message::Offer(_) => 2,
            Message::Installed(_) => 3,
            Message::Refused { .. } => 4,
            Message::Lease(_) => 5,
            Message::Last { .. } => 6,
            Message::Deleted { .. } => 7,
            Message::Close(_) => 8,
        }
    }

    fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Message, ReadError> {
        Ok(match kind {
            1 => Message::Hello(read_hello(reader)?),
            2 => Message::Offer(read_offer(reader)?),
            3 => Message::Installed(Installed {
                offer: OfferId(reader.u32()?),
                spi: SaSpi(reader.u32()?),
                lease: SignedLease::read(reader)?,
            }),
            4 => {
                let (offer, code) = (OfferId(reader.u32()?), reader.u8()?);
                let reason = Refusal::of(code).ok_or(unknown("reason", code))?;
                Message::Refused { offer, reason }
            }
            5 => Message::Lease(SignedLease::read(reader)?),
            6 => Message::Last { spi: SaSpi(reader.u32()?), sequence: reader.u64()? },
            7 => Message::Deleted { spi: SaSpi(reader.u32()?) },
            8 => {
                let code = reader.u8()?;
                Message::Close(Goodbye::of(code).ok_or(unknown("reason", code))?)
            }
            _ => return Err(DecodeError::UnknownType(kind).into()),
        })
    }
}

fn read_hello(reader: &mut Reader<'_>) -> Result<Hello, ReadError> {
    let (version, flags) = (reader.u8()?, reader.u8()?);
    if version != VERSION {
        return Err(unknown("version", version));
    }
    if flags > 1 {
        return Err(unknown("flags", flags));
    }
    Ok(Hello {
        heard: flags == 1,
        element: ElementId(reader.u16()?),
        boot: BootId(reader.array()?),
        epoch: Epoch(reader.u32()?),
    })
}

fn read_offer(reader: &mut Reader<'_>) -> Result<Offer, ReadError> {
    let (offer, epoch) = (OfferId(reader.u32()?), Epoch(reader.u32()?));
    let digest = reader.digest()?;
    let (usage, segment) = Use::of_offer_byte(reader.u8()?);
    Ok(Offer {
        offer,
        epoch,
        digest,
        usage,
        segment,
        profile: reader.u8()?,
        suite: reader.u8()?,
        worker: WorkerId(reader.u16()?),
        lease: SignedLease::read(reader)?,
    })
}

fn unknown(field: &'static str, value: u8) -> ReadError {
    ReadError::Refused(DecodeError::UnknownValue { field, value })
}

enum ReadError {
    Short,
    Refused(DecodeError),
}

impl From<Short> for ReadError {
    fn from(_: Short) -> ReadError {
        ReadError::Short
    }
}

impl From<DecodeError> for ReadError {
    fn from(error: DecodeError) -> ReadError {
        ReadError::Refused(error)
    }
}

/// Cuts a stream of bytes into messages, without believing a length that no message has.
#[derive(Debug, Default)]
pub struct Framer {
    held: Vec<u8>,
    /// How much of `held` was given out.
    taken: usize,
}

impl Framer {
    /// A framer at the beginning of a stream.
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Takes bytes as they came. Call [`Framer::next_message`] until it has none before passing more in: then less than
    /// one message is held over.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.drain(..self.taken);
        self.taken = 0;
        self.held.extend_from_slice(bytes);
    }

    /// The next whole message, length field included, to be passed to [`Message::decode`].
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] when the length field names more than any message has; the stream is lost then.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, DecodeError> {
        let rest = &self.held[self.taken..];
        let Some(length) = rest.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let whole = LENGTH_BYTES + usize::from(u16::from_be_bytes(*length));
        if whole > MESSAGE_BYTES_MAX {
            return Err(DecodeError::TooLong(whole));
        }
        let message = rest.get(..whole);
        self.taken += message.map_or(0, <[u8]>::len);
        Ok(message)
    }
}
