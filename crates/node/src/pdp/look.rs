//! Questions about packets as path distribution carries them, and as an element's runtime is asked. Taps have no such form:
//! what packets carry is told to nobody on another machine.

use ringmail_model::pdp::look::{self, Fate, Look, Seen};

use crate::control::{Mark, Observe, Observed, Passage, TraceFlow};

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
        // The end of a path says itself what it found.
        Observe::Tap { .. } | Observe::Proofs { .. } | Observe::Statement => return None,
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
        Observed::Proofs(_) | Observed::Statement { .. } => {
            Seen::Refused("that was not asked".to_owned())
        }
    }
}

/// An element's answer as control hears it.
pub(super) fn observed(seen: Seen) -> Result<Observed, String> {
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
    })
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
        ];
        for answer in answers {
            let before = format!("{answer:?}");
            assert_eq!(format!("{:?}", observed(seen(answer)).expect("an answer")), before);
        }
        assert_eq!(observed(Seen::Refused("no".to_owned())).expect_err("none"), "no");
    }
}
