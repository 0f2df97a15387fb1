//! A chain in memory: gateway, hops, egress, with keys laid in by hand.
//!
//! ```text
//!  inner side ── gateway (0) ── hop 1 ── … ── hop n ── egress (n + 1) ── inner side
//!                path 1 ────────────────────────────►
//!                ◄──────────────────────────────────── path 2, the same hops backwards
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmail_dataplane::edge::{Edge, Role};
use ringmail_dataplane::hop::Hop;
use ringmail_dataplane::labels::LabelStack;
use ringmail_dataplane::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use ringmail_dataplane::nsh::{MetadataKey, NshConfig, Origin, PathNsh, Seen, ToldConfig};
use ringmail_dataplane::paths::{Destination, Leaving, PathConfig, PathTable, Tunnel};
use ringmail_dataplane::sa::{
    InboundOptions, InboundSa, Lease, OutboundOptions, OutboundSa, SaKey, SaTable, SegmentIndex,
    Suite,
};
use ringmail_dataplane::sap::MacKey;
use ringmail_dataplane::{Batch, Form, Function, Neighbour, Verdict};
use ringmail_functions::Forward;
use ringmail_model::integrity::Scope;
use ringmail_model::metadata::Kinds;
use ringmail_model::nsh::{Layout, Shape};
use ringmail_model::overhead::EspMode;
use ringmail_model::pathset::{Direction, SFF_LABEL};
use ringmail_model::{ElementId, Label, PathDigest, PathId, SaSpi, WorkerId};

pub(crate) const FORWARD: PathId = PathId(1);
pub(crate) const RETURN: PathId = PathId(2);
/// Connections that a hop remembers.
pub(crate) const HOP_FLOWS: usize = 16;
pub(crate) const INNER_MTU_BYTES: u16 = 1400;
pub(crate) const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 79, 0, 10));

pub(crate) const SERVICE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, 10));

/// Since 1970, when a chain begins whose codes are those of RFC 9145.
pub(crate) const UTC: Duration = Duration::from_millis(1_800_000_000_125);

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
    /// What stands in front of ESP on paths that are laid from now on.
    pub(crate) wire: Wire,
    /// What codes of RFC 9145 cover on paths that are laid from now on, if codes are those.
    pub(crate) scope: Option<Scope>,
    /// Which elements hold plaintext, by position.
    intrusive: Vec<bool>,
    /// Which hops may begin packets, by position.
    pub(crate) granted: Vec<Position>,
    /// Who is told what on paths that are laid from now on: the path, the place of the reader on it, and what.
    pub(crate) told: Vec<(PathId, u8, Kinds)>,
}

/// What stands in front of ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Mpls,
    MplsNsh,
    /// NSH over UDP.
    Sff,
    /// NSH over Ethernet.
    Nsh,
}

impl Wire {
    /// Those with a Network Service Header.
    pub(crate) const WITH_NSH: [Wire; 3] = [Wire::MplsNsh, Wire::Sff, Wire::Nsh];

    pub(crate) fn form(self, position: Position) -> Form {
        match self {
            Wire::Mpls | Wire::MplsNsh => Form::Labels(label(position)),
            Wire::Sff => Form::Sff,
            Wire::Nsh => Form::Nsh,
        }
    }

