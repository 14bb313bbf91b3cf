//! What a guest does that people should see, handed to whoever keeps it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ferrule_model::capability::{AbilityKind, Allowance};

use crate::error::Refusal;
use crate::limits::Breach;

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

/// What was decided when a guest reached for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The class or function that reached for it.
    pub class: String,
    /// The digest of its component.
    pub component: String,
    /// The interface that it came by.
    pub interface: &'static str,
    /// What it wanted to do.
    pub kind: AbilityKind,
    /// The name or address that it asked for; for files the folder, for the environment the variable.
    pub host: String,
    /// The address that was judged, once the name was resolved.
    pub address: Option<IpAddr>,
    /// The port; 0 where there is none.
    pub port: u16,
    /// What decided: the entry that allows or denies it, or why none does.
    pub rule: String,
    /// The entry of a grant that would allow it, if it is refused and one would.
    pub words: Option<Allowance>,
    /// The refusal; none if it was allowed.
    pub refusal: Option<Refusal>,
}

/// Bytes to and from one target.
#[derive(Debug, Default)]
pub struct Traffic {
    /// From the target to the guest.
    pub received: AtomicU64,
    /// From the guest to the target.
    pub sent: AtomicU64,
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

    /// A limit was reached so many times, and the session goes on.
    fn limited(&self, breach: &Breach, times: u64) {
        let _ = (breach, times);
    }

    /// A call ended that computed for so long.
    fn called(&self, computing: Duration) {
        let _ = computing;
    }

    /// Where the bytes to and from a target are counted: a name or address with its port.
    fn traffic(&self, target: &str) -> Arc<Traffic> {
        let _ = target;
        Arc::default()
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

    /// The guest reached for something, and was allowed or refused it.
    fn decided(&self, decision: &Decision);
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
    fn decided(&self, _: &Decision) {}
}
