//! Packet sockets: raw Ethernet frames from and to one interface (packet(7)), many a system call.
//!
//! A socket hands frames over either as they are, straight into a batch ([`PacketSocket::receive`]), or, opened with
//! [`PacketConfig::virtio_header`], as super-packets of up to 64 KiB that nobody has cut ([`PacketSocket::receive_supers`]).
//! It needs CAP_NET_RAW in its network namespace: root has it, and so has whoever made a user namespace.

mod filter;
mod inbox;
pub(crate) mod sys;

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use ringmail_dataplane::{BATCH_PACKETS, Batch};
use ringmail_packet::ethernet::{self, EtherType};
use ringmail_packet::vlan;
use socket2::Socket;

use crate::counters::{LinkCounter as C, LinkCounters};
use crate::limits;
pub(crate) use filter::{Instruction, instruction};
pub(crate) use filter::{JUMP_IF_EQUAL, JUMP_IF_SET, LOAD_BYTE, LOAD_HALF, RETURN, TAKE};
pub use inbox::{Frame, Inbox};
use sys::{Received, Switch};

/// How to open a [`PacketSocket`].
#[derive(Clone, Debug)]
pub struct PacketConfig {
    /// Name of an interface in the calling thread's namespace.
    pub interface: String,
    /// Which frames are received, by their EtherType; `None` takes all.
    pub ethertype: Option<EtherType>,
    /// Which of those are received, by where they go.
    pub destination: Destination,
    /// Whether every frame has a virtio header before it, both ways, and super-packets stay whole.
    pub virtio_header: bool,
    /// Whether frames that this machine sends out of the interface are received, too.
    pub outgoing: bool,
    /// The group of sockets that share the interface's MPLS frames by ESP's SPI; of one network namespace.
    pub fanout: Option<u16>,
    /// Asked of the kernel.
    pub receive_buffer_bytes: usize,
    /// Asked of the kernel.
    pub send_buffer_bytes: usize,
}

/// Which frames a socket takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// All that pass the interface.
    Any,
    /// Those to the interface's own address, with this 802.1Q tag or without any. Needs an EtherType.
    Own {
        /// The VLAN, 1 to 4094. Such a socket looks at every frame of the interface, which costs a little more.
        vlan: Option<u16>,
    },
}

/// Room to leave around each frame in a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes before it.
    pub head_bytes: usize,
    /// Bytes behind it.
    pub tail_bytes: usize,
}

/// Where a frame lies in a batch's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Where its tailroom ends.
    pub(crate) ceiling: usize,
}

/// A packet socket on one interface, owned by one worker.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
    address: ethernet::Address,
    mtu_bytes: usize,
    receive_buffer_bytes: usize,
    receives: u32,
    counters: Arc<LinkCounters>,
}

/// The name of the interface that has this address, in the calling thread's namespace.
///
/// # Errors
/// `NotFound` if none has it; otherwise what the system said.
pub fn interface_of(address: Ipv4Addr) -> io::Result<String> {
    sys::interface_of(address)
}

impl PacketConfig {
    /// Frames of this EtherType to the interface's own address, without a tag, cut to the MTU.
    pub fn new(interface: &str, ethertype: EtherType) -> PacketConfig {
        PacketConfig {
            interface: interface.to_owned(),
            ethertype: Some(ethertype),
            destination: Destination::Own { vlan: None },
            virtio_header: false,
            outgoing: false,
            fanout: None,
            receive_buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
            send_buffer_bytes: limits::SEND_BUFFER_BYTES,
        }
    }

    /// Everything on an interface as super-packets, what this machine sends left out: for what stands at the other end of
    /// a veth pair.
    pub fn supers(interface: &str) -> PacketConfig {
        PacketConfig {
            ethertype: None,
            destination: Destination::Any,
            virtio_header: true,
            ..PacketConfig::new(interface, EtherType::IPV4)
        }
    }
}

impl PacketSocket {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// What the system said: there is no such interface, or the right to use it raw is missing (CAP_NET_RAW).
    pub fn open(config: &PacketConfig) -> io::Result<PacketSocket> {
        PacketSocket::open_filtered(config, None)
    }

