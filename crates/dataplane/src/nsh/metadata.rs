//! Metadata for those on a path who are granted it: sealed by who begins a packet, one header a reader, opened by that reader
//! and carried blind by everybody else (`docs/nsh.md`, "Metadata").
//!
//! ```text
//! | key id 4 | items, AES-128-GCM, always as long as they can be | ICV 16 |      key id 0 and zeros: nothing is said
//! ```
//!
//! The nonce is the sequence number of the proof, which its origin never uses twice in a life; a new life has new keys. The
//! associated data name path, packet, payload and reader: what was said of one packet opens with no other.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use ringmail_model::defence::{Defence, off};
use ringmail_model::metadata::{Facts, Kinds, Said};
use ringmail_model::nsh::{KEY_ID_BYTES, METADATA_ICV_BYTES, WORD_BYTES};
use ringmail_model::{ElementId, PathDigest, SaSpi};

use super::path::NshConfig;
use super::proof::Mark;
use crate::keys::{Cipher, KeyError, SaKey};
use crate::limits::METADATA_KEYS;
use crate::sa::Lease;
use crate::verdict::DropReason;

/// Bytes of associated data: path, origin, sequence, mark, reader.
const AAD_BYTES: usize = 32 + 3 * WORD_BYTES + 1;

/// Who is told something by whom, on one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldConfig {
    /// The position of who is told.
    pub reader: u8,
    /// The position of who tells it, where the path begins or a hop begins packets.
    pub writer: u8,
    /// Who that is.
    pub writer_element: ElementId,
    /// What.
    pub kinds: Kinds,
    /// Where the header is in an NSH of the path.
    pub value: Range<usize>,
}

/// A key of metadata, ready for use.
#[derive(Debug)]
pub struct MetadataKey(Cipher);

impl MetadataKey {
    /// Sets the cipher up.
    ///
    /// # Errors
    /// [`KeyError::Refused`].
    pub fn new(key: &SaKey) -> Result<MetadataKey, KeyError> {
        Ok(MetadataKey(key.cipher()?))
    }
}

type Held = (SaSpi, Arc<MetadataKey>, Lease);

/// What an element of a path has to do with metadata.
pub(crate) struct Metadata {
    digest: PathDigest,
    /// Where origin and sequence number of the proof are.
    packet: Range<usize>,
    /// For whom this element writes.
    writes: Vec<(ToldConfig, Option<Held>)>,
    /// What it is told itself.
    reads: Option<Reads>,
}

struct Reads {
    told: ToldConfig,
    /// Where the mark of the writer's segment is; with ESP if it is the segment by which packets come here.
    mark: Option<Range<usize>>,
    /// The newest last.
    keys: Vec<Held>,
}

impl Metadata {
    /// What the element of this description writes and reads, if it does.
    pub(super) fn of(config: &NshConfig) -> Option<Box<Metadata>> {
        let proof = config.layout.proof()?;
        let mine = |position: u8| position == config.position;
        let writes = config.told.iter().filter(|told| mine(told.writer));
        let writes: Vec<_> = writes.map(|told| (told.clone(), None)).collect();
        let reads = config.told.iter().find(|told| mine(told.reader)).map(|told| Reads {
            told: told.clone(),
            mark: mark_of(config, told),
            keys: Vec::new(),
        });
        let packet = proof.origin().start..proof.sequence().end;
        let concerned = !writes.is_empty() || reads.is_some();
        concerned.then(|| Box::new(Metadata { digest: config.digest, packet, writes, reads }))
    }

    pub(super) fn writes(&self) -> bool {
        !self.writes.is_empty()
    }

    pub(super) fn reads(&self) -> bool {
        self.reads.is_some()
    }

    pub(super) fn install_writing(&mut self, reader: u8, held: Held) {
        if let Some((_, place)) = self.writes.iter_mut().find(|(told, _)| told.reader == reader) {
            *place = Some(held);
        }
    }

    /// The lease of the key that was taken out.
    pub(super) fn remove_writing(&mut self, reader: u8, id: SaSpi) -> Option<Lease> {
        let known = self.writes.iter_mut().find(|(told, _)| told.reader == reader)?;
        known.1.take_if(|(known, _, _)| *known == id).map(|(_, _, lease)| lease)
    }

    pub(super) fn install_reading(&mut self, held: Held) {
        self.remove_reading(held.0);
        if let Some(reads) = &mut self.reads {
            if reads.keys.len() == METADATA_KEYS {
                reads.keys.remove(0);
            }
            reads.keys.push(held);
        }
    }

    pub(super) fn remove_reading(&mut self, id: SaSpi) {
        if let Some(reads) = &mut self.reads {
            reads.keys.retain(|(known, _, _)| *known != id);
        }
    }

    /// Whether there is a key for each reader that this element writes for.
    pub(super) fn is_keyed(&self) -> bool {
        self.writes.iter().all(|(_, held)| held.is_some())
    }

