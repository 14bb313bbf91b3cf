//! All objects by kind, and who refers to whom: what names on the command line and in documents stand for.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use ferrule_api::Error;
use ferrule_control::Snapshot;
use ferrule_model::connector::{
    ClassSpec, ComponentSource, ConfigSpec, FunctionSpec, GrantSpec, InstanceSpec, PipelineSpec, ProjectSpec,
    StreamSpec,
};
use ferrule_model::error::suggestion;
use ferrule_model::lookup::{self, Lookup, Resolution};
use ferrule_model::version;
use ferrule_model::{Code, Diagnostic, Kind, Object, Ref, Uid};

/// A set of objects, such as the store's with those of a document laid over them.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    objects: HashMap<(Kind, Uid), Arc<Object>>,
    names: HashMap<(Kind, String), Vec<Arc<Object>>>,
}

/// What a name stands for.
#[derive(Debug)]
pub(crate) enum Found {
    /// One object.
    One(Arc<Object>),
    /// None.
    Nothing,
    /// Several, so that the name says too little.
    Several(Vec<Arc<Object>>),
}

impl Found {
    fn of(mut fitting: Vec<Arc<Object>>) -> Self {
        match fitting.len() {
            0 => Found::Nothing,
            1 => fitting.pop().map_or(Found::Nothing, Found::One),
            _ => {
                fitting.sort_by(|a, b| in_order(a, b));
                Found::Several(fitting)
            }
        }
    }
}

impl FromIterator<Arc<Object>> for World {
    fn from_iter<I: IntoIterator<Item = Arc<Object>>>(objects: I) -> Self {
        let mut world = World::default();
        for object in objects {
            world.names.entry((object.kind, object.name().to_owned())).or_default().push(object.clone());
            world.objects.insert((object.kind, object.uid().clone()), object);
        }
        world
    }
}

impl Lookup for World {
    fn all(&self, kind: Kind) -> Vec<Arc<Object>> {
        self.of_kind(kind).cloned().collect()
    }

    fn get(&self, kind: Kind, uid: &Uid) -> Option<Arc<Object>> {
        self.objects.get(&(kind, uid.clone())).cloned()
    }

    fn named(&self, kind: Kind, name: &str) -> Vec<Arc<Object>> {
        self.names.get(&(kind, name.to_owned())).cloned().unwrap_or_default()
    }
}

impl World {
    /// With these objects laid over, and those taken out.
    pub(crate) fn with(&self, put: impl IntoIterator<Item = Arc<Object>>, removed: &[Arc<Object>]) -> Self {
        let key = |object: &Arc<Object>| (object.kind, object.uid().clone());
        let mut objects = self.objects.clone();
        objects.extend(put.into_iter().map(|object| (key(&object), object)));
        for object in removed {
            objects.remove(&key(object));
        }
        objects.into_values().collect()
    }

