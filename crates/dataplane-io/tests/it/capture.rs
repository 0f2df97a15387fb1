//! Captures as tshark reads them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use etherparse::{IpNumber, Ipv4Header};
use ringmail_dataplane::batch::BATCH_BYTES;
use ringmail_dataplane::{Batch, Neighbour, Verdict};
use ringmail_dataplane_io::pcapng::{Capture, CaptureLimits, CaptureReport, Framing, Tapped, Way};
use ringmail_dataplane_io::{Link, memory};
use ringmail_packet::ethernet::{Address, EtherType};

/// A file that goes when the test ends.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str) -> TemporaryFile {
        TemporaryFile(std::env::temp_dir().join(format!("{name}-{}.pcapng", std::process::id())))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Two labels, an IPv4 header and something like ESP.
fn frame(number: u32) -> Vec<u8> {
    let esp = [&[0, 0, 1, 2][..], &number.to_be_bytes(), &[0; 8], &[0xab; 61]].concat();
    let ip = Ipv4Header::new(esp.len() as u16, 64, IpNumber(50), [10, 0, 0, 1], [10, 0, 0, 2]);
    let mut frame = vec![0, 0x06, 0x40, 64, 0, 0x06, 0x51, 64];
    let mut ip = ip.unwrap();
    ip.header_checksum = ip.calc_header_checksum();
    ip.write(&mut frame).unwrap();
    frame.extend(esp);
    frame
}

fn send(link: &mut impl Link, packets: &[Vec<u8>], to: Neighbour) -> usize {
    let mut batch = Batch::default();
    for packet in packets {
        let slot = batch.push_copy(0, packet, 0).unwrap();
        batch.set_verdict(slot, Verdict::Send(to));
    }
    // One that is not for this link.
    let slot = batch.push_copy(0, b"other", 0).unwrap();
    batch.set_verdict(slot, Verdict::Drop(ringmail_dataplane::DropReason::TooOld));
    link.send(&mut batch).unwrap().packets
}

