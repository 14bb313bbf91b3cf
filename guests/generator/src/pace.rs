//! When the next record is due.

use std::time::Duration;

/// What was missed longer ago than this is not made up for: a held-back stream goes on at its rate, not in a burst.
const LONGEST_CATCH_UP: Duration = Duration::from_secs(1);

/// Spreads records evenly over time. Time counts from when it was made.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Seconds from one record to the next; none: unlimited.
    interval: Option<f64>,
    /// When the next record is due, in seconds.
    next: f64,
}

impl Pace {
    /// So many records per second; 0: unlimited.
    pub(crate) fn new(rate: f64) -> Self {
        Self { interval: (rate > 0.0).then(|| rate.recip()), next: 0.0 }
    }

    /// How many records are due by now.
    pub(crate) fn due(&mut self, now: Duration) -> u64 {
        let Some(interval) = self.interval else {
            return u64::MAX;
        };
        let now = now.as_secs_f64();
        // One that is due is never forgotten, however slow the rate.
        let oldest = now - LONGEST_CATCH_UP.as_secs_f64().max(interval);
        self.next = self.next.max(oldest);
        if now < self.next { 0 } else { ((now - self.next) / interval) as u64 + 1 }
    }

    /// So many records were made.
    pub(crate) fn took(&mut self, records: u64) {
        if let Some(interval) = self.interval {
            self.next += interval * records as f64;
        }
    }

    /// How long until a record is due.
    pub(crate) fn until_next(&self, now: Duration) -> Option<Duration> {
        let left = self.interval.map(|_| self.next - now.as_secs_f64())?;
        // A rate of one in ten thousand years is still a rate.
        Some(Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn records_are_due_evenly() {
        let mut pace = Pace::new(10.0);
        assert_eq!(pace.due(at(0)), 1);
        pace.took(1);
        assert_eq!(pace.due(at(50)), 0);
        assert_eq!(pace.until_next(at(50)), Some(at(50)));
        assert_eq!(pace.due(at(350)), 3);
        pace.took(2);
        assert_eq!(pace.due(at(350)), 1);
    }

    #[test]
    fn a_long_pause_is_not_made_up_for() {
        let mut pace = Pace::new(100.0);
        assert_eq!(pace.due(at(60_000)), 101);
        let mut slow = Pace::new(0.1);
        slow.took(1);
        assert_eq!(slow.due(at(9_000)), 0);
        assert_eq!(slow.due(at(10_500)), 1);
    }

    #[test]
    fn over_time_the_rate_is_kept() {
        let mut pace = Pace::new(333.0);
        let mut made = 0;
        for millisecond in (0..10_000).step_by(7) {
            let due = pace.due(at(millisecond));
            pace.took(due);
            made += due;
        }
        assert!((3328..=3332).contains(&made), "{made}");
    }

    #[test]
    fn unlimited_is_always_due() {
        let mut pace = Pace::new(0.0);
        assert_eq!(pace.due(at(0)), u64::MAX);
        pace.took(1000);
        assert_eq!((pace.due(at(0)), pace.until_next(at(0))), (u64::MAX, None));
    }
}
