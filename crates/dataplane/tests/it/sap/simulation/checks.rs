//! What holds at every moment, and what must hold in the end.

use std::time::Duration;

use ringmail_dataplane::sap::Use;
use ringmail_model::PathDigest;

use super::super::support::START_UNIX_S;
use super::parts::Installed;
use super::segments;
use super::world::World;

impl World {
    /// Nothing outlives the leases of either end, a place is sealed for with one key, and key ids of proofs differ.
    pub(super) fn check_always(&self) {
        let now = self.now();
        for (id, element) in &self.elements {
            for sa in element.inbound.values().chain(element.outbound.values()) {
                assert!(sa.expires > now.instant, "{id}: {sa:?} outlived its lease");
                let digest = PathDigest([sa.place.path.0 as u8; 32]);
                let granted = |element| self.granted.get(&(element, digest)).copied().unwrap_or(0);
                let end = granted(*id).min(granted(sa.peer)) - START_UNIX_S;
                // The wall clock counts whole seconds.
                let end = self.start + Duration::from_secs(end + 1);
                assert!(sa.expires <= end, "{id}: {sa:?} was never granted for so long");
            }
            let of_proof = element.inbound.iter().filter(|(_, sa)| sa.place.usage == Use::Proof);
            let mut key_ids: Vec<_> =
                of_proof.map(|(spi, sa)| (sa.place.path, sa.place.segment, spi.0 as u16)).collect();
            let count = key_ids.len();
            key_ids.sort_unstable();
            key_ids.dedup();
            assert_eq!(key_ids.len(), count, "{id} cannot tell two keys of a proof apart");
            let mut places: Vec<_> = element.outbound.values().map(|sa| sa.place).collect();
            let count = places.len();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), count, "{id} seals for one place with two keys");
        }
    }

    /// Every segment and worker has one association, the same at both ends, and nothing else is left.
    pub(super) fn check_agreed(&self) {
        for view in segments() {
            let (sender, receiver) = (view.sender.0, view.receiver.0);
            let workers = match view.usage {
                Use::Esp | Use::Metadata => view.sender_workers,
                Use::Link | Use::Proof => 1,
            };
            for worker in 0..workers {
                let is_it = |sa: &&Installed, peer: u16| {
                    sa.peer == peer
                        && (sa.place.path, sa.place.segment) == (view.path, view.index)
                        && sa.place.usage == view.usage
                        && sa.place.worker.0 == worker
                };
                let out = &self.elements[&sender].outbound;
                let out: Vec<_> = out.values().filter(|sa| is_it(sa, receiver)).collect();
                let inn = &self.elements[&receiver].inbound;
                let inn: Vec<_> = inn.values().filter(|sa| is_it(sa, sender)).collect();
                let shown =
                    || format!("{view:?} {out:?} {inn:?} {:?}", self.elements[&sender].saps);
                assert_eq!(out.len(), 1, "not agreed on: {}", shown());
                let current = inn.iter().filter(|sa| sa.key == out[0].key).count();
                assert_eq!(current, 1, "the ends differ: {}", shown());
                // A new epoch may just have begun: then the last association drains.
                assert!(inn.len() <= 2, "associations are left over: {}", shown());
            }
        }
    }
}