    /// As [`PacketSocket::open`], with a filter in the place of the destination's.
    pub(crate) fn open_filtered(
        config: &PacketConfig,
        filter: Option<&[Instruction]>,
    ) -> io::Result<PacketSocket> {
        let index = sys::interface_index(&config.interface)?;
        if config.ethertype.is_none() && filter.is_none() && config.destination != Destination::Any
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // It receives nothing before it is bound to an EtherType, after its filter is in place.
        let socket = sys::open()?;
        if config.virtio_header {
            sys::turn_on(&socket, Switch::VirtioHeader)?;
        }
        if !config.outgoing {
            sys::turn_on(&socket, Switch::IgnoreOutgoing)?;
        }
        let receive_buffer_bytes = sys::set_receive_buffer(&socket, config.receive_buffer_bytes)?;
        sys::set_send_buffer(&socket, config.send_buffer_bytes)?;
        let address = sys::bind(&socket, index, 0)?;
        let all = EtherType(libc::ETH_P_ALL as u16);
        let ethertype = config.ethertype.unwrap_or(all);
        let (program, ethertype) = match (filter, config.destination) {
            (Some(filter), _) => (filter.to_vec(), ethertype),
            (None, Destination::Any) => (Vec::new(), ethertype),
            (None, Destination::Own { vlan: None }) => (filter::untagged(address), ethertype),
            (None, Destination::Own { vlan: Some(id) }) => {
                (filter::tagged(address, id, ethertype), all)
            }
        };
        if !program.is_empty() {
            sys::attach(&socket, &program)?;
        }
        sys::bind(&socket, index, ethertype.0)?;
        if let Some(group) = config.fanout {
            sys::join(&socket, group, &filter::by_association())?;
        }
        let mtu_bytes = sys::interface_mtu(&socket, &config.interface)?;
        Ok(PacketSocket {
            socket,
            address,
            mtu_bytes,
            receive_buffer_bytes,
            receives: 0,
            counters: Arc::default(),
        })
    }

    /// The interface's own address.
    pub fn address(&self) -> ethernet::Address {
        self.address
    }

    /// The interface's MTU when the socket was opened, without the Ethernet header.
    pub fn mtu_bytes(&self) -> usize {
        self.mtu_bytes
    }

    /// The receive buffer that the kernel gave, in bytes of its own accounting (twice what it was asked for).
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    /// Calls, waits, errors, frames that could not be read and frames that the kernel dropped; whoever owns the socket
    /// counts packets and bytes.
    pub fn counters(&self) -> &Arc<LinkCounters> {
        &self.counters
    }

    /// Lays frames of at most the interface's MTU behind what is in the batch, by one system call: as many as are there and
    /// fit with this room, from the Ethernet header on. Returns how many. Not for sockets with a virtio header.
    ///
    /// # Errors
    /// What the system said; that the interface is down is no error, there is nothing then.
    pub fn receive(&mut self, batch: &mut Batch, room: Room) -> io::Result<usize> {
        let before = batch.len();
        self.receive_each(batch, room, |batch, at| {
            let tail_bytes = at.ceiling - at.end;
            batch.declare(at.start, at.end - at.start, room.head_bytes, tail_bytes).is_ok()
        })?;
        Ok(batch.len() - before)
    }

