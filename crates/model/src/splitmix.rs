//! SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): numbers that look random and
//! are the same for the same seed. For spreading, injected faults and simulations; nothing secret comes from it.

/// A sequence of numbers; the field is its state, and at first its seed.
#[derive(Clone, Debug)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to `end`, which is not among them; 0 if there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// A number from 0 up to 1, which is not among them.
    pub fn fraction(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Vigna's splitmix64.c gives for this seed.
    #[test]
    fn the_numbers_of_others() {
        let mut random = SplitMix64(1_234_567);
        let numbers = [(); 3].map(|()| random.draw());
        let others =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(numbers, others);
        assert_eq!(SplitMix64(0).below(0), 0);
        assert!((0..1000).all(|seed| (0.0..1.0).contains(&SplitMix64(seed).fraction())));
    }
}
