//! The handle: takes plans, starts, changes and stops what differs, and tells how everything is doing.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferrule_model::component::Direction;
use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;
use ferrule_transport::{Durability, Guarantees, Log, Usage};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::acks::Acks;
use crate::alerts::{DROPPING, Drops};
use crate::audit::{Audit, AuditReport};
use crate::backoff::BackoffPolicy;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::error::FlowError;
use crate::logs::LogFeed;
use crate::pipeline::{Pipeline, PipelineOrder, Surroundings};
use crate::pipeline_shared::PipelineShared;
use crate::plan::{PipelinePlan, Plan, StreamPlan};
use crate::replay::{Replayed, Request, RewindTo};
use crate::session::{Keeper, Order};
use crate::shared::Shared;
use crate::sink::{Sink, SinkLink};
use crate::snapshot::{FlowSnapshot, StreamSnapshot};
use crate::source::{Pull, Source};
use crate::tail::{TailRecord, TailTarget};
use crate::trial::{self, TrialStep};

/// How often rates are sampled.
const SAMPLING: Duration = Duration::from_secs(1);

/// How long a task may take to end by itself; the host bounds every call of a guest below it.
const ENDING: Duration = Duration::from_secs(30);

/// What a flow needs.
#[derive(Clone)]
pub struct FlowOptions {
    /// Where records are between sources and pipelines.
    pub log: Arc<dyn Log>,
    /// Where records go that are given up.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// The wait before a guest is opened again.
    pub restart: BackoffPolicy,
    /// Records that one call to a source may bring.
    pub pull_records: u32,
    /// Bytes that one call to a source may bring.
    pub pull_bytes: u32,
    /// Keeps what guests reached for.
    pub audit: Arc<Audit>,
}

impl FlowOptions {
    /// The usual options with this log and these dead letters.
    pub fn new(log: Arc<dyn Log>, dead_letters: Arc<dyn DeadLetters>) -> Self {
        Self {
            log,
            dead_letters,
            restart: BackoffPolicy::default(),
            pull_records: 1_000,
            pull_bytes: 1 << 20,
            audit: Arc::default(),
        }
    }
}

/// The data plane. Cloning shares it.
#[derive(Clone)]
pub struct Flow(Arc<Inner>);

struct Inner {
    options: FlowOptions,
    /// One plan is applied at a time.
    applying: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    ticker: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    streams: HashMap<Uid, StreamHandle>,
    pipelines: HashMap<Uid, PipelineHandle>,
    acks: HashMap<Uid, Arc<Acks>>,
    stopped: bool,
    /// How everything did in the end, once it has stopped.
    last: Option<FlowSnapshot>,
}

struct StreamHandle {
    orders: watch::Sender<Order>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    way: Way,
    drops: Mutex<Drops>,
}

/// Which way a stream goes, and how to reach it there.
enum Way {
    /// A source: which order to drain it has obeyed, so that nothing more comes from it.
    In(watch::Receiver<u64>),
    /// A sink: how to write to it.
    Out(SinkLink),
}

