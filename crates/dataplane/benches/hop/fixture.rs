//! What is measured. Each `run` handles [`PACKETS`] packets and says how long that took.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use ringmail_dataplane::{Form, Neighbour, Verdict};
use ringmail_functions::Forward;
use ringmail_model::overhead::EspMode;
use ringmail_model::pathset::Direction;
use ringmail_model::{Label, PathId, SaSpi};
use ringmail_packet::ipv4;

/// Packets a sample: one full batch, eight of eight, or 64 of one.
pub(crate) const PACKETS: usize = 64;

const SUITE: Suite = Suite::Aes128Gcm;
const PATH: PathId = PathId(1);
const MATERIAL: [[u8; 20]; 2] = [[0x11; 20], [0x22; 20]];
const LEASE: Duration = Duration::from_secs(3600);

/// The cipher alone, over the text (inner packet, padding, trailer) of as many packets.
pub(crate) struct Primitive {
    keys: [aead::LessSafeKey; 2],
    texts: Vec<Vec<u8>>,
    icvs: Vec<aead::Tag>,
}

impl Primitive {
    pub(crate) fn new(size: usize) -> Primitive {
        let key = |material: &[u8; 20]| {
            let key = aead::UnboundKey::new(&aead::AES_128_GCM, &material[..16]);
            aead::LessSafeKey::new(key.expect("16 bytes"))
        };
        let keys = [key(&MATERIAL[0]), key(&MATERIAL[1])];
        let text_len = sealed_len_bytes(size) - HEADER_BYTES - ICV_BYTES;
        let mut texts = vec![vec![0x45; text_len]; PACKETS];
        let icvs = texts.iter_mut().zip(0..).map(|(text, n)| seal(&keys[1], n, text)).collect();
        Primitive { keys, texts, icvs }
    }

    pub(crate) fn run(&mut self) -> Duration {
        // What one key sealed, the other opens the next time, as on a hop: two key schedules are in use.
        self.keys.swap(0, 1);
        let [from, to] = &self.keys;
        let start = Instant::now();
        for ((text, icv), n) in self.texts.iter_mut().zip(&mut self.icvs).zip(0..) {
            let aad = aead::Aad::from([0; 12]);
            from.open_in_place_separate_tag(nonce(n), aad, icv.as_ref(), text).expect("opens");
            *icv = seal(to, n, text);
        }
        start.elapsed()
    }
}

fn nonce(n: u32) -> aead::Nonce {
    let mut nonce = [0; aead::NONCE_LEN];
    nonce[8..].copy_from_slice(&n.to_be_bytes());
    aead::Nonce::assume_unique_for_key(nonce)
}

fn seal(key: &aead::LessSafeKey, n: u32, text: &mut [u8]) -> aead::Tag {
    key.seal_in_place_separate_tag(nonce(n), aead::Aad::from([0; 12]), text).expect("seals")
}

/// The two associations of a hop, and the sender before it.
struct Associations {
    now: Instant,
    sender: OutboundSa,
    inbound: Arc<InboundSa>,
    outbound: OutboundSa,
}

impl Associations {
    fn new() -> Associations {
        let now = Instant::now();
        let lease = Lease::new(now, LEASE);
        let keys = MATERIAL.map(|material| SaKey::new(SUITE, &material).expect("20 bytes"));
        let spis = [SaSpi(0x1111_1001), SaSpi(0x2222_2002)];
        let outbound = |n: usize| {
            let options = OutboundOptions::default();
            OutboundSa::new(spis[n], &keys[n], lease.clone(), options).expect("an association")
        };
        let options = InboundOptions::default();
        let segment = SegmentIndex(0);
        let inbound = InboundSa::new(spis[0], &keys[0], PATH, segment, lease.clone(), options);
        let inbound = Arc::new(inbound.expect("an association"));
        Associations { now, sender: outbound(0), inbound, outbound: outbound(1) }
    }
}

/// `esp::open` with one association and `esp::seal` with another.
pub(crate) struct EspPair {
    sas: Associations,
    inner: Vec<u8>,
    packets: Vec<Vec<u8>>,
}

impl EspPair {
    pub(crate) fn new(size: usize) -> EspPair {
        EspPair {
            sas: Associations::new(),
            inner: inner_packet(size, 0),
            packets: vec![vec![0; sealed_len_bytes(size)]; PACKETS],
        }
    }

    pub(crate) fn run(&mut self) -> Duration {
        let Associations { now, sender, inbound, outbound } = &mut self.sas;
        for packet in &mut self.packets {
            packet[HEADER_BYTES..][..self.inner.len()].copy_from_slice(&self.inner);
            esp::seal(sender, packet, self.inner.len(), NEXT_IPV4, *now).expect("seals");
        }
        let start = Instant::now();
        for packet in &mut self.packets {
            let opened = esp::open(inbound, packet, *now).expect("opens");
            let len = opened.inner.len();
            esp::seal(outbound, packet, len, opened.next_header, *now).expect("seals");
        }
        start.elapsed()
    }
}

