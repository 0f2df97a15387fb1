//! Looking at a link from outside: every frame on an interface, and whether it is what it should be.
//!
//! Two ways: a filter inside the kernel that lets through only frames which are *not* MPLS in UDP with ESP below, so that
//! watching a loaded link costs next to nothing; and whole frames, super-packets cut into the frames that they stand for.

mod filter;
mod frames;
mod sys;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

pub use frames::{Frames, Kind};

use sys::PacketSocket;

/// Bytes of the longest capture: a super-packet with its link header.
const BUFFER_BYTES: usize = 65_536 + 256;

/// A socket that sees every frame on one interface, both directions (packet(7)).
#[derive(Debug)]
pub struct Capture {
    socket: PacketSocket,
    buffer: Box<[u8]>,
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
        let socket = PacketSocket::open(interface, filter.as_deref())?;
        Ok(Capture { socket, buffer: vec![0; BUFFER_BYTES].into_boxed_slice() })
    }

    /// The next capture, or `None` when there is none now.
    ///
    /// # Errors
    /// What the system said.
    pub fn take(&mut self) -> io::Result<Option<Captured<'_>>> {
        let Some(received) = self.socket.recv(&mut self.buffer)? else { return Ok(None) };
        Ok(Some(Captured {
            bytes: &self.buffer[received.start..received.end],
            outgoing: received.outgoing,
            segment_bytes: received.segment_bytes,
        }))
    }

    /// Captures that were lost since the last call, because nobody took them in time.
    ///
    /// # Errors
    /// What the system said.
    pub fn lost(&mut self) -> io::Result<u64> {
        self.socket.lost()
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