    /// As the control part looks at it.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.objects.values().cloned())
    }

    pub(crate) fn object(&self, kind: Kind, uid: &Uid) -> Option<&Arc<Object>> {
        self.objects.get(&(kind, uid.clone()))
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values().filter(move |object| object.kind == kind)
    }

    /// The project of an object; empty if it has none.
    pub(crate) fn project(&self, object: &Object) -> String {
        lookup::project_of(self, object).unwrap_or_default()
    }

    /// Refuses a project that is not there and that no object says it belongs to.
    pub(crate) fn has_project(&self, name: Option<&str>) -> Result<(), Error> {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(()) };
        let mut names: Vec<String> = self.of_kind(Kind::Project).map(|project| project.name().to_owned()).collect();
        names.extend(self.objects.values().map(|object| self.project(object)).filter(|project| !project.is_empty()));
        if names.iter().any(|known| known == name) {
            return Ok(());
        }
        let help = match suggestion(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`ferrule get projects` shows what there is".to_owned(),
        };
        Err(Error::refused(Diagnostic::new(Code::NotFound, format!("there is no project `{name}`")).help(help)))
    }

    /// All objects by kind, project, name and version.
    pub(crate) fn sorted(&self) -> Vec<Arc<Object>> {
        let mut all: Vec<_> = self.objects.values().cloned().collect();
        all.sort_by(|a, b| in_order(a, b));
        all
    }

    /// What a reference in `object` stands for.
    pub(crate) fn resolve(&self, kind: Kind, reference: &Ref, object: &Object) -> Option<Arc<Object>> {
        lookup::resolve(self, kind, reference, Some(object)).found()
    }

    /// What somebody typed on a command line: a name, `name@version`, `instance/name`, or an id of any form. Without a
    /// namespace, in any.
    pub(crate) fn find(&self, kind: Kind, text: &str, namespace: Option<&str>) -> Found {
        if let Some(object) = self.object(kind, &Uid::from(text)) {
            return Found::One(object.clone());
        }
        let Ref::Name { parent, name, version } = Ref::parse(text) else { return Found::Nothing };
        let fits = |object: &Arc<Object>| {
            version.as_ref().is_none_or(|wanted| same_version(object.version(), Some(wanted)))
                && namespace.is_none_or(|namespace| !kind.is_in_project() || self.project(object) == namespace)
                && parent.as_ref().is_none_or(|parent| self.instance_name(object).as_ref() == Some(parent))
        };
        let mut fitting = self.named(kind, &name);
        fitting.retain(fits);
        Found::of(fitting)
    }

    /// The instance of a stream or config.
    pub(crate) fn instance_of(&self, object: &Object) -> Option<Arc<Object>> {
        self.resolve(Kind::Instance, &object.instance_ref()?, object)
    }

    /// The name of the instance of a stream or config, as its document says if there is none.
    pub(crate) fn instance_name(&self, object: &Object) -> Option<String> {
        let reference = object.instance_ref()?;
        Some(self.instance_of(object).map_or_else(|| reference.to_string(), |instance| instance.name().to_owned()))
    }

    /// What a person can write to mean this object and no other.
    pub(crate) fn unique_name(&self, object: &Object) -> String {
        if object.kind.is_in_instance()
            && let Some(instance) = self.instance_name(object)
        {
            let alone = self.named(object.kind, object.name()).len() <= 1;
            return if alone { object.name().to_owned() } else { format!("{instance}/{}", object.name()) };
        }
        match object.version() {
            Some(version) if object.kind.is_versioned() => format!("{}@{version}", object.name()),
            _ => object.name().to_owned(),
        }
    }

    /// The stored object that a document stands for.
    pub(crate) fn existing(&self, document: &Object) -> Resolution {
        lookup::existing(self, document)
    }

    /// The objects that need this one: it cannot go before them.
    pub(crate) fn users_of(&self, object: &Object) -> Vec<Arc<Object>> {
        let mut users: Vec<Arc<Object>> = self
            .objects
            .values()
            .filter(|other| !(other.kind == object.kind && other.uid() == object.uid()))
            // What exists on its account goes with it.
            .filter(|other| !is_owned_by(other, object))
            .filter(|other| self.uses(other, object))
            .cloned()
            .collect();
        users.sort_by(|a, b| in_order(a, b));
        users
    }

    fn uses(&self, user: &Object, object: &Object) -> bool {
        if object.kind == Kind::Project {
            return user.kind.is_in_project() && self.project(user) == object.name();
        }
        if object.kind == Kind::Component {
            return component_text(user).is_some_and(|text| self.is_component(&text, user, object));
        }
        references(user)
            .into_iter()
            .filter(|made| made.needed && made.kind == object.kind)
            .any(|made| self.means(&made.reference, user, object))
    }

    /// Whether a reference in `user` means `object`, alone or among others.
    fn means(&self, reference: &Ref, user: &Object, object: &Object) -> bool {
        // Of several versions it stays with the one that it was first resolved to.
        let choice = format!("{} {reference}", object.kind.nouns()[0]);
        let pin = user.status.details.get("pins").and_then(|pins| pins.get(&choice)?.as_str());
        if let Some(uid) = pin.filter(|uid| self.object(object.kind, &Uid::from(*uid)).is_some()) {
            return object.uid().as_str() == uid;
        }
        match lookup::resolve(self, object.kind, reference, Some(user)) {
            Resolution::Found(found) => found.uid() == object.uid(),
            Resolution::Ambiguous(all) => all.iter().any(|found| found.uid() == object.uid()),
            Resolution::Missing => false,
        }
    }

    fn is_component(&self, text: &str, user: &Object, component: &Object) -> bool {
        match ComponentSource::parse(text) {
            ComponentSource::Digest(digest) => component.spec.get("digest").and_then(|d| d.as_str()) == Some(&digest),
            ComponentSource::Name { name, version } => {
                self.means(&Ref::Name { parent: None, name, version }, user, component)
            }
            ComponentSource::File(_) => false,
        }
    }

    /// What exists on account of this object.
    pub(crate) fn owned_by(&self, owner: &Object) -> Vec<Arc<Object>> {
        let mut owned: Vec<_> = self.objects.values().filter(|other| is_owned_by(other, owner)).cloned().collect();
        owned.sort_by(|a, b| in_order(a, b));
        owned
    }
}

