//! Finding the object that a reference means.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::{Kind, Object, Ref, Uid, connector::ComponentSource, version};

/// A set of objects to look in.
pub trait Lookup {
    /// All objects of a kind.
    fn all(&self, kind: Kind) -> Vec<Arc<Object>>;

    /// The object with this id.
    fn get(&self, kind: Kind, uid: &Uid) -> Option<Arc<Object>> {
        self.all(kind).into_iter().find(|object| object.uid() == uid)
    }

    /// The objects with this name.
    fn named(&self, kind: Kind, name: &str) -> Vec<Arc<Object>> {
        let mut objects = self.all(kind);
        objects.retain(|object| object.name() == name);
        objects
    }
}

impl Lookup for [Arc<Object>] {
    fn all(&self, kind: Kind) -> Vec<Arc<Object>> {
        self.iter().filter(|object| object.kind == kind).cloned().collect()
    }
}

impl Lookup for Vec<Arc<Object>> {
    fn all(&self, kind: Kind) -> Vec<Arc<Object>> {
        self.as_slice().all(kind)
    }
}

/// Objects that are about to be applied, over those that are there: what will be there then.
pub struct Over<'a> {
    /// Those to be applied.
    pub new: &'a [Arc<Object>],
    /// Those that are there.
    pub old: &'a dyn Lookup,
}

impl Lookup for Over<'_> {
    fn all(&self, kind: Kind) -> Vec<Arc<Object>> {
        let mut objects = self.new.all(kind);
        let replaced: Vec<Uid> =
            objects.iter().filter_map(|new| existing(self.old, new).found()).map(|old| old.uid().clone()).collect();
        let old = self.old.all(kind);
        objects.extend(old.into_iter().filter(|old| !replaced.contains(old.uid())));
        objects
    }
}

/// What a reference means.
#[derive(Debug, Clone)]
pub enum Resolution {
    /// This object.
    Found(Arc<Object>),
    /// Nothing that is there.
    Missing,
    /// One of these: the reference does not say which.
    Ambiguous(Vec<Arc<Object>>),
}

impl Resolution {
    /// The object, if there is exactly one.
    pub fn found(self) -> Option<Arc<Object>> {
        match self {
            Resolution::Found(object) => Some(object),
            _ => None,
        }
    }

    fn of(mut objects: Vec<Arc<Object>>) -> Self {
        match objects.len() {
            0 => Resolution::Missing,
            1 => Resolution::Found(objects.remove(0)),
            _ => Resolution::Ambiguous(objects),
        }
    }
}

/// The annotation of a version that the users of its name were moved to, whether it is the latest or not: the number of the move, the
/// highest being the last.
pub const MOVED: &str = "ferrule.dev/moved";

