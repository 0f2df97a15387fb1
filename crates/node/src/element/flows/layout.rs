//! What stands in a record: IANA's information elements where there is one, the rest private ones of an enterprise, which
//! are described to the collector as RFC 5610 says.

use std::net::IpAddr;

use ringmail_dataplane::meter::Record;
use ringmail_packet::ipfix::{Field, Message, VARIABLE, Value};

use super::exporter::Who;

/// Templates, by IP version, and that of the descriptions of private elements.
pub(super) const IPV4: u16 = 256;
pub(super) const IPV6: u16 = 257;
const DESCRIPTIONS: u16 = 258;

/// The number under which elements count the other way of a flow (RFC 5103 section 6.1).
const REVERSE: u32 = 29_305;

/// Forward is the way from whom began the flow (IANA's biflowDirection).
const FROM_INITIATOR: u8 = 1;

/// A private element: number, name, abstract data type (RFC 5610 section 3.1).
const PRIVATE: [(u16, &str, u8); 4] = [
    (PATH, "ringmailPathName", STRING),
    (RULE, "ringmailRuleName", STRING),
    (SERVICE, "ringmailServiceName", STRING),
    (PROOF, "ringmailTransitProof", UNSIGNED8),
];
const PATH: u16 = 1;
const RULE: u16 = 2;
const SERVICE: u16 = 3;
const PROOF: u16 = 4;
const UNSIGNED8: u8 = 1;
const STRING: u8 = 13;

/// Which template a record is of.
pub(super) fn template(record: &Record) -> u16 {
    if record.flow.src.is_ipv4() { IPV4 } else { IPV6 }
}

/// Says what records hold.
pub(super) fn describe(
    message: &mut Message<'_>,
    enterprise: u32,
) -> Result<(), ringmail_packet::Error> {
    for (id, source, destination, len) in [(IPV4, 8, 12, 4), (IPV6, 27, 28, 16)] {
        message.template(id, &fields(enterprise, source, destination, len))?;
    }
    let scope = [Field::new(346, 4), Field::new(303, 2)];
    let about = [Field::new(339, 1), Field::new(344, 1), Field::new(341, VARIABLE)];
    message.options_template(DESCRIPTIONS, &scope, &about)?;
    for (number, name, kind) in PRIVATE {
        // Semantics: a number that is a state, or nothing of the kind.
        let semantics = if kind == UNSIGNED8 { 4 } else { 0 };
        let scope = [Value::U32(enterprise), Value::U16(number)];
        let about = [Value::U8(kind), Value::U8(semantics), Value::Text(name)];
        message.record(DESCRIPTIONS, &[&scope[..], &about[..]].concat())?;
    }
    Ok(())
}

fn fields(enterprise: u32, source: u16, destination: u16, address_bytes: u16) -> [Field; 18] {
    [
        // flowStartMilliseconds, flowEndMilliseconds
        Field::new(152, 8),
        Field::new(153, 8),
        Field::new(source, address_bytes),
        Field::new(destination, address_bytes),
        // Ports and protocol.
        Field::new(7, 2),
        Field::new(11, 2),
        Field::new(4, 1),
        // flowEndReason, biflowDirection
        Field::new(136, 1),
        Field::new(239, 1),
        // octetDeltaCount, packetDeltaCount, and the same the other way
        Field::new(1, 8),
        Field::new(2, 8),
        Field::of(REVERSE, 1, 8),
        Field::of(REVERSE, 2, 8),
        // userName
        Field::new(371, VARIABLE),
        Field::of(enterprise, PATH, VARIABLE),
        Field::of(enterprise, RULE, VARIABLE),
        Field::of(enterprise, SERVICE, VARIABLE),
        Field::of(enterprise, PROOF, 1),
    ]
}

/// Adds a record.
pub(super) fn add(
    message: &mut Message<'_>,
    record: &Record,
    who: &Who,
    path: &str,
) -> Result<(), ringmail_packet::Error> {
    let (source, destination) = (octets(record.flow.src), octets(record.flow.dst));
    let len = if record.flow.src.is_ipv4() { 4 } else { 16 };
    message.record(
        template(record),
        &[
            Value::U64(record.first_ms),
            Value::U64(record.last_ms),
            Value::Bytes(&source[..len]),
            Value::Bytes(&destination[..len]),
            Value::U16(record.flow.src_port),
            Value::U16(record.flow.dst_port),
            Value::U8(record.flow.protocol),
            Value::U8(record.end as u8),
            Value::U8(FROM_INITIATOR),
            Value::U64(record.forward.bytes),
            Value::U64(record.forward.packets),
            Value::U64(record.back.bytes),
            Value::U64(record.back.packets),
            Value::Text(&who.client),
            Value::Text(path),
            Value::Text(&who.rule),
            Value::Text(&who.service),
            Value::U8(record.proof as u8),
        ],
    )
}

/// An address, at the beginning of 16 bytes.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(v4) => {
            let mut all = [0; 16];
            all[..4].copy_from_slice(&v4.octets());
            all
        }
    }
}
