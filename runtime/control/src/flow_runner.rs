//! Runs what is wanted on the flow: fetches components by digest, has them check their parameters, and hands over a plan.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use ferrule_flow::plan::Retained;
use ferrule_flow::{Flow, Plan};
use ferrule_host::Component;
use ferrule_model::redact::Redactor;
use ferrule_model::{Code, Diagnostic, Kind, Uid};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::finding::Problem;
use crate::observe::observe;
use crate::plan::{pipeline_plan, stream_plan};
use crate::revision::revision;
use crate::runner::{Applied, Observed, Runner};
use crate::wanted::{Chosen, Wanted};

/// Where components come from.
#[async_trait]
pub trait ComponentSource: Send + Sync + 'static {
    /// The component with this digest, ready to make sessions of. Answers at once what it answered before.
    async fn component(&self, digest: &str) -> Result<Component, Diagnostic>;
}

/// The [`Runner`] that moves records.
pub struct FlowRunner {
    flow: Flow,
    components: Arc<dyn ComponentSource>,
    /// What components said of parameters before, so that nothing is checked twice.
    checked: Mutex<HashMap<String, Option<Problem>>>,
}

impl std::fmt::Debug for FlowRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowRunner").finish_non_exhaustive()
    }
}

impl FlowRunner {
    /// A runner on this flow, with components from there.
    pub fn new(flow: Flow, components: Arc<dyn ComponentSource>) -> Self {
        Self { flow, components, checked: Mutex::default() }
    }
}

/// What one application has fetched and checked.
struct Preparation<'a> {
    source: &'a dyn ComponentSource,
    before: HashMap<String, Option<Problem>>,
    checked: HashMap<String, Option<Problem>>,
    again: bool,
}

impl Preparation<'_> {
    /// The component, if it is there and has nothing against these parameters.
    async fn component(
        &mut self,
        chosen: &Chosen,
        values: [&Value; 3],
        redactor: &Redactor,
    ) -> Result<Component, Problem> {
        let component = self.source.component(&chosen.digest).await.map_err(|diagnostic| {
            // The file may be put back, or the disk come back.
            self.again = true;
            Problem::new("ComponentBroken", diagnostic.code, diagnostic.message)
        })?;
        let key = revision(&json!([chosen.digest, values]));
        let verdict = match self.checked.get(&key).or_else(|| self.before.get(&key)) {
            Some(verdict) => verdict.clone(),
            None => verdict(&component, values)
                .await
                .map(|problem| Problem { message: redactor.mask_owned(problem.message), ..problem }),
        };
        self.checked.insert(key, verdict.clone());
        match verdict {
            None => Ok(component),
            Some(problem) => Err(problem),
        }
    }
}

/// What the component itself has against the parameters.
async fn verdict(component: &Component, [static_parameters, config, parameters]: [&Value; 3]) -> Option<Problem> {
    let (s, c, p) = (static_parameters.to_string(), config.to_string(), parameters.to_string());
    match component.validate(&s, &c, &p).await {
        Ok(problems) if problems.is_empty() => None,
        Ok(problems) => {
            let list: Vec<_> = problems
                .iter()
                .map(|problem| {
                    let place = problem.position.map(|(line, column)| format!(" (line {line}, column {column})"));
                    format!("{}{}: {}{}", problem.scope, problem.path, problem.message, place.unwrap_or_default())
                })
                .collect();
            Some(Problem::new("ParametersInvalid", Code::GuestProblem, list.join("; ")))
        }
        Err(error) => {
            let message = format!("the component cannot check its parameters: {error}");
            Some(Problem::new("ParametersUnchecked", error.code(), message))
        }
    }
}

#[async_trait]
impl Runner for FlowRunner {
    async fn apply(&self, wanted: &Wanted) -> Applied {
        // One application at a time; also keeps the memory of checks whole.
        let mut memory = self.checked.lock().await;
        let mut preparation = Preparation {
            source: &*self.components,
            before: std::mem::take(&mut *memory),
            checked: HashMap::new(),
            again: false,
        };
        let retained =
            Retained { streams: wanted.existing_streams.clone(), pipelines: wanted.existing_pipelines.clone() };
        let mut plan = Plan { retained, ..Plan::default() };
        let mut unable = HashMap::new();
        let mut usable: HashSet<&Uid> = HashSet::new();
        for stream in &wanted.streams {
            let values = [&stream.static_parameters, &stream.config, &stream.parameters];
            match preparation.component(&stream.component, values, &stream.redactor).await {
                Ok(component) => {
                    usable.insert(&stream.uid);
                    plan.streams.push(stream_plan(stream, component.into()));
                }
                Err(problem) => {
                    unable.insert((Kind::Stream, stream.uid.clone()), problem);
                }
            }
        }
        let empty = json!({});
        'pipelines: for pipeline in &wanted.pipelines {
            let key = (Kind::Pipeline, pipeline.uid.clone());
            let sinks = [&pipeline.sink].into_iter().chain(pipeline.routes.values());
            if let Some(stream) = sinks.chain(&pipeline.sources).find(|stream| !usable.contains(stream)) {
                let name = wanted
                    .streams
                    .iter()
                    .find(|wanted| wanted.uid == *stream)
                    .map_or(stream.as_str(), |stream| &stream.name);
                let message = format!("its stream {name} cannot run; the stream's conditions say why");
                unable.insert(key, Problem::new("StreamNotReady", Code::Unresolved, message));
                continue;
            }
            let mut components = Vec::with_capacity(pipeline.steps.len());
            for step in &pipeline.steps {
                match preparation.component(&step.component, [&empty, &empty, &step.args], &step.redactor).await {
                    Ok(component) => components.push(component.into()),
                    Err(problem) => {
                        let message = format!("step {}: {}", step.name, problem.message);
                        unable.insert(key, Problem { message, ..problem });
                        continue 'pipelines;
                    }
                }
            }
            plan.pipelines.push(pipeline_plan(pipeline, components));
        }
        let mut again = preparation.again;
        *memory = preparation.checked;
        if let Err(error) = self.flow.apply(plan).await {
            tracing::error!(%error, "the plan cannot be applied; trying again");
            again = true;
        }
        Applied { unable, again }
    }

    async fn observe(&self) -> Observed {
        observe(&self.flow.snapshot())
    }
}