    /// The labels of a packet on the way to these elements.
    fn labels(self, rest: &[Position]) -> LabelStack {
        let elements = rest.iter().map(|position| label(*position));
        let labels: Vec<Label> = match self {
            _ if rest.is_empty() => vec![],
            Wire::Mpls => elements.collect(),
            Wire::MplsNsh => elements.chain([SFF_LABEL]).collect(),
            Wire::Sff => vec![SFF_LABEL],
            Wire::Nsh => vec![],
        };
        LabelStack::new(&labels).unwrap_or(LabelStack::NONE)
    }
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
        let mut chain = Chain::without_paths(Wire::Mpls, functions);
        chain.mode = mode;
        chain.lay_both();
        chain
    }

    /// As [`Chain::new`], with this in front of ESP; hops of `granted` positions may begin packets.
    pub(crate) fn on(wire: Wire, granted: &[Position], functions: Vec<Served>) -> Chain {
        let mut chain = Chain::without_paths(wire, functions);
        chain.granted = granted.to_vec();
        chain.lay_both();
        chain
    }

    /// As [`Chain::on`], with codes of RFC 9145 of this scope; every element's clock shows [`UTC`].
    pub(crate) fn rfc9145(wire: Wire, scope: Scope, functions: Vec<Served>) -> Chain {
        let mut chain = Chain::without_paths(wire, functions);
        chain.scope = Some(scope);
        let now = chain.now;
        for position in 0..chain.intrusive.len() {
            chain.paths(position).clock().set(now, UTC);
        }
        chain.lay_both();
        chain
    }

    fn lay_both(&mut self) {
        let chain = self;
        let there: Vec<Position> = (0..chain.intrusive.len()).collect();
        let back: Vec<Position> = there.iter().rev().copied().collect();
        chain.lay(FORWARD, Some(RETURN), &there);
        chain.lay(RETURN, Some(FORWARD), &back);
    }

    /// The elements alone.
    pub(crate) fn without_paths(wire: Wire, functions: Vec<Served>) -> Chain {
        let now = Instant::now();
        let end = functions.len() + 1;
        let proofs = |position: Position| {
            let origin = Origin::new(ElementId(position as u16), WorkerId(0), [7; 4]);
            PathTable::default().with_proofs(origin, Seen::default())
        };
        let edge = |role, position| {
            let mut edge =
                Edge::new(role, wire.form(position), 1000, [1, 2, 3, 4], SaTable::new(), now);
            edge.paths = proofs(position);
            edge
        };
        let mut intrusive = vec![true];
        let mut hops = Vec::new();
        for (index, (opens, function)) in functions.into_iter().enumerate() {
            intrusive.push(opens);
            let mut hop = Hop::new(wire.form(index + 1), opens, function, SaTable::new());
            hop.paths = proofs(index + 1);
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
            wire,
            scope: None,
            intrusive,
            granted: vec![],
            told: vec![],
        }
    }

    /// As [`Chain::on`], with these told of packets by who begins them.
    pub(crate) fn telling(
        wire: Wire,
        granted: &[Position],
        told: &[(PathId, u8, Kinds)],
        functions: Vec<Served>,
    ) -> Chain {
        let mut chain = Chain::without_paths(wire, functions);
        (chain.granted, chain.told) = (granted.to_vec(), told.to_vec());
        chain.lay_both();
        chain
    }

    /// Lays a path over these positions, with keys for each segment.
    pub(crate) fn lay(&mut self, id: PathId, return_path: Option<PathId>, route: &[Position]) {
        let ends: Vec<usize> =
            (0..route.len()).filter(|place| self.intrusive[route[*place]]).collect();
        for (place, position) in route.iter().enumerate() {
            let receiver = ends.iter().find(|end| **end > place);
            let leaving = route.get(place + 1).zip(receiver).map(|(next, receiver)| Leaving {
                next: Neighbour(*next as u16),
                labels: self.wire.labels(&route[place + 1..]),
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
                arriving: match place {
                    0 => LabelStack::NONE,
                    _ => self.wire.labels(&route[place..]),
                },
                nsh: self.nsh(id, route, place),
                return_path,
                mode: self.mode,
                inner_mtu_bytes: INNER_MTU_BYTES,
                destinations: [SERVICE, SERVICE_V6]
                    .into_iter()
                    .filter_map(|address| Destination::host(address, None))
                    .collect(),
            };
            self.paths(*position).put(config).expect("room");
        }
        if self.wire != Wire::Mpls {
            self.key_nsh(id, route);
        }
        for (segment, pair) in ends.windows(2).enumerate() {
            self.key(id, segment as u8, route[pair[0]], route[pair[1]]);
        }
    }

    /// What the element at this place of a route knows of the path's header.
    fn nsh(&self, id: PathId, route: &[Position], place: usize) -> Option<NshConfig> {
        let (hops, seals) = (route.len() - 2, &route[..route.len() - 1]);
        let seals: Vec<bool> = seals.iter().map(|position| self.intrusive[*position]).collect();
        let segments = seals.iter().filter(|seals| **seals).count();
        let told = || self.told.iter().filter(|(path, _, _)| *path == id);
        let metadata = told().map(|(_, _, kinds)| kinds.len_bytes()).collect();
        let shape = Shape { hops, segments, proof: true, mac: true, scope: self.scope, metadata };
        let layout = Layout::new(&shape).expect("it fits");
        let headers = told().zip(layout.metadata());
        let told = headers.map(|((_, reader, kinds), value)| ToldConfig {
            reader: *reader,
            writer: 0,
            writer_element: ElementId(route[0] as u16),
            kinds: *kinds,
            value,
        });
        let told = told.collect();
        let granted = route
            .iter()
            .enumerate()
            .filter(|(place, position)| *place == 0 || self.granted.contains(position));
        (self.wire != Wire::Mpls).then(|| NshConfig {
            digest: PathDigest([id.0 as u8; 32]),
            layout,
            told,
            position: place as u8,
            seals,
            origins: granted.map(|(at, who)| (ElementId(*who as u16), at as u8)).collect(),
            enforce: true,
            summaries: true,
            timestamp_window: Duration::from_secs(2),
        })
    }

    /// Keys of each link and of each element's proofs.
    fn key_nsh(&mut self, id: PathId, route: &[Position]) {
        let lease = self.lease.clone();
        let end = route[route.len() - 1];
        for (place, pair) in route.windows(2).enumerate() {
            let number = id.0 * 64 + place as u32;
            let (link, proof) = (SaSpi(0x2000 + number), SaSpi(0x3000 + number));
            let [mac, key] = [0x10, 0x20].map(|kind| MacKey::new([kind + number as u8; 16]));
            let mac = match self.scope {
                None => mac,
                Some(_) => MacKey::new_long([0x10 + number as u8; 32]),
            };
            self.header(pair[0], id).install_goes(link, &mac, lease.clone());
            self.header(pair[1], id).install_came(link, &mac, lease.clone());
            self.header(pair[0], id).install_prover(proof, &key, lease.clone());
            self.header(end, id).install_proved(place as u8, proof, &key, lease.clone());
        }
        for (path, reader, _) in self.told.clone() {
            if path == id {
                let spi = SaSpi(0x4000 + id.0 * 64 + u32::from(reader));
                self.key_metadata(id, route[0], (route[usize::from(reader)], reader), spi, 0);
            }
        }
    }

    /// A key for what the first element says to the reader at this position, which is at this place of the path.
    pub(crate) fn key_metadata(
        &mut self,
        id: PathId,
        writer: Position,
        to: (Position, u8),
        spi: SaSpi,
        epoch: u8,
    ) {
        let mut material = [0x3c; 20];
        material[..3].copy_from_slice(&[id.0 as u8, to.1, epoch]);
        self.key_metadata_of(id, writer, to, spi, material);
    }

    /// As [`Chain::key_metadata`], with the key that another path has at first.
    pub(crate) fn key_metadata_as(
        &mut self,
        other: PathId,
        id: PathId,
        writer: Position,
        to: (Position, u8),
        spi: SaSpi,
    ) {
        let mut material = [0x3c; 20];
        material[..3].copy_from_slice(&[other.0 as u8, to.1, 0]);
        self.key_metadata_of(id, writer, to, spi, material);
    }

    /// Keys of headers once more, where a description changed and they were lost.
    pub(crate) fn rekey(&mut self, id: PathId, route: &[Position]) {
        self.key_nsh(id, route);
    }

    fn key_metadata_of(
        &mut self,
        id: PathId,
        writer: Position,
        (element, reader): (Position, u8),
        spi: SaSpi,
        material: [u8; 20],
    ) {
        let key = SaKey::new(Suite::Aes128Gcm, &material).expect("a key");
        let key = Arc::new(MetadataKey::new(&key).expect("a cipher"));
        let lease = self.lease.clone();
        self.header(writer, id).install_writing(reader, spi, Arc::clone(&key), lease.clone());
        self.header(element, id).install_reading(spi, key, lease);
    }

    pub(crate) fn header(&mut self, position: Position, path: PathId) -> &mut PathNsh {
        let state = self.paths(position).get_mut(path).expect("the path");
        state.nsh.as_mut().expect("a header")
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

    pub(crate) fn paths(&mut self, position: Position) -> &mut PathTable {
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
