//! Keys from the session: exporter outputs, a label a use (RFC 8446 section 7.5, RFC 5705; `docs/sap.md`, "Keys").

use ringmail_model::{ElementId, Epoch, PathDigest, SaSpi, WorkerId};

use super::segment::{Profile, suite_code};
use super::uses::{AgreedKey, Use};
use super::wire::Writer;
use crate::sa::Suite;

/// Derives secrets from the session that both ends share, and nobody else: a TLS exporter.
pub trait Exporter {
    /// Fills `out` from the session's exporter secret, this label and this context.
    ///
    /// # Errors
    /// [`ExportFailed`] when the session cannot derive anything (now).
    fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), ExportFailed>;
}

/// The session could not derive a key: a fault of this side, not of the neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TLS session exported no key")]
pub struct ExportFailed;

/// What a key is for. Both ends must agree on all of it to get the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyContext {
    /// The use: it chooses the label and the algorithm, and is not in the context itself.
    pub usage: Use,
    /// The path.
    pub digest: PathDigest,
    /// The profile of the path.
    pub profile: Profile,
    /// The suite of the path.
    pub suite: Suite,
    /// The element that seals, or makes the MAC.
    pub sender: ElementId,
    /// The element that opens, or checks the MAC.
    pub receiver: ElementId,
    /// The sender's core.
    pub worker: WorkerId,
    /// The epoch of the session.
    pub epoch: Epoch,
    /// The SPI that the receiver chose.
    pub spi: SaSpi,
}

impl KeyContext {
    /// The canonical 48 bytes: every field big-endian with its fixed width, in this order.
    pub fn encode(&self) -> Vec<u8> {
        Writer::with_capacity(48)
            .digest(&self.digest)
            .u8(self.profile.code())
            .u8(suite_code(self.suite))
            .u16(self.sender.0)
            .u16(self.receiver.0)
            .u16(self.worker.0)
            .u32(self.epoch.0)
            .u32(self.spi.0)
            .finish()
    }

    /// The key that both ends get from one session for this, and for nothing else.
    ///
    /// # Errors
    /// [`ExportFailed`] when the session derives nothing.
    pub fn key(&self, exporter: &dyn Exporter) -> Result<AgreedKey, ExportFailed> {
        self.usage.key(self, exporter)
    }
}
