//! Dead letters that are offered to their pipeline again, and where a pipeline is told to read again.

use ferrule_model::ids::Uid;
use ferrule_model::record::{Batch, BatchBuilder, BatchError, HeadersRef, NO_TIMESTAMP, RecordRef};
use tokio::sync::oneshot;

use crate::dead_letter::DeadLetter;
use crate::error::FlowError;
use crate::progress::Progress;

/// What became of a letter that was offered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The sinks have all that came of it.
    Delivered,
    /// A function dropped it.
    Filtered,
    /// It was given up again, and a new letter is stored that says why, or it was dropped as the pipeline's policy says.
    GivenUp,
}

/// Where a pipeline is to read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewindTo {
    /// At the oldest record that the log holds.
    Beginning,
    /// At the first record that was appended at this time or later, in milliseconds since 1970.
    Time(i64),
    /// At this offset, in each of its streams.
    Offset(u64),
}

/// What a pipeline's task is asked to do once, each with the way to answer.
#[derive(Debug)]
pub(crate) enum Request {
    /// Offer these again.
    Replay(Vec<DeadLetter>, oneshot::Sender<Result<Vec<Replayed>, FlowError>>),
    /// Read from there; the answer says from which offset in which stream.
    Rewind(RewindTo, oneshot::Sender<Result<Vec<(Uid, u64)>, FlowError>>),
}

/// Letters that are offered again together.
#[derive(Debug)]
pub(crate) struct Replaying {
    pub(crate) letters: Vec<DeadLetter>,
    /// How far they are, by their index.
    pub(crate) progress: Progress,
    /// What became of each so far; none: nothing yet.
    outcomes: Vec<Option<Replayed>>,
    answer: oneshot::Sender<Result<Vec<Replayed>, FlowError>>,
}

impl Replaying {
    pub(crate) fn new(letters: Vec<DeadLetter>, answer: oneshot::Sender<Result<Vec<Replayed>, FlowError>>) -> Self {
        let mut progress = Progress::default();
        progress.take(0, letters.len());
        Self { outcomes: vec![None; letters.len()], letters, progress, answer }
    }

    /// The worst that became of any part of a letter is what became of it.
    pub(crate) fn note(&mut self, index: u64, outcome: Replayed) {
        let Some(place) = usize::try_from(index).ok().and_then(|index| self.outcomes.get_mut(index)) else { return };
        if *place != Some(Replayed::GivenUp) {
            *place = Some(outcome);
        }
    }

    /// All letters have their outcome.
    pub(crate) fn answer(self) {
        let outcomes = self.outcomes.into_iter().map(|outcome| outcome.unwrap_or(Replayed::Filtered)).collect();
        // Whoever asked may not wait any more.
        let _ = self.answer.send(Ok(outcomes));
    }
}

/// The letters as records.
pub(crate) fn records(letters: &[&DeadLetter]) -> Result<Batch, BatchError> {
    let mut batch = BatchBuilder::new();
    for letter in letters {
        batch.push(&RecordRef {
            payload: &letter.payload,
            key: &letter.key,
            headers: HeadersRef::new(&letter.headers),
            timestamp: letter.timestamp_ns.unwrap_or(NO_TIMESTAMP),
            ..RecordRef::default()
        })?;
    }
    Ok(batch.finish())
}
