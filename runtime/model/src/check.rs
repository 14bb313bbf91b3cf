//! What can be wrong between objects: parameters and the schemas of their class, directions, labels. Without side effects.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use crate::{
    Code, Diagnostic, Kind, Object, Ref,
    component::{Description, Problem},
    connector::{
        ClassSpec, ComponentSpec, ConfigSpec, FunctionSpec, Inline, InstanceSpec, Labels, PipelineSpec,
        ServiceDomainSpec, StreamDirection, StreamSpec, StreamUse, log::in_memory,
    },
    error::suggestion,
    lookup::{Lookup, Resolution, component_of, resolve},
    schema,
    secret::{self, Known, SecretRef},
    shape::{member, one_of},
    version,
};

/// The version of the KPS service domain that this runtime stands for: the first with connectors.
pub const SERVICE_DOMAIN_VERSION: &str = "2.3.0";

/// How the values of one scope are judged.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// What they must fit.
    pub schema: Option<Value>,
    /// What the component knows of them, where fields that it does not know only deserve a warning.
    pub known: Option<Value>,
}

impl Rules {
    /// The schema of the class or function holds, else that of its component. Where the document is of another system
    /// (`foreign`), whose parameters may be for the container that it was written for, the component's own schema allows
    /// further fields.
    pub fn new(own: Option<Value>, of_component: Option<Value>, foreign: bool) -> Self {
        match (own, of_component) {
            (Some(own), known) => Rules { known: known.filter(|known| *known != own), schema: Some(own) },
            (None, Some(schema)) if foreign => {
                Rules { schema: Some(schema::opened(schema.clone())), known: Some(schema) }
            }
            (None, schema) => Rules { schema, known: None },
        }
    }
}

/// The schemas of a class or function as they hold: its own, else those of its component.
#[derive(Debug, Clone, Default)]
pub struct Schemas {
    /// Of an instance's `static`.
    pub static_parameters: Rules,
    /// Of a config's `parameters`.
    pub config: Rules,
    /// Of a stream's `parameters`, or a step's `args`.
    pub stream: Rules,
}

/// The schemas of a class or function, and what its component says of itself, as far as it is registered.
pub fn schemas_of(lookup: &dyn Lookup, object: &Object) -> (Schemas, Option<Description>) {
    let description = component_of(lookup, object)
        .and_then(|component| component.typed::<ComponentSpec>().ok())
        .and_then(|spec| serde_json::from_value::<Description>(spec.describes).ok());
    let rules = |own: Option<Value>, name: &str| {
        let content = description.as_ref().and_then(|description| description.schema(name));
        Rules::new(own, content.and_then(|content| serde_json::from_str(content).ok()), !object.form.is_native())
    };
    let [own_static, own_config, own_stream] = match object.kind {
        Kind::Class => object
            .typed::<ClassSpec>()
            .map(|spec| [spec.static_schema, spec.config_schema, spec.stream_schema])
            .unwrap_or_default(),
        Kind::Function => object.typed::<FunctionSpec>().map(|spec| [None, None, spec.args_schema]).unwrap_or_default(),
        _ => Default::default(),
    };
    let schemas = Schemas {
        static_parameters: rules(own_static, "static"),
        config: rules(own_config, "config"),
        stream: rules(own_stream, "stream"),
    };
    (schemas, description)
}

/// Checks an object against those that it refers to. What is not there yet is no error here: the object is kept, with a
/// condition, and checked again when it appears. `lookup` holds what will be there; see [`crate::lookup::Over`]. `reveal` gives what
/// a reference to a secret stands for, as far as that is known.
pub fn check(object: &Object, lookup: &dyn Lookup, reveal: &dyn Fn(&SecretRef) -> Option<Known>) -> Vec<Diagnostic> {
    let mut checker = Checker { object, lookup, reveal, found: Vec::new() };
    let done = match object.kind {
        Kind::Class => object.typed().map(|spec| checker.class(&spec)),
        Kind::Instance => object.typed().map(|spec| checker.instance(&spec)),
        Kind::Config => object.typed().map(|spec| checker.config(&spec)),
        Kind::Stream => object.typed().map(|spec| checker.stream(&spec)),
        Kind::Pipeline => object.typed().map(|spec| checker.pipeline(&spec)),
        Kind::ServiceDomain => object.typed().map(|spec: ServiceDomainSpec| checker.labels("labels", &spec.labels)),
        Kind::Project | Kind::Category | Kind::Secret | Kind::Component | Kind::Grant | Kind::Function => Ok(()),
    };
    if let Err(error) = done {
        checker.found.push(Diagnostic::new(Code::WrongType, error.to_string()).at(object.path("")));
    }
    checker.found
}