    /// Writes the headers of a packet that begins here, which is sealed and has this mark.
    pub(super) fn write(
        &self,
        nsh: &mut [u8],
        mark: &Mark,
        facts: &Facts,
        now: Instant,
    ) -> Result<(), DropReason> {
        for (told, held) in &self.writes {
            let (id, key, lease) = held.as_ref().ok_or(DropReason::NoAssociation)?;
            if !lease.is_live(now) {
                return Err(DropReason::LeaseExpired);
            }
            let (aad, sequence) = self.aad(nsh, mark, told.reader)?;
            let header = nsh.get_mut(told.value.clone()).ok_or(DropReason::Malformed)?;
            let (items, icv) = items_and_icv(header).ok_or(DropReason::Malformed)?;
            facts.write(told.kinds, items);
            if !off(Defence::MetadataSecrecy) {
                let tag = key.0.seal(sequence, &aad, items).map_err(|_| DropReason::Malformed)?;
                icv.copy_from_slice(tag.as_ref());
            }
            header[..KEY_ID_BYTES].copy_from_slice(&id.0.to_be_bytes());
        }
        Ok(())
    }

    /// Opens what is said to this element of a packet with this mark, in place. Where the items are then; `None` where
    /// nothing is said, which only those may do who are not the writer.
    pub(super) fn read(
        &self,
        nsh: &mut [u8],
        mark: &Mark,
        now: Instant,
    ) -> Result<Option<Range<usize>>, DropReason> {
        let Some(Reads { told, mark: place, keys }) = &self.reads else { return Ok(None) };
        let left = place.clone().map(|place| nsh.get(place).and_then(<[u8]>::first_chunk));
        let mark = match left {
            None => *mark,
            Some(left) => *left.ok_or(DropReason::Malformed)?,
        };
        let (aad, sequence) = self.aad(nsh, &mark, told.reader)?;
        let origin = nsh.get(self.packet.start..).and_then(<[u8]>::first_chunk);
        let origin = ElementId(u16::from_be_bytes(*origin.ok_or(DropReason::Malformed)?));
        let header = nsh.get_mut(told.value.clone()).ok_or(DropReason::Malformed)?;
        let id = header.first_chunk::<KEY_ID_BYTES>().ok_or(DropReason::Malformed)?;
        let id = SaSpi(u32::from_be_bytes(*id));
        if origin != told.writer_element {
            let nothing = header.iter().all(|byte| *byte == 0);
            return if nothing { Ok(None) } else { Err(DropReason::MetadataWrong) };
        }
        if id == SaSpi(0) {
            return Err(DropReason::MetadataMissing);
        }
        let known = keys.iter().rev().find(|(known, _, _)| *known == id);
        let (_, key, lease) = known.ok_or(DropReason::MetadataUnknownKey)?;
        if !lease.is_live(now) {
            return Err(DropReason::LeaseExpired);
        }
        let (items, icv) = items_and_icv(header).ok_or(DropReason::Malformed)?;
        if !off(Defence::MetadataSecrecy) {
            key.0.open(sequence, &aad, icv, items).map_err(|_| DropReason::MetadataWrong)?;
        }
        Said::parse(items, told.kinds).map_err(|_| DropReason::MetadataWrong)?;
        let start = told.value.start + KEY_ID_BYTES;
        Ok(Some(start..start + items.len()))
    }

    /// Takes away what was said to this element: nobody behind it is to see what it opened.
    pub(super) fn wipe(&self, nsh: &mut [u8]) {
        let mine = self.reads.as_ref().and_then(|reads| nsh.get_mut(reads.told.value.clone()));
        if let Some(mine) = mine {
            mine.fill(0);
        }
    }

    fn aad(
        &self,
        nsh: &[u8],
        mark: &Mark,
        reader: u8,
    ) -> Result<([u8; AAD_BYTES], [u8; WORD_BYTES]), DropReason> {
        let packet = nsh.get(self.packet.clone()).ok_or(DropReason::Malformed)?;
        let sequence = packet.last_chunk().ok_or(DropReason::Malformed)?;
        let mut aad = [0; AAD_BYTES];
        aad[..32].copy_from_slice(&self.digest.0);
        aad[32..48].copy_from_slice(packet);
        aad[48..56].copy_from_slice(mark);
        aad[56] = reader;
        Ok((aad, *sequence))
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writes: Vec<u8> = self.writes.iter().map(|(told, _)| told.reader).collect();
        f.debug_struct("Metadata").field("writes", &writes).field("reads", &self.reads()).finish()
    }
}

/// The parts of a header behind the key id.
fn items_and_icv(header: &mut [u8]) -> Option<(&mut [u8], &mut [u8])> {
    let end = header.len().checked_sub(METADATA_ICV_BYTES)?;
    let (front, icv) = header.split_at_mut_checked(end)?;
    Some((front.get_mut(KEY_ID_BYTES..)?, icv))
}

/// Where a reader finds the mark of whoever sealed the packet at the writer's place, unless that is with ESP.
fn mark_of(config: &NshConfig, told: &ToldConfig) -> Option<Range<usize>> {
    let sealed = |elements: usize| {
        config.seals.iter().take(elements).filter(|seals| **seals).count().saturating_sub(1)
    };
    let (left, came) = (sealed(usize::from(told.writer) + 1), sealed(told.reader.into()));
    let segments = config.seals.iter().filter(|seals| **seals).count();
    let place = || config.layout.proof()?.mark(left, segments);
    if left == came { None } else { place() }
}
