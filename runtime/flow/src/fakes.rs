//! Scripted guests and a small harness, so that the flow is tested without WebAssembly.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ferrule_host::{CallError, Configured, GuestError, GuestErrorKind, Observer, Opened, PullLimits, Pulled, Session};
use ferrule_model::component::{Description, Direction};
use ferrule_model::ids::Uid;
use ferrule_model::record::{Batch, BatchBuilder, Outcomes, Postponement, RecordRef, Rejection, Transformed};
use ferrule_transport::{
    AppendReceipt, Bounds, Durability, EmbeddedLog, EmbeddedOptions, Guarantees, Log, LogError, LogReader, MemoryLog,
    ReaderId, StartAt, StreamOptions, Usage,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backoff::BackoffPolicy;
use crate::guest::{Artifact, Guest, Waker};
use crate::plan::{ComponentRef, GuestPlan, PipelinePlan, Plan, StepPlan, StreamPlan};
use crate::{
    DeadLetter, DeadLetters, Flow, FlowOptions, FlowSnapshot, MemoryDeadLetters, PipelineSnapshot, StreamSnapshot,
};

pub(crate) fn trap() -> CallError {
    CallError::Trap { call: "test", reason: "scripted".into() }
}

pub(crate) fn guest_error(kind: GuestErrorKind) -> CallError {
    CallError::Guest(GuestError { kind, message: "scripted".into() })
}

/// The world outside that a fake guest reaches, and its script.
#[derive(Default)]
pub(crate) struct World {
    /// A source: what waits to be taken, as key and payload.
    pub(crate) upstream: Mutex<VecDeque<(String, String)>>,
    /// A source: what was given and not settled, by token; given again to the next session.
    pub(crate) unsettled: Mutex<VecDeque<(u64, (String, String))>>,
    pub(crate) settled: AtomicU64,
    /// A source: its records have the payload as their upstream id.
    pub(crate) named: AtomicBool,
    /// A source: what it hands over, a little late, when it is asked to return.
    pub(crate) parting: Mutex<Option<(String, String)>>,
    /// A sink: what it has.
    pub(crate) delivered: Mutex<Vec<String>>,
    /// Calls of each kind.
    pub(crate) opened: AtomicU32,
    pub(crate) closed: AtomicU32,
    pub(crate) configured: Mutex<Vec<String>>,
    pub(crate) pulls_held: AtomicU32,
    pub(crate) idles: AtomicU32,
    pub(crate) writes: AtomicU32,
    /// Errors that the next opens, writes answer with.
    pub(crate) open_errors: Mutex<VecDeque<CallError>>,
    pub(crate) next_errors: Mutex<VecDeque<CallError>>,
    /// What opened and closed, by digest, in order.
    pub(crate) events: Mutex<Vec<String>>,
    /// A source: it says where to go on, and was told so when it opened.
    pub(crate) positioned: AtomicBool,
    pub(crate) positions: Mutex<Vec<Option<Vec<u8>>>>,
    /// A source: its position is how many records it gave, and a session goes on behind its own.
    pub(crate) counts: AtomicBool,
    pub(crate) given: Mutex<Vec<(String, String)>>,
    pub(crate) write_errors: Mutex<VecDeque<CallError>>,
    /// Payloads that break the guest, that it rejects, and that it asks to retry so many times.
    pub(crate) poison: Mutex<BTreeSet<String>>,
    /// A sink: payloads that break it only after they were written, while it looks after what is in flight.
    pub(crate) slow_poison: Mutex<BTreeSet<String>>,
    pub(crate) rejects: Mutex<BTreeSet<String>>,
    pub(crate) retries: Mutex<Vec<(String, u32)>>,
    /// After how many milliseconds; 0: after 2.
    pub(crate) retry_after: AtomicU64,
    /// A sink: answers later, from `idle`.
    pub(crate) lazy: bool,
    /// A sink: answers nothing while set.
    pub(crate) stuck: Mutex<bool>,
    pub(crate) changed: Notify,
}

impl World {
    pub(crate) fn publish(&self, records: impl IntoIterator<Item = (String, String)>) {
        self.upstream.lock().unwrap().extend(records);
        self.changed.notify_waiters();
    }

    pub(crate) fn delivered(&self) -> Vec<String> {
        self.delivered.lock().unwrap().clone()
    }

    pub(crate) fn settled(&self) -> u64 {
        self.settled.load(SeqCst)
    }
}

type Function = Arc<dyn Fn(&Batch) -> Result<Transformed, CallError> + Send + Sync>;

#[derive(Clone)]
pub(crate) enum Behaviour {
    Source,
    Sink,
    Function(Function),
}

/// A fake component.
pub(crate) struct Fake {
    pub(crate) digest: String,
    description: Description,
    pub(crate) world: Arc<World>,
    behaviour: Behaviour,
    /// The world that has its errors and what it rejects; a component with flaws of its own has another one than what it reaches.
    flaws: Arc<World>,
}

impl Fake {
    pub(crate) fn plan(digest: &str, world: &Arc<World>, behaviour: Behaviour) -> GuestPlan {
        Self::plan_with_routes(digest, world, behaviour, &[])
    }

    pub(crate) fn plan_with_routes(
        digest: &str,
        world: &Arc<World>,
        behaviour: Behaviour,
        routes: &[&str],
    ) -> GuestPlan {
        let description = Description {
            name: digest.to_owned(),
            routes: routes.iter().map(ToString::to_string).collect(),
            ..Description::default()
        };
        let flaws = world.clone();
        let fake = Self { digest: digest.to_owned(), description, world: world.clone(), behaviour, flaws };
        GuestPlan::new(ComponentRef::new(Arc::new(fake)))
    }

    /// Another version of a component: it reaches the same world, and has flaws of its own.
    pub(crate) fn version(
        digest: &str,
        world: &Arc<World>,
        behaviour: Behaviour,
        flaws: &Arc<World>,
        overlap: bool,
    ) -> GuestPlan {
        let properties = vec![("overlap".to_owned(), overlap.to_string())];
        let description = Description { name: digest.to_owned(), properties, ..Description::default() };
        let (world, flaws) = (world.clone(), flaws.clone());
        let fake = Self { digest: digest.to_owned(), description, world, behaviour, flaws };
        GuestPlan::new(ComponentRef::new(Arc::new(fake)))
    }
}

#[async_trait]
impl Artifact for Fake {
    fn digest(&self) -> &str {
        &self.digest
    }

    fn description(&self) -> &Description {
        &self.description
    }

    async fn instantiate(&self, _: &str, _: &GuestPlan, _: Arc<dyn Observer>) -> Result<Box<dyn Guest>, CallError> {
        Ok(Box::new(FakeGuest {
            digest: self.digest.clone(),
            flaws: self.flaws.clone(),
            world: self.world.clone(),
            behaviour: self.behaviour.clone(),
            wake: Arc::default(),
            next_token: 0,
            in_flight: Vec::new(),
        }))
    }
}

struct FakeGuest {
    digest: String,
    world: Arc<World>,
    flaws: Arc<World>,
    behaviour: Behaviour,
    wake: Arc<Notify>,
    next_token: u64,
    in_flight: Vec<(u64, String)>,
}

impl FakeGuest {
    fn answer(&mut self, mut outcomes: Outcomes) -> Outcomes {
        if *self.world.stuck.lock().unwrap() {
            return outcomes;
        }
        for (token, payload) in std::mem::take(&mut self.in_flight) {
            let mut retries = self.world.retries.lock().unwrap();
            if self.flaws.rejects.lock().unwrap().contains(&payload) {
                outcomes.rejected.push(Rejection { record_ref: token, reason: "scripted".into() });
            } else if let Some((_, left)) = retries.iter_mut().find(|(text, left)| *text == payload && *left > 0) {
                *left -= 1;
                let after = self.world.retry_after.load(SeqCst);
                let after_ms = Some(if after == 0 { 2 } else { after });
                outcomes.retry.push(Postponement { token, after_ms, reason: "busy".into() });
            } else {
                self.world.delivered.lock().unwrap().push(payload);
                outcomes.delivered.push(token);
            }
        }
        outcomes
    }
}

#[async_trait]
impl Guest for FakeGuest {
    fn waker(&self) -> Waker {
        let wake = self.wake.clone();
        Waker::new(move || wake.notify_one())
    }

    async fn open(&mut self, session: Session) -> Result<Opened, CallError> {
        if let Some(error) = self.flaws.open_errors.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.world.opened.fetch_add(1, SeqCst);
        self.world.events.lock().unwrap().push(format!("open {}", self.digest));
        // What an earlier session did not settle, or gave behind the position, comes again.
        let mut again: Vec<_> = self.world.unsettled.lock().unwrap().drain(..).map(|(_, record)| record).collect();
        if self.world.counts.load(SeqCst) {
            let position =
                session.position.as_ref().and_then(|position| std::str::from_utf8(position).ok()?.parse().ok());
            again = self.world.given.lock().unwrap().split_off(position.unwrap_or(0));
        }
        self.world.positions.lock().unwrap().push(session.position);
        let mut upstream = self.world.upstream.lock().unwrap();
        for record in again.into_iter().rev() {
            upstream.push_front(record);
        }
        Ok(Opened { replayable: true, properties: Vec::new() })
    }

    async fn configure(&mut self, config: &str) -> Result<Configured, CallError> {
        self.world.configured.lock().unwrap().push(config.to_owned());
        Ok(Configured::Applied)
    }

    async fn close(&mut self) -> Result<(), CallError> {
        self.world.closed.fetch_add(1, SeqCst);
        self.world.events.lock().unwrap().push(format!("close {}", self.digest));
        Ok(())
    }

    async fn next(&mut self, limits: PullLimits) -> Result<Pulled, CallError> {
        if limits.max_records == 0 {
            self.world.pulls_held.fetch_add(1, SeqCst);
            self.wake.notified().await;
            return Ok(Pulled { records: Batch::default(), position: None });
        }
        if let Some(error) = self.flaws.next_errors.lock().unwrap().pop_front() {
            return Err(error);
        }
        let mut builder = BatchBuilder::new();
        loop {
            let world = self.world.clone();
            let mut changed = std::pin::pin!(world.changed.notified());
            changed.as_mut().enable();
            {
                let mut upstream = self.world.upstream.lock().unwrap();
                let mut unsettled = self.world.unsettled.lock().unwrap();
                while builder.len() < limits.max_records as usize
                    && let Some((key, payload)) = upstream.pop_front()
                {
                    self.next_token += 1;
                    let token = Some(self.next_token);
                    let upstream_id = if self.world.named.load(SeqCst) { payload.as_bytes() } else { &[] };
                    let record =
                        RecordRef { key: key.as_bytes(), token, upstream_id, ..RecordRef::of(payload.as_bytes()) };
                    builder.push(&record).unwrap();
                    self.world.given.lock().unwrap().push((key.clone(), payload.clone()));
                    unsettled.push_back((self.next_token, (key, payload)));
                }
            }
            if !builder.is_empty() {
                let mut position = self.world.positioned.load(SeqCst).then(|| self.digest.clone().into_bytes());
                if self.world.counts.load(SeqCst) {
                    position = Some(self.world.given.lock().unwrap().len().to_string().into_bytes());
                }
                return Ok(Pulled { records: builder.finish(), position });
            }
            tokio::select! {
                () = changed => {}
                () = self.wake.notified() => {}
            }
            let Some(parting) = self.world.parting.lock().unwrap().take() else {
                if self.world.upstream.lock().unwrap().is_empty() {
                    return Ok(Pulled { records: Batch::default(), position: None });
                }
                continue;
            };
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            self.world.upstream.lock().unwrap().push_back(parting);
        }
    }

    async fn settle(&mut self, tokens: &[u64]) -> Result<(), CallError> {
        let mut unsettled = self.world.unsettled.lock().unwrap();
        for token in tokens {
            let index = unsettled.iter().position(|(other, _)| other == token);
            assert!(unsettled.remove(index.expect("a token of this session, settled once")).is_some());
            self.world.settled.fetch_add(1, SeqCst);
        }
        Ok(())
    }

    async fn write(&mut self, records: &Batch) -> Result<Outcomes, CallError> {
        self.world.writes.fetch_add(1, SeqCst);
        if let Some(error) = self.flaws.write_errors.lock().unwrap().pop_front() {
            return Err(error);
        }
        for record in records.iter() {
            let payload = String::from_utf8_lossy(record.payload).into_owned();
            if self.flaws.poison.lock().unwrap().contains(&payload) {
                return Err(trap());
            }
            self.in_flight.push((record.token.expect("a sink gets tokens"), payload));
        }
        if self.world.lazy {
            return Ok(Outcomes::default());
        }
        Ok(self.answer(Outcomes::default()))
    }

    async fn idle(&mut self, max_wait_ms: u32) -> Result<Outcomes, CallError> {
        self.world.idles.fetch_add(1, SeqCst);
        let poison = self.world.slow_poison.lock().unwrap().clone();
        if self.in_flight.iter().any(|(_, payload)| poison.contains(payload)) {
            return Err(trap());
        }
        if *self.world.stuck.lock().unwrap() || self.in_flight.is_empty() {
            let world = self.world.clone();
            tokio::select! {
                () = world.changed.notified() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(max_wait_ms.into())) => {}
            }
        }
        Ok(self.answer(Outcomes::default()))
    }

    async fn apply(&mut self, records: &Batch) -> Result<Transformed, CallError> {
        let Behaviour::Function(function) = &self.behaviour else { return Err(trap()) };
        let poison = self.world.poison.lock().unwrap().clone();
        if records.iter().any(|record| poison.contains(&*String::from_utf8_lossy(record.payload))) {
            return Err(trap());
        }
        let transformed = function(records)?;
        transformed.check(records).unwrap();
        Ok(transformed)
    }
}

