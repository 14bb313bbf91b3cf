//! Applying documents: read, check everything, and only then write.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ferrule_api::Error;
use ferrule_api::report::{Action, Applied, AppliedObject, Difference, Differences};
use ferrule_api::request::{Application, ApplyMode};
use ferrule_control::secrets::Vault;
use ferrule_host::Component;
use ferrule_model::check::check_change;
use ferrule_model::connector::PipelineSpec;
use ferrule_model::document::expand;
use ferrule_model::error::suggestion;
use ferrule_model::lookup::Resolution;
use ferrule_model::redact::Redactor;
use ferrule_model::{Code, Diagnostic, Kind, Object, Ref, Uid, secret};
use ferrule_store::Principal;
use serde_json::Value;

use crate::platform::{Inner, applied, store_problem};
use crate::read::{Files, Read, read_all};
use crate::world::{World, is_owned_by};
use crate::{check, delete, notes, register, secrets};

/// An object as it is to be.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) object: Arc<Object>,
    pub(crate) before: Option<Arc<Object>>,
    /// What messages call its document.
    pub(crate) document: String,
    pub(crate) action: Action,
}

/// Everything that an application would do.
pub(crate) struct Plan {
    /// In an order in which they can be written.
    pub(crate) objects: Vec<Planned>,
    /// In an order in which they can go.
    pub(crate) deletions: Vec<Arc<Object>>,
    /// As all objects would be.
    pub(crate) after: World,
    pub(crate) components: HashMap<String, (Component, Vec<u8>)>,
    pub(crate) warnings: Vec<Diagnostic>,
}

pub(crate) async fn apply(
    inner: &Inner,
    principal: &Principal,
    local: bool,
    application: Application,
) -> Result<Applied, Error> {
    let one = inner.writing.lock().await;
    let plan = plan(inner, local, &application).await?;
    if application.dry_run {
        let objects = plan
            .objects
            .iter()
            .map(|planned| applied(&planned.object, &plan.after, planned.action))
            .chain(plan.deletions.iter().map(|object| applied(object, &plan.after, Action::Deleted)))
            .collect();
        return Ok(Applied { objects, warnings: plan.warnings });
    }
    for (component, bytes) in plan.components.into_values() {
        inner.registry.keep(&component, bytes).await.map_err(|error| {
            let text = format!("component {} cannot be kept: {error}", component.digest());
            Error::refused(Diagnostic::new(Code::DataFolder, text).help("see to room and rights in the data folder"))
        })?;
    }
    let mut objects = write(inner, principal, &plan.after, plan.objects).await;
    objects.extend(delete::remove(inner, principal, &plan.after, &plan.deletions).await);
    drop(one);
    inner.reconciled().await;
    Ok(Applied { objects, warnings: plan.warnings })
}

pub(crate) async fn diff(inner: &Inner, local: bool, application: Application) -> Result<Differences, Error> {
    let plan = plan(inner, local, &application).await?;
    let shown = |object: &Object, before: Option<&Object>| {
        let mut value = secret::shown(object, before).to_native();
        if let Some(members) = value.as_object_mut() {
            members.shift_remove("status");
        }
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            for own in ["resourceVersion", "generation", "managedFields", "creationTimestamp"] {
                metadata.shift_remove(own);
            }
        }
        value
    };
    let of = |object: &Arc<Object>, action, before: Option<Value>, after: Option<Value>| {
        let AppliedObject { kind, namespace, name, .. } = applied(object, &plan.after, action);
        Difference { kind, namespace, name, action, before, after }
    };
    let mut differences = Vec::new();
    for planned in &plan.objects {
        let before = planned.before.as_deref();
        let after = shown(&planned.object, before);
        differences.push(of(&planned.object, planned.action, before.map(|before| shown(before, None)), Some(after)));
    }
    for object in &plan.deletions {
        differences.push(of(object, Action::Deleted, Some(shown(object, None)), None));
    }
    Ok(Differences { differences, warnings: plan.warnings })
}

/// Reads and checks everything; changes nothing. Nothing of a secret in the documents is in what is wrong with them.
async fn plan(inner: &Inner, local: bool, application: &Application) -> Result<Plan, Error> {
    let mut redactor = Redactor::default();
    match plan_of(inner, local, application, &mut redactor).await {
        Ok(mut plan) => {
            plan.warnings = plan.warnings.into_iter().map(|warning| warning.masked(&redactor)).collect();
            Ok(plan)
        }
        Err(Error::Refused(found)) => {
            Err(Error::Refused(found.into_iter().map(|diagnostic| diagnostic.masked(&redactor)).collect()))
        }
        Err(error) => Err(error),
    }
}

