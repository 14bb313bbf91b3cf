//! The second half of a pipeline: from functions to sinks, and back with what became of each record.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ferrule_model::component::Columns;
use ferrule_model::ids::Uid;
use ferrule_model::record::{Batch, BatchError, Column, RecordAddress, RecordId};
use tokio::time::Instant;

use super::{From, Held, LOOK, Pipeline, Taken};
use crate::dead_letter::{DeadLetter, LetterCode};
use crate::delivery::{Blame, Done, Outcome, Verdict, WriteRun};
use crate::functions::Passed;
use crate::letters::Burden;
use crate::lot::Lot;
use crate::plan::OnError;
use crate::progress::Progress;
use crate::replay::Replayed;
use crate::sink::{SinkReply, WriteRequest};

impl Pipeline {
    /// The functions are through with a batch.
    pub(super) fn passed(&mut self, taken: &Arc<Taken>, count: usize, passed: Passed) {
        let now = self.begun.elapsed();
        if let [exit] = passed.exits.as_slice()
            && passed.refused.is_empty()
            && exit.lot.is_plain()
            && exit.lot.len() == count
        {
            // Each record is its one output, and done with it.
            for exit in passed.exits {
                self.offer(now, exit.sink, Held { lot: exit.lot, taken: taken.clone() });
            }
            return;
        }
        let mut named = vec![false; count];
        for exit in passed.exits {
            let held = Held { lot: exit.lot, taken: taken.clone() };
            for row in 0..held.lot.len() {
                self.burden(&held, row as u32, &mut named);
            }
            self.offer(now, exit.sink, held);
        }
        for refused in passed.refused {
            let steps = self.shared.steps();
            let step = steps.into_iter().nth(refused.step);
            let (step, component) = step.map(|(name, shared)| (name, shared.component())).unwrap_or_default();
            let held = Arc::new(Held { lot: refused.lot, taken: taken.clone() });
            for (row, why) in (0..).zip(refused.reasons) {
                self.burden(&held, row, &mut named);
                self.give_up(&held, row, &step, &component, why, 1);
            }
        }
        let filtered = named.iter().filter(|named| !**named).count().saturating_sub(taken.duplicates.len());
        self.shared.filtered(filtered as u64);
        if let Some(progress) = self.progress(taken.from) {
            progress.done_all(taken.first_offset..taken.first_offset + count as u64);
        }
        self.answer_replays();
    }

    /// Hands records to delivery.
    fn offer(&mut self, now: Duration, sink: usize, held: Held) {
        if held.lot.is_empty() {
            return;
        }
        if self.shared.tail.is_watched() {
            self.watch(&held.lot, &held.taken);
        }
        let records = &held.lot.records;
        let partition = held.taken.partition.to_le_bytes();
        // A record without a key is in order with those of its partition.
        let key = |row: usize| match records.key.get(row) {
            [] => &partition[..],
            key => key,
        };
        let end = |column: &Column, row: usize| column.ends.get(row).copied().unwrap_or_default() as usize;
        let until = |row| end(&records.payload, row) + end(&records.key, row) + end(&records.headers, row);
        let size = |row: usize| until(row).saturating_sub(row.checked_sub(1).map_or(0, until));
        let ids = self.delivery.offer_all(now, sink, records.len(), key, size);
        self.outputs.add(ids.start, held);
    }

    /// An output, or a letter, stands between its inputs and their end.
    fn burden(&mut self, held: &Held, row: u32, named: &mut [bool]) {
        let Some(progress) = self.progress(held.taken.from) else { return };
        for root in held.lot.roots(row) {
            progress.add(held.taken.first_offset + u64::from(root));
            if let Some(named) = named.get_mut(root as usize) {
                *named = true;
            }
        }
    }

    pub(super) fn relieve(&mut self, burden: &Burden) {
        if let Some(progress) = self.progress(burden.from) {
            for offset in &burden.offsets {
                progress.done(*offset);
            }
        }
        if matches!(burden.from, From::Replay(_)) {
            self.answer_replays();
        }
    }

    /// How far the records are that came from there.
    fn progress(&mut self, from: From) -> Option<&mut Progress> {
        match from {
            From::Source(source) => Some(&mut self.sources.get_mut(source)?.progress),
            From::Replay(number) => Some(&mut self.replays.get_mut(&number)?.progress),
        }
    }

    /// Notes what became of letters that were offered again.
    fn note(&mut self, burden: &Burden, outcome: Replayed) {
        let From::Replay(number) = burden.from else { return };
        let Some(replaying) = self.replays.get_mut(&number) else { return };
        for index in &burden.offsets {
            replaying.note(*index, outcome);
        }
    }

