//! What TCP does on purpose or by accident, one case a test.

use ringmail_dataplane::Action;
use ringmail_functions::{DpiSettings, OnMatch};

use crate::harness::{
    FIN, Inspector, RST, SYN, URG, Way, bytes, ipv4, ipv6_with_options, named, out, regex, segment,
};

const DROPPED: Action = Action::Drop { rule: 0 };

#[test]
fn a_match_over_three_segments_is_found() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&out(100, b"..for")));
    assert!(inspector.passes(&out(105, b"bid")));
    assert_eq!(inspector.inspect(&out(108, b"den..")), DROPPED);
}

#[test]
fn a_match_byte_by_byte_is_found() {
    for pattern in [bytes("forbidden"), regex("for.idden")] {
        let mut inspector = Inspector::new(&[(pattern, OnMatch::Drop)]);
        for (index, byte) in b"forbidde".iter().enumerate() {
            assert!(inspector.passes(&out(index as u32, &[*byte])));
        }
        assert_eq!(inspector.inspect(&out(8, b"n")), DROPPED);
    }
}

#[test]
fn a_gap_is_waited_for_and_the_segment_that_fills_it_is_dropped() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&segment(Way::Out, 99, None, SYN, b"")));
    assert!(inspector.passes(&out(106, b"den...")));
    assert!(inspector.passes(&out(100, b"for")));
    assert_eq!(inspector.inspect(&out(103, b"bid")), DROPPED);
    assert_eq!(inspector.alerts().len(), 1);
}

#[test]
fn a_match_wholly_in_what_came_early_is_found_when_the_gap_fills() {
    let mut inspector = Inspector::dropping(b"forbidden").opened(100);
    assert!(inspector.passes(&out(100, b"xx")));
    assert!(inspector.passes(&out(105, b"..forbidden..")));
    assert_eq!(inspector.inspect(&out(102, b"yyy")), DROPPED);
}

#[test]
fn a_retransmission_with_other_content_is_refused_and_the_same_passes() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&out(100, b"first half")));
    assert!(inspector.passes(&out(100, b"first half")));
    assert!(inspector.passes(&out(103, b"st ha")));
    assert_eq!(inspector.inspect(&out(103, b"st hi")), Action::Refuse);
    assert_eq!(inspector.counter("refused_inconsistent"), 1);
    assert!(inspector.passes(&out(106, b"half and more")));
}

#[test]
fn what_came_early_cannot_be_changed_either() {
    let mut inspector = Inspector::dropping(b"forbidden").opened(100);
    assert!(inspector.passes(&out(100, b"..")));
    assert!(inspector.passes(&out(110, b"bidden")));
    assert_eq!(inspector.inspect(&out(109, b"xB")), Action::Refuse);
    assert_eq!(inspector.inspect(&out(114, b"EN.")), Action::Refuse);
    assert!(inspector.passes(&out(109, b"xb")));
    assert!(inspector.passes(&out(114, b"en.")));
}

#[test]
fn acknowledged_content_is_not_compared_any_more() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&out(100, b"first half")));
    assert_eq!(inspector.inspect(&out(100, b"x")), Action::Refuse);
    assert!(inspector.passes(&segment(Way::Back, 1, Some(110), 0, b"")));
    // The garbage byte that some systems send to keep a connection alive (RFC 9293 section 3.8.4).
    assert!(inspector.passes(&out(109, b"\0")));
    assert!(inspector.passes(&out(109, b"")));
    assert!(inspector.passes(&out(110, b"second half")));
}

#[test]
fn the_tail_outlives_its_acknowledgement() {
    for before in 2030..2060u32 {
        let mut inspector = Inspector::dropping(b"forbidden");
        let filler = vec![b'.'; before as usize];
        assert!(inspector.passes(&out(0, &filler)));
        for (index, byte) in b"forbidde".iter().enumerate() {
            let seq = before + index as u32;
            assert!(inspector.passes(&out(seq, &[*byte])));
            assert!(inspector.passes(&segment(Way::Back, 1, Some(seq + 1), 0, b"")));
        }
        assert_eq!(inspector.inspect(&out(before + 8, b"n")), DROPPED, "{before}");
    }
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_ignored() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&segment(Way::Out, 99, None, SYN, b"")));
    assert!(inspector.passes(&out(100, b"for")));
    inspector.inspect(&segment(Way::Back, 1, Some(100 + (64 << 20)), 0, b""));
    inspector.inspect(&segment(Way::Back, 1, Some(50), 0, b""));
    assert_eq!(inspector.inspect(&out(101, b"XX")), Action::Refuse);
    assert_eq!(inspector.inspect(&out(103, b"bidden")), DROPPED);
}

