//! The bytes of every message.

use super::*;
use crate::limits;
use crate::pathset::SignedPathSet;

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
fn a_text_for_people_is_cut_between_characters() {
    let message = Message::Refused { number: 0, detail: "é".repeat(limits::PDP_DETAIL_BYTES) };
    let Ok(Message::Refused { detail, .. }) = Message::decode(&message.encode()[4..]) else {
        panic!("it is no message any more")
    };
    assert_eq!(detail.len(), limits::PDP_DETAIL_BYTES);
}
