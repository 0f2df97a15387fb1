//! The Ethernet link by AF_XDP (ADR 0009): frames of [`crate::ethernet`], past most of the kernel, for root of the machine.
//!
//! A small program ([`program`]) on the interface hands label stacks to the link's socket and lets all else pass, so that
//! key agreement and other traffic go on. It runs in the driver where that can, else in the kernel's receive path, and goes
//! with the process. Frames are copied between the socket's memory and the batch. One worker, one receive queue, no VLAN, no
//! frame longer than a page.

mod bpf;
mod frames;
mod program;
mod ring;
mod sys;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use libc::xdp_desc;
use ringmail_dataplane::{Batch, DropReason, Neighbour, Verdict};
use ringmail_packet::ethernet::{self, Address, EtherType};
use socket2::Socket;

pub use self::bpf::Mode;
use self::frames::{Chunk, Frames};
use self::sys::{Interface, Rings};
use crate::counters::{LinkCounter as C, LinkCounters};
use crate::ethernet::peers::Peers;
use crate::limits;
use crate::link::{Link, Sent};
use crate::packet::sys::{set_send_buffer, wait_writable};

/// The queue of an interface that has one.
const QUEUE: u32 = 0;

/// How to open an [`XdpLink`].
#[derive(Clone, Debug)]
pub struct XdpConfig {
    /// Name of an interface in the calling thread's namespace.
    pub interface: String,
    /// What frames carry: label stacks, or NSH.
    pub carries: EtherType,
    /// The neighbours' addresses, by which a frame's sender is known, too.
    pub peers: Vec<(Neighbour, Address)>,
    /// Where the program is to run; none for the first that the interface can do.
    pub mode: Option<Mode>,
}

/// Why an interface has no AF_XDP link.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// The operator's: no such interface.
    #[error("interface {interface} cannot be used")]
    Interface {
        /// Its name.
        interface: String,
        /// The kernel's word.
        source: io::Error,
    },
    /// The operator's: the right is missing.
    #[error(
        "AF_XDP needs root of the machine, not of a user namespace: run as root, or write `driver: packet`"
    )]
    NotRoot(#[source] io::Error),
    /// The operator's: frames of more than one queue would come without order.
    #[error(
        "{interface} has {queues} receive queues and AF_XDP serves one: `ethtool -L {interface} combined 1`, or write `driver: packet`"
    )]
    Queues {
        /// The interface's name.
        interface: String,
        /// Receive queues in use.
        queues: u32,
    },
    /// The operator's: frames are too long.
    #[error(
        "{interface} has an MTU of {mtu_bytes} bytes and AF_XDP carries at most {}: `ip link set {interface} mtu {}`, or write `driver: packet`",
        mtu_max_bytes(),
        mtu_max_bytes()
    )]
    Mtu {
        /// The interface's name.
        interface: String,
        /// Its MTU.
        mtu_bytes: usize,
    },
    /// The operator's: an interface has one place for a program and one socket a queue.
    #[error(
        "{interface} has an XDP program or an AF_XDP socket already: `ip link show {interface}` and `bpftool net` name it; end it, or write `driver: packet`"
    )]
    Busy {
        /// The interface's name.
        interface: String,
    },
    /// The operator's: the kernel locks the memory of frames.
    #[error("AF_XDP locks {} MiB of memory, more than this process may: raise RLIMIT_MEMLOCK (`LimitMEMLOCK=`), or write `driver: packet`", .len_bytes.div_ceil(1 << 20))]
    Locked {
        /// How much it is.
        len_bytes: u64,
    },
    /// The system's.
    #[error("AF_XDP on {interface}: {step}")]
    System {
        /// The interface's name.
        interface: String,
        /// What was being done.
        step: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
}

