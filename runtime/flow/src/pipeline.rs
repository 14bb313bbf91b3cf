//! The task of a pipeline: obeys orders, reads from the log, and hands records to its functions. What comes of them then is in
//! `deliver`.

mod deliver;
mod intake;
mod outputs;
mod requests;
mod sources;

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ferrule_model::ids::Uid;
use ferrule_model::record::Column;
use ferrule_transport::{Entries, Log, LogError};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::acks::Acks;
use crate::backoff::{Backoff, BackoffPolicy, Jitter};
use crate::dead_letter::DeadLetters;
use crate::delivery::{Delivery, KeyOrder, Policy};
use crate::error::FlowError;
use crate::functions::{Functions, FunctionsLink, Passed};
use crate::letters::Letters;
use crate::lot::Lot;
use crate::pipeline_shared::PipelineShared;
use crate::plan::PipelinePlan;
use crate::replay::{Replaying, Request, RewindTo};
use crate::sink::{Origin, SinkLink, SinkReply};
use intake::{Absent, SourceSide, attach};
use outputs::Outputs;
use sources::Sources;

/// How long a changed pipeline tries to finish what is under way before it starts over with it.
const TURN: Duration = Duration::from_secs(2);

/// How often a pipeline that reads nothing looks at what has come meanwhile, so that its lag is known.
const LOOK: Duration = Duration::from_secs(1);

/// What a pipeline is to do now. Level-based: only the last order counts.
#[derive(Clone, Debug)]
pub(crate) struct PipelineOrder {
    pub(crate) plan: Arc<PipelinePlan>,
    /// For each source of the plan its tracker.
    pub(crate) sources: Vec<Arc<Acks>>,
    /// For each sink of the plan the way to it; none while there is no such stream.
    pub(crate) sinks: Vec<Option<SinkLink>>,
    /// Take what is in the log now, and no more.
    pub(crate) draining: bool,
    /// How often draining was asked for: each time takes what is in the log then.
    pub(crate) asked: u64,
    /// It ends. What it has not done waits in the log until it runs again, or nobody knows it any more.
    pub(crate) end: bool,
}

impl PipelineOrder {
    fn same_way(&self, other: &Self) -> bool {
        let same_link = |pair: (&Option<SinkLink>, &Option<SinkLink>)| match pair {
            (Some(one), Some(two)) => one.is_same(two),
            (None, None) => true,
            _ => false,
        };
        self.plan.same_way(&other.plan)
            && self.sources.iter().zip(&other.sources).all(|(one, two)| Arc::ptr_eq(one, two))
            && self.sinks.iter().zip(&other.sinks).all(same_link)
    }
}

/// What a pipeline needs of its surroundings.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) dead_letters: Arc<dyn DeadLetters>,
    pub(crate) restart: BackoffPolicy,
}

/// Letters that are to begin at a step.
struct Offer {
    step: usize,
    replay: u64,
    letters: Range<usize>,
}

struct SinkSide {
    link: Option<SinkLink>,
    origin: Arc<Origin>,
}

/// Records of one batch of one source, while any of them is under way.
struct Held {
    lot: Lot,
    taken: Arc<Taken>,
}

/// Where records came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// This source.
    Source(usize),
    /// Letters that are offered again, by the number of the request.
    Replay(u64),
}

/// A batch as it was taken in.
#[derive(Clone)]
struct Taken {
    from: From,
    /// Of letters: the index of the first.
    first_offset: u64,
    partition: u32,
    upstream_ids: Column,
    /// Rows that went no further because their ids were seen before, in order.
    duplicates: Vec<u32>,
    size: usize,
}

