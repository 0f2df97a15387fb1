//! What `tshark` reads from the captures of MPLS, ESP, ICMP and headers: its output is committed beside them, one line a
//! frame. One test compares this crate with that text; another runs `tshark` again and compares its output with the text.
//!
//! To write the text anew after new captures: `UPDATE_GOLDEN=1 cargo test -p ringmail-packet tshark`.

use std::path::Path;
use std::process::Command;

use ringmail_packet::flow::{FlowError, FlowKey};
use ringmail_packet::ip::protocol;
use ringmail_packet::{esp, icmp, nsh, udp};

use crate::capture;

/// One run of `tshark` over a capture.
struct Run {
    name: &'static str,
    fields: &'static [&'static str],
    preferences: &'static [&'static str],
}

const MPLS: Run = Run {
    name: "mpls",
    fields: &["mpls.label", "mpls.exp", "mpls.bottom", "mpls.ttl"],
    preferences: &[],
};

const NSH: Run = Run {
    name: "nsh",
    fields: &[
        "nsh.version",
        "nsh.Obit",
        "nsh.ttl",
        "nsh.length",
        "nsh.mdtype",
        "nsh.nextproto",
        "nsh.spi",
        "nsh.si",
        "nsh.contextheader",
        "nsh.metadataclass",
        "nsh.metadatatype",
        "nsh.metadatalen",
        "nsh.metadata",
    ],
    preferences: &[],
};

/// The keys are those of captures/make-written.py.
const ESP: Run = Run {
    name: "esp",
    fields: &[
        "esp.spi",
        "esp.sequence",
        "esp.iv",
        "esp.icv",
        "esp.pad_len",
        "esp.pad",
        "esp.protocol",
    ],
    preferences: &[
        "esp.enable_encryption_decode:TRUE",
        "esp.enable_authentication_check:TRUE",
        r#"uat:esp_sa:"IPv4","*","*","0x00001001","AES-GCM with 16 octet ICV [RFC4106]","0x000102030405060708090a0b0c0d0e0f10111213","NULL","""#,
        r#"uat:esp_sa:"IPv4","*","*","0x00002001","NULL","","HMAC-SHA-256-128 [RFC4868]","0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f""#,
        r#"uat:esp_sa:"IPv6","*","*","0x00002002","NULL","","HMAC-SHA-256-128 [RFC4868]","0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f""#,
    ],
};

const AES_GCM: u32 = 0x1001;
const CHACHA20_POLY1305: u32 = 0x1002;

const ICMP: Run = Run {
    name: "icmp",
    fields: &[
        "icmp.type",
        "icmp.code",
        "icmp.checksum",
        "icmp.checksum.status",
        "icmp.ident",
        "icmp.seq",
        "icmp.mtu",
        "icmpv6.type",
        "icmpv6.code",
        "icmpv6.checksum",
        "icmpv6.checksum.status",
        "icmpv6.echo.identifier",
        "icmpv6.echo.sequence_number",
        "icmpv6.mtu",
    ],
    preferences: &["ip.defragment:FALSE", "ipv6.defragment:FALSE"],
};

const HEADERS: Run = Run {
    name: "headers",
    fields: &[
        "ip.src",
        "ip.dst",
        "ipv6.src",
        "ipv6.dst",
        "tcp.srcport",
        "tcp.dstport",
        "udp.srcport",
        "udp.dstport",
        "sctp.srcport",
        "sctp.dstport",
    ],
    preferences: &["ip.defragment:FALSE", "ipv6.defragment:FALSE"],
};

/// Values of one field in one frame are joined by this.
const JOINT: char = ',';

impl Run {
    fn golden_path(&self) -> std::path::PathBuf {
        capture::path(&format!("{}.tshark.txt", self.name))
    }

    /// For each frame its fields' values, in order.
    fn golden(&self) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(self.golden_path()).expect("a committed text");
        let rows: Vec<Vec<String>> =
            text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
        let (names, rows) = rows.split_first().expect("a line of names");
        assert_eq!(names, self.fields);
        assert_eq!(rows.len(), capture::frames(self.name).len());
        rows.to_vec()
    }

    fn tshark(&self) -> String {
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(capture::path(&format!("{}.pcap", self.name)));
        tshark.args(["-n", "-T", "fields", "-E", "header=y", "-E", "occurrence=a"]);
        tshark.arg("-E").arg(format!("aggregator={JOINT}"));
        tshark.args(self.fields.iter().flat_map(|&field| ["-e", field]));
        tshark.args(self.preferences.iter().flat_map(|&preference| ["-o", preference]));
        // Nobody's own preferences.
        tshark.env("WIRESHARK_CONFIG_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("none"));
        let output = tshark.output().unwrap_or_else(|error| {
            panic!("cannot run tshark: {error}; `cargo xtask test` installs it, or: apt-get install tshark")
        });
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tshark: {complaint}");
        String::from_utf8(output.stdout).expect("text")
    }
}

