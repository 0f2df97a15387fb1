//! A bounded table of flows: fixed memory, no allocation after it was made, aged a few entries at a time.
//!
//! Open addressing over an index of slab positions, linear probing, deletion by shifting back, so that a table that has
//! lived long is as fast as a new one. The hash is keyed: who chooses addresses and ports cannot choose collisions.
//!
//! A table of a million flows is far larger than the processor's caches. The index tells most other keys apart by some
//! bits of their hash, so that a look-up costs one line of the index and one entry; [`FlowTable::approach`] and
//! [`FlowTable::warm`] ask for those of a whole batch at once, so that their way from memory is waited for once and not 64
//! times. The table asks for large pages.

use std::fmt;
use std::hash::Hash;

use ringmail_memory as memory;

/// A bounded map from `K` to `V` whose entries age.
pub struct FlowTable<K, V> {
    /// Slab position + 1 in the low bits and a tag, bits of the hash, in the others; 0 for none. Twice the capacity, so
    /// probes stay short.
    index: Box<[u32]>,
    /// The bits of the position.
    position_bits: u32,
    slab: Vec<Entry<K, V>>,
    capacity: usize,
    hasher: ahash::RandomState,
    /// Where the next sweep goes on, in the slab.
    cursor: usize,
    refused: u64,
    expired: u64,
}

// Whole lines of the cache: an entry that lies across two would cost two looks at memory.
#[repr(align(64))]
struct Entry<K, V> {
    key: K,
    value: V,
    /// Seconds of the caller's clock after which the entry is gone; [`PINNED`] for never.
    expires_s: u32,
}

/// Below so many entries of the index the table is in the caches anyway.
const WARM_ENTRIES: usize = 1 << 14;

/// An entry with this expiry does not age.
pub const PINNED: u32 = u32::MAX;

/// The table holds as many flows as it may; those that are there stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the flow table is full")]
pub struct TableFull;

