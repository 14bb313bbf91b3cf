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

use crate::delivery::Outcome;
use crate::flights::{Flights, ranges};
use crate::guest::{Remedy, interruptible, remedy};
use crate::inbox::Inbox;
use crate::session::{Change, Keeper, Live, Opening, close};
use crate::snapshot::StreamState;

/// How long one idle call lasts at most; it ends at once when there is something to write.
const IDLE_MS: u32 = 30_000;

/// Whether records may be written, and in which session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SinkStatus {
    pub(crate) session: u64,
    pub(crate) ready: bool,
}

/// How pipelines reach a sink.
#[derive(Clone, Debug)]
pub(crate) struct SinkLink {
    requests: mpsc::UnboundedSender<WriteRequest>,
    pub(crate) status: watch::Receiver<SinkStatus>,
    pub(crate) reads: Columns,
    pub(crate) digest: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl SinkLink {
    /// Hands over a batch; `false` if the sink is gone.
    pub(crate) fn write(&self, request: WriteRequest) -> bool {
        self.requests.send(request).is_ok()
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
    Lost { sink: usize, ids: Vec<u64>, crashed: bool },
}

/// The task's state.
pub(crate) struct Sink {
    keeper: Keeper,
    inbox: Inbox<WriteRequest>,
    status: watch::Sender<SinkStatus>,
    session: u64,
    flights: Flights,
}

impl Sink {
    /// A sink and the way to reach it.
    pub(crate) fn new(keeper: Keeper) -> (Self, SinkLink) {
        let (requests, inbox) = mpsc::unbounded_channel();
        let status = watch::Sender::new(SinkStatus::default());
        let artifact = keeper.orders.borrow().plan.guest.component.artifact().clone();
        let link = SinkLink {
            requests,
            status: status.subscribe(),
            reads: artifact.description().reads,
            digest: artifact.digest().into(),
            name: keeper.shared.name().into(),
        };
        let sink = Self { keeper, inbox: Inbox::new(inbox), status, session: 0, flights: Flights::default() };
        (sink, link)
    }

    /// Runs until the order says stop.
    pub(crate) async fn run(mut self) {
        while let Opening::Open(live) = self.keeper.open(None, std::future::pending()).await {
            if self.serve(live).await.is_break() {
                break;
            }
        }
        self.end_session(None);
        self.keeper.shared.set_state(StreamState::Stopped, "");
    }

    async fn serve(&mut self, mut live: Box<Live>) -> ControlFlow<()> {
        self.session += 1;
        let always_idle = live.plan.guest.component.artifact().description().flag("idle");
        loop {
            let order = self.keeper.effective();
            match live.change(&order) {
                Change::None => {}
                Change::Configure => match live.configure(&order.plan).await {
                    Ok(false) => {}
                    Ok(true) => {
                        self.finish(live).await;
                        return ControlFlow::Continue(());
                    }
                    Err(error) => return self.broke(&live, &error, None),
                },
                change @ (Change::Reopen | Change::Stop) => {
                    self.finish(live).await;
                    let stop = matches!(change, Change::Stop);
                    return if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
                }
            }
            let held = order.plan.held;
            self.publish(!held);
            self.keeper.shared.set_state(if held { StreamState::Held } else { StreamState::Running }, "");
            let request = self.inbox.pop();
            if let Some(request) = request {
                if held || request.session != self.session {
                    lose(&request.origin, request.ids.into_iter().flatten().collect(), false);
                    continue;
                }
                let (origin, ids) = (request.origin.clone(), request.ids.clone());
                if let Err(error) = self.write(&mut live, request).await {
                    return self.broke(&live, &error, Some((origin, ids.into_iter().flatten().collect())));
                }
                continue;
            }
            let (inbox, orders) = (&mut self.inbox, &mut self.keeper.orders);
            let interrupt = async {
                tokio::select! {
                    () = inbox.arrived() => {}
                    _ = orders.changed() => {}
                }
            };
            if self.flights.open() == 0 && !always_idle {
                interrupt.await;
                continue;
            }
            let answer = interruptible(live.guest.idle(IDLE_MS), &live.waker, interrupt).await;
            match answer {
                Ok(outcomes) => self.answer(outcomes),
                Err(error) => return self.broke(&live, &error, None),
            }
            self.keeper.shared.set_memory(live.guest.memory_bytes());
            // A guest that returns at once although it has nothing must not take a processor.
            tokio::task::yield_now().await;
        }
    }

    async fn write(&mut self, live: &mut Live, request: WriteRequest) -> Result<(), CallError> {
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
        self.answer(outcomes);
        self.keeper.shared.set_memory(live.guest.memory_bytes());
        Ok(())
    }

    /// Passes outcomes back to the pipelines.
    fn answer(&mut self, outcomes: Outcomes) {
        if outcomes.is_empty() {
            return;
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
        let others = retry
            .into_iter()
            .map(|postponed| {
                let after = postponed.after_ms.map(Duration::from_millis);
                (postponed.token, Outcome::Retry { after, reason: postponed.reason })
            })
            .chain(
                rejected
                    .into_iter()
                    .map(|rejection| (rejection.record_ref, Outcome::Rejected { reason: rejection.reason })),
            );
        for (token, outcome) in others {
            unknown += self.flights.land(token..token.saturating_add(1), |landed| {
                answers(&mut replies, landed.origin).others.push((landed.ids.start, outcome.clone()));
            });
        }
        if unknown > 0 {
            self.keeper.shared.error(format!("the sink answered for {unknown} records that are not in flight"));
        }
        if records > 0 {
            self.keeper.worked();
        }
        self.keeper.shared.meter.add(records, bytes);
        self.keeper.shared.unsettled.store(self.flights.open() as u64, Relaxed);
        for (origin, answers) in replies {
            // A pipeline that is gone does not want to know.
            let _ = origin.reply.send(SinkReply::Outcomes(answers));
        }
    }

    fn broke(&mut self, live: &Live, error: &CallError, writing: Option<(Arc<Origin>, Vec<u64>)>) -> ControlFlow<()> {
        let suspects = (remedy(error) == Remedy::Suspect).then_some(writing);
        self.keeper.failed(live, error);
        self.keeper.shared.end_session();
        self.end_session(suspects);
        ControlFlow::Continue(())
    }

    async fn finish(&mut self, live: Box<Live>) {
        self.publish(false);
        close(&self.keeper.shared, live).await;
        self.end_session(None);
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
        for (origin, ids) in lost {
            lose(&origin, ids, anything);
        }
        if let Some(origin) = suspect_origin {
            lose(&origin, suspect_ids, true);
        }
        while let Some(request) = self.inbox.pop() {
            lose(&request.origin, request.ids.into_iter().flatten().collect(), false);
        }
        self.keeper.shared.unsettled.store(0, Relaxed);
    }

    fn publish(&self, ready: bool) {
        let status = SinkStatus { session: self.session, ready };
        self.status.send_if_modified(|before| std::mem::replace(before, status) != status);
    }
}

fn lose(origin: &Origin, ids: Vec<u64>, crashed: bool) {
    // A pipeline that is gone does not want to know.
    let _ = origin.reply.send(SinkReply::Lost { sink: origin.sink, ids, crashed });
}
