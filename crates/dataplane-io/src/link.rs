//! What the workers ask of every link: fill a batch, send a batch, never wait.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use ringmail_dataplane::{Batch, Neighbour, Verdict};

use crate::counters::LinkCounters;
use crate::fault::FaultCounts;

/// What one [`Link::send`] did, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Sent {
    /// Handed to the kernel, or to the neighbour in memory.
    pub packets: usize,
    /// Dropped by this link; their verdict now says `Drop(LinkRefused)`.
    pub refused: usize,
}

/// A link, owned by one worker.
///
/// A link keeps packets that came with others and found no room in the batch, so its file descriptor says nothing about
/// them: wait for it only after [`Link::recv`] returned 0.
pub trait Link: Send {
    /// Empties the batch, then fills it with what is there, in the order of arrival, and returns how many packets that
    /// are; 0 says that nothing was there. All packets of one batch come from one neighbour, [`Batch::source`], which is
    /// `None` on the inner side and for senders that are no neighbour. Never waits.
    ///
    /// # Errors
    /// What the system said, where it concerns the link and not one packet: the interface is down or gone, or the batch
    /// has less than [`crate::limits::GRO_BUFFER_BYTES`] (`InvalidInput`).
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize>;

    /// Sends the packets whose verdict is this link's: `Send` to a neighbour that the link knows, or `Deliver` on the
    /// inner side. It leaves the other packets alone, keeps every verdict and length, and sets `Drop(LinkRefused)` on
    /// packets that it could not send. The bytes of sent packets may be anything afterwards. Waits at most
    /// [`crate::limits::SEND_WAIT_MS`].
    ///
    /// # Errors
    /// As for [`Link::recv`]. What was not sent is marked as refused then, too.
    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent>;

    /// Whether [`Link::send`] sends packets of this verdict.
    fn carries(&self, verdict: Verdict) -> bool;

    /// What to wait for; `None` for links in memory.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// The link's counters, to read from any thread.
    fn counters(&self) -> &Arc<LinkCounters>;

    /// Asks the kernel what it dropped before anybody took it, and counts that. Called before counters are read, so that
    /// it costs nothing otherwise.
    fn count_kernel_drops(&mut self) {}

    /// Replaces the neighbours and where they receive. False for a link whose ends do not change.
    fn set_peers(&mut self, _peers: &[(Neighbour, SocketAddr)]) -> bool {
        false
    }

    /// How long a packet that is held back is still to wait; `None` where nothing is held back.
    fn due_in(&self) -> Option<Duration> {
        None
    }

    /// What befell packets on purpose; `None` of a link without such faults.
    fn faults(&self) -> Option<FaultCounts> {
        None
    }
}

impl<L: Link + ?Sized> Link for Box<L> {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        (**self).recv(batch)
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        (**self).send(batch)
    }

    fn carries(&self, verdict: Verdict) -> bool {
        (**self).carries(verdict)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        (**self).fd()
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        (**self).counters()
    }

    fn count_kernel_drops(&mut self) {
        (**self).count_kernel_drops();
    }

    fn set_peers(&mut self, peers: &[(Neighbour, SocketAddr)]) -> bool {
        (**self).set_peers(peers)
    }

    fn due_in(&self) -> Option<Duration> {
        (**self).due_in()
    }

    fn faults(&self) -> Option<FaultCounts> {
        (**self).faults()
    }
}
