//! The thread of the WireGuard end: sockets outside, links in memory inside, and the front between them.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use ringmail_dataplane::Batch;
use ringmail_dataplane::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use ringmail_dataplane_io::Link;
use ringmail_dataplane_io::memory::MemoryLink;
use ringmail_dataplane_io::poll::Poller;
use ringmail_gateway::access::AccessSink;
use ringmail_gateway::limits::{WIREGUARD_DATAGRAM_BYTES, WIREGUARD_TICK_MS};
use ringmail_gateway::wireguard::{Endpoint, Front, Outside, PacketChain};
use ringmail_gateway::{Counters, Rates};
use ringmail_model::PathId;
use ringmail_packet::flow::FlowKey;
use tokio::sync::oneshot;

use super::joint::{Joints, Shared, to_worker};
use super::{Listening, Taken, Told};
use crate::element::chain::{Chains, Losses};
use crate::element::command::Command;
use crate::element::worker::BATCH_BYTES;

/// Datagrams that are taken from one socket, and batches from one worker, before the others are looked at.
const A_TURN: usize = 64;

/// How long nothing may come before timers are looked at.
const TICK: Duration = Duration::from_millis(WIREGUARD_TICK_MS);

/// The thread's own.
pub(super) struct Driver {
    key: [u8; 32],
    front: Front,
    outside: Sockets,
    chain: Workers,
    losses: Losses,
    poller: Poller,
    shared: Arc<Shared>,
    counting: (Arc<Counters>, Arc<Rates>),
    told: mpsc::Receiver<Told>,
    datagram: Box<[u8]>,
    batch: Batch,
}

/// The sockets of the listeners, by numbers that they keep.
struct Sockets(Vec<Option<(SocketAddr, UdpSocket)>>);

/// The data plane's workers, with what waits for each of them.
struct Workers {
    chains: Chains,
    links: Vec<MemoryLink>,
    batches: Vec<Batch>,
    hasher: RandomState,
}

impl Outside for Sockets {
    fn send(&mut self, to: Endpoint, datagram: &[u8]) {
        if let Some(Some((_, socket))) = self.0.get(to.listener) {
            // What does not fit is lost, as on any link outside.
            let _lost = socket.send_to(datagram, to.address);
        }
    }
}

impl PacketChain for Workers {
    fn pin(&mut self, flow: FlowKey, path: PathId) -> PathId {
        let taken = self.chains.variant(path);
        // A worker carries out what it was told before it takes packets, so nobody waits for the answer. One whose table
        // is full drops the flow's packets and counts them.
        for worker in self.chains.workers() {
            worker.give(Command::Pin(flow, taken, None, oneshot::channel().0));
        }
        taken
    }

    fn began(&mut self, flow: FlowKey, client: &str, rule: &str, service: &str) {
        if let Some(facts) = self.chains.facts(None, client, rule) {
            for worker in self.chains.workers() {
                worker.give(Command::Say(flow, facts.clone()));
            }
        }
        self.chains.began(flow, client, rule, service);
    }

    fn unpin(&mut self, flow: FlowKey) {
        self.chains.ended(flow);
        for worker in self.chains.workers() {
            worker.give(Command::Unpin(flow, Duration::ZERO));
        }
    }

    fn send(&mut self, flow: &FlowKey, packet: &[u8]) -> bool {
        let at = (self.hasher.hash_one(flow) % self.links.len() as u64) as usize;
        let lay = |batch: &mut Batch| batch.push_copy(HEADROOM_BYTES, packet, TAILROOM_BYTES);
        if lay(&mut self.batches[at]).is_ok() {
            return true;
        }
        self.flush(at) && lay(&mut self.batches[at]).is_ok()
    }
}

impl Workers {
    /// Hands over what waits for a worker. Whether it had room.
    fn flush(&mut self, at: usize) -> bool {
        let batch = &mut self.batches[at];
        if batch.is_empty() {
            return true;
        }
        to_worker(batch);
        // A link in memory has no errors of its own.
        let sent = self.links[at].send(batch);
        batch.clear();
        if let Some(worker) = self.chains.workers().get(at) {
            worker.waker.wake();
        }
        sent.is_ok_and(|sent| sent.refused == 0)
    }
}

