//! What is measured: the cipher, ESP, and a hop, each with [`PACKETS`] packets a round.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use aws_lc_rs::aead;
use ringmail_dataplane::batch::Batch;
use ringmail_dataplane::esp::{self, HEADER_BYTES, ICV_BYTES, NEXT_IPV4, sealed_len_bytes};
use ringmail_dataplane::hop::Hop;
use ringmail_dataplane::labels::LabelStack;
use ringmail_dataplane::limits::FLOWS;
use ringmail_dataplane::paths::{Leaving, PathConfig, Tunnel};
use ringmail_dataplane::sa::{
    InboundOptions, InboundSa, Lease, OutboundOptions, OutboundSa, SaKey, SaTable, SegmentIndex,
    Suite,
};
use ringmail_dataplane::{DropReason, Form, Neighbour, Verdict};
use ringmail_functions::{DpiRule, DpiSettings, OnMatch, Pattern, Settings};
use ringmail_model::overhead::EspMode;
use ringmail_model::pathset::Direction;
use ringmail_model::{Label, PathId, SaSpi};
use ringmail_packet::ipv4;

use super::Subject;
use super::acks::Acks;
use super::flows::Order;
use crate::site::FORBIDDEN;

/// Packets a sample: one full batch, eight of eight, or 64 of one.
pub(super) const PACKETS: usize = 64;

const SUITE: Suite = Suite::Aes128Gcm;
const PATH: PathId = PathId(1);
const MATERIAL: [[u8; 20]; 2] = [[0x11; 20], [0x22; 20]];
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// Bytes of the inner IPv4 and TCP headers.
pub(super) const HEADERS_BYTES: usize = 40;
const LEASE: Duration = Duration::from_secs(3600);

/// The cipher alone, over the text (inner packet, padding, trailer) of as many packets.
pub(super) struct Primitive {
    keys: [aead::LessSafeKey; 2],
    texts: Vec<Vec<u8>>,
    icvs: Vec<aead::Tag>,
}

impl Primitive {
    pub(super) fn new(size: usize) -> Result<Primitive> {
        let key = |material: &[u8; 20]| {
            let key = aead::UnboundKey::new(&aead::AES_128_GCM, &material[..16]);
            key.map(aead::LessSafeKey::new).map_err(|_| anyhow!("a key of the wrong length"))
        };
        let keys = [key(&MATERIAL[0])?, key(&MATERIAL[1])?];
        let text_len = sealed_len_bytes(size) - HEADER_BYTES - ICV_BYTES;
        let mut texts = vec![vec![0x45; text_len]; PACKETS];
        let sealed = texts.iter_mut().zip(0..).map(|(text, n)| seal(&keys[1], n, text));
        let icvs = sealed.collect::<Result<_>>()?;
        Ok(Primitive { keys, texts, icvs })
    }
}

impl Subject for Primitive {
    fn round(&mut self) -> Result<Duration> {
        // What one key sealed, the other opens the next time, as on a hop: two key schedules are in use.
        self.keys.swap(0, 1);
        let [from, to] = &self.keys;
        let start = Instant::now();
        for ((text, icv), n) in self.texts.iter_mut().zip(&mut self.icvs).zip(0..) {
            let aad = aead::Aad::from([0; 12]);
            let opened = from.open_in_place_separate_tag(nonce(n), aad, icv.as_ref(), text);
            opened.map_err(|_| anyhow!("a text does not open"))?;
            *icv = seal(to, n, text)?;
        }
        Ok(start.elapsed())
    }
}

fn nonce(n: u32) -> aead::Nonce {
    let mut nonce = [0; aead::NONCE_LEN];
    nonce[8..].copy_from_slice(&n.to_be_bytes());
    aead::Nonce::assume_unique_for_key(nonce)
}

fn seal(key: &aead::LessSafeKey, n: u32, text: &mut [u8]) -> Result<aead::Tag> {
    let sealed = key.seal_in_place_separate_tag(nonce(n), aead::Aad::from([0; 12]), text);
    sealed.map_err(|_| anyhow!("a text does not seal"))
}

