//! What the operator granted to whom.

use ferrule_model::capability::{self, Ability, AbilityKind, HostPattern, Target};
use ferrule_model::component::Description;
use ferrule_model::connector::GrantSpec;
use ferrule_model::{Code, Kind, Object, Ref};
use serde_json::Value;

use crate::finding::{Finding, Problem};
use crate::snapshot::{Snapshot, spec};

/// The condition type that says whether everything that a component asks for is granted.
pub(crate) const GRANTED: &str = "Granted";

/// Whoever wants to reach something.
#[derive(Default)]
pub(crate) struct Asker<'a> {
    pub(crate) project: &'a str,
    pub(crate) class: Option<&'a Object>,
    pub(crate) instance: Option<&'a Object>,
    pub(crate) stream: Option<&'a Object>,
    pub(crate) function: Option<&'a Object>,
}

/// What a session gets, and what it asks for in vain.
pub(crate) struct Reach {
    pub(crate) abilities: Vec<Ability>,
    pub(crate) unmet: Vec<Ability>,
}

pub(crate) fn reach(
    snapshot: &Snapshot,
    asker: &Asker<'_>,
    description: &Description,
    static_parameters: &Value,
    parameters: &Value,
) -> Reach {
    let mut granted = Vec::new();
    for grant in snapshot.of(Kind::Grant) {
        if let Ok(spec) = read(grant)
            && asker.fits(snapshot, grant, &spec)
        {
            granted.extend(spec.allow);
        }
    }
    let asked = &description.capabilities;
    Reach {
        abilities: capability::effective(asked, &granted, static_parameters, parameters),
        unmet: capability::unmet(asked, &granted, static_parameters, parameters),
    }
}

/// The grant, its entries checked as far as that goes without parameters.
pub(crate) fn read(grant: &Object) -> Result<GrantSpec, Problem> {
    let spec: GrantSpec = spec(grant)?;
    for (index, entry) in spec.allow.iter().enumerate() {
        entry
            .check()
            .map_err(|error| Problem::new("Malformed", Code::BadGrantEntry, format!("spec.allow[{index}]: {error}")))?;
    }
    Ok(spec)
}

impl Asker<'_> {
    /// Whether a grant is for this asker: everything that it names fits. A grant that names nobody is for nobody; one in a
    /// project is for that project, one in none for all.
    fn fits(&self, snapshot: &Snapshot, grant: &Object, spec: &GrantSpec) -> bool {
        let named = [
            (&spec.class, Kind::Class, self.class),
            (&spec.instance, Kind::Instance, self.instance),
            (&spec.stream, Kind::Stream, self.stream),
            (&spec.function, Kind::Function, self.function),
        ];
        let project = snapshot.project(grant);
        (project.is_empty() || project == self.project)
            && named.iter().any(|(reference, ..)| reference.is_some())
            && named.iter().all(|(reference, kind, object)| match (reference, object) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(reference), Some(object)) => self.means(snapshot, reference, *kind, object),
            })
    }

    fn means(&self, snapshot: &Snapshot, reference: &Ref, kind: Kind, object: &Object) -> bool {
        let own = snapshot.project(object);
        snapshot.candidates(kind, reference, &own).iter().any(|found| found.uid() == object.uid())
    }
}

/// The page about an ability that is missing.
fn denied(ability: Option<&Ability>) -> Code {
    let Some(ability) = ability else { return Code::NetDenied };
    match (ability.kind, &ability.target) {
        (AbilityKind::Read | AbilityKind::Write, _) => Code::FileDenied,
        (AbilityKind::Listen, _) => Code::ListenDenied,
        (_, Target::Host { host: HostPattern::Exact(host), .. }) if host.is_special() => Code::LoopbackDenied,
        _ => Code::NetDenied,
    }
}

/// What to say when something that is asked for is not granted: what to write where.
pub(crate) fn finding(reach: &Reach, description: &Description, kind: Kind, name: &str) -> Finding {
    if reach.unmet.is_empty() {
        let list: Vec<_> = reach.abilities.iter().map(ToString::to_string).collect();
        let message = if list.is_empty() { "it asks for nothing".to_owned() } else { list.join(", ") };
        return Finding::new(GRANTED, true, "Granted", message);
    }
    let asked: Vec<_> = reach.unmet.iter().map(ToString::to_string).collect();
    let reasons: Vec<_> = description
        .capabilities
        .iter()
        .map(|capability| capability.reason.as_str())
        .filter(|reason| !reason.is_empty())
        .collect();
    let code = denied(reach.unmet.first());
    let lines: Vec<_> = reach
        .unmet
        .iter()
        .map(|ability| serde_json::to_string(&ability.allowance()).unwrap_or_else(|_| ability.to_string()))
        .collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" (for: {})", reasons.join("; ")) };
    let message = format!(
        "{name} asks for {}{why}, and no grant gives it. To allow it, apply a document of kind Grant with spec: {{{}: {name}, allow: [{}]}}",
        asked.join(", "),
        kind.nouns()[0],
        lines.join(", ")
    );
    Finding::new(GRANTED, false, "NotGranted", format!("{message} ({code})"))
}