impl Driver {
    pub(super) fn new(
        joints: Joints,
        taken: Taken,
        chains: Chains,
        counting: (Arc<Counters>, Arc<Rates>),
        told: mpsc::Receiver<Told>,
    ) -> io::Result<Driver> {
        let Joints { links, poller, shared } = joints;
        let Taken { key, plan, listeners } = taken;
        let mut outside = Sockets(Vec::new());
        let logs = outside.take(listeners, &poller)?;
        let front = Front::new(key, plan, Instant::now(), counting.clone(), logs);
        shared.set_addresses(front.addresses().collect());
        let batches = links.iter().map(|_| Batch::with_capacity_bytes(BATCH_BYTES)).collect();
        let losses = chains.losses();
        let chain = Workers { chains, links, batches, hasher: RandomState::new() };
        let datagram = vec![0; WIREGUARD_DATAGRAM_BYTES].into_boxed_slice();
        let batch = Batch::with_capacity_bytes(BATCH_BYTES);
        Ok(Driver {
            key,
            front,
            outside,
            chain,
            losses,
            poller,
            shared,
            counting,
            told,
            datagram,
            batch,
        })
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    /// When the system has no more file descriptors to wait with.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut ticked = Instant::now();
        loop {
            if !self.obey()? {
                self.shared.set_addresses(HashSet::new());
                self.front.close(Instant::now(), &mut self.chain);
                return Ok(());
            }
            let Driver { front, outside, chain, losses, .. } = &mut self;
            losses.look(|dead, how| front.leave(Instant::now(), dead, how, outside, chain));
            let worked = self.take_datagrams() | self.take_answers();
            let now = Instant::now();
            if now.saturating_duration_since(ticked) >= TICK {
                ticked = now;
                self.front.handle_timeout(now, &mut self.outside, &mut self.chain);
            }
            if !worked {
                self.poller.wait(Some(TICK))?;
            }
        }
    }

    fn take_datagrams(&mut self) -> bool {
        let mut worked = false;
        for listener in 0..self.outside.0.len() {
            for _ in 0..A_TURN {
                let Some((_, socket)) = &self.outside.0[listener] else { break };
                // An error is about a datagram that was sent before; the next call says what is there.
                let (len, address) = match socket.recv_from(&mut self.datagram) {
                    Ok(came) => came,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => continue,
                };
                worked = true;
                let (now, from) = (Instant::now(), Endpoint { listener, address });
                let datagram = &self.datagram[..len];
                self.front.handle_datagram(now, from, datagram, &mut self.outside, &mut self.chain);
            }
        }
        for at in 0..self.chain.links.len() {
            let waiting = self.chain.batches[at].len() as u64;
            if !self.chain.flush(at) {
                self.counting.0.wireguard_overrun.add(waiting);
            }
        }
        worked
    }

    fn take_answers(&mut self) -> bool {
        let mut worked = false;
        for link in &mut self.chain.links {
            // A link in memory has no errors of its own.
            while link.recv(&mut self.batch).is_ok_and(|count| count > 0) {
                worked = true;
                let now = Instant::now();
                for slot in 0..self.batch.len() {
                    let packet = self.batch.packet(slot);
                    self.front.handle_answer(now, packet, &mut self.outside);
                }
            }
        }
        worked
    }

    /// Whether to go on.
    fn obey(&mut self) -> io::Result<bool> {
        loop {
            let now = Instant::now();
            match self.told.try_recv() {
                Ok(Told::Take(taken)) => {
                    let Taken { key, plan, listeners } = *taken;
                    let logs = self.outside.take(listeners, &self.poller)?;
                    if key == self.key {
                        self.front.take(now, plan, logs, &mut self.chain);
                    } else {
                        self.front.close(now, &mut self.chain);
                        self.front = Front::new(key, plan, now, self.counting.clone(), logs);
                        self.key = key;
                    }
                    self.shared.set_addresses(self.front.addresses().collect());
                }
                Ok(Told::Cut(paths)) => self.front.cut(now, &paths, &mut self.chain),
                Ok(Told::Stop) | Err(mpsc::TryRecvError::Disconnected) => return Ok(false),
                Err(mpsc::TryRecvError::Empty) => return Ok(true),
            }
        }
    }
}

impl Sockets {
    /// Has these listeners; those that stay keep their numbers. The logs come back by number.
    fn take(
        &mut self,
        listeners: Vec<Listening>,
        poller: &Poller,
    ) -> io::Result<Vec<Option<AccessSink>>> {
        let stays = |address: &SocketAddr| listeners.iter().any(|l| l.address == *address);
        for slot in &mut self.0 {
            if slot.as_ref().is_some_and(|(address, _)| !stays(address)) {
                *slot = None;
            }
        }
        let mut logs = Vec::new();
        for Listening { address, socket, log } in listeners {
            let known =
                self.0.iter().position(|slot| slot.as_ref().is_some_and(|(at, _)| *at == address));
            let number = match (known, socket) {
                (Some(number), _) => number,
                (None, Some(socket)) => {
                    poller.add(&socket, self.0.len() as u64)?;
                    self.0.push(Some((address, socket)));
                    self.0.len() - 1
                }
                (None, None) => continue,
            };
            if logs.len() <= number {
                logs.resize_with(number + 1, || None);
            }
            logs[number] = log;
        }
        Ok(logs)
    }
}
