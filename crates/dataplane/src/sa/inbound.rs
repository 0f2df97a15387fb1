//! The receiver's side of an association: the key, the replay window, and the place in a path that it stands for.

use std::time::Instant;

use ringmail_model::{PathId, SaSpi};

use super::{Lease, SaError, SaKey, SegmentIndex, SequenceNumbers, Suite, usable};
use crate::keys::Cipher;
use crate::replay::{ReplayWindow, WindowPackets};

/// What may be chosen for a receiver.
#[derive(Clone, Copy, Debug)]
pub struct InboundOptions {
    /// 64-bit or 32-bit sequence numbers.
    pub numbers: SequenceNumbers,
    /// Whether the IV has to be the sequence number, as every sender of ringmail has it. Only keying `psk` with a foreign
    /// peer, free to make its IVs another way (RFC 4106 section 3.1), turns this off.
    pub iv_is_sequence: bool,
    /// How far the replay window reaches back.
    pub window: WindowPackets,
}

impl Default for InboundOptions {
    fn default() -> InboundOptions {
        InboundOptions {
            numbers: SequenceNumbers::Extended,
            iv_is_sequence: true,
            window: WindowPackets::default(),
        }
    }
}

/// The receiving end of an association. Cores share it: nothing but the replay window and the lease changes, and
/// both are atomic.
#[derive(Debug)]
pub struct InboundSa {
    spi: SaSpi,
    suite: Suite,
    cipher: Cipher,
    window: ReplayWindow,
    numbers: SequenceNumbers,
    iv_is_sequence: bool,
    path: PathId,
    segment: SegmentIndex,
    lease: Lease,
}

impl InboundSa {
    /// The receiving end, under an SPI that this element chose, for one segment of one path.
    ///
    /// # Errors
    /// [`SaError`] when the SPI is reserved or the library refuses the key.
    pub fn new(
        spi: SaSpi,
        key: &SaKey,
        path: PathId,
        segment: SegmentIndex,
        lease: Lease,
        options: InboundOptions,
    ) -> Result<InboundSa, SaError> {
        Ok(InboundSa {
            spi: usable(spi)?,
            suite: key.suite(),
            cipher: key.cipher()?,
            window: ReplayWindow::new(options.window),
            numbers: options.numbers,
            iv_is_sequence: options.iv_is_sequence,
            path,
            segment,
            lease,
        })
    }

    /// The SPI that this element chose.
    pub fn spi(&self) -> SaSpi {
        self.spi
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The path whose packets this association carries.
    pub fn path(&self) -> PathId {
        self.path
    }

    /// The segment of that path which ends here.
    pub fn segment(&self) -> SegmentIndex {
        self.segment
    }

    /// The lease, to renew or to end.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The highest sequence number accepted; 0 before the first.
    pub fn highest_sequence(&self) -> u64 {
        self.window.top()
    }

    /// How many packets the anti-replay window reaches back.
    pub fn window_packets(&self) -> u32 {
        self.window.window_packets()
    }

    pub(crate) fn is_live(&self, now: Instant) -> bool {
        self.lease.is_live(now)
    }

    pub(crate) fn cipher(&self) -> &Cipher {
        &self.cipher
    }

    pub(crate) fn window(&self) -> &ReplayWindow {
        &self.window
    }

    pub(crate) fn numbers(&self) -> SequenceNumbers {
        self.numbers
    }

    pub(crate) fn iv_is_sequence(&self) -> bool {
        self.iv_is_sequence
    }
}
