//! The files of a logger: pcapng, a new one by size and time, the oldest deleted to stay within the limits.
//!
//! A thread takes records from the function's ring and writes them. What it cannot write is counted, and it goes on:
//! traffic never waits for a disk.

use std::any::Any;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use ringmail_dataplane::function::{Alert, FunctionCounter};
use ringmail_dataplane::{Function, FunctionBatch};
use ringmail_dataplane_io::pcapng::record;
use ringmail_functions::logger::{Chunk, Drain, Logger, LoggerSettings};
use ringmail_model::domain;
use ringmail_model::pathset::Direction;
use time::OffsetDateTime;
use time::macros::format_description;

use super::legend::{Known, Legend};
use crate::limits::{LOG_FINISH_WITHIN, LOG_NAMES_TRIED, LOG_WAIT};

/// The interfaces of every file, in the order of their numbers.
const INTERFACES: [&str; 2] = ["forward", "return"];

/// A logger together with the thread that writes its files. When it is dropped, everything recorded is in them.
#[derive(Debug)]
pub(super) struct Logged {
    /// Dropped before the thread is waited for.
    logger: Option<Logger>,
    counters: Vec<FunctionCounter>,
    /// What paths are called, for the writer.
    legend: Arc<ArcSwap<Legend>>,
    writer: Option<JoinHandle<()>>,
}

impl Logged {
    /// The logger `name` with its first file.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub(super) fn start(
        name: &str,
        settings: &LoggerSettings,
        files: &domain::LoggerSettings,
        legend: Legend,
    ) -> Result<Logged> {
        let (logger, drain) = Logger::new(settings, Instant::now())?;
        let legend = Arc::new(ArcSwap::from_pointee(legend));
        let mut writer = Writer {
            name: name.to_owned(),
            settings: files.clone(),
            epoch_unix: SystemTime::now().duration_since(UNIX_EPOCH)? - drain.epoch().elapsed(),
            file: None,
            blocks: Vec::new(),
            legend: Arc::clone(&legend),
            text: String::new(),
            failing: false,
        };
        let place = || format!("the logger `{name}` cannot write to {}", files.directory.display());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&files.directory)
            .with_context(place)?;
        writer.begin(&drain).with_context(place)?;
        let thread = thread::Builder::new().name(format!("log-{name}"));
        let thread = thread.spawn(move || writer.run(&drain))?;
        *open() += 1;
        let counters = logger.counters();
        Ok(Logged { logger: Some(logger), counters, legend, writer: Some(thread) })
    }
}

impl Function for Logged {
    fn handle_batch(&mut self, now: Instant, packets: &mut FunctionBatch<'_>) {
        if let Some(logger) = &mut self.logger {
            logger.handle_batch(now, packets);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(logger) = &mut self.logger {
            logger.handle_timeout(now);
        }
    }

    fn retune(&mut self, settings: Box<dyn Any + Send>) -> bool {
        let Ok(legend) = settings.downcast::<Legend>() else { return false };
        self.legend.store(legend.into());
        true
    }

    fn counters(&self) -> Vec<FunctionCounter> {
        self.logger.as_ref().map_or_else(|| self.counters.clone(), Logger::counters)
    }

    fn drain_alerts(&mut self, _sink: &mut dyn FnMut(Alert)) {}
}

impl Drop for Logged {
    fn drop(&mut self) {
        drop(self.logger.take());
        if let Some(writer) = self.writer.take() {
            // A thread that panicked has said so.
            drop(writer.join());
            *open() -= 1;
            CLOSED.notify_all();
        }
    }
}

/// Loggers of this process whose files may still grow.
static OPEN: Mutex<usize> = Mutex::new(0);
static CLOSED: Condvar = Condvar::new();

fn open() -> MutexGuard<'static, usize> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until everything that was recorded is written, when workers were told to stop; not for long, since an element
/// that does not end is killed.
pub(super) fn finish() {
    let done = CLOSED.wait_timeout_while(open(), LOG_FINISH_WITHIN, |open| *open > 0);
    if done.is_ok_and(|(_, waited)| waited.timed_out()) {
        tracing::warn!("not everything that a logger recorded is written");
    }
}

struct Writer {
    name: String,
    settings: domain::LoggerSettings,
    /// What the records' times count from, since the Unix epoch.
    epoch_unix: Duration,
    file: Option<Open>,
    /// Blocks of a chunk, made before they are written.
    blocks: Vec<u8>,
    legend: Arc<ArcSwap<Legend>>,
    /// A comment, before it is in a block.
    text: String,
    /// Whether the last write failed, which is said once.
    failing: bool,
}

struct Open {
    file: File,
    path: PathBuf,
    bytes: u64,
    began: Instant,
}

impl Writer {
    fn run(mut self, drain: &Drain) {
        while let Ok(chunk) = drain.next(LOG_WAIT) {
            let old = |open: &Open| {
                open.began.elapsed() >= Duration::from_secs(self.settings.rotate.seconds.into())
            };
            if self.file.as_ref().is_some_and(old) {
                self.file = None;
            }
            let Some(chunk) = chunk else { continue };
            let outcome = self.write(&chunk, drain);
            let fates = drain.fates();
            match &outcome {
                Ok(()) => fates.written_packets.fetch_add(chunk.packets(), Ordering::Relaxed),
                Err(_) => fates.failed_packets.fetch_add(chunk.packets(), Ordering::Relaxed),
            };
            drain.give_back(chunk);
            self.say(outcome);
        }
    }

