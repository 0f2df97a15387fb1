//! What every element that takes frames does with one before it opens it: its association, its path, where it came from,
//! and whether what steers it is what steers packets of that path here.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use ringmail_model::PathId;
use ringmail_model::defence::{Defence, off};

use crate::batch::Batch;
use crate::counters::Counters;
use crate::nsh::cmac::LANES;
use crate::nsh::group::{self, Item};
use crate::nsh::link::Covered;
use crate::outer::Frame;
use crate::paths::{PathState, PathTable};
use crate::sa::{InboundSa, SaTable};
use crate::verdict::{DropReason, Neighbour, Verdict};

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
    let path = association(source, frame, paths, inbound)?.path();
    let state = paths.get(path).ok_or(DropReason::UnknownSpi)?;
    check(bytes, source, frame, state)?;
    Ok(path)
}

/// The association that a frame names.
#[inline]
pub(crate) fn association<'a>(
    source: Option<Neighbour>,
    frame: &Frame,
    paths: &PathTable,
    inbound: &'a SaTable,
) -> Result<&'a Arc<InboundSa>, DropReason> {
    let named = inbound.get(frame.spi);
    if !off(Defence::OwnKeys) {
        return named;
    }
    // With one key for all, one association from there is as good as another.
    let from = |sa: &&Arc<InboundSa>| {
        if frame.path.is_some_and(|path| path != sa.path()) {
            return false;
        }
        let state = paths.get(sa.path());
        state.is_some_and(|state| state.config.check_previous(source).is_ok())
    };
    named.or_else(|unknown| inbound.iter().find(from).ok_or(unknown))
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
    let agree = arriving.len_bytes() == frame.stack && arriving.matches(bytes);
    let bare = off(Defence::ProfileAlone) && frame.path.is_none();
    if !agree && !bare && !off(Defence::PathLabels) {
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
        (Some(_), Some(_)) if off(Defence::PathLabels) => Ok(()),
        (Some(_), Some(_)) => Err(DropReason::UnknownServicePath),
        _ if off(Defence::ProfileAlone) => Ok(()),
        _ => Err(DropReason::WrongProfile),
    }
}

/// The path of each of some frames, and what stands where in it.
pub(crate) type Looked = [(PathId, Frame); LANES];

/// Looks at some frames of a batch, no more than [`LANES`]: at each as the element does, and then at the codes of those with an
/// NSH. What is refused is dropped and counted; the others have no verdict yet.
pub(crate) fn group(
    batch: &mut Batch,
    group: Range<usize>,
    paths: &mut PathTable,
    covered: &mut Covered,
    counters: &Counters,
    now: Instant,
    mut look: impl FnMut(&mut PathTable, &Batch, usize) -> Result<(PathId, Frame), DropReason>,
) -> Looked {
    let mut looked = [(PathId(0), Frame::NONE); LANES];
    let (mut items, mut count) = ([Item::NONE; LANES], 0);
    for (index, place) in group.zip(&mut looked) {
        counters.link_in.count(batch.packet(index).len());
        // A batch that is handed over in memory has the verdicts of who gave it.
        batch.set_verdict(index, Verdict::Pending);
        match look(paths, batch, index) {
            Ok((path, frame)) => {
                *place = (path, frame);
                if let Some(item) = Item::came(index, path, &frame) {
                    items[count] = item;
                    count += 1;
                }
            }
            Err(reason) => {
                counters.count_drop(reason);
                batch.drop_packet(index, reason);
            }
        }
    }
    group::check(batch, &items[..count], paths, covered, counters, now);
    looked
}
