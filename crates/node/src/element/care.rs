//! What a gateway's proxy looks after beside its connections: revocation lists and trust anchors whose files change.
//!
//! The files are looked at each second, by time, length and inode: that holds on every file system and for lists that are
//! written anew beside the old and renamed.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringmail_gateway::Revocation;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::control::ListenerLists;

/// How often files are looked at: what a revocation may take at most, but for the cutting itself.
const EVERY: Duration = Duration::from_millis(500);

/// A thread that looks after them.
pub(super) struct Care {
    stop: Arc<AtomicBool>,
    lists: Arc<Mutex<Vec<Lists>>>,
    thread: Option<JoinHandle<()>>,
}

impl Care {
    pub(super) fn start() -> Result<Care> {
        let stop = Arc::<AtomicBool>::default();
        let lists: Arc<Mutex<Vec<Lists>>> = Arc::default();
        let (stopped, cared_for) = (Arc::clone(&stop), Arc::clone(&lists));
        let care = move || {
            while !stopped.load(Relaxed) {
                std::thread::park_timeout(EVERY);
                let mut lists = cared_for.lock().unwrap_or_else(PoisonError::into_inner);
                lists.retain(|of| !of.over.load(Relaxed));
                lists.iter_mut().for_each(Lists::look);
            }
        };
        let thread = std::thread::Builder::new().name("proxy-care".to_owned()).spawn(care)?;
        Ok(Care { stop, lists, thread: Some(thread) })
    }

    /// Looks after these, too, until they are over.
    pub(super) fn add(&self, lists: Lists) {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner).push(lists);
    }

    /// Reads all of them now, whether their files changed or not.
    pub(super) fn read(&self) -> Vec<ListenerLists> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|of| !of.over.load(Relaxed));
        // One that serves its last connections has the same name as the one after it.
        let read = lists.iter_mut().map(|of| (of.listener.clone(), of.read_now()));
        read.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    pub(super) fn stop(self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread that looks after revocation lists panicked");
            }
        }
    }
}

/// The revocation lists of one listener.
pub(super) struct Lists {
    listener: String,
    files: Vec<PathBuf>,
    /// Where trust anchors are, if they may change.
    anchors: Option<PathBuf>,
    seen: Vec<Option<Stamp>>,
    revocation: Revocation,
    /// Set when the last connection that they are for has ended.
    over: Arc<AtomicBool>,
}

/// What changes when a file does.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified_ns: i128,
    len_bytes: u64,
    inode: u64,
}

impl Lists {
    pub(super) fn new(
        listener: String,
        files: Vec<PathBuf>,
        anchors: Option<PathBuf>,
        revocation: Revocation,
        over: Arc<AtomicBool>,
    ) -> Lists {
        // Not looked at yet: what changed since the lists were read counts as well.
        let seen = files.iter().chain(&anchors).map(|_| None).collect();
        Lists { listener, files, anchors, seen, revocation, over }
    }

    /// Puts lists into force whose files changed.
    fn look(&mut self) {
        let now = self.stamps();
        if now != self.seen {
            self.seen = now;
            // It is in the log.
            drop(self.read());
        }
    }

    /// Puts the lists into force as their files are now, or says why not.
    fn read_now(&mut self) -> ListenerLists {
        self.seen = self.stamps();
        let refused = self.read().err().map(|error| format!("{error:#}"));
        ListenerLists {
            listener: self.listener.clone(),
            files: self.files.clone(),
            revoked: self.revocation.revoked() as u64,
            refused,
        }
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.files.iter().chain(&self.anchors).map(stamp).collect()
    }

    fn read(&self) -> Result<()> {
        let listener = &self.listener;
        let outcome =
            read::<CertificateRevocationListDer<'static>>(&self.files).and_then(|lists| {
                let Some(anchors) = &self.anchors else {
                    return Ok((lists.len(), self.revocation.replace(lists)));
                };
                let mut roots = RootCertStore::empty();
                for root in read::<CertificateDer<'static>>(std::slice::from_ref(anchors))? {
                    roots.add(root).with_context(|| format!("a root in {}", anchors.display()))?;
                }
                Ok((lists.len(), self.revocation.replace_all(roots, lists)))
            });
        let refused = match outcome {
            Ok((count, Ok(()))) => {
                tracing::info!(listener, count, "revocation lists in force");
                return Ok(());
            }
            Ok((_, Err(error))) => error.into(),
            Err(error) => {
                self.revocation.refused();
                error
            }
        };
        self.keep(&refused);
        Err(refused)
    }

    fn keep(&self, error: &anyhow::Error) {
        let listener = &self.listener;
        tracing::error!(
            listener,
            error = format!("{error:#}"),
            "revocation lists refused; the old ones stay in force"
        );
    }
}

fn stamp(file: &PathBuf) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let of = fs::metadata(file).ok()?;
    let modified_ns = i128::from(of.mtime()) * 1_000_000_000 + i128::from(of.mtime_nsec());
    Some(Stamp { modified_ns, len_bytes: of.len(), inode: of.ino() })
}

fn read<T: PemObject>(files: &[PathBuf]) -> Result<Vec<T>> {
    let mut lists = Vec::new();
    for file in files {
        let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let found: Vec<_> = T::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{} is no PEM file", file.display()))?;
        ensure!(!found.is_empty(), "{} holds nothing of that kind", file.display());
        lists.extend(found);
    }
    Ok(lists)
}
