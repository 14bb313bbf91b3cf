//! Which version of a class or function a reference means.

use ferrule_model::lookup::{by_preference, moved};
use ferrule_model::{Kind, Object, Ref, version};

use crate::component::Pins;
use crate::finding::Problem;
use crate::snapshot::Snapshot;

/// What a reference from within `project` means. Where several versions fit: the one that the users of the name were moved to, else
/// the one that this reference was first resolved to, else the latest.
pub(crate) fn find<'a>(
    snapshot: &'a Snapshot,
    kind: Kind,
    reference: &Ref,
    project: &str,
    pins: &mut Pins,
) -> Result<&'a Object, Problem> {
    let only = || snapshot.find(kind, reference, project).map(|object| &**object);
    if !matches!(reference, Ref::Name { version: None, .. }) {
        return only();
    }
    let mut found = snapshot.candidates(kind, reference, project);
    found.sort_by(|a, b| by_preference(a, b));
    let mut versions: Vec<_> = found.iter().map(|object| object.version().unwrap_or_default()).collect();
    versions.sort_by(|a, b| version::compare(a, b));
    let Some(last) = found.last() else { return only() };
    if versions.is_sorted_by(|a, b| !version::same(a, b)) {
        let choice = format!("{} {reference}", kind.nouns()[0]);
        let pinned = pins.get(&choice).and_then(|uid| found.iter().find(|object| object.uid().as_str() == uid));
        let chosen = pinned.filter(|_| moved(last) == 0).unwrap_or(last);
        pins.insert(choice, chosen.uid().to_string());
        return Ok(chosen);
    }
    // Nothing tells two of one version apart.
    only()
}
