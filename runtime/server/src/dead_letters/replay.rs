//! Dead letters offered to their pipelines again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ferrule_api::report::ReplayProgress;
use ferrule_api::request::DeadLetterQuery;
use ferrule_api::{Error, Reports};
use ferrule_flow::{FlowError, Replayed};
use ferrule_model::{Code, Diagnostic, Kind, Uid};
use tokio::sync::mpsc;

use super::calls::{blocking, obstacle, refused, select};
use super::{Claimed, Entry};
use crate::platform::Inner;
use crate::world::Found;

/// Letters of one batch at most, and bytes beyond the first of them.
const BATCH: usize = 1_000;
const BATCH_BYTES: u64 = 8 << 20;

/// Problems that are told one by one.
const TOLD: u64 = 20;

/// Offers the letters that a query asks for, and tells after each batch how far it is. When nobody listens any more it ends with
/// the batch under way.
pub(crate) async fn replay(inner: Arc<Inner>, query: DeadLetterQuery) -> Result<Reports<ReplayProgress>, Error> {
    let entries = select(&inner, &query).await?;
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(Replay::new(inner, entries.len() as u64, sender).run(entries));
    Ok(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver)))
}

/// The letters of one pipeline in a batch, with their numbers.
type Group = Vec<(u64, ferrule_flow::DeadLetter)>;

struct Replay {
    inner: Arc<Inner>,
    progress: ReplayProgress,
    told: u64,
    /// Pipelines that take nothing; why is told once.
    refusing: BTreeSet<Uid>,
    sender: mpsc::Sender<Result<ReplayProgress, Error>>,
}

impl Replay {
    fn new(inner: Arc<Inner>, total: u64, sender: mpsc::Sender<Result<ReplayProgress, Error>>) -> Self {
        let progress = ReplayProgress { total, ..ReplayProgress::default() };
        Self { inner, progress, told: 0, refusing: BTreeSet::new(), sender }
    }

    async fn run(mut self, entries: Vec<Entry>) {
        let mut rest = &entries[..];
        loop {
            let (batch, behind) = rest.split_at(batch_length(rest));
            rest = behind;
            let numbers: Vec<u64> = batch.iter().map(|entry| entry.number).collect();
            if let Err(error) = self.batch(numbers).await {
                let _ = self.sender.send(Err(error)).await;
                return;
            }
            let report = self.progress.clone();
            self.progress.problems.clear();
            if self.sender.send(Ok(report)).await.is_err() || rest.is_empty() || self.inner.stopping.is_cancelled() {
                return;
            }
        }
    }

    async fn batch(&mut self, numbers: Vec<u64>) -> Result<(), Error> {
        let store = self.inner.dead_letters.clone();
        let asked = numbers.len() as u64;
        let mut claimed = blocking(move || Ok(store.claim(&numbers))).await?;
        for number in &claimed.busy {
            self.leave(1, || {
                Diagnostic::new(Code::LetterBusy, format!("dead letter {number} is being replayed by somebody else"))
            });
        }
        for error in &claimed.damaged {
            self.leave(1, || Diagnostic::new(Code::DataFolder, error.to_string()));
        }
        // Those that somebody removed meanwhile need nothing any more.
        let there = claimed.busy.len() + claimed.damaged.len() + claimed.letters.len();
        self.progress.left += asked - there as u64;
        let mut groups: BTreeMap<Uid, Group> = BTreeMap::new();
        for (number, letter) in &claimed.letters {
            match (obstacle(letter), &letter.pipeline) {
                (None, Some(pipeline)) => {
                    groups.entry(pipeline.clone()).or_default().push((*number, letter.clone()));
                }
                (why, _) => self.leave(1, || {
                    let why = why.unwrap_or_default();
                    let text = format!("dead letter {number} cannot be replayed: {why}");
                    Diagnostic::new(Code::NotRepeatable, text)
                }),
            }
        }
        for (pipeline, group) in groups {
            claimed = self.group(pipeline, group, claimed).await?;
        }
        Ok(())
    }

    /// Offers the letters of one pipeline, and removes those that have an outcome.
    async fn group(&mut self, pipeline: Uid, group: Group, claimed: Claimed) -> Result<Claimed, Error> {
        let count = group.len() as u64;
        if self.refusing.contains(&pipeline) {
            self.progress.left += count;
            return Ok(claimed);
        }
        let (numbers, letters): (Vec<u64>, Vec<_>) = group.into_iter().unzip();
        let name = letters.first().map(|letter| letter.pipeline_name.clone()).unwrap_or_default();
        let target = self.target(&pipeline, &name).await?;
        match self.inner.flow.replay(&target, letters).await {
            Ok(outcomes) => {
                for outcome in &outcomes {
                    let count = match outcome {
                        Replayed::Delivered => &mut self.progress.delivered,
                        Replayed::Filtered => &mut self.progress.filtered,
                        Replayed::GivenUp => &mut self.progress.given_up,
                    };
                    *count += 1;
                }
                let done: BTreeSet<u64> = numbers.into_iter().zip(outcomes).map(|(number, _)| number).collect();
                blocking(move || {
                    claimed.finish(done).map_err(|error| {
                        let text = format!(
                            "what was replayed has its outcome, but its dead letters cannot be removed: {error}; they will \
                             be offered again"
                        );
                        refused(Code::DataFolder, text)
                    })?;
                    Ok(claimed)
                })
                .await
            }
            Err(error) => {
                self.refusing.insert(pipeline);
                self.leave(count, || problem(&name, &error));
                Ok(claimed)
            }
        }
    }

    /// The pipeline that gave the letters up or, if it was deleted, the one that has its name now.
    async fn target(&self, pipeline: &Uid, name: &str) -> Result<Uid, Error> {
        let world = self.inner.world().await?;
        if world.object(Kind::Pipeline, pipeline).is_some() {
            return Ok(pipeline.clone());
        }
        match world.find(Kind::Pipeline, name, None) {
            Found::One(object) => Ok(object.uid().clone()),
            _ => Ok(pipeline.clone()),
        }
    }

    fn leave(&mut self, count: u64, problem: impl FnOnce() -> Diagnostic) {
        self.progress.left += count;
        self.told += 1;
        if self.told <= TOLD {
            self.progress.problems.push(problem());
        }
    }
}

fn batch_length(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += u64::from(entry.length);
        bytes <= BATCH_BYTES
    };
    entries.iter().take(BATCH).take_while(fits).count().max(1).min(entries.len())
}

fn problem(pipeline: &str, error: &FlowError) -> Diagnostic {
    let text = format!("dead letters of pipeline {pipeline} are not replayed: {error}");
    match error {
        FlowError::Unknown(_) => Diagnostic::new(
            Code::NotReady,
            format!("dead letters of pipeline {pipeline} are not replayed: it does not run"),
        )
        .help(
            "`ferrule describe pipeline` shows what is missing; if it was deleted, drop its letters, or apply it again",
        ),
        FlowError::UnknownStep { .. } => Diagnostic::new(Code::NotFound, text).help(
            "the step that gave them up is gone: apply the pipeline with a step of that name, or drop the letters",
        ),
        _ => Diagnostic::new(Code::NotReady, text),
    }
}
