//! The level-triggered loop: whatever happened, look at all objects, run what they ask for, and write what is observed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferrule_model::{Kind, Object, Status, Uid, lookup};
use ferrule_store::{Event, Listing, Selector, Store, StoreError, Version, Watch, WatchError};
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::finding::{Finding, Report};
use crate::handle::Control;
use crate::options::ControlOptions;
use crate::resolve::resolve;
use crate::runner::{Applied, Observed, Runner};
use crate::snapshot::Snapshot;

/// Status writes that wait at once; the store commits those together.
const WRITES: usize = 256;
/// Attempts to write one status against other writers. The next look writes it otherwise.
const ATTEMPTS: usize = 3;
/// The member of `status.details` for what changes all the time.
const COUNTERS: &str = "counters";

impl Control {
    /// Starts following `store` and running what its objects ask for on `runner`.
    pub fn start(store: Arc<dyn Store>, runner: Arc<dyn Runner>, options: ControlOptions) -> Control {
        let (done, reconciled) = watch::channel(Version::START);
        let stop = CancellationToken::new();
        let service = Service {
            store,
            runner,
            options,
            done,
            known: HashMap::new(),
            reports: Vec::new(),
            applied: Applied::default(),
            counted: None,
        };
        let task = tokio::spawn(service.run(stop.clone()));
        Control { reconciled, stop, task: Arc::new(Mutex::new(Some(task))) }
    }
}

type Key = (Kind, Uid);

struct Service {
    store: Arc<dyn Store>,
    runner: Arc<dyn Runner>,
    options: ControlOptions,
    done: watch::Sender<Version>,
    /// The objects as they were last seen, own writes included.
    known: HashMap<Key, Arc<Object>>,
    reports: Vec<Report>,
    applied: Applied,
    /// When counts were last written.
    counted: Option<Instant>,
}

/// Why the loop looks at everything again, or ends.
enum Turn {
    Again,
    End,
}

impl Service {
    async fn run(mut self, stop: CancellationToken) {
        let everything = Selector::all();
        loop {
            let listing = tokio::select! {
                () = stop.cancelled() => return,
                listing = self.store.list(None, &everything) => listing,
            };
            let turn = match listing {
                Ok(listing) => {
                    let watch = self.store.watch(listing.version);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        turn = self.turn(listing, watch) => turn,
                    }
                }
                Err(StoreError::Closed) => Turn::End,
                Err(error) => {
                    tracing::warn!(%error, "the objects cannot be listed; trying again");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = sleep(self.options.retry) => Turn::Again,
                    }
                }
            };
            if matches!(turn, Turn::End) {
                return;
            }
        }
    }

    /// Reconciles what is listed, and keeps its status fresh until something that matters changes.
    async fn turn(&mut self, listing: Listing, mut watch: Watch) -> Turn {
        let version = listing.version;
        self.reconcile(listing).await;
        self.done.send_replace(version);
        let mut refresh = interval(self.options.refresh);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let retry = sleep(if self.applied.again { self.options.retry } else { Duration::MAX / 4 });
        tokio::pin!(retry);
        loop {
            tokio::select! {
                event = watch.next() => match self.take(event, &mut watch) {
                    Ok(false) => {
                        self.done.send_replace(watch.version());
                    }
                    Ok(true) => {
                        sleep(self.options.debounce).await;
                        return Turn::Again;
                    }
                    Err(WatchError::TooOld { .. }) => return Turn::Again,
                    Err(WatchError::Closed) => return Turn::End,
                },
                () = &mut retry => return Turn::Again,
                _ = refresh.tick() => self.write().await,
            }
        }
    }

    /// Takes in what changed; whether anything of it matters here. Statuses, our own above all, do not.
    fn take(&mut self, first: Result<Event, WatchError>, watch: &mut Watch) -> Result<bool, WatchError> {
        let mut events = vec![first?];
        events.extend(watch.ready()?);
        let mut matters = false;
        for event in events {
            let object = event.object();
            let key = (object.kind, object.uid().clone());
            match event {
                Event::Put(object) => {
                    matters |= self.known.get(&key).is_none_or(|before| !wants_the_same(before, &object));
                    let newer = |before: &Arc<Object>| Version::of(before) < Version::of(&object);
                    if self.known.get(&key).is_none_or(newer) {
                        self.known.insert(key, object);
                    }
                }
                Event::Delete(_) => matters |= self.known.remove(&key).is_some(),
            }
        }
        Ok(matters)
    }

    async fn reconcile(&mut self, listing: Listing) {
        let version = listing.version;
        self.known =
            listing.objects.iter().map(|object| ((object.kind, object.uid().clone()), object.clone())).collect();
        let site = self.options.site.clone();
        // Thousands of objects take long enough to be felt by what shares the thread.
        let resolution = tokio::task::spawn_blocking(move || resolve(&Snapshot::new(listing.objects), &site)).await;
        let resolution = match resolution {
            Ok(resolution) => resolution,
            Err(error) => {
                tracing::error!(%error, "the objects cannot be resolved; what runs goes on");
                return;
            }
        };
        self.applied = self.runner.apply(&resolution.wanted).await;
        self.reports = resolution.reports;
        tracing::debug!(
            %version,
            streams = resolution.wanted.streams.len(),
            pipelines = resolution.wanted.pipelines.len(),
            unable = self.applied.unable.len(),
            "reconciled"
        );
        self.write().await;
    }

    /// Writes the statuses that differ from what is stored.
    async fn write(&mut self) {
        let observed = self.runner.observe().await;
        let count = self.counted.is_none_or(|at| at.elapsed() >= self.options.counters);
        if count {
            self.counted = Some(Instant::now());
        }
        let now = Timestamp::now();
        let changes: Vec<_> = self
            .reports
            .iter()
            .filter_map(|report| {
                let key = (report.kind, report.uid.clone());
                let stored = self.known.get(&key)?;
                let status = status(report, &self.applied, &observed, stored, now);
                differs(&stored.status, &status, count).then(|| (stored.clone(), report.generation, status))
            })
            .collect();
        let (store, principal) = (&self.store, &self.options.principal);
        let written: Vec<_> = stream::iter(changes)
            .map(|(object, generation, status)| async move {
                let key = (object.kind, object.uid().clone());
                let outcome = write_one(&**store, principal, object, generation, status).await;
                (key, outcome)
            })
            .buffer_unordered(WRITES)
            .collect()
            .await;
        for (key, outcome) in written {
            match outcome {
                Ok(Some(object)) => {
                    self.known.insert(key, object);
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(kind = %key.0, uid = %key.1, %error, "a status was not written"),
            }
        }
    }
}

