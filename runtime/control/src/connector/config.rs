//! The configs of instances, merged.

use std::collections::HashMap;

use ferrule_model::connector::{ConfigSpec, Values};
use ferrule_model::{Kind, Object, Uid};

use crate::finding::Problem;
use crate::site::{Placement, Site};
use crate::snapshot::{Snapshot, spec};

/// The values in force, by instance.
#[derive(Default)]
pub(crate) struct Configs(HashMap<Uid, Values>);

impl Configs {
    /// Merges the configs of each instance that hold at this site, in order of their names: a later one over an earlier one.
    pub(crate) fn merge(snapshot: &Snapshot, site: &Site) -> Self {
        let mut merged: HashMap<Uid, Values> = HashMap::new();
        for config in snapshot.of(Kind::Config) {
            let Ok(read) = spec::<ConfigSpec>(config) else { continue };
            let placement = Placement {
                only: &read.service_domains,
                except: &read.exclude_service_domains,
                selectors: &read.service_domain_selectors,
            };
            if site.runs(snapshot, &placement)
                && let Ok(instance) = instance_of(snapshot, config)
            {
                merged.entry(instance.uid().clone()).or_default().extend(read.parameters);
            }
        }
        Self(merged)
    }

    /// The values in force for an instance.
    pub(crate) fn of(&self, instance: &Uid) -> Values {
        self.0.get(instance).cloned().unwrap_or_default()
    }
}

/// The instance of a config.
pub(crate) fn instance_of<'a>(snapshot: &'a Snapshot, config: &Object) -> Result<&'a Object, Problem> {
    let read: ConfigSpec = spec(config)?;
    snapshot.find(Kind::Instance, &read.instance, &snapshot.project(config)).map(|instance| &**instance)
}
