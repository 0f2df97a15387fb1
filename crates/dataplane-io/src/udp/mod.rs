//! The UDP link: MPLS in UDP (RFC 7510), many packets a system call by UDP_SEGMENT and UDP_GRO.
//!
//! One socket receives on port 6635 of the link address, shared by SO_REUSEPORT among the workers of an element; one
//! sends, from a source port that stays, so that all of a worker's packets take one way. Packets are never fragmented.
//! UDP checksums stay on (RFC 7510 section 3.1 wants them by default): the kernel refuses GSO without them, and where the
//! interface offloads them they cost nothing. The ECN field of the IP header is that of the header which the frame carries
//! (RFC 6040), and a mark that routers set on it goes back in there. Frames are taken by the interface with the link address
//! alone, and what ICMP says of them is not believed.

mod ecn;
mod group;
mod own;
mod peers;
mod receive;
mod send;
mod sys;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use ringmail_dataplane::{Batch, Neighbour, Verdict};

use crate::counters::LinkCounters;
use crate::limits;
use crate::link::{Link, Sent};
use peers::Peers;
use receive::Receiver;
use send::Sender;

/// How to open a [`UdpLink`].
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// The link address and the port to receive on, usually [`limits::MPLS_UDP_PORT`].
    pub local: SocketAddr,
    /// The port to send from; 0 lets the kernel choose once.
    pub source_port: u16,
    /// The neighbours and where they receive. A packet's sender is known by its IP address alone, since the port it
    /// sends from is its own choice (RFC 7510 section 3).
    pub peers: Vec<(Neighbour, SocketAddr)>,
    /// Asked of the kernel; see [`UdpLink::receive_buffer_bytes`].
    pub receive_buffer_bytes: usize,
    /// Asked of the kernel; see [`UdpLink::send_buffer_bytes`].
    pub send_buffer_bytes: usize,
    /// Whether to send by UDP_SEGMENT while the kernel takes it.
    pub gso: bool,
}

impl UdpConfig {
    /// The usual settings for a link address.
    pub fn new(local: SocketAddr, peers: Vec<(Neighbour, SocketAddr)>) -> UdpConfig {
        UdpConfig {
            local,
            source_port: 0,
            peers,
            receive_buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
            send_buffer_bytes: limits::SEND_BUFFER_BYTES,
            gso: true,
        }
    }
}

/// MPLS over UDP to the neighbours of an element.
#[derive(Debug)]
pub struct UdpLink {
    receiver: Receiver,
    sender: Sender,
    peers: Peers,
    counters: Arc<LinkCounters>,
}

impl UdpLink {
    /// Opens both sockets in the current network namespace.
    ///
    /// # Errors
    /// What the system said: mostly that the address is not this machine's or the port is taken by another program.
    pub fn open(config: &UdpConfig) -> io::Result<UdpLink> {
        Ok(UdpLink {
            receiver: Receiver::open(config)?,
            sender: Sender::open(config)?,
            peers: Peers::new(&config.peers),
            counters: Arc::default(),
        })
    }

    /// Replaces the neighbours. Packets for a neighbour that is not named are left alone by `send`; packets from one come
    /// with no source.
    pub fn set_peers(&mut self, peers: &[(Neighbour, SocketAddr)]) {
        self.peers = Peers::new(peers);
    }

    /// The address that packets are received on.
    ///
    /// # Errors
    /// What the system said.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.receiver.socket.local_addr()
    }

    /// The address and port that packets are sent from.
    ///
    /// # Errors
    /// What the system said.
    pub fn source_addr(&self) -> io::Result<SocketAddr> {
        self.sender.output.socket.local_addr()
    }

    /// The receive buffer that the kernel gave, in bytes of its own accounting (twice what it was asked for).
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receiver.buffer_bytes
    }

    /// The send buffer that the kernel gave, in bytes of its own accounting (twice what it was asked for).
    pub fn send_buffer_bytes(&self) -> usize {
        self.sender.output.buffer_bytes
    }

    /// Whether packets still go out by UDP_SEGMENT.
    pub fn uses_gso(&self) -> bool {
        self.sender.output.gso
    }
}

impl Link for UdpLink {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        self.receiver.receive(batch, &mut self.peers, &self.counters)
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        Ok(self.sender.send(batch, &self.peers, &self.counters))
    }

    fn carries(&self, verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Send(neighbour) if self.peers.address(neighbour).is_some())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.receiver.socket.as_fd())
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        &self.counters
    }

    fn count_kernel_drops(&mut self) {
        self.receiver.count_kernel_drops(&self.counters);
    }

    fn set_peers(&mut self, peers: &[(Neighbour, SocketAddr)]) -> bool {
        UdpLink::set_peers(self, peers);
        true
    }
}
