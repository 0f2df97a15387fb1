//! A chain in memory: gateway, hops, egress, with keys laid in by hand.
//!
//! ```text
//!  inner side ── gateway (0) ── hop 1 ── … ── hop n ── egress (n + 1) ── inner side
//!                path 1 ────────────────────────────►
//!                ◄──────────────────────────────────── path 2, the same hops backwards
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use ringmail_dataplane::edge::{Edge, Role};
use ringmail_dataplane::hop::Hop;
use ringmail_dataplane::labels::LabelStack;
use ringmail_dataplane::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use ringmail_dataplane::paths::{Destination, Leaving, PathConfig, Tunnel};
use ringmail_dataplane::sa::{
    InboundOptions, InboundSa, Lease, OutboundOptions, OutboundSa, SaKey, SaTable, SegmentIndex,
    Suite,
};
use ringmail_dataplane::{Batch, Function, Neighbour, Verdict};
use ringmail_functions::Forward;
use ringmail_model::overhead::EspMode;
use ringmail_model::pathset::Direction;
use ringmail_model::{Label, PathId, SaSpi};

pub(crate) const FORWARD: PathId = PathId(1);
pub(crate) const RETURN: PathId = PathId(2);
/// Connections that a hop remembers.
pub(crate) const HOP_FLOWS: usize = 16;
pub(crate) const INNER_MTU_BYTES: u16 = 1400;
pub(crate) const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 79, 0, 10));

pub(crate) const SERVICE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, 10));

/// A function with whether it is intrusive.
pub(crate) type Served = (bool, Box<dyn Function>);

pub(crate) struct Chain {
    pub(crate) gateway: Edge,
    pub(crate) hops: Vec<Hop>,
    pub(crate) egress: Edge,
    pub(crate) now: Instant,
    pub(crate) lease: Lease,
    /// The mode of paths that are laid from now on.
    pub(crate) mode: EspMode,
    /// Which elements hold plaintext, by position.
    intrusive: Vec<bool>,
}

/// Which of a chain's elements; also its neighbour index.
pub(crate) type Position = usize;

pub(crate) fn label(position: Position) -> Label {
    Label::new(1000 + position as u32).expect("a label")
}

fn link(position: Position) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, position as u8 + 1)
}

/// Key and salt of a segment.
pub(crate) fn material(path: PathId, segment: u8) -> Vec<u8> {
    let mut material = vec![0x5a; 20];
    material[..2].copy_from_slice(&[path.0 as u8, segment]);
    material
}

impl Chain {
    /// A chain of intrusive forwarding hops.
    pub(crate) fn intrusive(hops: usize) -> Chain {
        Chain::new((0..hops).map(|_| (true, Box::<Forward>::default() as _)).collect())
    }

    /// A chain of these functions, with a path over all of them and one back.
    pub(crate) fn new(functions: Vec<Served>) -> Chain {
        Chain::in_mode(EspMode::Tunnel, functions)
    }

    /// As [`Chain::new`], with ESP in this mode.
    pub(crate) fn in_mode(mode: EspMode, functions: Vec<Served>) -> Chain {
        let mut chain = Chain::without_paths(functions);
        chain.mode = mode;
        let there: Vec<Position> = (0..chain.intrusive.len()).collect();
        let back: Vec<Position> = there.iter().rev().copied().collect();
        chain.lay(FORWARD, Some(RETURN), &there);
        chain.lay(RETURN, Some(FORWARD), &back);
        chain
    }

    /// The elements alone.
    pub(crate) fn without_paths(functions: Vec<Served>) -> Chain {
        let now = Instant::now();
        let end = functions.len() + 1;
        let edge = |role, position| {
            Edge::new(role, label(position), 1000, [1, 2, 3, 4], SaTable::new(), now)
        };
        let mut intrusive = vec![true];
        let mut hops = Vec::new();
        for (index, (opens, function)) in functions.into_iter().enumerate() {
            intrusive.push(opens);
            let hop = Hop::new(label(index + 1), opens, function, SaTable::new());
            hops.push(hop.with_flows(HOP_FLOWS, [5, 6, 7, 8], now));
        }
        intrusive.push(true);
        Chain {
            gateway: edge(Role::Gateway, 0),
            hops,
            egress: edge(Role::Egress, end),
            now,
            lease: Lease::unlimited(now),
            mode: EspMode::Tunnel,
            intrusive,
        }
    }

    /// Lays a path over these positions, with keys for each segment.
    pub(crate) fn lay(&mut self, id: PathId, return_path: Option<PathId>, route: &[Position]) {
        let ends: Vec<usize> =
            (0..route.len()).filter(|place| self.intrusive[route[*place]]).collect();
        for (place, position) in route.iter().enumerate() {
            let rest: Vec<Label> = route[place + 1..].iter().map(|p| label(*p)).collect();
            let receiver = ends.iter().find(|end| **end > place);
            let leaving = route.get(place + 1).zip(receiver).map(|(next, receiver)| Leaving {
                next: Neighbour(*next as u16),
                labels: LabelStack::new(&rest).expect("a stack"),
                tunnel: self.intrusive[*position].then(|| Tunnel {
                    source: link(*position),
                    destination: link(route[*receiver]),
                }),
            });
            let config = PathConfig {
                id,
                direction: if route[0] == 0 { Direction::Forward } else { Direction::Return },
                previous: place.checked_sub(1).map(|p| Neighbour(route[p] as u16)),
                leaving,
                return_path,
                mode: self.mode,
                inner_mtu_bytes: INNER_MTU_BYTES,
                destinations: [SERVICE, SERVICE_V6]
                    .map(|address| Destination { address, port: None })
                    .to_vec(),
            };
            self.paths(*position).put(config).expect("room");
        }
        for (segment, pair) in ends.windows(2).enumerate() {
            self.key(id, segment as u8, route[pair[0]], route[pair[1]]);
        }
    }