struct PipelineHandle {
    orders: watch::Sender<PipelineOrder>,
    requests: mpsc::UnboundedSender<Request>,
    shared: Arc<PipelineShared>,
    task: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

impl Flow {
    /// A flow in which nothing runs yet. Must be called within a Tokio runtime.
    pub fn start(options: FlowOptions) -> Self {
        Self(Arc::new_cyclic(|inner: &std::sync::Weak<Inner>| {
            let inner = inner.clone();
            let ticker = tokio::spawn(async move {
                let mut ticks = tokio::time::interval(SAMPLING);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    let Some(inner) = inner.upgrade() else { continue };
                    inner.sample();
                }
            });
            Inner { options, applying: tokio::sync::Mutex::default(), state: Mutex::default(), ticker }
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }

    /// Makes what runs be what the plan says: starts, changes and stops only what differs. Returns when what is gone has closed and
    /// everything else was told; what starts may still be connecting.
    pub async fn apply(&self, plan: Plan) -> Result<(), FlowError> {
        let _one_at_a_time = self.0.applying.lock().await;
        let (mut pipelines, mut streams) = {
            let mut state = self.state();
            if state.stopped {
                return Err(FlowError::Stopped);
            }
            (state.take_gone_pipelines(&plan), state.take_gone_streams(&plan))
        };
        // Pipelines first, so that a stream's last reader is gone before it closes.
        end_pipelines(&mut pipelines).await;
        end_streams(&mut streams).await;
        let mut state = self.state();
        state.forget(&plan, &*self.0.options.log);
        for stream in plan.streams {
            self.0.apply_stream(&mut state, stream);
        }
        for pipeline in plan.pipelines {
            self.0.apply_pipeline(&mut state, pipeline);
        }
        Ok(())
    }

    /// What the log promises for streams that ask for this durability.
    pub fn guarantees(&self, durability: Durability) -> Guarantees {
        self.0.options.log.guarantees(durability)
    }

    /// How everything is doing; after [`Flow::stop`] how it did in the end.
    pub fn snapshot(&self) -> FlowSnapshot {
        let state = self.state();
        let now = || self.0.snapshot(&state, state.streams.iter(), state.pipelines.iter());
        state.last.clone().unwrap_or_else(now)
    }

    /// Records as they pass, from now on. A watcher that is too slow misses some and is told how many.
    pub fn tail(&self, target: &TailTarget) -> Result<broadcast::Receiver<Arc<TailRecord>>, FlowError> {
        let state = self.state();
        Ok(match target {
            TailTarget::Stream(uid) => state.stream(uid)?.shared.tail.subscribe(),
            TailTarget::Pipeline(uid) => state.pipeline(uid)?.shared.tail.subscribe(),
            TailTarget::Step(uid, step) => state.pipeline(uid)?.step(step)?.tail.subscribe(),
        })
    }

    /// What guests reached for, and what was decided.
    pub fn audit(&self) -> AuditReport {
        self.0.options.audit.report()
    }

    /// What a stream's guest logged last, and what it logs from now on.
    pub fn logs(&self, stream: &Uid) -> Result<LogFeed, FlowError> {
        Ok(self.state().stream(stream)?.shared.logs.feed())
    }

    /// What a step's guest logged last, and what it logs from now on.
    pub fn step_logs(&self, pipeline: &Uid, step: &str) -> Result<LogFeed, FlowError> {
        Ok(self.state().pipeline(pipeline)?.step(step)?.logs.feed())
    }

    /// Takes records through the functions of a pipeline, in instances of their own. Nothing else happens.
    pub async fn trial(&self, pipeline: &Uid, records: Batch) -> Result<Vec<TrialStep>, FlowError> {
        let plan = self.state().pipeline(pipeline)?.orders.borrow().plan.clone();
        Ok(trial::run(&plan, records, &self.0.options.audit).await)
    }

    /// As [`Flow::trial`], for a pipeline that does not run here.
    pub async fn trial_of(&self, plan: &PipelinePlan, records: Batch) -> Vec<TrialStep> {
        trial::run(plan, records, &self.0.options.audit).await
    }

    /// Offers dead letters to their pipeline again, each at the step or sink where it was given up and with its own id. Says,
    /// in their order, what became of each, once that is known of all. After an error nothing is known to be done; to ask
    /// again is safe: what was delivered is then delivered once more, with the same id.
    pub async fn replay(&self, pipeline: &Uid, letters: Vec<DeadLetter>) -> Result<Vec<Replayed>, FlowError> {
        let (answer, answered) = oneshot::channel();
        self.ask(pipeline, Request::Replay(letters, answer))?;
        answered.await.unwrap_or(Err(FlowError::Interrupted))
    }

    /// Has a pipeline read its streams again from somewhere else; what it has in hand is forgotten. Says from which offset it
    /// reads each stream.
    pub async fn rewind(&self, pipeline: &Uid, to: RewindTo) -> Result<Vec<(Uid, u64)>, FlowError> {
        let (answer, answered) = oneshot::channel();
        self.ask(pipeline, Request::Rewind(to, answer))?;
        answered.await.unwrap_or(Err(FlowError::Interrupted))
    }

    fn ask(&self, pipeline: &Uid, request: Request) -> Result<(), FlowError> {
        self.state().pipeline(pipeline)?.requests.send(request).map_err(|_| FlowError::Interrupted)
    }

    /// Stops intake and waits until what was taken in is done. A stream then takes nothing, and a pipeline no more from its log,
    /// until [`Flow::resume`].
    pub async fn drain(&self, uid: &Uid, within: Duration) -> Result<(), FlowError> {
        let limit = tokio::time::Instant::now() + within;
        let waiting: Vec<Waiting> = {
            let state = self.state();
            match (state.streams.get(uid), state.pipelines.get(uid)) {
                (Some(stream), _) => {
                    let intake = stream.drain();
                    let acks = state.acks.get(uid).filter(|_| intake.is_some());
                    intake.into_iter().chain(acks.map(|acks| Waiting::Settled(acks.pending()))).collect()
                }
                (None, Some(pipeline)) => vec![pipeline.drain()],
                (None, None) => return Err(FlowError::Unknown(uid.clone())),
            }
        };
        if all_done(waiting, limit).await { Ok(()) } else { Err(FlowError::NotDrained(within)) }
    }

    /// Ends [`Flow::drain`].
    pub fn resume(&self, uid: &Uid) -> Result<(), FlowError> {
        let state = self.state();
        match (state.streams.get(uid), state.pipelines.get(uid)) {
            (Some(stream), _) => stream.orders.send_modify(|order| order.draining = false),
            (None, Some(pipeline)) => pipeline.orders.send_modify(|order| order.draining = false),
            (None, None) => return Err(FlowError::Unknown(uid.clone())),
        }
        Ok(())
    }

    /// Stops everything: intake first, then what is under way is delivered for at most `within`, then all close. `Ok` if
    /// everything was delivered; what was not is not settled.
    pub async fn stop(&self, within: Duration) -> Result<(), FlowError> {
        let _one_at_a_time = self.0.applying.lock().await;
        let limit = tokio::time::Instant::now() + within;
        // A source may hand over one more record while it stops; pipelines end at what is in the log after that.
        let intakes: Vec<Waiting> = {
            let mut state = self.state();
            state.stopped = true;
            // One that was drained before takes up again what sources wait to hand over.
            for pipeline in state.pipelines.values() {
                pipeline.orders.send_if_modified(|order| std::mem::take(&mut order.draining));
            }
            state.streams.values().filter_map(StreamHandle::drain).collect()
        };
        let mut delivered = all_done(intakes, limit).await;
        if delivered {
            let rest: Vec<Waiting> = {
                let state = self.state();
                let drained = state.pipelines.values().map(PipelineHandle::drain);
                let sources = state.streams.iter().filter(|(_, stream)| matches!(stream.way, Way::In(_)));
                let acks = sources.filter_map(|(uid, _)| state.acks.get(uid));
                drained.chain(acks.map(|acks| Waiting::Settled(acks.pending()))).collect()
            };
            delivered = all_done(rest, limit).await;
        }
        let (mut pipelines, mut streams): (Vec<_>, Vec<_>) = {
            let mut state = self.state();
            let now = self.0.snapshot(&state, state.streams.iter(), state.pipelines.iter());
            state.last = Some(now);
            (state.pipelines.drain().collect(), state.streams.drain().collect())
        };
        end_pipelines(&mut pipelines).await;
        end_streams(&mut streams).await;
        let mut state = self.state();
        let (streams, pipelines) =
            (streams.iter().map(|(uid, one)| (uid, one)), pipelines.iter().map(|(uid, one)| (uid, one)));
        state.last = Some(self.0.snapshot(&state, streams, pipelines));
        drop(state);
        if delivered { Ok(()) } else { Err(FlowError::NotDrained(within)) }
    }
}

enum Waiting {
    /// All that a source gave is settled.
    Settled(watch::Receiver<usize>),
    /// This order to drain, or a later one, is obeyed.
    Obeyed(watch::Receiver<u64>, u64),
}

impl Waiting {
    async fn done(&mut self) {
        // Whoever is gone has nothing under way.
        match self {
            Self::Settled(pending) => drop(pending.wait_for(|pending| *pending == 0).await),
            Self::Obeyed(obeyed, asked) => drop(obeyed.wait_for(|obeyed| *obeyed >= *asked).await),
        }
    }
}

/// Waits for all of them; `false` if the time runs out.
async fn all_done(waiting: Vec<Waiting>, limit: tokio::time::Instant) -> bool {
    for mut waiting in waiting {
        if tokio::time::timeout_at(limit, waiting.done()).await.is_err() {
            return false;
        }
    }
    true
}

async fn end_pipelines(pipelines: &mut [(Uid, PipelineHandle)]) {
    for (_, pipeline) in &*pipelines {
        pipeline.orders.send_modify(|order| order.end = true);
    }
    end(pipelines.iter_mut().map(|(uid, pipeline)| (&*uid, &mut pipeline.task))).await;
}

async fn end_streams(streams: &mut [(Uid, StreamHandle)]) {
    for (_, stream) in &*streams {
        stream.orders.send_modify(|order| order.stop = true);
    }
    end(streams.iter_mut().map(|(uid, stream)| (&*uid, &mut stream.task))).await;
}

/// Waits for tasks to end by themselves; one that does not is cut off.
async fn end(tasks: impl Iterator<Item = (&Uid, &mut JoinHandle<()>)>) {
    let limit = tokio::time::Instant::now() + ENDING;
    for (uid, task) in tasks {
        if tokio::time::timeout_at(limit, &mut *task).await.is_err() {
            tracing::error!(%uid, "did not end within {} s and is cut off", ENDING.as_secs());
            task.abort();
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot<'a>(
        &self,
        state: &State,
        streams: impl Iterator<Item = (&'a Uid, &'a StreamHandle)>,
        pipelines: impl Iterator<Item = (&'a Uid, &'a PipelineHandle)>,
    ) -> FlowSnapshot {
        let log = &*self.options.log;
        let stream =
            |(uid, stream): (&Uid, &StreamHandle)| (uid.clone(), stream.snapshot(uid, state.acks.get(uid), log));
        let pipeline = |(uid, pipeline): (&Uid, &PipelineHandle)| {
            let revision = pipeline.orders.borrow().plan.revision.0;
            (uid.clone(), pipeline.shared.snapshot(uid, revision))
        };
        let (streams, pipelines) = (streams.map(stream).collect(), pipelines.map(pipeline).collect());
        FlowSnapshot { streams, pipelines, log: log.health() }
    }

    fn sample(&self) {
        let now = Instant::now();
        let state = self.state();
        for (uid, stream) in &state.streams {
            stream.shared.meter.sample(now);
            if let Way::In(_) = stream.way {
                stream.drops().observe(now, self.options.log.usage(uid).dropped);
            }
        }
        for pipeline in state.pipelines.values() {
            pipeline.shared.sample(now);
        }
    }

    fn apply_stream(&self, state: &mut State, plan: StreamPlan) {
        let uid = plan.uid.clone();
        if plan.direction == Direction::Ingress {
            self.options.log.configure(&uid, plan.log);
            let durable = self.options.log.guarantees(plan.log.durability).durable;
            state.acks(&uid).set_lasting(durable > Durability::Process);
        }
        if let Some(stream) = state.streams.get(&uid) {
            stream.orders.send_if_modified(|order| {
                let changed = *order.plan != plan;
                order.plan = Arc::new(plan);
                changed
            });
            return;
        }
        let shared = Shared::new(plan.name.clone(), self.options.audit.clone());
        let direction = plan.direction;
        let (orders, receiver) = watch::channel(Order { plan: Arc::new(plan), draining: false, asked: 0, stop: false });
        let keeper = Keeper::new(shared.clone(), receiver, self.options.restart.clone());
        let (task, way) = if direction == Direction::Ingress {
            let acks = state.acks(&uid);
            let pull = Pull { records: self.options.pull_records, bytes: self.options.pull_bytes };
            let (log, dead_letters) = (self.options.log.clone(), self.options.dead_letters.clone());
            let (intake, obeyed) = watch::channel(0);
            let source = Source::new(uid.clone(), keeper, log, acks, dead_letters, pull, intake);
            (tokio::spawn(source.run()), Way::In(obeyed))
        } else {
            let (sink, link) = Sink::new(keeper);
            (tokio::spawn(sink.run()), Way::Out(link))
        };
        let drops = Mutex::new(Drops::since(self.options.log.usage(&uid).dropped));
        state.streams.insert(uid, StreamHandle { orders, shared, task, way, drops });
    }

    fn apply_pipeline(&self, state: &mut State, plan: PipelinePlan) {
        let uid = plan.uid.clone();
        let sources = plan.sources.iter().map(|source| state.acks(source)).collect();
        let sinks = plan.sinks().iter().map(|sink| state.streams.get(sink).and_then(StreamHandle::link)).collect();
        if let Some(pipeline) = state.pipelines.get(&uid) {
            pipeline.orders.send_modify(|order| {
                let (draining, asked, end) = (order.draining, order.asked, order.end);
                *order = PipelineOrder { plan: Arc::new(plan), sources, sinks, draining, asked, end };
            });
            return;
        }
        let shared = PipelineShared::new(plan.name.clone(), self.options.audit.clone());
        let order = PipelineOrder { plan: Arc::new(plan), sources, sinks, draining: false, asked: 0, end: false };
        let (orders, receiver) = watch::channel(order);
        let around = Surroundings {
            log: self.options.log.clone(),
            dead_letters: self.options.dead_letters.clone(),
            restart: self.options.restart.clone(),
        };
        let (requests, asked) = mpsc::unbounded_channel();
        let task = tokio::spawn(Pipeline::new(receiver, around, shared.clone(), asked).run());
        state.pipelines.insert(uid, PipelineHandle { orders, requests, shared, task });
    }
}

impl State {
    fn acks(&mut self, stream: &Uid) -> Arc<Acks> {
        self.acks.entry(stream.clone()).or_default().clone()
    }

    fn stream(&self, uid: &Uid) -> Result<&StreamHandle, FlowError> {
        self.streams.get(uid).ok_or_else(|| FlowError::Unknown(uid.clone()))
    }

    fn pipeline(&self, uid: &Uid) -> Result<&PipelineHandle, FlowError> {
        self.pipelines.get(uid).ok_or_else(|| FlowError::Unknown(uid.clone()))
    }

    fn take_gone_pipelines(&mut self, plan: &Plan) -> Vec<(Uid, PipelineHandle)> {
        self.pipelines.extract_if(|uid, _| !plan.pipelines.iter().any(|pipeline| pipeline.uid == *uid)).collect()
    }

    /// Streams that are not in the plan, or go the other way or under another name there.
    fn take_gone_streams(&mut self, plan: &Plan) -> Vec<(Uid, StreamHandle)> {
        let stays = |uid: &Uid, stream: &StreamHandle| {
            let now = stream.orders.borrow();
            plan.streams.iter().any(|planned| {
                planned.uid == *uid && planned.direction == now.plan.direction && planned.name == now.plan.name
            })
        };
        self.streams.extract_if(|uid, stream| !stays(uid, stream)).collect()
    }

    /// Streams and pipelines that are gone for good: what the log holds of them, and who waits for them.
    fn forget(&mut self, plan: &Plan, log: &dyn Log) {
        for (uid, acks) in &self.acks {
            for pipeline in acks.pipelines() {
                if !plan.reads(&pipeline, uid) {
                    acks.detach(&pipeline);
                    log.forget_reader(uid, pipeline.as_str());
                }
            }
        }
        self.acks.retain(|uid, _| plan.knows_stream(uid));
        for uid in log.streams() {
            if !plan.knows_stream(&uid) {
                log.remove(&uid);
                continue;
            }
            for name in log.readers(&uid) {
                if !plan.reads(&Uid::new(name.as_str()), &uid) {
                    log.forget_reader(&uid, &name);
                }
            }
        }
    }
}

impl StreamHandle {
    /// Nothing more is to come from it, or go to it but what is under way; what to wait for if it is a source.
    fn drain(&self) -> Option<Waiting> {
        let Way::In(obeyed) = &self.way else {
            self.orders.send_modify(|order| order.draining = true);
            return None;
        };
        self.orders.send_modify(|order| {
            order.draining = true;
            order.asked += 1;
        });
        Some(Waiting::Obeyed(obeyed.clone(), self.orders.borrow().asked))
    }

    fn drops(&self) -> MutexGuard<'_, Drops> {
        self.drops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self) -> Option<SinkLink> {
        match &self.way {
            Way::Out(link) => Some(link.clone()),
            Way::In(_) => None,
        }
    }

    fn snapshot(&self, uid: &Uid, acks: Option<&Arc<Acks>>, log: &dyn Log) -> StreamSnapshot {
        let order = self.orders.borrow();
        let (records, bytes) = self.shared.meter.totals();
        let (records_per_second, bytes_per_second) = self.shared.meter.rates();
        let mut guest = self.shared.snapshot();
        guest.alerts.extend(self.drops().alert().map(|alert| (DROPPING.0.to_owned(), alert)));
        StreamSnapshot {
            uid: uid.clone(),
            name: order.plan.name.clone(),
            direction: order.plan.direction,
            guest,
            records,
            bytes,
            records_per_second,
            bytes_per_second,
            replayable: self.shared.replayable(),
            unsettled: match acks {
                Some(acks) if matches!(self.way, Way::In(_)) => *acks.pending().borrow() as u64,
                _ => self.shared.unsettled.load(Relaxed),
            },
            durability: log.guarantees(order.plan.log.durability).durable,
            usage: if order.plan.direction == Direction::Ingress { log.usage(uid) } else { Usage::default() },
            revision: order.plan.revision.0,
        }
    }
}

impl PipelineHandle {
    /// It is to take what is in the log now, and no more; what to wait for.
    fn drain(&self) -> Waiting {
        self.orders.send_modify(|order| {
            order.draining = true;
            order.asked += 1;
        });
        Waiting::Obeyed(self.shared.drained(), self.orders.borrow().asked)
    }

    fn step(&self, name: &str) -> Result<Arc<Shared>, FlowError> {
        let steps = self.shared.steps();
        if let Some((_, shared)) = steps.iter().find(|(step, _)| step == name) {
            return Ok(shared.clone());
        }
        let names: Vec<&str> = steps.iter().map(|(step, _)| step.as_str()).collect();
        Err(FlowError::UnknownStep {
            pipeline: self.shared.name().to_owned(),
            step: name.to_owned(),
            steps: if names.is_empty() { "none".to_owned() } else { names.join(", ") },
        })
    }
}
