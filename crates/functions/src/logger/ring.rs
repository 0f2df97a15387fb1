//! The way of records from a function, which does no I/O and never waits, to whoever writes them.
//!
//! A fixed number of chunks goes round: the function fills one, hands it over, and takes an empty one back. While all are
//! with the writer nothing is recorded, and that is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use ringmail_dataplane::nsh::beginning::Beginning;
use ringmail_model::PathId;
use ringmail_model::pathset::Direction;

use crate::limits;

/// Bytes of a record before the packet: time, path, direction, whether it says who began it, origin, sequence, original
/// length, kept length.
const HEAD_BYTES: usize = 8 + 4 + 1 + 1 + 8 + 8 + 4 + 4;

/// Records that are on their way together.
#[derive(Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
    packets: u64,
}

/// One packet, or its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Since [`Drain::epoch`].
    pub since_epoch: Duration,
    /// The path that it travelled.
    pub path: PathId,
    /// The direction of the path.
    pub direction: Direction,
    /// Who began it, as it claims.
    pub beginning: Option<Beginning>,
    /// How long it was.
    pub original_bytes: u32,
    /// What was kept of it.
    pub bytes: &'a [u8],
}

/// What became of records behind the ring; written by the writer, read by the function's counters.
#[derive(Debug, Default)]
pub struct Fates {
    /// Packets in a file.
    pub written_packets: AtomicU64,
    /// Packets that could not be written.
    pub failed_packets: AtomicU64,
    /// Files begun.
    pub files: AtomicU64,
    /// Files deleted to make room.
    pub deleted_files: AtomicU64,
}

/// The function's end.
#[derive(Debug)]
pub(super) struct Ring {
    to_writer: SyncSender<Chunk>,
    from_writer: Receiver<Chunk>,
    chunk: Option<Chunk>,
    epoch: Instant,
    fates: Arc<Fates>,
}

/// The writer's end.
#[derive(Debug)]
pub struct Drain {
    from_function: Receiver<Chunk>,
    to_function: SyncSender<Chunk>,
    epoch: Instant,
    fates: Arc<Fates>,
}

/// A ring with all its memory.
pub(super) fn ring(now: Instant) -> (Ring, Drain) {
    let (to_writer, from_function) = sync_channel(limits::LOG_CHUNKS);
    let (to_function, from_writer) = sync_channel(limits::LOG_CHUNKS);
    for _ in 0..limits::LOG_CHUNKS {
        let chunk = Chunk { bytes: Vec::with_capacity(limits::LOG_CHUNK_BYTES), packets: 0 };
        // There is room for all of them.
        let _fits = to_function.try_send(chunk);
    }
    let fates = Arc::new(Fates::default());
    let ring = Ring { to_writer, from_writer, chunk: None, epoch: now, fates: Arc::clone(&fates) };
    (ring, Drain { from_function, to_function, epoch: now, fates })
}

impl Ring {
    /// Puts a record down. False if there is no room.
    pub(super) fn put(&mut self, now: Instant, record: &Record<'_>) -> bool {
        let len = HEAD_BYTES + record.bytes.len();
        if self.chunk.as_ref().is_some_and(|c| c.bytes.len() + len > c.bytes.capacity()) {
            self.flush();
        }
        if self.chunk.is_none() {
            self.chunk = self.from_writer.try_recv().ok();
        }
        let Some(chunk) = self.chunk.as_mut().filter(|c| c.bytes.len() + len <= c.bytes.capacity())
        else {
            return false;
        };
        let since_epoch = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        chunk.bytes.extend_from_slice(&since_epoch.to_ne_bytes());
        chunk.bytes.extend_from_slice(&record.path.0.to_ne_bytes());
        chunk.bytes.push(u8::from(record.direction == Direction::Return));
        let Beginning { origin, sequence } =
            record.beginning.unwrap_or(Beginning { origin: [0; 8], sequence: 0 });
        chunk.bytes.push(u8::from(record.beginning.is_some()));
        chunk.bytes.extend_from_slice(&origin);
        chunk.bytes.extend_from_slice(&sequence.to_ne_bytes());
        chunk.bytes.extend_from_slice(&record.original_bytes.to_ne_bytes());
        chunk.bytes.extend_from_slice(&(record.bytes.len() as u32).to_ne_bytes());
        chunk.bytes.extend_from_slice(record.bytes);
        chunk.packets += 1;
        true
    }

    /// Hands over what was put down so far. Packets that the writer will never see, since it is gone, are counted as
    /// failed.
    pub(super) fn flush(&mut self) {
        let Some(chunk) = self.chunk.take_if(|chunk| chunk.packets > 0) else { return };
        // There is room for every chunk that exists.
        if let Err(TrySendError::Full(chunk) | TrySendError::Disconnected(chunk)) =
            self.to_writer.try_send(chunk)
        {
            self.fates.failed_packets.fetch_add(chunk.packets, Ordering::Relaxed);
            self.chunk = Some(Chunk { packets: 0, ..chunk });
            self.chunk.iter_mut().for_each(|chunk| chunk.bytes.clear());
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Drain {
    /// The next chunk, waiting for up to `timeout`. `Ok(None)` when none came; an error when the function is gone and
    /// everything was handed out.
    ///
    /// # Errors
    /// [`FunctionGone`].
    pub fn next(&self, timeout: Duration) -> Result<Option<Chunk>, FunctionGone> {
        match self.from_function.recv_timeout(timeout) {
            Ok(chunk) => Ok(Some(chunk)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(FunctionGone),
        }
    }

    /// Gives a chunk back to be filled again.
    pub fn give_back(&self, mut chunk: Chunk) {
        chunk.bytes.clear();
        chunk.packets = 0;
        // A function that is gone needs none.
        let _gone = self.to_function.try_send(chunk);
    }

    /// What the times of records count from.
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Where the writer counts.
    pub fn fates(&self) -> &Arc<Fates> {
        &self.fates
    }
}

/// The function is gone, and everything that it recorded was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the function is gone")]
pub struct FunctionGone;

impl Chunk {
    /// How many records there are.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// The records, in their order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (time_ns, after) = rest.split_first_chunk()?;
            let (path, after) = after.split_first_chunk()?;
            let ([back], after) = after.split_first_chunk()?;
            let ([says], after) = after.split_first_chunk()?;
            let (origin, after) = after.split_first_chunk()?;
            let (sequence, after) = after.split_first_chunk()?;
            let beginning = Beginning { origin: *origin, sequence: u64::from_ne_bytes(*sequence) };
            let (original, after) = after.split_first_chunk()?;
            let (len, after) = after.split_first_chunk()?;
            let (bytes, after) = after.split_at_checked(u32::from_ne_bytes(*len) as usize)?;
            rest = after;
            Some(Record {
                since_epoch: Duration::from_nanos(u64::from_ne_bytes(*time_ns)),
                path: PathId(u32::from_ne_bytes(*path)),
                direction: if *back == 0 { Direction::Forward } else { Direction::Return },
                beginning: (*says == 1).then_some(beginning),
                original_bytes: u32::from_ne_bytes(*original),
                bytes,
            })
        })
    }
}
