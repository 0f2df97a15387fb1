//! Finds a machine's facts out by trying: what needs a network is tried in a namespace that goes with the process.

use std::fs;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ringmail_dataplane_io::tun::{TunConfig, TunLink};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Resource, getrlimit};

use super::{Clock, Facts, Program};
use crate::topology::{Cidr, MAIN, Netlink, Netns, Privilege, Rule};

/// Programs, and Debian's packages that bring them.
const PROGRAMS: [(&str, &str); 9] = [
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("openssl", "openssl"),
    ("tshark", "tshark"),
    ("tcpdump", "tcpdump"),
    ("nginx", "nginx-light"),
    ("aria2c", "aria2"),
    ("unshare", "util-linux"),
    ("nft", "nftables"),
];

/// How long a datagram may take to come back.
const ECHO: Duration = Duration::from_secs(2);

/// Bytes of the super-packet that is sent, and of the pieces that it is to be cut into.
const SUPER_BYTES: usize = 3000;
const PIECE_BYTES: u16 = 1000;

/// Bits of `timex.status` (linux/timex.h).
const STA_UNSYNC: i32 = 0x40;
const STA_NANO: i32 = 0x2000;

/// Finds everything out. Called while the process has one thread: without root the process moves into a user namespace of
/// its own, for good.
pub fn probe() -> Facts {
    let mut facts = outside();
    facts.namespace = Privilege::acquire().map(drop).map_err(|error| chain(&error));
    let inside = match &facts.namespace {
        Err(reason) => Err(reason.clone()),
        Ok(()) => Netns::anonymous("doctor").map_err(|error| error.to_string()),
    };
    let unreachable = |reason: &String| Err(format!("not tried: {reason}"));
    match &inside {
        Ok(netns) => {
            let within = netns.run(|| (tun(), packet_socket(), xdp(), nft(), rules()));
            match within {
                Ok((tun, packet, xdp, nft, rules)) => {
                    facts.tun_uso = tun.as_ref().is_ok_and(|uso| *uso);
                    facts.tun = tun.map(drop);
                    (facts.packet_socket, facts.xdp, facts.nft) = (packet, xdp, nft);
                    facts.rules = rules;
                }
                Err(error) => facts.namespace = Err(error.to_string()),
            }
        }
        Err(reason) => {
            facts.namespace = Err(reason.clone());
            facts.tun = unreachable(reason);
            facts.packet_socket = unreachable(reason);
            facts.xdp = unreachable(reason);
            facts.nft = unreachable(reason);
            facts.rules = unreachable(reason);
        }
    }
    facts
}

/// What is to be seen before the process leaves its place. What is tried inside is not known yet.
fn outside() -> Facts {
    let limit = getrlimit(Resource::Nofile);
    let not_tried = || Err("not tried".to_owned());
    Facts {
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|error| error.to_string(), |text| text.trim().to_owned()),
        root: Privilege::is_root(),
        namespace: not_tried(),
        tun: not_tried(),
        tun_uso: false,
        udp_gso: udp_gso().map_err(|error| error.to_string()),
        udp_gro: udp_gro().map_err(|error| error.to_string()),
        packet_socket: not_tried(),
        xdp: not_tried(),
        nft: not_tried(),
        rules: not_tried(),
        any_address: where_set("rp_filter", |all, own| all.max(own) == 0),
        passes_on: where_set("forwarding", |_, own| own == 1),
        interfaces: interfaces(),
        clock: clock().map_err(|error| error.to_string()),
        entropy: entropy().map_err(|error| error.to_string()),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        features: features(),
        architecture: std::env::consts::ARCH,
        open_files: (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX)),
        socket_buffers: sysctl("net/core/rmem_max").zip(sysctl("net/core/wmem_max")),
        programs: PROGRAMS
            .iter()
            .map(|(name, package)| Program { name, package, path: find(name) })
            .collect(),
    }
}

/// Sends a super-packet to itself and looks whether it comes in pieces.
fn udp_gso() -> io::Result<()> {
    let (sender, receiver) = pair()?;
    set_option(&sender, libc::UDP_SEGMENT, PIECE_BYTES.into())?;
    sender.send(&[0; SUPER_BYTES])?;
    let len = receiver.recv(&mut [0; SUPER_BYTES])?;
    match len == usize::from(PIECE_BYTES) {
        true => Ok(()),
        false => Err(io::Error::other(format!("a piece has {len} bytes, not {PIECE_BYTES}"))),
    }
}

