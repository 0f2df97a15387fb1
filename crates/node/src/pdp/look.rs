//! Questions about packets as path distribution carries them, and as an element's runtime is asked. Taps have no such form:
//! what packets carry is told to nobody on another machine.

use ringmail_model::pdp::look::{self, Fate, Judged, Look, Proved, Seen};

use crate::control::{
    Mark, Observe, Observed, Passage, PathProofs, ProofCount, ProofRecord, TraceFlow,
};

/// A question for another machine, if it is one that may be asked there.
pub(super) fn asked(question: Observe) -> Option<Look> {
    let flows = |flows: Vec<TraceFlow>| flows.into_iter().map(flow).collect();
    Some(match question {
        Observe::TraceStart { paths, flows: of } => Look::Start { paths, flows: flows(of) },
        Observe::Probe { path } => Look::Probe { path },
        Observe::TraceFind { flows: of, marks } => {
            Look::Find { flows: flows(of), marks: marks.into_iter().map(mark).collect() }
        }
        Observe::TraceStop => Look::Stop,
        Observe::Proofs { path, last } => Look::Proofs { path: path.unwrap_or_default(), last },
        // An element keeps what it signs beside its own state.
        Observe::Tap { .. } | Observe::Statement => return None,
    })
}

/// The same for the runtime.
pub(super) fn question(look: Look) -> Observe {
    let flows = |flows: Vec<look::Flow>| flows.into_iter().map(flow_told).collect();
    match look {
        Look::Start { paths, flows: of } => Observe::TraceStart { paths, flows: flows(of) },
        Look::Probe { path } => Observe::Probe { path },
        Look::Find { flows: of, marks } => Observe::TraceFind {
            flows: flows(of),
            marks: marks.into_iter().map(mark_told).collect(),
        },
        Look::Stop => Observe::TraceStop,
        Look::Proofs { path, last } => {
            Observe::Proofs { path: Some(path).filter(|path| !path.is_empty()), last }
        }
    }
}

/// The runtime's answer for control.
pub(super) fn seen(observed: Observed) -> Seen {
    match observed {
        Observed::Done => Seen::Done,
        Observed::Probed { flow: of, connected_ns, error } => {
            Seen::Probed { flow: flow(of), connected_ns, error: error.unwrap_or_default() }
        }
        Observed::Passages { passages, overwritten } => Seen::Passages {
            passages: passages.into_iter().map(passage).collect(),
            overwritten,
            more: false,
        },
        Observed::Proofs(paths) => {
            Seen::Proofs { paths: paths.into_iter().map(proved).collect(), more: false }
        }
        Observed::Statement { .. } => Seen::Refused("that was not asked".to_owned()),
    }
}

/// An element's answer as control hears it.
pub(super) fn observed(element: &str, seen: Seen) -> Result<Observed, String> {
    Ok(match seen {
        Seen::Refused(why) => return Err(why),
        Seen::Done => Observed::Done,
        Seen::Probed { flow, connected_ns, error } => Observed::Probed {
            flow: flow_told(flow),
            connected_ns,
            error: Some(error).filter(|error| !error.is_empty()),
        },
        Seen::Passages { passages, overwritten, .. } => Observed::Passages {
            passages: passages.into_iter().map(passage_told).collect(),
            overwritten,
        },
        Seen::Proofs { paths, .. } => {
            Observed::Proofs(paths.into_iter().map(|path| proved_told(element, path)).collect())
        }
    })
}

fn proved(PathProofs { path, counts, last, .. }: PathProofs) -> Proved {
    let counted = |ProofCount { verdict, from, packets }| (verdict, from, packets);
    let judged = |record: ProofRecord| {
        let ProofRecord { time, origin, worker, sequence, verdict, from, from_element } = record;
        Judged { time, origin, worker, sequence, verdict, from, from_element }
    };
    let counts = counts.into_iter().map(counted).collect();
    Proved { path, counts, last: last.into_iter().map(judged).collect() }
}

fn proved_told(end: &str, Proved { path, counts, last }: Proved) -> PathProofs {
    let counted = |(verdict, from, packets)| ProofCount { verdict, from, packets };
    let record = |judged: Judged| {
        let Judged { time, origin, worker, sequence, verdict, from, from_element } = judged;
        ProofRecord { time, origin, worker, sequence, verdict, from, from_element }
    };
    let counts = counts.into_iter().map(counted).collect();
    let last = last.into_iter().map(record).collect();
    PathProofs { path, end: end.to_owned(), counts, last }
}

