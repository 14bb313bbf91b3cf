//! How long to wait before the next attempt to connect.

/// The first wait, and the longest, in milliseconds.
const FIRST: u64 = 1_000;
const LONGEST: u64 = 60_000;

/// Waits that double with each failure, with jitter, so that many clients do not come back to a broker all at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    /// `seed` should differ between clients.
    pub fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed | 1 }
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// It failed: how many milliseconds to wait, between half of the step and all of it.
    pub fn next_wait(&mut self) -> u64 {
        let step = (FIRST << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // xorshift64: the quality of the numbers does not matter here.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        step / 2 + self.random % (step / 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_again() {
        let mut backoff = Backoff::new(42);
        for step in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let wait = backoff.next_wait();
            assert!((step * 500..=step * 1000).contains(&wait), "{wait} ms at a step of {step} s");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= 1000);
    }
}
