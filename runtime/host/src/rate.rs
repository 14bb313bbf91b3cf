//! How often something happened in this second.

use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// Admits so much a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    most: u32,
    window: Instant,
    count: u32,
}

impl Rate {
    pub(crate) fn new(most: u32) -> Self {
        Self { most, window: Instant::now(), count: 0 }
    }

    /// Whether there is room for one more.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.window) >= WINDOW {
            (self.window, self.count) = (now, 0);
        }
        let room = self.count < self.most;
        self.count += u32::from(room);
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_a_second_and_no_more() {
        let mut rate = Rate::new(2);
        let now = rate.window;
        assert_eq!([0; 4].map(|_| rate.admits(now)), [true, true, false, false]);
        assert!(rate.admits(now + WINDOW));
    }
}
