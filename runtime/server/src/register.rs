//! Registering a component: its file, and the objects that make it usable.

use std::sync::Arc;

use ferrule_api::Error;
use ferrule_api::report::{Action, Registered};
use ferrule_api::request::Registration;
use ferrule_host::{Component, World as Sort};
use ferrule_model::capability::Allowance;
use ferrule_model::component::{Description, Direction};
use ferrule_model::connector::{ClassSpec, ClassType, ComponentSpec, FunctionSpec, GrantSpec, StreamDirection};
use ferrule_model::lookup::{Lookup as _, MOVED, moved};
use ferrule_model::object::SpecError;
use ferrule_model::{Code, Diagnostic, Kind, Object, Ref, Uid};
use ferrule_store::Principal;
use serde_json::{Value, json};

use crate::apply::{Planned, merge, write};
use crate::get::facts;
use crate::notes;
use crate::platform::{Inner, applied};
use crate::world::{Found, World};

pub(crate) async fn register(
    inner: &Inner,
    principal: &Principal,
    registration: Registration,
) -> Result<Registered, Error> {
    register_as(inner, principal, registration, Origin::Person).await
}

/// Who registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Somebody, by name.
    Person,
    /// The server at its start, for components that come with it.
    Shipped,
}

pub(crate) async fn register_as(
    inner: &Inner,
    principal: &Principal,
    registration: Registration,
    origin: Origin,
) -> Result<Registered, Error> {
    let component = inner.registry.check(&registration.file, &registration.content).await.map_err(Error::refused)?;
    let one = inner.writing.lock().await;
    let world = inner.world().await?;
    let size = registration.content.len() as u64;
    let digest = component.digest().to_owned();

    let mut objects = vec![component_object(&component, size)?];
    let served = match &registration.for_class {
        Some(name) => attached(&world, &component, name, registration.replace)?,
        None => described(&world, &component, &registration, origin)?,
    };
    // With --for it is a component that changes, and not a version that is chosen.
    let (moves, name) = (registration.replace && registration.for_class.is_none(), served.name().to_owned());
    let grant = registration.grant.then(|| grant_of(&component, &served)).transpose()?.flatten();
    objects.push(served);
    objects.extend(grant);

    let mut planned = Vec::new();
    for mut object in objects {
        let before = match object.uid().is_unset() {
            true => world.existing(&object).found(),
            false => world.object(object.kind, object.uid()).cloned(),
        };
        merge(&mut object, before.as_deref());
        if moves && object.kind.is_versioned() && object.name() == name {
            move_users(&world, &mut object);
        }
        let action = match &before {
            None => Action::Created,
            Some(before) if before.spec == object.spec && moved(before) == moved(&object) => Action::Unchanged,
            Some(_) => Action::Configured,
        };
        planned.push(Planned { object: Arc::new(object), before, document: registration.file.clone(), action });
    }
    // The grant goes when its class or function goes.
    if let [.., served, grant] = &mut planned[..]
        && grant.object.kind == Kind::Grant
    {
        let mut object = Object::clone(&grant.object);
        object.metadata.owner_references = vec![served.object.as_owner()];
        grant.object = Arc::new(object);
    }
    let after = world.with(planned.iter().map(|planned| planned.object.clone()), &[]);
    let warnings = if registration.grant { Vec::new() } else { ungranted(&after, &component, &planned) };
    let component_facts = facts(&component, size);
    if registration.dry_run {
        let objects = planned.iter().map(|planned| applied(&planned.object, &after, planned.action)).collect();
        return Ok(Registered { component: component_facts, objects, warnings });
    }
    inner.registry.keep(&component, registration.content).await.map_err(|error| {
        let text = format!("component {digest} cannot be kept: {error}");
        Error::refused(Diagnostic::new(Code::DataFolder, text).help("see to room and rights in the data folder"))
    })?;
    let objects = write(inner, principal, &after, planned).await;
    drop(one);
    inner.reconciled().await;
    Ok(Registered { component: component_facts, objects, warnings })
}

/// Makes this version the one that references without a version mean, whichever is the latest.
fn move_users(world: &World, object: &mut Object) {
    let named = world.named(object.kind, object.name());
    let others = named.iter().filter(|other| other.uid() != object.uid());
    if let Some(last) = others.map(|other| moved(other)).max()
        && moved(object) <= last
    {
        object.metadata.annotations.insert(MOVED.to_owned(), (last + 1).to_string());
    }
}