/// The task's state.
pub(crate) struct Pipeline {
    orders: watch::Receiver<PipelineOrder>,
    order: PipelineOrder,
    around: Surroundings,
    shared: Arc<PipelineShared>,
    sources: Sources,
    sinks: Vec<SinkSide>,
    reply: mpsc::UnboundedSender<SinkReply>,
    replies: mpsc::UnboundedReceiver<SinkReply>,
    delivery: Delivery,
    outputs: Outputs,
    functions: Option<FunctionsLink>,
    /// The batch that is with the functions.
    staged: Option<(Arc<Taken>, usize)>,
    /// The functions ended by themselves: when the pipeline starts over with what they had in hand.
    restart: Option<Instant>,
    backoff: Backoff,
    letters: Letters,
    requests: mpsc::UnboundedReceiver<Request>,
    /// Letters that are offered again, by the number of the request.
    replays: BTreeMap<u64, Replaying>,
    next_replay: u64,
    /// Parts of them that wait for their step.
    offers: VecDeque<Offer>,
    begun: Instant,
    last_sample: Option<Instant>,
    /// Since when a record may be in retry, and when that was looked at.
    postponed: Option<Duration>,
    looked: Instant,
    /// A change waits for what is under way, until this time.
    turning: Option<Instant>,
    /// Streams that are not read yet, and when the log is asked for them again.
    absent: Vec<Absent>,
    ask_at: Option<Instant>,
    /// Why a stream is not read at all, and when that is tried again.
    unread: Option<(String, Option<Instant>)>,
}

enum Event {
    Order,
    Reply(Option<SinkReply>),
    Functions(Option<Passed>),
    Entries(usize, Box<Result<Entries, LogError>>),
    Stored,
    Request(Option<Request>),
    Wake,
}

impl Pipeline {
    pub(crate) fn new(
        orders: watch::Receiver<PipelineOrder>,
        around: Surroundings,
        shared: Arc<PipelineShared>,
        requests: mpsc::UnboundedReceiver<Request>,
    ) -> Self {
        let order = orders.borrow().clone();
        let (reply, replies) = mpsc::unbounded_channel();
        let letters = Letters::new(around.dead_letters.clone(), around.restart.clone(), shared.clone());
        Self {
            delivery: Delivery::new(policy(&order.plan), 0, 0, Jitter::for_name(&order.plan.name)),
            backoff: Backoff::new(around.restart.clone(), Jitter::for_name(&order.plan.name)),
            orders,
            order,
            around,
            shared,
            sources: Sources::default(),
            sinks: Vec::new(),
            reply,
            replies,
            outputs: Outputs::default(),
            functions: None,
            staged: None,
            restart: None,
            letters,
            requests,
            replays: BTreeMap::new(),
            next_replay: 0,
            offers: VecDeque::new(),
            begun: Instant::now(),
            last_sample: None,
            postponed: None,
            looked: Instant::now(),
            turning: None,
            absent: Vec::new(),
            ask_at: None,
            unread: None,
        }
    }

    /// Runs until the order says that it ends.
    pub(crate) async fn run(mut self) {
        self.rebuild(None).await;
        loop {
            let order = self.orders.borrow_and_update().clone();
            if order.end {
                break;
            }
            self.obey(order).await;
            if self.restart.is_some_and(|at| at <= Instant::now()) {
                self.rebuild(None).await;
            }
            if self.ask_at.is_some_and(|at| at <= Instant::now()) {
                self.attach().await;
            }
            let now = self.begun.elapsed();
            self.hear();
            for done in self.delivery.expire(now) {
                self.finish(done);
            }
            self.write(now);
            self.letters.send();
            self.offer_again();
            self.sources.commit();
            self.publish();
            let event = self.event().await;
            self.handle(event).await;
        }
        self.end().await;
    }

    async fn end(mut self) {
        if let Some(functions) = self.functions.take()
            && let Some(functions) = functions.end().await
        {
            functions.close().await;
        }
        self.hear();
        self.sources.commit();
        self.publish();
        self.shared.stopped();
    }

    /// Takes over a new order; one that changes the way of records waits for those under way.
    async fn obey(&mut self, order: PipelineOrder) {
        self.delivery.set_policy(policy(&order.plan));
        let asked = order.asked != self.order.asked;
        if order.same_way(&self.order) {
            self.turning = None;
            self.delivery.set_flushing(order.draining);
            self.order = order;
            self.set_ends(asked);
            return;
        }
        let limit = *self.turning.get_or_insert_with(|| Instant::now() + TURN);
        self.delivery.set_flushing(true);
        if self.in_hand() > 0 && Instant::now() < limit {
            return;
        }
        self.turning = None;
        self.order = order;
        self.rebuild(None).await;
        self.set_ends(asked);
    }

