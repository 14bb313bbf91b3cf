//! The task of an ingress stream: from a source into the log, and settled when its records are safe there. How another component
//! takes over is in `turn`, what a session leaves in hand when it ends in `rest`.

mod rest;
mod turn;

use std::convert::Infallible;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use ferrule_host::{CallError, PullLimits, Pulled};
use ferrule_model::ids::Uid;
use ferrule_model::record::{Batch, NO_TIMESTAMP, RecordAddress, RecordId};
use ferrule_transport::{AppendReceipt, Durability, Guarantees, Log, LogError};
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::acks::Acks;
use crate::dead_letter::{DeadLetter, DeadLetters, LetterCode};
use crate::guest::interruptible;
use crate::linger::Linger;
use crate::session::{Change, Keeper, Live, Opening, Order, close};
use crate::shared::now_ms;
use crate::snapshot::StreamState;
use turn::{Turn, turned};

/// How long a call to a source lasts at most when nothing comes; it ends at once when there is something else to do.
const WAIT_MS: u32 = 60_000;

/// Bytes of payload kept of a record that is too large for the log.
const KEPT_HEAD: usize = 4 << 10;

/// Bytes that are gathered while an append to a log on disk is under way, so that one wait for the disk serves many calls.
const GATHERED: u64 = 2 << 20;

/// How long to wait before a log that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Empty answers in a row, each before its time, after which a source is asked less eagerly.
const HASTY: u32 = 16;

type Appending = Pin<Box<dyn Future<Output = Result<AppendReceipt, LogError>> + Send>>;

/// What one call to the source may bring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pull {
    pub(crate) records: u32,
    pub(crate) bytes: u32,
}

/// Records that came and are not in the log yet.
struct Intake {
    records: Batch,
    session: u64,
    tokens: Vec<u64>,
    position: Option<Vec<u8>>,
    /// Records among them that are too large for the log, with their tokens.
    large: Vec<(DeadLetter, u64)>,
}

/// An append under way.
struct Pending {
    appending: Appending,
    session: u64,
    tokens: Vec<u64>,
    /// Of records that are in the dead letters when it is done.
    large: Vec<u64>,
    /// Whether those are still being stored.
    storing: Arc<AtomicBool>,
    bytes: u64,
    /// Whether the position after it is saved with it.
    positioned: bool,
    watched: Option<Batch>,
}

/// The task's state.
pub(crate) struct Source {
    pub(crate) uid: Uid,
    pub(crate) keeper: Keeper,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) acks: Arc<Acks>,
    pub(crate) dead_letters: Arc<dyn DeadLetters>,
    pub(crate) pull: Pull,
    /// Tells which order to drain is obeyed: nothing is in hand that is not in the log, and nothing more is taken.
    intake: watch::Sender<u64>,
    pending: Option<Pending>,
    /// What came while an append was under way.
    gathered: Vec<Intake>,
    /// Whether the outside system gives again what was not taken in.
    again: bool,
    session: u64,
    linger: Linger,
    turn: Option<Turn>,
    /// When a new component that could not be opened is tried again.
    turn_after: Option<Instant>,
    /// The session that is served next.
    next: Option<Box<Live>>,
    /// How often something came from a guest.
    taken: u64,
    /// A position without records, of a component that is still to show that it works.
    unproven: Option<Vec<u8>>,
    /// Why the log did not take what this session gave. What came behind it is not taken in either, so that no position passes it.
    refused: Option<CallError>,
}

impl Source {
    pub(crate) fn new(
        uid: Uid,
        keeper: Keeper,
        log: Arc<dyn Log>,
        acks: Arc<Acks>,
        dead_letters: Arc<dyn DeadLetters>,
        pull: Pull,
        intake: watch::Sender<u64>,
    ) -> Self {
        let (pending, gathered) = (None, Vec::new());
        Self {
            uid,
            keeper,
            log,
            acks,
            dead_letters,
            pull,
            intake,
            pending,
            gathered,
            again: false,
            session: 0,
            linger: Linger::default(),
            turn: None,
            turn_after: None,
            next: None,
            taken: 0,
            unproven: None,
            refused: None,
        }
    }