/// An intrusive hop in the middle of a path, serving `forward`.
pub(crate) struct HopUnderTest {
    hop: Hop,
    now: Instant,
    sender: OutboundSa,
    front: Vec<u8>,
    inner: Vec<u8>,
    flows: usize,
    next_flow: usize,
    batches: Vec<Batch>,
    made: Batch,
    batch_packets: usize,
}

impl HopUnderTest {
    pub(crate) fn new(size: usize, flows: usize, batch_packets: usize) -> HopUnderTest {
        let sas = Associations::new();
        let (mine, egress) = (label(100), label(200));
        let mut inbound = SaTable::new();
        inbound.install(sas.inbound).expect("an empty table");
        let mut hop = Hop::new(Form::Labels(mine), true, Box::new(Forward::default()), inbound)
            .with_flows(FLOWS, [1, 2, 3, 4], sas.now);
        let tunnel = Tunnel {
            source: Ipv4Addr::new(192, 0, 2, 2),
            destination: Ipv4Addr::new(192, 0, 2, 3),
        };
        let labels = LabelStack::new(&[egress]).expect("one label");
        let config = PathConfig {
            id: PATH,
            direction: Direction::Forward,
            previous: Some(Neighbour(0)),
            leaving: Some(Leaving { next: Neighbour(1), labels, tunnel: Some(tunnel) }),
            arriving: LabelStack::new(&[mine, egress]).expect("two labels"),
            nsh: None,
            return_path: None,
            mode: EspMode::Tunnel,
            inner_mtu_bytes: 9000,
            destinations: vec![],
        };
        hop.paths.put(config).expect("a small number");
        hop.paths.get_mut(PATH).expect("just put").outbound = Some(sas.outbound);
        let frame_len = 28 + sealed_len_bytes(size);
        HopUnderTest {
            hop,
            now: sas.now,
            sender: sas.sender,
            front: front(&[mine, egress], sealed_len_bytes(size)),
            inner: inner_packet(size, 0),
            flows,
            next_flow: 0,
            batches: (0..PACKETS / batch_packets)
                .map(|_| Batch::with_capacity_bytes(batch_packets * frame_len))
                .collect(),
            made: Batch::with_capacity_bytes(2048),
            batch_packets,
        }
    }

    pub(crate) fn run(&mut self) -> Duration {
        self.lay_out();
        let start = Instant::now();
        for batch in &mut self.batches {
            self.hop.handle_link(self.now, batch, &mut self.made);
        }
        let taken = start.elapsed();
        for batch in &self.batches {
            assert!((0..batch.len()).all(|n| batch.verdict(n) == Verdict::Send(Neighbour(1))));
        }
        taken
    }

    fn lay_out(&mut self) {
        for batch in &mut self.batches {
            batch.clear();
            batch.set_source(Some(Neighbour(0)));
            for _ in 0..self.batch_packets {
                let front = self.front.len();
                let len = front + sealed_len_bytes(self.inner.len());
                let index = batch.push(0, len, 0).expect("room for the batch");
                let frame = batch.packet_mut(index);
                frame[..front].copy_from_slice(&self.front);
                set_flow(&mut self.inner, self.next_flow);
                self.next_flow = (self.next_flow + 1) % self.flows;
                let esp = &mut frame[front..];
                esp[HEADER_BYTES..][..self.inner.len()].copy_from_slice(&self.inner);
                let inner_len = self.inner.len();
                esp::seal(&mut self.sender, esp, inner_len, NEXT_IPV4, self.now).expect("seals");
            }
        }
    }
}

fn label(value: u32) -> Label {
    Label::new(value).expect("an unreserved label")
}

/// Labels and outer IPv4 header of a frame that arrives.
fn front(labels: &[Label], esp_len: usize) -> Vec<u8> {
    let labels = LabelStack::new(labels).expect("two labels");
    let mut front = vec![0; labels.len_bytes() + 20];
    labels.write(64, &mut front);
    write_ipv4(&mut front[labels.len_bytes()..], 20 + esp_len, 50);
    front
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
fn inner_packet(size: usize, flow: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; size];
    packet[..40].fill(0);
    write_ipv4(&mut packet[..20], size, 6);
    packet[32..34].copy_from_slice(&[0x50, 0x10]);
    set_flow(&mut packet, flow);
    packet
}

fn set_flow(packet: &mut [u8], flow: usize) {
    packet[20..22].copy_from_slice(&(10_000 + flow as u16).to_be_bytes());
}
