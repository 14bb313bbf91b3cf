//! One record through the functions of a pipeline, in instances of their own: nothing else happens.

use std::sync::Arc;

use ferrule_host::CallError;
use ferrule_model::record::Batch;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::functions::open;
use crate::plan::PipelinePlan;
use crate::shared::Shared;

/// What one step made of what it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialStep {
    /// The step.
    pub name: String,
    /// What it gave, in order, each with the name of its route.
    pub outputs: Vec<TrialOutput>,
    /// Records that it was given and that came to nothing.
    pub filtered: usize,
    /// Why it rejected records.
    pub rejected: Vec<String>,
    /// Why the call as a whole failed; the trial ends there.
    pub error: Option<CallError>,
}

/// A record that a step gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialOutput {
    /// The name of its route; `default` where the function names none.
    pub route: String,
    /// Whether it goes on to the next step; the others leave for the sink of their route.
    pub goes_on: bool,
    /// The record alone.
    pub record: Batch,
}

/// Takes `records` through the steps of `plan`.
pub(crate) async fn run(plan: &PipelinePlan, records: Batch, audit: &Arc<Audit>) -> Vec<TrialStep> {
    let mut trial = Vec::with_capacity(plan.steps.len());
    let mut batch = Batch { tokens: Default::default(), ..records };
    for step in &plan.steps {
        if batch.is_empty() {
            break;
        }
        let mut told =
            TrialStep { name: step.name.clone(), outputs: Vec::new(), filtered: 0, rejected: Vec::new(), error: None };
        let shared = Shared::new(format!("{}/{} (trial)", plan.name, step.name), audit.clone());
        match apply(plan, step, &shared, &batch, &mut told).await {
            Ok(rest) => batch = rest,
            Err(error) => {
                told.error = Some(error);
                trial.push(told);
                break;
            }
        }
        trial.push(told);
    }
    trial
}

async fn apply(
    plan: &PipelinePlan,
    step: &crate::plan::StepPlan,
    shared: &Arc<Shared>,
    batch: &Batch,
    told: &mut TrialStep,
) -> Result<Batch, CallError> {
    let mut guest = open(step, shared.name(), shared, &CancellationToken::new()).await?;
    let transformed = guest.apply(batch).await?;
    // It did its work; how it says goodbye is not part of the trial.
    let _ = guest.close().await;
    let malformed = |problem: ferrule_model::record::BatchError| CallError::Malformed {
        call: "apply",
        problem: problem.to_string(),
    };
    let outputs = transformed.assemble(batch).map_err(malformed)?;
    let routes = &step.guest.component.artifact().description().routes;
    let mut rest = Vec::new();
    for row in 0..outputs.count {
        let route = routes.get(usize::from(transformed.route(row as usize)));
        let goes_on = route.is_none_or(|route| !plan.routes.contains_key(route));
        if goes_on {
            rest.push(row);
        }
        told.outputs.push(TrialOutput {
            route: route.cloned().unwrap_or_else(|| "default".to_owned()),
            goes_on,
            record: outputs.select(&[row]).map_err(malformed)?,
        });
    }
    told.rejected = transformed.rejected.iter().map(|rejection| rejection.reason.clone()).collect();
    let mut named = vec![false; batch.len()];
    let origins = transformed.origins.iter().chain(transformed.also.iter().map(|(_, origin)| origin));
    for index in origins.copied().chain(transformed.rejected.iter().map(|rejection| rejection.record_ref as u32)) {
        if let Some(named) = named.get_mut(index as usize) {
            *named = true;
        }
    }
    told.filtered = named.iter().filter(|named| !**named).count();
    outputs.select(&rest).map_err(malformed)
}
