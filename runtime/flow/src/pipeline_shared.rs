//! What is known of a pipeline from outside.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferrule_model::ids::Uid;
use ferrule_transport::Lag;
use tokio::sync::watch;

use crate::alerts::{RETRYING, retrying};
use crate::audit::Audit;
use crate::meter::{Histogram, Meter};
use crate::plan::PipelinePlan;
use crate::shared::Shared;
use crate::snapshot::{Alert, PipelineSnapshot};
use crate::tail::TailPoint;

/// What is known of one pipeline.
#[derive(Debug)]
pub(crate) struct PipelineShared {
    name: Arc<str>,
    audit: Arc<Audit>,
    pub(crate) tail: TailPoint,
    pub(crate) meter: Meter,
    filtered: AtomicU64,
    dead: AtomicU64,
    dropped: AtomicU64,
    retried: AtomicU64,
    duplicates: AtomicU64,
    attempts: Histogram,
    batches: Histogram,
    lag: Mutex<Lag>,
    in_flight: AtomicU64,
    /// Which order to drain is done; 0 if none is.
    drained: watch::Sender<u64>,
    facts: Mutex<Facts>,
}

#[derive(Debug)]
struct Facts {
    state: &'static str,
    detail: String,
    last_error: Option<String>,
    last_error_ms: i64,
    alerts: BTreeMap<String, Alert>,
    steps: Vec<(String, Arc<Shared>)>,
    /// Restarts of steps that are gone.
    restarts: u64,
}

impl PipelineShared {
    pub(crate) fn new(name: impl Into<Arc<str>>, audit: Arc<Audit>) -> Arc<Self> {
        let name = name.into();
        let facts = Facts {
            state: "starting",
            detail: String::new(),
            last_error: None,
            last_error_ms: 0,
            alerts: BTreeMap::new(),
            steps: Vec::new(),
            restarts: 0,
        };
        Arc::new(Self {
            tail: TailPoint::new(name.clone()),
            name,
            audit,
            meter: Meter::new(Instant::now()),
            filtered: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            attempts: Histogram::new(&[1, 2, 3, 5, 10, 20]),
            batches: Histogram::new(&[1, 10, 100, 1_000, 10_000]),
            lag: Mutex::default(),
            in_flight: AtomicU64::new(0),
            drained: watch::Sender::new(0),
            facts: Mutex::new(facts),
        })
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn delivered(&self, records: u64, bytes: u64) {
        self.meter.add(records, bytes);
    }

    pub(crate) fn filtered(&self, records: u64) {
        self.filtered.fetch_add(records, Relaxed);
    }

    pub(crate) fn dead(&self, records: u64) {
        self.dead.fetch_add(records, Relaxed);
    }

    pub(crate) fn dropped(&self, records: u64) {
        self.dropped.fetch_add(records, Relaxed);
    }

    /// So many records are done after this many attempts.
    pub(crate) fn attempted(&self, attempts: u32, records: u64) {
        self.attempts.add(u64::from(attempts), records);
    }

    /// So many records were written together.
    pub(crate) fn batch(&self, records: u64) {
        self.batches.add(records, 1);
    }

    pub(crate) fn duplicates(&self, records: u64) {
        self.duplicates.fetch_add(records, Relaxed);
    }

    pub(crate) fn retried(&self, records: u64) {
        self.retried.fetch_add(records, Relaxed);
    }

    /// A sink asked for another attempt. It says so for each record, so only what is new is written down.
    pub(crate) fn postponed(&self, reason: &str) {
        let mut facts = self.facts();
        if facts.last_error.as_deref() != Some(reason) {
            facts.last_error = Some(reason.to_owned());
        }
        facts.last_error_ms = crate::shared::now_ms();
    }

    /// For how long the record has been in retry that is so for longest.
    pub(crate) fn retrying(&self, longest: Option<Duration>) {
        let mut facts = self.facts();
        match retrying(longest, facts.last_error.as_deref()) {
            Some(alert) => drop(facts.alerts.insert(RETRYING.0.to_owned(), alert)),
            None => drop(facts.alerts.remove(RETRYING.0)),
        }
    }

    pub(crate) fn error(&self, message: String) {
        tracing::warn!(pipeline = &*self.name, "{message}");
        let mut facts = self.facts();
        facts.last_error = Some(message);
        facts.last_error_ms = crate::shared::now_ms();
    }

    /// The steps of the pipeline from now on; a step that keeps its name keeps what is known of it.
    pub(crate) fn set_steps(&self, plan: &PipelinePlan) -> Vec<Arc<Shared>> {
        let mut facts = self.facts();
        let before = std::mem::take(&mut facts.steps);
        for step in &plan.steps {
            let old = before.iter().find(|(name, _)| *name == step.name).map(|(_, shared)| shared.clone());
            let shared = old.unwrap_or_else(|| Shared::new(format!("{}/{}", plan.name, step.name), self.audit.clone()));
            facts.steps.push((step.name.clone(), shared));
        }
        let gone = before.iter().filter(|(name, _)| !plan.steps.iter().any(|step| step.name == *name));
        facts.restarts += gone.map(|(_, shared)| shared.restarts()).sum::<u64>();
        facts.steps.iter().map(|(_, shared)| shared.clone()).collect()
    }

    pub(crate) fn steps(&self) -> Vec<(String, Arc<Shared>)> {
        self.facts().steps.clone()
    }

    pub(crate) fn publish(&self, state: &'static str, detail: String, lag: Lag, in_flight: u64, drained: u64) {
        let mut facts = self.facts();
        facts.state = state;
        facts.detail = detail;
        drop(facts);
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner) = lag;
        self.in_flight.store(in_flight, Relaxed);
        self.drained.send_if_modified(|before| std::mem::replace(before, drained) != drained);
    }