fn flow(flow: TraceFlow) -> look::Flow {
    let TraceFlow { source, destination, protocol } = flow;
    look::Flow { source, destination, protocol }
}

fn flow_told(flow: look::Flow) -> TraceFlow {
    let look::Flow { source, destination, protocol } = flow;
    TraceFlow { source, destination, protocol }
}

fn mark(Mark { spi, sequence }: Mark) -> look::Mark {
    look::Mark { spi, sequence }
}

fn mark_told(look::Mark { spi, sequence }: look::Mark) -> Mark {
    Mark { spi, sequence }
}

fn passage(passage: Passage) -> look::Passage {
    let Passage { flow: of, arrived, left, in_ns, out_ns, bytes_in, bytes_out, verdict, reason } =
        passage;
    look::Passage {
        flow: of.map(flow),
        arrived: arrived.map(mark),
        left: left.map(mark),
        in_ns,
        out_ns,
        bytes_in,
        bytes_out,
        fate: Fate::named(&verdict).unwrap_or(Fate::Pending),
        reason: reason.unwrap_or_default(),
    }
}

fn passage_told(passage: look::Passage) -> Passage {
    let look::Passage { flow, arrived, left, in_ns, out_ns, bytes_in, bytes_out, fate, reason } =
        passage;
    Passage {
        flow: flow.map(flow_told),
        arrived: arrived.map(mark_told),
        left: left.map(mark_told),
        in_ns,
        out_ns,
        bytes_in,
        bytes_out,
        verdict: fate.name().to_owned(),
        reason: Some(reason).filter(|reason| !reason.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn here() -> TraceFlow {
        let (source, destination) = ("10.0.0.1:1", "[2001:db8::1]:2");
        let parsed = |text: &str| text.parse().expect("an address");
        TraceFlow { source: parsed(source), destination: parsed(destination), protocol: 6 }
    }

    #[test]
    fn a_question_is_the_same_on_the_other_machine() {
        let mark = Mark { spi: 1, sequence: 2 };
        let (paths, flows) = (vec!["a".to_owned(), "b".to_owned()], vec![here()]);
        let questions = [
            Observe::TraceStart { paths, flows: flows.clone() },
            Observe::Probe { path: "a".to_owned() },
            Observe::TraceFind { flows, marks: vec![mark] },
            Observe::TraceStop,
            Observe::Proofs { path: None, last: 3 },
            Observe::Proofs { path: Some("a".to_owned()), last: 3 },
        ];
        for asked_for in questions {
            let (before, look) = (format!("{asked_for:?}"), asked(asked_for).expect("it may be"));
            assert_eq!(format!("{:?}", question(look)), before);
        }
        let (path, socket) = ("a".to_owned(), PathBuf::from("/s"));
        assert_eq!(asked(Observe::Tap { path, socket }), None, "what packets carry stays there");
    }

    #[test]
    fn an_answer_is_the_same_here() {
        let mark = Mark { spi: 1, sequence: 2 };
        let passage = |verdict: &str, reason: Option<&str>| Passage {
            flow: reason.map(|_| here()),
            arrived: Some(mark),
            left: None,
            in_ns: 1,
            out_ns: 2,
            bytes_in: 3,
            bytes_out: 4,
            verdict: verdict.to_owned(),
            reason: reason.map(str::to_owned),
        };
        let passages = ["sent", "delivered", "handed_over", "pending"].map(|v| passage(v, None));
        let mut passages = passages.to_vec();
        passages.push(passage("dropped", Some("replayed")));
        let probed = |error: Option<&str>| Observed::Probed {
            flow: here(),
            connected_ns: 5,
            error: error.map(str::to_owned),
        };
        let answers = [
            Observed::Done,
            probed(None),
            probed(Some("refused")),
            Observed::Passages { passages, overwritten: 6 },
            Observed::Proofs(vec![PathProofs {
                path: "a".to_owned(),
                end: "egress".to_owned(),
                counts: vec![ProofCount { packets: 7, ..ProofCount::default() }],
                last: vec![ProofRecord { sequence: 8, ..ProofRecord::default() }],
            }]),
        ];
        for answer in answers {
            let before = format!("{answer:?}");
            assert_eq!(
                format!("{:?}", observed("egress", seen(answer)).expect("an answer")),
                before
            );
        }
        assert_eq!(observed("", Seen::Refused("no".to_owned())).expect_err("none"), "no");
    }
}
