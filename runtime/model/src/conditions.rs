//! What is observed of an object: its status and the conditions in it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows yet.
    Unknown,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Truth::True } else { Truth::False }
    }
}

/// One aspect of an object's state, as in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about; one of [`types`] or a word of the same form.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: Truth,
    /// Why, in one word in CamelCase, for programs.
    pub reason: String,
    /// Why, for people: what is missing and how to mend it.
    #[serde(default)]
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
    /// The generation of the object that this was observed of.
    #[serde(default)]
    pub observed_generation: u64,
}

/// The condition types of the connector family.
pub mod types {
    /// Everything the object refers to is there and fits.
    pub const RESOLVED: &str = "Resolved";
    /// The object does what it is for. For a stream: its session is open.
    pub const READY: &str = "Ready";
    /// The guest says that its work goes well.
    pub const HEALTHY: &str = "Healthy";
    /// Somebody paused it.
    pub const PAUSED: &str = "Paused";
    /// The host refused something that the guest asked for.
    pub const REFUSED: &str = "Refused";
    /// The component that should run failed when it was put in the place of another, which goes on instead.
    pub const ROLLED_BACK: &str = "RolledBack";
    /// The guest reached one of its limits within the last minutes.
    pub const LIMIT_REACHED: &str = "LimitReached";
    /// It fails again and again, and is opened again with longer and longer waits.
    pub const CRASH_LOOP: &str = "CrashLoop";
    /// Nothing is left in flight after `drain`.
    pub const DRAINED: &str = "Drained";
}

/// What is observed of an object; never changed by whoever owns its spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation of the spec that this describes.
    #[serde(default)]
    pub observed_generation: u64,
    /// At most one of each type, in the order in which they were first set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What the kind adds; an object.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl Status {
    /// Whether nothing was observed yet.
    pub fn is_empty(&self) -> bool {
        *self == Status::default()
    }

    /// The condition of this type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }

    /// Whether the condition of this type is there and holds.
    pub fn holds(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|c| c.status == Truth::True)
    }

    /// Sets a condition, see [`set_condition`].
    pub fn set(&mut self, condition: Condition) -> bool {
        set_condition(&mut self.conditions, condition)
    }

    /// Removes the condition of this type; whether there was one.
    pub fn clear(&mut self, kind: &str) -> bool {
        let before = self.conditions.len();
        self.conditions.retain(|c| c.kind != kind);
        before != self.conditions.len()
    }
}

impl Condition {
    /// A condition observed at `now`.
    pub fn new(
        kind: &str,
        status: impl Into<Truth>,
        reason: &str,
        message: impl Into<String>,
        generation: u64,
        now: Timestamp,
    ) -> Self {
        Self {
            kind: kind.to_owned(),
            status: status.into(),
            reason: reason.to_owned(),
            message: message.into(),
            last_transition_time: now,
            observed_generation: generation,
        }
    }
}

/// Puts a condition in the place of the one of its type. The time of the old one stays when `status` is the same, so that
/// it says since when. Returns whether anything changed, the transition time aside.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) -> bool {
    let Some(old) = conditions.iter_mut().find(|c| c.kind == new.kind) else {
        conditions.push(new);
        return true;
    };
    if old.status == new.status {
        new.last_transition_time = old.last_transition_time;
    }
    let changed = *old != new;
    *old = new;
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_tells_since_when() {
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(9).unwrap());
        let mut status = Status::default();
        assert!(status.set(Condition::new("Ready", true, "Open", "", 1, early)));
        assert!(!status.set(Condition::new("Ready", true, "Open", "", 1, late)));
        assert!(status.set(Condition::new("Ready", true, "Open", "again", 2, late)));
        assert_eq!(status.conditions[0].last_transition_time, early);
        assert!(status.set(Condition::new("Ready", false, "Closed", "", 2, late)));
        assert_eq!(status.conditions[0].last_transition_time, late);
        assert_eq!(status.conditions.len(), 1);
        assert!(!status.holds("Ready"));
        assert!(status.clear("Ready"));
    }
}
