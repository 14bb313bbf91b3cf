//! How long to wait before the next attempt: longer each time, and never the same for everyone.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Bounds of a backoff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

/// How often one session is opened again in any minute at most, however well it goes in between: enough to find a few poisonous records
/// by halving batches.
pub const RESTARTS_PER_MINUTE: usize = 120;

const MINUTE: Duration = Duration::from_secs(60);

impl Default for BackoffPolicy {
    /// From a quarter of a second, which a restarting broker survives unnoticed, to half a minute.
    fn default() -> Self {
        Self { first: Duration::from_millis(250), longest: Duration::from_secs(30) }
    }
}

impl BackoffPolicy {
    /// The wait of a record before attempt `attempt` + 1 (from 1), with full jitter: anywhere between nothing and a bound that
    /// doubles each time up to the longest, so that records which failed together spread over all of it. Never less than a
    /// sixteenth of the first wait, so that no draw of luck is a busy loop.
    pub fn wait(&self, attempt: u32, random: u64) -> Duration {
        let bound = self.bound(attempt);
        let floor = (self.first / 16).min(bound);
        floor + (bound - floor).mul_f64(part(random))
    }

    /// The wait before a session is opened again: the same bound, shortened by up to half. Few wait at once and each attempt
    /// costs a new instance, so that attempts grow reliably rarer counts for more than spreading them.
    pub fn steady_wait(&self, attempt: u32, random: u64) -> Duration {
        let bound = self.bound(attempt);
        bound / 2 + (bound / 2).mul_f64(part(random))
    }

    fn bound(&self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// From 0 to just below 1.
fn part(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
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

/// The backoff of a session under way.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: BackoffPolicy,
    jitter: Jitter,
    failures: u32,
    /// When the last attempts were to begin, the oldest first.
    attempts: VecDeque<Instant>,
}

impl Backoff {
    /// A backoff that nothing has failed in yet.
    pub fn new(policy: BackoffPolicy, jitter: Jitter) -> Self {
        Self { policy, jitter, failures: 0, attempts: VecDeque::new() }
    }

    /// Something failed: how long to wait.
    pub fn fail(&mut self) -> Duration {
        self.fail_at(Instant::now())
    }

    fn fail_at(&mut self, now: Instant) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let mut next = now + self.policy.steady_wait(self.failures, self.jitter.roll());
        if self.attempts.len() >= RESTARTS_PER_MINUTE
            && let Some(oldest) = self.attempts.pop_front()
        {
            next = next.max(oldest + MINUTE);
        }
        self.attempts.push_back(next);
        next - now
    }

    /// How often it failed since something worked.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Something worked: the next wait is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> BackoffPolicy {
        BackoffPolicy { first: Duration::from_millis(160), longest: Duration::from_secs(1) }
    }

    fn bound(attempt: u32) -> Duration {
        Duration::from_millis(160 << attempt.min(5).saturating_sub(1)).min(Duration::from_secs(1))
    }

    #[test]
    fn a_record_waits_anywhere_between_the_floor_and_the_bound() {
        let mut jitter = Jitter::new(7);
        for attempt in 1..70 {
            let waits: Vec<Duration> = (0..1_000).map(|_| policy().wait(attempt, jitter.roll())).collect();
            let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            let (floor, bound) = (Duration::from_millis(10), bound(attempt));
            assert!(*least >= floor && *most <= bound, "{attempt}: {least:?} to {most:?}");
            assert!(*least < floor + bound / 20 && *most > bound - bound / 20, "{attempt}: {least:?} to {most:?}");
            let mean = waits.iter().sum::<Duration>() / 1_000;
            let middle = (floor + bound) / 2;
            assert!(mean > middle.mul_f64(0.9) && mean < middle.mul_f64(1.1), "{attempt}: {mean:?}, not {middle:?}");
        }
    }

    #[test]
    fn a_short_bound_is_never_exceeded_by_the_floor() {
        let policy = BackoffPolicy { first: Duration::from_secs(16), longest: Duration::from_millis(5) };
        assert_eq!(policy.wait(1, u64::MAX), policy.longest);
        let none = BackoffPolicy { first: Duration::ZERO, longest: Duration::ZERO };
        assert_eq!(none.wait(9, u64::MAX), Duration::ZERO);
    }

    #[test]
    fn a_session_waits_longer_each_time_and_starts_over_when_something_worked() {
        let mut backoff = Backoff::new(policy(), Jitter::new(7));
        let mut now = Instant::now();
        for attempt in 1..200 {
            now += MINUTE;
            let wait = backoff.fail_at(now);
            assert!(wait >= bound(attempt) / 2 && wait <= bound(attempt), "{attempt}: {wait:?}");
        }
        assert_ne!(backoff.fail_at(now + MINUTE), backoff.fail_at(now + MINUTE * 2));
        backoff.reset();
        assert!(backoff.fail_at(now + MINUTE * 4) <= bound(1));
    }

    #[test]
    fn whoever_fails_after_each_success_is_not_opened_more_often_than_the_rate() {
        let mut backoff = Backoff::new(policy(), Jitter::new(7));
        let begin = Instant::now();
        let mut now = begin;
        let mut opened = Vec::new();
        for _ in 0..500 {
            backoff.reset();
            now += backoff.fail_at(now);
            opened.push(now);
        }
        for window in opened.windows(RESTARTS_PER_MINUTE + 1) {
            let (first, last) = (window[0], window[RESTARTS_PER_MINUTE]);
            assert!(last - first >= MINUTE, "one attempt too many within {:?}", last - first);
        }
        assert!(opened[9] - begin < Duration::from_secs(2), "the first ones come quickly");
    }
}
