//! A pipeline: where its records come from, what is done to them, and where they go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ferrule_model::connector::{PipelineSpec, StartAt, StepSpec, StreamDirection, StreamUse, Values};
use ferrule_model::{Code, Kind, Object, Ref, Truth, Uid};
use serde_json::{Value, json};

use super::attach;
use super::grant::{self, Asker};
use super::{function::Function, parameters, stream};
use crate::component::{Pins, Wish, choose, pins_of};
use crate::finding::{Finding, Problem};
use crate::revision::revision;
use crate::secrets;
use crate::site::Site;
use crate::snapshot::{Snapshot, spec};
use crate::version;
use crate::wanted::{WantedPipeline, WantedStep, WantedStream};

/// The streams, each with what became of it.
pub(crate) type Streams = HashMap<Uid, Result<WantedStream, Problem>>;

/// What became of a pipeline.
pub(crate) struct Resolved {
    /// None: it has no sink of its own, and other pipelines read it.
    pub(crate) wanted: Option<WantedPipeline>,
    pub(crate) granted: Option<Finding>,
    /// Sources that it cannot read yet, and why.
    pub(crate) notes: Vec<String>,
    pub(crate) pins: Pins,
}

/// The part of a pipeline before its sink.
struct Chain {
    sources: Vec<Uid>,
    steps: Vec<WantedStep>,
    sampling: Option<std::time::Duration>,
    paused: bool,
    granted: Option<Finding>,
    notes: Vec<String>,
    pins: Pins,
}

pub(crate) fn resolve(
    snapshot: &Snapshot,
    site: &Site,
    streams: &Streams,
    object: &Object,
) -> Result<Resolved, Problem> {
    let read: PipelineSpec = spec(object)?;
    let project = snapshot.project(object);
    let chain = chain((snapshot, site), streams, object, &read, &mut Vec::new())?;
    let mut routes = BTreeMap::new();
    for (route, to) in &read.routes {
        routes.insert(route.clone(), egress(snapshot, streams, &project, to, &format!("routes.{route}"))?);
    }
    check_routes(&chain, &routes)?;
    let default = routes.remove("default");
    let sink = match (&read.sink, &read.external) {
        (Some(to), _) => Some(egress(snapshot, streams, &project, to, "sink")?),
        (None, Some(external)) => {
            let kind = external.kind.as_deref().unwrap_or(&external.place);
            let message = format!(
                "its output is of type {kind}; only outputs of type Connector (an egress stream) are supported"
            );
            return Err(Problem::new("NotSupported", Code::Unsupported, message));
        }
        (None, None) => default,
    };
    let Some(sink) = sink else {
        if !has_readers(snapshot, object) {
            let message = "it has no sink, and no pipeline reads its output; give it a `sink`, or name it in another pipeline's `inputPipeline`";
            return Err(Problem::new("NoSink", Code::Unresolved, message));
        }
        return Ok(Resolved { wanted: None, granted: chain.granted, notes: chain.notes, pins: chain.pins });
    };
    let name = if project.is_empty() { object.name().to_owned() } else { format!("{project}/{}", object.name()) };
    let Chain { sources, steps, sampling, paused, granted, notes, pins } = chain;
    let deduplicate = read.deduplicate.map(|unique| unique.window.0);
    for stream in sources.iter().filter_map(|source| streams.get(source)?.as_ref().ok()) {
        site.log.allows(&stream.name, &stream.log, read.start, deduplicate)?;
    }
    let (retry, batch) = (read.retry.unwrap_or_default(), read.batch.unwrap_or_default());
    // A stream that is the pipeline's own begins with it, and may have taken in records a moment before.
    let own = |stream: &Arc<Object>| stream.metadata.owner_references.iter().any(|owner| owner.uid == *object.uid());
    let all_own = sources.iter().all(|source| snapshot.get(Kind::Stream, source).is_some_and(own));
    let start = if all_own { StartAt::Beginning } else { read.start };
    let revision = revision(&json!({
        "name": name, "sources": sources, "sink": sink, "routes": routes, "retry": retry, "onError": read.on_error,
        "start": start, "deduplicate": deduplicate.map(|window| window.as_millis() as u64),
        "batch": batch, "sampling": sampling.map(|every| every.as_millis() as u64),
        "steps": steps.iter().map(step_value).collect::<Vec<_>>(),
    }));
    let wanted = WantedPipeline {
        uid: object.uid().clone(),
        name,
        sources,
        steps,
        sink,
        routes,
        retry,
        on_error: read.on_error,
        batch,
        sampling,
        start,
        deduplicate,
        paused,
        revision,
    };
    Ok(Resolved { wanted: Some(wanted), granted, notes, pins })
}

