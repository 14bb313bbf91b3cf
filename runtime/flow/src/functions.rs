//! The task that takes batches through the functions of one pipeline. How a component takes the place of another in a step is in
//! `takeover`.

mod takeover;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::ops::Range;
use std::sync::Arc;

use ferrule_host::{CallError, Observer, Session};
use ferrule_model::component::Direction;
use ferrule_model::ids::Uid;
use ferrule_model::record::{Batch, BatchError, Rejection, Transformed};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, BackoffPolicy, Jitter};
use crate::dead_letter::LetterCode;
use crate::guest::{Guest, Remedy, interruptible, remedy};
use crate::lot::Lot;
use crate::plan::{PipelinePlan, StepPlan};
use crate::shared::Shared;
use crate::snapshot::StreamState;
use crate::takeover::{Trial, counts};

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
    results: mpsc::Receiver<Result<Passed, String>>,
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
    pub(crate) async fn result(&mut self) -> Option<Result<Passed, String>> {
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

/// One function of the chain.
struct Step {
    name: String,
    shared: Arc<Shared>,
    /// What runs: what was planned, or what it was to take the place of.
    plan: Arc<StepPlan>,
    /// The component in whose place it runs, as long as it has not shown that it works.
    trial: Option<(Arc<StepPlan>, Trial)>,
    /// What was planned and is not to run, because it failed.
    refused: Option<Arc<StepPlan>>,
    /// Open guests of the component before, until those of this one are open.
    leaving: Vec<Box<dyn Guest>>,
    sinks: Arc<Routes>,
    /// What runs it, side by side; the records of one key always go to the same one. Between batches none is missing.
    instances: Vec<Instance>,
    /// For each route of the function the sink that it leads to; none: on to the next step.
    routes: Vec<Option<usize>>,
}

/// Where the routes of a pipeline lead: names, and the sinks they mean.
struct Routes(Vec<(String, usize)>);

impl Routes {
    fn of(&self, plan: &StepPlan) -> Vec<Option<usize>> {
        let routes = &plan.guest.component.artifact().description().routes;
        let sink = |route: &String| self.0.iter().find(|(name, _)| name == route).map(|(_, sink)| *sink);
        routes.iter().map(sink).collect()
    }
}

/// One instance of a function.
struct Instance {
    plan: Arc<StepPlan>,
    name: String,
    shared: Arc<Shared>,
    guest: Option<Box<dyn Guest>>,
    backoff: Backoff,
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

    async fn run(
        mut self,
        mut inputs: mpsc::Receiver<(usize, Lot)>,
        outputs: mpsc::Sender<Result<Passed, String>>,
    ) -> Self {
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

    async fn pass(&mut self, from: usize, lot: Lot) -> Result<Result<Passed, String>, Cancelled> {
        let cancel = self.cancel.clone();
        let mut passed = Passed::default();
        let mut lot = lot;
        for (index, step) in self.steps.iter_mut().enumerate().skip(from) {
            if lot.is_empty() {
                break;
            }
            let passed_step = step.pass(index, &lot, &cancel, &mut passed).await?;
            match passed_step {
                Ok(rest) => lot = rest,
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        if !lot.is_empty() {
            passed.exits.push(Exit { sink: 0, lot });
        }
        Ok(Ok(passed))
    }
}

/// Rows, what became of them, and why those were given up that are rejected.
type Part = (Range<usize>, Transformed, LetterCode);

/// What a step made of a batch: shares of it (none: all of it), each with its parts.
type Shares = Vec<(Option<Lot>, Vec<Part>)>;

impl Step {
    fn new(planned: &StepPlan, shared: &Arc<Shared>, backoff: &BackoffPolicy, sinks: &Arc<Routes>) -> Self {
        let plan = Arc::new(planned.clone());
        let instance = |number: u32| {
            let name = match planned.parallelism {
                0 | 1 => shared.name().to_owned(),
                _ => format!("{}#{number}", shared.name()),
            };
            Instance {
                plan: plan.clone(),
                backoff: Backoff::new(backoff.clone(), Jitter::for_name(&name)),
                name,
                shared: shared.clone(),
                guest: None,
            }
        };
        Self {
            name: planned.name.clone(),
            routes: sinks.of(planned),
            instances: (0..planned.parallelism.max(1)).map(instance).collect(),
            shared: shared.clone(),
            plan: plan.clone(),
            trial: None,
            refused: None,
            leaving: Vec::new(),
            sinks: sinks.clone(),
        }
    }

    /// Takes a batch through the function. One that a component on trial fails is offered to it again, and then to the one before.
    async fn pass(
        &mut self,
        index: usize,
        lot: &Lot,
        cancel: &CancellationToken,
        passed: &mut Passed,
    ) -> Result<Result<Lot, BatchError>, Cancelled> {
        loop {
            let why = match self.apply(lot, cancel).await {
                Err(Halt::Cancelled) => return Err(Cancelled),
                Err(Halt::Failed(error)) => error.told(),
                Ok(Err(error)) => return Ok(Err(error)),
                Ok(Ok(shares)) => match self.trial.as_ref().and_then(|_| refusal(&shares)) {
                    Some(reason) => {
                        format!("it rejected all {} records of a batch, the first with: {reason}", lot.len())
                    }
                    None => {
                        self.trial = None;
                        return Ok(self.gather(index, lot, shares, passed));
                    }
                },
            };
            let failed = self.trial.as_mut().and_then(|(_, trial)| trial.failed());
            match failed {
                Some(failures) => self.roll_back(failures, &why).await,
                None => self.shared.error(why),
            }
        }
    }

    async fn apply(&mut self, lot: &Lot, cancel: &CancellationToken) -> Result<Result<Shares, BatchError>, Halt> {
        let trial = self.trial.is_some();
        if let [only] = self.instances.as_mut_slice() {
            let parts = only.apply(&lot.records, cancel, trial).await?;
            return Ok(Ok(vec![(None, parts)]));
        }
        self.apply_side_by_side(lot, cancel).await
    }

    /// Takes a batch through all instances at once, each with the records of its keys.
    async fn apply_side_by_side(
        &mut self,
        lot: &Lot,
        cancel: &CancellationToken,
    ) -> Result<Result<Shares, BatchError>, Halt> {
        let trial = self.trial.is_some();
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.instances.len()];
        for row in 0..lot.len() {
            let lane = lane(lot.records.key.get(row), rows.len());
            if let Some(share) = rows.get_mut(lane) {
                share.push(row as u32);
            }
        }
        let shares: Vec<Lot> = match rows.iter().map(|rows| lot.select(rows)).collect() {
            Ok(shares) => shares,
            Err(error) => return Ok(Err(error)),
        };
        let tasks: Vec<_> = self
            .instances
            .drain(..)
            .zip(&shares)
            .map(|(mut instance, share)| {
                let (records, cancel) = (share.records.clone(), cancel.clone());
                tokio::spawn(async move {
                    let parts = if records.is_empty() {
                        Ok(Vec::new())
                    } else {
                        instance.apply(&records, &cancel, trial).await
                    };
                    (instance, parts)
                })
            })
            .collect();
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            // A task ends early only with the runtime.
            let (instance, parts) = task.await.map_err(|_| Halt::Cancelled)?;
            self.instances.push(instance);
            answers.push(parts);
        }
        let parts: Vec<Vec<Part>> = answers.into_iter().collect::<Result<_, Halt>>()?;
        Ok(Ok(shares.into_iter().map(Some).zip(parts).collect()))
    }

    /// Sends the outputs of all shares where they lead; gives back those that go on.
    fn gather(&self, index: usize, lot: &Lot, shares: Shares, passed: &mut Passed) -> Result<Lot, BatchError> {
        let mut rest = Vec::with_capacity(shares.len());
        for (share, parts) in shares {
            if !parts.is_empty() {
                rest.push(self.distribute(index, share.as_ref().unwrap_or(lot), parts, passed)?);
            }
        }
        if rest.len() == 1 {
            return Ok(rest.swap_remove(0));
        }
        Lot::concat(&rest)
    }

    /// Sends the outputs of the step where their routes lead; gives back those that go on.
    fn distribute(&self, index: usize, input: &Lot, parts: Vec<Part>, passed: &mut Passed) -> Result<Lot, BatchError> {
        let mut outputs = Vec::with_capacity(parts.len());
        let mut routes: Vec<u16> = Vec::new();
        let whole = parts.len() == 1;
        let straight = self.routes.iter().all(Option::is_none);
        for (range, transformed, code) in parts {
            let selected;
            let part = if whole {
                input
            } else {
                let rows: Vec<u32> = (range.start as u32..range.end as u32).collect();
                selected = input.select(&rows)?;
                &selected
            };
            if !transformed.rejected.is_empty() {
                let rows: Vec<u32> = transformed.rejected.iter().map(|rejection| rejection.record_ref as u32).collect();
                let reasons = transformed.rejected.iter().map(|rejection| (code, rejection.reason.clone())).collect();
                passed.refused.push(Refused { step: index, lot: part.select(&rows)?, reasons });
            }
            if !straight {
                routes.extend((0..transformed.len()).map(|output| transformed.route(output)));
            }
            outputs.push(part.transform(&transformed)?);
        }
        let output = Lot::concat(&outputs)?;
        if self.shared.tail.is_watched() {
            for row in 0..output.len() {
                self.shared.tail.send(&output.records, row, || (None, None));
            }
        }
        let sink = |route: &u16| self.routes.get(usize::from(*route)).copied().flatten();
        if routes.iter().all(|route| sink(route).is_none()) {
            return Ok(output);
        }
        let mut rest = Vec::new();
        let mut exits: Vec<(usize, Vec<u32>)> = Vec::new();
        for (row, route) in (0..).zip(&routes) {
            match sink(route) {
                None => rest.push(row),
                Some(sink) => match exits.iter_mut().find(|(other, _)| *other == sink) {
                    Some((_, rows)) => rows.push(row),
                    None => exits.push((sink, vec![row])),
                },
            }
        }
        for (sink, rows) in exits {
            passed.exits.push(Exit { sink, lot: output.select(&rows)? });
        }
        output.select(&rest)
    }
}

/// Closes guests in an orderly way; how that ends makes no difference any more.
async fn close_all(guests: &mut Vec<Box<dyn Guest>>) {
    for mut guest in guests.drain(..) {
        if let Err(error) = guest.close().await {
            tracing::debug!("the session did not close in an orderly way: {error}");
        }
    }
}

/// The first reason, if every record was rejected.
fn refusal(shares: &Shares) -> Option<String> {
    let parts = || shares.iter().flat_map(|(_, parts)| parts);
    let all = parts().all(|(range, transformed, _)| transformed.rejected.len() >= range.len());
    let first = parts().flat_map(|(_, transformed, _)| &transformed.rejected).next()?;
    all.then(|| first.reason.clone())
}

/// Which of `lanes` takes the records of a key.
fn lane(key: &[u8], lanes: usize) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    usize::try_from(hash % (lanes.max(1) as u64)).unwrap_or_default()
}

impl Instance {
    /// The guest, opened if need be, however long it takes. One on `trial` may fail at that.
    async fn ready(&mut self, cancel: &CancellationToken, trial: bool) -> Result<(), Halt> {
        while self.guest.is_none() {
            self.shared.set_state(StreamState::Opening, "");
            match open(&self.plan, &self.name, &self.shared, cancel).await {
                Ok(guest) => {
                    self.shared.set_component(self.plan.guest.component.artifact().digest());
                    self.shared.set_memory(guest.memory_bytes());
                    self.guest = Some(guest);
                    self.shared.set_state(StreamState::Running, "");
                }
                Err(_) if cancel.is_cancelled() => return Err(Halt::Cancelled),
                Err(error) if trial && counts(&error) => return Err(Halt::Failed(error)),
                Err(error) => self.wait(&error, cancel).await?,
            }
        }
        if cancel.is_cancelled() { Err(Halt::Cancelled) } else { Ok(()) }
    }

    /// Waits before the next attempt; for ever if there is none to be made with this plan.
    async fn wait(&mut self, error: &CallError, cancel: &CancellationToken) -> Result<(), Cancelled> {
        self.shared.failed(error);
        self.shared.end_session();
        if remedy(error) == Remedy::StayDown {
            self.shared.set_state(StreamState::Failed, error.told());
            cancel.cancelled().await;
            return Err(Cancelled);
        }
        let wait = self.backoff.fail();
        self.shared.set_state(StreamState::BackingOff, format!("next attempt in {:.1} s", wait.as_secs_f64()));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = cancel.cancelled() => return Err(Cancelled),
        }
        self.shared.restarted();
        Ok(())
    }

    /// Takes a batch through the function. A call that fails for the records' sake is repeated with smaller parts, until the
    /// record that fails alone is found; that one is rejected. A component on `trial` is suspected itself, and not the records.
    async fn apply(&mut self, records: &Batch, cancel: &CancellationToken, trial: bool) -> Result<Vec<Part>, Halt> {
        let mut parts = Vec::new();
        let mut open: Vec<(Range<usize>, u32)> = vec![(0..records.len(), 0)];
        while let Some((range, failures)) = open.pop() {
            self.ready(cancel, trial).await?;
            let Some(guest) = &mut self.guest else { continue };
            let slice = records.slice(range.clone());
            let waker = guest.waker();
            let answer = interruptible(guest.apply(&slice), &waker, cancel.cancelled()).await;
            let error = match answer {
                Ok(transformed) => {
                    self.backoff.reset();
                    self.shared.set_memory(guest.memory_bytes());
                    self.shared.meter.add(slice.len() as u64, slice.size() as u64);
                    parts.push((range, transformed, LetterCode::Rejected));
                    continue;
                }
                Err(_) if cancel.is_cancelled() => return Err(Halt::Cancelled),
                Err(error) => error,
            };
            let about_records = remedy(&error) == Remedy::Suspect;
            if matches!(error, CallError::Guest(_) | CallError::Refused { .. }) {
                self.close().await;
            }
            self.guest = None;
            if trial && counts(&error) {
                self.shared.end_session();
                self.shared.restarted();
                return Err(Halt::Failed(error));
            }
            self.wait(&error, cancel).await?;
            match range.len() {
                _ if !about_records => open.push((range, failures)),
                1 if failures == 0 => open.push((range, 1)),
                1 => parts.push(poisonous(range, &error)),
                length => {
                    let middle = range.start + length / 2;
                    open.push((middle..range.end, failures + 1));
                    open.push((range.start..middle, failures + 1));
                }
            }
        }
        Ok(parts)
    }

    async fn close(&mut self) {
        if let Some(mut guest) = self.guest.take() {
            if let Err(error) = guest.close().await {
                tracing::debug!(step = self.name, "the session did not close in an orderly way: {error}");
            }
            self.shared.end_session();
        }
    }
}

fn poisonous(row: Range<usize>, error: &CallError) -> Part {
    let code = match error {
        CallError::Malformed { .. } => LetterCode::Malformed,
        _ => LetterCode::Poison,
    };
    let reason = format!("poisonous: the function fails each time it is given this record alone: {error}");
    let rejected = Transformed { rejected: vec![Rejection { record_ref: 0, reason }], ..Transformed::default() };
    (row, rejected, code)
}

/// Opens a session of a function.
pub(crate) async fn open(
    plan: &StepPlan,
    name: &str,
    shared: &Arc<Shared>,
    cancel: &CancellationToken,
) -> Result<Box<dyn Guest>, CallError> {
    let observer: Arc<dyn Observer> = shared.clone();
    let mut guest = plan.guest.component.artifact().instantiate(name, &plan.guest, observer).await?;
    let session = Session {
        name: name.to_owned(),
        direction: Direction::Transform,
        static_parameters: plan.guest.static_parameters.clone(),
        config: plan.guest.config.clone(),
        parameters: plan.guest.parameters.clone(),
        position: None,
        properties: Vec::new(),
    };
    let waker = guest.waker();
    interruptible(guest.open(session), &waker, cancel.cancelled()).await?;
    Ok(guest)
}
