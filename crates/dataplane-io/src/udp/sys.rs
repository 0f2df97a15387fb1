//! System calls of the UDP link (udp(7), ip(7), recvmsg(2), sendmmsg(2)). The unsafe code of [`super`] is all here.

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use ringmail_dataplane::BATCH_PACKETS;
use ringmail_model::defence::{Defence, off};
use ringmail_packet::ip::Ecn;
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
    /// The field of its IP header.
    pub(super) ecn: Ecn,
}

/// One datagram received.
pub(super) struct Received {
    pub(super) len: usize,
    /// The length of its packets, the last of which may be shorter; at least 1.
    pub(super) segment: usize,
    pub(super) from: Option<SocketAddr>,
    /// The field of its IP header; datagrams that differ in it are not joined.
    pub(super) ecn: Ecn,
    /// The interface that it came by, where the socket was asked to say.
    pub(super) interface: Option<u32>,
    pub(super) truncated: bool,
}

/// Room for two control messages that hold an int each, and for one that says which interface.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

const CONTROL_BYTES: usize =
    // SAFETY: CMSG_SPACE only computes.
    unsafe {
        2 * libc::CMSG_SPACE(size_of::<libc::c_int>() as u32)
            + libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32)
    } as usize;

/// A socket that receives GRO datagrams whole.
pub(super) fn receiver(local: SocketAddr) -> io::Result<Socket> {
    let socket = open(local)?;
    socket.set_reuse_port(true)?;
    set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    if local.is_ipv4() {
        set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
        set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    } else {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
    }
    socket.bind(&local.into())?;
    Ok(socket)
}

/// A socket whose packets are never fragmented. What routers say of a smaller MTU it does not hear: nobody vouches for
/// that, and whoever can write an ICMP message would close the link to all but the shortest packets.
pub(super) fn sender(local: SocketAddr) -> io::Result<Socket> {
    let socket = open(local)?;
    let believes = off(Defence::LinkMtu);
    if local.is_ipv4() {
        let how = if believes { libc::IP_PMTUDISC_DO } else { libc::IP_PMTUDISC_PROBE };
        set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, how)?;
    } else {
        let how = if believes { libc::IPV6_PMTUDISC_DO } else { libc::IPV6_PMTUDISC_PROBE };
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, how)?;
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
    let told = told(&message);
    // SAFETY: the kernel wrote an address of `msg_namelen` bytes into `from`.
    let from = unsafe { SockAddr::new(from, message.msg_namelen) };
    Ok(Received {
        len,
        segment: told.segment.filter(|size| *size > 0).unwrap_or(len).max(1),
        from: from.as_socket(),
        ecn: told.ecn,
        interface: told.interface,
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
        if datagram.segment > 0 || datagram.ecn != Ecn::NotEct {
            let control = control.write(Control([0; CONTROL_BYTES]));
            header.msg_control = (&raw mut *control).cast();
            tell(header, datagram);
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

/// Writes the control messages of a datagram into the space that `msg_control` points to: UDP_SEGMENT, and IP_TOS or
/// IPV6_TCLASS.
fn tell(header: &mut libc::msghdr, datagram: &Datagram<'_>) {
    let (int, short) = (size_of::<libc::c_int>() as u32, size_of::<u16>() as u32);
    // SAFETY: CMSG_SPACE only computes.
    let (int_space, short_space) = unsafe { (libc::CMSG_SPACE(int), libc::CMSG_SPACE(short)) };
    let segments = datagram.segment > 0;
    let marks = datagram.ecn != Ecn::NotEct;
    header.msg_controllen = (u32::from(segments) * short_space + u32::from(marks) * int_space) as _;
    // SAFETY: `msg_control` points to CONTROL_BYTES writable bytes, aligned to 8 and zeroed: room for two headers with an
    // int each. `msg_controllen` has room for each message that is written, so that the macros give a header.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        if segments {
            (*control).cmsg_level = libc::SOL_UDP;
            (*control).cmsg_type = libc::UDP_SEGMENT;
            (*control).cmsg_len = libc::CMSG_LEN(short) as _;
            libc::CMSG_DATA(control).cast::<u16>().write_unaligned(datagram.segment);
            control = libc::CMSG_NXTHDR(header, control);
        }
        if marks {
            (*control).cmsg_level =
                if datagram.to.is_ipv6() { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IP };
            (*control).cmsg_type =
                if datagram.to.is_ipv6() { libc::IPV6_TCLASS } else { libc::IP_TOS };
            (*control).cmsg_len = libc::CMSG_LEN(int) as _;
            let field = libc::c_int::from(datagram.ecn.bits());
            libc::CMSG_DATA(control).cast::<libc::c_int>().write_unaligned(field);
        }
    }
}

/// What control messages tell of a received datagram.
struct Told {
    /// UDP_GRO.
    segment: Option<usize>,
    /// Of IP_TOS, a byte, or IPV6_TCLASS, an int.
    ecn: Ecn,
    /// IP_PKTINFO.
    interface: Option<u32>,
}

fn told(message: &libc::msghdr) -> Told {
    let mut told = Told { segment: None, ecn: Ecn::NotEct, interface: None };
    // SAFETY: the kernel wrote `msg_controllen` bytes of control messages; the macros stay within them, and each of these
    // holds what is read of it.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = control.as_ref() {
            let data = libc::CMSG_DATA(control);
            match (header.cmsg_level, header.cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = data.cast::<libc::c_int>().read_unaligned();
                    told.segment = usize::try_from(size).ok();
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => told.ecn = Ecn::from_bits(data.read()),
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    told.interface = u32::try_from(info.ipi_ifindex).ok();
                }
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    let class = data.cast::<libc::c_int>().read_unaligned();
                    told.ecn = Ecn::from_bits(class as u8);
                }
                _ => {}
            }
            control = libc::CMSG_NXTHDR(message, control);
        }
    }
    told
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