#[test]
fn sequence_numbers_wrap() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&segment(Way::Out, u32::MAX - 4, None, SYN, b"")));
    assert!(inspector.passes(&out(u32::MAX, b"bid")));
    assert!(inspector.passes(&out(u32::MAX - 3, b".fo")));
    assert!(inspector.passes(&out(2, b"de")));
    assert_eq!(inspector.inspect(&out(u32::MAX - 1, b"or")), Action::Refuse);
    assert_eq!(inspector.inspect(&out(4, b"n")), Action::Pass);
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&out(u32::MAX - 3, b"forb")));
    assert_eq!(inspector.inspect(&out(0, b"idden")), DROPPED);
}

#[test]
fn data_on_the_syn_is_searched() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&segment(Way::Out, 99, None, SYN, b"forb")));
    // It was not taken, and is resent behind the SYN.
    assert!(inspector.passes(&out(100, b"forb")));
    assert_eq!(inspector.inspect(&out(104, b"idden")), DROPPED);
}

#[test]
fn nothing_precedes_a_syn() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&segment(Way::Out, 99, None, SYN, b"")));
    assert_eq!(inspector.inspect(&out(97, b"forb")), Action::Refuse);
    assert_eq!(inspector.counter("refused_too_old"), 1);
}

#[test]
fn a_syn_does_not_move_a_stream() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&segment(Way::Out, 99, None, SYN, b"")));
    assert!(inspector.passes(&segment(Way::Out, 99, None, SYN, b"")));
    assert_eq!(inspector.inspect(&segment(Way::Out, 98, None, SYN, b"")), Action::Refuse);
    assert!(inspector.passes(&out(100, b"forb")));
    assert_eq!(inspector.inspect(&segment(Way::Out, 103, None, SYN, b"")), Action::Refuse);
    assert_eq!(inspector.inspect(&segment(Way::Out, 1 << 30, None, SYN, b"")), Action::Refuse);
    assert_eq!(inspector.inspect(&out(104, b"idden")), DROPPED);
    assert_eq!(inspector.counter("refused_syn_in_use"), 3);
}

#[test]
fn urgent_content_is_refused_and_an_urgent_pointer_alone_is_not() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert_eq!(inspector.inspect(&segment(Way::Out, 100, None, URG, b"!")), Action::Refuse);
    assert!(inspector.passes(&segment(Way::Out, 100, None, URG, b"")));
}

#[test]
fn a_probe_of_a_closed_window_passes_and_what_it_held_is_compared() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&out(100, b"data")));
    assert!(inspector.passes(&out(104, b"f")));
    assert!(inspector.passes(&out(104, b"f")));
    assert_eq!(inspector.inspect(&out(104, b"orbidden")), Action::Refuse);
    assert_eq!(inspector.inspect(&out(104, b"forbidden")), DROPPED);
}

#[test]
fn content_far_ahead_is_refused_until_the_gap_closes() {
    let mut inspector = Inspector::dropping(b"forbidden").opened(0);
    assert!(inspector.passes(&out(0, b"begin")));
    assert_eq!(inspector.inspect(&out((4 << 20) + 5, b"x")), Action::Refuse);
    assert!(inspector.passes(&out((4 << 20) + 4, b"x")));
    assert_eq!(inspector.counter("refused_too_far_ahead"), 1);
}

#[test]
fn each_direction_is_a_stream_of_its_own() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&out(100, b"forb")));
    assert!(inspector.passes(&segment(Way::Back, 104, None, 0, b"idden")));
    assert!(inspector.passes(&segment(Way::Back, 109, None, 0, b" forb")));
    assert_eq!(inspector.inspect(&segment(Way::Back, 114, None, 0, b"idden")), DROPPED);
}

#[test]
fn ipv6_with_extension_headers_is_searched() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&ipv6_with_options(1, b"forb")));
    assert_eq!(inspector.inspect(&ipv6_with_options(5, b"idden")), DROPPED);
}

