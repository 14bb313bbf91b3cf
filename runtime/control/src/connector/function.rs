//! A function: which component does its work.

use ferrule_model::Object;
use ferrule_model::component::Direction;
use ferrule_model::connector::FunctionSpec;

use crate::component::{Pins, Wish, choose};
use crate::finding::Problem;
use crate::snapshot::{Snapshot, spec};
use crate::wanted::Chosen;

/// A function as pipelines see it.
pub(crate) struct Function<'a> {
    pub(crate) object: &'a Object,
    pub(crate) spec: FunctionSpec,
}

impl<'a> Function<'a> {
    pub(crate) fn read(object: &'a Object) -> Result<Self, Problem> {
        Ok(Self { object, spec: spec(object)? })
    }

    pub(crate) fn component(&self, snapshot: &Snapshot, pins: &mut Pins) -> Result<Chosen, Problem> {
        let without = self.spec.language.map(|language| {
            format!(
                "It is a {} script, and nothing that runs such scripts is registered.",
                format!("{language:?}").to_lowercase()
            )
        });
        let wish = Wish {
            title: self.object.title(),
            name: self.object.name(),
            component: self.spec.component.as_deref(),
            prefer: self.spec.version.iter().filter(|_| self.spec.component.is_none()).cloned().collect(),
            without,
            direction: Some(Direction::Transform),
        };
        choose(snapshot, &wish, pins)
    }
}
