//! Many connections at once, from plain threads: each checks every byte that it gets, and counts what it did not get.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringmail_node::topology::Netns;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::ServerName;

use crate::live::world::World;

/// How long a connection waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a connection rests between two short answers.
const REST: Duration = Duration::from_millis(400);

/// Bytes that are read of a long answer before a rest.
const SIP_BYTES: usize = 16 << 10;

/// How long a connection rests within a long answer.
const SIP: Duration = Duration::from_millis(100);

/// One file of one service, and what it holds.
#[derive(Clone)]
pub(crate) struct Wanted {
    /// The authority.
    pub(crate) host: String,
    pub(crate) path: &'static str,
    pub(crate) body: Arc<Vec<u8>>,
    /// Whether it is read slowly.
    pub(crate) slow: bool,
}

/// What the connections got.
#[derive(Default)]
pub(crate) struct Tally {
    /// Connections that are open.
    pub(crate) open: AtomicU64,
    /// Connections that were made.
    pub(crate) made: AtomicU64,
    /// Answers that came whole.
    pub(crate) answers: AtomicU64,
    /// Answers of another service, or with other bytes.
    pub(crate) wrong: AtomicU64,
    /// Why connections broke, or answers did not come.
    pub(crate) lost: Mutex<Vec<String>>,
}

/// A load that runs.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    pub(crate) tally: Arc<Tally>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Opens this many connections as `client`; the n-th asks for the n-th file again and again.
    pub(crate) fn start(world: &World, client: &str, count: usize, files: &[Wanted]) -> Load {
        let tls = world.client_tls(client);
        Load::from(&world.namespace(client), world.address, &tls, count, files)
    }

    /// The same from a namespace to an address.
    pub(crate) fn from(
        netns: &Arc<Netns>,
        address: SocketAddr,
        tls: &Arc<ClientConfig>,
        count: usize,
        files: &[Wanted],
    ) -> Load {
        let (stop, tally) = (Arc::<AtomicBool>::default(), Arc::<Tally>::default());
        let start = |nth: usize| {
            let (tls, stop, tally) = (Arc::clone(tls), Arc::clone(&stop), Arc::clone(&tally));
            let (netns, wanted) = (Arc::clone(netns), files[nth % files.len()].clone());
            let work = move || {
                netns.enter().expect("the namespace can be entered");
                while !stop.load(Ordering::Relaxed) {
                    if let Err(why) = connection(nth, address, &tls, &wanted, &stop, &tally) {
                        let why =
                            format!("connection {nth} to {}{}: {why}", wanted.host, wanted.path);
                        tally.lost.lock().expect("nobody panicked").push(why);
                        thread::sleep(REST);
                    }
                }
            };
            // Small stacks: there are many.
            thread::Builder::new().stack_size(1 << 20).spawn(work).expect("a thread")
        };
        Load { threads: (0..count).map(start).collect(), stop, tally }
    }

    /// Lets every connection end what it has begun.
    pub(crate) fn stop(self) -> Arc<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
        self.tally
    }
}

/// One connection: some answers, then another one.
fn connection(
    nth: usize,
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
    wanted: &Wanted,
    stop: &AtomicBool,
    tally: &Tally,
) -> Result<(), String> {
    let said = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let tcp = TcpStream::connect(address).map_err(said("connect"))?;
    tcp.set_read_timeout(Some(PATIENCE)).map_err(said("socket"))?;
    tcp.set_nodelay(true).map_err(said("socket"))?;
    let name = ServerName::try_from(wanted.host.clone()).map_err(|error| error.to_string())?;
    let session = ClientConnection::new(Arc::clone(tls), name).map_err(|e| e.to_string())?;
    let mut stream = BufReader::with_capacity(SIP_BYTES, StreamOwned::new(session, tcp));
    tally.made.fetch_add(1, Ordering::Relaxed);
    tally.open.fetch_add(1, Ordering::Relaxed);
    let answered = (0..8 + nth % 5).try_for_each(|_| {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let request = format!("GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", wanted.path, wanted.host);
        stream.get_mut().write_all(request.as_bytes()).map_err(said("request"))?;
        match answer(&mut stream, wanted).map_err(said("answer"))? {
            true => tally.answers.fetch_add(1, Ordering::Relaxed),
            false => tally.wrong.fetch_add(1, Ordering::Relaxed),
        };
        if !wanted.slow {
            thread::sleep(REST + Duration::from_millis(nth as u64 % 97));
        }
        Ok(())
    });
    tally.open.fetch_sub(1, Ordering::Relaxed);
    stream.get_mut().conn.send_close_notify();
    let _closed = stream.get_mut().flush();
    answered
}

