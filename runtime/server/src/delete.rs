//! Deleting objects: with what exists on their account, and never what others need.

use std::collections::HashSet;
use std::sync::Arc;

use ferrule_api::Error;
use ferrule_api::report::{Action, AppliedObject};
use ferrule_api::request::Deletion;
use ferrule_model::lookup::Resolution;
use ferrule_model::{Code, Diagnostic, Kind, Object, Uid};
use ferrule_store::{Precondition, Principal, StoreError};

use crate::platform::{Inner, applied};
use crate::read::read_all;
use crate::world::{World, in_order};

pub(crate) async fn delete(
    inner: &Inner,
    principal: &Principal,
    deletion: Deletion,
) -> Result<Vec<AppliedObject>, Error> {
    let one = inner.writing.lock().await;
    let world = inner.world().await?;
    let targets = targets(&world, &deletion)?;
    let doomed = doomed(&world, targets, deletion.cascade)?;
    if deletion.dry_run {
        return Ok(doomed.iter().map(|object| applied(object, &world, Action::Deleted)).collect());
    }
    let done = remove(inner, principal, &world, &doomed).await;
    drop(one);
    inner.reconciled().await;
    Ok(done)
}

fn targets(world: &World, deletion: &Deletion) -> Result<Vec<Arc<Object>>, Error> {
    let namespace = deletion.namespace.as_deref();
    let mut problems = Vec::new();
    let mut targets = Vec::new();
    match deletion.kind {
        Some(kind) => {
            for name in &deletion.names {
                match find(world, kind, name, namespace) {
                    Ok(object) => targets.push(object),
                    Err(problem) => problems.push(*problem),
                }
            }
        }
        None if !deletion.names.is_empty() => {
            problems.push(
                Diagnostic::new(Code::Usage, "names without a kind").help("say what they are: delete stream NAME"),
            );
        }
        None => {}
    }
    let (objects, _) = read_all(&deletion.documents, &deletion.environment, "delete").map_err(Error::Refused)?;
    for read in objects {
        let object = &read.object;
        match world.existing(object) {
            Resolution::Found(found) => targets.push(found),
            Resolution::Ambiguous(all) => problems.push(
                Diagnostic::new(Code::Ambiguous, format!("{} stands for {} objects", object.title(), all.len()))
                    .in_document(&read.document)
                    .help("say the id in the document"),
            ),
            Resolution::Missing => problems.push(
                Diagnostic::new(Code::NotFound, format!("there is no {}", object.title())).in_document(&read.document),
            ),
        }
    }
    if problems.is_empty() { Ok(targets) } else { Err(Error::Refused(problems)) }
}

/// The object that a name on the command line stands for, or what is wrong with the name.
pub(crate) fn find(
    world: &World,
    kind: Kind,
    name: &str,
    namespace: Option<&str>,
) -> Result<Arc<Object>, Box<Diagnostic>> {
    use crate::world::Found;
    let noun = kind.nouns()[0];
    match world.find(kind, name, namespace) {
        Found::One(object) => Ok(object),
        Found::Nothing => {
            let names: Vec<String> = world.of_kind(kind).map(|object| object.name().to_owned()).collect();
            let help = match ferrule_model::error::suggestion(name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("`ferrule get {}` shows what there is", kind.nouns()[1]),
            };
            Err(Box::new(Diagnostic::new(Code::NotFound, format!("there is no {noun} `{name}`")).help(help)))
        }
        Found::Several(all) => {
            let text = format!("`{name}` fits {} {}", all.len(), kind.nouns()[1]);
            let (ways, help) = ways(world, &all);
            Err(Box::new(Diagnostic::new(Code::Ambiguous, text).found(ways.join(", ")).help(help)))
        }
    }
}

/// How to name each of several objects that one name fits, and what to do about it.
pub(crate) fn ways(world: &World, all: &[Arc<Object>]) -> (Vec<String>, &'static str) {
    let projects: HashSet<String> = all.iter().map(|object| world.project(object)).collect();
    let name = |object: &Arc<Object>| match world.project(object) {
        project if projects.len() > 1 && !project.is_empty() => format!("{project}/{}", world.unique_name(object)),
        _ => world.unique_name(object),
    };
    let help =
        if projects.len() > 1 { "say which project: -p PROJECT" } else { "name one of them in full, or by its id" };
    (all.iter().map(name).collect(), help)
}

/// The targets, what exists on their account, and with `cascade` what needs them, in an order in which they can go.
pub(crate) fn doomed(world: &World, targets: Vec<Arc<Object>>, cascade: bool) -> Result<Vec<Arc<Object>>, Error> {
    let key = |object: &Object| -> (Kind, Uid) { (object.kind, object.uid().clone()) };
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    let mut open = targets;
    while let Some(object) = open.pop() {
        if !seen.insert(key(&object)) {
            continue;
        }
        open.extend(world.owned_by(&object));
        if cascade {
            open.extend(world.users_of(&object));
        }
        all.push(object);
    }
    let mut problems = Vec::new();
    for object in &all {
        let users: Vec<String> = world
            .users_of(object)
            .iter()
            .filter(|user| !seen.contains(&key(user)))
            .map(|user| format!("{} {}", user.kind.nouns()[0], world.unique_name(user)))
            .collect();
        if !users.is_empty() {
            problems.push(
                Diagnostic::new(Code::InUse, format!("{} is in use by {}", object.title(), users.join(", ")))
                    .help("delete those first, or all of it with --cascade"),
            );
        }
    }
    if !problems.is_empty() {
        return Err(Error::Refused(problems));
    }
    // Kinds are ordered so that an object refers to earlier ones only: the last go first.
    all.sort_by(|a, b| in_order(b, a));
    Ok(all)
}

/// Deletes the objects, and the files of components among them. What fails is in the answer.
pub(crate) async fn remove(
    inner: &Inner,
    principal: &Principal,
    world: &World,
    objects: &[Arc<Object>],
) -> Vec<AppliedObject> {
    let mut done = Vec::new();
    for object in objects {
        let mut result = applied(object, world, Action::Deleted);
        match inner.store.delete(principal, object.kind, object.uid(), &Precondition::default()).await {
            Ok(_) | Err(StoreError::NotFound { .. }) => {
                if let Some(digest) = object.spec.get("digest").and_then(|d| d.as_str())
                    && object.kind == Kind::Component
                    && let Err(error) = inner.registry.forget(digest).await
                {
                    let text = format!("the file of component {digest} cannot be deleted: {error}");
                    result.diagnostics.push(Diagnostic::new(Code::DataFolder, text).as_warning());
                }
            }
            Err(error) => {
                result.action = Action::Failed;
                result.diagnostics.push(crate::platform::store_problem(&error));
            }
        }
        done.push(result);
    }
    done
}
