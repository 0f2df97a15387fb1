//! The thread that writes lines: to a file that is opened again when it was moved away, and moved itself when it is
//! full, or to standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use super::{AccessSink, Entry};
use crate::limits::{ACCESS_BUFFER_BYTES, ACCESS_LOOK_MS, ACCESS_QUEUE, ms};

/// Where the log lies, and how large it may grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessFile {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// Bytes from which on it is moved to `FILE.1`, that to `FILE.2` and so on; 0: never.
    pub max_bytes: u64,
    /// How many moved files are kept.
    pub keep: u32,
}

/// The log: its writer, for any number of listeners.
#[derive(Debug)]
pub struct AccessLog {
    queue: SyncSender<Box<Entry>>,
    reopen: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// Opens the file and starts the writer.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(file: AccessFile) -> io::Result<AccessLog> {
        let (queue, lines) = sync_channel(ACCESS_QUEUE);
        let reopen = Arc::new(AtomicBool::new(false));
        let out = Out::open(file)?;
        let told = Arc::clone(&reopen);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(out, &lines, &told))?;
        Ok(AccessLog { queue, reopen, thread: Some(thread) })
    }

    /// For one listener.
    pub fn sink(&self, listener: &str) -> AccessSink {
        let (queue, counters) = (self.queue.clone(), Arc::default());
        AccessSink { queue, counters, listener: listener.into() }
    }

    /// Set it to have the file opened again, for who moved it away. That is noticed within a second, too.
    pub fn reopen(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reopen)
    }

    /// Waits until what was sent is written. Every sink must be gone.
    pub fn close(mut self) {
        let thread = self.thread.take();
        drop(self);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the access log's thread panicked");
        }
    }
}

