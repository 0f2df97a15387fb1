//! The calls of bpf(2) that put a program on an interface. It goes with the last descriptor of its link: whatever ends
//! the process leaves the interface as it was.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::program::Instruction;

// Commands and kinds (linux/bpf.h).
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const MAP_OF_SOCKETS: u32 = 17;
const PROGRAM_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

/// What `ip link` and bpftool show.
const NAME: &[u8; 16] = b"ringmail\0\0\0\0\0\0\0\0";
/// The kernel only looks whether it is the GPL, which nothing here asks for.
const LICENCE: &[u8; 11] = b"Apache-2.0\0";

/// Where on a frame's way the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel makes anything of the frame (`XDP_FLAGS_DRV_MODE`).
    Native,
    /// In the kernel's own receive path: any interface can do it (`XDP_FLAGS_SKB_MODE`).
    Generic,
}

/// A map from receive queues to AF_XDP sockets.
pub(super) fn map_of_sockets(queues: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        map_type: u32,
        key_bytes: u32,
        value_bytes: u32,
        entries: u32,
        flags: u32,
        inner: u32,
        node: u32,
        name: [u8; 16],
    }
    let attributes = Attributes {
        map_type: MAP_OF_SOCKETS,
        key_bytes: 4,
        value_bytes: 4,
        entries: queues,
        flags: 0,
        inner: 0,
        node: 0,
        name: *NAME,
    };
    descriptor(call(MAP_CREATE, &attributes)?)
}

/// Has frames of a queue go to this socket.
pub(super) fn put(map: BorrowedFd<'_>, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        map: i32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let socket = socket.as_raw_fd();
    let attributes = Attributes {
        map: map.as_raw_fd(),
        padding: 0,
        key: (&raw const queue).expose_provenance() as u64,
        value: (&raw const socket).expose_provenance() as u64,
        flags: 0,
    };
    call(MAP_UPDATE, &attributes).map(drop)
}

/// Has the kernel verify a program.
pub(super) fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        program_type: u32,
        instructions: u32,
        program: u64,
        licence: u64,
        log_level: u32,
        log_bytes: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        attach_type: u32,
    }
    let attributes = Attributes {
        program_type: PROGRAM_XDP,
        instructions: program.len() as u32,
        program: program.as_ptr().expose_provenance() as u64,
        licence: LICENCE.as_ptr().expose_provenance() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *NAME,
        interface: 0,
        attach_type: ATTACH_XDP,
    };
    descriptor(call(PROG_LOAD, &attributes)?)
}

/// Puts a program on an interface of the calling thread's namespace, for as long as the descriptor is open.
pub(super) fn attach(program: BorrowedFd<'_>, interface: u32, mode: Mode) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        program: i32,
        interface: u32,
        attach_type: u32,
        flags: u32,
    }
    let flags = match mode {
        Mode::Generic => 1 << 1,
        Mode::Native => 1 << 2,
    };
    let attributes =
        Attributes { program: program.as_raw_fd(), interface, attach_type: ATTACH_XDP, flags };
    descriptor(call(LINK_CREATE, &attributes)?)
}

fn call<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: each caller gives its command's attributes as linux/bpf.h lays them out, with their size; what they point to
    // lives until the call returns, and is only read.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

fn descriptor(number: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the kernel has just opened it (close-on-exec) for this call, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