    /// Draining ends at what the log has when it is asked for.
    fn set_ends(&mut self, asked: bool) {
        for source in self.sources.iter_mut() {
            if !self.order.draining {
                source.until = None;
            } else if asked {
                source.until = Some(source.reader.position() + source.reader.lag().records);
            }
        }
    }

    /// Starts over with what is not done, as the order in force says; or from somewhere else. Why a stream cannot be read now, if so.
    async fn rebuild(&mut self, rewind: Option<RewindTo>) -> Option<FlowError> {
        let former = match self.functions.take() {
            Some(functions) => functions.end().await,
            None => None,
        };
        self.hear();
        self.sources.commit();
        let order = self.order.clone();
        let plan = &order.plan;
        (self.staged, self.restart) = (None, None);
        self.outputs.clear();
        self.letters.forget();
        // Whoever waits for these is told by the end of the channel that they are not known to be done.
        self.replays.clear();
        self.offers.clear();
        let sinks = order.sinks.len();
        self.delivery = Delivery::new(policy(plan), sinks, self.delivery.next_id(), Jitter::for_name(&plan.name));
        self.delivery.set_flushing(order.draining);
        let origin = |sink| Arc::new(Origin { reply: self.reply.clone(), sink });
        self.sinks = order
            .sinks
            .iter()
            .enumerate()
            .map(|(sink, link)| SinkSide { link: link.clone(), origin: origin(sink) })
            .collect();
        let before = std::mem::take(&mut self.sources);
        self.unread = None;
        let ends: Vec<(Uid, Option<u64>)> = before.iter().map(|side| (side.uid.clone(), side.until)).collect();
        drop(before);
        let absent = plan.sources.iter().zip(&order.sources).map(|(uid, acks)| {
            let until = ends.iter().find(|(other, _)| other == uid).and_then(|(_, until)| *until);
            Absent { uid: uid.clone(), acks: acks.clone(), rewind, until, since: None }
        });
        self.absent = absent.collect();
        let unread = self.attach().await;
        let steps = self.shared.set_steps(plan);
        if !plan.steps.is_empty() {
            let functions = Functions::new(plan, &steps, &self.around.restart, former);
            self.functions = Some(FunctionsLink::start(functions));
        } else if let Some(former) = former {
            former.close().await;
        }
        unread
    }

    /// Begins to read the streams that are not read yet; where the log is not available, it is asked again soon. Says what failed.
    async fn attach(&mut self) -> Option<FlowError> {
        let mut failed = None;
        (self.ask_at, self.unread) = (None, None);
        for mut absent in std::mem::take(&mut self.absent) {
            match attach(&self.around.log, &self.order.plan, &mut absent).await {
                Ok(mut side) => {
                    // One that comes while draining brings nothing.
                    side.until = self.order.draining.then(|| absent.until.unwrap_or(side.reader.position()));
                    self.sources.push(side);
                }
                Err(error) => {
                    let what = format!("stream {} cannot be read: {error}", absent.uid);
                    self.shared.error(what.clone());
                    if matches!(error, FlowError::Log(LogError::Unavailable(_))) {
                        self.absent.push(absent);
                        self.ask_at = Some(Instant::now() + LOOK);
                    }
                    self.unread = Some((what, self.ask_at));
                    failed = Some(error);
                }
            }
        }
        failed
    }

    /// Records and letters that are under way.
    fn in_hand(&self) -> usize {
        let replays: usize = self.replays.values().map(|replaying| replaying.progress.open()).sum();
        self.sources.open() + replays
    }