/// MPLS over Ethernet by AF_XDP to the neighbours of an element.
#[derive(Debug)]
pub struct XdpLink {
    // The program goes before the socket that it hands frames to.
    _attached: OwnedFd,
    _sockets: OwnedFd,
    socket: Socket,
    rings: Rings,
    frames: Frames,
    /// Chunks to send with.
    free: Vec<Chunk>,
    peers: Peers,
    interface: Interface,
    carries: EtherType,
    mode: Mode,
    receives: u32,
    dropped: u64,
    counters: Arc<LinkCounters>,
}

/// The longest label stack with what it covers that AF_XDP receives.
pub const fn mtu_max_bytes() -> usize {
    limits::XDP_CHUNK_BYTES_MAX - limits::XDP_HEADROOM_BYTES - ethernet::HEADER_LEN_BYTES
}

/// Tries whether this process can have such links, on the loopback of the calling thread's namespace: to be called in a
/// namespace that nobody uses.
///
/// # Errors
/// Why not.
pub fn probe() -> Result<(), XdpError> {
    let config = XdpConfig { mode: Some(Mode::Generic), ..XdpConfig::new("lo", Vec::new()) };
    let interface = sys::interface(&config.interface)
        .map_err(|source| XdpError::Interface { interface: "lo".to_owned(), source })?;
    // Nothing is received: its MTU, which is far too long, does not count.
    let interface = Interface { mtu_bytes: limits::XDP_CHUNK_BYTES_MIN / 2, ..interface };
    XdpLink::open_on(interface, &config).map(drop)
}

impl XdpConfig {
    /// The usual settings for an interface.
    pub fn new(interface: &str, peers: Vec<(Neighbour, Address)>) -> XdpConfig {
        XdpConfig { interface: interface.to_owned(), carries: EtherType::MPLS, peers, mode: None }
    }
}

impl XdpLink {
    /// Opens the link in the calling thread's network namespace. Waits a little for who had the interface before
    /// ([`limits::XDP_BUSY_FOR`]).
    ///
    /// # Errors
    /// Why there is none; nothing was changed then.
    pub fn open(config: &XdpConfig) -> Result<XdpLink, XdpError> {
        let name = &config.interface;
        let interface = sys::interface(name)
            .map_err(|source| XdpError::Interface { interface: name.clone(), source })?;
        let Interface { mtu_bytes, queues, .. } = interface;
        if queues > 1 {
            return Err(XdpError::Queues { interface: name.clone(), queues });
        }
        if mtu_bytes > mtu_max_bytes() {
            return Err(XdpError::Mtu { interface: name.clone(), mtu_bytes });
        }
        XdpLink::open_on(interface, config)
    }

    fn open_on(interface: Interface, config: &XdpConfig) -> Result<XdpLink, XdpError> {
        let XdpConfig { interface: name, carries, peers, mode } = config;
        let Interface { index, mtu_bytes, .. } = interface;
        let failed = |step| move |source: io::Error| refused(name, step, source);
        // First what asks for the right.
        let sockets = bpf::map_of_sockets(QUEUE + 1).map_err(failed("a map of sockets"))?;
        let (receive, send) = (limits::XDP_RECEIVE_FRAMES, limits::XDP_SEND_FRAMES);
        let frame_bytes = limits::XDP_HEADROOM_BYTES + ethernet::HEADER_LEN_BYTES + mtu_bytes;
        let chunk_bytes = frame_bytes.next_power_of_two().max(limits::XDP_CHUNK_BYTES_MIN);
        let (frames, mut free) =
            Frames::new(receive + send, chunk_bytes).map_err(failed("memory for frames"))?;
        let opened = sys::open(&frames, receive as u32, send as u32);
        let (socket, mut rings) = opened.map_err(|source| match source.raw_os_error() {
            Some(libc::ENOBUFS) => XdpError::Locked { len_bytes: frames.extent().1 },
            _ => refused(name, "a socket", source),
        })?;
        set_send_buffer(&socket, limits::SEND_BUFFER_BYTES).map_err(failed("its buffer"))?;
        for chunk in free.split_off(send) {
            rings.fill.push(chunk.into_address());
        }
        rings.fill.publish();
        patiently(|| sys::bind(&socket, index, QUEUE)).map_err(failed("bind"))?;
        bpf::put(sockets.as_fd(), QUEUE, socket.as_fd()).map_err(failed("the map of sockets"))?;
        let (attached, mode) =
            attach(interface, *carries, sockets.as_fd(), *mode).map_err(failed("its program"))?;
        Ok(XdpLink {
            _attached: attached,
            _sockets: sockets,
            socket,
            rings,
            frames,
            free,
            peers: Peers::new(interface.address, None, *carries, peers),
            interface,
            carries: *carries,
            mode,
            receives: 0,
            dropped: 0,
            counters: Arc::default(),
        })
    }

