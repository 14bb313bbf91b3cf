//! What is wrong with objects that a document alone cannot show: parameters against schemas, references against what there
//! is, and what the components themselves say.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ferrule_control::{LATER, Resolution, resolve};
use ferrule_host::Component;
use ferrule_model::check as model;
use ferrule_model::component::Problem;
use ferrule_model::conditions::types;
use ferrule_model::connector::{ConfigSpec, FunctionSpec, InstanceSpec, PipelineSpec, StreamSpec, Values};
use ferrule_model::document::place_in_pipeline;
use ferrule_model::error::Severity;
use ferrule_model::redact::Redactor;
use ferrule_model::secret::{self, Filled, Known, SecretRef};
use ferrule_model::{Code, Diagnostic, Kind, Object, Ref, Truth, Uid};
use serde_json::Value;

use crate::apply::Planned;
use crate::platform::Inner;
use crate::world::{World, references};

/// Checks the planned objects among all others as they would be. Errors keep anything from being written; what is only not
/// there yet is a warning, or an error if nothing will come (`complete`).
pub(crate) async fn check(
    inner: &Inner,
    after: &World,
    planned: &[Planned],
    components: &HashMap<String, Component>,
    complete: bool,
) -> Vec<Diagnostic> {
    let resolution = resolve(&after.snapshot(), &inner.site);
    let mut check = Check { inner, after, planned, components, resolution, wrong: HashMap::new() };
    let mut found: Vec<Diagnostic> = Vec::new();
    for planned in planned {
        let place = |diagnostic: Diagnostic| placed(&planned.object, diagnostic).in_document(&planned.document);
        let reveal = |reference: &SecretRef| check.reveal(&planned.object, reference);
        let own: Vec<_> = model::check(&planned.object, after, &reveal).into_iter().map(place).collect();
        let wrong: Vec<_> = own.iter().filter(|one| one.is_error()).map(|one| (one.code, one.path.clone())).collect();
        if !wrong.is_empty() {
            check.wrong.insert(key(&planned.object), wrong);
        }
        // What a pipeline implies and the pipeline itself can be wrong by one and the same field.
        found.extend(own.into_iter().filter(|one| !found.contains(one)).collect::<Vec<_>>());
    }
    let (mut told, mut waits) = (Vec::new(), false);
    for planned in planned {
        let object = &planned.object;
        let Some((code, message)) = check.finding(object) else { continue };
        let missing = matches!(code, Code::Unresolved | Code::ComponentMissing);
        waits |= missing && matches!(object.kind, Kind::Stream | Kind::Pipeline);
        // One cause, one message: objects come after those that they refer to, and repeat what is wrong there.
        if told.iter().any(|(other, cause): &(Code, String)| *other == code && message.contains(cause.as_str())) {
            continue;
        }
        told.push((code, message.clone()));
        let title = object.title();
        let text = if message.starts_with(&title) { message } else { format!("{title}: {message}") };
        let mut diagnostic = Diagnostic::new(code, text);
        if !STANDING.contains(&code) {
            diagnostic = diagnostic.as_warning();
        }
        found.push(placed(object, diagnostic).in_document(&planned.document));
    }
    if complete && waits {
        for diagnostic in &mut found {
            if matches!(diagnostic.code, Code::Unresolved | Code::ComponentMissing) {
                diagnostic.severity = Severity::Error;
                diagnostic.message = diagnostic.message.replace(LATER, "");
            }
        }
    }
    found.extend(check.guests().await);
    found
}

/// What no later document mends. Everything else may come yet; until then the object's conditions say so.
const STANDING: [Code; 8] = [
    Code::DirectionNotAllowed,
    Code::ServiceDomainTooOld,
    Code::WrongWorld,
    Code::PipelineLoop,
    Code::Ambiguous,
    Code::WrongType,
    Code::LogTooWeak,
    Code::BadGrantEntry,
];

type Key = (Kind, Uid);

fn key(object: &Object) -> Key {
    (object.kind, object.uid().clone())
}

struct Check<'a> {
    inner: &'a Inner,
    after: &'a World,
    planned: &'a [Planned],
    components: &'a HashMap<String, Component>,
    resolution: Resolution,
    /// What is wrong with the fields of planned objects: codes and paths.
    wrong: HashMap<Key, Vec<(Code, String)>>,
}