    /// On a log that does not last, a record without a reader would be lost.
    fn needs_reader(&self) -> bool {
        self.guarantees().durable == Durability::Process
    }

    /// What the log promises for this stream.
    fn guarantees(&self) -> Guarantees {
        self.log.guarantees(self.keeper.orders.borrow().plan.log.durability)
    }

    /// Runs until the order says stop.
    pub(crate) async fn run(mut self) {
        let mut attached = self.acks.attached();
        loop {
            let order = self.keeper.order();
            if order.stop {
                break;
            }
            if self.needs_reader() && *attached.borrow_and_update() == 0 {
                self.keeper.shared.set_state(StreamState::NoPipeline, "no pipeline reads this stream");
                self.tell_intake(&order);
                tokio::select! {
                    _ = attached.changed() => {}
                    _ = self.keeper.orders.changed() => {}
                }
                continue;
            }
            let needs_reader = self.needs_reader();
            let mut readers = attached.clone();
            let unwanted = async move {
                if !needs_reader || readers.wait_for(|attached| *attached == 0).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            if let Some(live) = self.next.take() {
                if self.serve(live).await.is_break() {
                    break;
                }
                continue;
            }
            if !self.append_rest().await {
                continue;
            }
            let Some(position) = self.recall().await else { continue };
            let idle = self.is_idle().then(|| (self.keeper.orders.clone(), self.intake.clone()));
            let opening = tokio::select! {
                opening = self.keeper.open(position, unwanted) => opening,
                never = tell_closed(idle) => match never {},
            };
            if let Opening::Open(live) = opening
                && self.serve(live).await.is_break()
            {
                break;
            }
        }
        self.keeper.shared.set_state(StreamState::Stopped, "");
    }

    fn tell_intake(&self, order: &Order) {
        if order.draining && self.is_idle() {
            self.intake.send_replace(order.asked);
        }
    }

    /// Whether nothing is in hand that is not in the log.
    fn is_idle(&self) -> bool {
        self.pending.is_none() && self.gathered.is_empty()
    }

    /// Where the source goes on, as the log has it; none when the order changed first.
    async fn recall(&mut self) -> Option<Option<Vec<u8>>> {
        match self.log.position(&self.uid).await {
            Ok(position) => Some(position),
            Err(error) => {
                self.keeper.shared.error(format!("where the source goes on is not known: {error}"));
                tokio::select! {
                    () = tokio::time::sleep(ASK_AGAIN) => {}
                    _ = self.keeper.orders.changed() => {}
                }
                None
            }
        }
    }

    async fn serve(&mut self, mut live: Box<Live>) -> ControlFlow<()> {
        self.session = self.acks.begin_session();
        self.again = live.replayable;
        (self.turn, self.turn_after, self.unproven, self.refused) = (None, None, None, None);
        self.keeper.shared.set_replayable(Some(live.replayable));
        let mut attached = self.acks.attached();
        let mut hasty = 0;
        loop {
            let order = self.keeper.effective();
            let change = live.change(&order);
            if !matches!(change, Change::Reopen) {
                (self.turn, self.turn_after) = (None, None);
            }
            let reopen = match change {
                Change::None => false,
                Change::Configure => match live.configure(&order.plan).await {
                    Ok(reopen) => {
                        self.keeper.configured(&live.plan);
                        reopen
                    }
                    Err(error) => return self.broke(&live, &error),
                },
                Change::Reopen => self.turn_over(&live.plan, &order).await,
                Change::Stop => true,
            };
            let tokens = self.acks.take_ready();
            if !tokens.is_empty() {
                let settled = live.guest.settle(&tokens).await;
                self.acks.settled();
                if let Err(error) = settled {
                    return self.broke(&live, &error);
                }
                self.keeper.calm();
            }
            let unread = self.needs_reader() && *attached.borrow_and_update() == 0;
            if reopen || unread {
                close(&self.keeper.shared, live).await;
                self.acks.end_session();
                self.keeper.shared.set_replayable(None);
                self.forget();
                return if order.stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            }
            self.tell_intake(&order);
            if let Err(error) = self.next(&mut live, &order, &mut attached, &mut hasty).await {
                return self.broke(&live, &error);
            }
            if let Some(error) = self.refused.take() {
                let broke = self.broke(&live, &error);
                close(&self.keeper.shared, live).await;
                return broke;
            }
        }
    }

    /// One call to the source, ended early when there is something else to do.
    async fn next(
        &mut self,
        live: &mut Live,
        order: &Order,
        attached: &mut watch::Receiver<usize>,
        hasty: &mut u32,
    ) -> Result<(), CallError> {
        let (held, turning) = (order.held(), self.turn.is_some());
        let full = self.is_full();
        let (state, detail) = match (held, turning, full) {
            (true, ..) => (StreamState::Held, String::new()),
            (_, true, _) => (StreamState::Running, "held back: another component takes over".to_owned()),
            (_, _, true) => (StreamState::Running, self.held_back_by()),
            _ => (StreamState::Running, String::new()),
        };
        self.keeper.shared.set_state(state, detail);
        let limits = PullLimits {
            max_records: if held || full || turning { 0 } else { self.pull.records },
            max_bytes: self.pull.bytes,
            linger_ms: self.linger.millis(self.pending.is_some()),
            max_wait_ms: WAIT_MS,
        };
        let begun = Instant::now();
        let mut appended = None;
        let mut disturbed = false;
        let pulled = {
            let (acks, orders, pending) = (&self.acks, &mut self.keeper.orders, &mut self.pending);
            let turned = turned(&mut self.turn, self.turn_after);
            let interrupt = async {
                tokio::select! {
                    _ = orders.changed() => {}
                    _ = attached.changed() => {}
                    () = acks.ready() => {}
                    receipt = append(pending) => appended = Some(receipt),
                    () = turned => {}
                }
                disturbed = true;
            };
            interruptible(live.guest.next(limits), &live.waker, interrupt).await
        };
        if let Some(receipt) = appended {
            self.appended(receipt);
            self.send();
        }
        let pulled = pulled?;
        if self.refused.is_some() {
            return Ok(());
        }
        self.keeper.shared.set_memory(live.guest.memory_bytes());
        if pulled.records.is_empty() {
            let early = !disturbed && begun.elapsed() < Duration::from_millis(u64::from(WAIT_MS) / 60);
            *hasty = if early { hasty.saturating_add(1) } else { 0 };
            if *hasty > HASTY {
                // A guest that returns at once although it has nothing must not take a processor.
                let (acks, orders) = (&self.acks, &mut self.keeper.orders);
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(10)) => {}
                    _ = orders.changed() => {}
                    () = acks.ready() => {}
                }
            }
            if pulled.position.is_some() && self.keeper.on_trial(&live.plan) {
                // The one whose place it took could not go on from there.
                self.unproven = pulled.position;
            } else if pulled.position.is_some() {
                self.take_in(pulled);
            }
            return Ok(());
        }
        *hasty = 0;
        let count = pulled.records.count;
        self.linger.came(std::time::Instant::now(), count, count >= self.pull.records);
        self.keeper.proved(&live.plan);
        // The deliberate fault that the crash runs must catch: the upstream forgets what the log does not have yet.
        #[cfg(feature = "fault-settle-early")]
        live.guest.settle(&pulled.records.tokens.to_vec()).await?;
        self.take_in(pulled);
        Ok(())
    }

    /// Whether nothing more may come for now.
    fn is_full(&self) -> bool {
        let gathered: u64 = self.gathered.iter().map(|intake| intake.records.size() as u64).sum();
        let limit = if self.needs_reader() { 0 } else { GATHERED };
        self.pending.is_some() && gathered >= limit
    }

    /// What an append waits for, in words.
    fn held_back_by(&self) -> String {
        let Some(pending) = &self.pending else { return String::new() };
        if pending.storing.load(Relaxed) {
            return "held back: dead letters wait to be stored".to_owned();
        }
        if let Some(trouble) = self.log.health().trouble {
            return format!("held back: the log takes nothing now: {trouble}");
        }
        let (bounds, usage) = (self.keeper.orders.borrow().plan.log.bounds, self.log.usage(&self.uid));
        let records = usage.next_offset - usage.first_offset + pending.tokens.len() as u64;
        if records > bounds.records || usage.unread_bytes + pending.bytes > bounds.bytes {
            "held back: the log is full".to_owned()
        } else {
            "held back for a moment: the log is writing".to_owned()
        }
    }

    /// Sets aside what is too large, and appends the rest as soon as the append before it is done.
    fn take_in(&mut self, pulled: Pulled) {
        let Pulled { mut records, position } = pulled;
        let position = position.or(self.unproven.take());
        self.taken += 1;
        // Whoever knows where to go on gives again what comes after.
        self.again |= position.is_some();
        let limit = self.guarantees().largest_record;
        let fits = |index: usize| records.record_size(index) <= limit;
        let mut letters = Vec::new();
        if records.size() > limit && !(0..records.len()).all(fits) {
            let (fitting, large): (Vec<u32>, Vec<u32>) = (0..records.count).partition(|index| fits(*index as usize));
            letters.extend(large.into_iter().map(|index| self.too_large(&records, index as usize, limit)));
            match records.select(&fitting) {
                Ok(selected) => records = selected,
                Err(error) => return self.refuse(&error),
            }
        }
        let tokens = records.tokens.to_vec();
        records.tokens = Default::default();
        records.attempts = Default::default();
        if records.is_empty() && position.is_none() && letters.is_empty() {
            return;
        }
        self.gathered.push(Intake { records, session: self.session, tokens, position, large: letters });
        self.send();
    }

    /// Appends what is gathered, unless an append is under way. If the log has room this is done when it returns.
    fn send(&mut self) {
        while self.pending.is_none() && !self.gathered.is_empty() {
            // What one session gave is appended together; the newest position is that after all of it.
            let session = self.gathered.first().map_or(0, |intake| intake.session);
            let count = self.gathered.iter().take_while(|intake| intake.session == session).count();
            let (mut batches, mut tokens, mut position) = (Vec::with_capacity(count), Vec::new(), None);
            let (mut letters, mut large) = (Vec::new(), Vec::new());
            for intake in self.gathered.drain(..count) {
                batches.push(intake.records);
                tokens.extend(intake.tokens);
                position = intake.position.or(position);
                for (letter, token) in intake.large {
                    letters.push(letter);
                    large.push(token);
                }
            }
            let records = match Batch::concat(&batches) {
                Ok(records) => records,
                Err(error) => return self.refuse(&error),
            };
            let (log, uid) = (self.log.clone(), self.uid.clone());
            let (bytes, positioned) = (records.size() as u64, position.is_some());
            let watched = self.keeper.shared.tail.is_watched().then(|| records.clone());
            let shared = self.keeper.shared.clone();
            let storing = Arc::new(AtomicBool::new(!letters.is_empty()));
            let (stored, dead_letters) = (storing.clone(), self.dead_letters.clone());
            let appending: Appending = Box::pin(async move {
                // First, since the position behind these records is saved with what is appended.
                while stored.load(Relaxed) {
                    match dead_letters.store(letters.clone()).await {
                        Ok(()) => stored.store(false, Relaxed),
                        Err(error) => {
                            shared.error(format!("dead letters cannot be stored: {error}"));
                            tokio::time::sleep(ASK_AGAIN).await;
                        }
                    }
                }
                loop {
                    match log.append(&uid, records.clone(), position.clone()).await {
                        Err(error @ LogError::Unavailable(_)) => {
                            shared.error(format!("records are not taken in yet: {error}"));
                            tokio::time::sleep(ASK_AGAIN).await;
                        }
                        answer => return answer,
                    }
                }
            });
            self.pending = Some(Pending { appending, session, tokens, large, storing, bytes, positioned, watched });
            let Some(receipt) = append(&mut self.pending).now_or_never() else { return };
            self.appended(receipt);
        }
    }

    fn appended(&mut self, receipt: Result<AppendReceipt, LogError>) {
        let Some(pending) = self.pending.take() else { return };
        let receipt = match receipt {
            Ok(receipt) => receipt,
            Err(error) => return self.refuse(&error),
        };
        self.keeper.calm();
        self.acks.safe(pending.session, pending.large);
        let count = pending.tokens.len() as u64;
        if !receipt.taken || !self.needs_reader() {
            // Safe in the log, or dropped and counted as the stream's policy says.
            self.acks.safe(pending.session, pending.tokens);
        } else {
            self.acks.register(pending.session, receipt.first_offset, &pending.tokens);
        }
        if !receipt.taken {
            return;
        }
        self.keeper.shared.meter.add(count, pending.bytes);
        let Some(records) = pending.watched else { return };
        for (row, offset) in (receipt.first_offset..).take(records.len()).enumerate() {
            let address = RecordAddress { stream: self.uid.clone(), partition: receipt.partition, offset };
            let id = match records.upstream_ids.get(row) {
                [] => RecordId::of_address(&address),
                upstream => RecordId::of_upstream(&self.uid, upstream),
            };
            self.keeper.shared.tail.send(&records, row, || (Some(address), Some(id)));
        }
    }

    /// The dead letter of a record that the log does not take, and the record's token.
    fn too_large(&self, records: &Batch, index: usize, limit: usize) -> (DeadLetter, u64) {
        let record = records.record(index);
        let payload = records.payload.get_shared(index);
        let kept = payload.len().min(KEPT_HEAD);
        let id = match record.upstream_id {
            // It has no address. Tokens begin anew with each session, and sessions with each process.
            [] => RecordId::of_upstream(&self.uid, uuid::Uuid::new_v4().as_bytes()),
            upstream => RecordId::of_upstream(&self.uid, upstream),
        };
        let letter = DeadLetter {
            id,
            address: None,
            stream: self.uid.clone(),
            pipeline: None,
            pipeline_name: self.keeper.shared.name().to_owned(),
            step: self.keeper.shared.name().to_owned(),
            component: self.keeper.orders.borrow().plan.guest.component.artifact().digest().to_owned(),
            code: LetterCode::TooLarge,
            reason: format!("the record has {} bytes, and the log takes {limit} at most", record.size()),
            attempts: 0,
            time_ms: now_ms(),
            timestamp_ns: Some(record.timestamp).filter(|timestamp| *timestamp != NO_TIMESTAMP),
            payload: bytes::Bytes::copy_from_slice(payload.get(..kept).unwrap_or_default()),
            key: bytes::Bytes::copy_from_slice(record.key.get(..record.key.len().min(KEPT_HEAD)).unwrap_or_default()),
            headers: bytes::Bytes::new(),
            truncated: (payload.len() - kept) as u64,
        };
        (letter, record.token.unwrap_or_default())
    }

    fn broke(&mut self, live: &Live, error: &CallError) -> ControlFlow<()> {
        self.keeper.failed(live, error);
        self.turn = None;
        self.keeper.shared.end_session();
        self.acks.end_session();
        self.keeper.shared.set_replayable(None);
        self.forget();
        ControlFlow::Continue(())
    }
}

/// Without a session nothing is taken in: says so to every order to drain.
async fn tell_closed(idle: Option<(watch::Receiver<Order>, watch::Sender<u64>)>) -> Infallible {
    if let Some((mut orders, intake)) = idle {
        loop {
            let (draining, asked) = {
                let order = orders.borrow_and_update();
                (order.draining, order.asked)
            };
            if draining {
                intake.send_replace(asked);
            }
            if orders.changed().await.is_err() {
                break;
            }
        }
    }
    std::future::pending().await
}

/// Waits for the append under way; for ever when there is none.
async fn append(pending: &mut Option<Pending>) -> Result<AppendReceipt, LogError> {
    match pending {
        Some(pending) => pending.appending.as_mut().await,
        None => std::future::pending().await,
    }
}