/// The two associations of a hop, and the sender before it.
struct Associations {
    now: Instant,
    sender: OutboundSa,
    inbound: Arc<InboundSa>,
    outbound: OutboundSa,
}

impl Associations {
    fn new() -> Result<Associations> {
        let now = Instant::now();
        let lease = Lease::new(now, LEASE);
        let [before, after] = MATERIAL.map(|material| SaKey::new(SUITE, &material));
        let (before, after) = (before?, after?);
        let spis = [SaSpi(0x1111_1001), SaSpi(0x2222_2002)];
        let outbound =
            |spi, key| OutboundSa::new(spi, key, lease.clone(), OutboundOptions::default());
        let (options, segment) = (InboundOptions::default(), SegmentIndex(0));
        let inbound = InboundSa::new(spis[0], &before, PATH, segment, lease.clone(), options)?;
        let (sender, outbound) = (outbound(spis[0], &before)?, outbound(spis[1], &after)?);
        Ok(Associations { now, sender, inbound: Arc::new(inbound), outbound })
    }
}

/// Which half of ESP is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Open,
    Seal,
    Both,
}

/// `esp::open` with one association and `esp::seal` with another.
pub(super) struct EspPair {
    sas: Associations,
    work: Work,
    inner: Vec<u8>,
    packets: Vec<Vec<u8>>,
}

impl EspPair {
    pub(super) fn new(size: usize, work: Work) -> Result<EspPair> {
        let packets = vec![vec![0; sealed_len_bytes(size)]; PACKETS];
        Ok(EspPair { sas: Associations::new()?, work, inner: inner_packet(size, 0, 0), packets })
    }
}

impl Subject for EspPair {
    fn round(&mut self) -> Result<Duration> {
        let EspPair { sas, work, inner, packets } = self;
        let Associations { now, sender, inbound, outbound } = sas;
        for packet in packets.iter_mut() {
            packet[HEADER_BYTES..][..inner.len()].copy_from_slice(inner);
            if *work != Work::Seal {
                esp::seal(sender, packet, inner.len(), NEXT_IPV4, *now).map_err(refused)?;
            }
        }
        let start = Instant::now();
        for packet in packets.iter_mut() {
            let (mut len, mut next_header) = (inner.len(), NEXT_IPV4);
            if *work != Work::Seal {
                let opened = esp::open(inbound, packet, *now).map_err(refused)?;
                (len, next_header) = (opened.inner.len(), opened.next_header);
            }
            if *work != Work::Open {
                esp::seal(outbound, packet, len, next_header, *now).map_err(refused)?;
            }
        }
        Ok(start.elapsed())
    }
}

/// An intrusive hop in the middle of a path, serving `forward` or `dpi`.
pub(super) struct HopUnderTest {
    hop: Hop,
    now: Instant,
    sender: OutboundSa,
    front: Vec<u8>,
    inner: Vec<u8>,
    /// The next TCP sequence number of each connection.
    sequences: Vec<u32>,
    next_flow: usize,
    /// The next flow where not one after the other.
    order: Option<Order>,
    /// The other end, where the function keeps what was not acknowledged.
    acks: Option<Acks>,
    batches: Vec<Batch>,
    made: Batch,
    batch_packets: usize,
}

impl HopUnderTest {
    pub(super) fn new(
        size: usize,
        flows: usize,
        batch_packets: usize,
        dpi: bool,
    ) -> Result<HopUnderTest> {
        HopUnderTest::with_capacity(size, flows, batch_packets, dpi, FLOWS)
    }

