//! When a source is settled: once its records are safe. On a log that lasts that is when they are appended; on any other it is
//! when every pipeline of the stream is done with them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ferrule_model::ids::Uid;
use tokio::sync::{Notify, watch};

use crate::error::FlowError;

/// Pipelines of one stream at most: each record carries one bit for each of them.
pub const PIPELINES_PER_STREAM: usize = 128;

/// A pipeline's place in the tracker of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

/// The records of one stream that are not settled, and who is still to be done with them.
#[derive(Debug)]
pub(crate) struct Acks {
    state: Mutex<State>,
    /// Records survive the process once they are appended, so nobody waits for the pipelines.
    lasting: AtomicBool,
    ready: Notify,
    attached: watch::Sender<usize>,
    /// How many records are not settled.
    pending: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    attached: u128,
    /// Whose slots they are.
    slots: BTreeMap<Uid, Slot>,
    /// For each slot the offset that its pipeline reads from; `None` while it is not known.
    starts: Vec<Option<u64>>,
    /// The entry of offset `base` + index; none when it is done.
    entries: VecDeque<Option<Entry>>,
    base: u64,
    open: usize,
    /// Offsets that were done before they were registered.
    early: Vec<(u64, u32)>,
    session: u64,
    ready: Vec<u64>,
}

#[derive(Debug)]
struct Entry {
    token: u64,
    session: u64,
    waiting: u128,
}

impl Default for Acks {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            lasting: AtomicBool::new(false),
            ready: Notify::new(),
            attached: watch::Sender::new(0),
            pending: watch::Sender::new(0),
        }
    }
}

impl Acks {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many pipelines read the stream, as it changes.
    pub(crate) fn attached(&self) -> watch::Receiver<usize> {
        self.attached.subscribe()
    }

    /// How many records are not settled, as it changes.
    pub(crate) fn pending(&self) -> watch::Receiver<usize> {
        self.pending.subscribe()
    }

    /// Whether records survive the process once they are appended. To be said before the first record comes.
    pub(crate) fn set_lasting(&self, lasting: bool) {
        self.lasting.store(lasting, Ordering::Relaxed);
    }

    /// Records are appended to a log that lasts: their tokens may be settled.
    pub(crate) fn safe(&self, session: u64, tokens: Vec<u64>) {
        let mut state = self.lock();
        if session == state.session {
            state.ready.extend(tokens);
        }
        self.publish(state);
    }

    /// The pipelines that are waited for.
    pub(crate) fn pipelines(&self) -> Vec<Uid> {
        self.lock().slots.keys().cloned().collect()
    }

    /// A pipeline is about to read the stream, or reads it again: from now on no record is settled without it.
    pub(crate) fn attach(&self, pipeline: &Uid) -> Result<Slot, FlowError> {
        let mut state = self.lock();
        if let Some(slot) = state.slots.get(pipeline) {
            return Ok(*slot);
        }
        let free = (!state.attached).trailing_zeros();
        if free as usize >= PIPELINES_PER_STREAM {
            return Err(FlowError::TooManyPipelines);
        }
        state.attached |= 1 << free;
        state.slots.insert(pipeline.clone(), Slot(free));
        if state.starts.len() <= free as usize {
            state.starts.resize(free as usize + 1, None);
        }
        if let Some(start) = state.starts.get_mut(free as usize) {
            *start = None;
        }
        drop(state);
        self.attached.send_modify(|attached| *attached += 1);
        Ok(Slot(free))
    }

    /// The pipeline reads from `offset`: what is before is not for it.
    pub(crate) fn started(&self, slot: Slot, offset: u64) {
        let mut state = self.lock();
        if let Some(start) = state.starts.get_mut(slot.0 as usize) {
            *start = Some(offset);
        }
        let before = offset.saturating_sub(state.base).min(state.entries.len() as u64);
        let base = state.base;
        for index in 0..before {
            state.finish(base + index, slot.0);
        }
        self.publish(state);
    }

    /// The pipeline is gone for good. What waits for it alone stays unsettled if it was the last one.
    pub(crate) fn detach(&self, pipeline: &Uid) {
        let mut state = self.lock();
        let Some(slot) = state.slots.remove(pipeline) else { return };
        let bit = 1_u128 << slot.0;
        state.attached &= !bit;
        state.early.retain(|(_, early)| *early != slot.0);
        if state.attached == 0 {
            state.forget();
        } else {
            for index in 0..state.entries.len() as u64 {
                let offset = state.base + index;
                state.finish(offset, slot.0);
            }
        }
        self.publish(state);
        self.attached.send_modify(|attached| *attached = attached.saturating_sub(1));
    }

