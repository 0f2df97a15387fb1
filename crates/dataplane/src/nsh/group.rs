//! Codes and proofs of a group of packets, made and checked side by side (`docs/nsh.md`).
//!
//! A group has packets of any paths; neighbours of one path and key go through the cipher together.

use std::time::Instant;

use ringmail_model::defence::{Defence, off};
use ringmail_model::metadata::Facts;
use ringmail_model::nsh::KEY_ID_BYTES;
use ringmail_model::{PathId, SaSpi};

use super::cmac::LANES;
use super::journal::Finding;
use super::link::{self, Covered, Parts};
use super::path::PathNsh;
use super::proof::{Claim, Mark};
use super::rfc9145;
use super::verify::Arrived;
use crate::batch::Batch;
use crate::counters::Counters;
use crate::esp::ICV_BYTES;
use crate::outer::{Frame, OUTER_BYTES};
use crate::paths::{PathState, PathTable};
use crate::verdict::DropReason;

/// A packet of a group that has a Network Service Header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// Its place in the batch.
    pub(crate) index: usize,
    pub(crate) path: PathId,
    /// Bytes of the labels in front of the header.
    pub(crate) stack: usize,
}

impl Item {
    pub(crate) const NONE: Item = Item { index: 0, path: PathId(0), stack: 0 };

    /// A packet that came, if its frame has a header.
    pub(crate) fn came(index: usize, path: PathId, frame: &Frame) -> Option<Item> {
        frame.path.map(|_| Item { index, path, stack: frame.stack })
    }

    /// A packet that begins here, if packets of its path have a header.
    pub(crate) fn begun(index: usize, state: &PathState) -> Option<Item> {
        let stack = state.config.leaving.as_ref()?.labels.len_bytes();
        state.nsh.as_ref().map(|_| Item { index, path: state.config.id, stack })
    }
}

/// What becomes of each packet of a group.
type Outcomes = [Result<(), DropReason>; LANES];

/// Drops and counts those of a group that are not to go on.
fn refuse(batch: &mut Batch, items: &[Item], outcomes: Outcomes, counters: &Counters) {
    for (item, outcome) in items.iter().zip(outcomes) {
        if let Err(reason) = outcome {
            counters.count_drop(reason);
            batch.drop_packet(item.index, reason);
        }
    }
}

/// Checks the codes of up to [`LANES`] packets that came, whose headers were found to be those of their paths. Those whose
/// code is wrong are dropped.
pub(crate) fn check(
    batch: &mut Batch,
    items: &[Item],
    paths: &PathTable,
    covered: &mut Covered,
    counters: &Counters,
    now: Instant,
) {
    let mut outcomes = [Ok(()); LANES];
    if off(Defence::LinkCode) {
        return;
    }
    let mut begin = 0;
    while let Some(first) = items.get(begin) {
        let end = match check_alike(
            batch,
            &items[begin..],
            paths,
            covered,
            now,
            &mut outcomes[begin..],
        ) {
            Ok(alike) => begin + alike,
            Err(reason) => {
                outcomes[begin] = Err(reason);
                begin + 1
            }
        };
        debug_assert!(end > begin, "{first:?}");
        begin = end;
    }
    refuse(batch, items, outcomes, counters);
}

/// Checks the first packet and those behind it of the same path and key; how many these are.
fn check_alike(
    batch: &Batch,
    items: &[Item],
    paths: &PathTable,
    covered: &mut Covered,
    now: Instant,
    outcomes: &mut [Result<(), DropReason>],
) -> Result<usize, DropReason> {
    let Some(first) = items.first() else { return Ok(0) };
    let state = paths.nsh(first.path)?;
    let Some(mac) = state.config.layout.mac() else {
        let (nsh, inner) = split(batch.packet(first.index), first, state)?;
        rfc9145::check(nsh, inner, state, now)?;
        return Ok(1);
    };
    let key = state.link_key(header(batch, first, state)?, now)?;
    covered.clear();
    let mut alike = 0;
    for item in items {
        let frame = batch.packet(item.index);
        if item.path != first.path || id_at(frame, item.stack + mac) != Some(key.id) {
            break;
        }
        match push(frame, item, state, mac, covered) {
            Err(reason) if alike == 0 => return Err(reason),
            Err(_) => break,
            Ok(()) => alike += 1,
        }
    }
    let codes = covered.codes(&key.key);
    for ((item, code), outcome) in items.iter().zip(&codes).zip(outcomes).take(alike) {
        if !link::holds(header(batch, item, state)?, mac, code) {
            *outcome = Err(DropReason::BadMac);
        }
    }
    Ok(alike)
}

