//! One function of the chain: its instances side by side, and where what it makes of a batch goes.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use ferrule_model::record::BatchError;
use tokio_util::sync::CancellationToken;

use super::instance::{Instance, Part};
use super::{Cancelled, Exit, Halt, Passed, Refused};
use crate::backoff::{Backoff, BackoffPolicy, Jitter};
use crate::guest::Guest;
use crate::lot::Lot;
use crate::plan::StepPlan;
use crate::shared::Shared;
use crate::takeover::Trial;

/// One function of the chain.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    /// What runs: what was planned, or what it was to take the place of.
    pub(super) plan: Arc<StepPlan>,
    /// The component in whose place it runs, as long as it has not shown that it works.
    pub(super) trial: Option<(Arc<StepPlan>, Trial)>,
    /// What was planned and is not to run, because it failed.
    pub(super) refused: Option<Arc<StepPlan>>,
    /// Open guests of the component before, until those of this one are open.
    pub(super) leaving: Vec<Box<dyn Guest>>,
    pub(super) sinks: Arc<Routes>,
    /// What runs it, side by side; the records of one key always go to the same one. Between batches none is missing.
    pub(super) instances: Vec<Instance>,
    /// For each route of the function the sink that it leads to; none: on to the next step.
    pub(super) routes: Vec<Option<usize>>,
}

/// Where the routes of a pipeline lead: names, and the sinks they mean.
pub(super) struct Routes(pub(super) Vec<(String, usize)>);

impl Routes {
    pub(super) fn of(&self, plan: &StepPlan) -> Vec<Option<usize>> {
        let routes = &plan.guest.component.artifact().description().routes;
        let sink = |route: &String| self.0.iter().find(|(name, _)| name == route).map(|(_, sink)| *sink);
        routes.iter().map(sink).collect()
    }
}

/// What a step made of a batch: shares of it (none: all of it), each with its parts.
type Shares = Vec<(Option<Lot>, Vec<Part>)>;

impl Step {
    pub(super) fn new(planned: &StepPlan, shared: &Arc<Shared>, backoff: &BackoffPolicy, sinks: &Arc<Routes>) -> Self {
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
    pub(super) async fn pass(
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
                        let mut made = Passed::default();
                        match self.gather(index, lot, shares, &mut made) {
                            Ok(rest) => {
                                self.trial = None;
                                passed.exits.append(&mut made.exits);
                                passed.refused.append(&mut made.refused);
                                return Ok(Ok(rest));
                            }
                            Err(error) if self.trial.is_none() => return Ok(Err(error)),
                            Err(error) => unfit(&error),
                        }
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

/// The first reason, if every record was rejected.
fn refusal(shares: &Shares) -> Option<String> {
    let parts = || shares.iter().flat_map(|(_, parts)| parts);
    let all = parts().all(|(range, transformed, _)| transformed.rejected.len() >= range.len());
    let first = parts().flat_map(|(_, transformed, _)| &transformed.rejected).next()?;
    all.then(|| first.reason.clone())
}

/// What is to be said when the answers of a step do not make a batch.
pub(super) fn unfit(error: &BatchError) -> String {
    format!("its answers do not fit together: {error}")
}

/// Which of `lanes` takes the records of a key.
fn lane(key: &[u8], lanes: usize) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    usize::try_from(hash % (lanes.max(1) as u64)).unwrap_or_default()
}