/// A flow from one source, through functions, to one sink, all of them fake.
pub(crate) struct Harness {
    pub(crate) flow: Flow,
    pub(crate) source: Arc<World>,
    pub(crate) sink: Arc<World>,
    pub(crate) letters: Arc<MemoryDeadLetters>,
    /// No letter is stored while it is set.
    pub(crate) letters_full: Arc<AtomicBool>,
    pub(crate) plan: Plan,
}

impl Harness {
    pub(crate) fn new(sink: World) -> Self {
        Self::with_bounds(sink, Bounds::default())
    }

    pub(crate) fn with_bounds(sink: World, bounds: Bounds) -> Self {
        Self::with_log(sink, bounds, Arc::new(MemoryLog::new(bounds)), Durability::Process)
    }

    /// On a log on disk, in this folder.
    pub(crate) fn on_disk(sink: World, folder: &std::path::Path) -> Self {
        let log = EmbeddedLog::open(EmbeddedOptions::new(folder)).unwrap();
        Self::with_log(sink, Bounds::ON_DISK, Arc::new(log), Durability::System)
    }

    /// The same, but the log is not available until the flag says so.
    pub(crate) fn on_late_log(sink: World, folder: &std::path::Path, there: Arc<AtomicBool>) -> Self {
        let log = Arc::new(EmbeddedLog::open(EmbeddedOptions::new(folder)).unwrap());
        Self::with_log(
            sink,
            Bounds::ON_DISK,
            Arc::new(LateLog { log, there, slow: false, refusals: Arc::default() }),
            Durability::System,
        )
    }