    /// Replaces the neighbours. Packets for a neighbour that is not named are left alone by `send`; packets from one come
    /// with no source.
    pub fn set_peers(&mut self, peers: &[(Neighbour, Address)]) {
        self.peers = Peers::new(self.interface.address, None, self.carries, peers);
    }

    /// The interface's own address.
    pub fn address(&self) -> Address {
        self.interface.address
    }

    /// The interface's MTU when the link was opened.
    pub fn mtu_bytes(&self) -> usize {
        self.interface.mtu_bytes
    }

    /// Where the program runs.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes back chunks of frames that were sent.
    fn reap(&mut self) {
        while let Some(address) = self.rings.complete.peek() {
            self.rings.complete.advance();
            // One that is not in the memory was none of ours.
            self.free.extend(self.frames.handed_back(address).map(|(chunk, _)| chunk));
        }
        self.rings.complete.release();
    }

    /// Has the kernel send what is in the ring. Waits a little where it takes no more; what stays goes with the next.
    fn flush(&mut self) {
        let (mut waits, mut left) = (0, self.rings.send.unread());
        while left > 0 {
            self.counters.add(C::SendCalls, 1);
            let said = sys::kick(self.socket.as_fd());
            let before = std::mem::replace(&mut left, self.rings.send.unread());
            match said.map_err(|error| error.raw_os_error()) {
                Ok(()) | Err(Some(libc::EINTR)) if left < before => {}
                Err(Some(libc::EAGAIN)) if left < before => {}
                Ok(()) | Err(Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR)) => {
                    self.counters.add(C::SendWaits, 1);
                    waits += 1;
                    if waits > limits::SEND_WAIT_MS {
                        return;
                    }
                    wait_writable(self.socket.as_fd(), 1);
                }
                Err(_) => {
                    self.counters.add(C::SendErrors, 1);
                    // The kernel dropped one (EBUSY), or takes none: the interface is down.
                    if left == before {
                        return;
                    }
                }
            }
        }
    }

    /// Asks the kernel how many frames it dropped since nobody took them in time, and counts them. The link does so by itself
    /// every [`limits::PACKET_DROPS_EVERY_CALLS`] receives, and when there is nothing to receive after frames came.
    ///
    /// # Errors
    /// What the system said.
    pub fn count_kernel_drops(&mut self) -> io::Result<u64> {
        self.receives = 0;
        let all = sys::dropped(&self.socket)?;
        let drops = all.saturating_sub(std::mem::replace(&mut self.dropped, all));
        if drops > 0 {
            self.counters.add(C::ReceivedKernelDrops, drops);
        }
        Ok(drops)
    }
}

