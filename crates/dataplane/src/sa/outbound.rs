//! The sender's side of an association: the key and a counter that never returns (RFC 4303 section 3.3.3).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ringmail_model::SaSpi;

use super::{Lease, SaError, SaKey, SequenceNumbers, Suite, usable};
use crate::keys::Cipher;
use crate::limits::{REKEY_PACKETS, SA_PACKETS};
use crate::verdict::DropReason;

/// What may be chosen for a sender.
#[derive(Clone, Copy, Debug)]
pub struct OutboundOptions {
    /// 64-bit or 32-bit sequence numbers.
    pub numbers: SequenceNumbers,
    /// Packets after which the association is used up; the hard limit below which a new epoch has to begin.
    pub limit_packets: u64,
    /// Packets after which the association calls itself worn: a new epoch is to begin.
    pub worn_packets: u64,
}

impl Default for OutboundOptions {
    fn default() -> OutboundOptions {
        OutboundOptions {
            numbers: SequenceNumbers::Extended,
            limit_packets: SA_PACKETS,
            worn_packets: REKEY_PACKETS,
        }
    }
}

/// The sending end of an association, owned by one worker: it is neither cloned nor serialized, so that no sequence
/// number, which is the nonce, is used twice under one key.
#[derive(Debug)]
pub struct OutboundSa {
    spi: SaSpi,
    suite: Suite,
    cipher: Cipher,
    numbers: SequenceNumbers,
    /// The last number used.
    last: u64,
    /// The highest number that may be used.
    limit: u64,
    /// The number with which it is worn.
    worn_at: u64,
    worn: Arc<AtomicBool>,
    lease: Lease,
}

impl OutboundSa {
    /// The sending end of the association that the receiver named `spi`.
    ///
    /// # Errors
    /// [`SaError`] when the SPI is reserved or the library refuses the key.
    pub fn new(
        spi: SaSpi,
        key: &SaKey,
        lease: Lease,
        options: OutboundOptions,
    ) -> Result<OutboundSa, SaError> {
        Ok(OutboundSa {
            spi: usable(spi)?,
            suite: key.suite(),
            cipher: key.cipher()?,
            numbers: options.numbers,
            last: 0,
            limit: options.limit_packets.min(options.numbers.max()),
            worn_at: options.worn_packets,
            worn: Arc::default(),
            lease,
        })
    }

    /// The SPI that the receiver chose.
    pub fn spi(&self) -> SaSpi {
        self.spi
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The lease, to renew or to end.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Set once as many packets are sealed as one key should be used for, long before it cannot be used any more.
    pub fn worn(&self) -> &Arc<AtomicBool> {
        &self.worn
    }

    /// The last sequence number used, which is also the number of packets sealed; 0 before the first.
    pub fn last_sequence(&self) -> u64 {
        self.last
    }

    /// How many packets can still be sealed.
    pub fn remaining_packets(&self) -> u64 {
        self.limit - self.last
    }

    /// Whether 64-bit or 32-bit sequence numbers are used.
    pub(crate) fn numbers(&self) -> SequenceNumbers {
        self.numbers
    }

    pub(crate) fn cipher(&self) -> &Cipher {
        &self.cipher
    }

    /// The next sequence number, used up with this call.
    #[inline]
    pub(crate) fn take_sequence(&mut self, now: Instant) -> Result<u64, DropReason> {
        if !self.lease.is_live(now) {
            return Err(DropReason::LeaseExpired);
        }
        if self.last >= self.limit {
            return Err(DropReason::SequenceExhausted);
        }
        self.last += 1;
        if self.last == self.worn_at {
            self.worn.store(true, Ordering::Relaxed);
        }
        Ok(self.last)
    }

    /// Pretends that `last` packets were sealed: for tests that stand at the end of the numbers.
    ///
    /// Going back, or going on in parallel under one key, repeats a nonce and gives the key's authentication away.
    pub fn danger_set_last_sequence(&mut self, last: u64) {
        self.last = last.min(self.limit);
    }
}
