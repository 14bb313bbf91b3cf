//! The second half of a pipeline: from functions to sinks, and back with what became of each record.

use std::sync::Arc;
use std::time::Duration;

use ferrule_model::component::Columns;
use ferrule_model::ids::Uid;
use ferrule_model::record::{Batch, BatchError, Column, RecordAddress, RecordId};

use super::{From, Held, Output, Pipeline, Taken};
use crate::dead_letter::{DeadLetter, LetterCode};
use crate::delivery::{Done, Outcome, Verdict};
use crate::functions::Passed;
use crate::letters::Burden;
use crate::lot::Lot;
use crate::plan::{OnError, StepPlan};
use crate::progress::Progress;
use crate::replay::Replayed;
use crate::sink::{SinkReply, WriteRequest};

impl Pipeline {
    /// The functions are through with a batch.
    pub(super) fn passed(&mut self, taken: &Arc<Taken>, count: usize, passed: Passed) {
        let now = self.begun.elapsed();
        let mut named = vec![false; count];
        let size: usize = passed.exits.iter().map(|exit| exit.lot.records.size()).sum();
        self.bytes = self.bytes.saturating_sub(taken.size) + size;
        for exit in passed.exits {
            if self.shared.tail.is_watched() {
                self.watch(&exit.lot, taken);
            }
            let held = Arc::new(Held { lot: exit.lot, taken: taken.clone() });
            let records = &held.lot.records;
            for row in 0..records.len() {
                self.burden(&held, row as u32, &mut named);
                self.delivery.offer(now, exit.sink, records.key.get(row), records.record_size(row));
                self.outputs.push_back(Some(Output { held: held.clone(), row: row as u32 }));
            }
        }
        for refused in passed.refused {
            let name = self.order.plan.steps.get(refused.step).map(|step| (step.name.clone(), digest(step)));
            let (step, component) = name.unwrap_or_default();
            let held = Arc::new(Held { lot: refused.lot, taken: taken.clone() });
            for (row, why) in (0..).zip(refused.reasons) {
                self.burden(&held, row, &mut named);
                self.give_up(&held, row, &step, &component, why, 1);
            }
        }
        let filtered = named.iter().filter(|named| !**named).count().saturating_sub(taken.duplicates.len());
        self.shared.filtered(filtered as u64);
        if let Some(progress) = self.progress(taken.from) {
            for offset in (taken.first_offset..).take(count) {
                progress.done(offset);
            }
        }
        self.recount();
        self.answer_replays();
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
        self.recount();
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

    /// With nothing in hand, nothing is held.
    fn recount(&mut self) {
        if self.in_hand() == 0 {
            self.bytes = 0;
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
            SinkReply::Outcomes(outcomes) => {
                for (id, outcome) in outcomes {
                    if let Outcome::Retry { reason, .. } = &outcome {
                        self.shared.postponed(reason);
                    }
                    if let Some(done) = self.delivery.outcome(now, id, outcome) {
                        self.finish(done);
                    }
                }
            }
            SinkReply::Lost { sink, ids, crashed } => {
                for done in self.delivery.lost(now, sink, &ids, crashed) {
                    self.finish(done);
                }
            }
        }
    }

    pub(super) fn finish(&mut self, done: Done) {
        let Some(index) = done.id.checked_sub(self.first_output) else { return };
        let Some(output) = self.outputs.get_mut(index as usize).and_then(Option::take) else { return };
        while matches!(self.outputs.front(), Some(None)) {
            self.outputs.pop_front();
            self.first_output += 1;
        }
        let size = output.held.lot.records.record_size(output.row as usize);
        self.bytes = self.bytes.saturating_sub(size);
        match done.verdict {
            Verdict::Delivered => {
                self.shared.delivered(1, size as u64);
                let offsets = self.offsets(&output.held, output.row);
                let burden = Burden { from: output.held.taken.from, offsets };
                self.note(&burden, Replayed::Delivered);
                self.relieve(&burden);
            }
            Verdict::GivenUp { code, reason } => {
                let link = self.sinks.get(done.sink).and_then(|side| side.link.as_ref());
                let (name, digest) =
                    link.map(|link| (link.name.to_string(), link.digest.to_string())).unwrap_or_default();
                self.give_up(&output.held, output.row, &name, &digest, (code, reason), done.attempts);
            }
        }
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
                let writes = self.delivery.next_write(now, sink);
                if writes.is_empty() {
                    break;
                }
                let retried = writes.iter().filter(|write| write.attempt > 1).count();
                self.shared.retried(retried as u64);
                let ids: Vec<u64> = writes.iter().map(|write| write.id).collect();
                let attempts = writes.iter().map(|write| write.attempt).collect();
                let Some(origin) = self.sinks.get(sink).map(|side| side.origin.clone()) else { break };
                let gathered = self.gather(&ids, link.reads.contains(Columns::RECORD_IDS));
                let sent = match gathered {
                    Ok(records) => {
                        let records = Batch { attempts, ..records };
                        link.write(WriteRequest { origin, session: status.session, ids: ids.clone(), records })
                    }
                    Err(error) => {
                        self.shared.error(error.to_string());
                        false
                    }
                };
                if !sent {
                    self.delivery.lost(now, sink, &ids, false);
                    break;
                }
            }
        }
    }

    /// The batch of these outputs; neighbours share their bytes.
    fn gather(&self, ids: &[u64], with_ids: bool) -> Result<Batch, BatchError> {
        let mut runs: Vec<(&Arc<Held>, Vec<u32>)> = Vec::new();
        let output = |id: &u64| self.outputs.get(usize::try_from(id.checked_sub(self.first_output)?).ok()?)?.as_ref();
        for output in ids.iter().filter_map(output) {
            match runs.last_mut() {
                Some((held, rows)) if Arc::ptr_eq(held, &output.held) => rows.push(output.row),
                _ => runs.push((&output.held, vec![output.row])),
            }
        }
        let mut batches = Vec::with_capacity(runs.len());
        for (held, rows) in runs {
            let mut batch = held.lot.records.select(&rows)?;
            batch.tokens = Default::default();
            batch.upstream_ids = Column::default();
            if with_ids {
                let id = |row: &u32| self.identity(&held.lot, *row, &held.taken).2.to_hex();
                batch.record_ids = Column::of(rows.iter().map(id))?;
            }
            batches.push(batch);
        }
        Batch::concat(&batches)
    }
}

fn digest(step: &StepPlan) -> String {
    step.guest.component.artifact().digest().to_owned()
}
