//! What is known of a session from outside: kept by its task, told by its guest, read by whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrule_host::{Breach, CallError, Decision, Health, Level, Limit, Limits, Observer, Refusal, Severity, Traffic};
use ferrule_model::plain;

use crate::audit::Audit;
use crate::logs::{LogBook, LogLine};
use crate::meter::Meter;
use crate::snapshot::{Alert, CrashLoop, GuestMetric, GuestSnapshot, LimitUse, RolledBack, StreamState, Transferred};
use crate::tail::TailPoint;

/// Addresses whose refusal was told that are kept of one session; any more are told quietly.
const REFUSED_KEPT: usize = 64;

/// Targets whose bytes are counted apart; those of any more are counted together.
const TARGETS_KEPT: usize = 64;

/// How those are called.
const OTHERS: &str = "others";

/// How long it is said that a limit was reached.
const REACHED_SHOWN_MS: i64 = 5 * 60_000;

/// Failures in a row that make a loop of crashes.
pub const CRASH_LOOP: u32 = 5;

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
    peak_memory: AtomicU64,
    calls: AtomicU64,
    /// Nanoseconds that its guests computed.
    computed: AtomicU64,
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
    /// What the session may use, and how often and when last that was not enough.
    limits: Limits,
    reached: BTreeMap<Limit, (u64, i64)>,
    /// The limit that was reached last.
    last_reached: Option<Breach>,
    crash_loop: Option<CrashLoop>,
    traffic: BTreeMap<String, Arc<Traffic>>,
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
            peak_memory: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            computed: AtomicU64::new(0),
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
        self.peak_memory.fetch_max(bytes, Relaxed);
    }

    /// What its sessions may use from now on.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        self.facts().limits = limits.clone();
    }

    /// It failed so many times in a row, and is tried again after this wait.
    pub(crate) fn backing_off(&self, failures: u32, wait: Duration) {
        let detail = format!("next attempt in {:.1} s", wait.as_secs_f64());
        self.set_state(StreamState::BackingOff, detail);
        let next_ms = now_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        self.facts().crash_loop = (failures >= CRASH_LOOP).then_some(CrashLoop { failures, next_ms });
    }

    /// Something worked: it crashes in a loop no more.
    pub(crate) fn calm(&self) {
        self.facts().crash_loop = None;
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
        let line = plain::line(&message);
        tracing::warn!(guest = &*self.name, "{line}");
        self.line(Level::Error, "ferrule", &line, &[]);
        self.facts().last_error = Some((message, now_ms()));
    }

    /// A call failed. A refusal was told when it happened ([`Observer::decided`]), so here it is only kept.
    pub(crate) fn failed(&self, error: &CallError) {
        if let Some(breach) = error.breach() {
            self.limited(&breach, 1);
        }
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

    /// The limit that was reached last, while that is news.
    fn limit_reached(facts: &Facts) -> Option<Breach> {
        let breach = facts.last_reached.as_ref()?;
        let (_, last_ms) = facts.reached.get(&breach.limit)?;
        (now_ms() - last_ms < REACHED_SHOWN_MS).then(|| breach.clone())
    }

    pub(crate) fn snapshot(&self) -> GuestSnapshot {
        let facts = self.facts();
        GuestSnapshot {
            limit_reached: Self::limit_reached(&facts),
            limits: Limit::ALL
                .iter()
                .map(|limit| LimitUse {
                    limit: *limit,
                    value: facts.limits.value(*limit),
                    reached: facts.reached.get(limit).map_or(0, |(times, _)| *times),
                })
                .collect(),
            crash_loop: facts.crash_loop.clone(),
            peak_memory_bytes: self.peak_memory.load(Relaxed),
            calls: self.calls.load(Relaxed),
            computed: Duration::from_nanos(self.computed.load(Relaxed)),
            transferred: facts
                .traffic
                .iter()
                .map(|(target, traffic)| Transferred {
                    target: target.clone(),
                    received: traffic.received.load(Relaxed),
                    sent: traffic.sent.load(Relaxed),
                })
                .collect(),
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

    fn limited(&self, breach: &Breach, times: u64) {
        let mut facts = self.facts();
        let (total, last_ms) = facts.reached.entry(breach.limit).or_default();
        *total = total.saturating_add(times);
        *last_ms = now_ms();
        // What it said last is said again, without a copy.
        if facts.last_reached.as_ref() != Some(breach) {
            facts.last_reached = Some(breach.clone());
        }
    }

    fn called(&self, computing: Duration) {
        self.calls.fetch_add(1, Relaxed);
        self.computed.fetch_add(u64::try_from(computing.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    fn traffic(&self, target: &str) -> Arc<Traffic> {
        let mut facts = self.facts();
        let known = facts.traffic.len() < TARGETS_KEPT || facts.traffic.contains_key(target);
        facts.traffic.entry(if known { target } else { OTHERS }.to_owned()).or_default().clone()
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

    #[test]
    fn a_limit_that_was_reached_is_told_and_counted() {
        let shared = Shared::new("s", Arc::default());
        shared.set_limits(&Limits { sockets: 3, ..Limits::default() });
        assert_eq!(shared.snapshot().limit_reached, None);
        shared.limited(&Limits { sockets: 3, ..Limits::default() }.breach(Limit::Sockets), 2);
        shared.failed(&CallError::Limit(Limits::default().breach(Limit::Memory)));
        let seen = shared.snapshot();
        assert_eq!(seen.limit_reached.map(|breach| breach.limit), Some(Limit::Memory));
        let of = |limit| seen.limits.iter().find(|used| used.limit == limit).map(|used| (used.value, used.reached));
        assert_eq!((of(Limit::Sockets), of(Limit::Memory)), (Some((3, 2)), Some((64 << 20, 1))));
        assert_eq!(of(Limit::Handles), Some((1_024, 0)));
    }

    #[test]
    fn what_is_used_is_metered_and_targets_are_bounded() {
        let shared = Shared::new("s", Arc::default());
        shared.called(Duration::from_millis(2));
        shared.called(Duration::from_millis(3));
        shared.set_memory(10);
        shared.set_memory(5);
        for index in 0..TARGETS_KEPT + 9 {
            shared.traffic(&format!("host-{index}:1")).sent.fetch_add(1, Relaxed);
        }
        let seen = shared.snapshot();
        assert_eq!((seen.calls, seen.computed, seen.peak_memory_bytes), (2, Duration::from_millis(5), 10));
        assert_eq!(seen.transferred.len(), TARGETS_KEPT + 1);
        let others = seen.transferred.iter().find(|one| one.target == OTHERS).unwrap();
        assert_eq!(others.sent, 9);
    }

    #[test]
    fn a_guest_cannot_forge_a_line() {
        let shared = Shared::new("s", Arc::default());
        shared.error("bad\n2026-01-01 ERROR all is lost\u{1b}[2J".into());
        assert_eq!(shared.logs.feed().lines[0].message, "bad\\n2026-01-01 ERROR all is lost\\u{1b}[2J");
    }
}
