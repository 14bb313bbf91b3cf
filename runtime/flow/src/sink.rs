//! The task of an egress stream: one session of a sink, shared by the pipelines that write to it.
//!
//! Which record is written when is decided in the pipelines ([`crate::delivery`]); the sink gives records tokens of its
//! session, passes outcomes back, and tells each pipeline what was lost when a session ends.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ferrule_host::CallError;
use ferrule_model::component::Columns;
use ferrule_model::record::{Batch, Outcomes};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::delivery::{Blame, Outcome};
use crate::flights::{Flights, ranges};
use crate::guest::{Remedy, interruptible, remedy};
use crate::inbox::Inbox;
use crate::session::{Beside, Change, Keeper, Live, Opening, TURN, close, ready};
use crate::shared::Shared;
use crate::snapshot::StreamState;

/// How long one idle call lasts at most; it ends at once when there is something to write.
const IDLE_MS: u32 = 30_000;

/// How many writes are made one at a time after a crash: more than pipelines have waiting, so that each has its turn.
const CAREFUL: u32 = 256;

/// Whether records may be written, and in which session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SinkStatus {
    pub(crate) session: u64,
    pub(crate) ready: bool,
    /// What the component of the session reads of a record.
    pub(crate) reads: Columns,
}

/// How pipelines reach a sink.
#[derive(Clone, Debug)]
pub(crate) struct SinkLink {
    requests: mpsc::UnboundedSender<WriteRequest>,
    pub(crate) status: watch::Receiver<SinkStatus>,
    pub(crate) name: Arc<str>,
    shared: Arc<Shared>,
}

impl SinkLink {
    /// Hands over a batch; `false` if the sink is gone.
    pub(crate) fn write(&self, request: WriteRequest) -> bool {
        self.requests.send(request).is_ok()
    }

    /// The digest of the component that writes.
    pub(crate) fn component(&self) -> String {
        self.shared.component()
    }

    /// Whether both reach the same sink.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.requests.same_channel(&other.requests)
    }
}

/// Records of one pipeline to be written in one call.
#[derive(Debug)]
pub(crate) struct WriteRequest {
    pub(crate) origin: Arc<Origin>,
    /// The session that the pipeline believes to be open.
    pub(crate) session: u64,
    /// The records' ids, in order.
    pub(crate) ids: Vec<Range<u64>>,
    pub(crate) records: Batch,
}

/// Whom outcomes go back to.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) reply: mpsc::UnboundedSender<SinkReply>,
    /// The pipeline's own number for the sink.
    pub(crate) sink: usize,
}

/// Outcomes by the pipeline's ids.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// The sink has these.
    pub(crate) delivered: Vec<Range<u64>>,
    /// What it says of others.
    pub(crate) others: Vec<(u64, Outcome)>,
}

/// The answers for this origin.
fn answers<'a>(replies: &'a mut Vec<(Arc<Origin>, Answers)>, origin: &Arc<Origin>) -> &'a mut Answers {
    let place = replies.iter().position(|(other, _)| Arc::ptr_eq(other, origin)).unwrap_or_else(|| {
        replies.push((origin.clone(), Answers::default()));
        replies.len() - 1
    });
    &mut replies[place].1
}

/// What a pipeline hears of its records.
#[derive(Debug)]
pub(crate) enum SinkReply {
    /// Outcomes by the pipeline's ids.
    Outcomes(Answers),
    /// A session is gone, and nothing is known of these.
    Lost { sink: usize, ids: Vec<u64>, blame: Blame },
}

/// The task's state.
pub(crate) struct Sink {
    keeper: Keeper,
    inbox: Inbox<WriteRequest>,
    status: watch::Sender<SinkStatus>,
    session: u64,
    flights: Flights,
    /// A session that is being opened to take the place of the one in use, and the one that does next.
    beside: Option<Beside>,
    next: Option<Box<Live>>,
    trial: Withheld,
    /// How many writes are still made one at a time, since the guest broke: so the next crash shows on whose records.
    careful: u32,
}

/// What a component on trial rejected, until the batch shows whether that is the records' fault or its own.
#[derive(Debug, Default)]
struct Withheld {
    rejected: Vec<(Arc<Origin>, u64, String)>,
    /// It asked to be offered some again, which says nothing of it.
    postponed: bool,
}

