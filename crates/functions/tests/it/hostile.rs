//! The promise of `dpi`, under senders and networks that do what they like: no receiver gets a forbidden stream, and
//! what is not forbidden arrives.

use proptest::prelude::*;
use ringmail_functions::{OnMatch, Pattern};

use crate::harness::{Inspector, Overlap, Receiver, SYN, Way, bytes, holds, out, regex, segment};

/// One thing that the sender or the network does.
#[derive(Clone, Debug)]
struct Step {
    offset: u32,
    len: u32,
    /// Which of two streams the content comes from.
    other: bool,
    /// Whether each of two receivers gets it: at once, later or never.
    fates: [Fate; 2],
    /// Whether the first receiver acknowledges through the function.
    acknowledges: bool,
    syn: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    AtOnce,
    Later,
    Never,
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![4 => Just(Fate::AtOnce), 1 => Just(Fate::Later), 2 => Just(Fate::Never)];
    let syn = prop_oneof![20 => Just(None), 1 => (0u32..40).prop_map(Some)];
    (0u32..30, 1u32..8, prop::bool::weighted(0.3), [fate.clone(), fate], any::<bool>(), syn)
        .prop_map(|(offset, len, other, fates, acknowledges, syn)| Step {
            offset,
            len,
            other,
            fates,
            acknowledges,
            syn,
        })
}

fn letters(count: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b')], count)
}

fn start() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0u32), Just(u32::MAX - 15), any::<u32>()]
}