    fn key(&mut self, path: PathId, segment: u8, sender: Position, receiver: Position) {
        let key = SaKey::new(Suite::Aes128Gcm, &material(path, segment)).expect("a key");
        // The low twelve bits differ, so that every table has room.
        let spi = SaSpi(0x1000 + path.0 * 64 + u32::from(segment));
        let lease = self.lease.clone();
        let inbound = InboundSa::new(
            spi,
            &key,
            path,
            SegmentIndex(segment),
            lease.clone(),
            InboundOptions::default(),
        );
        let outbound = OutboundSa::new(spi, &key, lease, OutboundOptions::default());
        self.inbound(receiver).install(Arc::new(inbound.expect("an association"))).expect("room");
        let state = self.paths(sender).get_mut(path).expect("the path");
        state.outbound = Some(outbound.expect("an association"));
    }

    pub(crate) fn paths(
        &mut self,
        position: Position,
    ) -> &mut ringmail_dataplane::paths::PathTable {
        match position.checked_sub(1) {
            None => &mut self.gateway.paths,
            Some(hop) if hop < self.hops.len() => &mut self.hops[hop].paths,
            Some(_) => &mut self.egress.paths,
        }
    }

    fn inbound(&mut self, position: Position) -> &mut SaTable {
        match position.checked_sub(1) {
            None => &mut self.gateway.inbound,
            Some(hop) if hop < self.hops.len() => &mut self.hops[hop].inbound,
            Some(_) => &mut self.egress.inbound,
        }
    }

    /// What a plain packet becomes at the gateway: the frame for the first hop, or the verdict.
    pub(crate) fn enter(&mut self, packet: &[u8]) -> Result<Frame, Verdict> {
        let mut batch = plain(packet);
        self.gateway.handle_inner(self.now, &mut batch);
        sent(&batch, 0)
    }

    /// Gives a frame to the element that it is for, and collects all that comes of it: frames and delivered packets.
    pub(crate) fn step(&mut self, frame: &Frame) -> Outcome {
        let mut batch = Batch::default();
        batch.push_copy(0, &frame.bytes, 0).expect("room");
        batch.set_source(Some(Neighbour(frame.from as u16)));
        let mut made = Batch::default();
        let at = frame.to;
        match at.checked_sub(1) {
            None => self.gateway.handle_link(self.now, &mut batch),
            Some(hop) if hop < self.hops.len() => {
                self.hops[hop].handle_link(self.now, &mut batch, &mut made);
            }
            Some(_) => self.egress.handle_link(self.now, &mut batch),
        }
        let made = (0..made.len()).filter_map(|i| sent_at(&made, i, at).ok()).collect();
        match batch.verdict(0) {
            Verdict::Deliver => Outcome {
                delivered: Some(batch.packet(0).to_vec()),
                frame: None,
                made,
                verdict: Verdict::Deliver,
            },
            verdict => {
                Outcome { delivered: None, frame: sent_at(&batch, 0, at).ok(), made, verdict }
            }
        }
    }

    /// Sends a frame on until it is delivered or dropped.
    pub(crate) fn run(&mut self, mut frame: Frame) -> Result<Vec<u8>, Verdict> {
        loop {
            let outcome = self.step(&frame);
            match (outcome.frame, outcome.delivered) {
                (Some(next), _) => frame = next,
                (None, Some(packet)) => return Ok(packet),
                (None, None) => return Err(outcome.verdict),
            }
        }
    }

    /// A plain packet through the whole forward path.
    pub(crate) fn forward(&mut self, packet: &[u8]) -> Result<Vec<u8>, Verdict> {
        let frame = self.enter(packet)?;
        self.run(frame)
    }

    /// A plain reply through the whole return path.
    pub(crate) fn back(&mut self, packet: &[u8]) -> Result<Vec<u8>, Verdict> {
        let frame = self.leave(packet)?;
        self.run(frame)
    }

    /// What a plain reply becomes at the egress.
    pub(crate) fn leave(&mut self, packet: &[u8]) -> Result<Frame, Verdict> {
        let mut batch = plain(packet);
        self.egress.handle_inner(self.now, &mut batch);
        sent_at(&batch, 0, self.hops.len() + 1)
    }
}

/// What came of one frame.
pub(crate) struct Outcome {
    pub(crate) delivered: Option<Vec<u8>>,
    pub(crate) frame: Option<Frame>,
    pub(crate) made: Vec<Frame>,
    pub(crate) verdict: Verdict,
}

/// A frame on a link.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) from: Position,
    pub(crate) to: Position,
    pub(crate) bytes: Vec<u8>,
}

fn plain(packet: &[u8]) -> Batch {
    let mut batch = Batch::default();
    batch.push_copy(HEADROOM_BYTES, packet, TAILROOM_BYTES).expect("room");
    batch
}

fn sent(batch: &Batch, from: Position) -> Result<Frame, Verdict> {
    sent_at(batch, 0, from)
}

fn sent_at(batch: &Batch, index: usize, from: Position) -> Result<Frame, Verdict> {
    match batch.verdict(index) {
        Verdict::Send(to) => {
            Ok(Frame { from, to: to.0.into(), bytes: batch.packet(index).to_vec() })
        }
        verdict => Err(verdict),
    }
}