    /// The same, but what is appended while the flag does not say so is written when it does, whether somebody waits for it or not.
    pub(crate) fn on_slow_log(sink: World, folder: &std::path::Path, fast: Arc<AtomicBool>) -> Self {
        let log = Arc::new(EmbeddedLog::open(EmbeddedOptions::new(folder)).unwrap());
        let log = LateLog { log, there: fast, slow: true, refusals: Arc::default() };
        Self::with_log(sink, Bounds::ON_DISK, Arc::new(log), Durability::System)
    }

    /// The same, but the next appends are refused with these errors.
    pub(crate) fn on_refusing_log(sink: World, folder: &std::path::Path, refusals: Refusals) -> Self {
        let log = Arc::new(EmbeddedLog::open(EmbeddedOptions::new(folder)).unwrap());
        let log = LateLog { log, there: Arc::new(AtomicBool::new(true)), slow: false, refusals };
        Self::with_log(sink, Bounds::ON_DISK, Arc::new(log), Durability::System)
    }

    fn with_log(sink: World, bounds: Bounds, log: Arc<dyn Log>, durability: Durability) -> Self {
        let letters = Arc::new(MemoryDeadLetters::default());
        let letters_full = Arc::new(AtomicBool::new(false));
        let store = Arc::new(BoundedLetters { letters: letters.clone(), full: letters_full.clone() });
        let mut options = FlowOptions::new(log, store);
        options.restart = BackoffPolicy { first: Duration::from_millis(1), longest: Duration::from_millis(4) };
        let (source, sink) = (Arc::new(World::default()), Arc::new(sink));
        let mut stream =
            StreamPlan::new("in", "in", Direction::Ingress, Fake::plan("source", &source, Behaviour::Source));
        stream.log = StreamOptions { bounds, ..StreamOptions::new(durability) };
        let out = StreamPlan::new("out", "out", Direction::Egress, Fake::plan("sink", &sink, Behaviour::Sink));
        let mut pipeline = PipelinePlan::new("p", "p", "in", "out");
        pipeline.retry.backoff = BackoffPolicy { first: Duration::from_millis(1), longest: Duration::from_millis(4) };
        let plan = Plan { streams: vec![stream, out], pipelines: vec![pipeline], ..Plan::default() };
        Self { flow: Flow::start(options), source, sink, letters, letters_full, plan }
    }

