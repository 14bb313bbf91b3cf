//! An instance: its class, and its parameters.

use ferrule_model::connector::{InstanceSpec, StreamDirection};
use ferrule_model::secret::Filled;
use ferrule_model::{Kind, Object, Ref};

use super::class::Class;
use super::config::Configs;
use super::parameters;
use crate::component::{Pins, pins_of};
use crate::finding::Problem;
use crate::secrets;
use crate::site::Site;
use crate::snapshot::{Snapshot, spec};
use crate::version;
use crate::wanted::Chosen;

/// An instance as its streams see it.
pub(crate) struct Instance<'a> {
    pub(crate) object: &'a Object,
    pub(crate) spec: InstanceSpec,
    pub(crate) class: Class<'a>,
    /// Its static parameters as they are meant.
    pub(crate) static_parameters: Filled,
    /// Its configs, merged, as they are meant.
    pub(crate) config: Filled,
    /// What was chosen where the documents leave a choice.
    pub(crate) pins: Pins,
}

impl<'a> Instance<'a> {
    pub(crate) fn read(
        snapshot: &'a Snapshot,
        site: &Site,
        configs: &Configs,
        object: &'a Object,
    ) -> Result<Self, Problem> {
        let spec: InstanceSpec = spec(object)?;
        if let Some(project @ Ref::Uid(_)) = &spec.project {
            snapshot.find(Kind::Project, project, "")?;
        }
        let mut pins = pins_of(object);
        let class = Class::read(version::find(snapshot, Kind::Class, &spec.class, "", &mut pins)?, site)?;
        let fill = |place: &str, values| secrets::fill(snapshot, &site.vault, object, place, values);
        let static_parameters = fill("static", &spec.static_parameters)?;
        let config = fill("config", &configs.of(object.uid()))?;
        Ok(Self { object, spec, class, static_parameters, config, pins })
    }

    /// The component for streams that go this way, after the instance's own parameters were checked against its schemas.
    pub(crate) fn component(
        &mut self,
        snapshot: &Snapshot,
        direction: Option<StreamDirection>,
    ) -> Result<Chosen, Problem> {
        let own = self.spec.component.as_deref().unwrap_or_default();
        let chosen =
            self.class.component(snapshot, Some((own, &self.spec.static_parameters)), direction, &mut self.pins)?;
        let (class, description) = (&self.class.spec, &chosen.description);
        let (document, name) = (Some(self.class.object), self.object.name());
        let static_schema = parameters::schema(document, class.static_schema.as_ref(), description, "static")?;
        parameters::check(&format!("instance {name}: static"), &self.static_parameters, static_schema.as_ref())?;
        let config_schema = parameters::schema(document, class.config_schema.as_ref(), description, "config")?;
        if self.config.value.as_object().is_some_and(|config| !config.is_empty()) {
            parameters::check(&format!("config of instance {name}: parameters"), &self.config, config_schema.as_ref())?;
        }
        Ok(chosen)
    }
}
