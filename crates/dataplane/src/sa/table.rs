//! The inbound associations of an element, found by SPI with one array access.
//!
//! The receiver chooses SPIs (RFC 4303 section 2.1), so their low bits can be a place in the table; the high bits are
//! random, so that nobody off the link can guess one and a packet for an association that is gone hits no other.

use std::collections::VecDeque;
use std::sync::Arc;

use ringmail_model::SaSpi;

use super::{InboundSa, MIN_SPI};
use crate::limits::INBOUND_SAS;
use crate::verdict::DropReason;

/// Low bits of an SPI that are its place in the table.
const INDEX_MASK: u32 = INBOUND_SAS as u32 - 1;

const _: () = assert!(INBOUND_SAS.is_power_of_two() && INBOUND_SAS >= MIN_SPI.0 as usize);

// No two SPIs that are out have one place, so no two agree in their low 16 bits: key ids of proofs are that short.
const _: () = assert!(INBOUND_SAS <= 1 << 16);

fn index(spi: SaSpi) -> usize {
    (spi.0 & INDEX_MASK) as usize
}

/// Why an association was not installed. The table is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// An association lives in the place of this SPI: of the same SPI, or of another with the same low bits. With SPIs
    /// of a domain file (keying `psk`) that is the operator's fault.
    #[error(
        "the place of SPI {spi} is taken by SPI {taken_by}; choose SPIs that differ in their low 12 bits"
    )]
    PlaceTaken {
        /// The SPI that was to be installed.
        spi: SaSpi,
        /// The SPI that is there.
        taken_by: SaSpi,
    },
}

/// Inbound associations by SPI. Clones share the associations: each worker looks into a table of its own.
#[derive(Clone, Debug)]
pub struct SaTable {
    places: Box<[Option<Arc<InboundSa>>]>,
    len: usize,
}

impl Default for SaTable {
    fn default() -> SaTable {
        SaTable { places: vec![None; INBOUND_SAS].into_boxed_slice(), len: 0 }
    }
}

impl SaTable {
    /// An empty table.
    pub fn new() -> SaTable {
        SaTable::default()
    }

    /// The association of this SPI.
    ///
    /// # Errors
    /// [`DropReason::UnknownSpi`].
    #[inline]
    pub fn get(&self, spi: SaSpi) -> Result<&Arc<InboundSa>, DropReason> {
        match &self.places[index(spi)] {
            Some(sa) if sa.spi() == spi => Ok(sa),
            _ => Err(DropReason::UnknownSpi),
        }
    }

    /// Installs an association. It never replaces one, not even of the same SPI: what was replayed to the old replay
    /// window would be new to the new one.
    ///
    /// # Errors
    /// [`TableError::PlaceTaken`]; nothing changed.
    pub fn install(&mut self, sa: Arc<InboundSa>) -> Result<(), TableError> {
        let place = &mut self.places[index(sa.spi())];
        if let Some(there) = place {
            return Err(TableError::PlaceTaken { spi: sa.spi(), taken_by: there.spi() });
        }
        *place = Some(sa);
        self.len += 1;
        Ok(())
    }

    /// Takes an association out: after DELETE and its grace time.
    pub fn remove(&mut self, spi: SaSpi) -> Option<Arc<InboundSa>> {
        let place = &mut self.places[index(spi)];
        let removed = place.take_if(|sa| sa.spi() == spi);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// How many associations there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no association.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every association, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<InboundSa>> {
        self.places.iter().flatten()
    }
}

/// Every place of the table is given out: the element has as many inbound associations as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {INBOUND_SAS} inbound associations are in use")]
pub struct SpisExhausted;

/// Gives out the SPIs of one element; all its workers' tables take from the same.
#[derive(Debug)]
pub struct SpiAllocator {
    /// Free places; the one that rested longest comes first.
    free: VecDeque<u32>,
    /// What each place was given out as the last time; 0 before the first.
    last: Box<[u32]>,
}

impl Default for SpiAllocator {
    fn default() -> SpiAllocator {
        SpiAllocator {
            free: (0..INBOUND_SAS as u32).collect(),
            last: vec![0; INBOUND_SAS].into_boxed_slice(),
        }
    }
}

impl SpiAllocator {
    /// An allocator that has given out nothing.
    pub fn new() -> SpiAllocator {
        SpiAllocator::default()
    }

    /// An SPI that no association has, nor had the last time its place was used. `random` must come from a secure
    /// random source.
    ///
    /// # Errors
    /// [`SpisExhausted`] when every place is taken.
    pub fn allocate(&mut self, random: u32) -> Result<SaSpi, SpisExhausted> {
        let place = self.free.pop_front().ok_or(SpisExhausted)?;
        let last = &mut self.last[place as usize];
        let mut spi = (random & !INDEX_MASK) | place;
        // Two steps at most: one away from the reserved numbers, one away from the last.
        while spi < MIN_SPI.0 || spi == *last {
            spi = spi.wrapping_add(INDEX_MASK + 1);
        }
        *last = spi;
        Ok(SaSpi(spi))
    }

    /// Takes an SPI back, when its association is gone from every table. One that was not given out is ignored.
    pub fn release(&mut self, spi: SaSpi) {
        let place = spi.0 & INDEX_MASK;
        if self.last[index(spi)] == spi.0 && !self.free.contains(&place) {
            self.free.push_back(place);
        }
    }
}
