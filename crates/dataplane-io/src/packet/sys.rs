//! System calls of packet sockets (packet(7), recvmmsg(2), sendmmsg(2)). The unsafe code of [`super`] is all here.

use std::ffi::{CStr, CString};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{self, MaybeUninit};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use ringmail_dataplane::BATCH_PACKETS;
use ringmail_packet::ethernet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::filter::Instruction;

/// One frame received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Received {
    /// Bytes of the frame, or of what was read of it, with the virtio header if there is one.
    pub(super) len: usize,
    /// The frame was longer than the room for it.
    pub(super) truncated: bool,
    /// This machine sent it.
    pub(super) outgoing: bool,
}

/// A switch of packet(7).
#[derive(Clone, Copy, Debug)]
pub(super) enum Switch {
    /// A virtio header before every frame, both ways; super-packets are not cut.
    VirtioHeader,
    /// Frames that this machine sends are not received.
    IgnoreOutgoing,
}

/// A packet socket on no interface: it receives nothing yet.
pub(super) fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The index of an interface of the calling thread's namespace.
pub(crate) fn interface_index(name: &str) -> io::Result<i32> {
    let name = CString::new(name)?;
    // SAFETY: a terminated string, which lives until the call returns.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => i32::try_from(index).map_err(|_| io::ErrorKind::InvalidData.into()),
    }
}

/// The interface of the calling thread's namespace that has this address.
pub(super) fn interface_of(address: Ipv4Addr) -> io::Result<String> {
    Ok(interface_with(address)?.0)
}

/// The index of the cable that has this address in the calling thread's namespace; `None` if what has it is the loopback
/// interface or one like it (IFF_NOARP), which frames do not come by.
pub(crate) fn cable_with(address: Ipv4Addr) -> io::Result<Option<u32>> {
    let (name, flags) = interface_with(address)?;
    let apart = (libc::IFF_LOOPBACK | libc::IFF_NOARP) as u32;
    if flags & apart != 0 {
        return Ok(None);
    }
    Ok(u32::try_from(interface_index(&name)?).ok())
}

/// Name and flags of the interface with this address.
fn interface_with(address: Ipv4Addr) -> io::Result<(String, u32)> {
    let mut all = std::ptr::null_mut();
    // SAFETY: the call sets the pointer to a list of its own.
    check(unsafe { libc::getifaddrs(&raw mut all) })?;
    let mut found = Err(io::ErrorKind::NotFound.into());
    // SAFETY: the list is valid until it is freed below; its pointers are null or to valid values.
    unsafe {
        let mut next = all;
        while let Some(entry) = next.as_ref() {
            next = entry.ifa_next;
            let Some(known) = entry.ifa_addr.as_ref() else { continue };
            if i32::from(known.sa_family) != libc::AF_INET {
                continue;
            }
            let known = &*entry.ifa_addr.cast::<libc::sockaddr_in>();
            if known.sin_addr.s_addr == u32::from_ne_bytes(address.octets()) {
                let name = CStr::from_ptr(entry.ifa_name).to_string_lossy();
                // An address with a label of its own is listed as `eth0:label`.
                let name = name.split(':').next().unwrap_or_default().to_owned();
                found = Ok((name, entry.ifa_flags));
                break;
            }
        }
        libc::freeifaddrs(all);
    }
    found
}

/// The MTU of an interface of the calling thread's namespace.
pub(crate) fn interface_mtu(socket: &Socket, name: &str) -> io::Result<usize> {
    let mut request = interface_request(name)?;
    // SAFETY: SIOCGIFMTU reads and writes one ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) })?;
    // SAFETY: SIOCGIFMTU filled this member of the union.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    usize::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A request about an interface (netdevice(7)).
pub(crate) fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// Turns a switch on.
pub(super) fn turn_on(socket: &Socket, switch: Switch) -> io::Result<()> {
    let option = match switch {
        Switch::VirtioHeader => libc::PACKET_VNET_HDR,
        Switch::IgnoreOutgoing => libc::PACKET_IGNORE_OUTGOING,
    };
    set(socket, libc::SOL_PACKET, option, &1_i32)
}

/// Joins the sockets of this group on the same interface: each frame goes to the one that `program` names by a number,
/// modulo how many there are. The program's offsets count from behind the Ethernet header.
pub(super) fn join(socket: &Socket, group: u16, program: &[Instruction]) -> io::Result<()> {
    let kind = (libc::PACKET_FANOUT_CBPF | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING) << 16;
    set(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &(kind | u32::from(group)))?;
    with_program(program, |program| {
        set(socket, libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, program)
    })
}

/// Lets only those frames through that `program` takes.
pub(super) fn attach(socket: &Socket, program: &[Instruction]) -> io::Result<()> {
    with_program(program, |program| set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program))
}

/// Asks for a receive buffer, beyond the system's limit where that is allowed, and returns what there is then.
pub(super) fn set_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<usize> {
    let bytes = bytes.min(libc::c_int::MAX as usize / 2);
    if set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(bytes as libc::c_int)).is_err() {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.recv_buffer_size()
}