/// As [`udp_gso`], and the receiver asks for the pieces together.
fn udp_gro() -> io::Result<()> {
    let (sender, receiver) = pair()?;
    set_option(&receiver, libc::UDP_GRO, 1)?;
    set_option(&sender, libc::UDP_SEGMENT, PIECE_BYTES.into())?;
    sender.send(&[0; SUPER_BYTES])?;
    let len = receiver.recv(&mut [0; SUPER_BYTES])?;
    match len == SUPER_BYTES {
        true => Ok(()),
        false => Err(io::Error::other(format!("{len} bytes came together, not {SUPER_BYTES}"))),
    }
}

fn pair() -> io::Result<(UdpSocket, UdpSocket)> {
    let (sender, receiver) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    sender.connect(receiver.local_addr()?)?;
    receiver.set_read_timeout(Some(ECHO))?;
    Ok((sender, receiver))
}

fn set_option(socket: &UdpSocket, option: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the option's value is a number that lives through the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, option, (&raw const value).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether it takes UDP super-packets.
fn tun() -> Result<bool, String> {
    let links = TunLink::create(&TunConfig::new("ringmail%d", 1500, 0, 0));
    let links = links.map_err(|error| error.to_string())?;
    Ok(links.first().is_some_and(TunLink::uses_uso))
}

fn packet_socket() -> Result<(), String> {
    let opened = socket(AddressFamily::PACKET, SocketType::RAW, None);
    opened.map(drop).map_err(|error| error.to_string())
}

fn xdp() -> Result<(), String> {
    ringmail_dataplane_io::xdp::probe().map_err(|error| chain(&error))
}

fn nft() -> Result<(), String> {
    let path = find("nft").ok_or("it is not installed")?;
    let mut nft = Command::new(path);
    nft.args(["add", "table", "inet", "doctor"]).stdin(Stdio::null());
    let output = nft.output().map_err(|error| error.to_string())?;
    let said =
        String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// A rule of routing such as those of the egress.
fn rules() -> Result<(), String> {
    let to = Cidr::host(IpAddr::from([192, 0, 2, 1]));
    let rule = Rule { priority: 1, to, from: None, by: None, table: MAIN, protocol: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tried = runtime.and_then(|runtime| {
        runtime.block_on(async { Netlink::open()?.set_rules(&[rule].into()).await })
    });
    tried.map_err(|error| error.to_string())
}

/// The interfaces that are up and have a setting of IPv4 so, by the value for all and their own.
fn where_set(setting: &str, so: impl Fn(u64, u64) -> bool) -> Vec<String> {
    let of = |scope: &str| sysctl(&format!("net/ipv4/conf/{scope}/{setting}"));
    let Some(all) = of("all") else { return Vec::new() };
    let up = interfaces().into_iter().map(|(name, _)| name);
    up.filter(|name| of(name).is_some_and(|own| so(all, own))).collect()
}

fn interfaces() -> Vec<(String, u32)> {
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    let mut up = Vec::new();
    for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let flags = read(entry.path().join("flags"));
        let flags =
            flags.and_then(|text| u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok());
        let mtu = read(entry.path().join("mtu")).and_then(|text| text.trim().parse().ok());
        let is_up = flags.is_some_and(|flags| flags & libc::IFF_UP as u32 != 0);
        if let Some(mtu) = mtu.filter(|_| is_up && name != "lo") {
            up.push((name, mtu));
        }
    }
    up.sort();
    up
}

fn clock() -> io::Result<Clock> {
    // SAFETY: all zeros is a value of this plain structure; its `modes` then say that nothing is to be set.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes into the structure, which lives through the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let unit = if timex.status & STA_NANO != 0 { 1000 } else { 1 };
    Ok(Clock {
        synchronized: timex.status & STA_UNSYNC == 0,
        offset_us: timex.offset / unit,
        max_error_us: timex.maxerror,
    })
}

fn entropy() -> io::Result<()> {
    let mut bytes = [0u8; 16];
    // SAFETY: the kernel writes at most as many bytes as the buffer has.
    let got =
        unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    if got == bytes.len() as isize { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let all = [
        ("aes", std::arch::is_x86_feature_detected!("aes")),
        ("vaes", std::arch::is_x86_feature_detected!("vaes")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    let all = [("aes", std::arch::is_aarch64_feature_detected!("aes"))];
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

fn sysctl(name: &str) -> Option<u64> {
    fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
}

/// Where a program is: on the path, or where Debian puts those of the administrator.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