fn step_value(step: &WantedStep) -> Value {
    json!({"name": step.name, "component": step.component.digest, "args": step.told, "rules": grant::value(&step.rules), "limits": step.limits, "attached": step.attached_told, "parallelism": step.parallelism})
}

/// Follows the input back to the streams it comes from. A pipeline that reads another pipeline's output runs that one's
/// functions before its own; `path` is how we came here.
fn chain(
    (snapshot, site): (&Snapshot, &Site),
    streams: &Streams,
    object: &Object,
    read: &PipelineSpec,
    path: &mut Vec<Uid>,
) -> Result<Chain, Problem> {
    let project = snapshot.project(object);
    path.push(object.uid().clone());
    let mut chain = match &read.input_pipeline {
        Some(reference) => {
            let upstream = snapshot.find(Kind::Pipeline, reference, &project)?;
            if path.contains(upstream.uid()) {
                let message =
                    format!("it reads the output of pipeline {}, which in the end reads its own", upstream.name());
                return Err(Problem::new("Loop", Code::PipelineLoop, message));
            }
            let upstream_read: PipelineSpec = spec(upstream)?;
            let mut chain =
                self::chain((snapshot, site), streams, upstream, &upstream_read, path).map_err(|problem| Problem {
                    message: format!("pipeline {}: {}", upstream.name(), problem.message),
                    ..problem
                })?;
            // Its choices are kept with it, not here.
            chain.pins = pins_of(object);
            chain
        }
        None => {
            let (sources, notes) = sources(snapshot, streams, &project, read)?;
            Chain {
                sources,
                steps: Vec::new(),
                sampling: None,
                paused: false,
                granted: None,
                notes,
                pins: pins_of(object),
            }
        }
    };
    let sampling = read.sampling_interval.map(|span| span.0).filter(|every| !every.is_zero());
    chain.sampling = chain.sampling.max(sampling);
    chain.paused |= read.paused;
    for (index, (step, name)) in read.functions.iter().zip(read.step_names()).enumerate() {
        let name = unused(&name, &chain.steps);
        let (step, granted) = self::step((snapshot, site), object, (index, name), step, &mut chain.pins)?;
        chain.steps.push(step);
        // What is not granted matters more than what is.
        if chain.granted.as_ref().is_none_or(|before| before.status == Truth::True) {
            chain.granted = Some(granted);
        }
    }
    Ok(chain)
}