    /// Writes all of a chunk or, if the file ends within it, as if nothing of it were there.
    fn write(&mut self, chunk: &Chunk, drain: &Drain) -> io::Result<()> {
        self.blocks.clear();
        let legend = self.legend.load();
        for packet in chunk.records() {
            let interface = match packet.direction {
                Direction::Forward => 0,
                Direction::Return => 1,
            };
            let time_ns = (self.epoch_unix + packet.since_epoch).as_nanos() as u64;
            let known = Known { beginning: packet.beginning, ..Known::default() };
            legend.write(&mut self.text, packet.path, known);
            let (bytes, len) = (packet.bytes, packet.original_bytes);
            record::packet(&mut self.blocks, interface, time_ns, bytes, len, &self.text);
        }
        let len = self.blocks.len() as u64;
        let full = |open: &Open| open.bytes + len > self.settings.rotate.bytes;
        if self.file.as_ref().is_none_or(full) {
            self.begin(drain)?;
        }
        let Some(open) = &mut self.file else { return Ok(()) };
        if let Err(error) = open.file.write_all(&self.blocks) {
            // What was cut off in the middle would make the rest unreadable.
            drop(open.file.set_len(open.bytes));
            self.file = None;
            return Err(error);
        }
        open.bytes += len;
        Ok(())
    }

    /// Begins a file, and makes room for it.
    fn begin(&mut self, drain: &Drain) -> io::Result<()> {
        self.file = None;
        let deleted = make_room(&self.settings, &self.name)?;
        drain.fates().deleted_files.fetch_add(deleted, Ordering::Relaxed);
        let (mut file, path) = create(&self.settings.directory, &self.name)?;
        let mut header = Vec::new();
        record::begin(&mut header, &INTERFACES, self.settings.snap_len);
        file.write_all(&header)?;
        drain.fates().files.fetch_add(1, Ordering::Relaxed);
        self.file = Some(Open { file, path, bytes: header.len() as u64, began: Instant::now() });
        Ok(())
    }

    fn say(&mut self, outcome: io::Result<()>) {
        match outcome {
            Err(error) if !self.failing => {
                self.failing = true;
                let (name, folder) = (&self.name, self.settings.directory.display());
                tracing::warn!(%error, "the logger `{name}` cannot write to {folder}; packets pass unrecorded");
            }
            Ok(()) if self.failing => {
                self.failing = false;
                let file = self.file.as_ref().map(|open| open.path.display().to_string());
                tracing::warn!(file, "the logger `{}` writes again", self.name);
            }
            _ => {}
        }
    }
}

/// Makes a file of a name that no other has: the function's, the time, a number.
fn create(directory: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let time = OffsetDateTime::now_utc().format(&format).map_err(io::Error::other)?;
    for number in 0..LOG_NAMES_TRIED {
        let path = directory.join(format!("{name}-{time}-{number:04}.pcapng"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                // Whatever the process's mask is.
                file.set_permissions(Permissions::from_mode(0o600))?;
                return Ok((file, path));
            }
        }
    }
    Err(io::Error::other("too many files of one second"))
}

/// Deletes the oldest files of this logger until one more of full size fits. Returns how many went.
fn make_room(settings: &domain::LoggerSettings, name: &str) -> io::Result<u64> {
    let mut files = Vec::new();
    for entry in fs::read_dir(&settings.directory)? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if is_ours(&file, name) {
            files.push((file, entry.path(), entry.metadata()?.len()));
        }
    }
    // Their names begin with the time.
    files.sort();
    let mut bytes: u64 = files.iter().map(|(.., len)| len).sum();
    let mut count = files.len() as u64;
    let mut deleted = 0;
    for (_, path, len) in files {
        let fits = bytes.saturating_add(settings.rotate.bytes) <= settings.keep.bytes;
        if fits && count < u64::from(settings.keep.files) {
            break;
        }
        fs::remove_file(path)?;
        bytes -= len;
        count -= 1;
        deleted += 1;
    }
    Ok(deleted)
}

/// Whether a file is one that [`create`] made for this name: no other file is ever deleted.
fn is_ours(file: &str, name: &str) -> bool {
    let rest = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    let stamp = rest.and_then(|rest| rest.strip_suffix(".pcapng"));
    stamp.is_some_and(|stamp| {
        let pattern = "00000000T000000Z-0000";
        stamp.len() == pattern.len()
            && stamp.bytes().zip(pattern.bytes()).all(|(is, to_be)| match to_be {
                b'0' => is.is_ascii_digit(),
                _ => is == to_be,
            })
    })
}
