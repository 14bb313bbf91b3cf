//! From objects to what should run, and what to say of each object: pure, and the same answer for the same objects.

use std::collections::{HashMap, HashSet};

use ferrule_model::conditions::types;
use ferrule_model::connector::{StreamDirection, Values};
use ferrule_model::{Kind, Object, Truth, Uid};
use serde_json::{Value, json};

use crate::component::{Pins, keep_pins, pins_of};
use crate::connector::class::{Class, is_template};
use crate::connector::config::Configs;
use crate::connector::function::Function;
use crate::connector::instance::Instance;
use crate::connector::{config, grant, pipeline, stream};
use crate::finding::{Finding, Problem, Report};
use crate::secrets;
use crate::site::Site;
use crate::snapshot::Snapshot;
use crate::wanted::{Chosen, Wanted};

/// What to run, and what to say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resolution {
    /// What should run.
    pub wanted: Wanted,
    /// One report for each object.
    pub reports: Vec<Report>,
}

impl Resolution {
    /// What is said of one object.
    pub fn report(&self, kind: Kind, uid: &Uid) -> Option<&Report> {
        self.reports.iter().find(|report| report.kind == kind && report.uid == *uid)
    }
}

/// Resolves every reference. What cannot be resolved yet is left out and gets a condition that says what is missing.
pub fn resolve(snapshot: &Snapshot, site: &Site) -> Resolution {
    let configs = Configs::merge(snapshot, site);
    let mut reports = Vec::new();
    let mut streams = pipeline::Streams::new();
    let mut granted = HashMap::new();
    for object in snapshot.of(Kind::Stream) {
        let resolved = stream::resolve(snapshot, site, &configs, object).map(|resolved| {
            granted.insert(object.uid().clone(), (resolved.granted, resolved.in_force));
            resolved.wanted
        });
        streams.insert(object.uid().clone(), resolved);
    }
    let mut pipelines = Vec::new();
    // Streams whose pipeline waits for something, and for what.
    let mut waiting: HashMap<Uid, String> = HashMap::new();
    for object in snapshot.of(Kind::Pipeline) {
        let resolved = pipeline::resolve(snapshot, site, &streams, object);
        if let Err(problem) = &resolved {
            for (direction, uid) in pipeline::ends(snapshot, object) {
                let does = if direction == StreamDirection::Ingress { "reads" } else { "writes" };
                let text = format!("pipeline {} {does} it, and waits: {problem}", object.name());
                waiting.entry(uid).or_insert(text);
            }
        }
        reports.push(pipeline_report(object, &resolved));
        pipelines.extend(resolved.ok().and_then(|resolved| resolved.wanted));
    }
    let used: HashSet<&Uid> = pipelines
        .iter()
        .flat_map(|pipeline| pipeline.sources.iter().chain(pipeline.routes.values()).chain([&pipeline.sink]))
        .collect();
    let mut wanted = Vec::new();
    for object in snapshot.of(Kind::Stream) {
        let mut report = blank(object);
        match streams.get(object.uid()) {
            Some(Ok(stream)) => {
                report.put(Finding::new(types::RESOLVED, true, "Resolved", ""));
                let (granted, in_force) = granted.remove(object.uid()).unzip();
                report.findings.extend(granted);
                let lasts = stream.direction == StreamDirection::Ingress && site.log.lasts(&stream.log);
                let runs = lasts || used.contains(object.uid());
                report.put(readiness(stream.direction, runs, waiting.get(object.uid())));
                if stream.paused {
                    report.put(Finding::new(types::PAUSED, true, "Paused", "the document says so"));
                }
                report.details = json!({"component": component(&stream.component), "inForce": in_force});
                if runs {
                    wanted.push(stream.clone());
                }
            }
            Some(Err(problem)) => put_problem(&mut report, problem),
            None => {}
        }
        reports.push(report);
    }
    for object in snapshot.all() {
        match object.kind {
            Kind::Stream | Kind::Pipeline => {}
            Kind::Class => reports.push(class_report(snapshot, site, object)),
            Kind::Function => reports.push(function_report(snapshot, object)),
            Kind::Instance => reports.push(instance_report(snapshot, site, &configs, object)),
            Kind::Config => reports.push(simple(object, config::instance_of(snapshot, object).map(drop))),
            Kind::Secret => reports.push(simple(object, secrets::check(&site.vault, object))),
            Kind::Grant => reports.push(simple(object, grant::read(object).map(drop))),
            Kind::Project | Kind::ServiceDomain | Kind::Category | Kind::Component => {
                reports.push(simple(object, Ok(())))
            }
        }
    }
    let existing = |kind| snapshot.of(kind).iter().map(|object| object.uid().clone()).collect();
    let wanted = Wanted {
        streams: wanted,
        pipelines,
        existing_streams: existing(Kind::Stream),
        existing_pipelines: existing(Kind::Pipeline),
    };
    Resolution { wanted, reports }
}

fn blank(object: &Object) -> Report {
    Report {
        kind: object.kind,
        uid: object.uid().clone(),
        generation: object.metadata.generation,
        findings: Vec::new(),
        details: Value::Null,
    }
}