fn step(
    (snapshot, site): (&Snapshot, &Site),
    pipeline: &Object,
    (index, name): (usize, String),
    read: &StepSpec,
    pins: &mut Pins,
) -> Result<(WantedStep, Finding), Problem> {
    let at = |problem: Problem| Problem { message: format!("functions[{index}]: {}", problem.message), ..problem };
    let project = &snapshot.project(pipeline);
    let function = match &read.function {
        Some(reference) => {
            let object = version::find(snapshot, Kind::Function, reference, project, pins).map_err(at)?;
            Some(Function::read(object).map_err(at)?)
        }
        None => None,
    };
    let component = match (&function, &read.component) {
        (Some(function), _) => function.component(snapshot, pins),
        (None, Some(component)) => {
            let name = component.split('@').next().unwrap_or(component);
            let direction = Some(ferrule_model::component::Direction::Transform);
            let title = format!("function {name}");
            choose(
                snapshot,
                &Wish { title, name, component: Some(component), prefer: Vec::new(), without: None, direction },
                pins,
            )
        }
        (None, None) => {
            Err(Problem::new("Malformed", Code::FieldsExclude, "one of `function` and `component` is needed"))
        }
    }
    .map_err(at)?;

    let own = function.as_ref().map(|function| &function.spec);
    let mut args: Values = own.map(|own| own.args.clone()).unwrap_or_default();
    args.extend(read.args.clone());
    if let Some(declared) = own.map(|own| &own.params).filter(|declared| !declared.is_empty())
        && let Some(unknown) = args.keys().find(|name| declared.iter().all(|parameter| parameter.name != **name))
    {
        let names: Vec<_> = declared.iter().map(|parameter| parameter.name.as_str()).collect();
        let message = format!("args.{unknown}: the function has no such parameter; it has {}", names.join(", "));
        return Err(at(Problem::new("ParametersInvalid", Code::BadParameters, message)));
    }
    let document = function.as_ref().map(|function| function.object);
    let schema =
        parameters::schema(document, own.and_then(|own| own.args_schema.as_ref()), &component.description, "stream")
            .map_err(at)?;
    let args = secrets::fill(snapshot, &site.vault, pipeline, "args", &args).map_err(at)?;
    parameters::check("args", &args, schema.as_ref()).map_err(at)?;

    let none = secrets::fill(snapshot, &site.vault, pipeline, "static", &Values::new())?;
    let to_fill = grant::Parameters::new(&none, &args);
    let asker = Asker { project, function: function.as_ref().map(|function| function.object), ..Asker::default() };
    let given_to = |description: &ferrule_model::component::Description| {
        grant::given(snapshot, site, &asker, description, &to_fill)
    };
    let mut component = component;
    let mut given = given_to(&component.description);
    let mut granted = grant::finding(&given, &component.description, Kind::Function, &component.class);
    if !given.missing.is_empty()
        && let Some(function) = document
        && let Some((before, of_before)) = grant::held_back(snapshot, function, &component, None, given_to)
    {
        granted = grant::held(&component, &before, granted);
        (component, given) = (before, of_before);
    }
    secrets::granted(&given, &[&args], Kind::Function, &component.class).map_err(at)?;
    let attached = attach::resolve(snapshot, site, &asker).map_err(at)?;
    let step = WantedStep {
        name,
        component,
        args: args.value,
        told: args.told,
        redactor: args.redactor,
        rules: given.rules,
        attached: attached.attachments,
        attached_told: attached.told,
        limits: grant::limits(snapshot, &asker, read.limits, own.and_then(|own| own.limits)),
        parallelism: read.parallelism.unwrap_or(1).max(1),
    };
    Ok((step, granted))
}

/// The name, with a number if a step of a pipeline before has it.
fn unused(name: &str, before: &[WantedStep]) -> String {
    let taken = |name: &str| before.iter().any(|step| step.name == name);
    let mut unused = name.to_owned();
    let mut number = 2;
    while taken(&unused) {
        unused = format!("{name}-{number}");
        number += 1;
    }
    unused
}

/// The ingress streams that a pipeline reads, and what to say of those that it cannot read yet.
///
/// Selectors: of one category any of the values will do, and every category that is named must fit.
fn sources(
    snapshot: &Snapshot,
    streams: &Streams,
    project: &str,
    read: &PipelineSpec,
) -> Result<(Vec<Uid>, Vec<String>), Problem> {
    let named: Vec<&Object> = match &read.source {
        Some(StreamUse::Stream(reference)) => {
            let stream = snapshot.find(Kind::Stream, reference, project)?;
            if stream::direction(stream) == Some(StreamDirection::Egress) {
                let message = format!("source {} is an egress stream; a pipeline reads ingress streams", stream.name());
                return Err(Problem::new("DirectionNotAllowed", Code::DirectionNotAllowed, message));
            }
            vec![stream]
        }
        Some(StreamUse::Inline(_)) => return Err(inline("source")),
        None if read.selectors.is_empty() => {
            let message = "one of `source`, `selectors` and `inputPipeline` is needed";
            return Err(Problem::new("Malformed", Code::FieldsExclude, message));
        }
        None => selected(snapshot, project, &read.selectors),
    };
    if named.is_empty() {
        let wanted: Vec<_> =
            read.selectors.iter().map(|(name, values)| format!("{name} = {}", values.join(" or "))).collect();
        let place = if project.is_empty() { String::new() } else { format!(" of project {project}") };
        let message = format!("no ingress stream{place} has the labels {}", wanted.join(" and "));
        return Err(Problem::new("NoSource", Code::Unresolved, message));
    }
    let (mut ready, mut notes, mut first) = (Vec::new(), Vec::new(), None);
    for stream in named {
        match streams.get(stream.uid()) {
            Some(Ok(_)) => ready.push(stream.uid().clone()),
            Some(Err(problem)) => {
                notes.push(format!("source {}: {}", stream.name(), problem.message));
                first.get_or_insert(problem);
            }
            None => {}
        }
    }
    match first {
        Some(problem) if ready.is_empty() => Err(Problem { message: notes.join("; "), ..problem.clone() }),
        _ => Ok((ready, notes)),
    }
}