#[test]
fn fragments_and_malformed_packets_are_refused() {
    let mut inspector = Inspector::dropping(b"forbidden");
    let mut fragment = out(1, b"x");
    fragment[6] = 0x20;
    assert_eq!(inspector.inspect(&fragment), Action::Refuse);
    assert_eq!(inspector.inspect(&out(1, b"")[..30]), Action::Refuse);
    let mut offset = out(1, b"x");
    offset[32] = 4 << 4;
    assert_eq!(inspector.inspect(&offset), Action::Refuse);
    assert_eq!(inspector.counter("refused_fragment"), 1);
    assert_eq!(inspector.counter("refused_malformed"), 2);
    assert!(inspector.passes(&ipv4(1, [1; 4], [2; 4], b"forbidden")), "ICMP is not searched");
}

#[test]
fn a_stopped_connection_stays_stopped_and_lets_resets_out() {
    let mut inspector = Inspector::new(&[(bytes("forbidden"), OnMatch::Reset)]);
    assert_eq!(inspector.inspect(&out(1, b"forbidden")), Action::Reset { rule: 0 });
    assert_eq!(inspector.inspect(&out(1, b"harmless.")), Action::Reset { rule: 0 });
    assert_eq!(
        inspector.inspect(&segment(Way::Back, 1, Some(1), 0, b"")),
        Action::Reset { rule: 0 }
    );
    assert_eq!(inspector.inspect(&segment(Way::Out, 1, None, SYN, b"")), Action::Reset { rule: 0 });
    assert_eq!(inspector.inspect(&segment(Way::Out, 1, None, RST, b"x")), DROPPED);
    assert!(inspector.passes(&segment(Way::Out, 1, None, RST, b"")));
    assert_eq!(inspector.alerts().len(), 1);
    inspector.wait(599);
    assert_eq!(inspector.inspect(&out(1, b"harmless.")), Action::Reset { rule: 0 });
    inspector.wait(601);
    assert!(inspector.passes(&out(1, b"harmless.")));
}

#[test]
fn after_fin_and_rst_the_ports_are_free_again() {
    for close in [FIN, RST] {
        let mut inspector = Inspector::dropping(b"forbidden");
        assert!(inspector.passes(&segment(Way::Out, 99, None, SYN, b"")));
        assert!(inspector.passes(&segment(Way::Out, 100, None, close, b"bye")));
        assert_eq!(inspector.inspect(&segment(Way::Out, 400, None, SYN, b"")), Action::Refuse);
        inspector.wait(31);
        assert_eq!(inspector.counter("connections"), 0);
        assert_eq!(inspector.counter("stream_blocks_used"), 0);
        assert!(inspector.passes(&segment(Way::Out, 400, None, SYN, b"")));
    }
}

#[test]
fn a_half_closed_connection_lives_on() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&segment(Way::Out, 99, None, SYN, b"")));
    assert!(inspector.passes(&segment(Way::Back, 9, Some(100), SYN, b"")));
    assert!(inspector.passes(&segment(Way::Out, 100, Some(10), FIN, b"get")));
    assert!(inspector.passes(&segment(Way::Back, 10, Some(104), 0, b"forb")));
    inspector.wait(3600);
    assert_eq!(inspector.inspect(&segment(Way::Back, 14, Some(104), 0, b"idden")), DROPPED);
}

#[test]
fn rules_that_only_alert_refuse_nothing() {
    let mut inspector = Inspector::new(&[(bytes("forbidden"), OnMatch::Alert)]);
    assert!(inspector.passes(&segment(Way::Out, 99, None, SYN, b"")));
    assert!(inspector.passes(&out(100, b"one")));
    assert!(inspector.passes(&out(100, b"two")));
    assert!(inspector.passes(&segment(Way::Out, 103, None, URG, b"forbidden")));
    assert!(inspector.passes(&segment(Way::Out, 5000, None, SYN, b"")));
    assert!(inspector.passes(&out(5001, b"forbidden")));
    assert_eq!(inspector.alerts().len(), 2);
    assert_eq!(inspector.counter("refused_inconsistent"), 1);
}

#[test]
fn gigabytes_without_an_acknowledgement_are_followed() {
    let mut inspector = Inspector::with(&DpiSettings {
        connections: 4,
        stream_bytes: 4 << 20,
        ..DpiSettings::new(named(&[(bytes("forbidden"), OnMatch::Drop)]))
    });
    assert!(inspector.passes(&segment(Way::Out, u32::MAX, None, SYN, b"")));
    let chunk = vec![b'.'; 60_000];
    let mut seq = 0u32;
    for _ in 0..50_000 {
        assert!(inspector.passes(&out(seq, &chunk)), "at {seq}");
        seq = seq.wrapping_add(chunk.len() as u32);
    }
    assert_eq!(inspector.inspect(&out(seq.wrapping_sub(2 << 20), b"?")), Action::Refuse);
    assert_eq!(inspector.inspect(&out(seq.wrapping_sub(1 << 31), b"?")), Action::Refuse);
    assert!(inspector.passes(&out(seq.wrapping_sub(1000), b"...")));
    assert!(inspector.passes(&out(seq, b"forb")));
    assert_eq!(inspector.inspect(&out(seq.wrapping_add(4), b"idden")), DROPPED);
}

