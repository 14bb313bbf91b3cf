//! What a resolution has to say about an object.

use ferrule_model::{Code, Condition, Kind, Status, Truth, Uid};
use jiff::Timestamp;
use serde_json::Value;

/// What stands in the way of an object: not an error, but what is missing and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// For programs: one word in CamelCase.
    pub reason: &'static str,
    /// The page that explains it.
    pub code: Code,
    /// For people.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(reason: &'static str, code: Code, message: impl Into<String>) -> Self {
        Self { reason, code, message: message.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code.id())
    }
}

/// A condition without the time and the generation, which are known when it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The condition's type.
    pub kind: &'static str,
    /// Whether it holds.
    pub status: Truth,
    /// Why, in one word.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// What stands in the way, where that is why; the message is its text.
    pub problem: Option<Problem>,
}

impl Finding {
    pub(crate) fn new(kind: &'static str, status: impl Into<Truth>, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, status: status.into(), reason: reason.to_owned(), message: message.into(), problem: None }
    }

    pub(crate) fn problem(kind: &'static str, problem: &Problem) -> Self {
        Self { problem: Some(problem.clone()), ..Self::new(kind, false, problem.reason, problem.to_string()) }
    }
}

/// All that is to be said about one object. It replaces what its status said before.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The object's kind.
    pub kind: Kind,
    /// The object's id.
    pub uid: Uid,
    /// The generation that was looked at.
    pub generation: u64,
    /// The conditions, in order.
    pub findings: Vec<Finding>,
    /// What the kind adds to the status; an object or null.
    pub details: Value,
}

impl Report {
    pub(crate) fn put(&mut self, finding: Finding) {
        match self.findings.iter_mut().find(|there| there.kind == finding.kind) {
            Some(there) => *there = finding,
            None => self.findings.push(finding),
        }
    }

    /// The status that says this, given the one before (for the times) and the time now.
    pub fn status(&self, before: &Status, now: Timestamp) -> Status {
        let mut status = Status {
            observed_generation: self.generation,
            conditions: before.conditions.clone(),
            details: self.details.clone(),
        };
        status.conditions.retain(|old| self.findings.iter().any(|new| new.kind == old.kind));
        for finding in &self.findings {
            let Finding { kind, status: truth, reason, message, .. } = finding;
            status.set(Condition::new(kind, *truth, reason, message.clone(), self.generation, now));
        }
        status
    }
}