    /// As [`PacketSocket::receive`], but `take` declares the frames, with their places in the batch's buffer, or says that
    /// it cannot; it need not declare them all. Returns how many came.
    pub(crate) fn receive_each(
        &mut self,
        batch: &mut Batch,
        room: Room,
        mut take: impl FnMut(&mut Batch, Place) -> bool,
    ) -> io::Result<usize> {
        let frame_bytes = self.frame_bytes();
        let stride = room.head_bytes + frame_bytes + room.tail_bytes;
        let first = match batch.len() {
            0 => 0,
            len => batch.range(len - 1).end + batch.room(len - 1).1,
        };
        let free = batch.buffer().len().saturating_sub(first);
        let slots = (BATCH_PACKETS - batch.len()).min(free / stride);
        if slots == 0 {
            return Ok(0);
        }
        let mut received = [Received::default(); BATCH_PACKETS];
        let mut chunks = batch.buffer_mut()[first..].chunks_exact_mut(stride);
        let mut parts: [IoSliceMut<'_>; BATCH_PACKETS] = array::from_fn(|_| {
            let chunk = chunks.next().unwrap_or_default();
            let chunk = chunk.get_mut(room.head_bytes..).unwrap_or_default();
            let len = frame_bytes.min(chunk.len());
            IoSliceMut::new(&mut chunk[..len])
        });
        let read = sys::receive_many(self.socket.as_fd(), &mut parts, 1, &mut received[..slots]);
        let count = self.count_receive(read)?;
        for (index, frame) in received[..count].iter().enumerate() {
            let floor = first + index * stride;
            let start = floor + room.head_bytes;
            let end = start + frame.len.min(frame_bytes);
            let whole = !frame.truncated && frame.len >= ethernet::HEADER_LEN_BYTES;
            if !whole || !take(batch, Place { start, end, ceiling: floor + stride }) {
                self.counters.add(C::ReceivedBad, 1);
            }
        }
        Ok(count)
    }

    /// Bytes of the longest frame that is received.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.mtu_bytes + ethernet::HEADER_LEN_BYTES + vlan::HEADER_LEN_BYTES
    }

    /// Fills an inbox whose last frame was taken, by one system call; returns how many frames came. For sockets with a
    /// virtio header.
    ///
    /// # Errors
    /// As [`PacketSocket::receive`].
    pub fn receive_supers(&mut self, inbox: &mut Inbox) -> io::Result<usize> {
        let read = inbox.fill(self.socket.as_fd());
        self.count_receive(read)
    }

    /// Sends frames in order, each gathered from its parts: the virtio header first if the socket has one, then the Ethernet
    /// header. Waits a little where the queue is full ([`limits::SEND_WAIT_MS`]). Marks in `refused` which the kernel did
    /// not take, for as many frames as it has room for.
    pub fn send(&mut self, frames: &[&[IoSlice<'_>]], refused: &mut [bool]) {
        let (mut next, mut waits) = (0, 0);
        while next < frames.len() {
            self.counters.add(C::SendCalls, 1);
            let error = match sys::send_many(self.socket.as_fd(), &frames[next..]) {
                Ok(sent) => {
                    next += sent;
                    continue;
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::EAGAIN | libc::ENOBUFS) => {
                    self.counters.add(C::SendWaits, 1);
                    waits += 1;
                    if waits <= limits::SEND_WAIT_MS && sys::wait_writable(self.socket.as_fd(), 1) {
                        continue;
                    }
                    // The rest would meet the same full queue.
                    refused.iter_mut().take(frames.len()).skip(next).for_each(|mark| *mark = true);
                    return;
                }
                _ => {
                    self.counters.add(C::SendErrors, 1);
                    refused.iter_mut().skip(next).take(1).for_each(|mark| *mark = true);
                    next += 1;
                }
            }
        }
    }

    /// Asks the kernel how many frames it dropped since nobody took them in time, and counts them. The socket does so by
    /// itself every [`limits::PACKET_DROPS_EVERY_CALLS`] receives, and when there is nothing to receive after frames came.
    ///
    /// # Errors
    /// What the system said.
    pub fn count_kernel_drops(&mut self) -> io::Result<u64> {
        let drops = sys::take_drops(&self.socket)?;
        self.receives = 0;
        if drops > 0 {
            self.counters.add(C::ReceivedKernelDrops, drops);
        }
        Ok(drops)
    }

    fn count_receive(&mut self, read: io::Result<usize>) -> io::Result<usize> {
        self.counters.add(C::ReceiveCalls, 1);
        match read {
            Ok(count) => {
                self.receives += 1;
                if self.receives >= limits::PACKET_DROPS_EVERY_CALLS {
                    self.count_kernel_drops()?;
                }
                Ok(count)
            }
            Err(error) => match (error.kind(), error.raw_os_error()) {
                (io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted, _) => {
                    if self.receives > 0 {
                        self.count_kernel_drops()?;
                    }
                    Ok(0)
                }
                (_, Some(libc::ENETDOWN)) => {
                    self.counters.add(C::ReceiveErrors, 1);
                    Ok(0)
                }
                _ => {
                    self.counters.add(C::ReceiveErrors, 1);
                    Err(error)
                }
            },
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
