//! Makers of evidence under roots of their own: what a real platform does, with keys that a test holds. Nothing of it is
//! believed by [`Anchors::vendors`].
//!
//! [`Anchors::vendors`]: ringmail_trust_core::function::Anchors::vendors

pub(crate) mod amd;
pub(crate) mod host;
pub(crate) mod intel;

/// When all forged evidence is in date, unless a test wants otherwise.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 24 * 3600;

pub(crate) fn moment(unix_s: u64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(unix_s.cast_signed()).expect("a time")
}