/// What a component's own `validate` found, as a diagnostic. `member` is where the values of the problem's scope are in the
/// object's spec: `parameters`, `functions[0].args`.
pub fn guest_problem(object: &Object, member: &str, problem: &Problem) -> Diagnostic {
    let place = schema::locate(&object.path(member), &problem.path);
    let message = match problem.position {
        Some((line, column)) => format!("line {line}, column {column}: {}", problem.message),
        None => problem.message.clone(),
    };
    Diagnostic::new(Code::GuestProblem, message).at(place)
}

/// Checks that a change leaves what an object is: what may not be changed in place.
pub fn check_change(old: &Object, new: &Object) -> Vec<Diagnostic> {
    let fields: &[&str] = match new.kind {
        Kind::Stream => &["direction"],
        Kind::Component => &["digest", "version"],
        _ => &[],
    };
    let moved = (new.kind == Kind::Stream && in_memory(&old.spec) != in_memory(&new.spec)).then(|| {
        let (now, was) = if in_memory(&new.spec) { ("memory", "one that lasts") } else { ("one that lasts", "memory") };
        let message = format!("cannot be changed ({now}, was {was}): the records of the stream are elsewhere");
        Diagnostic::new(Code::Immutable, message)
            .at(new.path("log.durability"))
            .help("delete the stream and create it anew, or give the new one another name")
    });
    fields
        .iter()
        .filter(|field| old.spec.get(**field) != new.spec.get(**field))
        .map(|field| {
            let now = new.spec.get(*field).unwrap_or(&Value::Null);
            let was = old.spec.get(*field).unwrap_or(&Value::Null);
            Diagnostic::new(Code::Immutable, format!("cannot be changed ({now}, was {was})"))
                .at(new.path(field))
                .help("delete the object and create it anew, or give the new one another name")
        })
        .chain(moved)
        .collect()
}

struct Checker<'a> {
    object: &'a Object,
    lookup: &'a dyn Lookup,
    reveal: &'a dyn Fn(&SecretRef) -> Option<Known>,
    found: Vec<Diagnostic>,
}