fn write(mut out: Out, lines: &Receiver<Box<Entry>>, reopen: &AtomicBool) {
    let mut buffer = Vec::new();
    let mut looked = Instant::now();
    loop {
        let waited = lines.recv_timeout(ms(ACCESS_LOOK_MS));
        if looked.elapsed() >= ms(ACCESS_LOOK_MS) || reopen.load(Relaxed) {
            looked = Instant::now();
            out.look(reopen.swap(false, Relaxed));
        }
        match waited {
            Ok(entry) => {
                add(&mut buffer, &entry);
                while buffer.len() < ACCESS_BUFFER_BYTES {
                    let Ok(entry) = lines.try_recv() else { break };
                    add(&mut buffer, &entry);
                }
                out.write(&buffer);
                buffer.clear();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn add(buffer: &mut Vec<u8>, entry: &Entry) {
    let before = buffer.len();
    if serde_json::to_writer(&mut *buffer, entry).is_ok() {
        buffer.push(b'\n');
    } else {
        buffer.truncate(before);
    }
}

/// The open file.
struct Out {
    file: AccessFile,
    open: Option<File>,
    inode: u64,
    bytes: u64,
    /// Whether a failure was told already.
    failing: bool,
}

impl Out {
    fn open(file: AccessFile) -> io::Result<Out> {
        let mut out = Out { file, open: None, inode: 0, bytes: 0, failing: false };
        out.start()?;
        Ok(out)
    }

    fn is_stdout(&self) -> bool {
        self.file.path == Path::new("-")
    }

    fn start(&mut self) -> io::Result<()> {
        if self.is_stdout() {
            return Ok(());
        }
        // It tells who does what: for its owner and group only.
        let open =
            OpenOptions::new().append(true).create(true).mode(0o640).open(&self.file.path)?;
        let of = open.metadata()?;
        (self.inode, self.bytes) = (of.ino(), of.len());
        self.open = Some(open);
        Ok(())
    }

    /// Opens the file again where it is no longer at its place.
    fn look(&mut self, told: bool) {
        if self.is_stdout() {
            return;
        }
        let there = fs::metadata(&self.file.path).ok().map(|of| of.ino());
        if told || self.open.is_none() || there != Some(self.inode) {
            let started = self.start();
            self.tell(started);
        }
    }

    fn write(&mut self, lines: &[u8]) {
        let written = match &mut self.open {
            _ if self.file.path == Path::new("-") => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines).and_then(|()| stdout.flush())
            }
            Some(open) => open.write_all(lines),
            None => return,
        };
        self.bytes += lines.len() as u64;
        self.tell(written);
        if self.file.max_bytes > 0 && self.bytes >= self.file.max_bytes && !self.is_stdout() {
            let rotated = self.rotate();
            self.tell(rotated);
        }
    }

    /// FILE to FILE.1, FILE.1 to FILE.2 and so on; the last goes.
    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name = self.file.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.file.keep).rev() {
            // One that is not there is no loss.
            let _ = fs::rename(numbered(number), numbered(number + 1));
        }
        if self.file.keep == 0 {
            fs::remove_file(&self.file.path)?;
        } else {
            fs::rename(&self.file.path, numbered(1))?;
        }
        self.start()
    }

    /// Says once that the log cannot be written, and once that it can again.
    fn tell(&mut self, outcome: io::Result<()>) {
        let path = self.file.path.display();
        match outcome {
            Ok(()) if self.failing => tracing::info!(%path, "the access log is written again"),
            Err(error) if !self.failing => {
                tracing::error!(%path, %error, "the access log cannot be written; lines are lost");
                self.failing = true;
                return;
            }
            Err(_) => return,
            Ok(()) => {}
        }
        self.failing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("ringmail-access-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).expect("a new folder");
            Folder(path)
        }

        fn read(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.0.join(name)).ok()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn out(folder: &Folder, max_bytes: u64, keep: u32) -> Out {
        let path = folder.0.join("log");
        Out::open(AccessFile { path, max_bytes, keep }).expect("it opens")
    }

    #[test]
    fn a_full_file_is_moved_and_the_oldest_goes() {
        let folder = Folder::new("full");
        let mut out = out(&folder, 8, 2);
        for lines in ["one\n", "two, long\n", "three, long\n", "four, long\n", "five\n"] {
            out.write(lines.as_bytes());
        }
        assert_eq!(folder.read("log").as_deref(), Some("five\n"));
        assert_eq!(folder.read("log.1").as_deref(), Some("four, long\n"));
        assert_eq!(folder.read("log.2").as_deref(), Some("three, long\n"));
        assert_eq!(folder.read("log.3"), None);
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let folder = Folder::new("moved");
        let mut out = out(&folder, 0, 0);
        out.write(b"one\n");
        fs::rename(folder.0.join("log"), folder.0.join("old")).expect("moved");
        out.write(b"two\n");
        out.look(false);
        out.write(b"three\n");
        assert_eq!(folder.read("old").as_deref(), Some("one\ntwo\n"));
        assert_eq!(folder.read("log").as_deref(), Some("three\n"));
        out.look(false);
        out.write(b"four\n");
        assert_eq!(folder.read("log").as_deref(), Some("three\nfour\n"), "appended, not cut");
    }

    #[test]
    fn what_was_sent_is_written_before_the_end() {
        let folder = Folder::new("sent");
        let path = folder.0.join("log");
        let log = AccessLog::open(AccessFile { path, max_bytes: 0, keep: 0 }).expect("it opens");
        let sink = log.sink("web");
        for _ in 0..100 {
            drop(super::super::Record::new(&sink, super::super::Kind::Request, &Entry::example()));
        }
        drop(sink);
        log.close();
        let text = folder.read("log").expect("a file");
        assert_eq!(text.lines().count(), 100);
        let line: serde_json::Value =
            serde_json::from_str(text.lines().next().expect("one")).expect("JSON");
        assert_eq!(
            (&line["schema"], &line["listener"]),
            (&"ringmail.access/1".into(), &"web".into())
        );
        let time = line["time"].as_str().expect("a time");
        assert!(time.starts_with("20") && time.ends_with('Z') && time.len() <= 27, "{time}");
    }
}