    pub(crate) fn step(
        &mut self,
        name: &str,
        world: &Arc<World>,
        function: impl Fn(&Batch) -> Result<Transformed, CallError> + Send + Sync + 'static,
    ) {
        let guest = Fake::plan(name, world, Behaviour::Function(Arc::new(function)));
        self.plan.pipelines[0].steps.push(StepPlan::new(name, guest));
    }

    pub(crate) async fn apply(&self) {
        self.flow.apply(self.plan.clone()).await.unwrap();
    }

    /// Applies the plan, and waits until the pipeline reads.
    pub(crate) async fn start(&self) {
        self.apply().await;
        self.until("the source is open", |_| self.source.opened.load(SeqCst) > 0).await;
    }

    pub(crate) fn publish(&self, count: usize) {
        self.publish_range(0..count);
    }

    pub(crate) fn publish_range(&self, range: std::ops::Range<usize>) {
        self.source.publish(range.map(|index| (format!("k{}", index % 5), format!("{index}"))));
    }

    pub(crate) fn pipeline(&self) -> PipelineSnapshot {
        self.flow.snapshot().pipelines.get("p").unwrap().clone()
    }

    pub(crate) fn stream(&self, uid: &str) -> StreamSnapshot {
        self.flow.snapshot().streams.get(uid).unwrap().clone()
    }

