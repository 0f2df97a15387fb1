//! Packet sockets (packet(7)) that take every frame of an interface and send any. The unsafe code of this crate is all here.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Bytes of the header that `PACKET_VNET_HDR` puts before each frame.
pub(crate) const VIRTIO_BYTES: usize = 10;

/// A packet socket on this interface of the calling thread's namespace, without the frames that this machine sends there.
pub(super) fn open(interface: &str) -> io::Result<Socket> {
    let every = (libc::ETH_P_ALL as u16).to_be();
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    for option in [libc::PACKET_VNET_HDR, libc::PACKET_IGNORE_OUTGOING] {
        let on: libc::c_int = 1;
        // SAFETY: the value is an int that lives until the call returns, and its length is given.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let name = CString::new(interface)?;
    // SAFETY: a terminated string, which lives until the call returns.
    let index = match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => return Err(io::Error::last_os_error()),
        index => index as libc::c_int,
    };
    // SAFETY: the storage is zeroed and large enough for a sockaddr_ll, which is plain data; the length set is its length.
    let (_, address) = unsafe {
        SockAddr::try_init(|storage, len| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = libc::AF_PACKET as u16;
            (*link).sll_protocol = every;
            (*link).sll_ifindex = index;
            *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    socket.bind(&address)?;
    socket.set_recv_buffer_size(8 << 20)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
