//! What a component says of itself: facts from its Cargo.toml, schemas from its types, and what its author adds.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use crate::bindings::exports::ferrule::connector::component as wit;

pub use crate::bindings::exports::ferrule::connector::component::Columns;

/// What a component says of itself beside what its Cargo.toml and its types say.
///
/// ```
/// use ferrule_sdk::About;
/// let about = About::new().capability("tcp", "{broker}", "the broker to connect to").idle();
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct About {
    pub(crate) name: Option<String>,
    pub(crate) capabilities: Vec<(String, String, String)>,
    pub(crate) reads: Option<Columns>,
    pub(crate) routes: Vec<String>,
    pub(crate) properties: Vec<(String, String)>,
}

impl About {
    /// Nothing but what Cargo.toml says.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another name than that of the package: lower-case letters, digits and hyphens.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Asks for an ability: `kind` is `tcp`, `http`, `resolve`, `listen`, `read` or `write`; in `target`, `{name}` stands for
    /// the value of that parameter and `{static.name}` for one of the static parameters; `reason` is for the operator.
    pub fn capability(mut self, kind: &str, target: &str, reason: &str) -> Self {
        self.capabilities.push((kind.to_owned(), target.to_owned(), reason.to_owned()));
        self
    }

    /// What a sink or function reads of a record; the host need not hand over the rest. Without it: everything.
    pub fn reads(mut self, columns: Columns) -> Self {
        self.reads = Some(columns);
        self
    }

    /// The routes of a function, in the order of their numbers. Without it: one, `default`.
    pub fn routes<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.routes = names.into_iter().map(Into::into).collect();
        self
    }

    /// A sink that has work to do while nothing is written: the host keeps a call to `idle` open.
    pub fn idle(self) -> Self {
        self.property("idle", "true")
    }

    /// Two sessions of one stream may be open at once, so that a new version opens before the old one closes.
    pub fn overlap(self) -> Self {
        self.property("overlap", "true")
    }

    /// Runs where memory is plentiful and start-up slower.
    pub fn roomy(self) -> Self {
        self.property("engine", "\"roomy\"")
    }

    /// What both say: for a connector, whose source and sink each have their say.
    pub(crate) fn and(mut self, other: Self) -> Self {
        let capabilities = other.capabilities.into_iter().filter(|asked| !self.capabilities.contains(asked));
        self.capabilities.extend(capabilities.collect::<Vec<_>>());
        for (name, json) in other.properties {
            self = self.property(&name, &json);
        }
        Self { name: self.name.or(other.name), reads: self.reads.or(other.reads), ..self }
    }

    /// A further fact by name, its value as JSON.
    pub fn property(mut self, name: &str, json: &str) -> Self {
        self.properties.retain(|(known, _)| known != name);
        self.properties.push((name.to_owned(), json.to_owned()));
        self
    }
}

/// What Cargo.toml says; filled in by [`export!`](crate::export).
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Package {
    pub name: &'static str,
    pub version: &'static str,
    pub description: &'static str,
    pub licence: &'static str,
}

pub(crate) fn describe(
    package: Package,
    about: About,
    directions: Vec<wit::Direction>,
    schemas: Vec<(&str, String)>,
) -> wit::Description {
    let mut properties = about.properties;
    if !package.licence.is_empty() && !properties.iter().any(|(name, _)| name == "licence") {
        properties.push(("licence".to_owned(), serde_json::Value::from(package.licence).to_string()));
    }
    wit::Description {
        name: about.name.unwrap_or_else(|| package.name.to_lowercase().replace('_', "-")),
        version: package.version.to_owned(),
        summary: package.description.to_owned(),
        directions,
        schemas: schemas.into_iter().map(|(name, content)| wit::Schema { name: name.to_owned(), content }).collect(),
        capabilities: about
            .capabilities
            .into_iter()
            .map(|(kind, target, reason)| wit::Capability { kind, target, reason })
            .collect(),
        reads: about.reads.unwrap_or(Columns::all()),
        routes: about.routes,
        properties,
    }
}

/// The JSON Schema of a parameter type, in one piece: a schema put into another document keeps its meaning.
pub(crate) fn schema<T: JsonSchema>() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The schema of a connector's parameters, where source and sink each have their own.
pub(crate) fn either_schema<A: JsonSchema + 'static, B: JsonSchema + 'static>() -> String {
    use std::any::TypeId;
    let source = schema::<A>();
    if TypeId::of::<A>() == TypeId::of::<B>() {
        return source.to_string();
    }
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "anyOf": [without_dialect(source), without_dialect(schema::<B>())],
    })
    .to_string()
}

fn without_dialect(mut schema: serde_json::Value) -> serde_json::Value {
    if let Some(members) = schema.as_object_mut() {
        members.remove("$schema");
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGE: Package =
        Package { name: "my_source", version: "1.2.3", description: "Reads.", licence: "Apache-2.0" };

    #[test]
    fn facts_come_from_the_package_and_the_author() {
        let about = About::new().capability("tcp", "{a}", "why").overlap().reads(Columns::PAYLOAD);
        let description = describe(PACKAGE, about, vec![wit::Direction::Ingress], vec![("stream", "{}".into())]);
        assert_eq!(description.name, "my-source");
        assert_eq!(description.reads, Columns::PAYLOAD);
        assert_eq!(
            description.properties,
            [("overlap".to_owned(), "true".to_owned()), ("licence".to_owned(), "\"Apache-2.0\"".to_owned())]
        );
        assert_eq!(description.capabilities[0].target, "{a}");
    }

    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema matters")]
    struct Inner {
        depth: u8,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema matters")]
    struct Outer {
        /// What it is.
        inner: Inner,
    }

    #[test]
    fn schemas_are_in_one_piece() {
        let schema = schema::<Outer>();
        assert!(!schema.to_string().contains("$ref"), "{schema}");
        assert_eq!(schema["required"][0], "inner");
        assert_eq!(schema["properties"]["inner"]["description"], "What it is.");
    }

    #[test]
    fn a_connector_of_two_types_takes_either() {
        assert!(!either_schema::<Outer, Outer>().contains("anyOf"));
        let either: serde_json::Value = serde_json::from_str(&either_schema::<Outer, Inner>()).unwrap();
        assert_eq!(either["anyOf"][1]["required"][0], "depth");
    }
}
