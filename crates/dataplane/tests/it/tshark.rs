//! tshark, given the line that the keys are exported as, decrypts what ringmail sealed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use std::{env, fs, process};

use ringmail_dataplane::esp::{self, HEADER_BYTES, NEXT_IPV4, sealed_len_bytes};
use ringmail_dataplane::keys::danger_wireshark_line;
use ringmail_dataplane::sa::{Lease, OutboundOptions, OutboundSa, SaKey, SequenceNumbers, Suite};
use ringmail_model::SaSpi;

const SPI: SaSpi = SaSpi(0x5eed_0100);
const SRC: [u8; 4] = [192, 0, 2, 1];
const DST: [u8; 4] = [192, 0, 2, 2];
const PAYLOADS: [&[u8]; 4] = [b"r", b"ring", b"mail of many links", &[0x5a; 1300]];

fn key(suite: Suite) -> SaKey {
    let material: Vec<u8> = (1..=suite.material_len_bytes() as u8).map(|n| n ^ 0xa5).collect();
    SaKey::new(suite, &material).unwrap()
}

fn line(suite: Suite) -> String {
    let (src, dst) = (IpAddr::from(SRC), IpAddr::from(DST));
    danger_wireshark_line(src, dst, SPI, &key(suite)).to_string()
}

/// An IPv4 header without options; the checksum stays zero, which tshark does not look at unless asked.
fn ipv4(src: [u8; 4], dst: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total_len = 20 + payload.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total_len.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(src.iter().chain(&dst).chain(payload));
    packet
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len() as u16;
    let mut datagram = vec![];
    for field in [40_000, 40_001, len, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(payload);
    datagram
}

/// A capture (LINKTYPE_RAW) of every payload sealed by this suite.
fn capture(suite: Suite, numbers: SequenceNumbers) -> Vec<u8> {
    let now = Instant::now();
    let options = OutboundOptions { numbers, ..OutboundOptions::default() };
    let mut sa = OutboundSa::new(SPI, &key(suite), Lease::unlimited(now), options).unwrap();
    let mut pcap = vec![];
    for word in [0xa1b2_c3d4_u32, 2 | 4 << 16, 0, 0, 65_535, 101] {
        pcap.extend(word.to_le_bytes());
    }
    for payload in PAYLOADS {
        let inner = ipv4([10, 0, 0, 1], [10, 1, 0, 1], 17, &udp(payload));
        let mut packet = vec![0; sealed_len_bytes(inner.len())];
        packet[HEADER_BYTES..][..inner.len()].copy_from_slice(&inner);
        esp::seal(&mut sa, &mut packet, inner.len(), NEXT_IPV4, now).unwrap();
        let frame = ipv4(SRC, DST, 50, &packet);
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            pcap.extend(word.to_le_bytes());
        }
        pcap.extend(frame);
    }
    pcap
}

/// A folder of its own for a test, gone with it; tshark finds no preferences of whoever runs the test in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = env::temp_dir().join(format!("ringmail-{name}-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn tshark(&self, pcap: &[u8], arguments: &[&str]) -> process::Output {
        let file = self.0.join("esp.pcap");
        fs::write(&file, pcap).unwrap();
        let mut command = Command::new("tshark");
        command.arg("-r").arg(file).args(arguments).env("HOME", &self.0);
        command.output().expect("tshark runs (Debian: apt install tshark)")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What tshark makes of the capture, a line a packet: both source addresses, inner port and payload, and whether the ICV
/// is good.
fn decrypted(folder: &Folder, suite: Suite, numbers: SequenceNumbers) -> process::Output {
    let uat = format!("uat:esp_sa:{}", line(suite));
    let mut arguments = vec!["-o", &uat, "-o", "esp.enable_encryption_decode:TRUE"];
    arguments.extend(["-o", "esp.enable_authentication_check:TRUE", "-T", "fields"]);
    arguments.extend(["-e", "ip.src", "-e", "udp.dstport", "-e", "udp.payload"]);
    arguments.extend(["-e", "esp.icv_good"]);
    folder.tshark(&capture(suite, numbers), &arguments)
}

fn assert_decrypted(output: &process::Output, icv_good: &str) {
    let mut expected = String::new();
    for payload in PAYLOADS {
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        expected += &format!("192.0.2.1,10.0.0.1\t40001\t{hex}\t{icv_good}\n");
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{errors}");
}

/// tshark 4.0 knows no 64-bit sequence numbers: it decrypts, but finds every ICV of theirs bad.
#[test]
fn tshark_decrypts_aes_gcm_with_the_exported_line() {
    let folder = Folder::new("tshark-gcm");
    for suite in [Suite::Aes128Gcm, Suite::Aes256Gcm] {
        assert_decrypted(&decrypted(&folder, suite, SequenceNumbers::Short), "1");
        assert_decrypted(&decrypted(&folder, suite, SequenceNumbers::Extended), "0");
    }
}

/// tshark 4.0 does not know the cipher. Whether the bytes are right is shown by scapy's, in `vectors`.
#[test]
fn tshark_decrypts_chacha20_poly1305_or_says_that_it_does_not_know_it() {
    let folder = Folder::new("tshark-chacha");
    let output = decrypted(&folder, Suite::ChaCha20Poly1305, SequenceNumbers::Short);
    if output.status.success() {
        assert_decrypted(&output, "1");
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("ChaCha20 with Poly1305 [RFC7634]"), "{errors}");
        eprintln!("SKIPPED: this tshark does not know ChaCha20-Poly1305 in ESP");
    }
}
