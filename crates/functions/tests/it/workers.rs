//! A `dpi` that several workers serve: whichever of them a packet comes to, its connection is the same.

use std::time::{Duration, Instant};

use ringmail_dataplane::function::Entry;
use ringmail_dataplane::{Action, Batch, Function, FunctionBatch};
use ringmail_functions::{DpiSettings, OnMatch, Settings, build_each};
use ringmail_model::PathId;

use crate::harness::{SYN, Way, bytes, named, segment, segment_from};

struct Workers(Vec<Box<dyn Function>>, Instant);

impl Workers {
    fn new(workers: u64, on_match: OnMatch) -> Workers {
        let settings = DpiSettings {
            connections: 64,
            stream_bytes: 8 << 20,
            ..DpiSettings::new(named(&[(bytes("forbidden"), on_match)]))
        };
        let seeds: Vec<_> = (0..workers).map(|worker| [worker, 2, 3, 4]).collect();
        let workers = build_each(&Settings::Dpi(settings), &seeds).expect("good settings");
        Workers(workers, Instant::now())
    }

    /// What this worker does with a packet.
    fn inspect(&mut self, worker: usize, packet: &[u8]) -> Action {
        let mut batch = Batch::default();
        let index = batch.push_copy(0, packet, 0).expect("one packet fits");
        let visible_bytes = packet.len() as u32;
        let entry = Entry { index: index as u8, visible_bytes, path: PathId(7), ..Entry::PASS };
        let mut entries = [entry];
        self.0[worker].handle_batch(self.1, &mut FunctionBatch::new(&mut batch, &mut entries));
        entries[0].action
    }

    /// A counter, added up over the workers as an element does.
    fn counter(&self, name: &str) -> u64 {
        let counters = self.0.iter().flat_map(|worker| worker.counters());
        counters.filter(|counter| counter.name == name).map(|counter| counter.value).sum()
    }
}

#[test]
fn a_pattern_whose_halves_come_to_two_workers_is_found_and_the_connection_stopped_at_all() {
    let mut workers = Workers::new(4, OnMatch::Reset);
    assert_eq!(workers.inspect(0, &segment(Way::Out, 99, None, SYN, b"")), Action::Pass);
    assert_eq!(workers.inspect(1, &segment(Way::Back, 499, Some(100), SYN, b"")), Action::Pass);
    assert_eq!(workers.inspect(2, &segment(Way::Out, 100, Some(500), 0, b"forb")), Action::Pass);
    let rest = segment(Way::Out, 104, Some(500), 0, b"idden");
    assert_eq!(workers.inspect(3, &rest), Action::Reset { rule: 0 });
    let reply = segment(Way::Back, 500, Some(104), 0, b"reply");
    for worker in 0..4 {
        assert_eq!(workers.inspect(worker, &reply), Action::Reset { rule: 0 }, "{worker}");
        assert_eq!(workers.0[worker].rule_name(0), Some("rule-0"));
    }
    assert_eq!(workers.counter("tcp_packets"), 8);
    assert_eq!(workers.counter("alerts{rule=\"rule-0\"}"), 1);
    assert_eq!(workers.counter("stopped_packets"), 4);
    assert_eq!(workers.counter("connections"), 1);
    let mut alerts = 0;
    for worker in &mut workers.0 {
        worker.drain_alerts(&mut |alert| {
            assert_eq!((alert.rule, alert.path), (0, PathId(7)));
            alerts += 1;
        });
    }
    assert_eq!(alerts, 1);
    // Each of them lets some of what is there age.
    workers.1 += Duration::from_secs(3600);
    for _ in 0..4 {
        let now = workers.1;
        workers.0.iter_mut().for_each(|worker| worker.handle_timeout(now));
    }
    assert_eq!(workers.counter("connections"), 0);
    assert_eq!(workers.counter("stream_blocks_used"), 0);
}

#[test]
fn workers_have_as_much_room_as_so_many_alone() {
    let mut workers = Workers::new(4, OnMatch::Alert);
    let mut taken = 0;
    for connection in 0..4 * 64_u16 {
        let packet = segment_from(1024 + connection, Way::Out, 99, None, SYN, b"");
        let action = workers.inspect(usize::from(connection) % 4, &packet);
        taken += u64::from(action == Action::Pass);
    }
    assert_eq!(workers.counter("connections"), taken);
    // Chance fills some parts before others.
    assert!(taken > 3 * 64, "{taken}");
}
