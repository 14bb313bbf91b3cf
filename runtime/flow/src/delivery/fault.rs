//! Deliberate mistakes in the decision core, for tests that show the checker to see them. There are none in a build that ships.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A record in retry does not hold back its key.
    LaneForgotten,
    /// A key goes on in another write while an earlier one is unanswered.
    LaneOvertaken,
    /// A record in retry goes out before its time.
    RetryAfterIgnored,
    /// A delivered record stays in flight.
    DoneStays,
    /// Of what a lost session gives back, the last run is dropped.
    LostForGood,
    /// The window counts only the write that is being made.
    WindowForgotten,
    /// The same for its bytes.
    WindowBytesForgotten,
    /// The search for poison condemns a record that broke the sink in company.
    PoisonTooEarly,
    /// A record is condemned for a crash in which the sink had records of others in hand too.
    PoisonInCompany,
    /// The search tries the same part again and again.
    PoisonNeverNarrowed,
    /// A record grows too old in flight.
    ExpiredInFlight,
    /// Nobody is told when a retry is due.
    WakeMissed,
    /// The low-water mark goes on over a record that is not done.
    LowPastOpen,
    /// One thing of two that came of a record counts for both.
    DoneCountedDouble,
}

/// Whether the code is sound in this place: always, unless a test asked for the mistake.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn sound(_: Fault) -> bool {
    true
}

#[cfg(test)]
pub(crate) use seeded::{sound, with_fault};

#[cfg(test)]
mod seeded {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static SEEDED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    pub(crate) fn sound(fault: Fault) -> bool {
        SEEDED.get() != Some(fault)
    }

    /// Runs `work` with the mistake in force, on this thread.
    pub(crate) fn with_fault<T>(fault: Fault, work: impl FnOnce() -> T) -> T {
        struct Restore;
        impl Drop for Restore {
            fn drop(&mut self) {
                SEEDED.set(None);
            }
        }
        let _restore = Restore;
        SEEDED.set(Some(fault));
        work()
    }
}
