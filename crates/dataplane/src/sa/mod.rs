//! Security associations (RFC 4303, RFC 4301 section 4.1): one a path, segment and sending worker, each one direction.

mod inbound;
mod lease;
mod outbound;
mod table;

use ringmail_model::SaSpi;

pub use inbound::{InboundOptions, InboundSa};
pub use lease::Lease;
pub use outbound::{OutboundOptions, OutboundSa};
pub use table::{SaTable, SpiAllocator, SpisExhausted, TableError};

use crate::limits::MIN_REPLAY_WINDOW_PACKETS;

pub use crate::keys::{KeyError, SaKey, Suite};

/// The lowest SPI that names an association; those below are reserved (RFC 4303 section 2.1).
pub const MIN_SPI: SaSpi = SaSpi(256);

/// Which segment of a path, counted from the path's first sender: 0 starts at the gateway of a forward path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentIndex(pub u8);

/// How sequence numbers count (RFC 4303 section 2.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SequenceNumbers {
    /// 64 bits, of which 32 are sent: what ringmail agrees on.
    #[default]
    Extended,
    /// 32 bits: for keying `psk` with peers that know no others.
    Short,
}

impl SequenceNumbers {
    /// The last number that may be used: with 64 bits, the last that even the smallest replay window tells apart.
    pub(crate) const fn max(self) -> u64 {
        match self {
            SequenceNumbers::Extended => ((MIN_REPLAY_WINDOW_PACKETS as u64) << 33) - 1,
            SequenceNumbers::Short => u32::MAX as u64,
        }
    }
}

/// Why an association was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaError {
    /// The peer or the domain file named a reserved SPI.
    #[error("SPI {0} is reserved: the lowest is 256")]
    ReservedSpi(SaSpi),
    /// The key did not do.
    #[error(transparent)]
    Key(#[from] KeyError),
}

fn usable(spi: SaSpi) -> Result<SaSpi, SaError> {
    if spi < MIN_SPI { Err(SaError::ReservedSpi(spi)) } else { Ok(spi) }
}
