//! System calls of the UDP link (udp(7), ip(7), recvmsg(2), sendmmsg(2)). The unsafe code of [`super`] is all here.

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use ringmail_dataplane::BATCH_PACKETS;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

/// One datagram to send; with a segment size the kernel, or the receiver, cuts it into packets of that size.
#[derive(Clone, Copy)]
pub(super) struct Datagram<'a> {
    pub(super) to: &'a SockAddr,
    pub(super) parts: &'a [IoSlice<'a>],
    /// The slots of the batch that the parts are.
    pub(super) slots: &'a [u8],
    /// 0 for a plain datagram.
    pub(super) segment: u16,
}

/// One datagram received.
pub(super) struct Received {
    pub(super) len: usize,
    /// The length of its packets, the last of which may be shorter; at least 1.
    pub(super) segment: usize,
    pub(super) from: Option<SocketAddr>,
    pub(super) truncated: bool,
}

/// Room for one control message that holds an int.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

// SAFETY: CMSG_SPACE only computes.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::c_int>() as u32) } as usize;

/// A socket that receives GRO datagrams whole.
pub(super) fn receiver(local: SocketAddr) -> io::Result<Socket> {
    let socket = open(local)?;
    socket.set_reuse_port(true)?;
    set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    socket.bind(&local.into())?;
    Ok(socket)
}

/// A socket whose packets are never fragmented.
pub(super) fn sender(local: SocketAddr) -> io::Result<Socket> {
    let socket = open(local)?;
    if local.is_ipv4() {
        set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
    } else {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)?;
    }
    // Nobody reads this socket; what strangers send to it should not take memory.
    socket.set_recv_buffer_size(0)?;
    socket.bind(&local.into())?;
    Ok(socket)
}

/// Asks for a receive buffer, beyond the system's limit where that is allowed, and returns what there is then.
pub(super) fn set_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<usize> {
    let bytes = bytes.min(libc::c_int::MAX as usize / 2);
    if set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes as libc::c_int).is_err() {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.recv_buffer_size()
}

/// Asks for a send buffer, beyond the system's limit where that is allowed, and returns what there is then.
pub(super) fn set_send_buffer(socket: &Socket, bytes: usize) -> io::Result<usize> {
    let bytes = bytes.min(libc::c_int::MAX as usize / 2);
    if set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes as libc::c_int).is_err() {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.send_buffer_size()
}

/// Whether the socket takes more before this time is over.
pub(super) fn wait_writable(socket: BorrowedFd<'_>, wait_ms: i32) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait_ms) * 1_000_000 };
    let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
    matches!(poll(&mut fds, Some(&timeout)), Ok(1))
}

/// Receives one datagram into `buffer`.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = Control([0; CONTROL_BYTES]);
    let mut from = SockAddrStorage::zeroed();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros is a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = from.size_of();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL_BYTES as _;
    // SAFETY: every pointer in `message` is to a live local or to `buffer`, with its true length.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    if len < 0 {
        return Err(io::Error::last_os_error());
    }
    let len = len as usize;
    // SAFETY: the kernel wrote an address of `msg_namelen` bytes into `from`.
    let from = unsafe { SockAddr::new(from, message.msg_namelen) };
    Ok(Received {
        len,
        segment: gro_size(&message).filter(|size| *size > 0).unwrap_or(len).max(1),
        from: from.as_socket(),
        truncated: message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
    })
}

/// Datagrams that the kernel dropped since the socket is there, modulo 2^32: no room, or a bad checksum.
pub(super) fn dropped(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = [0_u32; MEMINFO_DROPS + 1];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` is ours alone until the call returns, and its length is given.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info[MEMINFO_DROPS])
}

/// Sends the datagrams in order; returns how many the kernel took, at least one.
///
/// # Errors
/// What the kernel said to the first of them.
pub(super) fn send_many(socket: BorrowedFd<'_>, datagrams: &[Datagram<'_>]) -> io::Result<usize> {
    let count = datagrams.len().min(BATCH_PACKETS);
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_PACKETS];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; BATCH_PACKETS];
    for ((datagram, message), control) in datagrams.iter().zip(&mut messages).zip(&mut controls) {
        // SAFETY: all zeros is a valid mmsghdr.
        let message = message.write(unsafe { mem::zeroed() });
        let header = &mut message.msg_hdr;
        header.msg_name = datagram.to.as_ptr().cast_mut().cast();
        header.msg_namelen = datagram.to.len();
        // IoSlice has the layout of iovec (its documentation promises that).
        header.msg_iov = datagram.parts.as_ptr().cast_mut().cast();
        header.msg_iovlen = datagram.parts.len() as _;
        if datagram.segment > 0 {
            let control = control.write(Control([0; CONTROL_BYTES]));
            header.msg_control = (&raw mut *control).cast();
            set_gso_size(header, datagram.segment);
        }
    }
    // SAFETY: the first `count` messages are initialised; their pointers are to `datagrams`, whose borrows outlive the
    // call, and to `controls`. The kernel only reads through them, and writes msg_len.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr().cast(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// SK_MEMINFO_DROPS of linux/sock_diag.h: the place of the count among the answers to SO_MEMINFO.
const MEMINFO_DROPS: usize = 8;

fn open(local: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Writes the control message UDP_SEGMENT into the space that `msg_control` points to.
fn set_gso_size(header: &mut libc::msghdr, size: u16) {
    // SAFETY: `msg_control` points to CONTROL_BYTES writable bytes, aligned to 8: room for one header and an int.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
        let control = libc::CMSG_FIRSTHDR(header);
        (*control).cmsg_level = libc::SOL_UDP;
        (*control).cmsg_type = libc::UDP_SEGMENT;
        (*control).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
        libc::CMSG_DATA(control).cast::<u16>().write_unaligned(size);
    }
}

/// The control message UDP_GRO of a received message.
fn gro_size(message: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel wrote `msg_controllen` bytes of control messages; the macros stay within them.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = control.as_ref() {
            if header.cmsg_level == libc::SOL_UDP && header.cmsg_type == libc::UDP_GRO {
                let size = libc::CMSG_DATA(control).cast::<libc::c_int>().read_unaligned();
                return usize::try_from(size).ok();
            }
            control = libc::CMSG_NXTHDR(message, control);
        }
    }
    None
}

fn set_option(socket: &Socket, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option's value is an int, and its length says so.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