    fn with_capacity(
        size: usize,
        flows: usize,
        batch_packets: usize,
        dpi: bool,
        remembered: usize,
    ) -> Result<HopUnderTest> {
        let sas = Associations::new()?;
        let (mine, config) = path(Some(Neighbour(0)))?;
        let egress = label(200)?;
        let mut inbound = SaTable::new();
        inbound.install(sas.inbound)?;
        let served = ringmail_functions::build(&function(dpi), SEEDS)?;
        let mut hop = Hop::new(Form::Labels(mine), true, served, inbound)
            .with_flows(remembered, SEEDS, sas.now);
        hop.paths.put(config)?;
        hop.paths.get_mut(PATH).context("a path that was just put")?.outbound = Some(sas.outbound);
        let frame_len = 28 + sealed_len_bytes(size);
        Ok(HopUnderTest {
            hop,
            now: sas.now,
            sender: sas.sender,
            front: front(&[mine, egress], sealed_len_bytes(size))?,
            inner: inner_packet(size, 0, 0),
            sequences: vec![0; flows],
            next_flow: 0,
            order: None,
            acks: match dpi {
                true => {
                    Some(Acks::new(flows, front(&[mine, egress], sealed_len_bytes(HEADERS_BYTES))?))
                }
                false => None,
            },
            batches: (0..PACKETS / batch_packets)
                .map(|_| Batch::with_capacity_bytes(batch_packets * frame_len))
                .collect(),
            made: Batch::with_capacity_bytes(2048),
            batch_packets,
        })
    }

    /// One that serves `forward`, knows as many connections as it may, and gets packets of all of them in turn; with
    /// `syn` it gets the SYN of each again.
    pub(super) fn remembering(size: usize, flows: usize, syn: bool) -> Result<HopUnderTest> {
        let mut subject = HopUnderTest::with_capacity(size, flows, PACKETS, false, flows)?;
        subject.inner[33] = SYN;
        for _ in 0..flows.div_ceil(PACKETS) {
            subject.round()?;
        }
        ensure!(subject.hop.flows() == flows, "a hop does not know {flows} connections");
        if !syn {
            subject.inner[33] = ACK;
        }
        subject.order = Some(Order::new(flows));
        Ok(subject)
    }

    pub(super) fn hop(&self) -> &Hop {
        &self.hop
    }

    fn lay_out(&mut self) -> Result<()> {
        for batch in &mut self.batches {
            batch.clear();
            batch.set_source(Some(Neighbour(0)));
            for _ in 0..self.batch_packets {
                let front = self.front.len();
                let len = front + sealed_len_bytes(self.inner.len());
                let index = batch.push(0, len, 0)?;
                let frame = batch.packet_mut(index);
                frame[..front].copy_from_slice(&self.front);
                let sequence = &mut self.sequences[self.next_flow];
                set_flow(&mut self.inner, self.next_flow, *sequence);
                *sequence = sequence.wrapping_add((self.inner.len() - HEADERS_BYTES) as u32);
                self.next_flow = match &mut self.order {
                    None => (self.next_flow + 1) % self.sequences.len(),
                    Some(order) => order.next(),
                };
                let esp = &mut frame[front..];
                esp[HEADER_BYTES..][..self.inner.len()].copy_from_slice(&self.inner);
                let inner_len = self.inner.len();
                esp::seal(&mut self.sender, esp, inner_len, NEXT_IPV4, self.now)
                    .map_err(refused)?;
            }
        }
        Ok(())
    }
}

impl Subject for HopUnderTest {
    fn round(&mut self) -> Result<Duration> {
        self.lay_out()?;
        let start = Instant::now();
        for batch in &mut self.batches {
            self.hop.handle_link(self.now, batch, &mut self.made);
        }
        let taken = start.elapsed();
        for batch in &self.batches {
            let mut verdicts = (0..batch.len()).map(|n| batch.verdict(n));
            let other = verdicts.find(|verdict| *verdict != Verdict::Send(Neighbour(1)));
            ensure!(other.is_none(), "a hop did not send a packet on: {other:?}");
        }
        if let Some(acks) = &mut self.acks {
            let flows = self.sequences.len();
            let sent =
                (0..flows.min(PACKETS)).map(|back| (self.next_flow + flows - 1 - back) % flows);
            let sent = sent.map(|flow| (flow, self.sequences[flow]));
            acks.send(self.now, &mut self.hop, &mut self.sender, sent)?;
        }
        Ok(taken)
    }
}

