//! When a source is settled: once its records are safe. On a log that lasts that is when they are appended; on any other it is
//! when every pipeline of the stream is done with them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
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
    /// From `base` on without gaps.
    stretches: VecDeque<Stretch>,
    base: u64,
    open: usize,
    /// Offsets that were done before they were registered.
    early: Vec<(Range<u64>, u32)>,
    session: u64,
    ready: Vec<u64>,
}

/// Neighbouring records: what happens to all of them costs as much as for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// The offset behind the last.
    end: u64,
    /// None when they are done.
    waits: Option<Waits>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waits {
    /// The token of the first; the others follow.
    token: u64,
    session: u64,
    /// Whom they wait for, a bit for each slot.
    slots: u128,
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
        state.finish(0..offset, slot.0);
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
            state.finish(0..u64::MAX, slot.0);
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
        state.append(session, first_offset, tokens);
        for (offsets, slot) in std::mem::take(&mut state.early) {
            state.done(offsets, slot);
        }
        self.publish(state);
    }

    /// A pipeline is done with these records.
    pub(crate) fn done(&self, slot: Slot, offsets: impl IntoIterator<Item = Range<u64>>) {
        if self.lasting.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.lock();
        for offsets in offsets {
            state.done(offsets, slot.0);
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
    /// The offset behind the last record.
    fn end(&self) -> u64 {
        self.stretches.back().map_or(self.base, |last| last.end)
    }

    /// Adds records at the end; what was skipped is done.
    fn append(&mut self, session: u64, first_offset: u64, tokens: &[u64]) {
        if self.stretches.is_empty() {
            self.base = first_offset;
        }
        if self.end() < first_offset {
            self.stretches.push_back(Stretch { end: first_offset, waits: None });
        }
        let (mut next, mut tokens) = (first_offset, tokens);
        while let Some((&token, _)) = tokens.split_first() {
            // Together go those whose tokens follow one another and who wait for the same.
            let follow = follow(tokens);
            let starts = self.starts.iter().copied().enumerate();
            let later: Vec<(usize, u64)> =
                starts.filter_map(|(slot, start)| Some((slot, start?))).filter(|(_, start)| *start > next).collect();
            let slots = later.iter().fold(self.attached, |slots, (slot, _)| slots & !(1 << slot));
            let until = later.iter().map(|(_, start)| *start).min().unwrap_or(u64::MAX);
            let count = follow.min(usize::try_from(until - next).unwrap_or(usize::MAX));
            next += count as u64;
            self.open += count;
            self.stretches.push_back(Stretch { end: next, waits: Some(Waits { token, session, slots }) });
            tokens = tokens.get(count..).unwrap_or_default();
        }
    }

    fn done(&mut self, offsets: Range<u64>, slot: u32) {
        let end = self.end();
        if offsets.end > end {
            self.early.push((offsets.start.max(end)..offsets.end, slot));
        }
        self.finish(offsets, slot);
    }

    /// The pipeline of `slot` is not waited for any more, as far as these records are here.
    fn finish(&mut self, offsets: Range<u64>, slot: u32) {
        let (from, until) = (offsets.start.max(self.base), offsets.end.min(self.end()));
        if from >= until {
            return;
        }
        let (first, behind) = (self.split(from), self.split(until));
        let mut start = from;
        for stretch in self.stretches.range_mut(first..behind) {
            let count = stretch.end - start;
            start = stretch.end;
            let Some(waits) = &mut stretch.waits else { continue };
            waits.slots &= !(1 << slot);
            if waits.slots != 0 {
                continue;
            }
            if waits.session == self.session {
                self.ready.extend(waits.token..waits.token + count);
            }
            self.open -= count as usize;
            stretch.waits = None;
        }
        self.join(first, behind);
        while let Some(Stretch { end, waits: None }) = self.stretches.front() {
            self.base = *end;
            self.stretches.pop_front();
        }
    }

    /// Where the stretch begins that a record is in, made to begin with it. One behind the last if there is none.
    fn split(&mut self, offset: u64) -> usize {
        let index = self.stretches.partition_point(|stretch| stretch.end <= offset);
        let start = self.start(index);
        let Some(stretch) = self.stretches.get_mut(index) else { return index };
        if start == offset {
            return index;
        }
        let before = Stretch { end: offset, ..*stretch };
        if let Some(waits) = &mut stretch.waits {
            waits.token += offset - start;
        }
        self.stretches.insert(index, before);
        index + 1
    }

    /// Where a stretch begins.
    fn start(&self, index: usize) -> u64 {
        index.checked_sub(1).and_then(|before| self.stretches.get(before)).map_or(self.base, |before| before.end)
    }

    /// Joins neighbours that are alike, where one of them is in this range.
    fn join(&mut self, first: usize, behind: usize) {
        for index in (first.saturating_sub(1)..behind).rev() {
            let start = self.start(index);
            let (Some(one), Some(next)) = (self.stretches.get(index), self.stretches.get(index + 1)) else { continue };
            let alike = match (one.waits, next.waits) {
                (None, None) => true,
                (Some(one_waits), Some(waits)) => {
                    waits == Waits { token: one_waits.token + (one.end - start), ..one_waits }
                }
                _ => false,
            };
            if alike {
                let end = next.end;
                self.stretches.remove(index + 1);
                if let Some(one) = self.stretches.get_mut(index) {
                    one.end = end;
                }
            }
        }
    }

    /// Nobody reads any more: what is there is never settled.
    fn forget(&mut self) {
        self.base = self.end();
        self.stretches.clear();
        self.open = 0;
    }
}

/// How many of the first tokens follow one another. Some at a time are all compared, which becomes vector instructions.
fn follow(tokens: &[u64]) -> usize {
    let mut next = tokens.first().copied().unwrap_or_default();
    let mut count = 0;
    for some in tokens.chunks(64) {
        let expected = |index: usize| next.wrapping_add(index as u64);
        let mut differ = 0;
        for (index, token) in some.iter().enumerate() {
            differ |= token ^ expected(index);
        }
        if differ != 0 {
            return count + some.iter().enumerate().take_while(|(index, token)| **token == expected(*index)).count();
        }
        next = expected(some.len());
        count += some.len();
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        acks.done(one, [0..1, 2..3]);
        assert_eq!(acks.take_ready(), [0; 0]);
        acks.done(two, std::iter::once(2..3));
        assert_eq!(acks.take_ready(), [12], "in any order");
        acks.done(two, std::iter::once(0..2));
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
        acks.done(one, std::iter::once(0..2));
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
        acks.done(one, std::iter::once(0..3));
        assert_eq!(acks.take_ready(), [10]);
        acks.started(two, 2);
        assert_eq!(acks.take_ready(), [11]);
        acks.done(two, std::iter::once(2..3));
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
        acks.done(one, std::iter::once(0..1));
        assert_eq!(acks.take_ready(), [0; 0]);
        acks.done(one, std::iter::once(1..2));
        assert_eq!(acks.take_ready(), [10]);
    }

    #[test]
    fn nothing_is_pending_for_a_session_that_is_over() {
        let acks = Acks::default();
        let one = acks.attach(&uid(1)).unwrap();
        acks.started(one, 0);
        acks.begin_session();
        acks.register(1, 0, &[10, 11]);
        acks.done(one, std::iter::once(0..1));
        acks.end_session();
        assert_eq!(*acks.pending().borrow(), 1, "what was ready to be settled is not waited for");
        acks.done(one, std::iter::once(1..2));
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
        acks.done(one, std::iter::once(0..2));
        acks.safe(session - 1, vec![12]);
        acks.settled();
        assert_eq!((acks.take_ready(), *acks.pending().borrow()), (vec![], 0));
    }

    /// The same, record by record.
    #[derive(Default)]
    struct Plain {
        /// For each offset from 0 on its token and whom it waits for.
        entries: Vec<Option<(u64, u128)>>,
        early: Vec<(u64, u32)>,
        ready: Vec<u64>,
    }

    impl Plain {
        fn done(&mut self, offset: u64, slot: u32) {
            match self.entries.get_mut(offset as usize) {
                None => self.early.push((offset, slot)),
                Some(Some((token, waits))) => {
                    *waits &= !(1 << slot);
                    if *waits == 0 {
                        self.ready.push(*token);
                        self.entries[offset as usize] = None;
                    }
                }
                Some(None) => {}
            }
        }
    }

    proptest! {
        #[test]
        fn stretches_say_the_same_as_single_records(
            steps in proptest::collection::vec((0u8..4, 0u64..24, 0u64..10), 0..60),
        ) {
            let acks = Acks::default();
            let slots = [acks.attach(&uid(0)).unwrap(), acks.attach(&uid(1)).unwrap()];
            slots.iter().for_each(|slot| acks.started(*slot, 0));
            let session = acks.begin_session();
            let mut plain = Plain::default();
            let mut next_token = 0;
            for (action, offset, count) in steps {
                if action < 2 {
                    // Where nothing comes there is no gap either: offsets never go back.
                    let first = plain.entries.len() as u64 + u64::from(offset == 7 && count > 0);
                    // Now and then a token is left out.
                    let tokens: Vec<u64> = (0..count).map(|index| next_token + index + u64::from(index > offset)).collect();
                    next_token += count + 2;
                    acks.register(session, first, &tokens);
                    if count > 0 || !acks.lock().stretches.is_empty() {
                        plain.entries.resize(first as usize, None);
                    }
                    plain.entries.extend(tokens.into_iter().map(|token| Some((token, 3))));
                    for (offset, slot) in std::mem::take(&mut plain.early) {
                        plain.done(offset, slot);
                    }
                } else {
                    let slot = u32::from(action) - 2;
                    acks.done(slots[slot as usize], std::iter::once(offset..offset + count));
                    (offset..offset + count).for_each(|offset| plain.done(offset, slot));
                }
                let mut ready = acks.take_ready();
                ready.sort_unstable();
                plain.ready.sort_unstable();
                prop_assert_eq!(ready, std::mem::take(&mut plain.ready));
                let state = acks.lock();
                prop_assert_eq!(state.open, plain.entries.iter().flatten().count());
                prop_assert!(state.stretches.front().is_none_or(|first| first.waits.is_some()), "{:?}", state);
                let ends: Vec<u64> = state.stretches.iter().map(|stretch| stretch.end).collect();
                prop_assert!(ends.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", state);
            }
        }
    }
}
