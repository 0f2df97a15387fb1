//! Both ends of a conversation by datagrams and by raw packets.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketAddrAny, SocketType};

use crate::live::world::{PATIENCE, World};

/// How long a thread waits for a datagram before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// A thread in a namespace that sends back whatever comes to a socket.
pub(crate) struct Echo {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Echo {
    /// Of datagrams to an address and port.
    pub(crate) fn udp(world: &World, service: &str, address: &str) -> Echo {
        let socket = world.inside(service, || UdpSocket::bind(address)).expect("a socket");
        socket.set_read_timeout(Some(LOOK)).expect("a socket option");
        Echo::with(move |buffer| {
            let (len, from) = socket.recv_from(buffer).ok()?;
            socket.send_to(&buffer[..len], from).ok()?;
            Some(buffer[..len].to_vec())
        })
    }

    /// Of SCTP packets, their ports changed over.
    pub(crate) fn sctp(world: &World, service: &str, address: &str) -> Echo {
        let socket = raw(world, service, address);
        Echo::with(move |buffer| {
            let (packet, from) = receive(&socket, buffer)?;
            let mut back = packet.clone();
            back[..2].copy_from_slice(&packet[2..4]);
            back[2..4].copy_from_slice(&packet[..2]);
            rustix::net::sendto(&socket, &back, SendFlags::empty(), &from).ok()?;
            Some(packet)
        })
    }

    fn with(mut once: impl FnMut(&mut [u8]) -> Option<Vec<u8>> + Send + 'static) -> Echo {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut seen, mut buffer) = (Vec::new(), vec![0; 65_536]);
            while !stopped.load(Ordering::Relaxed) {
                seen.extend(once(&mut buffer));
            }
            seen
        });
        Echo { stop, thread }
    }

    /// Ends it; what came.
    pub(crate) fn end(self) -> Vec<Vec<u8>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

/// Sends a datagram and waits for the answer.
pub(crate) fn exchange(socket: &UdpSocket, to: &str, datagram: &[u8]) -> Vec<u8> {
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    socket.send_to(datagram, to).expect("it is sent");
    let mut buffer = vec![0; 65_536];
    let (len, from) = socket.recv_from(&mut buffer).expect("an answer");
    assert_eq!(from, to.parse::<SocketAddr>().expect("an address"));
    buffer.truncate(len);
    buffer
}

/// Sends an INIT from a client to a port of a service; what comes back from there.
pub(crate) fn sctp(
    world: &World,
    client: &str,
    from: &str,
    to: &str,
    port: u16,
) -> Option<Vec<u8>> {
    let socket = raw(world, client, from);
    // Ports, verification tag 0, checksum, then an INIT chunk of 20 bytes (RFC 9260 section 3.3.2). Nobody here checks the
    // checksum.
    let mut packet = [&(port - 1).to_be_bytes()[..], &port.to_be_bytes(), &[0; 8]].concat();
    packet.extend([1, 0, 0, 20, 1, 2, 3, 4, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1]);
    let to: SocketAddrAny = SocketAddr::new(to.parse().expect("an address"), 0).into();
    rustix::net::sendto(&socket, &packet, SendFlags::empty(), &to).expect("it is sent");
    let mut buffer = [0; 2048];
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        if let Some((packet, _)) = receive(&socket, &mut buffer) {
            return Some(packet);
        }
    }
    None
}

/// A socket of SCTP packets, without SCTP.
fn raw(world: &World, namespace: &str, address: &str) -> OwnedFd {
    const SCTP: NonZeroU32 = NonZeroU32::new(132).expect("not 0");
    let ip: IpAddr = address.parse().expect("an address");
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let protocol = Some(Protocol::from_raw(SCTP));
    let socket = world.inside(namespace, || {
        let socket = rustix::net::socket(family, SocketType::RAW, protocol)?;
        rustix::net::bind(&socket, &SocketAddr::new(ip, 0))?;
        Ok::<_, rustix::io::Errno>(socket)
    });
    socket.expect("a raw socket")
}

/// The next packet, without its IP header, if one comes soon.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Option<(Vec<u8>, SocketAddrAny)> {
    let wait = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
    poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&wait)).ok()?;
    let (len, _, from) = rustix::net::recvfrom(socket, &mut *buffer, RecvFlags::DONTWAIT).ok()?;
    let from = from?;
    // IPv4's header comes with what is behind it, IPv6's does not.
    let is_v4 = SocketAddr::try_from(from.clone()).ok()?.is_ipv4();
    Some((buffer[if is_v4 { 20 } else { 0 }..len].to_vec(), from))
}