impl Sink {
    /// A sink and the way to reach it.
    pub(crate) fn new(keeper: Keeper) -> (Self, SinkLink) {
        let (requests, inbox) = mpsc::unbounded_channel();
        let status = watch::Sender::new(SinkStatus::default());
        let shared = keeper.shared.clone();
        let link = SinkLink { requests, status: status.subscribe(), name: shared.name().into(), shared };
        let (inbox, flights) = (Inbox::new(inbox), Flights::default());
        let (beside, next, trial) = (None, None, Withheld::default());
        (Self { keeper, inbox, status, session: 0, flights, beside, next, trial, careful: 0 }, link)
    }

    /// Runs until the order says stop.
    pub(crate) async fn run(mut self) {
        loop {
            let opening = match self.next.take() {
                Some(live) => Opening::Open(live),
                None => self.keeper.open(None, std::future::pending()).await,
            };
            let Opening::Open(live) = opening else { break };
            let reads = live.plan.guest.component.artifact().description().reads;
            self.status.send_modify(|status| status.reads = reads);
            if self.serve(live).await.is_break() {
                break;
            }
            self.beside = None;
        }
        self.end_session(None);
        self.keeper.shared.set_state(StreamState::Stopped, "");
    }

    async fn serve(&mut self, mut live: Box<Live>) -> ControlFlow<()> {
        self.session += 1;
        let always_idle = live.plan.guest.component.artifact().description().flag("idle");
        loop {
            let order = self.keeper.effective();
            let change = live.change(&order);
            if !matches!(change, Change::Reopen) {
                self.beside = None;
            }
            match change {
                Change::None => {}
                Change::Configure => match live.configure(&order.plan).await {
                    Ok(false) => self.keeper.configured(&live.plan),
                    Ok(true) => return self.finish(live, true).await,
                    Err(error) => return self.broke(&live, &error, None),
                },
                Change::Stop => {
                    let _ = self.finish(live, false).await;
                    return ControlFlow::Break(());
                }
                Change::Reopen => match self.keeper.follows(&live.plan, &order) {
                    None => return self.finish(live, true).await,
                    Some(plan) => {
                        if self.beside.as_ref().is_none_or(|beside| beside.plan.guest != plan.guest) {
                            self.beside = Some(self.keeper.beside(plan, None));
                        }
                        if let Some(beside) = self.beside.take_if(|beside| beside.is_ready()) {
                            if let Ok(next) = self.keeper.take_over(beside) {
                                self.next = Some(next);
                                return self.finish(live, true).await;
                            }
                            continue;
                        }
                    }
                },
            }
            let held = order.plan.held;
            self.publish(!held);
            self.keeper.shared.set_state(if held { StreamState::Held } else { StreamState::Running }, "");
            // One batch at a time shows whether a new component works, and on which records an old one breaks.
            let alone = self.careful > 0 || self.keeper.on_trial(&live.plan);
            let one_at_a_time = self.flights.open() > 0 && alone;
            let request = if one_at_a_time { None } else { self.inbox.pop() };
            if let Some(request) = request {
                if held || request.session != self.session {
                    lose(&request.origin, request.ids.into_iter().flatten().collect(), Blame::None);
                    continue;
                }
                let (origin, ids) = (request.origin.clone(), request.ids.clone());
                match self.write(&mut live, request).await {
                    Ok(false) => {}
                    Ok(true) => return self.finish(live, false).await,
                    Err(error) => {
                        return self.broke(&live, &error, Some((origin, ids.into_iter().flatten().collect())));
                    }
                }
                continue;
            }
            let (inbox, orders, beside) = (&mut self.inbox, &mut self.keeper.orders, &mut self.beside);
            let interrupt = async {
                tokio::select! {
                    () = inbox.arrived(), if !one_at_a_time => {}
                    _ = orders.changed() => {}
                    () = ready(beside) => {}
                }
            };
            if self.flights.open() == 0 && !always_idle {
                interrupt.await;
                continue;
            }
            let answer = interruptible(live.guest.idle(IDLE_MS), &live.waker, interrupt).await;
            match answer {
                Ok(outcomes) => {
                    if self.answer(&live, outcomes) {
                        return self.finish(live, false).await;
                    }
                }
                Err(error) => return self.broke(&live, &error, None),
            }
            self.keeper.shared.set_memory(live.guest.memory_bytes());
            // A guest that returns at once although it has nothing must not take a processor.
            tokio::task::yield_now().await;
        }
    }

