//! Finding the object that a reference means.

use std::{cmp::Ordering, sync::Arc};

use crate::{Kind, Object, Ref, Uid, connector::ComponentSource};

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

/// Finds what a reference means to the object that makes it: in its own project, where the kind belongs to one; of several
/// versions the latest, unless the reference names one.
pub fn resolve(lookup: &dyn Lookup, kind: Kind, reference: &Ref, asker: Option<&Object>) -> Resolution {
    let (parent, name, version) = match reference {
        Ref::Uid(uid) => {
            return match lookup.get(kind, uid) {
                Some(object) => Resolution::Found(object),
                // Text in the form of a UUID may be a name all the same.
                None => Resolution::of(lookup.named(kind, uid.as_str())),
            };
        }
        Ref::Name { parent, name, version } => (parent, name, version),
    };
    let mut objects = lookup.named(kind, name);
    if let Some(version) = version {
        objects.retain(|object| object.version() == Some(version));
    }
    if let Some(parent) = parent {
        objects.retain(|object| {
            object.instance_ref().is_some_and(|instance| {
                match (&instance, resolve_in(lookup, Kind::Instance, &instance, object)) {
                    (_, Some(instance)) => instance.name() == parent || instance.uid().as_str() == parent,
                    (Ref::Name { name, .. }, None) => name == parent,
                    (Ref::Uid(uid), None) => uid.as_str() == parent,
                }
            })
        });
    }
    if kind.is_in_project()
        && objects.len() > 1
        && let Some(asker) = asker
    {
        let own = project_of(lookup, asker);
        let near: Vec<_> = objects.iter().filter(|object| project_of(lookup, object) == own).cloned().collect();
        if !near.is_empty() {
            objects = near;
        }
    }
    if kind.is_versioned() && objects.len() > 1 {
        objects.sort_by(|a, b| compare_versions(a.version().unwrap_or_default(), b.version().unwrap_or_default()));
        objects = objects.split_off(objects.len() - 1);
    }
    Resolution::of(objects)
}

/// An instance, without regard to projects: those of streams would be found by their instance again.
fn resolve_in(lookup: &dyn Lookup, kind: Kind, reference: &Ref, asker: &Object) -> Option<Arc<Object>> {
    match reference {
        Ref::Uid(uid) => lookup.get(kind, uid).or_else(|| lookup.named(kind, uid.as_str()).pop()),
        Ref::Name { name, .. } => {
            let mut objects = lookup.named(kind, name);
            if objects.len() > 1 {
                let near: Vec<_> = objects
                    .iter()
                    .filter(|object| object.metadata.namespace == asker.metadata.namespace)
                    .cloned()
                    .collect();
                if !near.is_empty() {
                    objects = near;
                }
            }
            objects.pop()
        }
    }
}

/// The project that an object belongs to: its name where it is known, else the id; that of a stream or config is its
/// instance's. None for objects that are there for all, or say no project.
pub fn project_of(lookup: &dyn Lookup, object: &Object) -> Option<String> {
    if object.kind.is_in_instance()
        && let Some(instance) = object.instance_ref()
        && let Some(instance) = resolve_in(lookup, Kind::Instance, &instance, object)
    {
        return project_of(lookup, &instance);
    }
    match object.project_ref() {
        Some(Ref::Uid(uid)) => Some(match lookup.get(Kind::Project, &uid) {
            Some(project) => project.name().to_owned(),
            None => uid.to_string(),
        }),
        Some(Ref::Name { name, .. }) => Some(name),
        None => object.metadata.namespace.clone(),
    }
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
            let found = resolve_in(lookup, Kind::Instance, &reference, object);
            Some(match found {
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

/// Which of two versions is later: by their numbers, and a pre-release before its release.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let split = |version: &str| {
        let version = version.strip_prefix('v').unwrap_or(version).to_owned();
        let version = version.split('+').next().unwrap_or_default().to_owned();
        match version.split_once('-') {
            Some((release, pre)) => (release.to_owned(), Some(pre.to_owned())),
            None => (version, None),
        }
    };
    let parts = |a: &str, b: &str| {
        let (a, b): (Vec<&str>, Vec<&str>) = (a.split('.').collect(), b.split('.').collect());
        for index in 0..a.len().max(b.len()) {
            let (a, b) = (a.get(index).unwrap_or(&"0"), b.get(index).unwrap_or(&"0"));
            let number = |part: &str| if part.is_empty() { Ok(0) } else { part.parse::<u64>() };
            let order = match (number(a), number(b)) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => str::cmp(a, b),
            };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    };
    let ((a, a_pre), (b, b_pre)) = (split(a), split(b));
    parts(&a, &b).then_with(|| match (a_pre, b_pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => parts(&a, &b),
    })
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
        assert_eq!(uid(Kind::Stream, "in", None), "2 objects");
        assert_eq!(uid(Kind::Stream, "in", Some(&objects[8])), "s2");
        assert_eq!(uid(Kind::Stream, "one/in", Some(&objects[8])), "s2");
        assert_eq!(uid(Kind::Stream, "two/in", None), "missing");
        assert_eq!(project_of(&objects, &objects[6]).as_deref(), Some("halls"));
        let again = Object::new(Kind::Stream, "in", json!({"instance": {"uid": "i1"}})).unwrap();
        assert_eq!(existing(&objects, &again).found().unwrap().uid().as_str(), "s1");
        let new = vec![Arc::new(again)];
        let over = Over { new: &new, old: &objects };
        assert_eq!(over.all(Kind::Stream).len(), 2);
    }

    #[test]
    fn versions_are_compared_by_number() {
        for (a, b) in
            [("0.9.0", "0.10.0"), ("1.0.0-rc.1", "1.0.0"), ("2.3", "2.3.1"), ("1.0.0-rc.9", "1.0.0-rc.10"), ("", "1")]
        {
            assert_eq!(compare_versions(a, b), Ordering::Less, "{a} {b}");
            assert_eq!(compare_versions(b, a), Ordering::Greater, "{b} {a}");
        }
        assert_eq!(compare_versions("2.3", "2.3.0"), Ordering::Equal);
    }
}
