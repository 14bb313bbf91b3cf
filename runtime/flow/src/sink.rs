//! The task of an egress stream: one session of a sink, shared by the pipelines that write to it.
//!
//! Which record is written when is decided in the pipelines ([`crate::delivery`]); the sink gives records tokens of its
//! session, passes outcomes back, and tells each pipeline what was lost when a session ends.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ferrule_host::CallError;
use ferrule_model::component::Columns;
use ferrule_model::record::{Batch, Outcomes};
use tokio::sync::{mpsc, watch};

use crate::delivery::Outcome;
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
    pub(crate) ids: Vec<u64>,
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
type Answers = Vec<(u64, Outcome)>;

/// What a pipeline hears of its records.
#[derive(Debug)]
pub(crate) enum SinkReply {
    /// Outcomes by the pipeline's ids.
    Outcomes(Answers),
    /// A session is gone, and nothing is known of these.
    Lost { sink: usize, ids: Vec<u64>, crashed: bool },
}

struct InFlight {
    origin: Arc<Origin>,
    id: u64,
    size: u32,
}

/// The task's state.
pub(crate) struct Sink {
    keeper: Keeper,
    inbox: Inbox<WriteRequest>,
    status: watch::Sender<SinkStatus>,
    session: u64,
    /// The record of token `first_token` + index; none when its outcome is known.
    in_flight: VecDeque<Option<InFlight>>,
    first_token: u64,
    open: usize,
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
        let sink = Self {
            keeper,
            inbox: Inbox::new(inbox),
            status,
            session: 0,
            in_flight: VecDeque::new(),
            first_token: 1,
            open: 0,
        };
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
                    lose(&request.origin, request.ids, false);
                    continue;
                }
                let (origin, ids) = (request.origin.clone(), request.ids.clone());
                if let Err(error) = self.write(&mut live, request).await {
                    return self.broke(&live, &error, Some((origin, ids)));
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
            if self.open == 0 && !always_idle {
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
        let first = self.first_token + self.in_flight.len() as u64;
        let mut records = request.records;
        records.tokens = (first..first + records.len() as u64).collect();
        for (row, id) in request.ids.into_iter().enumerate() {
            let size = u32::try_from(records.record_size(row)).unwrap_or(u32::MAX);
            self.in_flight.push_back(Some(InFlight { origin: request.origin.clone(), id, size }));
            self.open += 1;
        }
        self.keeper.shared.unsettled.store(self.open as u64, Relaxed);
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
        let delivered_count = delivered.len();
        let all = delivered
            .into_iter()
            .map(|token| (token, Outcome::Delivered))
            .chain(retry.into_iter().map(|postponed| {
                let after = postponed.after_ms.map(Duration::from_millis);
                (postponed.token, Outcome::Retry { after, reason: postponed.reason })
            }))
            .chain(
                rejected
                    .into_iter()
                    .map(|rejection| (rejection.record_ref, Outcome::Rejected { reason: rejection.reason })),
            );
        let mut replies: Vec<(Arc<Origin>, Answers)> = Vec::new();
        let (mut bytes, mut unknown) = (0, 0_u64);
        for (token, outcome) in all {
            let Some(flying) = self.take(token) else {
                unknown += 1;
                continue;
            };
            if outcome == Outcome::Delivered {
                bytes += u64::from(flying.size);
            }
            match replies.iter_mut().find(|(origin, _)| Arc::ptr_eq(origin, &flying.origin)) {
                Some((_, outcomes)) => outcomes.push((flying.id, outcome)),
                None => replies.push((flying.origin, vec![(flying.id, outcome)])),
            }
        }
        if unknown > 0 {
            self.keeper.shared.error(format!("the sink answered for {unknown} records that are not in flight"));
        }
        if delivered_count > 0 {
            self.keeper.worked();
        }
        self.keeper.shared.meter.add((delivered_count as u64).saturating_sub(unknown), bytes);
        self.keeper.shared.unsettled.store(self.open as u64, Relaxed);
        for (origin, outcomes) in replies {
            // A pipeline that is gone does not want to know.
            let _ = origin.reply.send(SinkReply::Outcomes(outcomes));
        }
    }

    fn take(&mut self, token: u64) -> Option<InFlight> {
        let index = usize::try_from(token.checked_sub(self.first_token)?).ok()?;
        let taken = self.in_flight.get_mut(index)?.take()?;
        self.open -= 1;
        while matches!(self.in_flight.front(), Some(None)) {
            self.in_flight.pop_front();
            self.first_token += 1;
        }
        Some(taken)
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
        for flying in std::mem::take(&mut self.in_flight).into_iter().flatten() {
            self.first_token += 1;
            let suspect = suspect_origin.as_ref().is_some_and(|origin| Arc::ptr_eq(origin, &flying.origin))
                && suspect_ids.contains(&flying.id);
            if suspect {
                continue;
            }
            match lost.iter_mut().find(|(origin, _)| Arc::ptr_eq(origin, &flying.origin)) {
                Some((_, ids)) => ids.push(flying.id),
                None => lost.push((flying.origin, vec![flying.id])),
            }
        }
        self.open = 0;
        self.keeper.shared.unsettled.store(0, Relaxed);
        for (origin, ids) in lost {
            lose(&origin, ids, anything);
        }
        if let Some(origin) = suspect_origin {
            lose(&origin, suspect_ids, true);
        }
        while let Some(request) = self.inbox.pop() {
            lose(&request.origin, request.ids, false);
        }
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
