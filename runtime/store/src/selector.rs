//! Which objects a list is about.

use std::collections::BTreeMap;

use ferrule_model::Object;
use serde_json::Value;

/// Conditions that all hold for a selected object; an empty selector selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// The namespace (project). An empty text selects objects that have none.
    pub namespace: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// Labels, each with its value.
    pub labels: BTreeMap<String, String>,
    /// Fields by dotted path, such as `metadata.uid` or `spec.direction`, each with its value as text.
    pub fields: BTreeMap<String, String>,
}

impl Selector {
    /// Selects everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects by name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// Only within this namespace.
    pub fn within(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Only with this label.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Only where this field has this value.
    pub fn field(mut self, path: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.insert(path.into(), value.into());
        self
    }

    /// Whether `object` is selected.
    pub fn matches(&self, object: &Object) -> bool {
        let metadata = &object.metadata;
        self.name.as_ref().is_none_or(|name| *name == metadata.name)
            && self
                .namespace
                .as_ref()
                .is_none_or(|wanted| metadata.namespace.as_deref().unwrap_or_default() == wanted.as_str())
            && self.labels.iter().all(|(name, value)| metadata.labels.get(name) == Some(value))
            && self.fields.iter().all(|(path, value)| field_is(object, path, value))
    }
}

fn field_is(object: &Object, path: &str, wanted: &str) -> bool {
    let within = |root: &Value, path: &str| {
        let mut at = root;
        for step in path.split('.') {
            let next = match at {
                Value::Object(members) => members.get(step),
                Value::Array(items) => step.parse::<usize>().ok().and_then(|i| items.get(i)),
                _ => None,
            };
            match next {
                Some(next) => at = next,
                None => return false,
            }
        }
        match at {
            Value::String(text) => text == wanted,
            Value::Null | Value::Object(_) | Value::Array(_) => false,
            scalar => {
                let text = scalar.to_string();
                text == wanted
            }
        }
    };
    match path.split_once('.') {
        Some(("spec", rest)) => within(&object.spec, rest),
        // Rare: the object's own form is what the path is about.
        _ => serde_json::to_value(object).is_ok_and(|whole| within(&whole, path)),
    }
}