/// Runs the steps; after each, no receiver may hold what `forbidden` says.
fn run(
    mut inspector: Inspector,
    start: u32,
    streams: [&[u8]; 2],
    steps: &[Step],
    acknowledging: Overlap,
    forbidden: impl Fn(&[u8]) -> bool,
) -> Result<(), TestCaseError> {
    let other = match acknowledging {
        Overlap::FirstWins => Overlap::LastWins,
        Overlap::LastWins => Overlap::FirstWins,
    };
    // Only the first acknowledges: acknowledgements are trusted, so there is one receiver in a run with them.
    let acknowledges = steps.iter().any(|step| step.acknowledges);
    let mut receivers = vec![Receiver::new(start, acknowledging)];
    if !acknowledges {
        receivers.push(Receiver::new(start, other));
    }
    let mut later: Vec<(usize, u32, Vec<u8>)> = Vec::new();
    prop_assert!(inspector.passes(&segment(Way::Out, start.wrapping_sub(1), None, SYN, b"")));
    for step in steps {
        if let Some(distance) = step.syn {
            // Every receiver is in the middle of its connection and ignores it.
            let isn = start.wrapping_add(distance).wrapping_sub(2);
            inspector.inspect(&segment(Way::Out, isn, None, SYN, b""));
        }
        let from = step.offset as usize;
        let content = &streams[usize::from(step.other)][from..from + step.len as usize];
        let seq = start.wrapping_add(step.offset);
        if inspector.passes(&out(seq, content)) {
            for (index, receiver) in receivers.iter_mut().enumerate() {
                match step.fates[index] {
                    Fate::AtOnce => receiver.receive(seq, content),
                    Fate::Later => later.push((index, seq, content.to_vec())),
                    Fate::Never => {}
                }
            }
        }
        if step.acknowledges {
            let ack = receivers[0].next();
            inspector.inspect(&segment(Way::Back, 500, Some(ack), 0, b""));
        }
        for receiver in &receivers {
            prop_assert!(!forbidden(&receiver.stream), "{receiver:?} after {step:?}");
        }
    }
    for (index, seq, content) in later {
        receivers[index].receive(seq, &content);
    }
    for receiver in &receivers {
        prop_assert!(!forbidden(&receiver.stream), "{receiver:?} at the end");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Content that differs between copies, in any order, with losses behind the function.
    #[test]
    fn no_receiver_gets_a_forbidden_literal(
        start in start(),
        one in letters(40),
        other in letters(40),
        steps in prop::collection::vec(step(), 1..60),
        last_wins in any::<bool>(),
        silent in any::<bool>(),
    ) {
        let overlap = if last_wins { Overlap::LastWins } else { Overlap::FirstWins };
        let steps = quiet(steps, silent);
        let inspector = Inspector::new(&[
            (bytes("abbab"), OnMatch::Drop),
            (bytes("bb"), OnMatch::Alert),
            (bytes("aaaba"), OnMatch::Reset),
        ]);
        run(inspector, start, [&one, &other], &steps, overlap, |stream| {
            holds(stream, b"abbab") || holds(stream, b"aaaba")
        })?;
    }

    /// The same for a regex.
    #[test]
    fn no_receiver_gets_a_forbidden_regex(
        start in start(),
        one in letters(40),
        other in letters(40),
        steps in prop::collection::vec(step(), 1..60),
        silent in any::<bool>(),
    ) {
        let inspector = Inspector::new(&[(regex("ab{2,3}a[^a]"), OnMatch::Drop)]);
        let steps = quiet(steps, silent);
        run(inspector, start, [&one, &other], &steps, Overlap::LastWins, |stream| {
            holds(stream, b"abbab") || holds(stream, b"abbbab")
        })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// An honest sender over a network that loses, repeats and reorders gets everything through.
    #[test]
    fn what_is_not_forbidden_arrives(
        start in start(),
        content in letters(400),
        with_syn in any::<bool>(),
        acknowledges in any::<bool>(),
        cuts in prop::collection::vec((0usize..400, 1usize..60, 0u8..4), 50..200),
    ) {
        let mut inspector = Inspector::new(&[
            (bytes("abc"), OnMatch::Drop),
            (regex("b+c"), OnMatch::Reset),
        ]);
        let mut receiver = Receiver::new(start, Overlap::FirstWins);
        if with_syn {
            prop_assert!(inspector.passes(&segment(Way::Out, start.wrapping_sub(1), None, SYN, b"")));
        } else {
            let head = &content[..5];
            prop_assert!(inspector.passes(&out(start, head)));
        }
        for (from, len, fate) in cuts {
            let to = (from + len).min(content.len());
            let seq = start.wrapping_add(from as u32);
            if fate > 0 && inspector.passes(&out(seq, &content[from..to])) && fate > 1 {
                receiver.receive(seq, &content[from..to]);
            }
            if acknowledges {
                inspector.inspect(&segment(Way::Back, 1, Some(receiver.next()), 0, b""));
            }
        }
        // What is missing is resent in order, as TCP does when a timer runs out.
        while receiver.stream.len() < content.len() {
            let from = receiver.stream.len();
            let to = (from + 17).min(content.len());
            let seq = receiver.next();
            prop_assert!(inspector.passes(&out(seq, &content[from..to])), "{from} is refused");
            receiver.receive(seq, &content[from..to]);
        }
        prop_assert_eq!(receiver.stream, content);
        prop_assert_eq!(inspector.counter("refused_inconsistent"), 0);
    }

    /// However a forbidden stream is cut, the rule is found, once, and the stream stops before it.
    #[test]
    fn a_forbidden_stream_stops_wherever_it_is_cut(
        start in start(),
        before in letters(30),
        cuts in prop::collection::vec(1usize..9, 60),
        by_regex in any::<bool>(),
    ) {
        let pattern = if by_regex { regex("ab[x]ab") } else { bytes("abxab") };
        let mut inspector = Inspector::new(&[(pattern, OnMatch::Drop)]);
        let content = [&before[..], b"abxab", &before[..]].concat();
        let mut at = 0;
        let mut passed = 0;
        for cut in cuts {
            let to = (at + cut).min(content.len());
            if at < to && inspector.passes(&out(start.wrapping_add(at as u32), &content[at..to])) {
                prop_assert_eq!(passed, at);
                passed = to;
            }
            at = to;
        }
        prop_assert!(passed < before.len() + 5);
        prop_assert_eq!(inspector.counter("alerts{rule=\"rule-0\"}"), 1);
    }

    /// No bytes at all make the function panic, and nothing that is not IP passes.
    #[test]
    fn any_bytes_are_answered(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..20),
        version in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()],
    ) {
        let mut inspector = Inspector::new(&[(Pattern::Bytes(vec![0]), OnMatch::Drop)]);
        for mut packet in packets {
            if let Some(first) = packet.first_mut() {
                *first = version;
            }
            let passed = inspector.passes(&packet);
            prop_assert!(!passed || matches!(packet[0] >> 4, 4 | 6));
        }
    }
}

/// Without acknowledgements there can be two receivers.
fn quiet(mut steps: Vec<Step>, silent: bool) -> Vec<Step> {
    if silent {
        steps.iter_mut().for_each(|step| step.acknowledges = false);
    }
    steps
}
