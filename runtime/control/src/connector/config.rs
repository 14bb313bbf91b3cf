//! The configs of an instance, merged.

use ferrule_model::connector::{ConfigSpec, Values};
use ferrule_model::{Kind, Object};

use crate::finding::Problem;
use crate::site::{Placement, Site};
use crate::snapshot::{Snapshot, spec};

/// The instance of a config.
pub(crate) fn instance_of<'a>(snapshot: &'a Snapshot, config: &Object) -> Result<&'a Object, Problem> {
    let read: ConfigSpec = spec(config)?;
    snapshot.find(Kind::Instance, &read.instance, &snapshot.project(config)).map(|instance| &**instance)
}

/// The values in force for `instance` at this site: its configs in order of their names, a later one over an earlier one.
pub(crate) fn merged(snapshot: &Snapshot, site: &Site, instance: &Object) -> Values {
    let mut values = Values::new();
    for config in snapshot.of(Kind::Config) {
        let Ok(read) = spec::<ConfigSpec>(config) else { continue };
        let placement = Placement {
            only: &read.service_domains,
            except: &read.exclude_service_domains,
            selectors: &read.service_domain_selectors,
        };
        if instance_of(snapshot, config).is_ok_and(|of| of.uid() == instance.uid()) && site.runs(snapshot, &placement) {
            values.extend(read.parameters);
        }
    }
    values
}
