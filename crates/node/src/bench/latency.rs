//! How long packets were on their way: counted in buckets of 3 %, so that a run of any length takes the same memory.

/// Buckets for each power of two of a nanosecond: as many as so many bits behind the first tell apart.
const BITS: u32 = 5;

/// Times as they came.
#[derive(Clone, Debug)]
pub(super) struct Times(Vec<u64>);

/// What they say, in microseconds. A share of packets was as fast or faster.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Latency {
    /// Half.
    pub(super) p50_us: f64,
    /// 99 of 100.
    pub(super) p99_us: f64,
    /// 999 of 1000.
    pub(super) p999_us: f64,
    /// All.
    pub(super) max_us: f64,
}

impl Default for Times {
    fn default() -> Times {
        Times(vec![0; 64 << BITS])
    }
}

impl Times {
    pub(super) fn note(&mut self, ns: u64) {
        self.0[bucket(ns)] += 1;
    }

    pub(super) fn latency(&self) -> Latency {
        let all: u64 = self.0.iter().sum();
        let of = |share: f64| {
            let wanted = ((all as f64 * share).ceil() as u64).max(1);
            let mut below = 0;
            let found = self.0.iter().position(|count| {
                below += count;
                below >= wanted
            });
            found.map_or(0.0, |bucket| bound_ns(bucket) / 1e3)
        };
        Latency { p50_us: of(0.5), p99_us: of(0.99), p999_us: of(0.999), max_us: of(1.0) }
    }
}

fn bucket(ns: u64) -> usize {
    let ns = ns.max(1 << BITS);
    let power = ns.ilog2() - BITS;
    ((power as usize) << BITS) + (ns >> power) as usize - (1 << BITS)
}

/// What all times in a bucket are below.
fn bound_ns(bucket: usize) -> f64 {
    let (power, step) = (bucket >> BITS, bucket & ((1 << BITS) - 1));
    ((1 << BITS) + step + 1) as f64 * (1_u64 << power) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_it_says() {
        for ns in (5..50).flat_map(|power| [1 << power, (1 << power) + 12_345, (2 << power) - 1]) {
            let bound = bound_ns(bucket(ns));
            assert!(bound > ns as f64 && bound <= ns as f64 * 1.04 + 1.0, "{ns}: {bound}");
        }
        assert!(bucket(0) == 0 && bucket(u64::MAX) < 64 << BITS);
    }

    #[test]
    fn one_in_a_thousand_is_slower() {
        let mut times = Times::default();
        assert_eq!(times.latency(), Latency::default());
        for nth in 0..10_000 {
            times.note(if nth % 1_000 == 7 { 5_000_000 } else { 100_000 });
        }
        let Latency { p50_us, p99_us, p999_us, max_us } = times.latency();
        assert!((100.0..104.0).contains(&p50_us) && p99_us == p50_us && p999_us == p50_us);
        assert!((5_000.0..5_200.0).contains(&max_us), "{max_us}");
        times.note(5_000_000);
        assert_eq!(times.latency().p999_us, max_us);
    }
}