impl<K: Copy + Eq + Hash, V> FlowTable<K, V> {
    /// A table for this many flows. `seeds` come from the caller's random source.
    pub fn new(capacity: usize, seeds: [u64; 4]) -> FlowTable<K, V> {
        let capacity = capacity.clamp(1, (u32::MAX / 4) as usize);
        let index = vec![0; (capacity * 2).next_power_of_two()].into_boxed_slice();
        let mut slab = Vec::with_capacity(capacity);
        memory::prefer_huge_pages(&index);
        memory::prefer_huge_pages(slab.spare_capacity_mut());
        FlowTable {
            index,
            position_bits: (capacity as u32 + 1).next_power_of_two() - 1,
            slab,
            capacity,
            hasher: ahash::RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]),
            cursor: 0,
            refused: 0,
            expired: 0,
        }
    }

    /// Flows that are there.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is no flow.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Flows that the table may hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// New flows refused because the table was full.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Flows that aged out.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Bytes of memory for each flow that the table may hold, all of which are taken when it is full.
    pub fn bytes_per_flow(&self) -> usize {
        size_of::<Entry<K, V>>() + self.index.len() * size_of::<u32>() / self.capacity
    }

    /// Asks for the line of the index where looking up `key` begins, if the table is so large that it matters: the first
    /// step of two, while other keys are still being made.
    #[inline]
    pub fn approach(&self, key: &K) {
        if self.index.len() >= WARM_ENTRIES {
            let (bucket, _) = self.place(key);
            memory::prefetch(&self.index[bucket..=bucket]);
        }
    }

    /// Asks for the entries that looking up these keys will find: the second step, after [`FlowTable::approach`] of each.
    /// Nothing waits for the answer, so the processor has many of them under way at once.
    #[inline]
    pub fn warm(&self, keys: &[K]) {
        if self.index.len() >= WARM_ENTRIES {
            keys.iter().for_each(|key| self.fetch(key));
        }
    }

    fn fetch(&self, key: &K) {
        let (bucket, _) = self.place(key);
        let position = (self.index[bucket] & self.position_bits).wrapping_sub(1) as usize;
        if let Some(entry) = self.slab.get(position..=position) {
            memory::prefetch(entry);
        }
    }

    /// The value of a flow that has not expired.
    pub fn get(&self, key: &K, now_s: u32) -> Option<&V> {
        let position = self.find(key).ok()?.1;
        let entry = &self.slab[position];
        (entry.expires_s >= now_s).then_some(&entry.value)
    }

    /// The value of a flow that has not expired, which then lives until `expires_s` (a pinned one stays pinned).
    pub fn touch(&mut self, key: &K, now_s: u32, expires_s: u32) -> Option<&mut V> {
        let position = self.find(key).ok()?.1;
        let entry = &mut self.slab[position];
        if entry.expires_s < now_s {
            return None;
        }
        if entry.expires_s != PINNED {
            entry.expires_s = expires_s;
        }
        Some(&mut entry.value)
    }

    /// The value and the expiry of a flow that has not expired, to change both.
    pub fn get_mut(&mut self, key: &K, now_s: u32) -> Option<(&mut V, &mut u32)> {
        let position = self.find(key).ok()?.1;
        let entry = &mut self.slab[position];
        (entry.expires_s >= now_s).then_some((&mut entry.value, &mut entry.expires_s))
    }

    /// Puts a flow in, or replaces its value and expiry.
    ///
    /// # Errors
    /// [`TableFull`] for a new flow when the table is full; nothing changes.
    pub fn insert(&mut self, key: K, value: V, expires_s: u32) -> Result<(), TableFull> {
        match self.find(&key) {
            Ok((_, position)) => {
                self.slab[position] = Entry { key, value, expires_s };
                Ok(())
            }
            Err(_) if self.slab.len() == self.capacity => {
                self.refused += 1;
                Err(TableFull)
            }
            Err(bucket) => {
                let (_, tag) = self.place(&key);
                self.slab.push(Entry { key, value, expires_s });
                self.index[bucket] = tag | self.slab.len() as u32;
                Ok(())
            }
        }
    }

    /// Sets when a flow expires, pinned or not. False if it is not there.
    pub fn set_expiry(&mut self, key: &K, expires_s: u32) -> bool {
        match self.find(key) {
            Ok((_, position)) => {
                self.slab[position].expires_s = expires_s;
                true
            }
            Err(_) => false,
        }
    }

    /// Takes a flow out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (bucket, position) = self.find(key).ok()?;
        Some(self.remove_at(bucket, position))
    }

    /// Looks at up to `budget` entries and takes out those that expired; the next call goes on behind them.
    pub fn sweep(&mut self, now_s: u32, budget: usize) {
        self.sweep_with(now_s, budget, |_| {});
    }

    /// As [`FlowTable::sweep`], and hands over the value of each that expired.
    pub fn sweep_with(&mut self, now_s: u32, budget: usize, mut expired: impl FnMut(V)) {
        for _ in 0..budget.min(self.slab.len()) {
            if self.cursor >= self.slab.len() {
                self.cursor = 0;
            }
            let Some(entry) = self.slab.get(self.cursor) else { return };
            if entry.expires_s >= now_s {
                self.cursor += 1;
                continue;
            }
            // The last entry moves to this position and is looked at next.
            let key = entry.key;
            if let Ok((bucket, position)) = self.find(&key) {
                expired(self.remove_at(bucket, position));
                self.expired += 1;
            }
        }
    }

    /// Every flow, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slab.iter().map(|entry| (&entry.key, &entry.value))
    }

    /// The value of every flow, to change.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slab.iter_mut().map(|entry| &mut entry.value)
    }

    /// The bucket and slab position of a key, or the bucket where it would go.
    fn find(&self, key: &K) -> Result<(usize, usize), usize> {
        let mask = self.index.len() - 1;
        let (mut bucket, tag) = self.place(key);
        loop {
            let found = self.index[bucket];
            if found == 0 {
                return Err(bucket);
            }
            if found & !self.position_bits == tag {
                let position = self.position(found);
                if self.slab[position].key == *key {
                    return Ok((bucket, position));
                }
            }
            bucket = (bucket + 1) & mask;
        }
    }

    /// The bucket where a key is looked for first, and its tag.
    #[inline]
    fn place(&self, key: &K) -> (usize, u32) {
        let hash = self.hasher.hash_one(key);
        (hash as usize & (self.index.len() - 1), (hash >> 32) as u32 & !self.position_bits)
    }

    /// The slab position that an entry of the index, not 0, names.
    #[inline]
    fn position(&self, found: u32) -> usize {
        (found & self.position_bits) as usize - 1
    }

    fn remove_at(&mut self, bucket: usize, position: usize) -> V {
        self.clear_bucket(bucket);
        let last = self.slab.len() - 1;
        if position != last {
            // The last entry takes the freed position; its bucket must follow.
            let key = self.slab[last].key;
            if let Ok((moved, _)) = self.find(&key) {
                let tag = self.index[moved] & !self.position_bits;
                self.index[moved] = tag | (position as u32 + 1);
            }
        }
        self.slab.swap_remove(position).value
    }

    /// Empties a bucket and shifts back those behind it that probed over it.
    fn clear_bucket(&mut self, bucket: usize) {
        let mask = self.index.len() - 1;
        let mut hole = bucket;
        let mut next = (bucket + 1) & mask;
        while self.index[next] != 0 {
            let (home, _) = self.place(&self.slab[self.position(self.index[next])].key);
            let from_home = next.wrapping_sub(home) & mask;
            let from_hole = next.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.index[hole] = self.index[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.index[hole] = 0;
    }
}

impl<K, V> fmt::Debug for FlowTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowTable")
            .field("flows", &self.slab.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn table(capacity: usize) -> FlowTable<u16, u32> {
        FlowTable::new(capacity, [1, 2, 3, 4])
    }

    #[test]
    fn a_full_table_refuses_new_flows_and_keeps_the_old() {
        let mut flows = table(2);
        flows.insert(1, 10, 5).unwrap();
        flows.insert(2, 20, 5).unwrap();
        assert_eq!(flows.insert(3, 30, 5), Err(TableFull));
        assert_eq!(flows.insert(2, 21, 5), Ok(()));
        assert_eq!(
            (flows.get(&1, 0), flows.get(&2, 0), flows.get(&3, 0)),
            (Some(&10), Some(&21), None)
        );
        assert_eq!(flows.refused(), 1);
    }

    #[test]
    fn an_expired_flow_is_gone_before_and_after_the_sweep() {
        let mut flows = table(4);
        flows.insert(1, 10, 5).unwrap();
        flows.insert(2, 20, PINNED).unwrap();
        assert_eq!(flows.touch(&1, 5, 7), Some(&mut 10));
        assert_eq!(flows.get(&1, 8), None);
        assert_eq!(flows.touch(&1, 8, 9), None);
        flows.sweep(8, 10);
        assert_eq!((flows.len(), flows.expired()), (1, 1));
        assert_eq!(flows.touch(&2, 1000, 1001), Some(&mut 20));
        assert_eq!(flows.get(&2, 5000), Some(&20));
        assert!(flows.set_expiry(&2, 6000));
        assert_eq!(flows.get(&2, 6001), None);
    }

    #[test]
    fn a_large_table_finds_what_a_small_one_does() {
        const FLOWS: u32 = 40_000;
        let mut flows: FlowTable<u32, u32> = FlowTable::new(FLOWS as usize, [1, 2, 3, 4]);
        assert!(flows.index.len() >= WARM_ENTRIES, "warming is part of what is tested");
        for key in 0..FLOWS {
            flows.insert(key, key + 1, PINNED).unwrap();
        }
        assert_eq!(flows.insert(FLOWS, 0, PINNED), Err(TableFull));
        for key in (0..FLOWS).step_by(3) {
            assert_eq!(flows.remove(&key), Some(key + 1));
        }
        let keys: Vec<u32> = (0..FLOWS + 100).collect();
        keys.iter().for_each(|key| flows.approach(key));
        flows.warm(&keys);
        for key in keys {
            let there = key < FLOWS && key % 3 != 0;
            assert_eq!(flows.get(&key, 7), there.then_some(&(key + 1)), "{key}");
        }
    }

    #[test]
    fn the_memory_of_a_million_flows_is_what_the_manual_says() {
        use ringmail_packet::flow::FlowKey;
        let flows: FlowTable<FlowKey, [u32; 2]> = FlowTable::new(1_000_000, [1, 2, 3, 4]);
        assert_eq!(flows.bytes_per_flow(), 72);
    }

    proptest! {
        /// Whatever is put in, taken out and swept, the table agrees with an ordered map.
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((0u16..64, 0u8..4, 0u32..40), 0..400)) {
            let mut flows = table(48);
            let mut model: BTreeMap<u16, (u32, u32)> = BTreeMap::new();
            for (now, (key, step, until)) in steps.into_iter().enumerate() {
                let now = now as u32 / 10;
                match step {
                    0 | 1 => {
                        let fits = model.contains_key(&key) || model.len() < 48;
                        prop_assert_eq!(flows.insert(key, now, until).is_ok(), fits);
                        if fits {
                            model.insert(key, (now, until));
                        }
                    }
                    2 => {
                        prop_assert_eq!(flows.remove(&key), model.remove(&key).map(|(value, _)| value));
                    }
                    _ => {
                        // One round may look twice at an entry that moved; a few see all of them.
                        (0..48).for_each(|_| flows.sweep(now, usize::MAX));
                        model.retain(|_, (_, until)| *until >= now);
                    }
                }
                prop_assert_eq!(flows.len(), model.len());
                for (key, (value, until)) in &model {
                    prop_assert_eq!(flows.get(key, now), (*until >= now).then_some(value));
                }
            }
        }
    }
}