    pub(crate) fn stopped(&self) {
        let mut facts = self.facts();
        facts.state = "stopped";
        facts.detail.clear();
    }

    /// Which order to drain is done, as it changes.
    pub(crate) fn drained(&self) -> watch::Receiver<u64> {
        self.drained.subscribe()
    }

    pub(crate) fn sample(&self, now: Instant) {
        self.meter.sample(now);
        for (_, step) in &self.facts().steps {
            step.meter.sample(now);
        }
    }

    pub(crate) fn snapshot(&self, uid: &Uid, revision: u64) -> PipelineSnapshot {
        let lag = *self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = self.facts();
        let (delivered, delivered_bytes) = self.meter.totals();
        let (records_per_second, bytes_per_second) = self.meter.rates();
        let steps: Vec<_> = facts.steps.iter().map(|(name, shared)| (name.clone(), shared.snapshot())).collect();
        let own = facts.last_error.clone().map(|error| (facts.last_error_ms, error));
        let of_steps = facts.steps.iter().filter_map(|(name, shared)| {
            shared.last_error().map(|(error, time)| (time, format!("step {name}: {error}")))
        });
        PipelineSnapshot {
            uid: uid.clone(),
            name: self.name.to_string(),
            state: facts.state,
            detail: facts.detail.clone(),
            lag: lag.records,
            lag_bytes: lag.bytes,
            oldest_ms: lag.oldest_ms,
            in_flight: self.in_flight.load(Relaxed),
            delivered,
            delivered_bytes,
            filtered: self.filtered.load(Relaxed),
            dead: self.dead.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            retried: self.retried.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            attempts: self.attempts.counts(),
            batches: self.batches.counts(),
            records_per_second,
            bytes_per_second,
            restarts: facts.restarts + steps.iter().map(|(_, step)| step.restarts).sum::<u64>(),
            alerts: facts.alerts.clone(),
            last_error: own.into_iter().chain(of_steps).max_by_key(|(time, _)| *time).map(|(_, error)| error),
            steps,
            revision,
        }
    }
}
