//! System calls of AF_XDP sockets (linux/if_xdp.h) and what is asked of an interface (netdevice(7), linux/ethtool.h).

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libc::{xdp_desc, xdp_mmap_offsets, xdp_ring_offset, xdp_statistics, xdp_umem_reg};
use ringmail_packet::ethernet;
use socket2::{Domain, SockAddr, Socket, Type};

use super::frames::Frames;
use super::ring::{Consumer, Layout, Producer};
use crate::packet::sys::{check, interface_index, interface_mtu, interface_request, set};

/// The rings of a socket.
#[derive(Debug)]
pub(super) struct Rings {
    /// Chunks for the kernel to receive into.
    pub(super) fill: Producer<u64>,
    /// Frames received.
    pub(super) receive: Consumer<xdp_desc>,
    /// Frames to send.
    pub(super) send: Producer<xdp_desc>,
    /// Chunks of frames that were sent.
    pub(super) complete: Consumer<u64>,
}

/// An interface of the calling thread's namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) address: ethernet::Address,
    pub(super) mtu_bytes: usize,
    /// Receive queues that are in use; one, where the interface does not say.
    pub(super) queues: u32,
}

/// Looks an interface up.
pub(super) fn interface(name: &str) -> io::Result<Interface> {
    let index = interface_index(name)?.cast_unsigned();
    let asker = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let mtu_bytes = interface_mtu(&asker, name)?;
    let mut request = interface_request(name)?;
    // SAFETY: SIOCGIFHWADDR reads and writes one ifreq.
    check(unsafe { libc::ioctl(asker.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) })?;
    // SAFETY: SIOCGIFHWADDR filled this member of the union.
    let [a, b, c, d, e, f, ..] = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
    let address = ethernet::Address([a, b, c, d, e, f].map(libc::c_char::cast_unsigned));
    Ok(Interface { index, address, mtu_bytes, queues: queues(&asker, name)? })
}

fn queues(asker: &Socket, name: &str) -> io::Result<u32> {
    /// `struct ethtool_channels`.
    #[repr(C)]
    #[derive(Default)]
    struct Channels {
        command: u32,
        max_rx: u32,
        max_tx: u32,
        max_other: u32,
        max_combined: u32,
        rx: u32,
        tx: u32,
        other: u32,
        combined: u32,
    }
    const ETHTOOL_GCHANNELS: u32 = 0x3c;
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: SIOCETHTOOL reads one ifreq, and with this command reads and writes the structure that it points to.
    match check(unsafe { libc::ioctl(asker.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) }) {
        Ok(()) => Ok((channels.rx + channels.combined).max(1)),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(1),
        Err(error) => Err(error),
    }
}

/// A socket over these frames, on no interface yet. The rings' lengths are in entries.
pub(super) fn open(frames: &Frames, receive: u32, send: u32) -> io::Result<(Socket, Rings)> {
    let socket = Socket::new(Domain::from(libc::AF_XDP), Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    let (addr, len) = frames.extent();
    // SAFETY: all zeros is a valid xdp_umem_reg.
    let mut memory: xdp_umem_reg = unsafe { mem::zeroed() };
    (memory.addr, memory.len) = (addr, len);
    memory.chunk_size = frames.chunk_bytes() as u32;
    set(&socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &memory)?;
    for (option, entries) in [
        (libc::XDP_UMEM_FILL_RING, receive),
        (libc::XDP_UMEM_COMPLETION_RING, send),
        (libc::XDP_RX_RING, receive),
        (libc::XDP_TX_RING, send),
    ] {
        set(&socket, libc::SOL_XDP, option, &entries)?;
    }
    // SAFETY: numbers, for which all zeros is valid.
    let mut offsets: xdp_mmap_offsets = unsafe { mem::zeroed() };
    get(&socket, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
    let fd = socket.as_fd();
    let rings = Rings {
        fill: Producer::map(fd, layout(offsets.fr, libc::XDP_UMEM_PGOFF_FILL_RING), receive)?,
        receive: Consumer::map(fd, layout(offsets.rx, libc::XDP_PGOFF_RX_RING as u64), receive)?,
        send: Producer::map(fd, layout(offsets.tx, libc::XDP_PGOFF_TX_RING as u64), send)?,
        complete: {
            let at = libc::XDP_UMEM_PGOFF_COMPLETION_RING;
            Consumer::map(fd, layout(offsets.cr, at), send)?
        },
    };
    Ok((socket, rings))
}

fn layout(offsets: xdp_ring_offset, at: u64) -> Layout {
    Layout {
        producer: offsets.producer as usize,
        consumer: offsets.consumer as usize,
        entries: offsets.desc as usize,
        at,
    }
}

/// Binds to a queue of an interface. The kernel copies frames, which every driver can.
pub(super) fn bind(socket: &Socket, interface: u32, queue: u32) -> io::Result<()> {
    // SAFETY: a sockaddr_xdp is a valid address of its family, and its length is given.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, len| {
            let address = &mut *storage.cast::<libc::sockaddr_xdp>();
            address.sxdp_family = libc::AF_XDP as u16;
            address.sxdp_flags = libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP;
            address.sxdp_ifindex = interface;
            address.sxdp_queue_id = queue;
            *len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
            Ok(())
        })
    }?;
    socket.bind(&address)
}

/// Has the kernel send what is in the ring; it takes a few at a time.
///
/// # Errors
/// `WouldBlock` where there is more in the ring; otherwise what the kernel said to the first that it could not send.
pub(super) fn kick(socket: BorrowedFd<'_>) -> io::Result<()> {
    let (nothing, to) = (std::ptr::null(), std::ptr::null());
    // SAFETY: no bytes and no address are given.
    let sent = unsafe { libc::sendto(socket.as_raw_fd(), nothing, 0, libc::MSG_DONTWAIT, to, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Frames that the kernel dropped since the socket was opened: there was no chunk for them, or no room in the ring.
pub(super) fn dropped(socket: &Socket) -> io::Result<u64> {
    // SAFETY: numbers, for which all zeros is valid.
    let mut statistics: xdp_statistics = unsafe { mem::zeroed() };
    get(socket, libc::XDP_STATISTICS, &mut statistics)?;
    Ok(statistics.rx_dropped + statistics.rx_ring_full)
}

fn get<T>(socket: &Socket, option: libc::c_int, value: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is ours alone until the call returns, its length is given, and any bytes are a value of the plain
    // structures that are asked for here.
    check(unsafe {
        let (fd, value) = (socket.as_raw_fd(), (&raw mut *value).cast());
        libc::getsockopt(fd, libc::SOL_XDP, option, value, &raw mut len)
    })
}
