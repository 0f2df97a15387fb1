//! Frames that somebody on the links changed, in great numbers, into gateway, hop and egress: whatever they are, nothing
//! panics, every packet is decided on and counted, and what is delivered is what was sent.
//!
//! A default run has a few hundred thousand. A hundred million, in release:
//!
//! ```text
//! RINGMAIL_FRAMES=100000000 cargo test --release -p ringmail-dataplane --test it -- --ignored --nocapture flood
//! ```

use ringmail_dataplane::{BATCH_PACKETS, Batch, Function, Neighbour, Verdict};
use ringmail_functions::Forward;
use ringmail_model::splitmix::SplitMix64;
use ringmail_packet::ipv4;

use crate::packets;
use crate::testbed::{Chain, FORWARD, Frame, RETURN, Served, Wire};

/// Genuine frames of one link, and the packets that they carry.
struct Link {
    at: usize,
    from: usize,
    frames: Vec<Vec<u8>>,
}

struct Flood {
    random: SplitMix64,
    chain: Chain,
    links: Vec<Link>,
    packets: Vec<Vec<u8>>,
    batch: Batch,
    made: Batch,
    delivered: u64,
    dropped: u64,
    sent: u64,
}

/// Packets of each direction that genuine frames carry.
const KINDS: usize = 24;

impl Flood {
    fn new(wire: Wire, seed: u64) -> Flood {
        let hop = |intrusive: bool| -> Served {
            (intrusive, Box::<Forward>::default() as Box<dyn Function>)
        };
        let mut chain = Chain::on(wire, &[1], vec![hop(true), hop(false)]);
        chain.gateway.pin(packets::flow(), FORWARD).expect("room");
        let mut links = Vec::new();
        let mut all = Vec::new();
        // There and back. The last frames of each link are left for the chain to open once.
        for back in [false, true] {
            let mut ways: Vec<Link> = Vec::new();
            for nth in 0..KINDS {
                let text = vec![nth as u8; nth * 57];
                let (packet, frame) = match back {
                    false => (packets::tcp(&text), chain.enter(&packets::tcp(&text))),
                    true => (packets::tcp_reply(&text), chain.leave(&packets::tcp_reply(&text))),
                };
                let mut frame = Some(frame.expect("a frame"));
                let mut step = 0;
                while let Some(Frame { from, to, bytes }) = frame {
                    if ways.len() == step {
                        ways.push(Link { at: to, from, frames: vec![] });
                    }
                    ways[step].frames.push(bytes.clone());
                    frame = chain.step(&Frame { from, to, bytes }).frame;
                    step += 1;
                }
                all.push(packet);
            }
            links.append(&mut ways);
        }
        let (batch, made) = (Batch::default(), Batch::default());
        let random = SplitMix64(seed);
        let (delivered, dropped, sent) = (0, 0, 0);
        Flood { random, chain, links, packets: all, batch, made, delivered, dropped, sent }
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.random.draw() % limit.max(1) as u64) as usize
    }

    /// One of the link's frames, changed in one to four ways.
    fn altered(&mut self, link: usize) -> Vec<u8> {
        let nth = self.below(self.links[link].frames.len());
        let mut frame = self.links[link].frames[nth].clone();
        for _ in 0..=self.below(4) {
            self.alter(&mut frame, link);
        }
        if self.below(2) == 0 {
            mend_checksum(&mut frame);
        }
        frame
    }

    fn alter(&mut self, frame: &mut Vec<u8>, link: usize) {
        let len = frame.len().max(1);
        // Most of what decides is in front.
        let at = if self.below(4) == 0 { self.below(len) } else { self.below(len.min(180)) };
        let value = self.random.draw() as u8;
        match self.below(9) {
            0 | 1 => frame.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << (value & 7)),
            2 => frame.get_mut(at).into_iter().for_each(|byte| *byte = value),
            // Lengths, counts and indices by a little.
            3 => frame.get_mut(at).into_iter().for_each(|byte| *byte = byte.wrapping_add(1)),
            4 => frame.truncate(at),
            5 => frame.extend(std::iter::repeat_n(value, usize::from(value))),
            6 => {
                let end = (at + usize::from(value)).min(frame.len());
                let part = frame.get(at.min(end)..end).unwrap_or_default().to_vec();
                let to = self.below(len);
                frame.splice(to.min(frame.len())..to.min(frame.len()), part);
            }
            // A part of another frame, of this link or of another one, in its place.
            7 => {
                let other = if value & 1 == 0 { link } else { self.below(self.links.len()) };
                let nth = self.below(self.links[other].frames.len());
                let other = &self.links[other].frames[nth];
                let end = (at + 4 * usize::from(value)).min(frame.len()).min(other.len());
                if at < end {
                    frame[at..end].copy_from_slice(&other[at..end]);
                }
            }
            _ => {
                let end = (at + 4).min(frame.len());
                frame.get_mut(at..end).unwrap_or_default().fill(value);
            }
        }
        frame.truncate(1900);
    }

    /// A batch of changed frames on one of the links.
    fn round(&mut self) -> u64 {
        let link = self.below(self.links.len());
        self.batch.clear();
        for _ in 0..BATCH_PACKETS {
            let frame = self.altered(link);
            self.batch.push_copy(0, &frame, 0).expect("room");
        }
        let Link { at, from, .. } = self.links[link];
        let source = if self.below(16) == 0 { self.below(5) } else { from };
        self.batch.set_source(Some(Neighbour(source as u16)));
        let Flood { chain, batch, made, .. } = self;
        let before = counted(chain, at);
        let egress = chain.hops.len() + 1;
        match at {
            0 => chain.gateway.handle_link(chain.now, batch),
            at if at == egress => chain.egress.handle_link(chain.now, batch),
            at => chain.hops[at - 1].handle_link(chain.now, batch, made),
        }
        let mut dropped = 0;
        for nth in 0..batch.len() {
            match batch.verdict(nth) {
                Verdict::Drop(_) => dropped += 1,
                Verdict::Deliver => {
                    let packet = batch.packet(nth);
                    assert!(self.packets.iter().any(|sent| sent == packet), "not what was sent");
                    self.delivered += 1;
                }
                Verdict::Send(_) => self.sent += 1,
                verdict => panic!("{verdict:?} at {at}"),
            }
        }
        assert_eq!(counted(chain, at) - before, dropped, "every drop is counted");
        self.dropped += dropped;
        batch.len() as u64
    }
}

