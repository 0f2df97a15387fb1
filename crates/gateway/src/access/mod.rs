//! The access log: a line of JSON for every request, and for every connection or tunnel whose bytes pass unread.
//!
//! Nobody waits for it. Lines go to a thread of their own over a queue of [`crate::limits::ACCESS_QUEUE`]; what does not
//! fit is counted and left out.

mod entry;
mod writer;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use ringmail_model::defence::{Defence, off};
use tokio::time::Instant;

use crate::counters::Counters;

pub use self::entry::{Entry, Kind, Outcome, Times, schema};
pub use self::writer::{AccessFile, AccessLog};

/// Where a gateway's lines go.
#[derive(Clone)]
pub struct AccessSink {
    queue: SyncSender<Box<Entry>>,
    /// Of the gateway whose lines these are.
    counters: Arc<Counters>,
    listener: Arc<str>,
}

impl AccessSink {
    /// The same for the gateway of these counters.
    pub(crate) fn counted_by(self, counters: Arc<Counters>) -> AccessSink {
        AccessSink { counters, ..self }
    }

    /// A line about something that is over.
    pub(crate) fn line(&self, mut entry: Entry) {
        entry.listener = Arc::clone(&self.listener);
        self.send(Box::new(entry));
    }

    fn send(&self, entry: Box<Entry>) {
        match self.queue.try_send(entry) {
            Ok(()) => self.counters.access_lines.one(),
            Err(_) => self.counters.access_dropped.one(),
        }
    }
}

impl fmt::Debug for AccessSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessSink").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// A line that is being written: it goes when it is dropped, with what is known by then.
#[derive(Debug)]
pub(crate) struct Record {
    sink: AccessSink,
    begun: Instant,
    entry: Mutex<Option<Box<Entry>>>,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
}

impl Record {
    /// A line that begins now, with what its connection knows.
    pub(crate) fn new(sink: &AccessSink, kind: Kind, known: &Entry) -> Record {
        let entry = Entry {
            kind,
            listener: Arc::clone(&sink.listener),
            begun: SystemTime::now(),
            ..known.clone()
        };
        Record {
            sink: sink.clone(),
            begun: Instant::now(),
            entry: Mutex::new(Some(Box::new(entry))),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Entry>>> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something; `us` is how long it has taken so far.
    pub(crate) fn note(&self, what: impl FnOnce(&mut Entry, u64)) {
        if let Some(entry) = &mut *self.lock() {
            what(entry, self.elapsed_us());
        }
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let total_us = self.elapsed_us();
        if let Some(mut entry) = self.lock().take() {
            if entry.decision == Outcome::Refused && off(Defence::AccessRecord) {
                return;
            }
            entry.bytes_in = self.bytes_in.load(Relaxed);
            entry.bytes_out = self.bytes_out.load(Relaxed);
            entry.times_us.total = total_us;
            self.sink.send(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    /// A writer that is stuck costs lines, not time.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_the_writer() {
        let (queue, lines) = sync_channel(2);
        let counters = Arc::<Counters>::default();
        let sink = AccessSink { queue, counters: Arc::clone(&counters), listener: "web".into() };
        let known = Entry::example();
        for n in 1..=5 {
            let record = Record::new(&sink, Kind::Request, &known);
            record.bytes_in.store(n, Relaxed);
            tokio::time::advance(std::time::Duration::from_micros(7)).await;
            record.note(|entry, us| entry.times_us.decided = Some(us));
        }
        assert_eq!((counters.access_lines.get(), counters.access_dropped.get()), (2, 3));
        let first = lines.recv().expect("a line");
        assert_eq!((first.bytes_in, &*first.listener), (1, "web"));
        assert!(first.times_us.total >= 7 && first.times_us.decided >= Some(7));
    }
}
