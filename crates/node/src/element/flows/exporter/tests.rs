//! Messages as tshark reads them, and what happens when there is too much of anything.

use std::io::Write;
use std::process::{Command, Stdio};

use ringmail_dataplane::meter::{Count, EndReason, Proof};
use serde_json::Value;

use super::*;

const NOW_MS: u64 = 1_795_219_200_123;

fn wanted() -> FlowExport {
    FlowExport {
        from: ringmail_model::domain::Observer::Gateway,
        collector: "192.0.2.60:4739".parse().expect("an address"),
        transport: FlowTransport::Udp,
        idle_timeout_s: 15,
        active_timeout_s: 60,
        message_bytes: 1_400,
        enterprise: 32_473,
    }
}

fn exporter(wanted: &FlowExport) -> (Exporter, Arc<FlowCounters>) {
    let counters = Arc::<FlowCounters>::default();
    let paths = BTreeMap::from([(PathId(3), "inspected".to_owned())]);
    (Exporter::new(wanted, ElementId(7), paths, Arc::clone(&counters)), counters)
}

fn flow(port: u16) -> FlowKey {
    FlowKey {
        src: [10, 78, 0, 1].into(),
        dst: [10, 79, 0, 10].into(),
        src_port: port,
        dst_port: 80,
        protocol: 6,
    }
}

fn record(flow: FlowKey) -> Event {
    Event::Record(Box::new(Record {
        flow,
        path: PathId(3),
        first_ms: NOW_MS - 2_500,
        last_ms: NOW_MS - 500,
        forward: Count { packets: 5, bytes: 700 },
        back: Count { packets: 7, bytes: 9_000 },
        proof: Proof::Proved,
        end: EndReason::End,
    }))
}

fn began(flow: FlowKey) -> Event {
    let who = Who::new("spiffe://campus.example/client/client1", "client1-inspected", "www");
    Event::Began(flow, Arc::new(who))
}

fn messages(exporter: &mut Exporter, now_ms: u64) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| exporter.poll_transmit(now_ms)).collect()
}

/// The messages as datagrams in a capture (libpcap's classic format, raw IPv4), dissected by tshark.
fn dissected(messages: &[Vec<u8>]) -> Vec<Value> {
    let mut capture = Vec::new();
    let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101];
    words.iter().for_each(|word| capture.extend(word.to_le_bytes()));
    for message in messages {
        let udp = 8 + message.len() as u16;
        let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 60];
        packet[2..4].copy_from_slice(&(20 + udp).to_be_bytes());
        for field in [40_000, 4_739, udp, 0] {
            packet.extend(field.to_be_bytes());
        }
        packet.extend(message);
        for word in [1, 0, packet.len() as u32, packet.len() as u32] {
            capture.extend(word.to_le_bytes());
        }
        capture.extend(packet);
    }
    let mut tshark = Command::new("tshark")
        .args(["-r", "-", "-d", "udp.port==4739,cflow", "-T", "json", "--no-duplicate-keys"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("tshark, which `cargo xtask test` installs");
    let mut input = tshark.stdin.take().expect("its input");
    let feeding = std::thread::spawn(move || input.write_all(&capture));
    let said = tshark.wait_with_output().expect("its output");
    feeding.join().expect("fed").expect("it reads");
    let frames: Vec<Value> = serde_json::from_slice(&said.stdout).expect("JSON");
    frames.iter().map(|frame| frame["_source"]["layers"]["cflow"].clone()).collect()
}

/// All values of a field, at whatever depth.
fn values<'a>(tree: &'a Value, field: &str, found: &mut Vec<&'a str>) {
    match tree {
        Value::Object(all) => {
            for (name, value) in all {
                match value {
                    Value::String(text) if name == field => found.push(text),
                    Value::Array(many) if name == field => {
                        found.extend(many.iter().filter_map(Value::as_str));
                    }
                    _ => values(value, field, found),
                }
            }
        }
        Value::Array(many) => many.iter().for_each(|value| values(value, field, found)),
        _ => {}
    }
}

fn all<'a>(tree: &'a Value, field: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    values(tree, field, &mut found);
    found
}

