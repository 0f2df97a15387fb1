//! Sealing and opening ESP allocates nothing, whatever becomes of the packet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmail_dataplane::esp::{self, NEXT_IPV4, sealed_len_bytes};
use ringmail_dataplane::sa::{
    InboundOptions, InboundSa, Lease, OutboundOptions, OutboundSa, SaKey, SaTable, SegmentIndex,
    Suite,
};
use ringmail_model::{PathId, SaSpi};

use crate::allocations;

const PACKETS: u64 = 1000;

#[test]
fn a_packet_sealed_and_opened_allocates_nothing() {
    for suite in Suite::ALL {
        let now = Instant::now();
        let key = SaKey::new(suite, &vec![7; suite.material_len_bytes()]).unwrap();
        let (spi, lease) = (SaSpi(0x1001), Lease::new(now, Duration::from_secs(60)));
        let options = InboundOptions::default();
        let into =
            InboundSa::new(spi, &key, PathId(1), SegmentIndex(0), lease.clone(), options).unwrap();
        let mut table = SaTable::new();
        table.install(Arc::new(into)).unwrap();
        let mut out = OutboundSa::new(spi, &key, lease, OutboundOptions::default()).unwrap();

        let mut packet = vec![0; sealed_len_bytes(1400)];
        let mut copy = packet.clone();
        let mut refused = 0;
        let count = allocations(|| {
            for _ in 0..PACKETS {
                let len = esp::seal(&mut out, &mut packet, 1400, NEXT_IPV4, now).unwrap();
                copy.copy_from_slice(&packet);
                let sa = table.get(spi).unwrap();
                esp::open(sa, &mut packet[..len], now).unwrap();
                // Refused packets cost no allocation either: replayed, corrupt, cut.
                refused += u64::from(esp::open(sa, &mut copy, now).is_err());
                copy[20] ^= 1;
                copy[7] ^= 0x80;
                refused += u64::from(esp::open(sa, &mut copy, now).is_err());
                refused += u64::from(esp::open(sa, &mut copy[..100], now).is_err());
            }
        });
        assert_eq!(refused, 3 * PACKETS);
        assert_eq!(count, 0, "{suite}: allocations over {PACKETS} packets");
    }
}