impl Check<'_> {
    /// What a reference to a secret stands for, as far as that is known.
    fn reveal(&self, asker: &Object, reference: &SecretRef) -> Option<Known> {
        ferrule_control::secrets::known(self.after, &self.inner.site.vault, asker, reference).ok()
    }

    /// Values as a guest gets them. None: it does not get them, because something is not known or not granted.
    fn filled<const N: usize>(&self, user: &Object, values: [(&Object, Values); N]) -> Option<[Filled; N]> {
        let filled = values.map(|(asker, values)| {
            secret::fill(&Value::Object(values), &mut |reference| self.reveal(asker, reference))
        });
        let takes = filled.iter().any(|filled| !filled.places.is_empty());
        let known = filled.iter().all(|filled| filled.places.iter().all(|place| place.known));
        let resolved = || {
            let report = self.resolution.report(user.kind, user.uid());
            report.is_some_and(|report| {
                !report.findings.iter().any(|one| one.kind == types::RESOLVED && one.status == Truth::False)
            })
        };
        (!takes || (known && resolved())).then_some(filled)
    }

    /// What the resolution says of the object, as far as it is no matter of schemas, which are checked here with paths, and does not
    /// follow from what is wrong with its own fields or those of what it refers to.
    fn finding(&self, object: &Object) -> Option<(Code, String)> {
        let report = self.resolution.report(object.kind, object.uid())?;
        let finding = report
            .findings
            .iter()
            .find(|finding| finding.status == Truth::False && finding.kind == types::RESOLVED)
            .or_else(|| {
                report.findings.iter().find(|finding| finding.status == Truth::False && finding.kind == types::READY)
            })?;
        let problem = finding.problem.as_ref()?;
        let follows = match problem.code {
            Code::BadParameters | Code::BadSchema => true,
            // What is not there is not there, whatever else is wrong.
            Code::Unresolved | Code::ComponentMissing => false,
            _ => self.is_wrong(object, &mut HashSet::new()),
        };
        (!follows).then(|| (problem.code, problem.message.clone()))
    }

    /// Whether fields of the object, or of one that it refers to, are wrong.
    fn is_wrong(&self, object: &Object, seen: &mut HashSet<Key>) -> bool {
        if self.wrong.is_empty() || !seen.insert(key(object)) {
            return false;
        }
        self.wrong.contains_key(&key(object))
            || references(object).into_iter().filter(|made| made.needed).any(|made| {
                let found = self.after.resolve(made.kind, &made.reference, object);
                found.is_some_and(|found| self.is_wrong(&found, seen))
            })
    }

    /// Whether the fields of a step of a pipeline are wrong.
    fn is_step_wrong(&self, pipeline: &Object, index: usize) -> bool {
        let step = pipeline.path(&format!("functions[{index}]"));
        self.wrong.get(&key(pipeline)).is_some_and(|all| all.iter().any(|(_, path)| path.starts_with(&step)))
    }

    /// Has the components check the values that their sessions would get.
    async fn guests(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for stream in self.streams_concerned() {
            let Some(component) = self.component(&stream).await else { continue };
            let Some(instance) = self.after.instance_of(&stream) else { continue };
            let (Ok(read), Ok(of_instance)) = (stream.typed::<StreamSpec>(), instance.typed::<InstanceSpec>()) else {
                continue;
            };
            let (config, configs) = self.config_of(&instance);
            // A component is not asked about values that do not even fit its schemas.
            let mut seen = HashSet::new();
            if self.is_wrong(&stream, &mut seen) || configs.iter().any(|config| self.is_wrong(config, &mut seen)) {
                continue;
            }
            let values =
                [(&*instance, of_instance.static_parameters), (&*instance, config), (&*stream, read.parameters)];
            let Some(filled) = self.filled(&stream, values) else { continue };
            let redactor = filled.iter().fold(Redactor::default(), |all, filled| all.and(&filled.redactor));
            let texts = filled.map(|filled| filled.value.to_string());
            let problems = match component.validate(&texts[0], &texts[1], &texts[2]).await {
                Ok(problems) => problems,
                Err(error) => {
                    let failed = guest_failed(&component, &error).masked(&redactor);
                    found.push(failed.in_document(self.document(&stream)));
                    continue;
                }
            };
            for problem in problems {
                let (object, member) = match problem.scope.as_str() {
                    "static" => (&instance, "static"),
                    "config" => (self.config_with(&configs, &problem.path).unwrap_or(&instance), "parameters"),
                    _ => (&stream, "parameters"),
                };
                found.push(self.told(object, member, &component, &problem).masked(&redactor));
            }
        }
        for planned in self.planned.iter().filter(|planned| planned.object.kind == Kind::Pipeline) {
            let object = &planned.object;
            let Ok(spec) = object.typed::<PipelineSpec>() else { continue };
            for (i, step) in spec.functions.iter().enumerate() {
                let Some(function) = step.function.as_ref().and_then(|name| self.function(name, object)) else {
                    continue;
                };
                if self.is_step_wrong(object, i) || self.is_wrong(&function, &mut HashSet::new()) {
                    continue;
                }
                let (Ok(read), Some(component)) = (function.typed::<FunctionSpec>(), self.component(&function).await)
                else {
                    continue;
                };
                let args = with_args(read.args, &step.args);
                let Some([args]) = self.filled(object, [(&**object, args)]) else { continue };
                let (redactor, args) = (args.redactor, args.value.to_string());
                let member = format!("functions[{i}].args");
                match component.validate("{}", "{}", &args).await {
                    Ok(problems) => {
                        let told = |problem| self.told(object, &member, &component, problem).masked(&redactor);
                        found.extend(problems.iter().map(told));
                    }
                    Err(error) => {
                        let failed = guest_failed(&component, &error).masked(&redactor);
                        found.push(failed.in_document(self.document(object)));
                    }
                }
            }
        }
        found
    }

    /// The planned streams, and those whose instance or config is planned.
    fn streams_concerned(&self) -> Vec<Arc<Object>> {
        let is_planned = |object: &Object| {
            self.planned
                .iter()
                .any(|planned| planned.object.kind == object.kind && planned.object.uid() == object.uid())
        };
        let concerned = |stream: &&Arc<Object>| {
            is_planned(stream)
                || self.after.instance_of(stream).is_some_and(|instance| {
                    is_planned(&instance) || self.config_of(&instance).1.iter().any(|config| is_planned(config))
                })
        };
        self.after.of_kind(Kind::Stream).filter(concerned).cloned().collect()
    }

    /// The config in force for an instance, and the objects it is merged from, in order.
    fn config_of(&self, instance: &Object) -> (Values, Vec<Arc<Object>>) {
        let mut merged = Values::new();
        let mut from = Vec::new();
        for config in self.after.of_kind(Kind::Config) {
            let of = self.after.instance_of(config);
            if of.is_none_or(|of| of.uid() != instance.uid()) {
                continue;
            }
            if let Ok(spec) = config.typed::<ConfigSpec>() {
                merged.extend(spec.parameters);
                from.push(config.clone());
            }
        }
        (merged, from)
    }

    /// The config that a value came from: the last that has it.
    fn config_with<'a>(&self, configs: &'a [Arc<Object>], pointer: &str) -> Option<&'a Arc<Object>> {
        let member = pointer.trim_start_matches('/').split('/').next().unwrap_or_default();
        let has =
            |config: &&Arc<Object>| config.spec.get("parameters").is_some_and(|values| values.get(member).is_some());
        configs.iter().rev().find(has).or(configs.last())
    }

    /// What the component says is wrong with values of the object.
    fn told(&self, object: &Object, member: &str, component: &Component, problem: &Problem) -> Diagnostic {
        let name = &component.description().name;
        placed(object, model::guest_problem(object, member, problem))
            .in_document(self.document(object))
            .help(format!("`ferrule inspect {name}` shows what the component takes"))
    }

    /// What messages call the object's document; the object itself if its document is not one of this call.
    fn document(&self, object: &Object) -> String {
        let is_it = |planned: &&Planned| planned.object.kind == object.kind && planned.object.uid() == object.uid();
        self.planned.iter().find(is_it).map_or_else(|| object.title(), |planned| planned.document.clone())
    }

    fn function(&self, reference: &Ref, pipeline: &Object) -> Option<Arc<Object>> {
        self.after.resolve(Kind::Function, reference, pipeline)
    }

    /// The digest of the component that was chosen for an instance, stream or function.
    fn digest(&self, object: &Object) -> Option<&str> {
        let report = self.resolution.report(object.kind, object.uid())?;
        report.details.pointer("/component/digest").and_then(Value::as_str)
    }

    async fn component(&self, object: &Object) -> Option<Component> {
        let digest = self.digest(object)?;
        match self.components.get(digest) {
            Some(component) => Some(component.clone()),
            // A file that is broken is a condition of the stream, not an error of this document.
            None => self.inner.registry.component(digest).await.ok(),
        }
    }
}

/// What a pipeline implies has no document: the path is one in the pipeline's.
pub(crate) fn placed(object: &Object, diagnostic: Diagnostic) -> Diagnostic {
    match place_in_pipeline(object, &diagnostic.path) {
        Some(path) => diagnostic.at(path),
        None => diagnostic,
    }
}

fn with_args(mut under: Values, over: &Values) -> Values {
    under.extend(over.iter().map(|(name, value)| (name.clone(), value.clone())));
    under
}

fn guest_failed(component: &Component, error: &ferrule_host::CallError) -> Diagnostic {
    let name = &component.description().name;
    Diagnostic::new(error.code(), format!("component {name} cannot check its parameters: {error}"))
        .help("this is a defect of the component; tell its author, or register another version")
}