    /// Waits for a condition, with a deadline.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&FlowSnapshot) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let snapshot = self.flow.snapshot();
            if condition(&snapshot) {
                return;
            }
            assert!(Instant::now() < deadline, "never: {what}; {snapshot:#?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn until_settled(&self, count: u64) {
        self.until("settled", |_| self.source.settled() >= count).await;
        assert_eq!(self.source.settled(), count);
    }
}

/// Payloads in order, each once: what a sink has if every record was delivered once.
pub(crate) fn numbers(range: std::ops::Range<usize>) -> BTreeSet<String> {
    range.map(|index| index.to_string()).collect()
}

/// Dead letters that are full at times.
struct BoundedLetters {
    letters: Arc<MemoryDeadLetters>,
    full: Arc<AtomicBool>,
}

#[async_trait]
impl DeadLetters for BoundedLetters {
    async fn store(&self, letters: Vec<DeadLetter>) -> Result<(), String> {
        if self.full.load(SeqCst) { Err("full".to_owned()) } else { self.letters.store(letters).await }
    }
}

/// What the next appends to a log answer.
pub(crate) type Refusals = Arc<Mutex<VecDeque<LogError>>>;

/// A log that is not available at times, or slow to write, or refuses what it is given.
struct LateLog {
    log: Arc<EmbeddedLog>,
    there: Arc<AtomicBool>,
    slow: bool,
    refusals: Refusals,
}

impl LateLog {
    fn log(&self) -> Result<&EmbeddedLog, LogError> {
        if self.slow || self.there.load(SeqCst) {
            Ok(&self.log)
        } else {
            Err(LogError::Unavailable("it is late".to_owned()))
        }
    }
}

#[async_trait]
impl Log for LateLog {
    fn name(&self) -> &'static str {
        self.log.name()
    }

    fn guarantees(&self, durability: Durability) -> Guarantees {
        self.log.guarantees(durability)
    }

    fn configure(&self, stream: &Uid, options: StreamOptions) {
        self.log.configure(stream, options);
    }

    async fn append(&self, stream: &Uid, records: Batch, position: Option<Vec<u8>>) -> Result<AppendReceipt, LogError> {
        self.log()?;
        if let Some(error) = self.refusals.lock().unwrap().pop_front() {
            return Err(error);
        }
        let (log, there, stream) = (self.log.clone(), self.there.clone(), stream.clone());
        let writing = tokio::spawn(async move {
            while !there.load(SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            log.append(&stream, records, position).await
        });
        writing.await.unwrap()
    }

    async fn position(&self, stream: &Uid) -> Result<Option<Vec<u8>>, LogError> {
        self.log()?.position(stream).await
    }

    async fn reader(&self, stream: &Uid, id: ReaderId, start: StartAt) -> Result<Box<dyn LogReader>, LogError> {
        self.log()?.reader(stream, id, start).await
    }

    fn forget_reader(&self, stream: &Uid, name: &str) {
        self.log.forget_reader(stream, name);
    }

    fn usage(&self, stream: &Uid) -> Usage {
        self.log.usage(stream)
    }

    fn remove(&self, stream: &Uid) {
        self.log.remove(stream);
    }

    fn streams(&self) -> Vec<Uid> {
        self.log.streams()
    }

    fn readers(&self, stream: &Uid) -> Vec<String> {
        self.log.readers(stream)
    }
}
