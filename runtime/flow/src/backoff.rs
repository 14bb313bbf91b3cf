//! How long to wait before the next attempt: longer each time, and never the same for everyone.

use std::time::Duration;

/// Bounds of a backoff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for BackoffPolicy {
    /// From a quarter of a second, which a restarting broker survives unnoticed, to half a minute.
    fn default() -> Self {
        Self { first: Duration::from_millis(250), longest: Duration::from_secs(30) }
    }
}

impl BackoffPolicy {
    /// The wait before attempt `attempt` + 1 (from 1): doubled each time up to the longest, then shortened by up to half, so
    /// that many who failed together do not come back together.
    pub fn wait(&self, attempt: u32, random: u64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        let full = doubled.min(self.longest);
        let part = 0.5 + 0.5 * ((random >> 11) as f64 / (1_u64 << 53) as f64);
        full.mul_f64(part)
    }
}

/// A sequence of random numbers that is good enough for spreading load, and the same for the same seed.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// A sequence for this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A sequence for this name, different from process to process.
    pub fn for_name(name: &str) -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self(RandomState::new().hash_one(name))
    }

    /// The next number (SplitMix64).
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A backoff under way.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: BackoffPolicy,
    jitter: Jitter,
    failures: u32,
}

impl Backoff {
    /// A backoff that nothing has failed in yet.
    pub fn new(policy: BackoffPolicy, jitter: Jitter) -> Self {
        Self { policy, jitter, failures: 0 }
    }

    /// Something failed: how long to wait.
    pub fn fail(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.policy.wait(self.failures, self.jitter.roll())
    }

    /// Something worked: the next wait is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_differ() {
        let policy = BackoffPolicy { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        let mut jitter = Jitter::new(7);
        for attempt in 1..200 {
            let wait = policy.wait(attempt, jitter.roll());
            let full = Duration::from_millis(100 << attempt.min(5).saturating_sub(1)).min(policy.longest);
            assert!(wait >= full / 2 && wait <= full, "{attempt}: {wait:?}");
        }
        assert_ne!(policy.wait(9, jitter.roll()), policy.wait(9, jitter.roll()));
        let mut backoff = Backoff::new(policy, jitter);
        backoff.fail();
        assert!(backoff.fail() >= Duration::from_millis(100));
        backoff.reset();
        assert!(backoff.fail() <= Duration::from_millis(100));
    }
}
