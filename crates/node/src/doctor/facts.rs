//! What is known of a machine, as plain values: found out by [`probe`](super::probe), made up in tests.

use std::path::PathBuf;

/// A machine. What was tried is `Ok`, or the reason why it did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's release.
    pub kernel: String,
    /// Whether the process is root of the machine.
    pub root: bool,
    /// Whether a user and network namespace can be had, as root or as this user.
    pub namespace: Result<(), String>,
    /// Whether a TUN with segments offloaded can be made in such a namespace.
    pub tun: Result<(), String>,
    /// Whether that TUN takes UDP super-packets.
    pub tun_uso: bool,
    /// Whether the kernel cuts UDP super-packets that are sent.
    pub udp_gso: Result<(), String>,
    /// Whether it joins those that come.
    pub udp_gro: Result<(), String>,
    /// Whether raw packets of an interface can be had in the namespace.
    pub packet_socket: Result<(), String>,
    /// Whether a link of AF_XDP can be had, with its program on an interface.
    pub xdp: Result<(), String>,
    /// Whether the program nft works in the namespace.
    pub nft: Result<(), String>,
    /// Whether rules of routing can be had in the namespace.
    pub rules: Result<(), String>,
    /// Interfaces that are up and by which packets of any address come in (`rp_filter` 0); loopback left out.
    pub any_address: Vec<String>,
    /// Interfaces that are up and from which the kernel passes IPv4 packets on; loopback left out.
    pub passes_on: Vec<String>,
    /// Interfaces that are up, with their MTUs in bytes; loopback left out.
    pub interfaces: Vec<(String, u32)>,
    /// The clock.
    pub clock: Result<Clock, String>,
    /// Whether random numbers come at once.
    pub entropy: Result<(), String>,
    /// Processors that this process may use.
    pub processors: usize,
    /// Instructions that the processor has, of those that matter.
    pub features: Vec<&'static str>,
    /// The architecture.
    pub architecture: &'static str,
    /// Files that a process may have open: what holds, what it may raise that to.
    pub open_files: (u64, u64),
    /// Bytes that a socket's buffers may be set to: for receiving, for sending. `None` where they are not shown, as in a
    /// network namespace.
    pub socket_buffers: Option<(u64, u64)>,
    /// Programs that examples, attached functions and tests use.
    pub programs: Vec<Program>,
}

/// A clock as the kernel keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Whether somebody keeps it right.
    pub synchronized: bool,
    /// How far off it is believed to be.
    pub offset_us: i64,
    /// How far off it may be at most.
    pub max_error_us: i64,
}

/// A program that may be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Debian's package.
    pub package: &'static str,
    /// Where it is.
    pub path: Option<PathBuf>,
}
