//! What is known of a session from outside: kept by its task, told by its guest, read by whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ferrule_host::{CallError, Decision, Health, Level, Observer, Refusal, Severity};

use crate::audit::Audit;
use crate::logs::{LogBook, LogLine};
use crate::meter::Meter;
use crate::snapshot::{Alert, GuestMetric, GuestSnapshot, RolledBack, StreamState};
use crate::tail::TailPoint;

/// Addresses whose refusal was told that are kept of one session; any more are told quietly.
const REFUSED_KEPT: usize = 64;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// What is known of one session.
#[derive(Debug)]
pub(crate) struct Shared {
    name: Arc<str>,
    audit: Arc<Audit>,
    pub(crate) logs: LogBook,
    pub(crate) meter: Meter,
    pub(crate) tail: TailPoint,
    restarts: AtomicU64,
    refusals: AtomicU64,
    suppressed: AtomicU64,
    memory: AtomicU64,
    pub(crate) unsettled: AtomicU64,
    facts: Mutex<Facts>,
}

type Labels = Vec<(String, String)>;

#[derive(Debug, Default)]
struct Facts {
    component: String,
    state: StreamState,
    detail: String,
    since_ms: i64,
    health: Option<Health>,
    alerts: BTreeMap<String, Alert>,
    last_error: Option<(String, i64)>,
    last_refusal: Option<Refusal>,
    /// Refusals that were told: kind, host and port.
    refused: BTreeSet<(String, String, u16)>,
    /// By name and labels: whether it only grows, and its value.
    metrics: BTreeMap<(String, Labels), (bool, f64)>,
    replayable: Option<bool>,
    rolled_back: Option<RolledBack>,
}

impl Shared {
    pub(crate) fn new(name: impl Into<Arc<str>>, audit: Arc<Audit>) -> Arc<Self> {
        let name = name.into();
        Arc::new(Self {
            logs: LogBook::default(),
            meter: Meter::new(Instant::now()),
            tail: TailPoint::new(name.clone()),
            name,
            audit,
            restarts: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            unsettled: AtomicU64::new(0),
            facts: Mutex::new(Facts { since_ms: now_ms(), ..Facts::default() }),
        })
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn set_state(&self, state: StreamState, detail: impl Into<String>) {
        let mut facts = self.facts();
        if facts.state != state {
            facts.since_ms = now_ms();
        }
        facts.state = state;
        facts.detail = detail.into();
    }

    pub(crate) fn set_component(&self, digest: &str) {
        digest.clone_into(&mut self.facts().component);
    }

    /// The digest of the component that runs.
    pub(crate) fn component(&self) -> String {
        self.facts().component.clone()
    }

    /// A component gave its place back: it is said at once, and as long as it is so.
    pub(crate) fn rolled_back(&self, rolled_back: RolledBack) {
        self.error(rolled_back.message.clone());
        self.facts().rolled_back = Some(rolled_back);
    }

    /// What should run does.
    pub(crate) fn as_ordered(&self) {
        self.facts().rolled_back = None;
    }

    pub(crate) fn set_replayable(&self, replayable: Option<bool>) {
        self.facts().replayable = replayable;
    }

    pub(crate) fn set_memory(&self, bytes: u64) {
        self.memory.store(bytes, Relaxed);
    }

    /// A session ended: what the guest said of itself is over.
    pub(crate) fn end_session(&self) {
        let mut facts = self.facts();
        facts.health = None;
        facts.alerts.clear();
        drop(facts);
        self.memory.store(0, Relaxed);
    }

    /// Something went wrong; it is kept, and written to the guest's log where people look for it.
    pub(crate) fn error(&self, message: String) {
        tracing::warn!(guest = &*self.name, "{message}");
        self.line(Level::Error, "ferrule", &message, &[]);
        self.facts().last_error = Some((message, now_ms()));
    }

    /// A call failed. A refusal was told when it happened ([`Observer::denied`]), so here it is only kept.
    pub(crate) fn failed(&self, error: &CallError) {
        let CallError::Refused { refusal, .. } = error else { return self.error(error.told()) };
        tracing::debug!(guest = &*self.name, "{}", refusal.summary());
        self.line(Level::Debug, "ferrule", refusal.summary(), &[]);
        self.facts().last_error = Some((error.to_string(), now_ms()));
    }

    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Relaxed);
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    pub(crate) fn last_error(&self) -> Option<(String, i64)> {
        self.facts().last_error.clone()
    }

    pub(crate) fn replayable(&self) -> Option<bool> {
        self.facts().replayable
    }

    fn line(&self, level: Level, target: &str, message: &str, fields: &[(String, String)]) {
        self.logs.push(LogLine {
            time_ms: now_ms(),
            level,
            source: self.name.clone(),
            target: target.to_owned(),
            message: message.to_owned(),
            fields: fields.to_vec(),
        });
    }

    pub(crate) fn snapshot(&self) -> GuestSnapshot {
        let facts = self.facts();
        GuestSnapshot {
            component: facts.component.clone(),
            state: facts.state,
            detail: facts.detail.clone(),
            since_ms: facts.since_ms,
            health: facts.health.clone(),
            alerts: facts.alerts.clone(),
            restarts: self.restarts(),
            last_error: facts.last_error.as_ref().map(|(message, _)| message.clone()),
            last_error_ms: facts.last_error.as_ref().map(|(_, time)| *time),
            rolled_back: facts.rolled_back.clone(),
            refusals: self.refusals.load(Relaxed),
            last_refusal: facts.last_refusal.clone(),
            suppressed_log_lines: self.suppressed.load(Relaxed),
            memory_bytes: self.memory.load(Relaxed),
            metrics: facts
                .metrics
                .iter()
                .map(|((name, labels), (counter, value))| GuestMetric {
                    name: name.clone(),
                    labels: labels.clone(),
                    counter: *counter,
                    value: *value,
                })
                .collect(),
        }
    }
}

