//! Associations: what they refuse when their time or their numbers run out, and how they are found.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmail_dataplane::DropReason;
use ringmail_dataplane::esp::{self, HEADER_BYTES, NEXT_IPV4, sealed_len_bytes};
use ringmail_dataplane::limits::INBOUND_SAS;
use ringmail_dataplane::sa::{
    InboundOptions, InboundSa, Lease, OutboundOptions, OutboundSa, SaError, SaKey, SaTable,
    SegmentIndex, SequenceNumbers, SpiAllocator, SpisExhausted, Suite, TableError,
};
use ringmail_model::{PathId, SaSpi};

const LEASE: Duration = Duration::from_secs(60);
const INNER: [u8; 40] = [0x45; 40];

fn key() -> SaKey {
    SaKey::new(Suite::Aes128Gcm, &[7; 20]).unwrap()
}

fn outbound(lease: Lease, options: OutboundOptions) -> OutboundSa {
    OutboundSa::new(SaSpi(0x1001), &key(), lease, options).unwrap()
}

fn inbound(spi: SaSpi, lease: Lease) -> InboundSa {
    let options = InboundOptions::default();
    InboundSa::new(spi, &key(), PathId(1), SegmentIndex(2), lease, options).unwrap()
}

fn seal(sa: &mut OutboundSa, now: Instant) -> Result<Vec<u8>, (DropReason, Vec<u8>)> {
    let mut packet = vec![0; sealed_len_bytes(INNER.len())];
    packet[HEADER_BYTES..][..INNER.len()].copy_from_slice(&INNER);
    match esp::seal(sa, &mut packet, INNER.len(), NEXT_IPV4, now) {
        Ok(_) => Ok(packet),
        Err(reason) => Err((reason, packet)),
    }
}

#[test]
fn a_sender_without_a_lease_seals_nothing_until_it_is_renewed() {
    let now = Instant::now();
    let mut sa = outbound(Lease::new(now, LEASE), OutboundOptions::default());
    seal(&mut sa, now).unwrap();
    let (reason, packet) = seal(&mut sa, now + LEASE).unwrap_err();
    assert_eq!(reason, DropReason::LeaseExpired);
    assert_eq!(packet[HEADER_BYTES..][..INNER.len()], INNER, "the packet is as it was");
    assert_eq!(sa.last_sequence(), 1, "no number was used up");
    sa.lease().renew(now + 2 * LEASE);
    seal(&mut sa, now + LEASE).unwrap();
    assert_eq!(sa.last_sequence(), 2);
}

#[test]
fn a_receiver_without_a_lease_opens_nothing_until_it_is_renewed() {
    let now = Instant::now();
    let lease = Lease::new(now, LEASE);
    let sa = inbound(SaSpi(0x1001), lease.clone());
    let packet =
        seal(&mut outbound(Lease::unlimited(now), OutboundOptions::default()), now).unwrap();
    let mut late = packet.clone();
    assert_eq!(esp::open(&sa, &mut late, now + LEASE).unwrap_err(), DropReason::LeaseExpired);
    assert_eq!(late, packet, "the packet is as it was");
    lease.expire();
    assert_eq!(esp::open(&sa, &mut late, now).unwrap_err(), DropReason::LeaseExpired);
    lease.renew(now + 2 * LEASE);
    assert!(esp::open(&sa, &mut late, now + LEASE).is_ok());
}

#[test]
fn a_worn_association_says_so_once_and_goes_on() {
    let now = Instant::now();
    let options = OutboundOptions { worn_packets: 3, ..OutboundOptions::default() };
    let mut sa = outbound(Lease::unlimited(now), options);
    let worn = Arc::clone(sa.worn());
    let mut said = Vec::new();
    for _ in 0..6 {
        seal(&mut sa, now).unwrap();
        said.push(worn.swap(false, std::sync::atomic::Ordering::Relaxed));
    }
    assert_eq!(said, [false, false, true, false, false, false]);
}

#[test]
fn running_out_of_numbers_is_final() {
    let now = Instant::now();
    let lease = Lease::unlimited(now);
    let options = OutboundOptions { limit_packets: 3, ..OutboundOptions::default() };
    let mut sa = outbound(lease.clone(), options);
    for left in [2, 1, 0] {
        seal(&mut sa, now).unwrap();
        assert_eq!(sa.remaining_packets(), left);
    }
    for _ in 0..3 {
        assert_eq!(seal(&mut sa, now).unwrap_err().0, DropReason::SequenceExhausted);
    }
    assert_eq!(sa.last_sequence(), 3);

    let numbers = SequenceNumbers::Short;
    let mut sa = outbound(lease, OutboundOptions { numbers, ..OutboundOptions::default() });
    sa.danger_set_last_sequence(u64::from(u32::MAX) - 1);
    seal(&mut sa, now).unwrap();
    assert_eq!(seal(&mut sa, now).unwrap_err().0, DropReason::SequenceExhausted);
}

