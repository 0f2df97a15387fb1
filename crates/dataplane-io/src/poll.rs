//! Waiting for several links at once, and being woken by another thread (epoll(7), eventfd(2)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use crate::limits;

/// The token of the waker; links cannot have it.
const WAKER: u64 = u64::MAX;

/// Waits until one of several file descriptors can be read.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    waker: Waker,
}

/// Ends a [`Poller::wait`] from any thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

/// What can be read.
#[derive(Clone, Debug)]
pub struct Ready {
    tokens: [u64; limits::POLL_EVENTS],
    len: usize,
    woken: bool,
}

impl Poller {
    /// Waits for nothing yet but its waker.
    ///
    /// # Errors
    /// What the system said.
    pub fn new() -> io::Result<Poller> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKER), EventFlags::IN)?;
        Ok(Poller { epoll, waker: Waker(Arc::new(wake)) })
    }

    /// Waits for `source` too; `token` is how [`Ready`] names it. A closed file descriptor is forgotten by itself.
    ///
    /// # Errors
    /// `InvalidInput` for the highest token, which is taken; otherwise what the system said.
    pub fn add(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        if token == WAKER {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// What ends a wait from another thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits until something can be read, somebody wakes it, or the time is over; `None` waits for good. Ends early,
    /// with nothing ready, on a signal.
    ///
    /// # Errors
    /// What the system said.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Ready> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        let mut ready = Ready { tokens: [0; limits::POLL_EVENTS], len: 0, woken: false };
        let mut events = [const { MaybeUninit::<Event>::uninit() }; limits::POLL_EVENTS];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok(events) => events,
            Err(Errno::INTR) => return Ok(ready),
            Err(error) => return Err(error.into()),
        };
        for event in events {
            match event.data.u64() {
                WAKER => ready.woken = self.waker.take(),
                token => {
                    ready.tokens[ready.len] = token;
                    ready.len += 1;
                }
            }
        }
        Ok(ready)
    }
}

impl Waker {
    /// Ends the wait that runs, or the next one. Several calls before a wait end one wait.
    pub fn wake(&self) {
        // Only a counter that is about to overflow refuses, and that one wakes already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    fn take(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl Ready {
    /// The tokens of what can be read.
    pub fn tokens(&self) -> &[u64] {
        &self.tokens[..self.len]
    }

    /// Whether somebody called [`Waker::wake`].
    pub fn woken(&self) -> bool {
        self.woken
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn it_says_which_can_be_read() {
        let poller = Poller::new().unwrap();
        let pairs = [0, 1, 2].map(|_| UnixStream::pair().unwrap());
        for (token, (_, end)) in pairs.iter().enumerate() {
            poller.add(end, token as u64).unwrap();
        }
        assert!(poller.wait(Some(Duration::ZERO)).unwrap().tokens().is_empty());
        (&pairs[1].0).write_all(b"x").unwrap();
        let ready = poller.wait(None).unwrap();
        assert_eq!((ready.tokens(), ready.woken()), (&[1][..], false));
        assert!(poller.add(&pairs[0].0, u64::MAX).is_err());
    }

    #[test]
    fn another_thread_wakes_it_once() {
        let poller = Poller::new().unwrap();
        let waker = poller.waker();
        let thread = thread::spawn(move || {
            waker.wake();
            waker.wake();
        });
        thread.join().unwrap();
        assert!(poller.wait(None).unwrap().woken());
        assert!(!poller.wait(Some(Duration::ZERO)).unwrap().woken());
    }
}
