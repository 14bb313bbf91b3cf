//! When a sink leaves answers of the broker in the socket for a moment: a broker answers each message by itself, and to wake up for
//! each of them is dearer than what there is to do about it.

use std::time::{Duration, Instant};

/// How long answers are left. Too short to be noticed.
pub const NAP: Duration = Duration::from_millis(1);

/// Answers that must be likely to come within that time for it to be worth their wait.
const WORTH: u32 = 4;

/// Messages must be in flight for so many such times: the link never runs dry meanwhile.
const AHEAD: usize = 4;

/// How long answers are counted before their rate is known.
const MEASURED: Duration = Duration::from_millis(4);

/// Watches how fast answers come.
#[derive(Debug, Default)]
pub struct Pace {
    since: Option<Instant>,
    count: u32,
    /// Answers that come within [`NAP`].
    rate: u32,
}

impl Pace {
    /// So many answers came.
    pub fn answered(&mut self, now: Instant, answers: usize) {
        self.count = self.count.saturating_add(u32::try_from(answers).unwrap_or(u32::MAX));
        let elapsed = now.saturating_duration_since(*self.since.get_or_insert(now));
        if elapsed >= MEASURED {
            let rate = u128::from(self.count) * NAP.as_nanos() / elapsed.as_nanos();
            self.rate = u32::try_from(rate).unwrap_or(u32::MAX);
            (self.since, self.count) = (Some(now), 0);
        }
    }

    /// Whether to leave what comes alone for [`NAP`], with so many messages in flight.
    pub fn is_worth_a_nap(&self, in_flight: usize) -> bool {
        self.rate >= WORTH && in_flight >= (self.rate as usize).saturating_mul(AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_answers_with_many_in_flight_are_left_to_gather() {
        let begun = Instant::now();
        let mut pace = Pace::default();
        let mut answer = |microseconds: u64, answers| {
            pace.answered(begun + Duration::from_micros(microseconds), answers);
            [0, 20, 1_000].map(|in_flight| pace.is_worth_a_nap(in_flight))
        };
        assert_eq!(answer(0, 500), [false; 3], "how fast they come is not known yet");
        assert_eq!(answer(5_000, 0), [false, false, true], "100 a nap");
        assert_eq!(answer(10_000, 25), [false, true, true], "5 a nap");
        assert_eq!(answer(15_000, 5), [false; 3], "1 a nap");
        assert_eq!(answer(20_000, 100), [false, false, true], "20 a nap: 20 in flight are answered in one");
        assert_eq!(answer(9_000_000, 1), [false; 3], "after a pause");
    }
}
