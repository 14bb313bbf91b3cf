//! Random numbers that one seed gives again: splitmix64, because a run must be repeatable by its seed in every release.

/// A source of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of this seed for this purpose; purposes do not disturb each other.
    pub(crate) fn new(seed: u64, purpose: &str) -> Random {
        let mut random = Random(seed ^ fingerprint(purpose.as_bytes()));
        random.next();
        random
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 when the limit is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }
}

/// FNV-1a, 64 bits.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn one_seed_gives_the_same_numbers_and_another_gives_others() {
        let numbers = |seed, purpose| {
            let mut random = Random::new(seed, purpose);
            (0..5).map(|_| random.next()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1, "kills"), numbers(1, "kills"));
        assert_ne!(numbers(1, "kills"), numbers(2, "kills"));
        assert_ne!(numbers(1, "kills"), numbers(1, "traffic"));
    }
}
