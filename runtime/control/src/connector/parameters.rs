//! Whether parameters fit the schema that they are for.

use ferrule_model::check::Rules;
use ferrule_model::component::Description;
use ferrule_model::secret::Filled;
use ferrule_model::{Code, Object};
use serde_json::Value;

use crate::finding::Problem;

/// The schema that holds: that of the class or function (`own`, in `document`), else the component's.
pub(crate) fn schema(
    document: Option<&Object>,
    own: Option<&Value>,
    description: &Description,
    name: &str,
) -> Result<Option<Value>, Problem> {
    let of_component = description.schema(name).map(serde_json::from_str).transpose().map_err(|error| {
        let message = format!(
            "the schema `{name}` of component {} is no JSON ({error}); register a mended one",
            description.name
        );
        Problem::new("ComponentBroken", Code::InvalidDescribe, message)
    })?;
    Ok(Rules::new(own.cloned(), of_component, document.is_some_and(|document| !document.form.is_native())).schema)
}

/// Checks `values`, which stand at `place`, against a schema. Nothing of a secret is in the problem.
pub(crate) fn check(place: &str, values: &Filled, schema: Option<&Value>) -> Result<(), Problem> {
    let Some(schema) = schema else { return Ok(()) };
    let found = values.validate(schema, place);
    let errors: Vec<_> = found.iter().filter(|diagnostic| diagnostic.is_error()).collect();
    let Some(first) = errors.first() else { return Ok(()) };
    let reason = if first.code == Code::BadSchema { "SchemaInvalid" } else { "ParametersInvalid" };
    let list: Vec<_> = errors.iter().map(|error| format!("{}: {}", error.path, error.message)).collect();
    Err(Problem::new(reason, first.code, list.join("; ")))
}
