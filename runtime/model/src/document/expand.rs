//! What a short document implies: the class, instance, config and stream of a pipeline's inline source and sinks, and the function of
//! a step that names a component.

use serde_json::Value;

use crate::{
    Kind, Object, Ref, Uid,
    connector::{
        ClassSpec, ConfigSpec, FunctionSpec, Inline, InstanceSpec, PipelineSpec, StreamDirection, StreamSpec,
        StreamUse, Values,
    },
    object::SpecError,
};

/// Adds the objects that pipelines imply, each owned by its pipeline and before it, and puts references in their place.
/// Other objects stay as they are. Doing it again changes nothing.
///
/// A pipeline `hello` with an inline source gets the instance and stream `hello-source`; `-sink` and `-<route>` likewise; the
/// function of a step is named `hello-<step>`. Where the pipeline has a uid, theirs are derived from it.
pub fn expand(objects: Vec<Object>) -> Result<Vec<Object>, SpecError> {
    let mut out = Vec::with_capacity(objects.len());
    for object in objects {
        if object.kind == Kind::Pipeline {
            pipeline(object, &mut out)?;
        } else {
            out.push(object);
        }
    }
    Ok(out)
}

fn pipeline(mut object: Object, out: &mut Vec<Object>) -> Result<(), SpecError> {
    let mut spec: PipelineSpec = object.typed()?;
    let mut changed = false;
    let step_names = spec.step_names();
    let ends =
        [("source", StreamDirection::Ingress, &mut spec.source), ("sink", StreamDirection::Egress, &mut spec.sink)];
    for (word, direction, used) in ends {
        if let Some(used) = used {
            changed |= stream(&object, &spec.project, word, direction, used, out)?;
        }
    }
    for (route, used) in &mut spec.routes {
        changed |= stream(&object, &spec.project, route, StreamDirection::Egress, used, out)?;
    }
    for (step, name) in spec.functions.iter_mut().zip(step_names) {
        let Some(component) = step.component.take() else { continue };
        changed = true;
        let function =
            FunctionSpec { component: Some(component), project: spec.project.clone(), ..FunctionSpec::default() };
        let function = implied(&object, Kind::Function, &name, function)?;
        step.function = Some(Ref::name(function.name()));
        step.name.get_or_insert(name);
        out.push(function);
    }
    if changed {
        object.set_spec(&spec)?;
    }
    out.push(object);
    Ok(())
}

/// Adds the objects of an inline stream, and refers to it. Whether there was one.
fn stream(
    pipeline: &Object,
    project: &Option<Ref>,
    word: &str,
    direction: StreamDirection,
    used: &mut StreamUse,
    out: &mut Vec<Object>,
) -> Result<bool, SpecError> {
    let StreamUse::Inline(inline) = used else {
        return Ok(false);
    };
    let Inline { class, component, static_parameters, config, parameters, labels, limits, log } = (**inline).clone();
    let class = match (class, component) {
        (Some(class), _) => class,
        (None, component) => {
            let class = ClassSpec { component, ..ClassSpec::default() };
            let class = implied(pipeline, Kind::Class, word, class)?;
            let reference = Ref::name(class.name());
            out.push(class);
            reference
        }
    };
    let instance =
        InstanceSpec { description: None, class, project: project.clone(), static_parameters, component: None };
    let instance = implied(pipeline, Kind::Instance, word, instance)?;
    let to_instance = Ref::name(instance.name());
    out.push(instance);
    if !config.is_empty() {
        let config = ConfigSpec {
            description: None,
            instance: to_instance.clone(),
            parameters: config,
            service_domains: Vec::new(),
            exclude_service_domains: Vec::new(),
            service_domain_selectors: Default::default(),
        };
        out.push(implied(pipeline, Kind::Config, word, config)?);
    }
    let stream = StreamSpec {
        description: None,
        instance: to_instance.clone(),
        direction,
        labels,
        parameters,
        service_domains: Vec::new(),
        exclude_service_domains: Vec::new(),
        service_domain_selectors: Default::default(),
        paused: false,
        limits,
        log,
    };
    let stream = implied(pipeline, Kind::Stream, word, stream)?;
    *used = StreamUse::Stream(Ref::Name {
        parent: Some(to_instance.to_string()),
        name: stream.name().to_owned(),
        version: None,
    });
    out.push(stream);
    Ok(true)
}

/// Where the document of the pipeline that implies an object says what stands at `path` in the object: `spec.parameters` of the
/// stream `hello-source` is `spec.source.parameters` of the pipeline `hello`. None for objects that have a document of their own,
/// and for functions, whose place is the number of their step.
pub fn place_in_pipeline(object: &Object, path: &str) -> Option<String> {
    let owner = object.metadata.owner_references.iter().find(|owner| owner.kind == Kind::Pipeline)?;
    let word = object.name().strip_prefix(&owner.name)?.strip_prefix('-')?;
    let rest = path.strip_prefix("spec.")?;
    let end = if matches!(word, "source" | "sink") { word.to_owned() } else { format!("routes.{word}") };
    match object.kind {
        // The direction is what the place in the pipeline says; what can be wrong is the class.
        Kind::Stream if rest == "direction" => Some(format!("spec.{end}.class")),
        Kind::Stream | Kind::Instance | Kind::Class => Some(format!("spec.{end}.{rest}")),
        Kind::Config => Some(format!("spec.{end}.config{}", rest.strip_prefix("parameters")?)),
        _ => None,
    }
}

/// An object that exists on account of a pipeline.
fn implied(pipeline: &Object, kind: Kind, word: &str, spec: impl serde::Serialize) -> Result<Object, SpecError> {
    let mut object = Object::new(kind, format!("{}-{word}", pipeline.name()), spec)?;
    if !pipeline.metadata.uid.is_unset() {
        object.metadata.uid = Uid::derived(&pipeline.metadata.uid, &format!("{kind} {word}"));
    }
    if kind.is_in_project() {
        object.metadata.namespace.clone_from(&pipeline.metadata.namespace);
    }
    object.metadata.owner_references = vec![pipeline.as_owner()];
    if object.spec.is_null() {
        object.spec = Value::Object(Values::new());
    }
    Ok(object)
}