#[test]
fn tshark_itself_still_says_the_committed_text() {
    for run in [MPLS, NSH, ESP, ICMP, HEADERS] {
        let said = run.tshark();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(run.golden_path(), &said).expect("the text is written");
        }
        let committed = std::fs::read_to_string(run.golden_path()).expect("a committed text");
        assert_eq!(said, committed, "{}", run.name);
    }
}

fn joined<T: ToString>(values: impl Iterator<Item = T>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(&JOINT.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn tshark_reads_the_same_label_stacks() {
    for (frame, golden) in capture::frames(MPLS.name).iter().zip(MPLS.golden()) {
        let stack = capture::steered(frame).0.expect("a label stack");
        let ours = [
            joined(stack.entries().map(|entry| entry.label)),
            joined(stack.entries().map(|entry| entry.tc)),
            joined(stack.entries().map(|entry| u8::from(entry.bottom))),
            joined(stack.entries().map(|entry| entry.ttl)),
        ];
        assert_eq!(golden, ours);
    }
}

#[test]
fn tshark_reads_the_same_service_headers() {
    let mut contexts = 0;
    for (frame, golden) in capture::frames(NSH.name).iter().zip(NSH.golden()) {
        let packet = nsh::Packet::new_checked(capture::link(frame).payload).expect("an NSH");
        let base = [
            packet.version().to_string(),
            u8::from(packet.oam()).to_string(),
            format!("{:#06x}", packet.ttl()),
            (packet.header_len() / nsh::WORD_BYTES).to_string(),
            packet.md_type().to_string(),
            packet.next_protocol().to_string(),
            packet.spi().to_string(),
            packet.si().to_string(),
        ];
        assert_eq!(golden[..8], base);
        let fixed = packet.md_type() == nsh::md_type::FIXED;
        let words = packet.metadata().chunks(nsh::WORD_BYTES).filter(|_| fixed);
        assert_eq!(golden[8], joined(words.map(hex)));
        let read: Vec<_> = packet.contexts().collect::<Result<_, _>>().expect("context headers");
        let with_value = read.iter().filter(|context| !context.value.is_empty());
        let ours = [
            joined(read.iter().map(|context| context.class)),
            joined(read.iter().map(|context| context.kind)),
            joined(read.iter().map(|context| format!("{:#04x}", context.value.len()))),
            joined(with_value.map(|context| hex(context.value))),
        ];
        assert_eq!(golden[9..], ours);
        contexts += read.len();
    }
    assert_eq!(contexts, 5);
}

#[test]
fn tshark_reads_the_same_esp_headers_and_trailers() {
    let mut trailers = 0;
    for (frame, golden) in capture::frames(ESP.name).iter().zip(ESP.golden()) {
        let network = capture::network(capture::steered(frame).1);
        assert_eq!(network.protocol, protocol::ESP);
        let packet = esp::Packet::new_checked(network.payload).expect("an ESP packet");
        let [spi, sequence, iv, icv, pad_len, pad, next_header] =
            golden.try_into().expect("seven fields");
        assert_eq!(spi, format!("{:#010x}", packet.spi()));
        assert_eq!(sequence, packet.seq_low().to_string());
        match packet.spi() {
            AES_GCM => {
                assert_eq!((icv, iv), (hex(packet.icv()), hex(&packet.iv().to_be_bytes())));
                continue;
            }
            // tshark shows neither IV nor ICV of it; scapy was told to count.
            CHACHA20_POLY1305 => {
                assert_eq!((icv.as_str(), packet.iv()), ("", u64::from(packet.seq_low())));
                continue;
            }
            _ => assert_eq!(icv, hex(packet.icv())),
        }
        // NULL encryption has no IV: the plaintext begins behind the sequence number.
        let plaintext = &network.payload[8..packet.ciphertext_range().end];
        let trailer = esp::Trailer::parse(plaintext).expect("a trailer");
        let padding = &plaintext[trailer.payload_len..plaintext.len() - 2];
        assert_eq!(pad_len, padding.len().to_string());
        assert_eq!(pad, hex(padding));
        assert_eq!(next_header, format!("{:#04x}", trailer.next_header));
        let mut written = plaintext[..trailer.payload_len].to_vec();
        written.resize(plaintext.len(), 0xee);
        assert_eq!(trailer.emit(&mut written), Ok(plaintext.len()));
        assert_eq!(written, plaintext);
        trailers += 1;
    }
    assert_eq!(trailers, 8);
}

#[test]
fn tshark_reads_the_same_icmp_messages() {
    let mut compared = 0;
    for (frame, golden) in capture::frames(ICMP.name).iter().zip(ICMP.golden()) {
        let link = capture::link(frame);
        let network = link.is_ip.then(|| capture::network(link.payload));
        let network = network.filter(|network| network.is_first);
        // Within an error tshark goes on into the packet that it is about; the first values are the message's own.
        let first = |field: &String| field.split(JOINT).next().unwrap_or_default().to_owned();
        let golden: Vec<String> = golden.iter().map(first).collect();
        let (v4, v6) = golden.split_at(7);
        match network {
            Some(network) if network.protocol == protocol::ICMP => {
                same_icmp(v4, &network, icmp_v4_values);
                compared += 1;
            }
            Some(network) if network.protocol == protocol::ICMPV6 => {
                same_icmp(v6, &network, icmp_v6_values);
                compared += 1;
            }
            _ => assert!(golden.iter().all(String::is_empty), "{golden:?}"),
        }
    }
    assert!(compared >= 35, "{compared}");
}

/// Identifier and sequence number of an echo, and MTU, as tshark writes them.
type Values = (Option<(String, String)>, Option<String>);

fn same_icmp(
    golden: &[String],
    network: &capture::Network<'_>,
    values: fn(&icmp::Packet<&[u8]>) -> Values,
) {
    let packet = icmp::Packet::new_checked(network.payload).expect("a header");
    assert_eq!(golden[0], packet.kind().to_string());
    assert_eq!(golden[1], packet.code().to_string());
    assert_eq!(golden[2], format!("{:#06x}", packet.checksum()));
    // 1 is good, 2 is not verified.
    if golden[3] == "1" {
        assert!(packet.verify_checksum(network.addresses));
    } else {
        assert!(golden[3] == "2" && network.is_fragment, "{golden:?}");
    }
    let (echo, mtu) = values(&packet);
    if let Some((identifier, sequence)) = echo {
        assert_eq!(golden[4..6], [identifier, sequence]);
    }
    assert_eq!(golden[6], mtu.unwrap_or_default());
}

fn icmp_v4_values(packet: &icmp::Packet<&[u8]>) -> Values {
    match icmp::v4::Repr::parse(packet).expect("a message") {
        icmp::v4::Repr::EchoRequest { identifier, sequence }
        | icmp::v4::Repr::EchoReply { identifier, sequence } => {
            (Some((identifier.to_string(), sequence.to_string())), None)
        }
        icmp::v4::Repr::FragmentationNeeded { mtu_bytes } => (None, Some(mtu_bytes.to_string())),
        icmp::v4::Repr::Other { .. } => (None, None),
    }
}

fn icmp_v6_values(packet: &icmp::Packet<&[u8]>) -> Values {
    match icmp::v6::Repr::parse(packet).expect("a message") {
        icmp::v6::Repr::EchoRequest { identifier, sequence }
        | icmp::v6::Repr::EchoReply { identifier, sequence } => {
            (Some((format!("{identifier:#06x}"), sequence.to_string())), None)
        }
        icmp::v6::Repr::PacketTooBig { mtu_bytes } => (None, Some(mtu_bytes.to_string())),
        icmp::v6::Repr::Other { .. } => (None, None),
    }
}

#[test]
fn tshark_reads_the_same_flows() {
    let mut keys = 0;
    for (frame, golden) in capture::frames(HEADERS.name).iter().zip(HEADERS.golden()) {
        let key = match FlowKey::of(capture::link(frame).payload) {
            Ok(key) => key,
            Err(error) => {
                assert_eq!(error, FlowError::Fragment);
                continue;
            }
        };
        keys += 1;
        let (v4, v6) = (&golden[..2], &golden[2..4]);
        let addresses = [key.src.to_string(), key.dst.to_string()];
        assert_eq!(if key.src.is_ipv4() { v4 } else { v6 }, addresses);
        let ports = [key.src_port.to_string(), key.dst_port.to_string()];
        match key.protocol {
            protocol::TCP => assert_eq!(golden[4..6], ports),
            protocol::UDP => assert_eq!(golden[6..8], ports),
            protocol::SCTP => assert_eq!(golden[8..10], ports),
            _ => assert!(golden[4..].iter().all(String::is_empty) && ports == ["0", "0"]),
        }
    }
    assert_eq!(keys, 10);
}

/// The port by which everybody finds MPLS in UDP is the one that tshark dissects by default.
#[test]
fn tshark_finds_mpls_at_our_port() {
    let labels = MPLS.golden().last().expect("a frame")[0].clone();
    let frames = capture::frames(MPLS.name);
    let network = capture::network(capture::link(frames.last().expect("a frame")).payload);
    let udp = udp::Packet::new_checked(network.payload).expect("a UDP header");
    assert_eq!((udp.dst_port(), labels.as_str()), (udp::MPLS_PORT, "2003"));
}