impl Observer for Shared {
    fn log(&self, level: Level, target: &str, message: &str, fields: &[(String, String)]) {
        self.line(level, target, message, fields);
    }

    fn suppressed(&self, lines: u64) {
        self.suppressed.fetch_add(lines, Relaxed);
    }

    fn count(&self, name: &str, labels: &[(String, String)], amount: u64) {
        let mut facts = self.facts();
        let (_, value) = facts.metrics.entry((name.to_owned(), labels.to_vec())).or_insert((true, 0.0));
        *value += amount as f64;
    }

    fn gauge(&self, name: &str, labels: &[(String, String)], value: f64) {
        self.facts().metrics.insert((name.to_owned(), labels.to_vec()), (false, value));
    }

    fn health(&self, health: Health) {
        self.facts().health = Some(health);
    }

    fn alert(&self, severity: Severity, name: &str, message: &str) {
        self.facts().alerts.insert(name.to_owned(), Alert { severity, message: message.to_owned() });
    }

    fn clear(&self, name: &str) {
        self.facts().alerts.remove(name);
    }

    fn decided(&self, decision: &Decision) {
        self.audit.decided(&self.name, decision);
        if let Some(refusal) = &decision.refusal {
            self.denied(refusal);
        }
    }
}

impl Shared {
    fn denied(&self, refusal: &Refusal) {
        self.refusals.fetch_add(1, Relaxed);
        let mut facts = self.facts();
        facts.last_refusal = Some(refusal.clone());
        let address = (refusal.kind.clone(), refusal.host.clone(), refusal.port);
        let new = facts.refused.len() < REFUSED_KEPT && facts.refused.insert(address);
        drop(facts);
        // A guest that tries again and again tells its operator nothing new.
        if !new {
            return tracing::debug!(guest = &*self.name, "{}", refusal.summary());
        }
        tracing::warn!(guest = &*self.name, "{}", refusal.summary());
        self.line(Level::Warn, "ferrule", refusal.summary(), &[]);
    }
}

#[cfg(test)]
mod tests {
    use ferrule_model::Code;

    use super::*;

    #[test]
    fn a_refusal_is_told_once_for_each_address_and_on_one_line() {
        let shared = Shared::new("s", Arc::default());
        let refusal = |port| Refusal {
            code: Code::NetDenied,
            guest: "s".into(),
            kind: "tcp".into(),
            host: "a".into(),
            address: None,
            port,
            message: format!("`s` may not connect to a:{port}: it is not granted. Apply a Grant that names it:"),
            remedy: "kind: Grant\nspec: {}".into(),
        };
        for port in [1, 2, 1, 2, 1] {
            let refusal = refusal(port);
            shared.denied(&refusal);
            let guest = format!("{}\n{}", refusal.message, refusal.remedy);
            shared.failed(&CallError::Refused { refusal: Box::new(refusal), guest });
        }
        let lines = shared.logs.feed().lines;
        let loud: Vec<_> = lines.iter().filter(|line| line.level > Level::Debug).collect();
        let told: Vec<_> = loud.iter().map(|line| (line.level, line.message.as_str(), line.fields.len())).collect();
        assert_eq!(
            told,
            [
                (Level::Warn, "`s` may not connect to a:1: it is not granted.", 0),
                (Level::Warn, "`s` may not connect to a:2: it is not granted.", 0),
            ]
        );
        assert!(lines.iter().all(|line| !line.message.contains('\n')));
        let seen = shared.snapshot();
        assert_eq!((seen.refusals, seen.last_refusal), (5, Some(refusal(1))));
        let error =
            "`s` may not connect to a:1: it is not granted. Apply a Grant that names it:\nkind: Grant\nspec: {}";
        assert_eq!(seen.last_error.as_deref(), Some(error));
    }

    #[test]
    fn the_error_of_a_refused_session_says_it_once() {
        let refusal = Refusal {
            code: Code::NetDenied,
            guest: "s".into(),
            kind: "tcp".into(),
            host: "a".into(),
            address: None,
            port: 1,
            message: "`s` may not connect to a.b:1: it is not granted. Apply a Grant that names it:".into(),
            remedy: "kind: Grant\nspec: {}".into(),
        };
        let told = format!("{}\n{}", refusal.message, refusal.remedy);
        assert_eq!(refusal.summary(), "`s` may not connect to a.b:1: it is not granted.");
        let error = |guest: &str| CallError::Refused { refusal: Box::new(refusal.clone()), guest: guest.into() };
        for guest in ["", &told, &format!("cannot connect: {told}"), refusal.summary()] {
            assert_eq!(error(guest).to_string(), told);
        }
        assert_eq!(error("no licence").to_string(), format!("{told}\nThe guest says: no licence"));
        let message = "`s` may not connect to a:1: it is a multicast address.";
        let hopeless = Refusal { message: message.into(), remedy: "No grant opens it.".into(), ..refusal.clone() };
        assert_eq!(hopeless.summary(), message);
        let error = CallError::Refused { refusal: Box::new(hopeless), guest: String::new() };
        assert_eq!(error.to_string(), format!("{message} No grant opens it."));
    }
}