#[test]
fn extended_numbers_go_on_beyond_2_to_the_32() {
    let now = Instant::now();
    let lease = Lease::unlimited(now);
    let mut out = outbound(lease.clone(), OutboundOptions::default());
    let into = inbound(SaSpi(0x1001), lease);
    out.danger_set_last_sequence(1 << 31);
    esp::open(&into, &mut seal(&mut out, now).unwrap(), now).unwrap();
    out.danger_set_last_sequence((1 << 32) - 3);
    let mut packets: Vec<_> = (0..6).map(|_| seal(&mut out, now).unwrap()).collect();
    // The last first, so that the receiver has to infer both sides of the edge.
    for (packet, back) in packets.iter_mut().rev().zip(0..) {
        assert_eq!(esp::open(&into, packet, now).unwrap().sequence, (1 << 32) + 3 - back);
    }
}

#[test]
fn no_room_for_trailer_and_icv_is_refused_and_uses_up_nothing() {
    let now = Instant::now();
    let mut sa = outbound(Lease::unlimited(now), OutboundOptions::default());
    let mut packet = vec![0; sealed_len_bytes(INNER.len()) - 1];
    for inner_len in [INNER.len(), packet.len(), packet.len() + 1, usize::MAX] {
        let refused = esp::seal(&mut sa, &mut packet, inner_len, NEXT_IPV4, now);
        assert_eq!(refused, Err(DropReason::TooBig));
    }
    assert_eq!(esp::seal(&mut sa, &mut [], 0, NEXT_IPV4, now), Err(DropReason::TooBig));
    assert_eq!(sa.last_sequence(), 0);
}

#[test]
fn reserved_spis_name_no_association() {
    let lease = Lease::unlimited(Instant::now());
    for spi in [SaSpi(0), SaSpi(255)] {
        let options = OutboundOptions::default();
        let refused = OutboundSa::new(spi, &key(), lease.clone(), options);
        assert_eq!(refused.unwrap_err(), SaError::ReservedSpi(spi));
        let options = InboundOptions::default();
        let refused =
            InboundSa::new(spi, &key(), PathId(1), SegmentIndex(0), lease.clone(), options);
        assert_eq!(refused.unwrap_err(), SaError::ReservedSpi(spi));
    }
}

#[test]
fn the_table_finds_what_was_installed_and_nothing_else() {
    let lease = Lease::unlimited(Instant::now());
    let mut table = SaTable::new();
    let (one, two) = (SaSpi(0xabcd_e001), SaSpi(0xabcd_e002));
    for spi in [one, two] {
        table.install(Arc::new(inbound(spi, lease.clone()))).unwrap();
    }
    assert_eq!(table.get(one).unwrap().spi(), one);
    let same_place = SaSpi(0x0bcd_e001);
    assert_eq!(table.get(same_place).unwrap_err(), DropReason::UnknownSpi);
    assert_eq!(table.get(SaSpi(0)).unwrap_err(), DropReason::UnknownSpi);
    assert_eq!(
        table.install(Arc::new(inbound(same_place, lease.clone()))),
        Err(TableError::PlaceTaken { spi: same_place, taken_by: one })
    );
    assert_eq!(
        table.install(Arc::new(inbound(one, lease.clone()))),
        Err(TableError::PlaceTaken { spi: one, taken_by: one }),
        "a fresh replay window under the same SPI"
    );
    assert!(table.remove(same_place).is_none());
    assert_eq!(table.len(), 2);

    let worker = table.clone();
    assert!(Arc::ptr_eq(worker.get(two).unwrap(), table.get(two).unwrap()), "workers share");
    assert_eq!(table.remove(one).map(|sa| sa.spi()), Some(one));
    assert_eq!(table.get(one).unwrap_err(), DropReason::UnknownSpi);
    table.install(Arc::new(inbound(same_place, lease))).unwrap();
    assert_eq!(table.iter().map(|sa| sa.spi()).collect::<Vec<_>>(), [same_place, two]);
}

#[test]
fn spis_are_bounded_never_reserved_and_never_the_same_twice_in_a_row() {
    // The two worst random sources: one that always says 0, one that always says all ones.
    for random in [0, u32::MAX] {
        let mut spis = SpiAllocator::new();
        let mut first = BTreeSet::new();
        while let Ok(spi) = spis.allocate(random) {
            assert!(spi >= SaSpi(256), "{spi}");
            assert!(first.insert(spi));
        }
        assert_eq!(first.len(), INBOUND_SAS);
        assert_eq!(spis.allocate(random), Err(SpisExhausted));
        for spi in &first {
            spis.release(*spi);
            spis.release(*spi);
            spis.release(SaSpi(spi.0 ^ 0x8000_0000));
        }
        let mut second = BTreeSet::new();
        while let Ok(spi) = spis.allocate(random) {
            assert!(spi >= SaSpi(256), "{spi}");
            assert!(second.insert(spi));
        }
        assert_eq!(second.len(), INBOUND_SAS);
        assert!(first.is_disjoint(&second));
    }
}

#[test]
fn an_spi_keeps_its_random_bits_and_a_place_rests_before_it_is_used_again() {
    let mut spis = SpiAllocator::new();
    let spi = spis.allocate(0x1234_5678).unwrap();
    assert_eq!(spi.0 & 0xffff_f000, 0x1234_5000);
    spis.release(spi);
    let others = INBOUND_SAS - 1;
    assert!((0..others).all(|_| spis.allocate(0x9999_9999).unwrap().0 & 0xfff != spi.0 & 0xfff));
    assert_eq!(spis.allocate(0x9999_9999).unwrap().0 & 0xfff, spi.0 & 0xfff);
}
