//! Reading what is stored.

use std::sync::Arc;

use ferrule_api::Error;
use ferrule_api::report::{ComponentFacts, StoredObject};
use ferrule_api::request::{Inspection, Query};
use ferrule_model::connector::ComponentSpec;
use ferrule_model::{Code, Diagnostic, Form, Kind, Object, document, secret};

use crate::delete::find;
use crate::platform::Inner;
use crate::world::{Found, World};

pub(crate) async fn get(inner: &Inner, query: Query) -> Result<Vec<StoredObject>, Error> {
    let world = inner.world().await?;
    let namespace = query.namespace.as_deref();
    world.has_project(namespace)?;
    let labelled =
        |object: &Object| query.labels.iter().all(|(name, value)| object.metadata.labels.get(name) == Some(value));
    let mut problems = Vec::new();
    let mut found = Vec::new();
    if query.names.is_empty() {
        found.extend(world.sorted().into_iter().filter(|object| {
            query.kind.is_none_or(|kind| object.kind == kind)
                && namespace.is_none_or(|namespace| !object.kind.is_in_project() || world.project(object) == namespace)
        }));
    } else {
        let kinds = query.kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]);
        for name in &query.names {
            // All that go by the name: a class in each of its versions.
            let before = found.len();
            for kind in &kinds {
                match world.find(*kind, name, namespace) {
                    Found::One(object) => found.push(object),
                    Found::Several(all) => found.extend(all),
                    Found::Nothing => {}
                }
            }
            if found.len() == before {
                problems.push(nothing(&world, query.kind, name, namespace));
            }
        }
    }
    if !problems.is_empty() {
        return Err(Error::Refused(problems));
    }
    found.retain(|object| labelled(object));
    Ok(found.iter().map(stored).collect())
}

fn nothing(world: &World, kind: Option<Kind>, name: &str, namespace: Option<&str>) -> Diagnostic {
    match kind {
        Some(kind) => find(world, kind, name, namespace).err().map(|problem| *problem),
        None => None,
    }
    .unwrap_or_else(|| Diagnostic::new(Code::NotFound, format!("nothing is called `{name}`")))
}

fn stored(object: &Arc<Object>) -> StoredObject {
    let original = match &object.form {
        Form::Native => None,
        Form::Kps { syntax, .. } => Some(document::write(&[object.to_original()], *syntax)),
    };
    StoredObject { original, object: secret::shown(object, None) }
}

/// What a component says of itself, and who uses it.
pub(crate) async fn inspect(inner: &Inner, inspection: Inspection) -> Result<(ComponentFacts, Vec<String>), Error> {
    let world = inner.world().await?;
    match inspection {
        Inspection::Content(content) => {
            let component = inner.registry.check("the file", &content).await.map_err(Error::refused)?;
            let digest = component.digest().to_owned();
            let used_by = by_digest(&world, &digest).map(|object| users(&world, &object)).unwrap_or_default();
            Ok((facts(&component, content.len() as u64), used_by))
        }
        Inspection::Reference(reference) => {
            let object = component_object(&world, &reference)?;
            let spec: ComponentSpec = object.typed().map_err(|error| Error::Internal(error.to_string()))?;
            let component = inner.registry.component(&spec.digest).await.map_err(Error::refused)?;
            Ok((facts(&component, spec.size), users(&world, &object)))
        }
    }
}

/// What is known of a component, for answers.
pub(crate) fn facts(component: &ferrule_host::Component, size: u64) -> ComponentFacts {
    ComponentFacts {
        digest: component.digest().to_owned(),
        world: component.world().name().to_owned(),
        description: component.description().clone(),
        size,
    }
}

/// The component object with this digest.
pub(crate) fn by_digest(world: &World, digest: &str) -> Option<Arc<Object>> {
    world
        .of_kind(Kind::Component)
        .find(|object| object.spec.get("digest").and_then(|found| found.as_str()) == Some(digest))
        .cloned()
}

fn users(world: &World, component: &Object) -> Vec<String> {
    let users = world.users_of(component);
    users.iter().map(|user| format!("{}/{}", user.kind.nouns()[0], world.unique_name(user))).collect()
}

/// The component that a digest, a component's name, or the name of a class or function stands for. Of several versions, the
/// latest.
fn component_object(world: &World, reference: &str) -> Result<Arc<Object>, Error> {
    if let Some(object) = by_digest(world, reference) {
        return Ok(object);
    }
    let latest = |kind| match world.find(kind, reference, None) {
        Found::One(object) => Some(object),
        Found::Several(mut all) => all.pop(),
        Found::Nothing => None,
    };
    if let Some(object) = latest(Kind::Component) {
        return Ok(object);
    }
    for kind in [Kind::Class, Kind::Function] {
        let Some(object) = latest(kind) else { continue };
        let digest = object.status.details.pointer("/component/digest").and_then(|digest| digest.as_str());
        if let Some(component) = digest.and_then(|digest| by_digest(world, digest)) {
            return Ok(component);
        }
        let text = format!("{} has no component", object.title());
        let help = format!("register one for it: ferrule register FILE.wasm --for {reference}");
        return Err(Error::refused(Diagnostic::new(Code::ComponentMissing, text).help(help)));
    }
    let text = format!("there is no component, class or function `{reference}`");
    let help = "`ferrule get components` shows what is registered; for a file, give its path";
    Err(Error::refused(Diagnostic::new(Code::NotFound, text).help(help)))
}
