//! What the flow raises by itself: that a policy drops records of a stream, and that a record has been in retry for long. No clock:
//! time is handed in. The words do not change while an alert stands, since they are written to the object's status.

use std::time::{Duration, Instant};

use ferrule_host::Severity;

use crate::snapshot::Alert;

/// The alert of a stream whose policy drops records, and how long after the last one it stands.
pub const DROPPING: (&str, Duration) = ("dropping", Duration::from_secs(60));

/// The alert of a pipeline with a record in retry, and how long after its sink first put it off it is raised.
pub const RETRYING: (&str, Duration) = ("retrying", Duration::from_secs(300));

/// Watches the count of records that the policy of one stream dropped.
#[derive(Debug)]
pub(crate) struct Drops {
    seen: u64,
    /// When it last grew, while that is an alert.
    last: Option<Instant>,
}

impl Drops {
    /// What was dropped before is no alert any more.
    pub(crate) fn since(dropped: u64) -> Self {
        Self { seen: dropped, last: None }
    }

    /// The count now; called about once a second.
    pub(crate) fn observe(&mut self, now: Instant, dropped: u64) {
        let grew = dropped > self.seen;
        self.seen = dropped;
        let stands = |last: &Instant| now.saturating_duration_since(*last) < DROPPING.1;
        self.last = if grew { Some(now) } else { self.last.filter(stands) };
    }

    pub(crate) fn alert(&self) -> Option<Alert> {
        self.last?;
        let message = "the policy of its log (log.whenFull, log.keep.evenUnread) drops records: a sink is down or too slow, or the \
                       log too small";
        Some(Alert { severity: Severity::Warning, message: message.to_owned() })
    }
}

/// The alert of a pipeline in which the record that is longest in retry has been so for `longest`.
pub(crate) fn retrying(longest: Option<Duration>, reason: Option<&str>) -> Option<Alert> {
    longest.filter(|longest| *longest >= RETRYING.1)?;
    let why = reason.map(|reason| format!("; the last error: {reason}")).unwrap_or_default();
    let message = format!("a record has been in retry for more than {} s{why}", RETRYING.1.as_secs());
    Some(Alert { severity: Severity::Warning, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_an_alert_until_there_are_none_for_a_while() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut drops = Drops::since(5);
        let mut alert = |seconds: u32, dropped| {
            drops.observe(start + second * seconds, dropped);
            drops.alert().is_some()
        };
        assert!(!alert(0, 5), "what was dropped before it was watched");
        assert!(alert(1, 7));
        assert!(alert(60, 10));
        assert!(alert(119, 10), "not quiet for long enough");
        assert!(!alert(120, 10));
        assert!(alert(121, 11));
    }

    #[test]
    fn a_record_that_is_long_in_retry_is_an_alert() {
        let second = Duration::from_secs(1);
        assert_eq!(retrying(None, None), None);
        assert_eq!(retrying(Some(second * 299), Some("busy")), None);
        let alert = retrying(Some(second * 301), Some("busy")).unwrap();
        assert_eq!(alert.message, "a record has been in retry for more than 300 s; the last error: busy");
    }
}
