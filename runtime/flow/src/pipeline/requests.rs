//! What a pipeline is asked to do once: to offer dead letters again, and to read again from somewhere else.

use std::sync::Arc;

use ferrule_model::ids::Uid;
use ferrule_model::record::Column;
use ferrule_transport::{Durability, Log};
use tokio::sync::oneshot;

use super::{From, Offer, Pipeline, Taken};
use crate::dead_letter::DeadLetter;
use crate::error::FlowError;
use crate::functions::{Exit, Passed};
use crate::lot::Lot;
use crate::replay::{Replayed, Replaying, Request, RewindTo, records};

impl Pipeline {
    pub(super) async fn request(&mut self, request: Request) {
        // Whoever asked may not wait any more.
        match request {
            Request::Replay(letters, answer) => self.replay(letters, answer),
            Request::Rewind(to, answer) => {
                let rewound = self.rewind(to).await;
                let _ = answer.send(rewound);
            }
        }
    }

    async fn rewind(&mut self, to: RewindTo) -> Result<Vec<(Uid, u64)>, FlowError> {
        for uid in &self.order.plan.sources {
            replayable(&*self.around.log, uid)?;
        }
        if let Some(error) = self.rebuild(Some(to)).await {
            // Nobody is told of a rewind that comes later: what is not read yet goes on where it was.
            self.absent.iter_mut().for_each(|absent| absent.rewind = None);
            return Err(error);
        }
        Ok(self.sources.iter().map(|side| (side.uid.clone(), side.reader.position())).collect())
    }

    /// Sorts letters by the step or sink that each was given up at; neighbours go together.
    fn replay(&mut self, letters: Vec<DeadLetter>, answer: oneshot::Sender<Result<Vec<Replayed>, FlowError>>) {
        let plan = &self.order.plan;
        if plan.held {
            let _ = answer.send(Err(FlowError::Paused(plan.name.clone())));
            return;
        }
        let number = self.next_replay;
        let mut offers: Vec<Offer> = Vec::new();
        for (index, letter) in letters.iter().enumerate() {
            let step = match plan.steps.iter().position(|step| step.name == letter.step) {
                Some(step) => step,
                None => {
                    let sink = self
                        .sinks
                        .iter()
                        .position(|side| side.link.as_ref().is_some_and(|link| *link.name == *letter.step));
                    let Some(sink) = sink else {
                        let _ = answer.send(Err(self.no_such_place(&letter.step)));
                        return;
                    };
                    plan.steps.len() + sink
                }
            };
            match offers.last_mut() {
                Some(last) if last.step == step && last.letters.len() < plan.batch.records.max(1) as usize => {
                    last.letters.end = index + 1;
                }
                _ => offers.push(Offer { step, replay: number, letters: index..index + 1 }),
            }
        }
        self.next_replay += 1;
        self.offers.extend(offers);
        self.replays.insert(number, Replaying::new(letters, answer));
        self.answer_replays();
    }

    fn no_such_place(&self, step: &str) -> FlowError {
        let plan = &self.order.plan;
        let sinks = self.sinks.iter().filter_map(|side| side.link.as_ref()).map(|link| link.name.to_string());
        let names: Vec<String> = plan.steps.iter().map(|step| step.name.clone()).chain(sinks).collect();
        FlowError::UnknownStep { pipeline: plan.name.clone(), step: step.to_owned(), steps: names.join(", ") }
    }

    /// Begins the next part of what is offered again, when the functions are free.
    pub(super) fn offer_again(&mut self) {
        while self.is_free() {
            let Some(offer) = self.offers.pop_front() else { return };
            let Some(replaying) = self.replays.get(&offer.replay) else { continue };
            let letters: Vec<&DeadLetter> =
                replaying.letters.get(offer.letters.clone()).into_iter().flatten().collect();
            let batch = match records(&letters) {
                Ok(batch) => batch,
                Err(error) => {
                    self.shared.error(error.to_string());
                    self.replays.remove(&offer.replay);
                    continue;
                }
            };
            let (count, size) = (batch.len(), batch.size());
            let steps = self.order.plan.steps.len();
            let taken = Arc::new(Taken {
                from: From::Replay(offer.replay),
                first_offset: offer.letters.start as u64,
                partition: 0,
                upstream_ids: Column::default(),
                duplicates: Vec::new(),
                size,
            });
            let lot = Lot::input_of_step(batch, offer.step.min(steps));
            match offer.step.checked_sub(steps) {
                Some(sink) => {
                    self.passed(&taken, count, Passed { exits: vec![Exit { sink, lot }], refused: Vec::new() });
                }
                None => self.begin(offer.step, taken, count, lot),
            }
        }
    }

    /// Tells those who asked what became of their letters, once that is known of all.
    pub(super) fn answer_replays(&mut self) {
        let done: Vec<u64> =
            self.replays.iter().filter(|(_, replay)| replay.progress.open() == 0).map(|(number, _)| *number).collect();
        for replay in done.iter().filter_map(|number| self.replays.remove(number)).collect::<Vec<_>>() {
            replay.answer();
        }
    }
}

/// Whether a stream can be read again.
fn replayable(log: &dyn Log, stream: &Uid) -> Result<(), FlowError> {
    if log.guarantees(Durability::System).replayable {
        return Ok(());
    }
    Err(FlowError::NotReplayable { log: log.name(), stream: stream.clone() })
}