    /// Hears all that sinks have answered so far.
    pub(super) fn hear(&mut self) {
        while let Ok(reply) = self.replies.try_recv() {
            self.reply(reply);
        }
    }

    pub(super) fn reply(&mut self, reply: SinkReply) {
        let now = self.begun.elapsed();
        match reply {
            SinkReply::Outcomes(answers) => {
                for ids in answers.delivered {
                    for run in self.delivery.delivered(ids) {
                        self.shared.attempted(run.attempts, run.ids.end - run.ids.start);
                        self.delivered(&run.ids);
                    }
                }
                for (id, outcome) in answers.others {
                    if let Outcome::Retry { reason, .. } = &outcome {
                        self.shared.postponed(reason);
                        self.postponed.get_or_insert(now);
                    }
                    if let Some(done) = self.delivery.outcome(now, id, outcome) {
                        self.finish(done);
                    }
                }
            }
            SinkReply::Lost { sink, ids, blame } => {
                for done in self.delivery.lost(now, sink, &ids, blame) {
                    self.finish(done);
                }
            }
        }
    }

    /// The sinks have these records.
    fn delivered(&mut self, ids: &Range<u64>) {
        let mut next = ids.start;
        while next < ids.end {
            let Some((held, row)) = self.outputs.find(next).map(|(held, row)| (held.clone(), row)) else { return };
            let rows = row..(held.lot.len() as u32).min(row + (ids.end - next) as u32);
            let first = next;
            next += u64::from(rows.end - rows.start);
            let bytes = held.lot.records.size_of(rows.start as usize..rows.end as usize);
            self.outputs.release(first..next);
            self.shared.delivered(next - first, bytes as u64);
            if held.lot.is_plain()
                && let From::Source(_) = held.taken.from
            {
                let first = held.taken.first_offset;
                if let Some(progress) = self.progress(held.taken.from) {
                    progress.done_all(first + u64::from(rows.start)..first + u64::from(rows.end));
                }
                continue;
            }
            for row in rows {
                let burden = Burden { from: held.taken.from, offsets: self.offsets(&held, row) };
                self.note(&burden, Replayed::Delivered);
                self.relieve(&burden);
            }
        }
    }

    /// A record is done, one way or the other.
    pub(super) fn finish(&mut self, done: Done) {
        self.shared.attempted(done.attempts, 1);
        let (code, reason) = match done.verdict {
            Verdict::Delivered => return self.delivered(&(done.id..done.id + 1)),
            Verdict::GivenUp { code, reason } => (code, reason),
        };
        let Some((held, row)) = self.outputs.find(done.id).map(|(held, row)| (held.clone(), row)) else { return };
        self.outputs.release(done.id..done.id + 1);
        let link = self.sinks.get(done.sink).and_then(|side| side.link.as_ref());
        let (name, digest) = link.map(|link| (link.name.to_string(), link.component())).unwrap_or_default();
        self.give_up(&held, row, &name, &digest, (code, reason), done.attempts);
    }

    fn offsets(&self, held: &Held, row: u32) -> Vec<u64> {
        held.lot.roots(row).map(|root| held.taken.first_offset + u64::from(root)).collect()
    }

    fn give_up(
        &mut self,
        held: &Held,
        row: u32,
        step: &str,
        component: &str,
        (code, reason): (LetterCode, String),
        attempts: u32,
    ) {
        let burden = Burden { from: held.taken.from, offsets: self.offsets(held, row) };
        self.note(&burden, Replayed::GivenUp);
        if self.order.plan.on_error == OnError::Drop {
            self.shared.dropped(1);
            return self.relieve(&burden);
        }
        let (stream, address, id) = self.identity(&held.lot, row, &held.taken);
        let attempts = attempts + self.replayed(held, row).map_or(0, |letter| letter.attempts);
        let plan = &self.order.plan;
        self.letters.add(&held.lot.records, row as usize, burden, |letter| {
            letter.id = id;
            letter.stream = stream;
            letter.address = address;
            letter.pipeline = Some(plan.uid.clone());
            letter.pipeline_name.clone_from(&plan.name);
            step.clone_into(&mut letter.step);
            component.clone_into(&mut letter.component);
            letter.code = code;
            letter.reason = reason;
            letter.attempts = attempts;
        });
    }

    /// The letter that a record came of, if it did.
    fn replayed(&self, held: &Held, row: u32) -> Option<&DeadLetter> {
        self.letter(&held.taken, held.lot.root(row))
    }

    fn letter(&self, taken: &Taken, root: u32) -> Option<&DeadLetter> {
        let From::Replay(number) = taken.from else { return None };
        let index = usize::try_from(taken.first_offset).ok()? + root as usize;
        self.replays.get(&number)?.letters.get(index)
    }

