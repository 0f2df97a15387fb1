//! IPFIX messages, read back by a reader that knows RFC 7011 and nothing of the writer.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use ringmail_packet::ipfix::{Field, HEADER_LEN_BYTES, Header, Message, VARIABLE, Value};

/// A value that a test owns.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Fixed(Vec<u8>),
    Text(String),
}

/// What a reader made of a message: templates by number, and records.
#[derive(Debug, Default, PartialEq)]
struct Read {
    templates: BTreeMap<u16, Vec<(u16, Option<u32>, u16)>>,
    scopes: BTreeMap<u16, usize>,
    records: Vec<(u16, Vec<Vec<u8>>)>,
}

/// Takes a message apart; panics where it is not one.
fn read(message: &[u8]) -> Read {
    let u16_at = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    assert_eq!((u16_at(0), usize::from(u16_at(2))), (10, message.len()));
    let mut read = Read::default();
    let mut at = HEADER_LEN_BYTES;
    while at < message.len() {
        let (id, end) = (u16_at(at), at + usize::from(u16_at(at + 2)));
        assert!(end <= message.len() && end > at + 4, "an empty set, or one that goes on too long");
        at += 4;
        while at < end {
            match id {
                2 | 3 => {
                    let (template, count) = (u16_at(at), u16_at(at + 2));
                    at += 4;
                    if id == 3 {
                        read.scopes.insert(template, usize::from(u16_at(at)));
                        at += 2;
                    }
                    let mut fields = Vec::new();
                    for _ in 0..count {
                        let (element, len) = (u16_at(at), u16_at(at + 2));
                        at += 4;
                        let enterprise = (element & 0x8000 != 0).then(|| {
                            at += 4;
                            (u32::from(u16_at(at - 4)) << 16) | u32::from(u16_at(at - 2))
                        });
                        fields.push((element & 0x7fff, enterprise, len));
                    }
                    read.templates.insert(template, fields);
                }
                id => {
                    let mut values = Vec::new();
                    for (_, _, len) in &read.templates[&id] {
                        let len = match (*len, message[at]) {
                            (VARIABLE, 255) => {
                                at += 3;
                                usize::from(u16_at(at - 2))
                            }
                            (VARIABLE, len) => {
                                at += 1;
                                usize::from(len)
                            }
                            (len, _) => usize::from(len),
                        };
                        values.push(message[at..at + len].to_vec());
                        at += len;
                    }
                    read.records.push((id, values));
                }
            }
        }
        assert_eq!(at, end, "a set ends where it says");
    }
    read
}

fn field() -> impl Strategy<Value = Field> {
    let len = prop_oneof![Just(1u16), Just(2), Just(4), Just(8), Just(16), Just(VARIABLE)];
    (0u16..0x8000, proptest::option::of(any::<u32>()), len)
        .prop_map(|(element, enterprise, len_bytes)| Field { element, enterprise, len_bytes })
}

fn value(field: Field) -> BoxedStrategy<Owned> {
    match field.len_bytes {
        VARIABLE => prop_oneof!["[ -~]{0,12}", "[é]{100,200}"].prop_map(Owned::Text).boxed(),
        len => vec(any::<u8>(), usize::from(len)).prop_map(Owned::Fixed).boxed(),
    }
}

/// Templates, each with records.
fn templates() -> impl Strategy<Value = Vec<(Vec<Field>, Vec<Vec<Owned>>)>> {
    let template = vec(field(), 1..6).prop_flat_map(|fields| {
        let record: Vec<_> = fields.iter().map(|field| value(*field)).collect();
        (Just(fields), vec(record, 0..6))
    });
    vec(template, 1..4)
}

fn borrowed(values: &[Owned]) -> Vec<Value<'_>> {
    values.iter().map(borrow).collect()
}

fn borrow(value: &Owned) -> Value<'_> {
    match value {
        Owned::Text(text) => Value::Text(text),
        Owned::Fixed(bytes) => match bytes[..] {
            [a] => Value::U8(a),
            [a, b] => Value::U16(u16::from_be_bytes([a, b])),
            [a, b, c, d] => Value::U32(u32::from_be_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => Value::U64(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            _ => Value::Bytes(bytes),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever fits is read as it was written; what does not leaves the message as it was.
    #[test]
    fn what_is_written_is_read(given in templates(), room in 16usize..4_000) {
        let mut buffer = vec![0xa5; room];
        let header = Header { export_time_unix_s: 1_795_219_200, sequence: 7, domain: 9 };
        let mut message = Message::begin(&mut buffer, &header).expect("room for the header");
        let mut expected = Read::default();
        let mut refused = false;
        for (nth, (fields, records)) in given.iter().enumerate() {
            let id = 256 + nth as u16;
            let before = message.len();
            if message.template(id, fields).is_err() {
                prop_assert_eq!(message.len(), before);
                refused = true;
                continue;
            }
            let plain = fields.iter().map(|f| (f.element, f.enterprise, f.len_bytes));
            expected.templates.insert(id, plain.collect());
            for record in records {
                let before = message.len();
                if message.record(id, &borrowed(record)).is_err() {
                    prop_assert_eq!(message.len(), before);
                    refused = true;
                    continue;
                }
                let values = record.iter().map(|value| match value {
                    Owned::Fixed(bytes) => bytes.clone(),
                    Owned::Text(text) => text.clone().into_bytes(),
                });
                expected.records.push((id, values.collect()));
            }
        }
        prop_assert!(refused || message.records() as usize == expected.records.len());
        let len = message.finish();
        prop_assert!(buffer[len..].iter().all(|byte| *byte == 0xa5), "nothing behind it is touched");
        prop_assert_eq!(read(&buffer[..len]), expected);
        prop_assert_eq!(&buffer[4..16], &[0x6b, 0x00, 0xdf, 0x00, 0, 0, 0, 7, 0, 0, 0, 9][..]);
    }
}

#[test]
fn options_have_their_scope_and_long_texts_their_length() {
    let mut buffer = [0; 1_024];
    let header = Header { export_time_unix_s: 1, sequence: 0, domain: 1 };
    let mut message = Message::begin(&mut buffer, &header).expect("room");
    let (scope, name) = (Field::new(346, 4), Field::new(341, VARIABLE));
    message.options_template(300, &[scope], &[name]).expect("room");
    for len in [0, 254, 255, 300] {
        let text = "x".repeat(len);
        message.record(300, &[Value::U32(32_473), Value::Text(&text)]).expect("room");
    }
    let len = message.finish();
    let read = read(&buffer[..len]);
    assert_eq!(read.scopes, BTreeMap::from([(300, 1)]));
    let lens: Vec<_> = read.records.iter().map(|(_, values)| values[1].len()).collect();
    assert_eq!(lens, [0, 254, 255, 300]);
}

#[test]
fn no_message_is_longer_than_its_length_can_say() {
    let mut buffer = vec![0; 200_000];
    let header = Header { export_time_unix_s: 1, sequence: 0, domain: 1 };
    let mut message = Message::begin(&mut buffer, &header).expect("room");
    message.template(256, &[Field::new(371, VARIABLE)]).expect("room");
    let text = "é".repeat(50_000);
    assert!(message.record(256, &[Value::Text(&text)]).is_err(), "65,535 bytes and more");
    while message.record(256, &[Value::Text("more")]).is_ok() {}
    let len = message.finish();
    assert!((65_530..=65_535).contains(&len), "{len}");
    read(&buffer[..len]);
}
