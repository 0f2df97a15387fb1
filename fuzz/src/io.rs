//! The body of the fuzz target of `ringmail-dataplane-io`: what the kernel hands over, and the headers of packets that
//! came through a chain. `crates/dataplane-io/tests` calls it too, with the committed corpus.

use ringmail_dataplane::{Batch, Verdict};
use ringmail_dataplane_io::limits::SUPER_PACKET_BYTES_MAX;
use ringmail_dataplane_io::tun::coalesce::{Coalesce, Coalescer, HEADERS_BYTES_MAX};
use ringmail_dataplane_io::tun::split::SuperPacket;
use ringmail_dataplane_io::tun::virtio::VirtioHeader;

/// The body of one target.
pub type Body = fn(&[u8]);

/// Every target by name; the name is the corpus's folder too.
pub const TARGETS: [(&str, Body); 1] = [("io_split", fuzz_split)];

/// A virtio header and a super-packet: it is cut, and its packets are joined again. None is lost or comes twice.
pub fn fuzz_split(bytes: &[u8]) {
    let Some((header, packet)) = bytes.split_first_chunk() else { return };
    let packet = &packet[..packet.len().min(SUPER_PACKET_BYTES_MAX)];
    let Ok(mut whole) = SuperPacket::parse(&VirtioHeader::parse(header), packet) else { return };
    let (expected, mut cut) = (whole.remaining(), 0);
    let mut batch = Batch::default();
    let mut coalescer = Coalescer::default();
    while let Some(len) = whole.next_len() {
        match batch.push(8, len, 8) {
            Ok(slot) => {
                whole.cut_next(packet, batch.packet_mut(slot));
                batch.set_verdict(slot, Verdict::Deliver);
                cut += 1;
                continue;
            }
            Err(_) => assert!(!batch.is_empty(), "a packet that fits nowhere"),
        }
        rejoin(&batch, &mut coalescer);
        batch.clear();
    }
    rejoin(&batch, &mut coalescer);
    assert_eq!(cut, expected);
}

fn rejoin(batch: &Batch, coalescer: &mut Coalescer) {
    for verify in [true, false] {
        coalescer.build(batch, Verdict::Deliver, Coalesce { tcp: true, udp: true, verify });
        let mut seen = coalescer.members().to_vec();
        seen.sort_unstable();
        assert!(seen.iter().map(|slot| usize::from(*slot)).eq(0..batch.len()));
        for group in coalescer.supers().iter().filter(|group| group.packets() > 1) {
            let slots = &coalescer.members()[group.members()];
            let first = batch.packet(usize::from(slots[0]));
            let header = group.emit_headers(first, &mut [0; HEADERS_BYTES_MAX]);
            let segment = usize::from(header.gso_size);
            assert_eq!(first.len(), group.header_len() + segment);
        }
    }
}
