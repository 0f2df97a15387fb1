//! Many TCP connections at once through a chain, each with a pattern of its own that both ends check.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringmail_model::SplitMix64;
use ringmail_node::control::PinnedFlow;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Barrier, Semaphore, mpsc};

use crate::live::world::{PATIENCE, World};

/// The gateway's address on the inner side.
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 1));
const SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 79, 0, 10)), 80);

/// The kernel gives none of these to anybody.
const FIRST_PORT: u16 = 20_000;

/// Set in the process that is the far end: flows and rounds.
const FAR_END: &str = "RINGMAIL_TEST_FAR_END";
const LISTENS: &str = "far end: listens";
const SAW: &str = "far end: saw ";

/// Flows that wait to be accepted at a time: more than the listener's queue holds would be reset by the kernel.
const KNOCKING: usize = 256;
const WELCOME: u8 = 1;

/// Flows that send at a time. All at once would fill the queue of a TUN many times over, and wait for timers.
const SPEAKING: usize = 256;

/// Bytes that a flow sends and gets back in one round.
const ROUND_BYTES: usize = 2_000;

/// What the service saw of a flow.
pub(super) struct Seen {
    /// Which flow it says it is.
    pub(super) number: u32,
    /// Where it came from.
    pub(super) from: SocketAddr,
}

/// Opens so many connections on `path` and holds all of them open, then has each send and get back its pattern for some
/// rounds. Fails if any byte of any flow is another's. Returns what the service saw, in no order.
pub(super) fn cross(world: &World, path: &str, flows: usize, rounds: usize) -> Vec<Seen> {
    for number in 0..flows {
        let flow = PinnedFlow {
            path: path.to_owned(),
            source: SocketAddr::new(SOURCE, FIRST_PORT + number as u16),
            destination: SERVICE,
            protocol: 6,
        };
        world.pin(flow);
    }
    let service = Service::start(world, flows, rounds);
    world.inside("gateway", || connect(flows, rounds));
    service.seen(flows)
}

/// The far end, in a process of its own: both ends of many flows are more descriptors than one may have.
struct Service {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Service {
    fn start(world: &World, flows: usize, rounds: usize) -> Service {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.args(["--exact", "live::attached::flows::the_far_end", "--ignored", "--nocapture"]);
        command.env(FAR_END, format!("{flows} {rounds}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let spawned = world.inside("www", || command.spawn());
        let mut process = spawned.expect("this program starts again");
        let stdout = process.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines();
        let listens =
            |line: std::io::Result<String>| line.is_ok_and(|line| line.ends_with(LISTENS));
        assert!(lines.by_ref().any(listens), "the service listens");
        Service { process, lines }
    }

    /// What it saw of all flows, once each has ended.
    fn seen(mut self, flows: usize) -> Vec<Seen> {
        let mut seen = Vec::with_capacity(flows);
        while seen.len() < flows {
            let line = self.lines.next().expect("every flow is sound at the service");
            let line = line.expect("text");
            let Some(rest) = line.strip_prefix(SAW) else { continue };
            let (number, from) = rest.split_once(' ').expect("two words");
            let (number, from) = (number.parse(), from.parse());
            seen.push(Seen { number: number.expect("a number"), from: from.expect("an address") });
        }
        assert!(self.process.wait().expect("it ends").success());
        seen
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that ended by itself is reaped all the same.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
#[ignore = "the far end of other tests, which start it"]
fn the_far_end() {
    let Ok(asked) = std::env::var(FAR_END) else { return };
    let (flows, rounds) = asked.split_once(' ').expect("two numbers");
    serve(flows.parse().expect("a number"), rounds.parse().expect("a number"));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Byte `at` of what flow `number` sends in this round and direction; differs from its neighbours' nearly everywhere.
fn pattern(number: u32, round: usize, back: bool) -> Vec<u8> {
    let seed = u64::from(number) << 20 | (round as u64) << 1 | u64::from(back);
    let mut random = SplitMix64(seed);
    std::iter::repeat_with(|| random.draw() as u8).take(ROUND_BYTES).collect()
}

fn serve(flows: usize, rounds: usize) {
    runtime().block_on(async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(SERVICE).expect("the address is free");
        let listener: TcpListener = socket.listen(4_096).expect("it listens");
        say(LISTENS);
        let (report, mut reports) = mpsc::unbounded_channel::<(u32, SocketAddr)>();
        for _ in 0..flows {
            let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
            let (stream, from) = accepted.expect("every flow arrives").expect("it is accepted");
            let report = report.clone();
            tokio::spawn(async move {
                let number = answer(stream, rounds).await.expect("the flow lives");
                let _gone = report.send((number, from));
            });
        }
        let mut seen = Vec::with_capacity(flows);
        for _ in 0..flows {
            let next = tokio::time::timeout(8 * PATIENCE, reports.recv()).await;
            let (number, from) = next.expect("every flow ends").expect("every flow is sound");
            seen.push(format!("{SAW}{number} {from}"));
        }
        // Nobody reads before all have ended, and a pipe holds a few thousand lines.
        seen.iter().for_each(|line| say(line));
    });
}

/// A line for the process that started this one.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("somebody listens");
}

async fn answer(mut stream: TcpStream, rounds: usize) -> std::io::Result<u32> {
    let number = stream.read_u32().await?;
    stream.write_u8(WELCOME).await?;
    let mut got = vec![0; ROUND_BYTES];
    for round in 0..rounds {
        stream.read_exact(&mut got).await?;
        assert!(
            got == pattern(number, round, false),
            "flow {number}, round {round}, at the service"
        );
        stream.write_all(&pattern(number, round, true)).await?;
    }
    Ok(number)
}

fn connect(flows: usize, rounds: usize) {
    runtime().block_on(async {
        let together = Arc::new(Barrier::new(flows));
        let done = Arc::new(AtomicUsize::new(0));
        let knocking = Arc::new(Semaphore::new(KNOCKING));
        let speaking = Arc::new(Semaphore::new(SPEAKING));
        let mut all = tokio::task::JoinSet::new();
        for number in 0..flows {
            let (together, done) = (Arc::clone(&together), Arc::clone(&done));
            let (knocking, speaking) = (Arc::clone(&knocking), Arc::clone(&speaking));
            all.spawn(async move {
                let socket = TcpSocket::new_v4().expect("a socket");
                let source = SocketAddr::new(SOURCE, FIRST_PORT + number as u16);
                socket.bind(source).expect("the port is free");
                let knocks = knocking.acquire_owned().await.expect("nobody closes it");
                let mut stream = socket.connect(SERVICE).await.expect("it connects");
                stream.write_u32(number as u32).await.expect("the flow lives");
                assert_eq!(stream.read_u8().await.expect("it is let in"), WELCOME);
                drop(knocks);
                // From here on all are open at once.
                together.wait().await;
                let mut got = vec![0; ROUND_BYTES];
                for round in 0..rounds {
                    let _speaks = speaking.acquire().await.expect("nobody closes it");
                    let sent = pattern(number as u32, round, false);
                    stream.write_all(&sent).await.expect("the flow lives");
                    stream.read_exact(&mut got).await.expect("the flow lives");
                    let expected = pattern(number as u32, round, true);
                    assert!(got == expected, "flow {number}, round {round}, at the client");
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let joined = async {
            while let Some(ended) = all.join_next().await {
                ended.expect("no flow fails");
            }
        };
        // A connection whose first segments are lost tries again after seconds.
        tokio::time::timeout(8 * PATIENCE, joined).await.expect("all flows end");
        assert_eq!(done.load(Ordering::Relaxed), flows);
    });
}