    /// A new session of the source began: tokens of the one before mean nothing any more.
    pub(crate) fn begin_session(&self) -> u64 {
        let mut state = self.lock();
        state.session += 1;
        state.ready.clear();
        state.session
    }

    /// The session is over: its tokens mean nothing any more, and nobody is waited for to settle them.
    pub(crate) fn end_session(&self) {
        self.begin_session();
        self.settled();
    }

    /// Records were appended; their tokens are of this session.
    pub(crate) fn register(&self, session: u64, first_offset: u64, tokens: &[u64]) {
        let mut state = self.lock();
        if state.entries.is_empty() {
            state.base = first_offset;
        }
        for (offset, &token) in (first_offset..).zip(tokens) {
            let mut waiting = state.attached;
            for (slot, start) in state.starts.iter().enumerate() {
                if start.is_some_and(|start| start > offset) {
                    waiting &= !(1 << slot);
                }
            }
            while state.base + (state.entries.len() as u64) < offset {
                state.entries.push_back(None);
            }
            state.entries.push_back(Some(Entry { token, session, waiting }));
            state.open += 1;
        }
        let end = first_offset + tokens.len() as u64;
        let (early, rest) = std::mem::take(&mut state.early).into_iter().partition(|(offset, _)| *offset < end);
        state.early = rest;
        let early: Vec<(u64, u32)> = early;
        for (offset, slot) in early {
            state.finish(offset, slot);
        }
        self.publish(state);
    }

    /// A pipeline is done with these records.
    pub(crate) fn done(&self, slot: Slot, offsets: impl IntoIterator<Item = u64>) {
        if self.lasting.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.lock();
        for offset in offsets {
            if offset >= state.base + state.entries.len() as u64 {
                state.early.push((offset, slot.0));
            } else {
                state.finish(offset, slot.0);
            }
        }
        self.publish(state);
    }

    /// The tokens to settle now.
    pub(crate) fn take_ready(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().ready)
    }

    /// Waits until there are tokens to settle.
    pub(crate) async fn ready(&self) {
        loop {
            let mut notified = std::pin::pin!(self.ready.notified());
            notified.as_mut().enable();
            if !self.lock().ready.is_empty() {
                return;
            }
            notified.await;
        }
    }

    fn publish(&self, state: MutexGuard<'_, State>) {
        let (open, ready) = (state.open + state.ready.len(), !state.ready.is_empty());
        drop(state);
        if ready {
            self.ready.notify_waiters();
        }
        self.pending.send_if_modified(|pending| std::mem::replace(pending, open) != open);
    }

    /// The settled tokens were handed over: tells those who wait for nothing to be pending.
    pub(crate) fn settled(&self) {
        self.publish(self.lock());
    }
}

impl State {
    fn finish(&mut self, offset: u64, slot: u32) {
        let Some(index) = offset.checked_sub(self.base).and_then(|index| usize::try_from(index).ok()) else { return };
        let Some(place) = self.entries.get_mut(index) else { return };
        let Some(entry) = place else { return };
        entry.waiting &= !(1 << slot);
        if entry.waiting != 0 {
            return;
        }
        if entry.session == self.session {
            self.ready.push(entry.token);
        }
        *place = None;
        self.open -= 1;
        while matches!(self.entries.front(), Some(None)) {
            self.entries.pop_front();
            self.base += 1;
        }
    }

    /// Nobody reads any more: what is there is never settled.
    fn forget(&mut self) {
        self.base += self.entries.len() as u64;
        self.entries.clear();
        self.open = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: usize) -> Uid {
        Uid::new(format!("pipeline-{number}"))
    }

