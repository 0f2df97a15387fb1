//! How fast [`checksum::data`] is: `cargo run --release -p ringmail-packet --example checksum_speed`.

#![expect(clippy::print_stdout, reason = "its output is the measurement")]

use std::hint::black_box;
use std::time::Instant;

use ringmail_packet::checksum;

const BYTES_PER_LENGTH: usize = 4 << 30;

fn main() {
    let bytes: Vec<u8> = (0..65_536u32).map(|i| (i * 7) as u8).collect();
    for len_bytes in [20, 64, 512, 1400, 8900, 65_000] {
        let rounds = BYTES_PER_LENGTH / 4 / len_bytes.max(64);
        let started = Instant::now();
        for round in 0..rounds {
            let start = round % 2 * 2;
            black_box(checksum::data(black_box(&bytes[start..start + len_bytes])));
        }
        let ns = started.elapsed().as_nanos() as f64 / rounds as f64;
        println!("{len_bytes:6} B {ns:9.1} ns {:7.1} GB/s", len_bytes as f64 / ns);
    }
}
