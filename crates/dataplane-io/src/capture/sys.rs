//! The packet socket (packet(7)) with the header of virtio that tells a super-packet's segment size.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::filter::Instruction;

/// `struct virtio_net_hdr`.
const VNET_HEADER_BYTES: usize = 10;
/// Bits of `gso_type` that name a kind.
const GSO_KIND: u8 = 0x7f;
/// Asked of the kernel, so that a burst is not lost.
const RECEIVE_BUFFER_BYTES: libc::c_int = 64 << 20;

/// A packet socket on one interface.
#[derive(Debug)]
pub(super) struct PacketSocket(OwnedFd);

/// Where one capture lies in the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) outgoing: bool,
    pub(super) segment_bytes: Option<usize>,
}

impl PacketSocket {
    pub(super) fn open(
        interface: &str,
        filter: Option<&[Instruction]>,
    ) -> io::Result<PacketSocket> {
        let name = CString::new(interface)?;
        // SAFETY: a terminated string, which lives until the call returns.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // Protocol 0 receives nothing until the socket is bound, after its filter is in place.
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above made it, and nobody else has it.
        let socket = PacketSocket(unsafe { OwnedFd::from_raw_fd(fd) });
        socket.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1_i32)?;
        // Without the right to force it, the usual limit holds and losses are counted.
        let _as_is = socket.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER_BYTES);
        if let Some(program) = filter {
            let mut program: Vec<libc::sock_filter> = program
                .iter()
                .map(|i| libc::sock_filter {
                    code: i.code,
                    jt: i.if_true,
                    jf: i.if_false,
                    k: i.operand,
                })
                .collect();
            let program =
                libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
            socket.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
        }
        // SAFETY: all-zero bytes are a valid address of this kind.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index as i32;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: the address lives until the call returns, and its length is given.
        let bound = unsafe { libc::bind(fd, (&raw const address).cast(), len) };
        if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
    }

    pub(super) fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        // SAFETY: all-zero bytes are a valid address of this kind.
        let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
        let mut len = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: buffer and address are exclusively ours until the call returns, and their lengths are given.
        let received = unsafe {
            libc::recvfrom(
                self.0.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut from).cast(),
                &raw mut len,
            )
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
        let end = received as usize;
        let Some(header) = buffer.get(..VNET_HEADER_BYTES.min(end)) else { return Ok(None) };
        if header.len() < VNET_HEADER_BYTES {
            return Ok(None);
        }
        let segment_bytes = usize::from(u16::from_ne_bytes([header[4], header[5]]));
        Ok(Some(Received {
            start: VNET_HEADER_BYTES,
            end,
            outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
            segment_bytes: (header[1] & GSO_KIND != 0).then_some(segment_bytes),
        }))
    }

    pub(super) fn lost(&mut self) -> io::Result<u64> {
        // SAFETY: two integers, for which all-zero bytes are valid.
        let mut statistics: libc::tpacket_stats = unsafe { mem::zeroed() };
        let mut len = size_of::<libc::tpacket_stats>() as u32;
        // SAFETY: the structure is exclusively ours until the call returns, and its length is given.
        let got = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut len,
            )
        };
        if got < 0 { Err(io::Error::last_os_error()) } else { Ok(u64::from(statistics.tp_drops)) }
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let len = size_of::<T>() as u32;
        // SAFETY: the value lives until the call returns, and its length is given; each option here takes this type.
        let set = unsafe {
            libc::setsockopt(self.0.as_raw_fd(), level, option, (&raw const *value).cast(), len)
        };
        if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