/// The streams that a pipeline is to read and write, as far as they are there, whatever keeps it from doing so.
pub(crate) fn ends(snapshot: &Snapshot, object: &Object) -> Vec<(StreamDirection, Uid)> {
    let Ok(read) = spec::<PipelineSpec>(object) else { return Vec::new() };
    let project = snapshot.project(object);
    let mut found = Vec::new();
    for (place, used) in read.uses() {
        let direction = if place == "source" { StreamDirection::Ingress } else { StreamDirection::Egress };
        let streams = used.reference().map(|reference| snapshot.candidates(Kind::Stream, reference, &project));
        found.extend(streams.into_iter().flatten().map(|stream| (direction, stream.uid().clone())));
    }
    if read.source.is_none() && !read.selectors.is_empty() {
        let streams = selected(snapshot, &project, &read.selectors);
        found.extend(streams.into_iter().map(|stream| (StreamDirection::Ingress, stream.uid().clone())));
    }
    found
}

fn selected<'a>(snapshot: &'a Snapshot, project: &str, selectors: &BTreeMap<String, Vec<String>>) -> Vec<&'a Object> {
    let ingress = snapshot.of(Kind::Stream).iter().map(|stream| &**stream).filter(|stream| {
        stream::direction(stream) == Some(StreamDirection::Ingress) && snapshot.project(stream) == project
    });
    // A category is named by its name, and in documents of the KPS REST API by its id.
    let name_of = |category: &str| {
        let found = snapshot.candidates(Kind::Category, &Ref::parse(category), "");
        found.first().map_or_else(|| category.to_owned(), |category| category.name().to_owned())
    };
    let selectors: Vec<_> = selectors.iter().map(|(category, values)| (name_of(category), values)).collect();
    ingress
        .filter(|stream| {
            let labels = stream::labels(snapshot, stream);
            selectors
                .iter()
                .all(|(category, values)| labels.iter().any(|(name, value)| name == category && values.contains(value)))
        })
        .collect()
}

/// The egress stream that a pipeline writes.
fn egress(snapshot: &Snapshot, streams: &Streams, project: &str, to: &StreamUse, place: &str) -> Result<Uid, Problem> {
    let Some(reference) = to.reference() else { return Err(inline(place)) };
    let stream = snapshot
        .find(Kind::Stream, reference, project)
        .map_err(|problem| Problem { message: format!("{place}: {}", problem.message), ..problem })?;
    match streams.get(stream.uid()) {
        Some(Ok(wanted)) if wanted.direction == StreamDirection::Egress => Ok(stream.uid().clone()),
        Some(Err(problem)) => {
            Err(Problem { message: format!("{place} {}: {}", stream.name(), problem.message), ..problem.clone() })
        }
        _ => {
            let message = format!("{place} {} is an ingress stream; a pipeline writes egress streams", stream.name());
            Err(Problem::new("DirectionNotAllowed", Code::DirectionNotAllowed, message))
        }
    }
}

fn inline(place: &str) -> Problem {
    let message = format!("{place} brings a stream with it that was not taken out when the document was applied");
    Problem::new("Malformed", Code::WrongType, message)
}

/// Only the last function chooses among routes.
fn check_routes(chain: &Chain, routes: &BTreeMap<String, Uid>) -> Result<(), Problem> {
    let known = chain.steps.last().map(|step| step.component.description.routes.as_slice()).unwrap_or_default();
    match routes.keys().find(|route| *route != "default" && !known.contains(route)) {
        None => Ok(()),
        Some(route) => {
            let has = if known.is_empty() { "default only".to_owned() } else { known.join(", ") };
            let message = format!("routes.{route}: the last function has no such route; it has {has}");
            Err(Problem::new("RouteUnknown", Code::BadValue, message))
        }
    }
}

fn has_readers(snapshot: &Snapshot, object: &Object) -> bool {
    snapshot.of(Kind::Pipeline).iter().any(|other| {
        let read = spec::<PipelineSpec>(other).ok().and_then(|read| read.input_pipeline);
        read.is_some_and(|reference| {
            let found = snapshot.candidates(Kind::Pipeline, &reference, &snapshot.project(other));
            found.iter().any(|pipeline| pipeline.uid() == object.uid())
        })
    })
}