impl Link for XdpLink {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        batch.clear();
        if batch.buffer().len() < self.interface.mtu_bytes + ethernet::HEADER_LEN_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if self.rings.send.unread() > 0 {
            self.flush();
        }
        let (mut bytes, mut taken) = (0, false);
        while let Some(descriptor) = self.rings.receive.peek() {
            let (address, len) = (descriptor.addr, descriptor.len as usize);
            let Some((chunk, at)) = self.frames.handed_back(address) else {
                self.counters.add(C::ReceivedBad, 1);
                self.rings.receive.advance();
                continue;
            };
            let frame = self.frames.bytes(&chunk, at, len).unwrap_or_default();
            match ethernet::Packet::new_checked(frame) {
                Err(_) => self.counters.add(C::ReceivedBad, 1),
                Ok(frame) => {
                    let source = self.peers.neighbour(frame.src_addr());
                    // Another neighbour's, or one too many: it stays in the ring, and its chunk with it.
                    let fits = batch.is_empty() || batch.source() == source;
                    if !fits || batch.push_copy(0, frame.payload(), 0).is_err() {
                        break;
                    }
                    batch.set_source(source);
                    self.counters.add(C::ReceivedFromUnknown, source.is_none().into());
                    bytes += frame.payload().len();
                }
            }
            taken = true;
            self.rings.receive.advance();
            self.rings.fill.push(chunk.into_address());
        }
        if taken {
            self.rings.receive.release();
            self.rings.fill.publish();
        }
        if batch.is_empty() {
            if self.receives > 0 {
                self.count_kernel_drops()?;
            }
            return Ok(0);
        }
        self.receives += 1;
        if self.receives >= limits::PACKET_DROPS_EVERY_CALLS {
            self.count_kernel_drops()?;
        }
        self.counters.add(C::ReceivedPackets, batch.len() as u64);
        self.counters.add(C::ReceivedBytes, bytes as u64);
        Ok(batch.len())
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        let (mut sent, mut bytes) = (Sent::default(), 0);
        self.reap();
        for slot in 0..batch.len() {
            let Verdict::Send(neighbour) = batch.verdict(slot) else { continue };
            let Some(header) = self.peers.header(neighbour) else { continue };
            let packet = batch.packet(slot);
            let len = header.len() + packet.len();
            let chunk = self.free.pop_if(|_| packet.len() <= self.interface.mtu_bytes);
            let Some(mut chunk) = chunk else {
                sent.refused += 1;
                batch.drop_packet(slot, DropReason::LinkRefused);
                continue;
            };
            let frame = self.frames.bytes_mut(&mut chunk);
            frame[..header.len()].copy_from_slice(header);
            frame[header.len()..len].copy_from_slice(packet);
            bytes += packet.len();
            sent.packets += 1;
            let addr = chunk.into_address();
            // There is an entry for each chunk.
            self.rings.send.push(xdp_desc { addr, len: len as u32, options: 0 });
        }
        if sent == Sent::default() {
            return Ok(sent);
        }
        self.rings.send.publish();
        self.flush();
        self.counters.add(C::SentPackets, sent.packets as u64);
        self.counters.add(C::SentBytes, bytes as u64);
        self.counters.add(C::SendRefused, sent.refused as u64);
        Ok(sent)
    }

    fn carries(&self, verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Send(neighbour) if self.peers.header(neighbour).is_some())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        &self.counters
    }
}

/// Puts the program on the interface, in the driver where that can.
fn attach(
    interface: Interface,
    carries: EtherType,
    sockets: BorrowedFd<'_>,
    mode: Option<Mode>,
) -> io::Result<(OwnedFd, Mode)> {
    let program = bpf::load(&program::program(interface.address, carries, sockets.as_raw_fd()))?;
    let attach = |mode| {
        let attached = patiently(|| bpf::attach(program.as_fd(), interface.index, mode));
        attached.map(|attached| (attached, mode))
    };
    match (mode, attach(mode.unwrap_or(Mode::Native))) {
        (None, Err(error)) if !is_busy(&error) => attach(Mode::Generic),
        (_, attached) => attached,
    }
}

/// Tries again for a while what somebody else is in the way of.
fn patiently<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let began = Instant::now();
    loop {
        match work() {
            Err(error) if is_busy(&error) && began.elapsed() < limits::XDP_BUSY_FOR => {
                thread::sleep(limits::XDP_BUSY_POLL_EVERY);
            }
            done => return done,
        }
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

fn refused(interface: &str, step: &'static str, source: io::Error) -> XdpError {
    let interface = interface.to_owned();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => XdpError::NotRoot(source),
        Some(libc::EBUSY | libc::EEXIST) => XdpError::Busy { interface },
        _ => XdpError::System { interface, step, source },
    }
}
