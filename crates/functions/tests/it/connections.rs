//! Tables and pools that are full, and how they empty.

use ringmail_dataplane::Action;
use ringmail_functions::{DpiSettings, OnMatch};

use crate::harness::{Inspector, SYN, Way, bytes, named, out, segment_from};

fn small(connections: usize, stream_bytes: usize) -> Inspector {
    Inspector::with(&DpiSettings {
        connections,
        stream_bytes,
        ..DpiSettings::new(named(&[(bytes("forbidden"), OnMatch::Drop)]))
    })
}

#[test]
fn a_full_table_refuses_new_connections_and_keeps_the_old() {
    let mut inspector = small(2, 1 << 20);
    for port in [1, 2] {
        assert!(inspector.passes(&segment_from(port, Way::Out, 9, None, 0, b"forb")));
    }
    assert_eq!(inspector.inspect(&segment_from(3, Way::Out, 9, None, SYN, b"")), Action::NoRoom);
    assert_eq!(inspector.inspect(&segment_from(3, Way::Out, 9, None, 0, b"x")), Action::NoRoom);
    let rest = segment_from(1, Way::Out, 13, None, 0, b"idden");
    assert_eq!(inspector.inspect(&rest), Action::Drop { rule: 0 });
    assert_eq!(inspector.counter("refused_no_room"), 2);
    inspector.wait(7441);
    assert!(inspector.passes(&segment_from(3, Way::Out, 9, None, SYN, b"")));
}

#[test]
fn an_unanswered_syn_is_forgotten_sooner_than_a_connection() {
    let mut inspector = small(1, 1 << 20);
    assert!(inspector.passes(&segment_from(1, Way::Out, 9, None, SYN, b"")));
    inspector.wait(241);
    assert!(inspector.passes(&segment_from(2, Way::Out, 9, None, 0, b"x")));
    inspector.wait(241);
    assert_eq!(inspector.inspect(&segment_from(3, Way::Out, 9, None, SYN, b"")), Action::NoRoom);
}

#[test]
fn a_bare_acknowledgement_of_an_unknown_connection_takes_no_room() {
    let mut inspector = small(1, 1 << 20);
    assert!(inspector.passes(&segment_from(1, Way::Out, 9, Some(1), 0, b"")));
    assert_eq!(inspector.counter("connections"), 0);
}

#[test]
fn without_room_for_content_nothing_changes_and_room_comes_back_with_acknowledgements() {
    let mut inspector = small(4, 8 * 2048);
    let full = vec![b'.'; 2048];
    for n in 0..8 {
        assert!(inspector.passes(&out(n * 2048, &full)), "block {n}");
    }
    assert_eq!(inspector.inspect(&out(8 * 2048, &full)), Action::NoRoom);
    let ack = segment_from(40000, Way::Back, 1, Some(8 * 2048), 0, b"");
    assert!(inspector.passes(&ack));
    assert!(inspector.passes(&out(8 * 2048, &full)));
    assert_eq!(inspector.counter("refused_no_room"), 1);
}

#[test]
fn scarce_content_room_shrinks_what_is_kept_for_comparison() {
    let mut inspector = small(4, 1 << 20);
    let chunk = vec![b'.'; 1400];
    for n in 0..5000 {
        assert!(inspector.passes(&out(n * 1400, &chunk)), "chunk {n}");
    }
    assert_eq!(inspector.counter("refused_no_room"), 0);
}

#[test]
fn every_block_comes_back() {
    let mut inspector = small(64, 4 << 20);
    for round in 0..20u32 {
        for port in 1..60 {
            let seq = round * 5000;
            let syn = segment_from(port, Way::Out, seq.wrapping_sub(1), None, SYN, b"");
            assert!(inspector.passes(&syn));
            assert!(inspector.passes(&segment_from(port, Way::Out, seq, None, 0, &[b'.'; 3000])));
            let ahead = seq + 3000 + 500;
            assert!(inspector.passes(&segment_from(port, Way::Out, ahead, None, 0, &[b'.'; 300])));
        }
        inspector.wait(7441);
        assert_eq!(inspector.counter("connections"), 0);
        assert_eq!(inspector.counter("stream_blocks_used"), 0);
    }
}
