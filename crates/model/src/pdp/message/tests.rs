//! The bytes of every message.

use super::*;
use crate::limits;
use crate::pathset::SignedPathSet;
use crate::pdp::look::{Fate, Flow, Judged, Mark, Passage, Proved};

fn documents() -> Box<Documents> {
    Box::new(Documents {
        paths: SignedPathSet { bytes: vec![1, 2], signature: vec![3] },
        domain_file: "é".to_owned(),
        domain_signature: vec![4],
    })
}

/// One of each type, with its bytes: what is on the wire never changes by accident.
fn golden() -> Vec<(Message, &'static str)> {
    let version = PathVersion(0x0102);
    let v = "0000000000000102";
    let bytes = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let life = [7; 16];
    let l = "07".repeat(16);
    let nack = Message::Nack { version, reason: Nack::Older, detail: "no".to_owned() };
    let listener = Usage::Listener { listener: "web".to_owned(), index: 1 };
    let request = |usage| Message::CertificateRequest { number: 9, usage, request: vec![5] };
    let flow = Flow {
        source: "10.0.0.1:80".parse().expect("an address"),
        destination: "10.0.0.2:81".parse().expect("an address"),
        protocol: 6,
    };
    let (n, f, m) = ("00000009", "040a0000010050040a000002005106", "0000000500000006");
    let mark = Mark { spi: 5, sequence: 6 };
    let start = Look::Start { paths: vec!["p".to_owned()], flows: vec![flow] };
    let seen = |seen| Message::Seen { number: 9, seen };
    let passage = Passage {
        flow: Some(flow),
        arrived: Some(mark),
        left: Some(mark),
        in_ns: 1,
        out_ns: 2,
        bytes_in: 100,
        bytes_out: 0,
        fate: Fate::Dropped,
        reason: "nope".to_owned(),
    };
    vec![
        (
            Message::Hello { protocol: 1, life, active: version, highest: version },
            bytes(&format!("0000002201{}{l}{v}{v}", "01")),
        ),
        (Message::Ack { version }, bytes(&format!("0000000902{v}"))),
        (nack, bytes(&format!("0000001003{v}04000000026e6f"))),
        (Message::Activated { version }, bytes(&format!("0000000904{v}"))),
        (
            Message::LeaseRequest { digest: PathDigest([8; 32]) },
            bytes(&format!("0000002105{}", "08".repeat(32))),
        ),
        (request(Usage::Element), "0000000b0600000009010000000105"),
        (
            request(listener),
            "00000014060000000902000000037765620001\
            0000000105",
        ),
        (
            Message::Enrol {
                element: "sf1".to_owned(),
                secret: EnrolSecret([4; 32]),
                request: vec![5],
            },
            bytes(&format!("0000002d0700000003736631{}0000000105", "04".repeat(32))),
        ),
        (
            Message::Welcome { protocol: 1, life, now_unix_ms: 3, committed: version },
            bytes(&format!("0000002210{}{l}0000000000000003{v}", "01")),
        ),
        (
            Message::Offer { version, offer: Offer::Counts, documents: documents() },
            bytes(&format!("0000002011{v}01000000020102000000010300000002c3a90000000104")),
        ),
        (Message::Activate { version }, bytes(&format!("0000000912{v}"))),
        (Message::Abandon { version }, bytes(&format!("0000000913{v}"))),
        (Message::Lease { signed: vec![6, 6] }, "0000000714000000020606"),
        (
            Message::Certificate { number: 9, not_after_unix_s: 3, chain: vec![vec![1], vec![]] },
            "000000181500000009000000000000000300020000000101 00000000",
        ),
        (Message::Refused { number: 9, detail: String::new() }, "00000009160000000900000000"),
        (
            Message::Bundle { roots: vec![vec![1]], crls: vec![], path_key: [2; 32] },
            bytes(&format!("0000002a170001000000010100 00{}", "02".repeat(32))),
        ),
        (
            Message::Absent { version, elements: vec!["sf1".to_owned()] },
            bytes(&format!("0000001218{v}000100000003736631")),
        ),
        (
            Message::Look { number: 9, look: start },
            bytes(&format!("0000001e19{n}01000100000001700001{f}")),
        ),
        (
            Message::Look { number: 9, look: Look::Probe { path: "p".to_owned() } },
            bytes(&format!("0000000b19{n}020000000170")),
        ),
        (
            Message::Look { number: 9, look: Look::Find { flows: vec![], marks: vec![mark] } },
            bytes(&format!("0000001219{n}03000000010000000500000006")),
        ),
        (
            Message::Look { number: 9, look: Look::Proofs { path: "p".to_owned(), last: 2 } },
            bytes(&format!("0000000f19{n}05000000017000000002")),
        ),
        (
            seen(Seen::Proofs {
                paths: vec![Proved {
                    path: "p".to_owned(),
                    counts: vec![("v".to_owned(), 1, 2)],
                    last: vec![Judged {
                        time: "t".to_owned(),
                        origin: "o".to_owned(),
                        worker: 3,
                        sequence: 4,
                        verdict: "v".to_owned(),
                        from: 5,
                        from_element: "e".to_owned(),
                    }],
                }],
                more: true,
            }),
            bytes(&format!(
                "0000004408{n}06 0001 0000000170 0001 0000000176 00000001 0000000000000002 0001 \
                 0000000174 000000016f 0003 0000000000000004 0000000176 00000005 0000000165"
            )),
        ),
        (Message::Look { number: 9, look: Look::Stop }, bytes(&format!("0000000619{n}04"))),
        (seen(Seen::Refused("no".to_owned())), bytes(&format!("0000000c08{n}00000000026e6f"))),
        (seen(Seen::Done), bytes(&format!("0000000608{n}01"))),
        (
            seen(Seen::Probed { flow, connected_ns: 3, error: String::new() }),
            bytes(&format!("0000002108{n}02{f}000000000000000300000000")),
        ),
        (
            seen(Seen::Passages { passages: vec![passage], overwritten: 2, more: false }),
            bytes(&format!(
                "00000051 08{n}03 0000000000000002 0001 07{f}{m}{m} 0000000000000001 \
                 0000000000000002 00000064 00000000 04 000000046e6f7065"
            )),
        ),
        (
            seen(Seen::Passages { passages: vec![], overwritten: 0, more: true }),
            bytes(&format!("0000001008{n}0400000000000000000000")),
        ),
        (Message::Heartbeat, "0000000120"),
        (Message::Close { reason: CloseReason::Silent }, "000000022103"),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_message_has_one_encoding() {
    for (message, expected) in golden() {
        let expected: String = expected.split_whitespace().collect();
        let bytes = message.encode();
        assert_eq!(hex(&bytes), expected, "{message:?}");
        assert_eq!(Message::decode(&bytes[4..]), Ok(message.clone()));
        for end in 4..bytes.len() {
            assert!(Message::decode(&bytes[4..end]).is_err(), "{message:?} cut at {end}");
        }
        let longer = [&bytes[4..], &[0]].concat();
        assert_eq!(Message::decode(&longer), Err(MessageError::Trailing(1)), "{message:?}");
    }
}

#[test]
fn a_stream_is_cut_where_messages_end() {
    let all: Vec<u8> = golden().iter().flat_map(|(message, _)| message.encode()).collect();
    for step in [1, 3, 7, all.len()] {
        let mut framer = Framer::new(1024);
        let mut found = Vec::new();
        for part in all.chunks(step) {
            framer.push(part);
            while let Some(message) = framer.next_message().expect("none is too long") {
                found.push(Message::decode(message).expect("a message"));
            }
        }
        let expected: Vec<Message> = golden().into_iter().map(|(message, _)| message).collect();
        assert_eq!(found, expected);
    }
    let mut framer = Framer::new(8);
    framer.push(&9u32.to_be_bytes());
    assert_eq!(framer.next_message(), Err(MessageError::TooLong(9)));
}

#[test]
fn a_flow_of_ipv6_and_a_passage_of_nothing_have_their_encoding_too() {
    let source = "[2001:db8::1]:80".parse().expect("an address");
    let flow = Flow { source, destination: "[2001:db8::2]:81".parse().expect("it"), protocol: 17 };
    let passages =
        [(Some(flow), None, Fate::Sent), (None, Some(Mark { spi: 1, sequence: 2 }), Fate::Pending)];
    let passages = passages.map(|(flow, arrived, fate)| Passage {
        flow,
        arrived,
        left: None,
        in_ns: u64::MAX,
        out_ns: 0,
        bytes_in: u32::MAX,
        bytes_out: 1,
        fate,
        reason: String::new(),
    });
    let seen = Seen::Passages { passages: passages.to_vec(), overwritten: 0, more: true };
    let message = Message::Seen { number: 1, seen };
    assert_eq!(Message::decode(&message.encode()[4..]), Ok(message));
}

#[test]
fn the_longest_answer_fits_a_message_of_an_element_and_more_is_cut() {
    let source = "[2001:db8::1]:80".parse().expect("an address");
    let mark = Some(Mark { spi: 1, sequence: 2 });
    let passage = Passage {
        flow: Some(Flow { source, destination: source, protocol: 17 }),
        arrived: mark,
        left: mark,
        in_ns: 0,
        out_ns: 0,
        bytes_in: 0,
        bytes_out: 0,
        fate: Fate::Dropped,
        reason: "x".repeat(limits::PDP_REASON_BYTES + 1),
    };
    let passages = vec![passage; limits::PDP_SEEN_PASSAGES + 1];
    let seen = Seen::Passages { passages, overwritten: 0, more: false };
    let bytes = Message::Seen { number: 1, seen }.encode();
    assert!(bytes.len() <= limits::PDP_REQUEST_BYTES, "{}", bytes.len());
    let Ok(Message::Seen { seen: Seen::Passages { passages, .. }, .. }) =
        Message::decode(&bytes[4..])
    else {
        panic!("it is no message any more")
    };
    assert_eq!(passages.len(), limits::PDP_SEEN_PASSAGES);
    assert_eq!(passages[0].reason.len(), limits::PDP_REASON_BYTES);
    // One more in the count is refused before anything is read.
    let mut longer = bytes[4..].to_vec();
    longer[14..16].copy_from_slice(&(limits::PDP_SEEN_PASSAGES as u16 + 1).to_be_bytes());
    assert_eq!(Message::decode(&longer), Err(MessageError::Value("passages")));
}

#[test]
fn every_fate_has_its_code_and_name() {
    for (index, (fate, name)) in Fate::ALL.into_iter().enumerate() {
        assert_eq!((fate as usize, fate.name()), (index + 1, name));
        assert_eq!((Fate::from_code(fate as u8), Fate::named(name)), (Some(fate), Some(fate)));
    }
    assert_eq!((Fate::from_code(0), Fate::from_code(6)), (None, None));
}

#[test]
fn a_text_for_people_is_cut_between_characters() {
    let message = Message::Refused { number: 0, detail: "é".repeat(limits::PDP_DETAIL_BYTES) };
    let Ok(Message::Refused { detail, .. }) = Message::decode(&message.encode()[4..]) else {
        panic!("it is no message any more")
    };
    assert_eq!(detail.len(), limits::PDP_DETAIL_BYTES);
}