/// Writes a status against whoever else writes the object; none if the object is gone or asks for something new, which the
/// next turn sees to.
async fn write_one(
    store: &dyn Store,
    principal: &ferrule_store::Principal,
    mut object: Arc<Object>,
    generation: u64,
    status: Status,
) -> Result<Option<Arc<Object>>, StoreError> {
    let (kind, uid) = (object.kind, object.uid().clone());
    for _ in 0..ATTEMPTS {
        let version = object.metadata.resource_version.clone();
        match store.update_status(principal, kind, &uid, &version, status.clone()).await {
            Ok(object) => return Ok(Some(object)),
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(StoreError::Conflict { .. }) => match store.get(kind, &uid).await? {
                Some(newer) if newer.metadata.generation == generation => object = newer,
                _ => return Ok(None),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether two versions of an object ask for the same.
fn wants_the_same(a: &Object, b: &Object) -> bool {
    a.spec == b.spec
        && a.metadata.generation == b.metadata.generation
        && lookup::moved(a) == lookup::moved(b)
        && a.metadata.name == b.metadata.name
        && a.metadata.namespace == b.metadata.namespace
        && a.metadata.deletion_timestamp == b.metadata.deletion_timestamp
        && a.metadata.creation_timestamp == b.metadata.creation_timestamp
}

/// The status of an object: what the resolution says, over it what cannot run, over it what is observed.
fn status(report: &Report, applied: &Applied, observed: &Observed, stored: &Object, now: Timestamp) -> Status {
    let key = (report.kind, report.uid.clone());
    let mut report = report.clone();
    if let Some(problem) = applied.unable.get(&key) {
        report.put(Finding::problem(ferrule_model::conditions::types::READY, problem));
    }
    if let Some(observation) = observed.get(&key) {
        for finding in &observation.findings {
            report.put(finding.clone());
        }
        if report.details.is_null() {
            report.details = Value::Object(serde_json::Map::new());
        }
        if let Some(details) = report.details.as_object_mut() {
            details.extend(observation.facts.clone());
            if !observation.counters.is_null() {
                details.insert(COUNTERS.to_owned(), observation.counters.clone());
            }
        }
    }
    report.status(&stored.status, now)
}

/// Whether a status is worth writing: counts alone only when it is time for them.
fn differs(stored: &Status, new: &Status, count: bool) -> bool {
    if count || stored.details.get(COUNTERS).is_none() {
        return stored != new;
    }
    let without = |status: &Status| {
        let mut status = status.clone();
        if let Some(details) = status.details.as_object_mut() {
            details.remove(COUNTERS);
        }
        status
    };
    without(stored) != without(new)
}