impl Checker<'_> {
    fn find(&mut self, kind: Kind, reference: &Ref, path: &str) -> Option<Arc<Object>> {
        match resolve(self.lookup, kind, reference, Some(self.object)) {
            Resolution::Found(object) => Some(object),
            Resolution::Missing => None,
            Resolution::Ambiguous(objects) => {
                let titles: Vec<String> = objects.iter().map(|object| full_name(object)).collect();
                let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
                self.found.push(
                    Diagnostic::new(Code::Ambiguous, format!("`{reference}` fits several: {}", titles.join(", ")))
                        .at(self.object.path(path))
                        .help("say which one: instance/name, name@version, or {uid: ...}"),
                );
                None
            }
        }
    }

    fn parameters(&mut self, rules: &Rules, values: &crate::connector::Values, path: &str) {
        let filled = secret::fill(&Value::Object(values.clone()), &mut |reference| (self.reveal)(reference));
        if let Some(schema) = &rules.schema {
            self.found.extend(filled.validate(schema, &self.object.path(path)));
        }
        if let Some(known) = &rules.known {
            let unused = schema::unused(known, &filled.value, &self.object.path(path));
            let told = |one: Diagnostic| Diagnostic { message: format!("{} for the component", one.message), ..one };
            self.found.extend(unused.into_iter().map(told));
        }
    }

    fn class(&mut self, spec: &ClassSpec) {
        if let Some(needed) = spec.min_service_domain_version.as_deref().filter(|v| !v.is_empty())
            && version::compare(needed, SERVICE_DOMAIN_VERSION).is_gt()
        {
            let message = format!("needs service domain {needed}, and this is {SERVICE_DOMAIN_VERSION}");
            self.found.push(
                Diagnostic::new(Code::ServiceDomainTooOld, message).at(self.object.path("minServiceDomainVersion")),
            );
        }
    }

    fn instance(&mut self, spec: &InstanceSpec) {
        if let Some(class) = self.find(Kind::Class, &spec.class, "class") {
            let (schemas, _) = schemas_of(self.lookup, &class);
            self.parameters(&schemas.static_parameters, &spec.static_parameters, "static");
        }
    }

    /// The class of an instance, and the instance.
    fn class_of(&mut self, instance: &Ref) -> Option<Arc<Object>> {
        let instance = self.find(Kind::Instance, instance, "instance")?;
        let spec: InstanceSpec = instance.typed().ok()?;
        resolve(self.lookup, Kind::Class, &spec.class, Some(&instance)).found()
    }

    fn config(&mut self, spec: &ConfigSpec) {
        if let Some(class) = self.class_of(&spec.instance) {
            let (schemas, _) = schemas_of(self.lookup, &class);
            self.parameters(&schemas.config, &spec.parameters, "parameters");
        }
        self.labels("serviceDomainSelectors", &spec.service_domain_selectors);
    }

    fn stream(&mut self, spec: &StreamSpec) {
        self.labels("labels", &spec.labels);
        self.labels("serviceDomainSelectors", &spec.service_domain_selectors);
        if let Some(class) = self.class_of(&spec.instance) {
            let (schemas, description) = schemas_of(self.lookup, &class);
            self.direction(&class, description.as_ref(), spec.direction, "direction");
            self.parameters(&schemas.stream, &spec.parameters, "parameters");
        }
    }

    fn direction(&mut self, class: &Object, description: Option<&Description>, wanted: StreamDirection, path: &str) {
        let Ok(spec) = class.typed::<ClassSpec>() else { return };
        let offered = match (spec.class_type, description) {
            (Some(class_type), _) if class_type.allows(wanted) => return,
            (Some(class_type), _) => class_type.name().to_owned(),
            (None, None) => return,
            (None, Some(description)) => {
                let names: Vec<&str> = description
                    .directions
                    .iter()
                    .map(|direction| match direction {
                        crate::component::Direction::Ingress => "INGRESS",
                        crate::component::Direction::Egress => "EGRESS",
                        crate::component::Direction::Transform => "a function",
                    })
                    .collect();
                if names.contains(&wanted.name()) {
                    return;
                }
                one_of(&names)
            }
        };
        let title = class.title();
        let message = format!("{title} is {offered} and has no {} streams", wanted.name());
        // The direction of what a pipeline implies is that of its place, which has no field.
        let implied = self.object.kind == Kind::Pipeline
            || self.object.metadata.owner_references.iter().any(|owner| owner.kind == Kind::Pipeline);
        let (found, help) = if implied {
            (class.name(), format!("name a class with {} streams here", wanted.name()))
        } else {
            (wanted.name(), "use the other direction, or another class".to_owned())
        };
        self.found.push(
            Diagnostic::new(Code::DirectionNotAllowed, message).at(self.object.path(path)).found(found).help(help),
        );
    }

    fn labels(&mut self, path: &str, labels: &Labels) {
        for (index, label) in labels.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.label(&label.category, &label.value, &path, "value");
        }
    }

    fn label(&mut self, category: &Ref, value: &str, path: &str, field: &str) {
        let Some(category) = self.find(Kind::Category, category, path) else { return };
        let values: Vec<&str> = category.spec["values"]
            .as_array()
            .map(|values| values.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        if !values.contains(&value) {
            let help = match suggestion(value, values.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its values are {}", values.join(", ")),
            };
            let path = if field.is_empty() { path.to_owned() } else { member(path, field) };
            self.found.push(
                Diagnostic::new(Code::UnknownLabel, format!("category {} has no value `{value}`", category.name()))
                    .at(self.object.path(&path))
                    .help(help),
            );
        }
    }

    fn pipeline(&mut self, spec: &PipelineSpec) {
        for (name, values) in &spec.selectors {
            for (index, value) in values.iter().enumerate() {
                let path = format!("{}[{index}]", member("selectors", name));
                self.label(&Ref::parse(name), value, &path, "");
            }
        }
        for (path, used) in spec.uses() {
            let wanted = if path == "source" { StreamDirection::Ingress } else { StreamDirection::Egress };
            match used {
                StreamUse::Inline(inline) => self.inline(inline, wanted, &path),
                StreamUse::Stream(reference) => self.end(reference, wanted, &path),
            }
        }
        for (index, (step, name)) in spec.functions.iter().zip(spec.step_names()).enumerate() {
            let implied = Ref::name(format!("{}-{name}", self.object.name()));
            let reference = step.function.as_ref().unwrap_or(&implied);
            let path = format!("functions[{index}]");
            if let Some(function) = self.find(Kind::Function, reference, &format!("{path}.function")) {
                let (schemas, _) = schemas_of(self.lookup, &function);
                let mut args = function.typed::<FunctionSpec>().map(|spec| spec.args).unwrap_or_default();
                args.extend(step.args.clone());
                self.parameters(&schemas.stream, &args, &format!("{path}.args"));
            }
        }
        self.loops(spec);
    }

    fn inline(&mut self, inline: &Inline, wanted: StreamDirection, path: &str) {
        let implied = Ref::name(format!("{}-{}", self.object.name(), path.strip_prefix("routes.").unwrap_or(path)));
        let reference = inline.class.as_ref().unwrap_or(&implied);
        let Some(class) = self.find(Kind::Class, reference, &format!("{path}.class")) else { return };
        let (schemas, description) = schemas_of(self.lookup, &class);
        self.direction(&class, description.as_ref(), wanted, &format!("{path}.class"));
        self.parameters(&schemas.stream, &inline.parameters, &format!("{path}.parameters"));
        self.parameters(&schemas.static_parameters, &inline.static_parameters, &format!("{path}.static"));
        if !inline.config.is_empty() {
            self.parameters(&schemas.config, &inline.config, &format!("{path}.config"));
        }
    }

    fn end(&mut self, reference: &Ref, wanted: StreamDirection, path: &str) {
        let Some(stream) = self.find(Kind::Stream, reference, path) else { return };
        let direction = stream.spec["direction"].as_str().unwrap_or_default();
        if !direction.eq_ignore_ascii_case(wanted.name()) {
            let message = format!("{} is {direction}, and {} is needed", stream.title(), wanted.name());
            self.found.push(Diagnostic::new(Code::DirectionNotAllowed, message).at(self.object.path(path)));
        }
    }

    fn loops(&mut self, spec: &PipelineSpec) {
        let mut seen = BTreeSet::from([self.object.identity()]);
        let mut way = vec![self.object.name().to_owned()];
        let mut next = spec.input_pipeline.clone();
        while let Some(reference) = next {
            let Some(pipeline) = resolve(self.lookup, Kind::Pipeline, &reference, Some(self.object)).found() else {
                return;
            };
            way.push(pipeline.name().to_owned());
            let itself = !self.object.uid().is_unset() && pipeline.uid() == self.object.uid();
            if itself || !seen.insert(pipeline.identity()) {
                self.found.push(
                    Diagnostic::new(Code::PipelineLoop, way.join(" reads ")).at(self.object.path("inputPipeline")),
                );
                return;
            }
            next = pipeline.typed::<PipelineSpec>().ok().and_then(|spec| spec.input_pipeline);
        }
    }
}

fn full_name(object: &Object) -> String {
    match object.instance_ref() {
        Some(instance) if object.kind.is_in_instance() => {
            format!("{} {instance}/{}", object.kind.nouns()[0], object.name())
        }
        _ => object.title(),
    }
}

#[cfg(test)]
mod tests;
