//! Whether what a component says of itself makes sense. All that is wrong is told at once.

use ferrule_model::component::{Description, Direction};
use ferrule_model::plain;
use serde_json::Value;

use super::World;
use crate::engine::EngineKind;
use crate::error::LoadError;

/// Longest name of a component: the same as of a Kubernetes label.
const NAME: usize = 63;

/// Lists in a description. Threat: a description that fills the store.
const ENTRIES: usize = 256;

/// Bytes of all schemas together. Threat: as above.
const SCHEMAS: usize = 1 << 20;

/// Bytes of all other texts together. Threat: as above.
const TEXTS: usize = 256 << 10;

pub(super) fn check(description: &Description, world: World) -> Result<(), LoadError> {
    let mut problems = Vec::new();
    if !is_name(&description.name) {
        problems.push(format!(
            "`name` is {:.80?}; write lower-case letters, digits and hyphens, at most {NAME}, beginning and ending with a letter or digit",
            description.name
        ));
    }
    if !is_version(&description.version) {
        problems.push(format!("`version` is {:.80?}; write three numbers as in 1.0.0", description.version));
    }
    check_directions(description, world, &mut problems);
    check_schemas(description, &mut problems);
    for (name, value) in &description.properties {
        if serde_json::from_str::<Value>(value).is_err() {
            problems.push(format!("the property `{name:.80}` is not JSON"));
        }
    }
    if let Some(value) = description.property("engine")
        && engine(description).is_none()
    {
        problems.push(format!("the property `engine` is {value:.80}; write \"dense\" or \"roomy\""));
    }
    for (index, route) in description.routes.iter().enumerate() {
        if !is_name(route) {
            problems.push(format!("route {index} is {route:.80?}; write lower-case letters, digits and hyphens"));
        }
        if description.routes.iter().take(index).any(|earlier| earlier == route) {
            problems.push(format!("the route `{route:.80}` is there twice"));
        }
    }
    let texts = texts(description);
    if texts > TEXTS {
        problems.push(format!("its texts have {texts} bytes together, and at most {TEXTS} are taken"));
    }
    if description
        .capabilities
        .iter()
        .any(|asked| [&asked.kind, &asked.target].iter().any(|text| plain::line(text) != **text))
    {
        problems.push("a capability has control characters in it".to_owned());
    }
    let lists = [
        description.capabilities.len(),
        description.routes.len(),
        description.properties.len(),
        description.schemas.len(),
    ];
    if lists.iter().any(|entries| *entries > ENTRIES) {
        problems.push(format!("a list has more than {ENTRIES} entries"));
    }
    if problems.is_empty() { Ok(()) } else { Err(LoadError::InvalidDescribe { problems }) }
}

/// Bytes of everything but the schemas' contents.
fn texts(description: &Description) -> usize {
    let asked = description.capabilities.iter().flat_map(|asked| [&asked.kind, &asked.target, &asked.reason]);
    let properties = description.properties.iter().flat_map(|(name, value)| [name, value]);
    let schemas = description.schemas.iter().map(|schema| &schema.name);
    let all = asked.chain(properties).chain(schemas).chain(&description.routes).chain([&description.summary]);
    all.map(String::len).sum()
}

fn check_directions(description: &Description, world: World, problems: &mut Vec<String>) {
    let possible: &[Direction] = match world {
        World::Source => &[Direction::Ingress],
        World::Sink => &[Direction::Egress],
        World::Connector => &[Direction::Ingress, Direction::Egress],
        World::Function => &[Direction::Transform],
    };
    if description.directions.is_empty() {
        problems.push("`directions` is empty".to_owned());
    }
    for direction in &description.directions {
        if !possible.contains(direction) {
            problems.push(format!("`directions` names {direction}, but the component exports a {world}"));
        }
    }
}

fn check_schemas(description: &Description, problems: &mut Vec<String>) {
    let mut size = 0;
    for (index, schema) in description.schemas.iter().enumerate() {
        size += schema.content.len();
        match serde_json::from_str::<Value>(&schema.content) {
            Ok(Value::Object(_) | Value::Bool(_)) => {}
            Ok(_) => problems.push(format!("the schema `{:.80}` is neither an object nor a boolean", schema.name)),
            Err(error) => problems.push(format!("the schema `{:.80}` is not JSON: {error}", schema.name)),
        }
        if description.schemas.iter().take(index).any(|earlier| earlier.name == schema.name) {
            problems.push(format!("the schema `{:.80}` is there twice", schema.name));
        }
    }
    if size > SCHEMAS {
        problems.push(format!("the schemas have {size} bytes together, and at most {SCHEMAS} are taken"));
    }
}

/// Which engine the component asks for, if it asks.
pub(super) fn engine(description: &Description) -> Option<EngineKind> {
    match serde_json::from_str::<String>(description.property("engine")?).ok()?.as_str() {
        "dense" => Some(EngineKind::Dense),
        "roomy" => Some(EngineKind::Roomy),
        _ => None,
    }
}

fn is_name(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= NAME && name.starts_with(edge) && name.ends_with(edge) && name.chars().all(|c| edge(c) || c == '-')
}

/// `1.2.3`, with the pre-release and build parts that Semantic Versioning allows.
fn is_version(version: &str) -> bool {
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let number = |part: &str| {
        part.chars().all(|c| c.is_ascii_digit())
            && part.parse::<u64>().is_ok()
            && (part == "0" || !part.starts_with('0'))
    };
    version.len() <= 128
        && core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(part))
        && build.is_none_or(|build| build.split('.').all(part))
}

#[cfg(test)]
mod tests {
    use ferrule_model::component::NamedSchema;

    use super::*;

    fn good() -> Description {
        Description {
            name: "mqtt".into(),
            version: "1.0.0".into(),
            directions: vec![Direction::Ingress],
            ..Description::default()
        }
    }

    #[test]
    fn a_plain_description_is_fine() {
        assert_eq!(check(&good(), World::Source), Ok(()));
        assert_eq!(check(&good(), World::Connector), Ok(()));
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let mut bad = good();
        bad.name = "MQTT source".into();
        bad.version = "1".into();
        bad.directions.push(Direction::Transform);
        bad.schemas.push(NamedSchema { name: "static".into(), content: "{".into() });
        bad.properties.push(("engine".into(), "\"fast\"".into()));
        bad.properties.push(("x".into(), "nonsense".into()));
        bad.routes = vec!["a".into(), "a".into()];
        match check(&bad, World::Source) {
            Err(LoadError::InvalidDescribe { problems }) => assert_eq!(problems.len(), 7, "{problems:#?}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn versions() {
        for good in ["0.1.0", "1.2.3-rc.1", "1.2.3+build.5", "1.2.3-a-b+c"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-", "1.2.3-ä", "v1.2.3"] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
