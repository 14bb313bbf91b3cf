//! What a guest does that people should see, handed to whoever keeps it.

use crate::error::Refusal;

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For the guest's author, at length.
    Trace,
    /// For the guest's author.
    Debug,
    /// For the operator.
    Info,
    /// The operator may have to act.
    Warn,
    /// Something does not work.
    Error,
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Needs a look.
    Warning,
    /// Needs somebody now.
    Critical,
}

/// How a session is doing, by the guest's own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether it does its work.
    pub healthy: bool,
    /// What is the matter, and what is being done about it.
    pub message: String,
}

/// Takes what one guest tells and does. Called from inside calls into the guest, so it must return at once.
pub trait Observer: Send + Sync {
    /// A line of log that is within the rate.
    fn log(&self, level: Level, target: &str, message: &str, fields: &[(String, String)]);

    /// Whether lines of this level are kept.
    fn log_enabled(&self, level: Level) -> bool {
        let _ = level;
        true
    }

    /// So many lines of log were over the rate and not kept.
    fn suppressed(&self, lines: u64) {
        let _ = lines;
    }

    /// Adds to a counter of the guest's.
    fn count(&self, name: &str, labels: &[(String, String)], amount: u64);

    /// Sets a gauge of the guest's.
    fn gauge(&self, name: &str, labels: &[(String, String)], value: f64);

    /// The session's health changed, or was told again.
    fn health(&self, health: Health);

    /// An alert was raised or renewed.
    fn alert(&self, severity: Severity, name: &str, message: &str);

    /// An alert is over.
    fn clear(&self, name: &str);

    /// The guest was refused something.
    fn denied(&self, refusal: &Refusal);

    /// The guest was allowed something: the kind of ability, and what for.
    fn allowed(&self, kind: &str, target: &str);
}

/// Keeps nothing: for instances that do nothing worth seeing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn log(&self, _: Level, _: &str, _: &str, _: &[(String, String)]) {}
    fn count(&self, _: &str, _: &[(String, String)], _: u64) {}
    fn gauge(&self, _: &str, _: &[(String, String)], _: f64) {}
    fn health(&self, _: Health) {}
    fn alert(&self, _: Severity, _: &str, _: &str) {}
    fn clear(&self, _: &str) {}
    fn denied(&self, _: &Refusal) {}
    fn allowed(&self, _: &str, _: &str) {}
}