fn put_problem(report: &mut Report, problem: &Problem) {
    report.put(Finding::problem(types::RESOLVED, problem));
    report.put(Finding::problem(types::READY, problem));
}

fn simple(object: &Object, outcome: Result<(), Problem>) -> Report {
    let mut report = blank(object);
    match outcome {
        Ok(()) => report.put(Finding::new(types::READY, true, "Accepted", "")),
        Err(problem) => put_problem(&mut report, &problem),
    }
    report
}

/// What is known of a stream before its session runs. A source whose log lasts runs without a reader too: what it takes in waits
/// for one. In memory it would be lost.
fn readiness(direction: StreamDirection, runs: bool, waiting: Option<&String>) -> Finding {
    if runs {
        return Finding::new(types::READY, Truth::Unknown, "Starting", "its session is being opened");
    }
    if let Some(waiting) = waiting {
        return Finding::new(types::READY, false, "PipelineWaits", waiting);
    }
    let message = match direction {
        StreamDirection::Ingress => {
            "no pipeline reads it: name it as a pipeline's `source`, or select it by its labels"
        }
        StreamDirection::Egress => "no pipeline writes it: name it as a pipeline's `sink`",
    };
    Finding::new(types::READY, false, "NoPipeline", message)
}

fn component(chosen: &Chosen) -> Value {
    json!({"name": chosen.name, "version": chosen.version, "digest": chosen.digest})
}

fn pipeline_report(object: &Object, resolved: &Result<pipeline::Resolved, Problem>) -> Report {
    let mut report = blank(object);
    let mut details = Values::new();
    match resolved {
        Ok(resolved) => {
            let notes = resolved.notes.join("; ");
            let reason = if notes.is_empty() { "Resolved" } else { "SomeSourcesMissing" };
            report.put(Finding::new(types::RESOLVED, true, reason, notes));
            report.findings.extend(resolved.granted.clone());
            report.put(match &resolved.wanted {
                Some(_) => Finding::new(types::READY, Truth::Unknown, "Starting", "it is being started"),
                None => Finding::new(
                    types::READY,
                    true,
                    "ReadByOthers",
                    "other pipelines run its functions on what it reads",
                ),
            });
            if object.is_paused() {
                report.put(Finding::new(types::PAUSED, true, "Paused", "the document says so"));
            }
            if let Some(wanted) = &resolved.wanted {
                let steps =
                    wanted.steps.iter().map(|step| json!({"name": step.name, "component": component(&step.component)}));
                details.insert("sources".into(), json!(wanted.sources));
                details.insert("steps".into(), steps.collect());
                details.insert("sink".into(), json!(wanted.sink));
            }
            keep_pins(&mut details, &resolved.pins);
        }
        Err(problem) => {
            put_problem(&mut report, problem);
            keep_pins(&mut details, &pins_of(object));
        }
    }
    report.details = Value::Object(details);
    report
}

fn class_report(snapshot: &Snapshot, site: &Site, object: &Object) -> Report {
    let class = match Class::read(object, site) {
        Ok(class) => class,
        Err(problem) => return simple(object, Err(problem)),
    };
    if is_template(&class.spec) {
        let mut report = blank(object);
        report.put(Finding::new(types::READY, true, "ChosenByInstances", "each instance chooses its component"));
        return report;
    }
    chosen_report(object, class.component(snapshot, None, None, &mut Pins::new()))
}

fn function_report(snapshot: &Snapshot, object: &Object) -> Report {
    let chosen = Function::read(object).and_then(|function| function.component(snapshot, &mut Pins::new()));
    chosen_report(object, chosen)
}

fn chosen_report(object: &Object, chosen: Result<Chosen, Problem>) -> Report {
    let mut report = blank(object);
    match chosen {
        Ok(chosen) => {
            let message = format!("component {} {} ({})", chosen.name, chosen.version, chosen.digest);
            report.put(Finding::new(types::READY, true, "ComponentFound", message));
            report.details = json!({"component": component(&chosen)});
        }
        Err(problem) => put_problem(&mut report, &problem),
    }
    report
}

fn instance_report(snapshot: &Snapshot, site: &Site, configs: &Configs, object: &Object) -> Report {
    let mut report = blank(object);
    let mut details = Values::new();
    let resolved = Instance::read(snapshot, site, configs, object).and_then(|mut instance| {
        let chosen = instance.component(snapshot, None)?;
        Ok((instance, chosen))
    });
    match resolved {
        Ok((instance, chosen)) => {
            report.put(Finding::new(types::RESOLVED, true, "Resolved", ""));
            report.put(Finding::new(types::READY, true, "ComponentFound", instance.class.object.title()));
            details.insert("class".into(), json!(instance.class.object.uid()));
            details.insert("component".into(), component(&chosen));
            keep_pins(&mut details, &instance.pins);
        }
        Err(problem) => {
            put_problem(&mut report, &problem);
            keep_pins(&mut details, &pins_of(object));
        }
    }
    report.details = Value::Object(details);
    report
}