/// The number of the last move to this version; 0 if there was none.
pub fn moved(object: &Object) -> u64 {
    object.metadata.annotations.get(MOVED).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// The greatest of several versions is the one that a reference without a version means: the one that was moved to last, else the
/// latest.
pub fn by_preference(a: &Object, b: &Object) -> Ordering {
    let version = |object: &Object| object.version().unwrap_or_default().to_owned();
    moved(a).cmp(&moved(b)).then_with(|| version::compare(&version(a), &version(b)))
}

/// Finds what a reference means to the object that makes it: of the candidates in its project the only one, and of several
/// versions the one that its users were moved to last, else the latest.
pub fn resolve(lookup: &dyn Lookup, kind: Kind, reference: &Ref, asker: Option<&Object>) -> Resolution {
    let project = asker.map(|asker| project_of(lookup, asker).unwrap_or_default());
    let mut objects = candidates(lookup, kind, reference, project.as_deref());
    if kind.is_versioned() && objects.len() > 1 {
        objects.sort_by(|a, b| by_preference(a, b));
        objects = objects.split_off(objects.len() - 1);
    }
    Resolution::of(objects)
}

/// The objects that a reference can mean from within a project (empty: from none; `None`: wherever they are): one by its id, or
/// those of that name. A project is a namespace, so what belongs to another one is not meant, but for functions and secrets of no
/// project, which are there for all. Text in the form of an id may be a name, and an id need not look like one.
pub fn candidates(lookup: &dyn Lookup, kind: Kind, reference: &Ref, project: Option<&str>) -> Vec<Arc<Object>> {
    let (parent, name, version) = match reference {
        Ref::Uid(uid) => match lookup.get(kind, uid) {
            Some(object) => return vec![object],
            None => (None, uid.as_str(), None),
        },
        Ref::Name { parent, name, version } => (parent.as_deref(), name.as_str(), version.as_deref()),
    };
    let mut objects = lookup.named(kind, name);
    objects.retain(|object| {
        version.is_none_or(|wanted| object.version().is_some_and(|is| version::same(is, wanted)))
            && project.is_none_or(|project| is_in(lookup, object, project))
            && parent.is_none_or(|parent| is_of_instance(lookup, object, parent))
    });
    // A project's own secret comes before one of the same name that is there for all.
    if kind == Kind::Secret && objects.iter().any(|object| project_of(lookup, object).is_some()) {
        objects.retain(|object| project.is_none() || project_of(lookup, object).is_some());
    }
    if objects.is_empty() && parent.is_none() && version.is_none() {
        objects.extend(lookup.get(kind, &Uid::from(name)));
    }
    objects
}

fn is_in(lookup: &dyn Lookup, object: &Object, project: &str) -> bool {
    if !object.kind.is_in_project() {
        return true;
    }
    let own = project_of(lookup, object).unwrap_or_default();
    own == project || (matches!(object.kind, Kind::Function | Kind::Secret) && own.is_empty())
}

fn is_of_instance(lookup: &dyn Lookup, object: &Object, parent: &str) -> bool {
    let Some(reference) = object.instance_ref() else { return false };
    let named = match &reference {
        Ref::Uid(uid) => uid.as_str() == parent,
        Ref::Name { name, .. } => name == parent,
    };
    named
        || instance_of(lookup, object, &reference)
            .is_some_and(|instance| instance.name() == parent || instance.uid().as_str() == parent)
}

/// The instance of a stream or config, if there is exactly one that it can mean.
fn instance_of(lookup: &dyn Lookup, object: &Object, reference: &Ref) -> Option<Arc<Object>> {
    let project = project_of(lookup, object).unwrap_or_default();
    Resolution::of(candidates(lookup, Kind::Instance, reference, Some(&project))).found()
}

/// The project that an object belongs to: its name where it is known, else what the object says. A stream or config that says none
/// belongs to its instance's. None for objects that are there for all.
pub fn project_of(lookup: &dyn Lookup, object: &Object) -> Option<String> {
    let name_of = |text: &str| {
        let by_id = lookup.get(Kind::Project, &Uid::from(text));
        by_id.map_or_else(|| text.to_owned(), |project| project.name().to_owned())
    };
    if let Some(namespace) = &object.metadata.namespace {
        return Some(name_of(namespace));
    }
    match object.project_ref() {
        Some(Ref::Uid(uid)) => return Some(name_of(uid.as_str())),
        Some(Ref::Name { name, .. }) => return Some(name_of(&name)),
        None => {}
    }
    // Without knowing the project an instance is found by its id, or by a name that only one has.
    let reference = object.instance_ref().filter(|_| object.kind.is_in_instance())?;
    let instance = Resolution::of(candidates(lookup, Kind::Instance, &reference, None)).found()?;
    project_of(lookup, &instance)
}

/// The object that is there already and that a document stands for: by its id if it says one, else by project, instance,
/// name and version. A document of a class without a version stands for the only one of that name.
pub fn existing(lookup: &dyn Lookup, document: &Object) -> Resolution {
    if !document.metadata.uid.is_unset() {
        return match lookup.get(document.kind, &document.metadata.uid) {
            Some(object) => Resolution::Found(object),
            None => Resolution::Missing,
        };
    }
    let mut objects = lookup.named(document.kind, document.name());
    if document.kind.is_in_instance() {
        let instance = |object: &Object| {
            let reference = object.instance_ref()?;
            Some(match instance_of(lookup, object, &reference) {
                Some(instance) if !instance.metadata.uid.is_unset() => instance.uid().to_string(),
                Some(instance) => instance.name().to_owned(),
                None => reference.to_string(),
            })
        };
        let own = instance(document);
        objects.retain(|object| instance(object) == own);
    } else if document.kind.is_in_project() {
        let own = project_of(lookup, document);
        objects.retain(|object| project_of(lookup, object) == own);
    }
    if document.kind.is_versioned() && (document.version().is_some() || objects.len() > 1) {
        objects.retain(|object| object.version() == document.version());
    }
    Resolution::of(objects)
}

/// Finds the registered component that a class or function runs: what its `component` field says, else the latest component
/// of its own name.
pub fn component_of(lookup: &dyn Lookup, object: &Object) -> Option<Arc<Object>> {
    let field = object.spec.get("component").and_then(serde_json::Value::as_str);
    match field.map(ComponentSource::parse) {
        None => resolve(lookup, Kind::Component, &Ref::name(object.name()), None).found(),
        Some(ComponentSource::Name { name, version }) => {
            let reference = Ref::Name { parent: None, name, version };
            resolve(lookup, Kind::Component, &reference, None).found()
        }
        Some(ComponentSource::Digest(digest)) => {
            let same = |component: &Arc<Object>| {
                component.spec.get("digest").and_then(serde_json::Value::as_str) == Some(&digest)
            };
            lookup.all(Kind::Component).into_iter().find(same)
        }
        // Whoever reads the document registers the file and puts its digest there.
        Some(ComponentSource::File(_)) => None,
    }
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
    fn references_are_resolved() {
        let objects = vec![
            object(Kind::Project, "halls", "p1", json!({})),
            object(Kind::Project, "yards", "p2", json!({})),
            object(Kind::Class, "mqtt", "c1", json!({"version": "0.9.0"})),
            object(Kind::Class, "mqtt", "c2", json!({"version": "0.10.0"})),
            object(Kind::Instance, "one", "i1", json!({"class": "mqtt", "project": {"uid": "p1"}})),
            object(Kind::Instance, "one", "i2", json!({"class": "mqtt", "project": "yards"})),
            object(Kind::Stream, "in", "s1", json!({"instance": {"uid": "i1"}})),
            object(Kind::Stream, "in", "s2", json!({"instance": {"uid": "i2"}})),
            object(Kind::Pipeline, "p", "d1", json!({"project": "yards"})),
        ];
        let uid = |kind, text: &str, asker: Option<&Object>| match resolve(&objects, kind, &Ref::parse(text), asker) {
            Resolution::Found(object) => object.uid().to_string(),
            Resolution::Missing => "missing".to_owned(),
            Resolution::Ambiguous(objects) => format!("{} objects", objects.len()),
        };
        assert_eq!(uid(Kind::Class, "mqtt", None), "c2");
        assert_eq!(uid(Kind::Class, "mqtt@0.9.0", None), "c1");
        assert_eq!(uid(Kind::Class, "mqtt@1", None), "missing");
        let mut back = objects.clone();
        for (index, number) in [(2, "10"), (3, "9")] {
            let mut object = Object::clone(&back[index]);
            object.metadata.annotations.insert(MOVED.to_owned(), number.to_owned());
            back[index] = Arc::new(object);
        }
        let found = resolve(&back, Kind::Class, &Ref::name("mqtt"), None).found().unwrap();
        assert_eq!(found.uid().as_str(), "c1", "moved back to");
        assert_eq!(uid(Kind::Stream, "in", None), "2 objects");
        assert_eq!(uid(Kind::Stream, "in", Some(&objects[8])), "s2");
        assert_eq!(uid(Kind::Stream, "one/in", Some(&objects[8])), "s2");
        assert_eq!(uid(Kind::Stream, "two/in", None), "missing");
        assert_eq!(project_of(&objects, &objects[6]).as_deref(), Some("halls"));
        // The name alone says which instance: the one of the project that asks.
        let named = |project: &str, instance: &str| {
            let asker = Object::new(Kind::Stream, "x", json!({"instance": instance})).map(|mut asker| {
                asker.metadata.namespace = Some(project.to_owned());
                asker
            });
            uid(Kind::Instance, instance, Some(&asker.unwrap()))
        };
        assert_eq!((named("halls", "one"), named("p2", "one")), ("i1".into(), "i2".into()));
        assert_eq!((named("elsewhere", "one"), named("elsewhere", "i1")), ("missing".into(), "i1".into()));
        let homeless = Object::new(Kind::Stream, "x", json!({"instance": "one"})).unwrap();
        assert_eq!(project_of(&objects, &homeless), None, "two instances have the name");
        let again = Object::new(Kind::Stream, "in", json!({"instance": {"uid": "i1"}})).unwrap();
        assert_eq!(existing(&objects, &again).found().unwrap().uid().as_str(), "s1");
        let new = vec![Arc::new(again)];
        let over = Over { new: &new, old: &objects };
        assert_eq!(over.all(Kind::Stream).len(), 2);
    }
}
