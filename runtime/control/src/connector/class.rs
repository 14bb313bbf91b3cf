//! A connector class: which component does its work.

use ferrule_model::component::Direction;
use ferrule_model::connector::{ClassSpec, StreamDirection, Values};
use ferrule_model::{Code, Form, Object};
use serde_json::Value;

use crate::component::{Pins, Wish, choose};
use crate::finding::Problem;
use crate::site::Site;
use crate::snapshot::{Snapshot, spec};
use crate::wanted::Chosen;

/// A class as its streams see it.
pub(crate) struct Class<'a> {
    pub(crate) object: &'a Object,
    pub(crate) spec: ClassSpec,
}

impl<'a> Class<'a> {
    pub(crate) fn read(object: &'a Object, site: &Site) -> Result<Self, Problem> {
        let spec: ClassSpec = spec(object)?;
        site.is_new_enough(object.name(), spec.min_service_domain_version.as_deref())?;
        Ok(Self { object, spec })
    }

    /// The component for an instance with these static parameters, or, without any, for the class as such.
    ///
    /// The class's `component` may have templates (`mqtt@{static.tag}`), and an instance may name another component.
    /// A KPS class names none: the component of its name does the work, in the version that the parameter in the place of
    /// the container's image tag names, else the class's version, else the latest.
    pub(crate) fn component(
        &self,
        snapshot: &Snapshot,
        instance: Option<(&str, &Values)>,
        direction: Option<StreamDirection>,
        pins: &mut Pins,
    ) -> Result<Chosen, Problem> {
        let empty = Values::new();
        let (own, values) = match instance {
            Some((own, values)) => (Some(own).filter(|own| !own.is_empty()), values),
            None => (None, &empty),
        };
        let asked = own.or(self.spec.component.as_deref());
        let filled = asked.map(|text| fill(text, values)).transpose()?;
        let mut prefer = Vec::new();
        if asked.is_none() && !self.object.form.is_native() {
            prefer.extend(self.spec.yaml_data.as_deref().and_then(|yaml| image_tag(yaml, values)));
        }
        if asked.is_none() {
            prefer.extend(self.spec.version.clone());
        }
        let wish = Wish {
            title: self.object.title(),
            name: self.object.name(),
            component: filled.as_deref(),
            prefer,
            without: matches!(self.object.form, Form::Kps { .. })
                .then(|| "A KPS class describes a container; here a component does its work.".to_owned()),
            direction: direction.map(|direction| match direction {
                StreamDirection::Ingress => Direction::Ingress,
                StreamDirection::Egress => Direction::Egress,
            }),
        };
        choose(snapshot, &wish, pins)
    }

    /// Whether streams may go this way.
    pub(crate) fn allows(&self, direction: StreamDirection) -> Result<(), Problem> {
        match self.spec.class_type {
            Some(class_type) if !class_type.allows(direction) => Err(Problem::new(
                "DirectionNotAllowed",
                Code::DirectionNotAllowed,
                format!(
                    "class {} is {}, so it has no {} streams",
                    self.object.name(),
                    class_type.name(),
                    direction.name()
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// Whether the choice depends on the instance.
pub(crate) fn is_template(class: &ClassSpec) -> bool {
    class.component.as_deref().is_some_and(|text| text.contains('{'))
}

/// Fills `{static.name}` in.
fn fill(text: &str, values: &Values) -> Result<String, Problem> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let bad = |why: String| {
            Problem::new("ComponentMissing", Code::CapabilityUnfilled, format!("component `{text}`: {why}"))
        };
        let Some(end) = rest[start..].find('}') else { return Err(bad("`{` is not closed".to_owned())) };
        let name = &rest[start + 1..start + end];
        let key = name.strip_prefix("static.").unwrap_or(name);
        let value = match values.get(key) {
            Some(Value::String(value)) => value.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => return Err(bad(format!("the instance has no static parameter `{key}` to put in"))),
        };
        filled.push_str(&rest[..start]);
        filled.push_str(&value);
        rest = &rest[start + end + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The value of the static parameter that a KPS template puts in the place of the image tag:
/// `image: registry/name:{{.Parameters.image_tag}}`.
fn image_tag(yaml: &str, values: &Values) -> Option<String> {
    let line = yaml.lines().map(str::trim).find(|line| line.trim_start_matches("- ").starts_with("image:"))?;
    let action = line.rsplit_once(":{{").or_else(|| line.rsplit_once(": {{"))?.1;
    let name = action.split("}}").next()?.trim().strip_prefix(".Parameters.")?;
    values.get(name)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(value: Value) -> Values {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn the_image_tag_is_found() {
        let values = values(json!({"image_tag": "v2", "n": 1}));
        for (yaml, tag) in [
            ("a:\n  - image: registry.example/thermo:{{.Parameters.image_tag}}\n", Some("v2")),
            ("image: thermo:{{ .Parameters.image_tag }}", Some("v2")),
            ("image: thermo:v1", None),
            ("image: thermo:{{.Parameters.other}}", None),
            ("imagePullPolicy: Always", None),
        ] {
            assert_eq!(image_tag(yaml, &values).as_deref(), tag, "{yaml}");
        }
    }

    #[test]
    fn templates_take_static_parameters() {
        let values = values(json!({"tag": "1.2", "n": 3}));
        assert_eq!(fill("mqtt@{static.tag}", &values).unwrap(), "mqtt@1.2");
        assert_eq!(fill("mqtt@{n}", &values).unwrap(), "mqtt@3");
        assert!(fill("mqtt@{other}", &values).is_err());
        assert!(fill("mqtt@{tag", &values).is_err());
    }
}