async fn plan_of(
    inner: &Inner,
    local: bool,
    application: &Application,
    redactor: &mut Redactor,
) -> Result<Plan, Error> {
    let verb = match application.mode {
        ApplyMode::Update => "update",
        ApplyMode::Apply | ApplyMode::Create => "create",
    };
    let (mut reads, mut warnings) =
        read_all(&application.documents, &application.environment, verb).map_err(Error::Refused)?;
    *redactor = secrets::redactor(reads.iter().map(|read| &read.object));
    let before = inner.world().await?;
    let mut problems = Vec::new();
    let files = Files { documents: &application.documents, local };
    if let Some(namespace) = application.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
        for read in &mut reads {
            let object = &mut read.object;
            if object.kind.is_in_project() && object.metadata.namespace.is_none() && object.project_ref().is_none() {
                object.metadata.namespace = Some(namespace.to_owned());
            }
        }
    }
    for read in &mut reads {
        match files.inline_script(read).await {
            Ok(warning) => warnings.extend(warning),
            Err(problem) => problems.push(problem),
        }
        // What a pipeline implies derives its ids from the pipeline's.
        if read.object.kind == Kind::Pipeline && read.object.uid().is_unset() {
            let known = before.existing(&read.object).found().map(|object| object.uid().clone());
            read.object.metadata.uid = known.unwrap_or_else(Uid::random);
        }
    }
    let mut reads = expanded(reads)?;
    let mut components = HashMap::new();
    let steps = steps(&reads);
    for read in &mut reads {
        match load(inner, &files, read).await {
            Ok(Some((component, bytes))) => {
                components.insert(component.digest().to_owned(), (component, bytes));
            }
            Ok(None) => {}
            Err(problem) => problems.push(match steps.get(read.object.uid()) {
                Some(step) => problem.at(format!("{step}.component")),
                None => check::placed(&read.object, problem),
            }),
        }
    }
    // What is wrong elsewhere is told too; that these have no component is not.
    let broken: HashSet<String> = problems.iter().map(|problem| problem.document.clone()).collect();
    for (component, bytes) in components.values() {
        let object = register::component_object(component, bytes.len() as u64)?;
        reads.push(Read { object, document: String::new(), file: usize::MAX });
    }
    let (objects, after, unplanned) = planned(&inner.site.vault, &before, reads, application);
    problems.extend(unplanned);
    let deletions = match superfluous(&before, &after, &objects, application) {
        Ok(deletions) => deletions,
        Err(Error::Refused(found)) => {
            problems.extend(found);
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let after = after.with([], &deletions);
    let loaded: HashMap<String, Component> =
        components.iter().map(|(digest, (component, _))| (digest.clone(), component.clone())).collect();
    warnings.extend(application.namespace.as_deref().and_then(|name| no_project(&after, name)));
    for found in check::check(inner, &after, &objects, &loaded, application.complete).await {
        if found.code == Code::ComponentMissing && broken.contains(&found.document) {
            continue;
        }
        if found.is_error() { problems.push(found) } else { warnings.push(found) }
    }
    if !problems.is_empty() {
        problems.extend(warnings);
        return Err(Error::Refused(problems));
    }
    Ok(Plan { objects, deletions, after, components, warnings })
}

/// A warning where objects go into a project that has no document.
fn no_project(world: &World, name: &str) -> Option<Diagnostic> {
    let is_it = |project: &Arc<Object>| project.name() == name || project.uid().as_str() == name;
    if name.is_empty() || world.of_kind(Kind::Project).any(is_it) {
        return None;
    }
    let names: Vec<&str> = world.of_kind(Kind::Project).map(|project| project.name()).collect();
    let help = match suggestion(name, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "apply a document of kind Project with that name, or leave -p out".to_owned(),
    };
    let text = format!("there is no project `{name}` yet; the objects are put into it all the same");
    Some(Diagnostic::new(Code::Unresolved, text).help(help).as_warning())
}

/// The functions that steps of pipelines imply, and the place of the step in the pipeline's document.
fn steps(reads: &[Read]) -> HashMap<Uid, String> {
    let mut places = HashMap::new();
    for read in reads.iter().filter(|read| read.object.kind == Kind::Pipeline) {
        let Ok(spec) = read.object.typed::<PipelineSpec>() else { continue };
        for (index, step) in spec.functions.iter().enumerate() {
            let implied = |other: &&Read| {
                other.object.kind == Kind::Function
                    && is_owned_by(&other.object, &read.object)
                    && step.function == Some(Ref::name(other.object.name()))
            };
            if let Some(function) = reads.iter().find(implied) {
                places.insert(function.object.uid().clone(), read.object.path(&format!("functions[{index}]")));
            }
        }
    }
    places
}

/// With what pipelines imply.
fn expanded(reads: Vec<Read>) -> Result<Vec<Read>, Error> {
    let mut all = Vec::new();
    for read in reads {
        let Read { object, document, file } = read;
        let objects = expand(vec![object]).map_err(|error| Error::Internal(error.to_string()))?;
        all.extend(objects.into_iter().map(|object| Read { object, document: document.clone(), file }));
    }
    Ok(all)
}

/// Checks the component that the object names as a file, and puts its digest in the place of the path: what is stored does
/// not change when the file does.
async fn load(inner: &Inner, files: &Files<'_>, read: &mut Read) -> Result<Option<(Component, Vec<u8>)>, Diagnostic> {
    let Some((path, bytes)) = files.component(read).await? else { return Ok(None) };
    let checked = inner.registry.check(&path, &bytes).await;
    let component = checked.map_err(|problem| {
        let message = format!("{path}: {}", problem.message);
        Diagnostic { message, ..problem }.in_document(&read.document).at(read.object.path("component"))
    })?;
    if let Some(spec) = read.object.spec.as_object_mut() {
        spec.insert("component".to_owned(), component.digest().into());
    }
    read.object.metadata.annotations.insert(notes::FILE.to_owned(), path);
    Ok(Some((component, bytes)))
}

/// What is to become of each object, and how all objects would be.
fn planned(
    vault: &Vault,
    before: &World,
    reads: Vec<Read>,
    application: &Application,
) -> (Vec<Planned>, World, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let mut objects: Vec<Planned> = Vec::new();
    let mut after = before.clone();
    let mut reads = reads;
    // Kinds are ordered so that an object refers to earlier ones only; a stream is known by its instance.
    reads.sort_by_key(|read| read.object.kind);
    let mut rest = reads.into_iter().peekable();
    while let Some(kind) = rest.peek().map(|read| read.object.kind) {
        let mut of_kind = Vec::new();
        while let Some(read) = rest.next_if(|read| read.object.kind == kind) {
            match one(vault, &after, read, application) {
                Ok(planned) => of_kind.push(planned),
                Err(problem) => problems.push(*problem),
            }
        }
        after = after.with(of_kind.iter().map(|planned| planned.object.clone()), &[]);
        objects.extend(of_kind);
    }
    (objects, after, problems)
}

fn one(vault: &Vault, world: &World, read: Read, application: &Application) -> Result<Planned, Box<Diagnostic>> {
    let Read { mut object, document, .. } = read;
    let problem = |code, text: String| Diagnostic::new(code, text).in_document(&document);
    let by_uid = world.existing(&object);
    let by_name = {
        let mut nameless = object.clone();
        nameless.metadata.uid = Uid::default();
        // What has contents of its own as identity may have the name of another.
        if object.kind == Kind::Component { Resolution::Missing } else { world.existing(&nameless) }
    };
    let before = match (by_uid, by_name) {
        (Resolution::Ambiguous(all), _) => {
            let ids: Vec<_> = all.iter().map(|object| object.uid().to_string()).collect();
            let text = format!("{} stands for several objects", object.title());
            return Err(Box::new(
                problem(Code::Ambiguous, text).found(ids.join(", ")).help("say the id in the document"),
            ));
        }
        (Resolution::Missing, Resolution::Found(named)) if !object.uid().is_unset() => {
            let text = format!("{} is there already, with the id {}", named.title(), named.uid());
            let help = "leave the id out, take that one, or choose another name";
            return Err(Box::new(problem(Code::AlreadyExists, text).found(object.uid().as_str()).help(help)));
        }
        (Resolution::Found(there), Resolution::Found(named)) if there.uid() != named.uid() => {
            let text = format!("{} is the name of another object, {}", named.title(), named.uid());
            let help = "choose another name";
            return Err(Box::new(problem(Code::AlreadyExists, text).found(object.uid().as_str()).help(help)));
        }
        (Resolution::Found(there), _) => Some(there),
        (Resolution::Missing, _) => None,
    };
    // A component is what its digest says: to have it twice is to have it.
    let given = object.kind != Kind::Component;
    match (application.mode, &before) {
        (ApplyMode::Create, Some(there)) if given => {
            let text = format!("{} is there already", there.title());
            let help = "change it with `ferrule apply` or `ferrule update`";
            return Err(Box::new(problem(Code::AlreadyExists, text).help(help)));
        }
        (ApplyMode::Update, None) if given && object.metadata.owner_references.is_empty() => {
            let text = format!("there is no {}", object.title());
            let help = "create it with `ferrule apply` or `ferrule create`";
            return Err(Box::new(problem(Code::NotFound, text).help(help)));
        }
        _ => {}
    }
    if let Some(there) = before.as_deref().filter(|there| is_stale(&object, there)) {
        let text = format!("{} was changed since this document was read", there.title());
        let help = "read it again with `ferrule get -o yaml` and make the change there; without `resourceVersion` a document is applied over whatever is there";
        return Err(Box::new(problem(Code::Conflict, text).at("metadata.resourceVersion").help(help)));
    }
    if let Some(set) = &application.set {
        object.metadata.annotations.insert(notes::SET.to_owned(), set.clone());
    }
    merge(&mut object, before.as_deref());
    secrets::seal(vault, &mut object, before.as_deref()).map_err(|problem| Box::new(problem.in_document(&document)))?;
    if let Some(found) = before.as_deref().and_then(|before| check_change(before, &object).into_iter().next()) {
        return Err(Box::new(found.in_document(&document)));
    }
    let action = match &before {
        None => Action::Created,
        Some(before) if is_same(before, &object) => Action::Unchanged,
        Some(_) => Action::Configured,
    };
    Ok(Planned { object: Arc::new(object), before, document, action })
}

/// Whether a document that says what it was read at was read before the last change. Statuses are written all the time: they raise
/// the version, and nobody's change is lost for them as long as the generation is the same.
fn is_stale(document: &Object, there: &Object) -> bool {
    let (read, now) = (&document.metadata, &there.metadata);
    !read.resource_version.is_empty()
        && read.resource_version != now.resource_version
        && (read.generation == 0 || read.generation != now.generation)
}

/// Keeps of the stored object what a document does not say.
pub(crate) fn merge(object: &mut Object, before: Option<&Object>) {
    let Some(before) = before else {
        if object.uid().is_unset() {
            object.metadata.uid = Uid::random();
        }
        object.metadata.resource_version = String::new();
        object.metadata.generation = 0;
        return;
    };
    let (new, old) = (&mut object.metadata, &before.metadata);
    new.uid = old.uid.clone();
    new.resource_version = old.resource_version.clone();
    new.generation = old.generation;
    new.creation_timestamp = old.creation_timestamp;
    new.managed_fields = old.managed_fields.clone();
    if new.finalizers.is_empty() {
        new.finalizers = old.finalizers.clone();
    }
    for (name, value) in &old.annotations {
        if notes::is_own(name) && name != notes::FILE {
            new.annotations.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    object.status = before.status.clone();
    notes::keep(object);
}

/// Whether writing `new` over `old` would change anything that people see.
fn is_same(old: &Object, new: &Object) -> bool {
    let annotations = |object: &Object| {
        let mut kept = object.metadata.annotations.clone();
        kept.retain(|name, _| !notes::is_own(name));
        kept
    };
    old.spec == new.spec
        && old.form == new.form
        && old.metadata.name == new.metadata.name
        && old.metadata.namespace == new.metadata.namespace
        && old.metadata.labels == new.metadata.labels
        && old.metadata.owner_references == new.metadata.owner_references
        && annotations(old) == annotations(new)
}

/// What pipelines implied and no longer do, and what a set no longer has.
fn superfluous(
    before: &World,
    after: &World,
    objects: &[Planned],
    application: &Application,
) -> Result<Vec<Arc<Object>>, Error> {
    let is_planned = |object: &Object| {
        objects.iter().any(|planned| planned.object.kind == object.kind && planned.object.uid() == object.uid())
    };
    let mut targets = Vec::new();
    for planned in objects.iter().filter(|planned| planned.object.kind == Kind::Pipeline) {
        targets.extend(before.owned_by(&planned.object).into_iter().filter(|owned| !is_planned(owned)));
    }
    if let (true, Some(set)) = (application.prune, &application.set) {
        let of_set = |object: &&Arc<Object>| object.metadata.annotations.get(notes::SET) == Some(set);
        targets.extend(before.sorted().iter().filter(of_set).filter(|object| !is_planned(object)).cloned());
        // What exists on account of another goes with it, or stays with it.
        targets.retain(|object| object.metadata.owner_references.is_empty() || !of_set(&object));
    }
    delete::doomed(after, targets, false)
}

/// Writes the objects in order. What fails is in the answer, and does not keep the others from being written.
pub(crate) async fn write(
    inner: &Inner,
    principal: &Principal,
    world: &World,
    objects: Vec<Planned>,
) -> Vec<AppliedObject> {
    let mut done = Vec::new();
    for Planned { object, before, action, .. } in objects {
        let mut result = applied(&object, world, action);
        let written = match before {
            None => inner.store.create(principal, Object::clone(&object)).await,
            Some(before) => inner.update(principal, before, Object::clone(&object)).await,
        };
        match written {
            Ok(stored) => result.generation = stored.metadata.generation,
            Err(error) => {
                result.action = Action::Failed;
                result.diagnostics.push(store_problem(&error));
            }
        }
        done.push(result);
    }
    done
}
