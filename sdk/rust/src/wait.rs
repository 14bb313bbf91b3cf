//! Waiting: for sockets, for time, and always for the host's wake-up too.

use std::time::{Duration, Instant};

/// How long a call may wait. Whoever waits with it also stops when the host wants the call back.
#[derive(Clone, Debug)]
pub struct Wait {
    deadline: Option<Instant>,
}

/// How waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// What was waited for is ready.
    Ready,
    /// The time is over.
    Elapsed,
    /// The host wants the call back: return what there is. It stays so until the call returns.
    Woken,
}

impl Wait {
    /// Until the host wants the call back.
    pub fn forever() -> Self {
        Self { deadline: None }
    }

    /// Until then, or until the host wants the call back.
    pub fn until(deadline: Instant) -> Self {
        Self { deadline: Some(deadline) }
    }

    /// For so long, or until the host wants the call back.
    pub fn at_most(time: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(time) }
    }

    /// The same, but no longer than `time` from now.
    #[must_use]
    pub fn and_at_most(&self, time: Duration) -> Self {
        let other = Instant::now().checked_add(time);
        Self {
            deadline: match (self.deadline, other) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }

    /// When it is over; none: never.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What is left; none: no end. Zero once it is over.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits for nothing but the end: [`Ended::Elapsed`] or [`Ended::Woken`].
    pub fn sleep(&self) -> Ended {
        imp::wait(&[], self.remaining())
    }

    /// Whether the host wants the call back. A call to the host: not for every record.
    pub fn is_woken(&self) -> bool {
        is_woken()
    }

    /// Waits until one of `pollables` is ready.
    ///
    /// A wake-up counts only when nothing else is ready, so that what has arrived is still taken; a loop that must end asks
    /// [`is_woken`](Self::is_woken).
    pub fn on(&self, pollables: &[&wasip2::io::poll::Pollable]) -> Ended {
        imp::wait(pollables, self.remaining())
    }
}

/// Whether the host wants the call back.
pub fn is_woken() -> bool {
    imp::is_woken()
}

#[cfg(target_family = "wasm")]
mod imp {
    use std::time::Duration;

    use wasip2::clocks::monotonic_clock;
    use wasip2::io::poll::{Pollable, poll};

    use super::Ended;
    use crate::bindings::ferrule::connector::wakeup;

    thread_local! {
        /// One for the life of the instance: it is level-triggered, and making one is a call to the host.
        static WAKEUP: Pollable = wakeup::subscribe();
    }

    pub(super) fn is_woken() -> bool {
        WAKEUP.with(Pollable::ready)
    }

    pub(super) fn wait(pollables: &[&Pollable], remaining: Option<Duration>) -> Ended {
        WAKEUP.with(|wakeup| {
            let timer = remaining
                .map(|left| monotonic_clock::subscribe_duration(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)));
            let mut all = Vec::with_capacity(pollables.len() + 2);
            all.extend_from_slice(pollables);
            all.push(wakeup);
            all.extend(&timer);
            let ready = poll(&all);
            let count = pollables.len() as u32;
            if ready.iter().any(|&index| index < count) {
                Ended::Ready
            } else if ready.contains(&count) {
                Ended::Woken
            } else {
                Ended::Elapsed
            }
        })
    }
}

/// In a unit test that runs natively there is no host, hence no wake-up, and nothing to be ready.
#[cfg(not(target_family = "wasm"))]
mod imp {
    use std::time::Duration;

    use wasip2::io::poll::Pollable;

    use super::Ended;

    pub(super) fn is_woken() -> bool {
        false
    }

    pub(super) fn wait(_: &[&Pollable], remaining: Option<Duration>) -> Ended {
        match remaining {
            Some(left) => {
                std::thread::sleep(left);
                Ended::Elapsed
            }
            None => Ended::Woken,
        }
    }
}