fn counted(chain: &Chain, at: usize) -> u64 {
    match at {
        0 => chain.gateway.counters().dropped_total(),
        at if at == chain.hops.len() + 1 => chain.egress.counters().dropped_total(),
        at => chain.hops[at - 1].counters().dropped_total(),
    }
}

/// Makes the checksum of the outer IPv4 header right, wherever it is: what an attacker does, too.
fn mend_checksum(frame: &mut [u8]) {
    let esp = |at: &usize| {
        let header = &frame[*at..*at + 20];
        header[0] == 0x45 && header[9] == 50
    };
    let found = (0..frame.len().saturating_sub(20)).step_by(4).find(esp);
    if let Some(at) = found {
        ipv4::Packet::new_unchecked(&mut frame[at..at + 20]).fill_checksum();
    }
}

fn flood(frames: u64) {
    for (seed, wire) in [Wire::Mpls, Wire::MplsNsh, Wire::Sff, Wire::Nsh].into_iter().enumerate() {
        let mut flood = Flood::new(wire, 0x5eed + seed as u64);
        let (mut done, share) = (0, frames / 4);
        let mut early = None;
        while done < share {
            done += flood.round();
            if early.is_none() && done > share / 10 {
                early = Some(resident_pages());
            }
        }
        let grown = resident_pages().saturating_sub(early.unwrap_or_default());
        assert!(grown < 1024, "{grown} pages more than after the first tenth");
        let Flood { delivered, dropped, sent, .. } = flood;
        eprintln!(
            "{wire:?}: {done} frames, {dropped} dropped, {sent} sent on, {delivered} delivered"
        );
        // All genuine frames were opened before: a sequence number does not come twice.
        assert_eq!(delivered, 0, "{wire:?}");
        assert!(dropped > done / 2);
        // Nothing of this has spoilt what is kept.
        let packet = packets::tcp(b"afterwards");
        assert_eq!(flood.chain.forward(&packet).as_ref(), Ok(&packet));
        let reply = packets::tcp_reply(b"afterwards");
        assert_eq!(flood.chain.back(&reply).as_ref(), Ok(&reply));
        let proved = ringmail_dataplane::nsh::verify::Verdict::Proved;
        let proofs = flood.chain.paths(0).get(RETURN).expect("the path").proofs.of(proved);
        assert_eq!(proofs > 0, wire != Wire::Mpls);
    }
}

fn resident_pages() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("a process knows its memory");
    statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number")
}

#[test]
fn changed_frames_are_dropped_and_counted_and_spoil_nothing() {
    flood(160_000);
}

#[test]
#[ignore = "a hundred million frames take minutes in release: see the head of this file"]
fn a_hundred_million_changed_frames() {
    let frames =
        std::env::var("RINGMAIL_FRAMES").map_or(100_000_000, |n| n.parse().expect("a number"));
    flood(frames);
}