    /// Has the session answer for what it was given, for a while, before another takes its place.
    async fn land(&mut self, live: &mut Live) -> Result<(), CallError> {
        let limit = Instant::now() + TURN;
        while self.flights.open() > 0 && Instant::now() < limit && !self.keeper.orders.borrow().stop {
            let orders = &mut self.keeper.orders;
            let interrupt = async {
                tokio::select! {
                    () = tokio::time::sleep_until(limit) => {}
                    _ = orders.changed() => {}
                }
            };
            let outcomes = interruptible(live.guest.idle(IDLE_MS), &live.waker, interrupt).await?;
            if outcomes.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            self.answer(live, outcomes);
        }
        Ok(())
    }

    /// `true`: the component was on trial, and this was its last batch.
    async fn write(&mut self, live: &mut Live, request: WriteRequest) -> Result<bool, CallError> {
        let first = self.flights.next_token();
        let mut records = request.records;
        records.tokens = (first..first + records.len() as u64).collect();
        self.flights.begin(request.origin, request.ids, records.clone());
        self.keeper.shared.unsettled.store(self.flights.open() as u64, Relaxed);
        let tail = &self.keeper.shared.tail;
        if tail.is_watched() {
            for row in 0..records.len() {
                tail.send(&records, row, || (None, None));
            }
        }
        let orders = &mut self.keeper.orders;
        let interrupt = async {
            let _ = orders.changed().await;
        };
        let outcomes = interruptible(live.guest.write(&records), &live.waker, interrupt).await?;
        self.keeper.shared.set_memory(live.guest.memory_bytes());
        Ok(self.answer(live, outcomes))
    }

    /// Passes outcomes back to the pipelines. `true`: the component was on trial, and this was its last batch.
    fn answer(&mut self, live: &Live, outcomes: Outcomes) -> bool {
        if outcomes.is_empty() {
            return false;
        }
        let Outcomes { delivered, retry, rejected } = outcomes;
        let (mut records, mut bytes, mut unknown) = (0, 0, 0);
        let mut replies: Vec<(Arc<Origin>, Answers)> = Vec::new();
        for tokens in ranges(&delivered) {
            unknown += self.flights.land(tokens, |landed| {
                records += landed.ids.end - landed.ids.start;
                bytes += landed.bytes;
                answers(&mut replies, landed.origin).delivered.push(landed.ids);
            });
        }
        if records > 0 {
            self.keeper.worked(&live.plan);
            for (origin, id, reason) in self.trial.rejected.drain(..) {
                answers(&mut replies, &origin).others.push((id, Outcome::Rejected { reason }));
            }
        }
        let on_trial = self.keeper.on_trial(&live.plan);
        self.trial.postponed |= !retry.is_empty();
        for postponed in retry {
            let after = postponed.after_ms.map(Duration::from_millis);
            let outcome = Outcome::Retry { after, reason: postponed.reason };
            unknown += self.flights.land(one(postponed.token), |landed| {
                answers(&mut replies, landed.origin).others.push((landed.ids.start, outcome.clone()));
            });
        }
        for rejection in rejected {
            let (withheld, reason) = (&mut self.trial.rejected, rejection.reason);
            unknown += self.flights.land(one(rejection.record_ref), |landed| {
                if on_trial {
                    withheld.push((landed.origin.clone(), landed.ids.start, reason.clone()));
                } else {
                    let outcome = Outcome::Rejected { reason: reason.clone() };
                    answers(&mut replies, landed.origin).others.push((landed.ids.start, outcome));
                }
            });
        }
        if unknown > 0 {
            self.keeper.shared.error(format!("the sink answered for {unknown} records that are not in flight"));
        }
        self.keeper.shared.meter.add(records, bytes);
        self.keeper.shared.unsettled.store(self.flights.open() as u64, Relaxed);
        if self.flights.open() == 0 {
            self.careful = self.careful.saturating_sub(1);
        }
        for (origin, answers) in replies {
            // A pipeline that is gone does not want to know.
            let _ = origin.reply.send(SinkReply::Outcomes(answers));
        }
        on_trial && self.flights.open() == 0 && self.judge(live)
    }