    #[test]
    fn a_record_is_settled_when_every_pipeline_is_done() {
        let acks = Acks::default();
        let (one, two) = (acks.attach(&uid(1)).unwrap(), acks.attach(&uid(2)).unwrap());
        acks.started(one, 0);
        acks.started(two, 0);
        acks.begin_session();
        acks.register(1, 0, &[10, 11, 12]);
        acks.done(one, [0, 2]);
        assert_eq!(acks.take_ready(), [0; 0]);
        acks.done(two, [2]);
        assert_eq!(acks.take_ready(), [12], "in any order");
        acks.done(two, [0, 1]);
        assert_eq!(acks.take_ready(), [10]);
        assert_eq!(*acks.pending().borrow(), 2, "what is handed out counts until it is settled");
        acks.settled();
        assert_eq!(*acks.pending().borrow(), 1);
        acks.detach(&uid(1));
        assert_eq!(acks.take_ready(), [11], "a pipeline that is gone is not waited for");
    }

    #[test]
    fn what_is_done_before_it_is_registered_counts() {
        let acks = Acks::default();
        let one = acks.attach(&uid(1)).unwrap();
        acks.started(one, 0);
        acks.begin_session();
        acks.done(one, [0, 1]);
        acks.register(1, 0, &[10, 11]);
        assert_eq!(acks.take_ready(), [10, 11]);
    }

    #[test]
    fn a_pipeline_that_comes_later_is_waited_for_from_its_start_on() {
        let acks = Acks::default();
        let one = acks.attach(&uid(1)).unwrap();
        acks.started(one, 0);
        acks.begin_session();
        acks.register(1, 0, &[10]);
        let two = acks.attach(&uid(2)).unwrap();
        acks.register(1, 1, &[11, 12]);
        acks.done(one, [0, 1, 2]);
        assert_eq!(acks.take_ready(), [10]);
        acks.started(two, 2);
        assert_eq!(acks.take_ready(), [11]);
        acks.done(two, [2]);
        assert_eq!(acks.take_ready(), [12]);
    }

    #[test]
    fn without_a_pipeline_nothing_is_settled() {
        let acks = Acks::default();
        let one = acks.attach(&uid(1)).unwrap();
        acks.started(one, 0);
        acks.begin_session();
        acks.register(1, 0, &[10]);
        acks.detach(&uid(1));
        assert_eq!(acks.take_ready(), [0; 0]);
        assert_eq!(*acks.pending().borrow(), 0);
    }

    #[test]
    fn tokens_of_an_earlier_session_are_not_settled() {
        let acks = Acks::default();
        let one = acks.attach(&uid(1)).unwrap();
        acks.started(one, 0);
        acks.begin_session();
        acks.register(1, 0, &[10]);
        acks.begin_session();
        acks.register(2, 1, &[10]);
        acks.done(one, [0]);
        assert_eq!(acks.take_ready(), [0; 0]);
        acks.done(one, [1]);
        assert_eq!(acks.take_ready(), [10]);
    }

    #[test]
    fn nothing_is_pending_for_a_session_that_is_over() {
        let acks = Acks::default();
        let one = acks.attach(&uid(1)).unwrap();
        acks.started(one, 0);
        acks.begin_session();
        acks.register(1, 0, &[10, 11]);
        acks.done(one, [0]);
        acks.end_session();
        assert_eq!(*acks.pending().borrow(), 1, "what was ready to be settled is not waited for");
        acks.done(one, [1]);
        assert_eq!(*acks.pending().borrow(), 0);
        assert_eq!(acks.take_ready(), [0; 0]);
    }

    #[test]
    fn slots_are_bounded_and_used_again() {
        let acks = Acks::default();
        let slots: Vec<Slot> = (0..PIPELINES_PER_STREAM).map(|number| acks.attach(&uid(number)).unwrap()).collect();
        assert!(acks.attach(&uid(PIPELINES_PER_STREAM)).is_err());
        assert_eq!(acks.attach(&uid(7)).unwrap(), slots[7], "who is attached keeps its slot");
        acks.detach(&uid(5));
        assert_eq!(acks.attach(&uid(PIPELINES_PER_STREAM)).unwrap(), slots[5]);
    }

    #[test]
    fn on_a_log_that_lasts_what_is_appended_is_settled() {
        let acks = Acks::default();
        acks.set_lasting(true);
        let one = acks.attach(&uid(1)).unwrap();
        let session = acks.begin_session();
        acks.safe(session, vec![10, 11]);
        assert_eq!(acks.take_ready(), [10, 11]);
        acks.done(one, [0, 1]);
        acks.safe(session - 1, vec![12]);
        acks.settled();
        assert_eq!((acks.take_ready(), *acks.pending().borrow()), (vec![], 0));
    }
}
