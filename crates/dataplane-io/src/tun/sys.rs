//! System calls of the TUN (linux/if_tun.h, netdevice(7)). The unsafe code of [`super`] is all here.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use socket2::{Domain, Socket, Type};

const DEVICE: &str = "/dev/net/tun";

/// Opens a queue of the TUN `name`, and makes the TUN if it is not there. An empty name, or one with `%d`, lets the
/// kernel choose. Returns the name that it has.
pub(super) fn open_queue(name: &str, multi_queue: bool) -> io::Result<(File, String)> {
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE)?;
    let mut flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if multi_queue {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    let name = request.ifr_name.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0);
    Ok((file, String::from_utf8_lossy(&name.collect::<Vec<_>>()).into_owned()))
}

/// Makes a TAP that stays when nobody has it open; it goes with its namespace.
pub(super) fn make_tap(name: &str) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(DEVICE)?;
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    // SAFETY: TUNSETPERSIST takes a number by value.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETPERSIST, 1 as libc::c_ulong) })
}

/// Says which super-packets this queue takes.
pub(super) fn set_offload(queue: &File, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its flags by value.
    check(unsafe {
        libc::ioctl(queue.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags))
    })
}

/// Sets the MTU of an interface in the current network namespace.
pub(super) fn set_mtu(name: &str, mtu_bytes: u32) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_mtu = i32::try_from(mtu_bytes).map_err(|_| invalid())?;
    ioctl_interface(libc::SIOCSIFMTU, &mut request)
}

/// Takes an interface of the current network namespace up.
pub(super) fn set_up(name: &str) -> io::Result<()> {
    let mut request = request(name)?;
    ioctl_interface(libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    ioctl_interface(libc::SIOCSIFFLAGS, &mut request)
}

fn ioctl_interface(call: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    let socket: OwnedFd = Socket::new(Domain::IPV4, Type::DGRAM, None)?.into();
    // SAFETY: these calls read and write one ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), call, request) })
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.len() >= request.ifr_name.len() || name.bytes().any(|byte| byte == 0) {
        return Err(invalid());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}