/// What the hop serves: for `dpi`, the rule of a bench of chains.
fn function(dpi: bool) -> Settings {
    if !dpi {
        return Settings::Forward;
    }
    let pattern = Pattern::Bytes(FORBIDDEN.as_bytes().to_vec());
    let rule = DpiRule {
        name: "forbidden".to_owned(),
        pattern,
        ignore_case: false,
        ports: Vec::new(),
        on_match: OnMatch::Reset,
    };
    Settings::Dpi(DpiSettings::new(vec![rule]))
}

/// The path of what is measured, which comes from `previous` and leaves under label 200; with the label of the element.
pub(super) fn path(previous: Option<Neighbour>) -> Result<(Label, PathConfig)> {
    let tunnel =
        Tunnel { source: Ipv4Addr::new(192, 0, 2, 2), destination: Ipv4Addr::new(192, 0, 2, 3) };
    let labels = LabelStack::new(&[label(200)?])?;
    let config = PathConfig {
        id: PATH,
        direction: Direction::Forward,
        previous,
        leaving: Some(Leaving { next: Neighbour(1), labels, tunnel: Some(tunnel) }),
        arriving: match previous {
            Some(_) => LabelStack::new(&[label(100)?, label(200)?])?,
            None => LabelStack::NONE,
        },
        nsh: None,
        return_path: None,
        mode: EspMode::Tunnel,
        inner_mtu_bytes: 9000,
        destinations: vec![],
    };
    Ok((label(100)?, config))
}

/// An association to seal with.
pub(super) fn sender() -> Result<OutboundSa> {
    Ok(Associations::new()?.sender)
}

/// A packet of a connection.
pub(super) fn flow_packet(size: usize, flow: usize, sequence: u32) -> Vec<u8> {
    inner_packet(size, flow, sequence)
}

fn label(value: u32) -> Result<Label> {
    Label::new(value).context("a reserved label")
}

pub(super) fn refused(reason: DropReason) -> anyhow::Error {
    anyhow!("a packet was dropped: {}", reason.name())
}

/// Labels and outer IPv4 header of a frame that arrives.
fn front(labels: &[Label], esp_len: usize) -> Result<Vec<u8>> {
    let labels = LabelStack::new(labels)?;
    let mut front = vec![0; labels.len_bytes() + 20];
    labels.write(64, &mut front);
    write_ipv4(&mut front[labels.len_bytes()..], 20 + esp_len, 50);
    Ok(front)
}

fn write_ipv4(header: &mut [u8], total_len: usize, protocol: u8) {
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(total_len as u16).to_be_bytes());
    header[8] = 64;
    header[9] = protocol;
    header[12..16].copy_from_slice(&[192, 0, 2, 1]);
    header[16..20].copy_from_slice(&[192, 0, 2, 2]);
    ipv4::Packet::new_unchecked(header).fill_checksum();
}

/// An IPv4 packet with a TCP header and as much text as fills it up.
pub(super) fn inner_packet(size: usize, flow: usize, sequence: u32) -> Vec<u8> {
    let mut packet = vec![0x5a; size];
    packet[..40].fill(0);
    write_ipv4(&mut packet[..20], size, 6);
    packet[32..34].copy_from_slice(&[0x50, ACK]);
    set_flow(&mut packet, flow, sequence);
    packet
}

fn set_flow(packet: &mut [u8], flow: usize, sequence: u32) {
    packet[24..28].copy_from_slice(&sequence.to_be_bytes());
    // The header's checksum is not looked at on the way.
    packet[13] = (flow >> 16) as u8;
    packet[20..22].copy_from_slice(&10_000_u16.wrapping_add(flow as u16).to_be_bytes());
}