pub(crate) fn is_owned_by(object: &Object, owner: &Object) -> bool {
    object.metadata.owner_references.iter().any(|reference| {
        reference.kind == owner.kind
            && if reference.uid.is_unset() || owner.uid().is_unset() {
                reference.name == owner.name() && object.metadata.namespace == owner.metadata.namespace
            } else {
                reference.uid == *owner.uid()
            }
    })
}

/// A reference that an object makes.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) kind: Kind,
    pub(crate) reference: Ref,
    /// Whether the object cannot do its work without it. A grant does nothing without what it names, and harms nobody.
    pub(crate) needed: bool,
}

/// All references that an object makes by its spec.
pub(crate) fn references(object: &Object) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut add = |kind, reference: Ref, needed| found.push(Reference { kind, reference, needed });
    match object.kind {
        Kind::Instance => {
            if let Ok(spec) = object.typed::<InstanceSpec>() {
                add(Kind::Class, spec.class, true);
            }
        }
        Kind::Config => {
            if let Ok(spec) = object.typed::<ConfigSpec>() {
                add(Kind::Instance, spec.instance, true);
            }
        }
        Kind::Stream => {
            if let Ok(spec) = object.typed::<StreamSpec>() {
                add(Kind::Instance, spec.instance, true);
                for label in spec.labels.iter() {
                    add(Kind::Category, label.category.clone(), true);
                }
            }
        }
        Kind::Grant => {
            if let Ok(spec) = object.typed::<GrantSpec>() {
                let named = [
                    (Kind::Class, spec.class),
                    (Kind::Instance, spec.instance),
                    (Kind::Stream, spec.stream),
                    (Kind::Function, spec.function),
                ];
                for (kind, reference) in named {
                    reference.into_iter().for_each(|reference| add(kind, reference, false));
                }
            }
        }
        Kind::Pipeline => {
            if let Ok(spec) = object.typed::<PipelineSpec>() {
                for (_, used) in spec.uses() {
                    used.reference().cloned().into_iter().for_each(|reference| add(Kind::Stream, reference, true));
                }
                spec.input_pipeline.into_iter().for_each(|reference| add(Kind::Pipeline, reference, true));
                for step in spec.functions {
                    step.function.into_iter().for_each(|reference| add(Kind::Function, reference, true));
                }
                spec.selectors.keys().for_each(|category| add(Kind::Category, Ref::parse(category), true));
            }
        }
        Kind::Project => {
            if let Ok(spec) = object.typed::<ProjectSpec>() {
                spec.service_domains.into_iter().for_each(|domain| add(Kind::ServiceDomain, domain, true));
            }
        }
        Kind::Class | Kind::Function | Kind::Secret | Kind::Component | Kind::Category | Kind::ServiceDomain => {}
    }
    // Wherever values stand in a spec.
    if matches!(object.kind, Kind::Instance | Kind::Config | Kind::Stream | Kind::Pipeline | Kind::Function) {
        for reference in ferrule_model::secret::references(&object.spec) {
            found.push(Reference { kind: Kind::Secret, reference: Ref::name(reference.secret), needed: true });
        }
    }
    found
}