    /// The stream that a record came from, where it was taken in, and its id.
    fn identity(&self, lot: &Lot, row: u32, taken: &Taken) -> (Uid, Option<RecordAddress>, RecordId) {
        let root = lot.root(row);
        if let Some(letter) = self.letter(taken, root) {
            return (letter.stream.clone(), letter.address.clone(), lot.id(row, letter.id));
        }
        let stream = match taken.from {
            From::Source(source) => self.sources.get(source).map(|side| side.uid.clone()).unwrap_or_default(),
            From::Replay(_) => Uid::default(),
        };
        let address =
            RecordAddress { stream, partition: taken.partition, offset: taken.first_offset + u64::from(root) };
        let id = match taken.upstream_ids.get(root as usize) {
            [] => RecordId::of_address(&address),
            upstream => RecordId::of_upstream(&address.stream, upstream),
        };
        (address.stream.clone(), Some(address), lot.id(row, id))
    }

    fn watch(&self, lot: &Lot, taken: &Taken) {
        for row in 0..lot.len() {
            self.shared.tail.send(&lot.records, row, || {
                let (_, address, id) = self.identity(lot, row as u32, taken);
                (address, Some(id))
            });
        }
    }

    /// Raises or clears the alert of a record in retry, at most once in a while: all that is held is looked at.
    pub(super) fn look_at_retries(&mut self) {
        if self.postponed.is_none() || Instant::now() < self.looked + LOOK {
            return;
        }
        self.looked = Instant::now();
        self.postponed = self.delivery.postponed_since();
        self.shared.retrying(self.postponed.map(|since| self.begun.elapsed().saturating_sub(since)));
    }

    /// Writes what may be written to the sinks that are ready.
    pub(super) fn write(&mut self, now: Duration) {
        for sink in 0..self.sinks.len() {
            let Some(link) = self.sinks.get_mut(sink).and_then(|side| side.link.as_mut()) else { continue };
            let status = *link.status.borrow_and_update();
            let link = link.clone();
            if !status.ready {
                continue;
            }
            // What a former session left behind comes before what this one is given.
            self.hear();
            loop {
                let runs = self.delivery.next_runs(now, sink);
                if runs.is_empty() {
                    break;
                }
                let Some(origin) = self.sinks.get(sink).map(|side| side.origin.clone()) else { break };
                let again = runs.iter().filter(|run| run.attempt > 1).map(|run| run.ids.end - run.ids.start).sum();
                self.shared.retried(again);
                let ids: Vec<Range<u64>> = runs.iter().map(|run| run.ids.clone()).collect();
                let sent = match self.gather(&runs, status.reads.contains(Columns::RECORD_IDS)) {
                    Ok(records) => {
                        self.shared.batch(records.len() as u64);
                        link.write(WriteRequest { origin, session: status.session, ids: ids.clone(), records })
                    }
                    Err(error) => {
                        self.shared.error(error.to_string());
                        false
                    }
                };
                if !sent {
                    let ids: Vec<u64> = ids.into_iter().flatten().collect();
                    self.delivery.lost(now, sink, &ids, Blame::None);
                    break;
                }
            }
        }
    }

    /// The batch of these records; neighbours share their bytes.
    fn gather(&self, runs: &[WriteRun], with_ids: bool) -> Result<Batch, BatchError> {
        let mut parts: Vec<(&Held, Range<u32>)> = Vec::new();
        let mut attempts = Vec::new();
        for run in runs {
            attempts.extend(std::iter::repeat_n(run.attempt, (run.ids.end - run.ids.start) as usize));
            let mut next = run.ids.start;
            while next < run.ids.end {
                let Some((held, row)) = self.outputs.find(next) else { break };
                let rows = row..(held.lot.len() as u32).min(row + (run.ids.end - next) as u32);
                next += u64::from(rows.end - rows.start);
                match parts.last_mut() {
                    Some((other, last)) if std::ptr::eq(*other, &**held) && last.end == rows.start => {
                        last.end = rows.end;
                    }
                    _ => parts.push((held, rows)),
                }
            }
        }
        let mut batches = Vec::with_capacity(parts.len());
        for (held, rows) in parts {
            let mut batch = held.lot.records.slice(rows.start as usize..rows.end as usize);
            batch.tokens = Default::default();
            batch.upstream_ids = Column::default();
            if with_ids {
                batch.record_ids = Column::of(rows.map(|row| self.identity(&held.lot, row, &held.taken).2.to_hex()))?;
            }
            batches.push(batch);
        }
        Ok(Batch { attempts: attempts.into(), ..Batch::concat(&batches)? })
    }
}
