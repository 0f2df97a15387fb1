//! Looking at a link from outside: every frame on an interface, and whether it is what it should be.
//!
//! Two ways: a filter inside the kernel that lets through only frames which are *not* MPLS in UDP with ESP below, so that
//! watching a loaded link costs next to nothing; and whole frames, super-packets cut into the frames that they stand for.

mod filter;
mod frames;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

pub use frames::{Frames, Kind};

use crate::packet::{Inbox, PacketConfig, PacketSocket};
use crate::tun::virtio::Gso;

/// Asked of the kernel, so that a burst is not lost.
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;

/// A socket that sees every frame on one interface, both directions (packet(7)).
#[derive(Debug)]
pub struct Capture {
    socket: PacketSocket,
    inbox: Inbox,
}

/// One capture: a frame, or a super-packet that the kernel had not cut yet.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// From the Ethernet header on.
    pub bytes: &'a [u8],
    /// Whether this machine sent it out of the interface; otherwise it came in.
    pub outgoing: bool,
    /// Bytes of UDP or TCP payload a frame, if it is a super-packet.
    pub segment_bytes: Option<usize>,
}

/// Which frames a capture gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// All.
    Everything,
    /// IP packets to or from this UDP port whose first frame is not MPLS, IPv4, ESP; and all other IPv4 packets but TCP to
    /// or from `control_port`.
    Unprotected {
        /// The UDP port of encapsulated packets.
        udp_port: u16,
        /// The TCP port of key agreement.
        control_port: u16,
    },
}

impl Capture {
    /// Opens a capture on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// There is no such interface, or the right to capture is missing.
    pub fn open(interface: &str, want: Want) -> io::Result<Capture> {
        let filter = match want {
            Want::Everything => None,
            Want::Unprotected { udp_port, control_port } => {
                Some(filter::unprotected(udp_port, control_port))
            }
        };
        let config = PacketConfig {
            outgoing: true,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            ..PacketConfig::supers(interface)
        };
        let socket = PacketSocket::open_filtered(&config, filter.as_deref())?;
        Ok(Capture { socket, inbox: Inbox::default() })
    }

    /// The next capture, or `None` when there is none now.
    ///
    /// # Errors
    /// What the system said.
    pub fn take(&mut self) -> io::Result<Option<Captured<'_>>> {
        if self.inbox.is_empty() {
            self.socket.receive_supers(&mut self.inbox)?;
        }
        Ok(self.inbox.take().map(|frame| Captured {
            bytes: frame.bytes,
            outgoing: frame.outgoing,
            segment_bytes: (frame.header.gso != Gso::None).then(|| frame.header.gso_size.into()),
        }))
    }

    /// Captures that were lost since the last call, because nobody took them in time.
    ///
    /// # Errors
    /// What the system said.
    pub fn lost(&mut self) -> io::Result<u64> {
        self.socket.count_kernel_drops()
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
