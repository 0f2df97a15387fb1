//! ESP packets that others sealed: scapy's (`tests/vectors/make_esp.py` says how) and those of RFC 7634 and of
//! draft-mcgrew-gcm-test-01.

use std::collections::BTreeMap;
use std::time::Instant;

use ringmail_dataplane::DropReason;
use ringmail_dataplane::esp::{self, HEADER_BYTES, sealed_len_bytes};
use ringmail_dataplane::sa::{
    InboundOptions, InboundSa, Lease, OutboundOptions, OutboundSa, SaKey, SegmentIndex,
    SequenceNumbers, Suite,
};
use ringmail_model::{PathId, SaSpi};

const SCAPY: &str = include_str!("../vectors/esp.txt");
const PUBLISHED: &str = include_str!("../vectors/published.txt");

struct Vector {
    suite: Suite,
    numbers: SequenceNumbers,
    material: Vec<u8>,
    spi: SaSpi,
    sequence: u64,
    next_header: u8,
    inner: Vec<u8>,
    packet: Vec<u8>,
}

fn vectors(text: &str) -> Vec<Vector> {
    text.lines().filter(|line| !line.starts_with('#')).map(vector).collect()
}

fn vector(line: &str) -> Vector {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [suite, numbers, _mode, material, spi, sequence, next_header, inner, packet] = fields[..]
    else {
        panic!("not a vector: {line}");
    };
    Vector {
        suite: suite.parse().unwrap(),
        numbers: match numbers {
            "extended" => SequenceNumbers::Extended,
            _ => SequenceNumbers::Short,
        },
        material: unhex(material),
        spi: SaSpi(u32::from_str_radix(spi, 16).unwrap()),
        sequence: u64::from_str_radix(sequence, 16).unwrap(),
        next_header: next_header.parse().unwrap(),
        inner: unhex(inner),
        packet: unhex(packet),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

impl Vector {
    fn key(&self) -> SaKey {
        SaKey::new(self.suite, &self.material).unwrap()
    }

    fn inbound(&self, now: Instant, iv_is_sequence: bool) -> InboundSa {
        let numbers = self.numbers;
        let options = InboundOptions { numbers, iv_is_sequence, ..InboundOptions::default() };
        let lease = Lease::unlimited(now);
        InboundSa::new(self.spi, &self.key(), PathId(1), SegmentIndex(0), lease, options).unwrap()
    }

    fn assert_opened(&self, sa: &InboundSa, now: Instant) {
        let mut packet = self.packet.clone();
        let opened = esp::open(sa, &mut packet, now).unwrap();
        assert_eq!(packet[opened.inner], self.inner);
        assert_eq!((opened.next_header, opened.sequence), (self.next_header, self.sequence));
        let again = esp::open(sa, &mut self.packet.clone(), now);
        assert_eq!(again.unwrap_err(), DropReason::Replayed);
    }
}

#[test]
fn what_scapy_sealed_is_opened() {
    let now = Instant::now();
    let mut sas = BTreeMap::new();
    for vector in vectors(SCAPY) {
        let sa = sas.entry(vector.spi).or_insert_with(|| vector.inbound(now, true));
        vector.assert_opened(sa, now);
    }
    assert_eq!(sas.len(), 12, "three suites, two kinds of numbers, two modes");
    assert!(sas.values().any(|sa| sa.highest_sequence() > 1 << 32));
}

#[test]
fn ringmail_seals_the_very_bytes_that_scapy_does() {
    let now = Instant::now();
    for vector in vectors(SCAPY) {
        let numbers = vector.numbers;
        let options = OutboundOptions { numbers, ..OutboundOptions::default() };
        let lease = Lease::unlimited(now);
        let mut sa = OutboundSa::new(vector.spi, &vector.key(), lease, options).unwrap();
        sa.danger_set_last_sequence(vector.sequence - 1);
        let len = vector.inner.len();
        let mut packet = vec![0; sealed_len_bytes(len)];
        packet[HEADER_BYTES..][..len].copy_from_slice(&vector.inner);
        let sealed = esp::seal(&mut sa, &mut packet, len, vector.next_header, now);
        assert_eq!(sealed, Ok(vector.packet.len()));
        assert_eq!(packet, vector.packet);
        assert_eq!(sa.last_sequence(), vector.sequence);
    }
}

#[test]
fn published_packets_with_ivs_of_their_own_are_opened_where_that_is_allowed() {
    let now = Instant::now();
    let published = vectors(PUBLISHED);
    assert_eq!(published.len(), 5);
    for vector in published {
        vector.assert_opened(&vector.inbound(now, false), now);
        let strict = vector.inbound(now, true);
        let refused = esp::open(&strict, &mut vector.packet.clone(), now);
        assert_eq!(refused.unwrap_err(), DropReason::BadIcv);
        assert_eq!(strict.highest_sequence(), 0);
    }
}
