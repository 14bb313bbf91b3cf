//! A stream: what its session is made of.

use ferrule_flow::plan::{Durability, StreamOptions};
use ferrule_model::component::{Description, Direction};
use ferrule_model::connector::{StreamDirection, StreamSpec};
use ferrule_model::redact::Redactor;
use ferrule_model::{Code, Kind, Object};
use serde_json::{Value, json};

use super::attach;
use super::config::Configs;
use super::grant::{self, Asker};
use super::{instance::Instance, parameters};
use crate::finding::{Finding, Problem};
use crate::log;
use crate::revision::revision;
use crate::secrets;
use crate::site::{Placement, Site};
use crate::snapshot::{Snapshot, spec};
use crate::wanted::WantedStream;

/// A stream that can run.
pub(crate) struct Resolved {
    pub(crate) wanted: WantedStream,
    pub(crate) granted: Finding,
    /// What is in force, for people.
    pub(crate) in_force: Value,
}

pub(crate) fn resolve(
    snapshot: &Snapshot,
    site: &Site,
    configs: &Configs,
    object: &Object,
) -> Result<Resolved, Problem> {
    let read: StreamSpec = spec(object)?;
    let log = match read.direction {
        StreamDirection::Ingress => site.log.options(read.log)?,
        StreamDirection::Egress => StreamOptions::new(Durability::Process),
    };
    let project = snapshot.project(object);
    let instance = snapshot.find(Kind::Instance, &read.instance, &project)?;
    let mut instance = Instance::read(snapshot, site, configs, instance).map_err(|problem| Problem {
        message: format!("instance {}: {}", instance.name(), problem.message),
        ..problem
    })?;
    let placement = Placement {
        only: &read.service_domains,
        except: &read.exclude_service_domains,
        selectors: &read.service_domain_selectors,
    };
    if !site.runs(snapshot, &placement) {
        let here = site.service_domain.as_deref().unwrap_or_default();
        let message = format!("its documents place it in other service domains than {here}");
        return Err(Problem::new("OtherServiceDomain", Code::Unresolved, message));
    }
    instance.class.allows(read.direction)?;
    let mut component = instance.component(snapshot, Some(read.direction))?;
    let class = &instance.class;
    let schema =
        parameters::schema(Some(class.object), class.spec.stream_schema.as_ref(), &component.description, "stream")?;
    let values = secrets::fill(snapshot, &site.vault, object, "spec.parameters", &read.parameters)?;
    parameters::check("spec.parameters", &values, schema.as_ref())?;

    let asker = Asker {
        project: &project,
        class: Some(instance.class.object),
        instance: Some(instance.object),
        stream: Some(object),
        function: None,
    };
    let static_parameters = &instance.static_parameters;
    let to_fill = grant::Parameters::new(static_parameters, &values);
    let given_to = |description: &Description| grant::given(snapshot, site, &asker, description, &to_fill);
    let mut given = given_to(&component.description);
    let mut granted = grant::finding(&given, &component.description, Kind::Class, instance.class.object.name());
    if !given.missing.is_empty() {
        let way = Some(direction_of(read.direction));
        if let Some((before, of_before)) = grant::held_back(snapshot, instance.class.object, &component, way, given_to)
        {
            granted = grant::held(&component, &before, granted);
            (component, given) = (before, of_before);
        }
    }
    let taken = [static_parameters, &instance.config, &values];
    secrets::granted(&given, &taken, Kind::Class, instance.class.object.name())?;
    let redactor = taken.into_iter().fold(Redactor::default(), |all, filled| all.and(&filled.redactor));
    let attached = attach::resolve(snapshot, site, &asker)?;
    let mut in_force = grant::in_force(&given, &redactor);
    if !attached.shown.is_empty() {
        in_force["attached"] = json!(attached.shown);
    }
    let limits = grant::limits(snapshot, &asker, read.limits, instance.class.spec.limits);
    let name: Vec<_> =
        [project.as_str(), instance.object.name(), object.name()].into_iter().filter(|part| !part.is_empty()).collect();
    let name = name.join("/");
    let revision = revision(&json!({
        "name": name, "direction": read.direction, "component": component.digest, "static": static_parameters.told,
        "parameters": values.told, "rules": grant::value(&given.rules), "limits": limits, "log": log::value(&log), "attached": attached.told,
    }));
    let wanted = WantedStream {
        uid: object.uid().clone(),
        name,
        direction: read.direction,
        component,
        static_parameters: instance.static_parameters.value,
        config: instance.config.value,
        parameters: values.value,
        redactor,
        rules: given.rules,
        attached: attached.attachments,
        limits,
        log,
        paused: read.paused,
        revision,
    };
    Ok(Resolved { wanted, granted, in_force })
}

fn direction_of(direction: StreamDirection) -> Direction {
    match direction {
        StreamDirection::Ingress => Direction::Ingress,
        StreamDirection::Egress => Direction::Egress,
    }
}

/// The labels of a stream, each with its category's name, as far as the category is there.
pub(crate) fn labels(snapshot: &Snapshot, object: &Object) -> Vec<(String, String)> {
    let Ok(read) = spec::<StreamSpec>(object) else { return Vec::new() };
    read.labels
        .iter()
        .map(|label| {
            let found = snapshot.candidates(Kind::Category, &label.category, "");
            let name = found.first().map_or_else(|| label.category.to_string(), |category| category.name().to_owned());
            (name, label.value.clone())
        })
        .collect()
}

/// The direction of a stream, if its spec can be read.
pub(crate) fn direction(object: &Object) -> Option<StreamDirection> {
    spec::<StreamSpec>(object).ok().map(|read| read.direction)
}