/// Proves and signs up to [`LANES`] packets that go on, which are whole but for tag and code. Those that cannot be are
/// dropped.
pub(crate) fn finish(
    batch: &mut Batch,
    items: &[Item],
    paths: &mut PathTable,
    covered: &mut Covered,
    counters: &Counters,
    now: Instant,
) {
    let mut outcomes = [Ok(()); LANES];
    let mut begin = 0;
    while let Some(first) = items.get(begin) {
        let alike = items[begin..].iter().take_while(|item| item.path == first.path).count();
        let these = &items[begin..begin + alike];
        let state = paths.nsh_to_finish(first.path);
        let finished = state.and_then(|state| finish_alike(batch, these, state, covered, now));
        if let Err(reason) = finished {
            outcomes[begin..begin + alike].fill(Err(reason));
        }
        begin += alike;
    }
    refuse(batch, items, outcomes, counters);
}

/// As [`finish`], for packets of one path.
pub(crate) fn finish_alike(
    batch: &mut Batch,
    items: &[Item],
    state: &mut PathNsh,
    covered: &mut Covered,
    now: Instant,
) -> Result<(), DropReason> {
    let mut claims = [Claim::default(); LANES];
    if let Some(proof) = state.config.layout.proof() {
        let prover = state.prover(now)?;
        for (claim, item) in claims.iter_mut().zip(items) {
            let nsh = header(batch, item, state)?;
            claim.origin = *part(nsh, proof.origin().start)?;
            claim.sequence = u64::from_be_bytes(*part(nsh, proof.sequence().start)?);
            claim.before = *part(nsh, proof.tag().start)?;
            claim.mark = mark(batch.packet(item.index))?;
        }
        let tags = prover.tags(&claims[..items.len()]);
        let key_id =
            proof.key_id(usize::from(state.config.position)).ok_or(DropReason::WrongNsh)?;
        for (item, tag) in items.iter().zip(tags) {
            let nsh = header_mut(batch, item, state)?;
            nsh[proof.tag()].copy_from_slice(&tag);
            nsh[key_id.clone()].copy_from_slice(&prover.key_id().to_be_bytes());
        }
    }
    match state.config.layout.mac() {
        Some(mac) => sign(batch, items, state, mac, covered, now)?,
        None => items.iter().try_for_each(|item| {
            let frame = batch.packet_mut(item.index).get_mut(item.stack..);
            let frame = frame.filter(|frame| frame.len() >= state.len_bytes());
            let (nsh, inner) = frame.ok_or(DropReason::Malformed)?.split_at_mut(state.len_bytes());
            rfc9145::sign(nsh, inner, state, now)
        })?,
    }
    state.note(now, &claims[..items.len()]);
    Ok(())
}

/// Makes the codes of packets of one path, which are at `mac` in their headers.
fn sign(
    batch: &mut Batch,
    items: &[Item],
    state: &PathNsh,
    mac: usize,
    covered: &mut Covered,
    now: Instant,
) -> Result<(), DropReason> {
    let goes = state.goes(now)?;
    covered.clear();
    for item in items {
        let frame = batch.packet_mut(item.index);
        let id = frame.get_mut(item.stack + mac..).and_then(<[u8]>::first_chunk_mut);
        *id.ok_or(DropReason::Malformed)? = goes.id.0.to_be_bytes();
        push(frame, item, state, mac, covered)?;
    }
    for (item, code) in items.iter().zip(covered.codes(&goes.key)) {
        let nsh = header_mut(batch, item, state)?;
        nsh[mac + KEY_ID_BYTES..][..code.len()].copy_from_slice(&code);
    }
    Ok(())
}