fn internal(error: &SpecError) -> Error {
    Error::Internal(error.to_string())
}

/// The object that stands for a component. Its id follows from its digest, so that there is one of it.
pub(crate) fn component_object(component: &Component, size: u64) -> Result<Object, Error> {
    let description = component.description();
    let spec = ComponentSpec {
        description: some(&description.summary),
        version: some(&description.version),
        digest: component.digest().to_owned(),
        size,
        world: component.world().name().to_owned(),
        describes: json!(description),
    };
    let mut object = Object::new(Kind::Component, description.name.as_str(), spec).map_err(|error| internal(&error))?;
    object.metadata.uid = Uid::derived(&Uid::from("component"), component.digest());
    Ok(object)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn schema(description: &Description, name: &str) -> Option<Value> {
    serde_json::from_str(description.schema(name)?).ok()
}

/// The class or function as the component describes it.
fn described(
    world: &World,
    component: &Component,
    registration: &Registration,
    origin: Origin,
) -> Result<Object, Error> {
    let description = component.description();
    let name = registration.name.as_deref().unwrap_or(&description.name);
    let mut object = if component.world() == Sort::Function {
        let spec = FunctionSpec {
            description: some(&description.summary),
            version: some(&description.version),
            component: Some(component.digest().to_owned()),
            args_schema: schema(description, "stream"),
            ..FunctionSpec::default()
        };
        Object::new(Kind::Function, name, spec)
    } else {
        let spec = ClassSpec {
            description: some(&description.summary),
            version: some(&description.version),
            class_type: Some(class_type(component.world())),
            component: Some(component.digest().to_owned()),
            static_schema: schema(description, "static"),
            config_schema: schema(description, "config"),
            stream_schema: schema(description, "stream"),
            ..ClassSpec::default()
        };
        Object::new(Kind::Class, name, spec)
    }
    .map_err(|error| internal(&error))?;
    if origin == Origin::Shipped {
        object.metadata.annotations.insert(notes::SHIPPED.to_owned(), "true".to_owned());
    }
    if let Some(there) = world.existing(&object).found() {
        let shipped = there.metadata.annotations.contains_key(notes::SHIPPED);
        match there.spec.get("component").and_then(Value::as_str) {
            Some(digest) if digest == component.digest() => {}
            // A new build of what came with the product takes the place of the old one, but not of what somebody chose.
            Some(digest) if registration.replace || (origin == Origin::Shipped && shipped) => {
                tracing::info!(object = %there.title(), from = digest, to = component.digest(), "the component is replaced");
                object.metadata.annotations.insert(ferrule_control::COMPONENT_BEFORE.to_owned(), digest.to_owned());
            }
            found => return Err(taken(&there, found, component)),
        }
        if origin == Origin::Person {
            object.metadata.labels = there.metadata.labels.clone();
        }
    }
    Ok(object)
}

fn class_type(world: Sort) -> ClassType {
    match world {
        Sort::Source => ClassType::Ingress,
        Sort::Sink => ClassType::Egress,
        Sort::Connector | Sort::Function => ClassType::Bidirectional,
    }
}

fn taken(there: &Object, found: Option<&str>, component: &Component) -> Error {
    let diagnostic = match found {
        Some(found) => Diagnostic::new(Code::VersionTaken, format!("{} has another component", there.title()))
            .expected(format!("component {found}"))
            .found(component.digest())
            .help("give the component a new version, or move what uses it with --replace"),
        None => {
            Diagnostic::new(Code::VersionTaken, format!("{} is there and was not made by registering", there.title()))
                .help(format!(
                    "register the component for it with --for {}, or under another name with --name",
                    there.name()
                ))
        }
    };
    Error::refused(diagnostic)
}

/// An existing class or function, with the component.
fn attached(world: &World, component: &Component, name: &str, replace: bool) -> Result<Object, Error> {
    let kind = if component.world() == Sort::Function { Kind::Function } else { Kind::Class };
    let there = match world.find(kind, name, None) {
        Found::One(object) => object,
        Found::Nothing => {
            let noun = kind.nouns()[0];
            let text = format!("there is no {noun} `{name}` for the component, which is a {}", component.world());
            let help = format!("apply the document of the {noun} first, or leave --for out to make one");
            return Err(Error::refused(Diagnostic::new(Code::NotFound, text).help(help)));
        }
        Found::Several(all) => {
            let names: Vec<_> = all.iter().map(|object| world.unique_name(object)).collect();
            let text = format!("`{name}` fits several");
            return Err(Error::refused(
                Diagnostic::new(Code::Ambiguous, text).found(names.join(", ")).help("name the version: NAME@VERSION"),
            ));
        }
    };
    if let Ok(ClassSpec { class_type: Some(wanted), .. }) = there.typed::<ClassSpec>()
        && kind == Kind::Class
    {
        let can = &component.description().directions;
        let lacking = [(StreamDirection::Ingress, Direction::Ingress), (StreamDirection::Egress, Direction::Egress)]
            .into_iter()
            .find(|(stream, direction)| wanted.allows(*stream) && !can.contains(direction));
        if let Some((stream, _)) = lacking {
            let text = format!(
                "{} has {} streams, and the component is a {}",
                there.title(),
                stream.name(),
                component.world()
            );
            let help = "register a component that goes all the ways that the class allows";
            return Err(Error::refused(Diagnostic::new(Code::WrongWorld, text).help(help)));
        }
    }
    let before = there.spec.get("component").and_then(Value::as_str);
    if let Some(before) = before.filter(|before| *before != component.digest())
        && !replace
    {
        return Err(taken(&there, Some(before), component));
    }
    let mut object = Object::clone(&there);
    if let Some(before) = before.filter(|before| *before != component.digest()) {
        object.metadata.annotations.insert(ferrule_control::COMPONENT_BEFORE.to_owned(), before.to_owned());
    }
    if let Some(spec) = object.spec.as_object_mut() {
        spec.insert("component".to_owned(), component.digest().into());
    }
    object.metadata.annotations.insert(notes::ATTACHED.to_owned(), component.digest().to_owned());
    Ok(object)
}

/// A grant of all that the component asks for, in its own terms: what its streams' parameters name, and never this machine.
fn grant_of(component: &Component, served: &Object) -> Result<Option<Object>, Error> {
    let asked = &component.description().capabilities;
    let mut allow = Vec::new();
    for capability in asked {
        let Ok(kind) = ferrule_model::capability::AbilityKind::parse(&capability.kind) else { continue };
        let entry = Allowance::new(kind, &capability.target);
        if !allow.contains(&entry) {
            allow.push(entry);
        }
    }
    if allow.is_empty() {
        return Ok(None);
    }
    let reference = Some(Ref::name(served.name()));
    let is_class = served.kind == Kind::Class;
    let spec = GrantSpec {
        description: Some(format!("What {} asks for", component.description().name)),
        class: reference.clone().filter(|_| is_class),
        instance: None,
        stream: None,
        function: reference.filter(|_| !is_class),
        allow,
        attach: Vec::new(),
        deny: Vec::new(),
        limits: None,
    };
    let name = format!("{}-as-asked", served.name());
    Object::new(Kind::Grant, name, spec).map(Some).map_err(|error| internal(&error))
}

/// A warning if the component asks for something and no grant names its class or function.
fn ungranted(world: &World, component: &Component, planned: &[Planned]) -> Vec<Diagnostic> {
    let asked = &component.description().capabilities;
    let Some(served) = planned.iter().find(|planned| matches!(planned.object.kind, Kind::Class | Kind::Function))
    else {
        return Vec::new();
    };
    let named = world.of_kind(Kind::Grant).any(|grant| {
        crate::world::references(grant).iter().any(|made| {
            matches!(&made.reference, Ref::Name { name, .. } if name == served.object.name())
                && made.kind == served.object.kind
        })
    });
    if asked.is_empty() || named {
        return Vec::new();
    }
    let list: Vec<_> =
        asked.iter().map(|asked| format!("{} {} ({})", asked.kind, asked.target, asked.reason)).collect();
    let text = format!("{} asks for abilities that nobody granted: {}", served.object.title(), list.join("; "));
    let help = "apply a Grant, or register with --grant to allow what it asks for";
    vec![Diagnostic::new(Code::NetDenied, text).help(help).as_warning()]
}
