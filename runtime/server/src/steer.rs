//! Pausing, resuming and draining. What is paused stays so over restarts and over later documents that do not say otherwise.

use std::sync::Arc;
use std::time::Duration;

use ferrule_api::Error;
use ferrule_api::report::{Action, AppliedObject};
use ferrule_api::request::{Control, ControlAction};
use ferrule_flow::FlowError;
use ferrule_model::{Code, Diagnostic, Kind, Object};
use ferrule_store::{Principal, StoreError};

use crate::delete::{find, ways};
use crate::notes;
use crate::platform::{Inner, applied, store_problem};
use crate::world::{Found, World};

pub(crate) async fn steer(inner: &Inner, principal: &Principal, control: Control) -> Result<Vec<AppliedObject>, Error> {
    let world = inner.world().await?;
    let targets = targets(&world, &control)?;
    let mut done = Vec::new();
    for target in &targets {
        let drained = match control.action {
            ControlAction::Drain { deadline } => drain(inner, target, deadline).await,
            ControlAction::Hold | ControlAction::Resume => Ok(()),
        };
        let hold = control.action != ControlAction::Resume;
        let mut result = applied(target, &world, Action::Configured);
        match set_held(inner, principal, target, hold).await {
            Ok((action, generation)) => {
                result.action = action;
                result.generation = generation;
            }
            Err(error) => {
                result.action = Action::Failed;
                result.diagnostics.push(store_problem(&error));
            }
        }
        if let Err(problem) = drained {
            result.action = Action::Failed;
            result.diagnostics.push(problem);
        }
        done.push(result);
    }
    inner.reconciled().await;
    // A drain holds back what it drained until it is told otherwise; from here on the object's own pause does, or nothing.
    for target in &targets {
        match inner.flow.resume(target.uid()) {
            Ok(()) | Err(FlowError::Unknown(_)) => {}
            Err(error) => tracing::warn!(target = %target.title(), %error, "a drain did not end"),
        }
    }
    Ok(done)
}

fn targets(world: &World, control: &Control) -> Result<Vec<Arc<Object>>, Error> {
    let namespace = control.namespace.as_deref();
    let mut problems = Vec::new();
    let mut targets = Vec::new();
    for name in &control.names {
        match target(world, control.kind, name, namespace) {
            Ok(object) => targets.push(object),
            Err(problem) => problems.push(*problem),
        }
    }
    if problems.is_empty() { Ok(targets) } else { Err(Error::Refused(problems)) }
}

/// The stream or pipeline that a name stands for: `NAME`, `stream/NAME`, `pipeline/NAME`, `INSTANCE/NAME`.
pub(crate) fn target(
    world: &World,
    kind: Option<Kind>,
    name: &str,
    namespace: Option<&str>,
) -> Result<Arc<Object>, Box<Diagnostic>> {
    if let Some(kind) = kind {
        return match kind {
            Kind::Stream | Kind::Pipeline => find(world, kind, name, namespace),
            _ => Err(Box::new(
                Diagnostic::new(Code::Usage, format!("a {} does not run", kind.nouns()[0]))
                    .expected("a stream or a pipeline"),
            )),
        };
    }
    if let Some((word, rest)) = name.split_once('/')
        && let Some(kind @ (Kind::Stream | Kind::Pipeline)) = Kind::parse(word)
    {
        return find(world, kind, rest, namespace);
    }
    match (world.find(Kind::Pipeline, name, namespace), world.find(Kind::Stream, name, namespace)) {
        (Found::One(object), Found::Nothing) | (Found::Nothing, Found::One(object)) => Ok(object),
        (Found::Nothing, Found::Nothing) => {
            let names: Vec<String> = [Kind::Pipeline, Kind::Stream]
                .into_iter()
                .flat_map(|kind| world.of_kind(kind))
                .map(|object| object.name().to_owned())
                .collect();
            let help = match ferrule_model::error::suggestion(name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`ferrule get streams` and `ferrule get pipelines` show what there is".to_owned(),
            };
            let text = format!("there is no stream or pipeline `{name}`");
            Err(Box::new(Diagnostic::new(Code::NotFound, text).help(help)))
        }
        (pipelines, streams) => {
            let all: Vec<Arc<Object>> = [pipelines, streams]
                .into_iter()
                .flat_map(|found| match found {
                    Found::One(object) => vec![object],
                    Found::Several(all) => all,
                    Found::Nothing => Vec::new(),
                })
                .collect();
            let text = format!("`{name}` fits several");
            let diagnostic = Diagnostic::new(Code::Ambiguous, text);
            if all.iter().any(|object| object.kind != all[0].kind) {
                let word = |object: &Arc<Object>| format!("{}/{}", object.kind.nouns()[0], world.unique_name(object));
                let all: Vec<String> = all.iter().map(word).collect();
                return Err(Box::new(diagnostic.found(all.join(", ")).help("write one of these")));
            }
            let (ways, help) = ways(world, &all);
            Err(Box::new(diagnostic.found(ways.join(", ")).help(help)))
        }
    }
}

/// Writes the pause into the object; what became of it, and its generation.
async fn set_held(
    inner: &Inner,
    principal: &Principal,
    object: &Arc<Object>,
    hold: bool,
) -> Result<(Action, u64), StoreError> {
    let _one = inner.writing.lock().await;
    let current = inner.store.get(object.kind, object.uid()).await?.unwrap_or_else(|| object.clone());
    let mut changed = Object::clone(&current);
    if hold {
        changed.metadata.annotations.insert(notes::HELD.to_owned(), principal.name().to_owned());
    } else {
        changed.metadata.annotations.remove(notes::HELD);
    }
    if let Some(spec) = changed.spec.as_object_mut() {
        if hold {
            spec.insert("paused".to_owned(), true.into());
        } else {
            spec.shift_remove("paused");
        }
    }
    let action = if current.is_paused() == hold { Action::Unchanged } else { Action::Configured };
    let stored = inner.update(principal, current, changed).await?;
    Ok((action, stored.metadata.generation))
}

async fn drain(inner: &Inner, object: &Object, deadline: Duration) -> Result<(), Diagnostic> {
    match inner.flow.drain(object.uid(), deadline).await {
        // What does not run has nothing in flight.
        Ok(()) | Err(FlowError::Unknown(_)) => Ok(()),
        Err(FlowError::NotDrained(_)) => Err(Diagnostic::new(
            Code::DrainTimedOut,
            format!("{} still has records in flight after {} s", object.title(), deadline.as_secs_f64()),
        )
        .help("it is paused now and delivers what it can; `ferrule status` shows what is left")),
        Err(error) => Err(Diagnostic::new(Code::NotReady, format!("{} is not drained: {error}", object.title()))),
    }
}
