//! What `dpi` costs a packet of 1400 B, beside `memchr::memmem` over the same bytes.
//!
//! Packets come in batches of 64, in order. With `acknowledged`, a batch of 64 acknowledgements follows each and is part
//! of the time; without, all content is kept until the window is full.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use memchr::memmem;
use ringmail_dataplane::function::Entry;
use ringmail_dataplane::{Action, BATCH_PACKETS, Batch, Function, FunctionBatch};
use ringmail_functions::{Dpi, DpiRule, DpiSettings, OnMatch, Pattern};

const HEADERS_BYTES: usize = 40;
const PACKET_BYTES: usize = 1400;
const CONTENT_BYTES: usize = PACKET_BYTES - HEADERS_BYTES;

/// Text as it stands in web pages: letters that patterns share, and no match.
fn content() -> Vec<u8> {
    let words =
        ["<p>the ", "quick ", "brown fox ", "class=\"row\" ", "jumps over ", "lazy dogs</p>\n"];
    let mut content = Vec::new();
    for n in 0.. {
        if content.len() >= CONTENT_BYTES {
            break;
        }
        content.extend(words[(n * 7 + n / 5) % words.len()].bytes());
    }
    content.truncate(CONTENT_BYTES);
    content
}

fn packet(port: u16, content: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((PACKET_BYTES as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(port.to_be_bytes());
    packet.extend([0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(content);
    packet
}

fn pattern(n: usize) -> Vec<u8> {
    format!("forbidden-{n:04}-word").into_bytes()
}

/// A function with its batch, and the sequence number that each connection is at.
struct Bed {
    dpi: Dpi,
    batch: Batch,
    entries: [Entry; BATCH_PACKETS],
    next: Vec<u32>,
    acknowledgements: Option<Batch>,
    turn: usize,
    now: Instant,
}

impl Bed {
    fn new(patterns: Vec<Pattern>, connections: usize, acknowledged: bool) -> Bed {
        let rule = |(n, pattern)| DpiRule {
            name: format!("rule-{n}"),
            pattern,
            ignore_case: false,
            ports: Vec::new(),
            on_match: OnMatch::Drop,
        };
        let rules = patterns.into_iter().enumerate().map(rule).collect();
        let settings = DpiSettings { stream_bytes: 2 << 30, ..DpiSettings::new(rules) };
        let mut batch = Batch::default();
        let mut entries = [Entry::PASS; BATCH_PACKETS];
        let content = content();
        for entry in &mut entries {
            let index = batch.push_copy(0, &packet(0, &content), 0).expect("64 packets fit");
            *entry =
                Entry { index: index as u8, visible_bytes: PACKET_BYTES as u32, ..Entry::PASS };
        }
        let dpi = Dpi::new(&settings, [1, 2, 3, 4]).expect("the rules are good");
        let acknowledgements = acknowledged.then(|| {
            let mut batch = Batch::default();
            for _ in 0..BATCH_PACKETS {
                let mut packet = packet(0, b"");
                packet[2..4].copy_from_slice(&(HEADERS_BYTES as u16).to_be_bytes());
                packet[12..24].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1, 0, 80, 0, 0]);
                batch.push_copy(0, &packet, 0).expect("64 packets fit");
            }
            batch
        });
        let next = vec![0; connections];
        let now = Instant::now();
        Bed { dpi, batch, entries, next, acknowledgements, turn: 0, now }
    }

    /// Gives each packet of the batch to the next connection in turn, with the sequence number that it is at.
    fn prepare(&mut self) {
        for index in 0..BATCH_PACKETS {
            let connection = self.turn % self.next.len();
            self.turn += 1;
            let packet = self.batch.packet_mut(index);
            packet[20..22].copy_from_slice(&(connection as u16).to_be_bytes());
            packet[24..28].copy_from_slice(&self.next[connection].to_be_bytes());
            self.next[connection] = self.next[connection].wrapping_add(CONTENT_BYTES as u32);
            if let Some(batch) = &mut self.acknowledgements {
                let packet = batch.packet_mut(index);
                packet[22..24].copy_from_slice(&(connection as u16).to_be_bytes());
                packet[28..32].copy_from_slice(&self.next[connection].to_be_bytes());
            }
        }
    }

    fn passed(&self) -> usize {
        self.entries.iter().filter(|entry| entry.action == Action::Pass).count()
    }

    fn inspect(&mut self) {
        self.prepare();
        let mut packets = FunctionBatch::new(&mut self.batch, &mut self.entries);
        self.dpi.handle_batch(self.now, &mut packets);
        black_box(&self.entries);
        if let Some(batch) = &mut self.acknowledgements {
            let mut packets = FunctionBatch::new(batch, &mut self.entries);
            self.dpi.handle_batch(self.now, &mut packets);
            black_box(&self.entries);
        }
    }
}

fn bench(criterion: &mut Criterion) {
    let content = content();
    let mut group = criterion.benchmark_group("one_packet_of_1400_B");
    group.throughput(Throughput::Elements(1));

    let finder = memmem::Finder::new(b"forbidden-0000-word");
    group.bench_function("memmem alone", |bencher| {
        bencher.iter(|| finder.find(black_box(&content)));
    });
    group.finish();

    let mut group = criterion.benchmark_group("batch_of_64");
    group.throughput(Throughput::Elements(BATCH_PACKETS as u64));
    for (connections, acknowledged) in [(1, false), (1, true), (10_000, true)] {
        for count in [1, 2, 10, 1000] {
            let patterns = (0..count).map(|n| Pattern::Bytes(pattern(n))).collect();
            let mut bed = Bed::new(patterns, connections, acknowledged);
            let tail = if acknowledged { ", acknowledged" } else { "" };
            let name = format!("{count} patterns, {connections} connections{tail}");
            group.bench_function(BenchmarkId::new("dpi", name), |bencher| {
                bencher.iter(|| bed.inspect());
            });
            assert_eq!(bed.passed(), BATCH_PACKETS, "every packet passes");
        }
    }
    for regex in ["forbidden-[0-9]{4}", "[fF]orb[a-z]*den"] {
        let mut bed = Bed::new(vec![Pattern::Regex(regex.to_owned())], 1, false);
        group.bench_function(BenchmarkId::new("dpi", regex), |bencher| {
            bencher.iter(|| bed.inspect());
        });
    }
    let mut bed = Bed::new(vec![Pattern::Bytes(pattern(0))], 10_000, false);
    group.bench_function("the bed alone", |bencher| bencher.iter(|| bed.prepare()));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
