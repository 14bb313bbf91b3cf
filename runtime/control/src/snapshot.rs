//! All objects as they were at one version of the store, and how they refer to each other.

use std::collections::HashMap;
use std::sync::Arc;

use ferrule_model::error::suggestion;
use ferrule_model::lookup::{self, Lookup};
use ferrule_model::{Code, Kind, Object, Ref, Uid};
use serde::de::DeserializeOwned;

use crate::finding::Problem;

/// What is said of something that is not there and may come; whoever knows that nothing will come takes it out.
pub const LATER: &str = " yet; apply its document";

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

    /// The name of the project that an object belongs to; empty if it belongs to none.
    pub fn project(&self, object: &Object) -> String {
        lookup::project_of(self, object).unwrap_or_default()
    }

    /// The objects that a reference from within `project` can mean.
    pub fn candidates(&self, kind: Kind, reference: &Ref, project: &str) -> Vec<&Arc<Object>> {
        let found = lookup::candidates(self, kind, reference, Some(project));
        found.iter().filter_map(|object| self.get(kind, object.uid())).collect()
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
                let names = self.of(kind).iter().map(|object| object.name());
                let near = match reference {
                    Ref::Name { name, .. } => suggestion(name, names.filter(|other| other != name)),
                    Ref::Uid(_) => None,
                };
                let hint = near.map(|name| format!("; did you mean `{name}`?"));
                let hint = hint.or_else(|| self.other_kind(kind, reference)).unwrap_or_default();
                let message = format!("there is no {noun} `{reference}`{place}{LATER}{hint}");
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

    /// Functions and classes are named in different places, and both are called after their component.
    fn other_kind(&self, kind: Kind, reference: &Ref) -> Option<String> {
        let Ref::Name { name, .. } = reference else { return None };
        let (other, place) = match kind {
            Kind::Class => (Kind::Function, "a function: name it under `functions`"),
            Kind::Function => (Kind::Class, "a class: name it as a `source` or `sink`"),
            _ => return None,
        };
        (!self.named(other, name).is_empty()).then(|| format!("; `{name}` is {place}"))
    }
}

impl Lookup for Snapshot {
    fn all(&self, kind: Kind) -> Vec<Arc<Object>> {
        self.of(kind).to_vec()
    }

    fn get(&self, kind: Kind, uid: &Uid) -> Option<Arc<Object>> {
        Snapshot::get(self, kind, uid).cloned()
    }

    fn named(&self, kind: Kind, name: &str) -> Vec<Arc<Object>> {
        Snapshot::named(self, kind, name).to_vec()
    }
}

/// The spec of an object in the form of its kind.
pub(crate) fn spec<T: DeserializeOwned>(object: &Object) -> Result<T, Problem> {
    object.typed().map_err(|error| Problem::new("Malformed", Code::WrongType, error.to_string()))
}
