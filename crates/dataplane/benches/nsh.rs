//! What integrity of steering and proof of transit cost a hop and the end of a path, a packet, in groups as the hop has
//! them: a path over six intrusive functions.
//!
//! ```text
//! cargo bench -p ringmail-dataplane --bench nsh
//! ```

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmail_dataplane::labels::LabelStack;
use ringmail_dataplane::nsh::cmac::LANES;
use ringmail_dataplane::nsh::link::{Constant, Covered, LinkKey, Parts, holds};
use ringmail_dataplane::nsh::proof::{Claim, Prover};
use ringmail_dataplane::nsh::trail::Trail;
use ringmail_dataplane::nsh::verify::{Arrived, ProvedPath, Seen, Verifier};
use ringmail_dataplane::sa::Lease;
use ringmail_model::nsh::{Layout, Shape};
use ringmail_model::{ElementId, Label, PathDigest, SaSpi};

const HOPS: usize = 6;

fn layout() -> Layout {
    let shape =
        Shape { hops: HOPS, segments: HOPS + 1, proof: true, mac: true, ..Shape::default() };
    Layout::new(&shape).expect("six functions fit")
}

/// Check the code that came, make a tag, make a code.
fn hop(c: &mut Criterion) {
    let layout = layout();
    let mac = layout.mac().expect("there is a code");
    let labels = LabelStack::new(&[Label::new(17).expect("a label"); 5]).expect("five");
    let constant = Constant::new([5; 6].into_iter(), &labels);
    let [came, goes] = [1, 2].map(|key| LinkKey::new(&[key; 16], SaSpi(1), &constant));
    let prover = Prover::new(&[3; 16], 1, &PathDigest([4; 32]), 3);
    let (ip, esp) = ([6; 20], [7; 100]);
    let mut nsh = vec![[8; 256]; LANES];
    let claims = [Claim::default(); LANES];
    let mut covered = Covered::default();
    let mut group = c.benchmark_group("nsh");
    group.throughput(Throughput::Elements(LANES as u64));
    group.bench_function("hop, six functions, group of 64", |b| {
        b.iter(|| {
            for key in [&came, &goes] {
                covered.clear();
                for nsh in &nsh {
                    let parts = Parts { nsh: &nsh[..layout.len_bytes()], ip: &ip, esp: &esp };
                    covered.push(parts, mac).expect("it fits");
                }
                let codes = covered.codes(key);
                for (nsh, code) in nsh.iter_mut().zip(codes) {
                    black_box(holds(&nsh[..], mac, &code));
                    nsh[mac + 4..mac + 20].copy_from_slice(&code);
                }
            }
            black_box(prover.tags(black_box(&claims)))
        });
    });
    group.finish();
}

/// Compute all tags of packets and compare.
fn end(c: &mut Criterion) {
    let layout = layout();
    let path = ProvedPath {
        digest: PathDigest([4; 32]),
        origins: vec![(ElementId(0), 0)],
        seals: vec![true; HOPS + 1],
        layout: layout.proof().expect("there is a proof"),
    };
    let mut verifier = Verifier::new(path, Seen::default());
    let now = Instant::now();
    let lease = Lease::unlimited(now);
    for position in 0..=HOPS as u8 {
        assert!(verifier.install(position, 0, &[position; 16], lease.clone()));
    }
    let nsh = vec![0; layout.len_bytes()];
    let packets: [Arrived<'_>; LANES] = [(&nsh, [0; 8]); LANES];
    let mut group = c.benchmark_group("nsh");
    group.throughput(Throughput::Elements(LANES as u64));
    group.bench_function("end, six functions, group of 64", |b| {
        b.iter(|| black_box(verifier.verify(black_box(&packets), now)));
    });
    group.finish();
}

/// Keep a trail for auditors, beside what else becomes of a packet.
fn trail(c: &mut Criterion) {
    let mut group = c.benchmark_group("nsh");
    group.throughput(Throughput::Elements(1));
    for (name, width) in [("trail, hop", 1), ("trail, end of six functions", HOPS + 1)] {
        let mut trail = Trail::new(PathDigest([4; 32]), width);
        let (now, mut sequence) = (Instant::now(), 0);
        group.bench_function(name, |b| {
            b.iter(|| {
                sequence += 1;
                trail.note(now, &[5; 8], black_box(sequence), |_| [6; 8]);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hop, end, trail);
criterion_main!(benches);
