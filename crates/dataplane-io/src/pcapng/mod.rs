//! Captures of links, as pcapng files or streams that tshark and Wireshark read (draft-ietf-opsawg-pcapng).
//!
//! A [`Tap`] copies packets into pieces of a megabyte; a thread writes those to the file. Traffic never waits for it:
//! while no piece is free, or the file has its full size, packets are not captured, and counted.

mod block;
mod frame;
pub mod record;
mod tapped;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::limits;
pub use block::Way;
pub use frame::Framing;
pub use tapped::Tapped;

/// A capture file, and the thread that writes it.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<io::Result<()>>>,
    interfaces: Mutex<u32>,
    snap_len_bytes: usize,
}

/// How much to capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureLimits {
    /// The file grows no further.
    pub file_bytes_max: u64,
    /// Packets are cut at this length, headers included.
    pub snap_len_bytes: usize,
}

/// What became of the packets that passed the taps of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureReport {
    /// Packets in the file.
    pub captured: u64,
    /// Packets that passed, but are not in the file.
    pub missed: u64,
}

/// One interface of a capture; goes with a link as [`Tapped`].
#[derive(Debug)]
pub struct Tap {
    shared: Arc<Shared>,
    interface: u32,
    framing: Framing,
    snap_len_bytes: usize,
    chunk: Option<Chunk>,
}

#[derive(Debug)]
struct Shared {
    to_writer: SyncSender<Message>,
    free: Mutex<Vec<Chunk>>,
    captured: AtomicU64,
    missed: AtomicU64,
    /// Nothing is written any more: nobody reads, or the disk is full.
    closed: AtomicBool,
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    packets: u64,
}

enum Message {
    Chunk(Chunk),
    Stop,
}

impl Default for CaptureLimits {
    fn default() -> CaptureLimits {
        CaptureLimits {
            file_bytes_max: limits::CAPTURE_FILE_BYTES_MAX,
            snap_len_bytes: limits::SUPER_PACKET_BYTES_MAX,
        }
    }
}

impl CaptureLimits {
    /// Everything, for as long as somebody reads.
    pub fn unlimited() -> CaptureLimits {
        CaptureLimits { file_bytes_max: u64::MAX, ..CaptureLimits::default() }
    }
}

impl Capture {
    /// Creates the file and begins to write it.
    ///
    /// # Errors
    /// What the system said about the file.
    pub fn create(path: &Path, limits: CaptureLimits) -> io::Result<Capture> {
        Capture::begin(File::create(path)?, limits, false)
    }

    /// Begins to write to a pipe or socket, for somebody who watches: with statistics of the interface every
    /// [`limits::CAPTURE_STATISTICS_EVERY`] and at the end, so that a reader who went away is noticed and one who stays
    /// knows what was missed.
    ///
    /// # Errors
    /// What the system said about the stream.
    pub fn stream(stream: File, limits: CaptureLimits) -> io::Result<Capture> {
        Capture::begin(stream, limits, true)
    }