/// Asks for a send buffer, beyond the system's limit where that is allowed.
pub(crate) fn set_send_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    let bytes = bytes.min(libc::c_int::MAX as usize / 2);
    match set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &(bytes as libc::c_int)) {
        Ok(()) => Ok(()),
        Err(_) => socket.set_send_buffer_size(bytes),
    }
}

/// Binds to an interface and an EtherType in host byte order; returns the interface's own MAC address.
pub(super) fn bind(socket: &Socket, index: i32, ethertype: u16) -> io::Result<ethernet::Address> {
    // SAFETY: a sockaddr_ll is a valid address of its family, and its length is given.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, len| {
            let address = &mut *storage.cast::<libc::sockaddr_ll>();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = ethertype.to_be();
            address.sll_ifindex = index;
            *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    socket.bind(&address)?;
    let bound = socket.local_addr()?;
    // SAFETY: the kernel wrote an address of this family, at most as long as a sockaddr_ll, into larger storage.
    let bound = unsafe { &*bound.as_ptr().cast::<libc::sockaddr_ll>() };
    let [a, b, c, d, e, f, ..] = bound.sll_addr;
    Ok(ethernet::Address([a, b, c, d, e, f]))
}

/// Receives up to `out.len()` frames, each into the next `parts_each` of `parts`; returns how many.
///
/// # Errors
/// What the kernel said to the first of them; `WouldBlock` where there is none.
pub(super) fn receive_many(
    socket: BorrowedFd<'_>,
    parts: &mut [IoSliceMut<'_>],
    parts_each: usize,
    out: &mut [Received],
) -> io::Result<usize> {
    let count = out.len().min(BATCH_PACKETS);
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_PACKETS];
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut from: [libc::sockaddr_ll; BATCH_PACKETS] = unsafe { mem::zeroed() };
    let parts = parts.chunks_exact_mut(parts_each).take(count);
    let count = parts.len();
    for ((message, parts), from) in messages.iter_mut().zip(parts).zip(&mut from) {
        // SAFETY: all zeros is a valid mmsghdr.
        let message = message.write(unsafe { mem::zeroed() });
        message.msg_hdr.msg_name = (&raw mut *from).cast();
        message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // IoSliceMut has the layout of iovec (its documentation promises that).
        message.msg_hdr.msg_iov = parts.as_mut_ptr().cast();
        message.msg_hdr.msg_iovlen = parts_each as _;
    }
    // SAFETY: the first `count` messages are initialised; their pointers are to `from` and to `parts`, which are ours alone
    // until the call returns. The kernel writes within the lengths given.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr().cast(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    let received = received as usize;
    for ((out, message), from) in out.iter_mut().zip(&messages[..received]).zip(&from) {
        // SAFETY: initialised above, for `received` is at most `count`.
        let message = unsafe { message.assume_init_ref() };
        *out = Received {
            len: message.msg_len as usize,
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
        };
    }
    Ok(received)
}

/// Sends frames in order, each gathered from its parts; returns how many the kernel took, at least one.
///
/// # Errors
/// What the kernel said to the first of them.
pub(super) fn send_many(socket: BorrowedFd<'_>, frames: &[&[IoSlice<'_>]]) -> io::Result<usize> {
    let count = frames.len().min(BATCH_PACKETS);
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_PACKETS];
    for (message, parts) in messages.iter_mut().zip(frames) {
        // SAFETY: all zeros is a valid mmsghdr.
        let message = message.write(unsafe { mem::zeroed() });
        // IoSlice has the layout of iovec (its documentation promises that).
        message.msg_hdr.msg_iov = parts.as_ptr().cast_mut().cast();
        message.msg_hdr.msg_iovlen = parts.len() as _;
    }
    // SAFETY: the first `count` messages are initialised; their pointers are to `frames`, whose borrows outlive the call.
    // The kernel only reads through them, and writes msg_len.
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

/// Whether the socket takes more before this time is over.
pub(crate) fn wait_writable(socket: BorrowedFd<'_>, wait_ms: i32) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait_ms) * 1_000_000 };
    let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
    matches!(poll(&mut fds, Some(&timeout)), Ok(1))
}

/// Frames that the kernel dropped since it was asked last, since nobody took them in time.
pub(super) fn take_drops(socket: &Socket) -> io::Result<u64> {
    // SAFETY: two integers, for which all zeros is valid.
    let mut statistics: libc::tpacket_stats = unsafe { mem::zeroed() };
    let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the structure is ours alone until the call returns, and its length is given.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut len,
        )
    })?;
    Ok(u64::from(statistics.tp_drops))
}

fn with_program<T>(
    program: &[Instruction],
    then: impl FnOnce(&libc::sock_fprog) -> io::Result<T>,
) -> io::Result<T> {
    let one = |i: &Instruction| libc::sock_filter {
        code: i.code,
        jt: i.if_true,
        jf: i.if_false,
        k: i.operand,
    };
    let mut program: Vec<libc::sock_filter> = program.iter().map(one).collect();
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    then(&libc::sock_fprog { len, filter: program.as_mut_ptr() })
}

pub(crate) fn set<T>(
    socket: &Socket,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value lives until the call returns, and its length is given; each option here takes this type.
    check(unsafe {
        let fd = socket.as_fd().as_raw_fd();
        libc::setsockopt(fd, level, option, (&raw const *value).cast(), len)
    })
}

pub(crate) fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
