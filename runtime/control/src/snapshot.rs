//! All objects as they were at one version of the store, and how they refer to each other.

use std::collections::HashMap;
use std::sync::Arc;

use ferrule_model::{Code, Kind, Object, Ref, Uid};
use serde::de::DeserializeOwned;

use crate::finding::Problem;
use crate::version;

/// The objects that a resolution looks at. Objects that are being deleted are not in it.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    objects: HashMap<Kind, Vec<Arc<Object>>>,
    index: HashMap<(Kind, Uid), Arc<Object>>,
    names: HashMap<(Kind, String), Vec<Arc<Object>>>,
}

impl Snapshot {
    /// The snapshot of these objects.
    pub fn new(objects: impl IntoIterator<Item = Arc<Object>>) -> Self {
        let mut snapshot = Self::default();
        for object in objects {
            if object.metadata.deletion_timestamp.is_none() {
                snapshot.index.insert((object.kind, object.uid().clone()), object.clone());
                snapshot.objects.entry(object.kind).or_default().push(object);
            }
        }
        // One order, whatever order they came in, so that the same objects always give the same answer.
        for objects in snapshot.objects.values_mut() {
            objects.sort_by(|a, b| (a.name(), a.uid()).cmp(&(b.name(), b.uid())));
            for object in objects {
                let key = (object.kind, object.name().to_owned());
                snapshot.names.entry(key).or_default().push(object.clone());
            }
        }
        snapshot
    }

    /// The objects of a kind, by name.
    pub fn of(&self, kind: Kind) -> &[Arc<Object>] {
        self.objects.get(&kind).map(Vec::as_slice).unwrap_or_default()
    }

    /// The objects of a kind that have this name, by id.
    pub fn named(&self, kind: Kind, name: &str) -> &[Arc<Object>] {
        self.names.get(&(kind, name.to_owned())).map(Vec::as_slice).unwrap_or_default()
    }

    /// All objects.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        Kind::ALL.into_iter().flat_map(|kind| self.of(kind))
    }

    /// One object.
    pub fn get(&self, kind: Kind, uid: &Uid) -> Option<&Arc<Object>> {
        self.index.get(&(kind, uid.clone()))
    }

    /// The name of the project that an object belongs to; empty if it belongs to none. A stream or config without one
    /// belongs to its instance's.
    pub fn project(&self, object: &Object) -> String {
        if let Some(namespace) = &object.metadata.namespace {
            return self.project_name(namespace);
        }
        match object.project_ref() {
            Some(Ref::Uid(uid)) => return self.project_name(uid.as_str()),
            Some(Ref::Name { name, .. }) => return self.project_name(&name),
            None => {}
        }
        // Without knowing the project an instance is found by its id, or by a name that only one has.
        let instance = match object.instance_ref().filter(|_| object.kind.is_in_instance()) {
            Some(Ref::Uid(uid)) => self.get(Kind::Instance, &uid),
            Some(Ref::Name { name, .. }) => match self.named(Kind::Instance, &name) {
                [one] => Some(one),
                _ => None,
            },
            None => None,
        };
        instance.map(|instance| self.project(instance)).unwrap_or_default()
    }

    /// Projects are known by name; some documents give the id.
    fn project_name(&self, text: &str) -> String {
        let by_id = self.get(Kind::Project, &Uid::from(text));
        by_id.map_or_else(|| text.to_owned(), |project| project.name().to_owned())
    }

    /// The objects that a reference from within `project` can mean.
    pub fn candidates(&self, kind: Kind, reference: &Ref, project: &str) -> Vec<&Arc<Object>> {
        let (parent, name, version) = match reference {
            Ref::Uid(uid) => return self.get(kind, uid).into_iter().collect(),
            Ref::Name { parent, name, version } => (parent.as_deref(), name.as_str(), version.as_deref()),
        };
        let named: Vec<_> = self
            .named(kind, name)
            .iter()
            .filter(|object| version.is_none_or(|wanted| object.version().is_some_and(|is| version::same(is, wanted))))
            .filter(|object| {
                let theirs = self.project(object);
                // A function of no project is there for all.
                !kind.is_in_project() || theirs == project || (kind == Kind::Function && theirs.is_empty())
            })
            .filter(|object| parent.is_none_or(|parent| self.is_of_instance(object, parent)))
            .collect();
        if named.is_empty() && parent.is_none() && version.is_none() {
            // An id need not look like one.
            return self.get(kind, &Uid::from(name)).into_iter().collect();
        }
        named
    }

    fn is_of_instance(&self, object: &Object, parent: &str) -> bool {
        match object.instance_ref() {
            Some(Ref::Name { name, .. }) => name == parent,
            Some(Ref::Uid(uid)) => {
                uid.as_str() == parent
                    || self.get(Kind::Instance, &uid).is_some_and(|instance| instance.name() == parent)
            }
            None => false,
        }
    }

    /// The one object that a reference means.
    pub(crate) fn find(&self, kind: Kind, reference: &Ref, project: &str) -> Result<&Arc<Object>, Problem> {
        let noun = kind.nouns()[0];
        match self.candidates(kind, reference, project)[..] {
            [one] => Ok(one),
            [] => {
                let place = match reference {
                    Ref::Name { .. } if kind.is_in_project() && !project.is_empty() => format!(" in project {project}"),
                    _ => String::new(),
                };
                let message = format!("there is no {noun} `{reference}`{place} yet; apply its document");
                Err(Problem::new("ReferenceMissing", Code::Unresolved, message))
            }
            ref several => {
                let ids: Vec<_> = several.iter().map(|object| object.uid().to_string()).collect();
                let with = if kind.is_in_instance() { ", or write `instance/name`" } else { "" };
                let message = format!(
                    "`{reference}` fits several {}; name one by its id ({}){with}",
                    kind.nouns()[1],
                    ids.join(", ")
                );
                Err(Problem::new("Ambiguous", Code::Ambiguous, message))
            }
        }
    }
}

/// The spec of an object in the form of its kind.
pub(crate) fn spec<T: DeserializeOwned>(object: &Object) -> Result<T, Problem> {
    object.typed().map_err(|error| Problem::new("Malformed", Code::WrongType, error.to_string()))
}