/// As after a restart of the function: what lies in the gap was forwarded before, and nobody sends it again.
#[test]
fn a_stream_seen_first_in_the_middle_goes_on_where_its_receiver_does() {
    let mut inspector = Inspector::dropping(b"forbidden");
    assert!(inspector.passes(&out(100, b"resent")));
    assert!(
        inspector.passes(&out(6 << 20, b"for")) || inspector.counter("refused_too_far_ahead") == 1
    );
    assert!(inspector.passes(&segment(Way::Back, 1, Some(6 << 20), 0, b"")));
    assert!(inspector.passes(&out(6 << 20, b"for")));
    assert!(inspector.passes(&out((6 << 20) + 6, b"den")));
    assert_eq!(inspector.inspect(&out((6 << 20) + 3, b"bid")), DROPPED);
}

/// The receiver goes on in what came ahead of the gap, which nobody fills here.
#[test]
fn what_came_ahead_of_a_gap_that_was_filled_before_precedes_what_follows() {
    for pattern in [bytes("forbidden"), regex("for.idden")] {
        let mut inspector = Inspector::new(&[(pattern, OnMatch::Drop)]);
        assert!(inspector.passes(&out(100, b"resent")));
        assert!(inspector.passes(&out(5000, b"..forb")));
        assert!(inspector.passes(&out(9000, b"far ahead")));
        assert!(inspector.passes(&segment(Way::Back, 1, Some(5006), 0, b"")));
        assert_eq!(inspector.inspect(&out(5006, b"idden")), DROPPED);
    }
}

/// The receiver may have what lies before, so it is not waited for.
#[test]
fn what_comes_ahead_in_a_stream_seen_first_in_the_middle_is_searched_at_once() {
    for (parts, pattern) in [
        (vec![(5000, &b"..forbidden.."[..])], bytes("forbidden")),
        (vec![(5000, b"..forb"), (5006, b"idden")], bytes("forbidden")),
        (vec![(5006, b"idden"), (5000, b"..forb")], bytes("forbidden")),
        (vec![(5006, b"idden"), (4000, b"x"), (5000, b"..forb")], regex("for.idden")),
    ] {
        let mut inspector = Inspector::new(&[(pattern, OnMatch::Drop)]);
        assert!(inspector.passes(&out(100, b"resent")));
        let (last, before) = parts.split_last().unwrap();
        for (seq, content) in before {
            assert!(inspector.passes(&out(*seq, content)));
        }
        assert_eq!(inspector.inspect(&out(last.0, last.1)), DROPPED, "{parts:?}");
    }
}

/// What lies before the gap and what lies behind it are no neighbours, and what was in memory there is nobody's.
#[test]
fn nothing_is_found_over_a_gap_that_nobody_fills() {
    for pattern in [bytes("forbidden"), regex("for[^0-9]*bidden")] {
        let mut inspector = Inspector::new(&[(pattern, OnMatch::Drop)]);
        assert!(inspector.passes(&out(100, b"..for")));
        assert!(inspector.passes(&out(110, b"further")));
        assert!(inspector.passes(&segment(Way::Back, 1, Some(108), 0, b"")));
        assert!(inspector.passes(&out(108, b"bi")));
        assert!(inspector.passes(&segment(Way::Back, 1, Some(5000), 0, b"")));
        assert!(inspector.passes(&out(5000, b"bidden")));
    }
}

/// A receiver of a stream that was seen from its beginning cannot have more than passed here.
#[test]
fn a_stream_seen_from_its_beginning_goes_on_nowhere_else() {
    let mut inspector = Inspector::dropping(b"forbidden").opened(100);
    assert!(inspector.passes(&out(100, b"for")));
    assert!(inspector.passes(&out(106, b"den")));
    assert!(inspector.passes(&segment(Way::Back, 1, Some(106), 0, b"")));
    assert_eq!(inspector.inspect(&out(103, b"bid")), DROPPED);
}
