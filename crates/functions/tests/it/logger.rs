//! The function `logger`: what it records, what it leaves out, and that it never waits.

use std::time::{Duration, Instant};

use ringmail_dataplane::function::Entry;
use ringmail_dataplane::{Action, Batch, Function, FunctionBatch};
use ringmail_functions::limits;
use ringmail_functions::logger::{Drain, Logger, LoggerSettings, Selector};
use ringmail_model::PathId;
use ringmail_model::pathset::Direction;

use crate::harness::{datagram, out};

/// As [`Drain::next`] waits for what must be there already.
const NOW: Duration = Duration::ZERO;

struct Bed {
    logger: Logger,
    drain: Drain,
    began: Instant,
}

impl Bed {
    fn new(snap_len_bytes: usize, only: Vec<Selector>) -> Bed {
        let began = Instant::now();
        let settings = LoggerSettings { snap_len_bytes, only };
        let (logger, drain) = Logger::new(&settings, began).expect("good settings");
        Bed { logger, drain, began }
    }

    /// Gives a packet `after` the beginning; it must pass.
    fn give(&mut self, after: Duration, direction: Direction, packet: &[u8]) {
        let mut batch = Batch::default();
        self.give_in(&mut batch, after, direction, packet);
    }

    fn give_in(&mut self, batch: &mut Batch, after: Duration, direction: Direction, packet: &[u8]) {
        batch.clear();
        let index = batch.push_copy(0, packet, 0).expect("one packet fits") as u8;
        let visible_bytes = packet.len() as u32;
        let mut entries =
            [Entry { index, visible_bytes, path: PathId(7), direction, ..Entry::PASS }];
        self.logger.handle_batch(self.began + after, &mut FunctionBatch::new(batch, &mut entries));
        assert_eq!(entries[0].action, Action::Pass);
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.logger.counters();
        counters.iter().find(|counter| counter.name == name).expect(name).value
    }
}

#[test]
fn packets_are_recorded_in_their_order_with_time_path_and_direction() {
    let mut bed = Bed::new(64, Vec::new());
    let (request, answer) = (out(1, &[b'x'; 200]), datagram(b"short"));
    bed.give(Duration::from_millis(5), Direction::Forward, &request);
    bed.give(Duration::from_millis(9), Direction::Return, &answer);
    assert!(bed.drain.next(NOW).expect("a function").is_none(), "a chunk goes when it is full");
    bed.logger.handle_timeout(Instant::now());
    let chunk = bed.drain.next(NOW).expect("a function").expect("or when time is up");
    let records: Vec<_> = chunk.records().collect();
    assert_eq!(chunk.packets(), 2);
    assert_eq!(records[0].since_epoch, Duration::from_millis(5));
    assert_eq!((records[0].path, records[0].direction), (PathId(7), Direction::Forward));
    assert_eq!((records[0].bytes, records[0].original_bytes), (&request[..64], 240));
    assert_eq!((records[1].bytes, records[1].direction), (&answer[..], Direction::Return));
    assert_eq!((bed.counter("logged_packets"), bed.counter("logged_bytes")), (2, 64 + 33));
}

#[test]
fn only_what_is_asked_for_is_recorded() {
    let dns = Selector { ports: vec![(53, 53)], protocols: vec![17], ..Selector::default() };
    let web = Selector {
        addresses: vec!["10.0.0.2/32".parse().expect("a prefix")],
        ports: vec![(80, 81)],
        ..Selector::default()
    };
    for (only, expected) in [(vec![dns.clone()], 1), (vec![web.clone()], 1), (vec![dns, web], 2)] {
        let mut bed = Bed::new(1500, only);
        bed.give(NOW, Direction::Forward, &out(1, b"x"));
        bed.give(NOW, Direction::Forward, &datagram(b"x"));
        bed.give(NOW, Direction::Forward, b"no packet");
        assert_eq!(bed.counter("logged_packets"), expected);
        assert_eq!(bed.counter("other_packets"), 3 - expected);
    }
}

#[test]
fn of_an_outer_header_the_whole_length_is_known() {
    let mut bed = Bed::new(1500, Vec::new());
    bed.give(NOW, Direction::Forward, &{
        let mut outer = vec![0x45, 0, 5, 0x78, 0, 0, 0, 0, 64, 50, 0, 0];
        outer.extend([10, 77, 0, 1, 10, 77, 0, 4, 0, 0, 1, 0, 0, 0, 0, 1]);
        outer
    });
    bed.logger.handle_timeout(Instant::now());
    let chunk = bed.drain.next(NOW).expect("a function").expect("a chunk");
    let lengths: Vec<_> = chunk.records().map(|r| (r.bytes.len(), r.original_bytes)).collect();
    assert_eq!(lengths, [(28, 1400)]);
}

#[test]
fn a_writer_that_does_not_keep_up_costs_records_and_no_packet() {
    let mut bed = Bed::new(65_535, Vec::new());
    let packet = out(1, &[b'x'; 1360]);
    let fit = limits::LOG_CHUNKS * (limits::LOG_CHUNK_BYTES / (packet.len() + 38));
    let mut batch = Batch::default();
    for _ in 0..fit + 10 {
        bed.give_in(&mut batch, NOW, Direction::Forward, &packet);
    }
    assert_eq!((bed.counter("logged_packets"), bed.counter("not_logged")), (fit as u64, 10));
    // One chunk comes back, and there is room again.
    let chunk = bed.drain.next(NOW).expect("a function").expect("a chunk");
    bed.drain.give_back(chunk);
    bed.give(NOW, Direction::Forward, &packet);
    assert_eq!((bed.counter("logged_packets"), bed.counter("not_logged")), (fit as u64 + 1, 10));
}

#[test]
fn what_was_recorded_comes_out_before_the_end() {
    let Bed { mut logger, drain, began } = Bed::new(100, Vec::new());
    let mut batch = Batch::default();
    batch.push_copy(0, &out(1, b"last words"), 0).expect("one packet fits");
    let mut entries = [Entry { visible_bytes: 50, ..Entry::PASS }];
    logger.handle_batch(began, &mut FunctionBatch::new(&mut batch, &mut entries));
    drop(logger);
    assert_eq!(drain.next(NOW).expect("the last chunk").expect("a chunk").packets(), 1);
    assert!(drain.next(NOW).is_err());
}