    async fn event(&mut self) -> Event {
        let readable = self.may_read();
        let now = self.begun.elapsed();
        let wake = self.next_wake(now);
        let max_records = self.read_limit();
        let plan = self.order.plan.clone();
        let staged = self.staged.is_some();
        tokio::select! {
            _ = self.orders.changed() => Event::Order,
            reply = self.replies.recv() => Event::Reply(reply),
            result = functions_result(&mut self.functions), if staged => Event::Functions(result),
            (source, entries) = self.sources.next(max_records, plan.batch.bytes), if readable => {
                Event::Entries(source, Box::new(entries))
            }
            () = self.letters.stored() => Event::Stored,
            request = self.requests.recv() => Event::Request(request),
            () = any_changed(&mut self.sinks) => Event::Wake,
            () = sleep_until(wake.map(|wake| self.begun + wake)) => Event::Wake,
            () = tokio::time::sleep(LOOK), if !readable || self.postponed.is_some() => Event::Wake,
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Request(Some(request)) => self.request(request).await,
            // The flow is gone, and ends this task.
            Event::Request(None) => {}
            Event::Order | Event::Wake => {}
            Event::Reply(reply) => {
                if let Some(reply) = reply {
                    self.reply(reply);
                }
            }
            Event::Functions(Some(passed)) => {
                self.backoff.reset();
                if let Some((taken, count)) = self.staged.take() {
                    self.passed(&taken, count, passed);
                }
            }
            Event::Functions(None) => self.functions_ended(),
            Event::Entries(source, entries) => match *entries {
                Ok(entries) => self.take(source, entries),
                Err(error) => {
                    if let Some(said) = self.sources.failed(source, &error) {
                        self.shared.error(said);
                    }
                }
            },
            Event::Stored => {
                for burden in self.letters.take_stored() {
                    self.relieve(&burden);
                }
            }
        }
    }

    fn may_read(&self) -> bool {
        !self.order.plan.held
            && self.is_free()
            && self.read_limit() > 0
            && self.sources.iter().any(SourceSide::is_readable)
    }

    /// Whether records may begin their way.
    fn is_free(&self) -> bool {
        self.staged.is_none() && self.turning.is_none() && self.restart.is_none()
    }

    /// The functions are gone, which nobody asked for: what is not done is taken again.
    fn functions_ended(&mut self) {
        self.staged = None;
        let wait = self.backoff.fail();
        self.restart = Some(Instant::now() + wait);
        let wait = wait.as_secs_f64();
        self.shared.error(format!("the functions ended unexpectedly; what is not done is taken again in {wait:.1} s"));
    }

    fn read_limit(&self) -> u32 {
        let staged = self.staged.as_ref().map_or(0, |(taken, _)| taken.size);
        if (self.outputs.bytes() + staged) as u64 >= self.order.plan.batch.window_bytes {
            return 0;
        }
        let batch = &self.order.plan.batch;
        let room = (batch.window as usize).max(batch.records as usize).saturating_sub(self.in_hand());
        u32::try_from(room).unwrap_or(u32::MAX).min(batch.records.max(1))
    }

    fn next_wake(&self, now: Duration) -> Option<Duration> {
        let ready = |side: &SinkSide| side.link.as_ref().is_some_and(|link| link.status.borrow().ready);
        let sinks = self.sinks.iter().enumerate().filter(|(_, side)| ready(side));
        let deliveries = sinks.filter_map(|(sink, _)| self.delivery.next_wake(sink));
        let turning = self.turning.map(|limit| limit.saturating_duration_since(self.begun));
        let asking = self.ask_at.into_iter().chain(self.sources.next_look()).chain(self.restart);
        let again = self.sources.next_try();
        let again = again.chain(asking).map(|again| again.saturating_duration_since(self.begun));
        deliveries.chain(self.delivery.next_expiry()).chain(turning).chain(again).min().map(|wake| wake.max(now))
    }

    /// Records came from the log.
    fn take(&mut self, source: usize, entries: Entries) {
        let Some(side) = self.sources.get_mut(source) else { return };
        side.take(&entries);
        let Entries { partition, first_offset, records, appended_ms } = entries;
        let count = records.len();
        let size = records.size();
        let upstream_ids = records.upstream_ids.clone();
        let mut lot = Lot::input(records);
        let duplicates = side.look(&upstream_ids, first_offset, appended_ms);
        if !duplicates.is_empty() {
            self.shared.duplicates(duplicates.len() as u64);
            let rest: Vec<u32> = (0..count as u32).filter(|row| duplicates.binary_search(row).is_err()).collect();
            lot = lot.select(&rest).unwrap_or_default();
        }
        let from = From::Source(source);
        let taken = Arc::new(Taken { from, first_offset, partition, upstream_ids, duplicates, size });
        if !self.order.plan.sampling.is_zero() {
            lot = self.sample(lot);
        }
        self.begin(0, taken, count, lot);
    }