    fn begin(mut file: File, limits: CaptureLimits, live: bool) -> io::Result<Capture> {
        let mut header = Vec::new();
        block::section_header(&mut header);
        file.write_all(&header)?;
        // Every chunk fits in at the same time, with some interfaces and the last message: sending never waits.
        let (to_writer, from_taps) = sync_channel(2 * limits::CAPTURE_CHUNKS);
        let chunk = || Chunk { bytes: Vec::with_capacity(limits::CAPTURE_CHUNK_BYTES), packets: 0 };
        let shared = Arc::new(Shared {
            to_writer,
            free: Mutex::new((0..limits::CAPTURE_CHUNKS).map(|_| chunk()).collect()),
            captured: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let writer = Writer {
            file,
            live,
            left_bytes: limits.file_bytes_max.saturating_sub(header.len() as u64),
            shared: Arc::clone(&shared),
        };
        let thread =
            thread::Builder::new().name("capture".into()).spawn(move || writer.run(&from_taps))?;
        Ok(Capture {
            shared,
            writer: Some(thread),
            interfaces: Mutex::new(0),
            snap_len_bytes: limits.snap_len_bytes,
        })
    }

    /// Adds an interface to the file.
    pub fn tap(&self, name: &str, framing: Framing) -> Tap {
        let mut interfaces = self.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        block::interface(&mut bytes, name, framing.link_type(), self.snap_len_bytes as u32);
        // Within the lock, so that interfaces are in the file in the order of their numbers.
        let _ = self.shared.to_writer.send(Message::Chunk(Chunk { bytes, packets: 0 }));
        *interfaces += 1;
        Tap {
            shared: Arc::clone(&self.shared),
            interface: *interfaces - 1,
            framing,
            snap_len_bytes: self.snap_len_bytes,
            chunk: None,
        }
    }

    /// Whether nothing is written any more: the reader went away, or the system refuses.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// What was captured so far. Packets on their way to the file are in neither figure.
    pub fn report(&self) -> CaptureReport {
        CaptureReport {
            captured: self.shared.captured.load(Ordering::Relaxed),
            missed: self.shared.missed.load(Ordering::Relaxed),
        }
    }

    /// Writes what the taps handed over and closes the file. What a tap still holds is written only if it was dropped or
    /// flushed before; a tap that is left misses what comes from now on.
    ///
    /// # Errors
    /// What the system said about the file, now or before.
    pub fn finish(mut self) -> io::Result<CaptureReport> {
        self.stop()?;
        Ok(self.report())
    }

    fn stop(&mut self) -> io::Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let _ = self.shared.to_writer.send(Message::Stop);
        writer
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread of the capture panicked")))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

impl Tap {
    /// Another tap of the same interface, for another worker.
    #[must_use]
    pub fn another(&self) -> Tap {
        Tap {
            shared: Arc::clone(&self.shared),
            interface: self.interface,
            framing: self.framing.clone(),
            snap_len_bytes: self.snap_len_bytes,
            chunk: None,
        }
    }

    /// Hands what was captured so far to the file.
    pub fn flush(&mut self) {
        let Some(chunk) = self.chunk.take_if(|chunk| !chunk.bytes.is_empty()) else { return };
        let (TrySendError::Full(refused) | TrySendError::Disconnected(refused)) =
            match self.shared.to_writer.try_send(Message::Chunk(chunk)) {
                Ok(()) => return,
                Err(error) => error,
            };
        if let Message::Chunk(chunk) = refused {
            self.miss(chunk.packets);
            self.shared.give_back(chunk);
        }
    }

    /// A piece with room for this many bytes; `None` while the writer has all of them.
    fn chunk_with_room(&mut self, bytes: usize) -> Option<&mut Chunk> {
        let full = |chunk: &Chunk| chunk.bytes.len() + bytes > limits::CAPTURE_CHUNK_BYTES;
        if self.chunk.as_ref().is_some_and(full) {
            self.flush();
        }
        if self.chunk.is_none() {
            self.chunk = match self.shared.free.try_lock() {
                Ok(mut free) => free.pop(),
                Err(TryLockError::Poisoned(free)) => free.into_inner().pop(),
                Err(TryLockError::WouldBlock) => None,
            };
        }
        self.chunk.as_mut()
    }

    fn miss(&self, packets: u64) {
        self.shared.missed.fetch_add(packets, Ordering::Relaxed);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Shared {
    fn give_back(&self, mut chunk: Chunk) {
        chunk.bytes.clear();
        chunk.packets = 0;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if chunk.bytes.capacity() >= limits::CAPTURE_CHUNK_BYTES {
            free.push(chunk);
        }
    }
}

struct Writer {
    file: File,
    live: bool,
    left_bytes: u64,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self, from_taps: &Receiver<Message>) -> io::Result<()> {
        let mut result = Ok(());
        let mut due = Instant::now() + limits::CAPTURE_STATISTICS_EVERY;
        loop {
            match from_taps.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Message::Chunk(chunk)) => {
                    let len = chunk.bytes.len() as u64;
                    let fits = result.is_ok() && len <= self.left_bytes;
                    if fits {
                        result = self.file.write_all(&chunk.bytes);
                        self.left_bytes -= len;
                    }
                    let written = fits && result.is_ok();
                    let shared = &self.shared;
                    let counter = if written { &shared.captured } else { &shared.missed };
                    counter.fetch_add(chunk.packets, Ordering::Relaxed);
                    self.shared.give_back(chunk);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            // Packets that never pause must not keep it from saying how many they are.
            if Instant::now() >= due {
                due = Instant::now() + limits::CAPTURE_STATISTICS_EVERY;
                if result.is_ok() {
                    result = self.statistics();
                }
            }
            self.shared.closed.store(result.is_err(), Ordering::Relaxed);
        }
        result.and_then(|()| self.statistics())
    }

    fn statistics(&mut self) -> io::Result<()> {
        if !self.live {
            return Ok(());
        }
        let captured = self.shared.captured.load(Ordering::Relaxed);
        let missed = self.shared.missed.load(Ordering::Relaxed);
        let mut bytes = Vec::new();
        block::statistics(&mut bytes, tapped::now_ns(), captured + missed, missed);
        self.file.write_all(&bytes)
    }
}
