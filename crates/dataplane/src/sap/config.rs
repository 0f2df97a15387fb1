//! What an agreement is told at its start, and what it counts.

use std::fmt;
use std::time::Duration;

use ringmail_model::ElementId;

use super::inbound::AllocateSpi;
use super::lease::VerifyLease;
use super::limits::EPOCH_LIFETIME;
use super::message::BootId;
use super::segment::SegmentView;

/// What one agreement needs to know.
pub struct Config {
    /// This element.
    pub element: ElementId,
    /// The neighbour that sessions are authenticated as.
    pub peer: ElementId,
    /// This life of this element: random, drawn at its start, the same towards all neighbours.
    pub boot: BootId,
    /// The segments between the two, either direction; others are left out.
    pub segments: Vec<SegmentView>,
    /// The age of a session at which a new epoch begins.
    pub epoch_lifetime: Duration,
    /// Checks leases.
    pub verifier: Box<dyn VerifyLease + Send>,
    /// Gives out this element's SPIs.
    pub spis: Box<dyn AllocateSpi + Send>,
    /// Spreads dials; random.
    pub jitter_seed: u64,
}

impl Config {
    /// A configuration with [`EPOCH_LIFETIME`].
    pub fn new(
        element: ElementId,
        peer: ElementId,
        boot: BootId,
        verifier: Box<dyn VerifyLease + Send>,
        spis: Box<dyn AllocateSpi + Send>,
    ) -> Config {
        let jitter_seed = u64::from_be_bytes(*boot.0.first_chunk().unwrap_or(&[0; 8]));
        Config {
            element,
            peer,
            boot,
            segments: Vec::new(),
            epoch_lifetime: EPOCH_LIFETIME,
            verifier,
            spis,
            jitter_seed,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("element", &self.element)
            .field("peer", &self.peer)
            .field("segments", &self.segments)
            .field("epoch_lifetime", &self.epoch_lifetime)
            .finish_non_exhaustive()
    }
}

/// What has happened so far, each a count since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions in which both ends said HELLO.
    pub sessions_established: u64,
    /// Sessions that ended, for whatever reason.
    pub sessions_ended: u64,
    /// Sessions that ended because the neighbour broke the protocol.
    pub violations: u64,
    /// Messages that were left unread because they came before HELLO, or did not count any more.
    pub messages_ignored: u64,
    /// OFFERs of the neighbour that were refused here.
    pub offers_refused: u64,
    /// OFFERs of this element that the neighbour refused.
    pub offers_rejected: u64,
    /// Leases that the neighbour passed on and that do not count.
    pub leases_refused: u64,
    /// Associations of this element, as sender, that one of a later epoch took the place of.
    pub associations_replaced: u64,
}

impl Counters {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Counters) {
        let Counters {
            sessions_established,
            sessions_ended,
            violations,
            messages_ignored,
            offers_refused,
            offers_rejected,
            leases_refused,
            associations_replaced,
        } = other;
        self.sessions_established += sessions_established;
        self.sessions_ended += sessions_ended;
        self.violations += violations;
        self.messages_ignored += messages_ignored;
        self.offers_refused += offers_refused;
        self.offers_rejected += offers_rejected;
        self.leases_refused += leases_refused;
        self.associations_replaced += associations_replaced;
    }

    /// Every counter: its name, the unit, a sentence for people, and the count.
    pub fn readings(&self) -> [(&'static str, &'static str, &'static str, u64); 8] {
        [
            (
                "sap_sessions_established",
                "sessions",
                "Key agreement sessions in which both ends said HELLO.",
                self.sessions_established,
            ),
            (
                "sap_sessions_ended",
                "sessions",
                "Key agreement sessions that ended, for whatever reason.",
                self.sessions_ended,
            ),
            (
                "sap_violations",
                "sessions",
                "Key agreement sessions that ended because the neighbour broke the protocol.",
                self.violations,
            ),
            (
                "sap_messages_ignored",
                "messages",
                "Messages left unread: they came before HELLO, or did not count any more.",
                self.messages_ignored,
            ),
            (
                "sap_offers_refused",
                "offers",
                "Offers of keys by neighbours that were refused here.",
                self.offers_refused,
            ),
            (
                "sap_offers_rejected",
                "offers",
                "Offers of keys by this element that a neighbour refused.",
                self.offers_rejected,
            ),
            (
                "sap_leases_refused",
                "leases",
                "Leases that a neighbour passed on and that do not count.",
                self.leases_refused,
            ),
            (
                "sap_associations_replaced",
                "associations",
                "Associations that this element sent by and that one of a later epoch took the place of.",
                self.associations_replaced,
            ),
        ]
    }
}