    /// Hands records to the step `from`, or to the sink if there are no more.
    fn begin(&mut self, from: usize, taken: Arc<Taken>, count: usize, lot: Lot) {
        if lot.is_empty() {
            return self.passed(&taken, count, Passed::default());
        }
        match &self.functions {
            Some(functions) if from < self.order.plan.steps.len() => {
                if functions.offer(from, lot) {
                    self.staged = Some((taken, count));
                } else {
                    self.functions_ended();
                }
            }
            _ => {
                let exits = vec![crate::functions::Exit { sink: 0, lot }];
                self.passed(&taken, count, Passed { exits, refused: Vec::new() });
            }
        }
    }

    /// At most one record in the interval goes on.
    fn sample(&mut self, lot: Lot) -> Lot {
        let now = Instant::now();
        let due = self.last_sample.is_none_or(|last| now >= last + self.order.plan.sampling);
        if !due {
            return Lot::default();
        }
        if lot.is_empty() {
            return lot;
        }
        self.last_sample = Some(now);
        lot.select(&[0]).unwrap_or_default()
    }

    fn publish(&mut self) {
        let lag = self.sources.lag();
        self.look_at_retries();
        let drained = self.order.draining
            && self.in_hand() == 0
            && (self.order.plan.held || self.sources.iter().all(|side| side.until.is_none() || side.is_drained()));
        let missing = self.sinks.iter().any(|side| side.link.is_none());
        let waiting = self.sinks.iter().filter_map(|side| side.link.as_ref()).find(|link| !link.status.borrow().ready);
        let trouble = self.sources.trouble().chain(&self.unread);
        let trouble = trouble.min_by_key(|(_, again)| again.is_some());
        let (state, detail) = match () {
            () if let Some((what, None)) = trouble => ("failed", what.clone()),
            () if let Some((what, Some(_))) = trouble => ("waiting", what.clone()),
            () if missing => ("waiting", "a sink stream of this pipeline does not run".to_owned()),
            () if self.order.plan.held => ("paused", String::new()),
            () => match waiting {
                Some(link) => ("waiting", format!("the sink stream {} takes nothing now", link.name)),
                None => ("running", String::new()),
            },
        };
        self.shared.publish(state, detail, lag, self.in_hand() as u64, if drained { self.order.asked } else { 0 });
    }
}

fn policy(plan: &PipelinePlan) -> Policy {
    Policy {
        batch_records: plan.batch.records.max(1) as usize,
        batch_bytes: usize::try_from(plan.batch.bytes).unwrap_or(usize::MAX),
        linger: plan.batch.linger,
        window: plan.batch.window.max(1) as usize,
        window_bytes: usize::try_from(plan.batch.window_bytes).unwrap_or(usize::MAX),
        key_order: KeyOrder::default(),
        backoff: plan.retry.backoff.clone(),
        attempts: plan.retry.attempts,
        age: plan.retry.age,
    }
}

async fn functions_result(functions: &mut Option<FunctionsLink>) -> Option<Passed> {
    match functions {
        Some(functions) => functions.result().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Ready when the status of any sink changes from what was seen last.
async fn any_changed(sinks: &mut [SinkSide]) {
    let mut changes: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::with_capacity(sinks.len());
    for link in sinks.iter_mut().filter_map(|side| side.link.as_mut()) {
        changes.push(Box::pin(async move {
            // A sink that is gone changes no more.
            if link.status.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
    }
    poll_fn(|context| {
        let changed = changes.iter_mut().any(|change| change.as_mut().poll(context).is_ready());
        if changed { Poll::Ready(()) } else { Poll::Pending }
    })
    .await
}