    /// A batch of a component on trial is answered, and nothing of it was delivered: what it rejected is offered again. `true`: to
    /// the component that it took the place of.
    fn judge(&mut self, live: &Live) -> bool {
        let Withheld { rejected, postponed } = std::mem::take(&mut self.trial);
        let Some((_, _, reason)) = rejected.first() else { return false };
        let why = format!("it rejected all {} records of a batch, the first with: {reason}", rejected.len());
        let last = !postponed && self.keeper.stumbled(&live.plan, &why);
        give_back(rejected);
        last
    }

    fn broke(&mut self, live: &Live, error: &CallError, writing: Option<(Arc<Origin>, Vec<u64>)>) -> ControlFlow<()> {
        // While a component is on trial it is suspected itself, and not the records.
        let on_trial = self.keeper.on_trial(&live.plan);
        let suspects = (remedy(error) == Remedy::Suspect && !on_trial).then_some(writing);
        self.keeper.failed(live, error);
        self.keeper.shared.end_session();
        self.end_session(suspects);
        ControlFlow::Continue(())
    }

    /// Closes the session; `land`: when what it was given is answered, for which it has a while.
    async fn finish(&mut self, mut live: Box<Live>, land: bool) -> ControlFlow<()> {
        self.publish(false);
        if land && let Err(error) = self.land(&mut live).await {
            if self.next.is_none() {
                return self.broke(&live, &error, None);
            }
            tracing::debug!(stream = self.keeper.shared.name(), "the session did not end in an orderly way: {error}");
        }
        close(&self.keeper.shared, live).await;
        self.end_session(None);
        ControlFlow::Continue(())
    }

    /// Gives back what is in flight and what waits to be written. `suspects`: the guest broke, on these records or, if there
    /// are none, on anything in flight.
    fn end_session(&mut self, suspects: Option<Option<(Arc<Origin>, Vec<u64>)>>) {
        self.publish(false);
        let anything = matches!(suspects, Some(None));
        let (suspect_origin, suspect_ids) = match suspects.flatten() {
            Some((origin, ids)) => (Some(origin), ids),
            None => (None, Vec::new()),
        };
        let mut lost: Vec<(Arc<Origin>, Vec<u64>)> = Vec::new();
        for (origin, mut ids) in self.flights.end() {
            if suspect_origin.as_ref().is_some_and(|suspect| Arc::ptr_eq(suspect, &origin)) {
                ids.retain(|id| !suspect_ids.contains(id));
            }
            match lost.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &origin)) {
                Some((_, all)) => all.extend(ids),
                None => lost.push((origin, ids)),
            }
        }
        lost.retain(|(_, ids)| !ids.is_empty());
        give_back(std::mem::take(&mut self.trial).rejected);
        if anything || suspect_origin.is_some() {
            self.careful = CAREFUL;
        }
        let others = lost.len();
        for (origin, ids) in lost {
            let blame = match anything {
                true if others == 1 => Blame::Sole,
                true => Blame::Shared,
                false => Blame::None,
            };
            lose(&origin, ids, blame);
        }
        if let Some(origin) = suspect_origin {
            lose(&origin, suspect_ids, if others == 0 { Blame::Sole } else { Blame::Shared });
        }
        while let Some(request) = self.inbox.pop() {
            lose(&request.origin, request.ids.into_iter().flatten().collect(), Blame::None);
        }
        self.keeper.shared.unsettled.store(0, Relaxed);
    }

    fn publish(&self, ready: bool) {
        self.status.send_if_modified(|before| {
            let status = SinkStatus { session: self.session, ready, ..*before };
            std::mem::replace(before, status) != status
        });
    }
}

/// What was rejected and is offered again all the same.
fn give_back(rejected: Vec<(Arc<Origin>, u64, String)>) {
    for (origin, id, _) in rejected {
        lose(&origin, vec![id], Blame::None);
    }
}

fn one(token: u64) -> Range<u64> {
    token..token.saturating_add(1)
}

fn lose(origin: &Origin, ids: Vec<u64>, blame: Blame) {
    // A pipeline that is gone does not want to know.
    let _ = origin.reply.send(SinkReply::Lost { sink: origin.sink, ids, blame });
}
