//! A network namespace held by a file descriptor, and work done inside it (network_namespaces(7), setns(2)).
//!
//! A namespace belongs to a thread, not to the process: work runs in a thread of its own that ends afterwards, so that
//! no other work ever finds itself in the wrong network.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// A network namespace. It exists while this is held, or a mount or process holds it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    fd: OwnedFd,
}

impl Netns {
    /// A new, empty namespace, which has no name outside of this process.
    ///
    /// # Errors
    /// The right to make one is missing, or the kernel has none left.
    pub fn anonymous(name: impl Into<String>) -> io::Result<Netns> {
        let fd = in_thread(|| {
            // SAFETY: only CLONE_NEWNET; the file descriptor table stays shared with the other threads.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open("/proc/thread-self/ns/net")
        })??;
        Ok(Netns { name: name.into(), fd: fd.into() })
    }

    /// A namespace that exists, by the path of its file.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(name: impl Into<String>, path: &Path) -> io::Result<Netns> {
        Ok(Netns { name: name.into(), fd: File::open(path)?.into() })
    }

    /// The name it has in its topology.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread into the namespace, for good. Only for a thread that does nothing else afterwards.
    ///
    /// # Errors
    /// The descriptor is no network namespace, or the right to enter is missing.
    pub fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Runs the work inside the namespace, in a thread of its own, and waits for it.
    ///
    /// Sockets that the work makes stay in the namespace and may be used anywhere.
    ///
    /// # Errors
    /// The thread cannot be made or cannot enter.
    ///
    /// # Panics
    /// When the work does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        in_thread(|| self.enter().map(|()| work()))?
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        Ok(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
