//! The task that takes batches through the functions of one pipeline. What one function does with a batch is in `step`, one instance
//! of it in `instance`, how a component takes the place of another in `takeover`.

mod instance;
mod step;
mod takeover;

use std::sync::Arc;

use ferrule_host::CallError;
use ferrule_model::ids::Uid;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backoff::BackoffPolicy;
use crate::dead_letter::LetterCode;
use crate::guest::Guest;
use crate::lot::Lot;
use crate::plan::{PipelinePlan, StepPlan};
use crate::shared::Shared;
use crate::snapshot::StreamState;
pub(crate) use instance::open;
use step::{Routes, Step, unfit};

/// Rows that leave the chain for a sink.
#[derive(Debug)]
pub(crate) struct Exit {
    /// The pipeline's number for the sink.
    pub(crate) sink: usize,
    pub(crate) lot: Lot,
}

/// Rows that a step refused, each with the reason.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) step: usize,
    pub(crate) lot: Lot,
    pub(crate) reasons: Vec<(LetterCode, String)>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) exits: Vec<Exit>,
    pub(crate) refused: Vec<Refused>,
}

/// The functions are to end; what they had in hand is given up.
#[derive(Debug)]
pub(crate) struct Cancelled;

/// Why a call was not made to the end.
enum Halt {
    Cancelled,
    /// The component is on trial, and this is held against it.
    Failed(CallError),
}

impl From<Cancelled> for Halt {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// The functions of a pipeline, as its task reaches them.
pub(crate) struct FunctionsLink {
    batches: mpsc::Sender<(usize, Lot)>,
    results: mpsc::Receiver<Passed>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Functions>,
}

impl FunctionsLink {
    pub(crate) fn start(functions: Functions) -> Self {
        let (batches, inputs) = mpsc::channel(1);
        let (outputs, results) = mpsc::channel(1);
        let cancel = functions.cancel.clone();
        let task = tokio::spawn(functions.run(inputs, outputs));
        Self { batches, results, cancel, task }
    }

    /// Hands over a batch that begins at step `from`; at most one is under way.
    pub(crate) fn offer(&self, from: usize, lot: Lot) -> bool {
        self.batches.try_send((from, lot)).is_ok()
    }

    /// What became of the batch; none when the functions have ended.
    pub(crate) async fn result(&mut self) -> Option<Passed> {
        self.results.recv().await
    }

    /// Ends the work of the functions; they are still open, for others to take their place.
    pub(crate) async fn end(self) -> Option<Functions> {
        self.cancel.cancel();
        drop(self.batches);
        drop(self.results);
        // It ends by itself: every call has the host's deadline.
        self.task.await.ok()
    }
}

/// The functions of one pipeline.
pub(crate) struct Functions {
    steps: Vec<Step>,
    /// Guests that are to be closed before any is opened.
    before: Vec<Box<dyn Guest>>,
    cancel: CancellationToken,
}

impl Functions {
    /// The functions of a plan; `before` are those whose place they take.
    pub(crate) fn new(
        plan: &PipelinePlan,
        shared: &[Arc<Shared>],
        backoff: &BackoffPolicy,
        before: Option<Functions>,
    ) -> Self {
        let sinks = plan.sinks();
        let leads = |(name, uid): (&String, &Uid)| Some((name.clone(), sinks.iter().position(|sink| sink == uid)?));
        let routes = Arc::new(Routes(plan.routes.iter().filter_map(leads).collect()));
        let mut before = before.map(|before| before.steps).unwrap_or_default();
        let step = |(planned, shared): (&StepPlan, &Arc<Shared>)| {
            let mut step = Step::new(planned, shared, backoff, &routes);
            if let Some(old) = before.iter_mut().find(|old| old.name == planned.name) {
                step.follow(old);
            }
            step
        };
        let steps = plan.steps.iter().zip(shared).map(step).collect();
        let guests =
            |step: Step| step.leaving.into_iter().chain(step.instances.into_iter().filter_map(|one| one.guest));
        let before = before.into_iter().flat_map(guests).collect();
        Self { steps, before, cancel: CancellationToken::new() }
    }

    async fn run(mut self, mut inputs: mpsc::Receiver<(usize, Lot)>, outputs: mpsc::Sender<Passed>) -> Self {
        let cancel = self.cancel.clone();
        close_all(&mut self.before).await;
        let opened = self.open_all().await;
        if opened.is_ok() {
            while let Some((from, lot)) = tokio::select! {
                batch = inputs.recv() => batch,
                () = cancel.cancelled() => None,
            } {
                let passed = match self.pass(from, lot).await {
                    Ok(passed) => passed,
                    Err(Cancelled) => break,
                };
                if outputs.send(passed).await.is_err() {
                    break;
                }
            }
        }
        self
    }

    /// Closes the functions in an orderly way.
    pub(crate) async fn close(mut self) {
        close_all(&mut self.before).await;
        for step in &mut self.steps {
            close_all(&mut step.leaving).await;
            for instance in &mut step.instances {
                instance.close().await;
            }
            step.shared.set_state(StreamState::Stopped, "");
        }
    }

    /// Opens the functions before the first record comes, so that what is wrong shows at once.
    async fn open_all(&mut self) -> Result<(), Cancelled> {
        let cancel = self.cancel.clone();
        for step in &mut self.steps {
            step.open(&cancel).await?;
        }
        Ok(())
    }

    /// Takes a batch through the steps from `from` on. Where the answers of a step do not fit together it is given smaller parts, until
    /// the record is found with which that is so when it is alone; that one is refused.
    async fn pass(&mut self, from: usize, lot: Lot) -> Result<Passed, Cancelled> {
        let cancel = self.cancel.clone();
        let mut passed = Passed::default();
        let mut parts = vec![(from, lot)];
        while let Some((from, lot)) = parts.pop() {
            let (mut at, mut lot) = (from, lot);
            while let Some(step) = self.steps.get_mut(at).filter(|_| !lot.is_empty()) {
                let error = match step.pass(at, &lot, &cancel, &mut passed).await? {
                    Ok(rest) => {
                        (at, lot) = (at + 1, rest);
                        continue;
                    }
                    Err(error) => unfit(&error),
                };
                step.shared.error(error.clone());
                match halves(&lot) {
                    Some((first, second)) => parts.extend([(at, second), (at, first)]),
                    None => {
                        let reasons = vec![(LetterCode::Malformed, error); lot.len()];
                        passed.refused.push(Refused { step: at, lot: lot.clone(), reasons });
                    }
                }
                lot = Lot::default();
            }
            if !lot.is_empty() {
                passed.exits.push(Exit { sink: 0, lot });
            }
        }
        Ok(passed)
    }
}

/// A batch in two parts; none if it is too small.
fn halves(lot: &Lot) -> Option<(Lot, Lot)> {
    let (middle, len) = (lot.len() as u32 / 2, lot.len() as u32);
    let part = |rows: std::ops::Range<u32>| lot.select(&rows.collect::<Vec<u32>>()).ok();
    if middle == 0 { None } else { Some((part(0..middle)?, part(middle..len)?)) }
}

/// Closes guests in an orderly way; how that ends makes no difference any more.
async fn close_all(guests: &mut Vec<Box<dyn Guest>>) {
    for mut guest in guests.drain(..) {
        if let Err(error) = guest.close().await {
            tracing::debug!("the session did not close in an orderly way: {error}");
        }
    }
}
