//! What every element that takes frames does with one before it opens it: its association, its path, where it came from,
//! and whether what steers it is what steers packets of that path here.

use ringmail_model::PathId;

use crate::outer::Frame;
use crate::paths::{PathState, PathTable};
use crate::sa::SaTable;
use crate::verdict::{DropReason, Neighbour};

/// The path of the frame `bytes`, by the association that opens it. Where the frame has an NSH, its code is still to be
/// checked ([`crate::nsh::group::check`]).
#[inline]
pub(crate) fn look(
    bytes: &[u8],
    source: Option<Neighbour>,
    frame: &Frame,
    paths: &PathTable,
    inbound: &SaTable,
) -> Result<PathId, DropReason> {
    let path = inbound.get(frame.spi)?.path();
    let state = paths.get(path).ok_or(DropReason::UnknownSpi)?;
    check(bytes, source, frame, state)?;
    Ok(path)
}

/// Whether a frame of this path comes from where it should, with the labels and the NSH that it should have here.
#[inline]
pub(crate) fn check(
    bytes: &[u8],
    source: Option<Neighbour>,
    frame: &Frame,
    state: &PathState,
) -> Result<(), DropReason> {
    state.config.check_previous(source)?;
    let arriving = &state.config.arriving;
    if arriving.len_bytes() != frame.stack || !arriving.matches(bytes) {
        return Err(match state.nsh.is_some() == frame.path.is_some() {
            true => DropReason::LabelMismatch,
            false => DropReason::WrongProfile,
        });
    }
    match (&state.nsh, frame.path) {
        (None, None) => Ok(()),
        (Some(nsh), Some(path)) if path == state.config.id => {
            // Where the path ends nobody follows whom a packet could go round to.
            let least = if state.config.leaving.is_some() { 2 } else { 1 };
            match nsh.check(&bytes[frame.stack..frame.outer])? {
                ttl if ttl < least => Err(DropReason::TtlExpired),
                _ => Ok(()),
            }
        }
        (Some(_), Some(_)) => Err(DropReason::UnknownServicePath),
        _ => Err(DropReason::WrongProfile),
    }
}