/// A program that nobody here wrote reads in the records what was put into them, for both versions of IP.
#[test]
fn tshark_reads_what_was_said() {
    let (mut exporter, counters) = exporter(&wanted());
    let six = FlowKey {
        src: "2001:db8:78::1".parse().expect("an address"),
        dst: "2001:db8:79::10".parse().expect("an address"),
        ..flow(2_000)
    };
    for flow in [flow(1_000), six] {
        exporter.handle_event(NOW_MS, began(flow));
        exporter.handle_event(NOW_MS, record(flow));
    }
    exporter.handle_event(NOW_MS, record(flow(3_000)));
    let messages = messages(&mut exporter, NOW_MS);
    let frames = dissected(&messages);
    let said = Value::Array(frames.clone());
    for (field, expected) in [
        ("cflow.version", vec!["10"]),
        ("cflow.od_id", vec!["7"]),
        ("cflow.sequence", vec!["0"]),
        ("cflow.srcaddr", vec!["10.78.0.1", "10.78.0.1"]),
        ("cflow.dstaddrv6", vec!["2001:db8:79::10"]),
        ("cflow.srcport", vec!["1000", "2000", "3000"]),
        ("cflow.dstport", vec!["80", "80", "80"]),
        ("cflow.octets", vec!["700", "9000", "700", "9000", "700", "9000"]),
        ("cflow.packets", vec!["5", "7", "5", "7", "5", "7"]),
        ("cflow.flow_end_reason", vec!["3", "3", "3"]),
        ("cflow.biflow_direction", vec!["1", "1", "1"]),
    ] {
        assert_eq!(all(&said, field), expected, "{field} of {said:#}");
    }
    let client = "spiffe://campus.example/client/client1";
    assert_eq!(all(&said, "cflow.user_name"), [client, client], "{said:#}");
    // Private elements are bytes to tshark: path, rule, service, proof.
    let text = said.to_string();
    let hex = |text: &str| {
        let bytes: Vec<_> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(":")
    };
    let [path, rule, service] = ["inspected", "client1-inspected", "www"].map(hex);
    let known = [&*path, &*rule, &*service, "01"];
    let private = all(&said, "cflow.enterprise_private_entry");
    let expected = [&known[..], &known[..], &[&*path, "01"]].concat();
    assert_eq!(private, expected, "{said:#}");
    let described =
        text.contains("ringmailTransitProof") || text.contains(&hex("ringmailTransitProof"));
    assert!(described, "as RFC 5610 says: {said:#}");
    assert!(!text.contains("_ws.malformed") && !text.contains("_ws.expert"), "{said:#}");
    assert_eq!((counters.flow_records.get(), counters.flow_records_nameless.get()), (3, 1));
}

/// Templates again each minute, and numbers that go on.
#[test]
fn messages_follow_each_other() {
    let (mut exporter, _) = exporter(&wanted());
    let sequence =
        |message: &[u8]| u32::from_be_bytes([message[8], message[9], message[10], message[11]]);
    let first_set = |message: &[u8]| u16::from_be_bytes([message[16], message[17]]);
    assert!(exporter.is_due(NOW_MS), "templates come first");
    let first = messages(&mut exporter, NOW_MS);
    assert_eq!((first.len(), first_set(&first[0]), sequence(&first[0])), (1, 2, 0));
    assert!(!exporter.is_due(NOW_MS) && exporter.poll_transmit(NOW_MS).is_none());
    exporter.handle_event(NOW_MS, record(flow(1)));
    assert!(!exporter.is_due(NOW_MS), "it waits for others");
    assert!(exporter.is_due(NOW_MS + 500));
    let second = messages(&mut exporter, NOW_MS + 500);
    // Before it went four descriptions of private elements.
    assert_eq!((first_set(&second[0]), sequence(&second[0])), (layout::IPV4, 4));
    for port in 0..100 {
        exporter.handle_event(NOW_MS, record(flow(port)));
    }
    assert!(exporter.is_due(NOW_MS), "many do not wait");
    let many = messages(&mut exporter, NOW_MS);
    assert!(many.len() > 2 && many.iter().all(|message| message.len() <= 1_400));
    let numbers: Vec<u32> = many.iter().map(|message| sequence(message)).collect();
    assert!(numbers[0] == 5 && numbers.is_sorted());
    let again = messages(&mut exporter, NOW_MS + 60_000);
    assert_eq!((again.len(), first_set(&again[0]), sequence(&again[0])), (1, 2, 105));
    exporter.begin_session();
    let anew = messages(&mut exporter, NOW_MS + 60_001);
    assert_eq!((first_set(&anew[0]), sequence(&anew[0])), (2, 0), "a new connection knows nothing");
}

#[test]
fn too_much_of_anything_costs_names_or_records_and_nothing_else() {
    let (mut exporter, counters) = exporter(&wanted());
    for n in 0..=FLOW_IDENTITIES {
        let flow =
            FlowKey { src: [10, (n >> 16) as u8, (n >> 8) as u8, n as u8].into(), ..flow(1) };
        exporter.handle_event(NOW_MS, began(flow));
        exporter.handle_event(NOW_MS, Event::Ended(flow));
    }
    assert_eq!(exporter.flows.len(), FLOW_IDENTITIES);
    exporter.handle_timeout(NOW_MS + 79_999);
    assert_eq!(exporter.flows.len(), FLOW_IDENTITIES, "records may still come");
    exporter.handle_timeout(NOW_MS + 79_999 + 80_000);
    assert_eq!(exporter.flows.len(), 0);
    for n in 0..FLOW_RECORDS + 10 {
        exporter.handle_event(NOW_MS, record(flow(n as u16)));
    }
    assert_eq!((exporter.waiting.len(), counters.flow_records_lost.get()), (FLOW_RECORDS, 10));
    // The longest names fit into the shortest message.
    let mut shortest = wanted();
    shortest.message_bytes = ringmail_model::limits::FLOW_MESSAGE_MIN_BYTES;
    let (mut exporter, counters) = self::exporter(&shortest);
    let long = "é".repeat(1_000);
    exporter.paths.insert(PathId(3), "p".repeat(128));
    exporter.handle_event(NOW_MS, Event::Began(flow(1), Arc::new(Who::new(&long, &long, &long))));
    exporter.handle_event(NOW_MS, record(flow(1)));
    let sent = messages(&mut exporter, NOW_MS);
    let lost = counters.flow_records_lost.get();
    assert_eq!((counters.flow_records.get(), lost), (1, 0), "{} messages", sent.len());
}