fn tshark(path: &Path, arguments: &str) -> Vec<String> {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(path)
        .args(arguments.split_whitespace())
        .output()
        .expect("tshark(1) is needed for the tests of captures");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark {arguments}: {errors}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn framing(v6: bool) -> [Framing; 2] {
    let addresses =
        if v6 { ["[fd00::1]:6635", "[fd00::2]:6635"] } else { ["10.0.0.1:6635", "10.0.0.2:6635"] };
    let [a, b] = addresses.map(|text| text.parse().unwrap());
    [(a, b, Neighbour(5)), (b, a, Neighbour(4))].map(|(local, peer, neighbour)| {
        Framing::MplsInUdp { local, source_port: 50_000, peers: vec![(neighbour, peer)] }
    })
}

#[test]
fn tshark_reads_mpls_ip_and_esp_in_both_directions() {
    for v6 in [false, true] {
        let file = TemporaryFile::new(if v6 { "both-v6" } else { "both-v4" });
        let capture = Capture::create(&file.0, CaptureLimits::default()).unwrap();
        let (one, two) = memory::pair(Neighbour(4), Neighbour(5), BATCH_BYTES);
        let [first, second] = framing(v6);
        let mut one = Tapped::new(one, capture.tap("one", first));
        let mut two = Tapped::new(two, capture.tap("two", second));
        let packets: Vec<_> = (0..40).map(frame).collect();
        assert_eq!(send(&mut one, &packets, Neighbour(5)), 40);
        let mut batch = Batch::default();
        assert_eq!(two.recv(&mut batch).unwrap(), 40);
        drop((one, two));
        assert_eq!(capture.finish().unwrap(), CaptureReport { captured: 80, missed: 0 });

        let ip = if v6 { "ipv6" } else { "ip" };
        let fields = "-o ip.check_checksum:TRUE -o udp.check_checksum:TRUE -T fields \
            -e frame.protocols -e frame.interface_name -e frame.packet_flags_direction \
            -e mpls.label -e esp.spi -e udp.dstport -e ip.src -e ipv6.src";
        let lines = tshark(&file.0, fields);
        assert_eq!(lines.len(), 80);
        for (number, line) in lines.iter().enumerate() {
            let [name, way] =
                if number < 40 { ["one", "0x00000002"] } else { ["two", "0x00000001"] };
            let start =
                format!("raw:{ip}:udp:mpls:ip:esp\t{name}\t{way}\t100,101\t0x00000102\t6635\t");
            assert!(line.starts_with(&start), "{line}");
            let sources = if v6 { "10.0.0.1\tfd00::1" } else { "10.0.0.1,10.0.0.1\t" };
            assert!(line.ends_with(sources), "{line}");
        }
        let bad = "-o ip.check_checksum:TRUE -o udp.check_checksum:TRUE \
            -Y _ws.malformed||_ws.expert.severity>=error";
        assert_eq!(tshark(&file.0, bad), [""; 0]);
    }
}

#[test]
fn tshark_reads_frames_of_an_ethernet_link() {
    for vlan in [None, Some(77)] {
        let file = TemporaryFile::new(if vlan.is_some() { "vlan" } else { "ethernet" });
        let capture = Capture::create(&file.0, CaptureLimits::default()).unwrap();
        let (one, two) = memory::pair(Neighbour(4), Neighbour(5), BATCH_BYTES);
        let [a, b] = [1, 2].map(|last| Address([2, 0, 0, 0, 0, last]));
        let framing = |local, number, peer| Framing::MplsInEthernet {
            local,
            carries: EtherType::MPLS,
            vlan,
            peers: vec![(number, peer)],
        };
        let mut one = Tapped::new(one, capture.tap("one", framing(a, Neighbour(5), b)));
        let mut two = Tapped::new(two, capture.tap("two", framing(b, Neighbour(4), a)));
        assert_eq!(send(&mut one, &(0..10).map(frame).collect::<Vec<_>>(), Neighbour(5)), 10);
        assert_eq!(two.recv(&mut Batch::default()).unwrap(), 10);
        drop((one, two));
        assert_eq!(capture.finish().unwrap(), CaptureReport { captured: 20, missed: 0 });
        let fields = "-T fields -e frame.protocols -e eth.src -e eth.dst -e vlan.id -e mpls.label";
        let (tag, id) = if vlan.is_some() { ("vlan:ethertype:", "77") } else { ("", "") };
        let line = format!("eth:ethertype:{tag}mpls:ip:esp\t{a}\t{b}\t{id}\t100,101");
        assert_eq!(tshark(&file.0, fields), vec![line; 20]);
        let bad = "-o ip.check_checksum:TRUE -Y _ws.malformed||_ws.expert.severity>=error";
        assert_eq!(tshark(&file.0, bad), [""; 0]);
    }
}

#[test]
fn packets_are_cut_and_the_file_is_bounded() {
    let file = TemporaryFile::new("bounded");
    let limits = CaptureLimits { file_bytes_max: 3000, snap_len_bytes: 60 };
    let capture = Capture::create(&file.0, limits).unwrap();
    let (one, _two) = memory::pair(Neighbour(4), Neighbour(5), BATCH_BYTES);
    let mut one = Tapped::new(one, capture.tap("one", framing(false)[0].clone()));
    for _ in 0..5 {
        let packets: Vec<_> = (0..10).map(frame).collect();
        assert_eq!(send(&mut one, &packets, Neighbour(5)), 10);
        // Nothing came: the tap hands over what it has.
        assert_eq!(one.recv(&mut Batch::default()).unwrap(), 0);
    }
    drop(one);
    assert_eq!(capture.finish().unwrap(), CaptureReport { captured: 20, missed: 30 });
    assert!(std::fs::metadata(&file.0).unwrap().len() <= 3000);
    let lines = tshark(&file.0, "-T fields -e frame.cap_len -e frame.len");
    assert_eq!(lines, vec![format!("60\t{}", 28 + frame(0).len()); 20]);
}

#[test]
fn what_the_link_refuses_is_not_captured() {
    let file = TemporaryFile::new("refused");
    let capture = Capture::create(&file.0, CaptureLimits::default()).unwrap();
    let (one, _two) = memory::pair(Neighbour(4), Neighbour(5), BATCH_BYTES);
    let mut one = Tapped::new(one, capture.tap("one", framing(false)[0].clone()));
    let mut sent = 0;
    for number in 0..100 {
        sent += send(&mut one, &[frame(number)], Neighbour(5));
    }
    assert!((1..100).contains(&sent));
    drop(one);
    assert_eq!(capture.finish().unwrap(), CaptureReport { captured: sent as u64, missed: 0 });
    assert_eq!(tshark(&file.0, "").len(), sent);
}

#[test]
fn a_capture_that_ended_does_not_stop_traffic() {
    let file = TemporaryFile::new("ended");
    let capture = Capture::create(&file.0, CaptureLimits::default()).unwrap();
    let (one, mut two) = memory::pair(Neighbour(4), Neighbour(5), BATCH_BYTES);
    let mut one = Tapped::new(one, capture.tap("one", framing(false)[0].clone()));
    assert_eq!(capture.finish().unwrap(), CaptureReport::default());
    let mut batch = Batch::default();
    for number in 0..100 {
        assert_eq!(send(&mut one, &[frame(number)], Neighbour(5)), 1);
        assert_eq!(one.recv(&mut batch).unwrap(), 0);
        assert_eq!(two.recv(&mut batch).unwrap(), 1);
    }
}

/// Packets that never pause do not keep a live capture from saying how many they are.
#[test]
fn a_stream_that_never_rests_says_what_it_has() {
    let path = TemporaryFile::new("restless");
    let stream = std::fs::File::create(&path.0).unwrap();
    let capture = Capture::stream(stream, CaptureLimits::unlimited()).unwrap();
    let mut tap = capture.tap("one", framing(false)[0].clone());
    let until = Instant::now() + Duration::from_secs(30);
    // The type of an Interface Statistics Block.
    let says = |bytes: &[u8]| bytes.chunks_exact(4).any(|word| word == 5_u32.to_ne_bytes());
    while !says(&std::fs::read(&path.0).unwrap()) {
        assert!(Instant::now() < until, "it never says what it has");
        tap.packet(&frame(1), Way::Out, "");
        tap.flush();
        // The pace of the traffic: far more than a packet for every report.
        std::thread::sleep(Duration::from_millis(20));
    }
}
