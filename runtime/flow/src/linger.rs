//! How long a source gathers records for one call: only while so many come that gathering makes batches of them.

use std::time::{Duration, Instant};

/// Long enough to make batches of what comes together, too short to be noticed.
const LINGER: Duration = Duration::from_millis(1);

/// Records that must be likely to come within that time for it to be worth the wait of the first.
const WORTH: u32 = 4;

/// Watches how fast records come. A record that comes alone goes on at once.
#[derive(Debug, Default)]
pub(crate) struct Linger {
    last: Option<Instant>,
    fast: bool,
}

impl Linger {
    /// A call brought records; `full`: as many as it might.
    pub(crate) fn came(&mut self, now: Instant, records: u32, full: bool) {
        let since = self.last.replace(now).map(|last| now.saturating_duration_since(last));
        self.fast = full || since.is_some_and(|since| LINGER * records >= since * WORTH);
    }

    /// Milliseconds for the next call. `free`: what comes has to wait anyway, for the append before it.
    pub(crate) fn millis(&self, free: bool) -> u32 {
        if free || self.fast { LINGER.as_millis() as u32 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_fast_is_gathered() {
        let begun = Instant::now();
        let at = |microseconds| begun + Duration::from_micros(microseconds);
        let mut linger = Linger::default();
        let mut after = |microseconds, records, full| {
            linger.came(at(microseconds), records, full);
            linger.millis(false)
        };
        assert_eq!(after(0, 1, false), 0, "the first");
        assert_eq!(after(5_000, 1, false), 0, "200 a second");
        assert_eq!(after(15_000, 4, false), 0, "late ones together");
        assert_eq!(after(15_200, 1, false), 1, "5,000 a second");
        assert_eq!(after(16_300, 5, false), 1, "still, while it gathers");
        assert_eq!(after(26_300, 1, false), 0, "the end of a burst");
        assert_eq!(after(99_000, 1_000, true), 1, "more than fits");
        assert_eq!(Linger::default().millis(true), 1, "while an append is under way");
    }
}
