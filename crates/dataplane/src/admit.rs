//! What every element that opens frames does with one: its association, its path, where it came from, its labels, ESP.

use std::time::Instant;

use ringmail_model::PathId;

use crate::counters::Counters;
use crate::decap::{self, Inner};
use crate::outer::Frame;
use crate::paths::PathTable;
use crate::sa::SaTable;
use crate::verdict::{DropReason, Neighbour};

/// Opens the frame `bytes`, which goes on from this element, in place: its path, and where the inner packet lies.
#[inline]
pub(crate) fn open(
    bytes: &mut [u8],
    source: Option<Neighbour>,
    frame: &Frame,
    paths: &PathTable,
    inbound: &SaTable,
    now: Instant,
    counters: &Counters,
) -> Result<(PathId, Inner), DropReason> {
    let sa = inbound.get(frame.spi)?;
    let path = sa.path();
    let state = paths.get(path).ok_or(DropReason::UnknownSpi)?;
    state.config.check_previous(source)?;
    let leaving = state.config.leaving.as_ref().ok_or(DropReason::LabelMismatch)?;
    if leaving.labels.len_bytes() + 4 != frame.outer || !leaving.labels.matches(&bytes[4..]) {
        return Err(DropReason::LabelMismatch);
    }
    let inner = decap::decapsulate(bytes, frame, state.config.mode, sa, now, counters)?;
    Ok((path, inner))
}