/// Reads an answer; whether it is the one that was wanted.
fn answer(stream: &mut impl BufRead, wanted: &Wanted) -> std::io::Result<bool> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    if !head.starts_with("http/1.1 200") {
        return Err(std::io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
    }
    let (mut got, mut right) = (0, length == wanted.body.len());
    let mut sip = vec![0; SIP_BYTES];
    while got < length {
        let most = sip.len().min(length - got);
        let read = stream.read(&mut sip[..most])?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        right &= wanted.body.get(got..got + read) == Some(&sip[..read]);
        got += read;
        if wanted.slow {
            thread::sleep(SIP);
        }
    }
    Ok(right)
}

/// The TLS of a client of the domain, with a new certificate.
pub(crate) fn client_tls(
    authority: &ringmail_trust::EmbeddedCa,
    client: &str,
) -> Arc<ClientConfig> {
    let request = ringmail_trust::Request {
        kind: ringmail_trust::Kind::Client,
        name: client.parse().expect("a name"),
        names: Vec::new(),
        lasts: Duration::from_secs(86_400),
        replace: true,
    };
    let (chain, key) = authority.issue(&request).expect("a certificate").identity.for_tls();
    let mut roots = RootCertStore::empty();
    for root in ringmail_trust::Authority::trust_bundle(authority).expect("a bundle").roots {
        roots.add(root).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("a key that fits");
    Arc::new(config)
}

/// Numbered datagrams through a chain, a thousand a second, and when each of them came.
pub(crate) struct Numbered {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    sink: JoinHandle<Vec<(u64, Instant)>>,
    /// How many were sent, once that is known.
    all: Arc<AtomicU64>,
}

/// A datagram that has not come so long after the one before it is lost.
const LATE: Duration = Duration::from_secs(3);

/// What became of numbered datagrams.
#[derive(Debug)]
pub(crate) struct Numbers {
    pub(crate) sent: u64,
    pub(crate) came: u64,
    /// Came with a number that had come before.
    pub(crate) repeated: u64,
    /// The longest time in which none came.
    pub(crate) gap: Duration,
}

impl Numbered {
    /// Sends from an address of `from` to one of `to`.
    pub(crate) fn start(
        world: &World,
        (from, source): (&str, SocketAddr),
        (to, destination): (&str, SocketAddr),
    ) -> Numbered {
        let socket = |namespace: &str, address: SocketAddr| {
            let bound = world.inside(namespace, || std::net::UdpSocket::bind(address));
            bound.unwrap_or_else(|error| panic!("{address}: {error}"))
        };
        let (out, into) = (socket(from, source), socket(to, destination));
        into.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
        // Whoever reads may have to wait for the processor; where the right is missing it has less room.
        let _less = set_socket_recv_buffer_size_force(&into, 8 << 20);
        let stop = Arc::<AtomicBool>::default();
        let stopping = Arc::clone(&stop);
        let sender = thread::spawn(move || {
            let mut number = 0_u64;
            while !stopping.load(Ordering::Relaxed) {
                // While there is no way the system says so; the number counts as sent all the same.
                let _no_way = out.send_to(&number.to_be_bytes(), destination);
                number += 1;
                thread::sleep(Duration::from_millis(1));
            }
            number
        });
        let all = Arc::new(AtomicU64::new(u64::MAX));
        let wanted = Arc::clone(&all);
        let sink = thread::spawn(move || {
            let (mut came, mut bytes, mut over) = (Vec::new(), [0; 8], None);
            loop {
                if let Ok(8) = into.recv(&mut bytes) {
                    came.push((u64::from_be_bytes(bytes), Instant::now()));
                    over = None;
                }
                // What is on its way when the last one was sent may be late; what does not come is lost at last.
                match wanted.load(Ordering::Relaxed) {
                    u64::MAX => {}
                    sent if came.len() as u64 >= sent => return came,
                    _ if over.get_or_insert_with(Instant::now).elapsed() > LATE => return came,
                    _ => {}
                }
            }
        });
        Numbered { stop, sender, sink, all }
    }

    pub(crate) fn stop(self) -> Numbers {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("no thread panics");
        self.all.store(sent, Ordering::Relaxed);
        let came = self.sink.join().expect("no thread panics");
        let mut numbers: Vec<u64> = came.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        let repeated = numbers.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
        let gaps = came.windows(2).map(|pair| pair[1].1 - pair[0].1);
        let gap = gaps.max().unwrap_or_default();
        Numbers { sent, came: came.len() as u64, repeated, gap }
    }
}