/// What the end of their paths finds of up to [`LANES`] packets that were opened there, their marks as they came.
pub(crate) fn verify(
    batch: &Batch,
    items: &[(Item, Mark)],
    paths: &mut PathTable,
    now: Instant,
) -> [Finding; LANES] {
    let mut findings = [Finding::NONE; LANES];
    let mut begin = 0;
    while let Some((first, _)) = items.get(begin) {
        let alike = items[begin..].iter().take_while(|(item, _)| item.path == first.path).count();
        let these = &items[begin..begin + alike];
        if let Some(verifier) = paths.nsh_mut(first.path).and_then(PathNsh::verifier) {
            let mut arrived: [Arrived<'_>; LANES] = [(&[], Mark::default()); LANES];
            for (place, (item, mark)) in arrived.iter_mut().zip(these) {
                let header = batch.packet(item.index).get(item.stack..).unwrap_or_default();
                *place = (header, *mark);
            }
            let found = verifier.verify(&arrived[..alike], now);
            findings[begin..begin + alike].copy_from_slice(&found[..alike]);
        }
        begin += alike;
    }
    findings
}

/// The mark of whoever sealed the packet of this frame.
pub(crate) fn mark(frame: &[u8]) -> Result<Mark, DropReason> {
    let icv = frame.len().checked_sub(ICV_BYTES).and_then(|at| frame.get(at..));
    icv.and_then(<[u8]>::first_chunk).copied().ok_or(DropReason::Malformed)
}

/// Opens what this element is told of the packet of a frame, in place; from where to where in the frame it is.
#[inline]
pub(crate) fn told(
    bytes: &mut [u8],
    frame: &Frame,
    state: &PathState,
    now: Instant,
) -> Result<Option<(u32, u32)>, DropReason> {
    let Some(nsh) = state.nsh.as_ref().filter(|nsh| nsh.reads()) else { return Ok(None) };
    let mark = mark(bytes)?;
    let header = bytes.get_mut(frame.stack..frame.outer).ok_or(DropReason::Malformed)?;
    let items = nsh.read_metadata(header, &mark, now)?;
    let place = |at: usize| (frame.stack + at) as u32;
    Ok(items.map(|items| (place(items.start), place(items.end))))
}

/// Tells others on the path of a packet that begins here, which is whole but for tag and code.
#[inline]
pub(crate) fn tell(
    batch: &mut Batch,
    item: &Item,
    state: &PathState,
    facts: &Facts,
    now: Instant,
) -> Result<(), DropReason> {
    let Some(nsh) = state.nsh.as_ref().filter(|nsh| nsh.writes()) else { return Ok(()) };
    let mark = mark(batch.packet(item.index))?;
    nsh.write_metadata(header_mut(batch, item, nsh)?, &mark, facts, now)
}

/// The header of a packet, and what is below it.
fn split<'a>(
    frame: &'a [u8],
    item: &Item,
    state: &PathNsh,
) -> Result<(&'a [u8], &'a [u8]), DropReason> {
    let below = frame.get(item.stack..).and_then(|rest| rest.split_at_checked(state.len_bytes()));
    below.ok_or(DropReason::Malformed)
}

fn header<'a>(batch: &'a Batch, item: &Item, state: &PathNsh) -> Result<&'a [u8], DropReason> {
    let range = item.stack..item.stack + state.len_bytes();
    batch.packet(item.index).get(range).ok_or(DropReason::Malformed)
}

fn header_mut<'a>(
    batch: &'a mut Batch,
    item: &Item,
    state: &PathNsh,
) -> Result<&'a mut [u8], DropReason> {
    let range = item.stack..item.stack + state.len_bytes();
    batch.packet_mut(item.index).get_mut(range).ok_or(DropReason::Malformed)
}

fn push(
    frame: &[u8],
    item: &Item,
    state: &PathNsh,
    mac: usize,
    covered: &mut Covered,
) -> Result<(), DropReason> {
    let malformed = DropReason::Malformed;
    let rest = frame.get(item.stack..).ok_or(malformed)?;
    let (nsh, rest) = rest.split_at_checked(state.len_bytes()).ok_or(malformed)?;
    let (ip, esp) = rest.split_at_checked(OUTER_BYTES).ok_or(malformed)?;
    covered.push(Parts { nsh, ip, esp }, mac)
}

fn id_at(frame: &[u8], at: usize) -> Option<SaSpi> {
    let id = frame.get(at..)?.first_chunk()?;
    Some(SaSpi(u32::from_be_bytes(*id)))
}

fn part<const N: usize>(nsh: &[u8], at: usize) -> Result<&[u8; N], DropReason> {
    nsh.get(at..).and_then(<[u8]>::first_chunk).ok_or(DropReason::Malformed)
}
