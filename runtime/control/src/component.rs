//! Which registered component does the work of a class or function.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferrule_model::component::{Description, Direction};
use ferrule_model::connector::{ComponentSource, ComponentSpec, Values};
use ferrule_model::{Code, Kind, Object, lookup, version};
use serde_json::Value;

use crate::finding::Problem;
use crate::snapshot::{Snapshot, spec};
use crate::wanted::Chosen;

/// What was chosen before where a document leaves the choice open: text of the choice to digest or id. It stays as long as that is
/// registered, so that registering a newer one changes nothing that runs; `register --replace` moves all users to another version.
pub(crate) type Pins = BTreeMap<String, String>;

/// The member of `status.details` that keeps the pins.
const PINS: &str = "pins";

pub(crate) fn pins_of(object: &Object) -> Pins {
    let kept = object.status.details.get(PINS).and_then(Value::as_object);
    kept.into_iter().flatten().filter_map(|(text, digest)| Some((text.clone(), digest.as_str()?.to_owned()))).collect()
}

pub(crate) fn keep_pins(details: &mut Values, pins: &Pins) {
    if !pins.is_empty() {
        let pins = pins.iter().map(|(text, digest)| (text.clone(), Value::from(digest.as_str()))).collect();
        details.insert(PINS.to_owned(), Value::Object(pins));
    }
}

/// What a choice is for.
pub(crate) struct Wish<'a> {
    /// `class mqtt` or `function jq`, for messages.
    pub(crate) title: String,
    /// The name of the class or function.
    pub(crate) name: &'a str,
    /// The `component` field, templates filled in.
    pub(crate) component: Option<&'a str>,
    /// Versions to look for first, the best first, where the field names none.
    pub(crate) prefer: Vec<String>,
    /// What to say of the class or function when nothing is registered for it.
    pub(crate) without: Option<String>,
    /// Which way records are to go.
    pub(crate) direction: Option<Direction>,
}

/// Chooses among the registered components.
pub(crate) fn choose(snapshot: &Snapshot, wish: &Wish<'_>, pins: &mut Pins) -> Result<Chosen, Problem> {
    let (object, component) = registered(snapshot, wish, pins)?;
    let description = describe(object, &component)?;
    if let Some(direction) = wish.direction
        && !description.directions.contains(&direction)
    {
        let can: Vec<_> = description.directions.iter().map(ToString::to_string).collect();
        let message = format!(
            "component {} ({}) of {} cannot do {direction}; it does {}",
            object.name(),
            component.digest,
            wish.title,
            can.join(" and ")
        );
        return Err(Problem::new("DirectionNotSupported", Code::WrongWorld, message));
    }
    Ok(Chosen {
        digest: component.digest,
        name: object.name().to_owned(),
        version: component.version.unwrap_or_default(),
        description: Arc::new(description),
        class: wish.name.to_owned(),
    })
}

fn registered<'a>(
    snapshot: &'a Snapshot,
    wish: &Wish<'_>,
    pins: &mut Pins,
) -> Result<(&'a Object, ComponentSpec), Problem> {
    let source = wish.component.map(ComponentSource::parse);
    let all =
        snapshot.of(Kind::Component).iter().filter_map(|object| Some((&**object, spec::<ComponentSpec>(object).ok()?)));
    let (name, exact) = match &source {
        Some(ComponentSource::Digest(digest)) => {
            let found = all.into_iter().find(|(_, component)| component.digest == *digest);
            return found.ok_or_else(|| missing(wish, &format!("no component {digest} is registered")));
        }
        Some(ComponentSource::File(file)) => {
            let why = format!("its component is the file {file}, which was not registered with the document");
            return Err(missing(wish, &why));
        }
        Some(ComponentSource::Name { name, version }) => (name.as_str(), version.as_deref()),
        None => (wish.name, None),
    };
    let mut found: Vec<_> = all.filter(|(object, _)| object.name() == name).collect();
    let version_of = |component: &ComponentSpec| component.version.clone().unwrap_or_default();
    if let Some(exact) = exact {
        let versions: Vec<_> = found.iter().map(|(_, component)| version_of(component)).collect();
        found.retain(|(_, component)| version::same(&version_of(component), exact));
        if found.is_empty() {
            let there =
                if versions.is_empty() { String::new() } else { format!("; registered: {}", versions.join(", ")) };
            return Err(missing(wish, &format!("no component {name}@{exact} is registered{there}")));
        }
    }
    // The latest, and of one version the one that was registered last.
    found.sort_by(|(a, a_spec), (b, b_spec)| {
        version::compare(&version_of(a_spec), &version_of(b_spec))
            .then_with(|| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp))
    });
    let preferred = wish
        .prefer
        .iter()
        .find_map(|version| found.iter().rposition(|(_, component)| version::same(&version_of(component), version)));
    // A choice that the values make is exact; one that is left open stays what it was.
    let open = wish.component.unwrap_or(wish.name).to_owned();
    let pinned =
        || pins.get(&open).and_then(|digest| found.iter().position(|(_, component)| component.digest == *digest));
    let moved = || {
        let marked = found.iter().enumerate().filter(|(_, (object, _))| lookup::moved(object) > 0);
        marked.max_by_key(|(_, (object, _))| lookup::moved(object)).map(|(index, _)| index)
    };
    let chosen = preferred.or_else(moved).or_else(pinned).or_else(|| found.len().checked_sub(1));
    let Some(chosen) = chosen else {
        return Err(missing(wish, &format!("no component called {name} is registered")));
    };
    let chosen = found.swap_remove(chosen);
    pins.insert(open, chosen.1.digest.clone());
    Ok(chosen)
}

fn missing(wish: &Wish<'_>, why: &str) -> Problem {
    let mut message = format!("{}: {why}. ", wish.title);
    if let Some(without) = &wish.without {
        message.push_str(without);
        message.push(' ');
    }
    message.push_str(&match wish.component {
        Some(_) => "Register that component (`ferrule register FILE.wasm`), or name another in `component`".to_owned(),
        None => {
            format!("Build a component and register it for this one (`ferrule register FILE.wasm --for {}`)", wish.name)
        }
    });
    Problem::new("ComponentMissing", Code::ComponentMissing, message)
}

fn describe(object: &Object, component: &ComponentSpec) -> Result<Description, Problem> {
    serde_json::from_value(component.describes.clone()).map_err(|error| {
        let message =
            format!("what component {} says of itself cannot be read ({error}); register it again", object.name());
        Problem::new("ComponentBroken", Code::InvalidDescribe, message)
    })
}