/// The text by which a class, function or instance names its component.
pub(crate) fn component_text(object: &Object) -> Option<String> {
    match object.kind {
        Kind::Class => object.typed::<ClassSpec>().ok()?.component,
        Kind::Function => object.typed::<FunctionSpec>().ok()?.component,
        Kind::Instance => object.typed::<InstanceSpec>().ok()?.component,
        _ => None,
    }
}

fn same_version(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => version::same(a, b),
        (a, b) => a == b,
    }
}

/// By kind, namespace, name and version.
pub(crate) fn in_order(a: &Object, b: &Object) -> Ordering {
    a.kind
        .cmp(&b.kind)
        .then_with(|| a.metadata.namespace.cmp(&b.metadata.namespace))
        .then_with(|| a.name().cmp(b.name()))
        .then_with(|| version::compare(a.version().unwrap_or_default(), b.version().unwrap_or_default()))
        .then_with(|| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp))
        .then_with(|| a.uid().cmp(b.uid()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: Kind, name: &str, uid: &str, spec: serde_json::Value) -> Arc<Object> {
        let mut object = Object::new(kind, name, spec).unwrap();
        object.metadata.uid = uid.into();
        Arc::new(object)
    }

    #[test]
    fn names_stand_for_objects_and_users_are_known() {
        let world: World = [
            object(Kind::Class, "mqtt", "c1", json!({"version": "0.9.0"})),
            object(Kind::Class, "mqtt", "c2", json!({"version": "0.10.0", "component": "sha256:1"})),
            object(Kind::Instance, "hall", "i1", json!({"class": "mqtt@0.10.0"})),
            object(Kind::Instance, "yard", "i2", json!({"class": "mqtt@0.9.0"})),
            object(Kind::Stream, "in", "s1", json!({"instance": "hall", "direction": "INGRESS"})),
            object(Kind::Stream, "in", "s2", json!({"instance": {"uid": "i2"}, "direction": "INGRESS"})),
            object(Kind::Pipeline, "p", "p1", json!({"source": "yard/in"})),
            object(Kind::Component, "mqtt", "k1", json!({"digest": "sha256:1"})),
        ]
        .into_iter()
        .collect();
        let uid = |found: Found| match found {
            Found::One(object) => Some(object.uid().to_string()),
            Found::Nothing | Found::Several(_) => None,
        };
        assert!(matches!(world.find(Kind::Class, "mqtt", None), Found::Several(all) if all.len() == 2));
        assert_eq!(uid(world.find(Kind::Class, "mqtt@0.9.0", None)).as_deref(), Some("c1"));
        assert_eq!(uid(world.find(Kind::Class, "c1", None)).as_deref(), Some("c1"));
        assert_eq!(uid(world.find(Kind::Stream, "yard/in", None)).as_deref(), Some("s2"));
        assert!(matches!(world.find(Kind::Stream, "in", None), Found::Several(all) if all.len() == 2));
        assert!(matches!(world.find(Kind::Stream, "out", None), Found::Nothing));

        let users = |kind, name: &str| -> Vec<String> {
            let object = world.object(kind, &name.into()).unwrap();
            world.users_of(object).iter().map(|user| user.uid().to_string()).collect()
        };
        assert_eq!(users(Kind::Class, "c2"), ["i1"]);
        assert_eq!(users(Kind::Class, "c1"), ["i2"]);
        assert_eq!(users(Kind::Instance, "i2"), ["s2"]);
        assert_eq!(users(Kind::Stream, "s2"), ["p1"]);
        assert_eq!(users(Kind::Stream, "s1"), [""; 0]);
        assert_eq!(users(Kind::Component, "k1"), ["c2"]);
    }
}
