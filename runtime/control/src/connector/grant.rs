//! What the operator granted and denied to whom.

use ferrule_model::capability::{self, Ability, AbilityKind, Allowance, Given, HostPattern, Range, Rules, Target};
use ferrule_model::component::{Capability, Description, Direction};
use ferrule_model::connector::{GrantSpec, Limits};
use ferrule_model::redact::Redactor;
use ferrule_model::secret::Filled;
use ferrule_model::{Code, Kind, Object, Ref};
use serde_json::{Value, json};

use crate::component::{Pins, Wish, choose};
use crate::finding::{Finding, Problem};
use crate::site::Site;
use crate::snapshot::{Snapshot, spec};
use crate::wanted::Chosen;

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

/// What the asker gets of what the component asks for.
pub(crate) fn given(
    snapshot: &Snapshot,
    site: &Site,
    asker: &Asker<'_>,
    description: &Description,
    parameters: &Parameters<'_>,
) -> Given {
    let mut granted = Vec::new();
    let mut denied = site.deny.clone();
    for grant in snapshot.of(Kind::Grant) {
        if let Ok(spec) = read(grant)
            && asker.fits(snapshot, grant, &spec)
        {
            granted.extend(spec.allow);
            denied.extend(spec.deny);
        }
    }
    if site.learn {
        // In the words of the parameters, so that this machine is open too.
        let asked = description.capabilities.iter();
        let fill = |asked: &Capability| {
            let (static_parameters, of_stream) = parameters.fill(asked.kind == AbilityKind::Secret.as_str());
            capability::fill(asked, static_parameters, of_stream).ok()
        };
        granted.extend(asked.filter_map(fill).flatten().map(|ability| ability.allowance()));
    }
    let [secrets, others] = [true, false].map(|is_secret| {
        let of = |kind: &str| (kind == AbilityKind::Secret.as_str()) == is_secret;
        let entries = |all: &[Allowance]| -> Vec<Allowance> {
            all.iter().filter(|entry| of(entry.kind.as_str())).cloned().collect()
        };
        let asked: Vec<_> = description.capabilities.iter().filter(|asked| of(&asked.kind)).cloned().collect();
        let (static_parameters, of_stream) = parameters.fill(is_secret);
        capability::given(&asked, &entries(&granted), &entries(&denied), static_parameters, of_stream)
    });
    others.and(secrets)
}

/// The parameters of a session, with which templates are filled: as they are meant, but for secrets as they are written, because
/// these are granted by their names.
pub(crate) struct Parameters<'a> {
    static_parameters: [&'a Value; 2],
    of_stream: [&'a Value; 2],
}

impl<'a> Parameters<'a> {
    pub(crate) fn new(static_parameters: &'a Filled, of_stream: &'a Filled) -> Self {
        Self {
            static_parameters: [&static_parameters.value, &static_parameters.written],
            of_stream: [&of_stream.value, &of_stream.written],
        }
    }

    fn fill(&self, written: bool) -> (&'a Value, &'a Value) {
        let which = usize::from(written);
        (self.static_parameters[which], self.of_stream[which])
    }
}

/// What the asker may use: what grants say, over what its documents say.
pub(crate) fn limits(snapshot: &Snapshot, asker: &Asker<'_>, own: Option<Limits>, of_class: Option<Limits>) -> Limits {
    let mut granted = Limits::default();
    for grant in snapshot.of(Kind::Grant) {
        if let Ok(spec) = read(grant)
            && let Some(limits) = spec.limits
            && asker.fits(snapshot, grant, &spec)
        {
            granted = granted.smaller(limits);
        }
    }
    granted.over(own.unwrap_or_default()).over(of_class.unwrap_or_default())
}

/// What is in force, and what is asked for and is not, with the entry that would grant it: for `status.details`.
pub(crate) fn in_force(given: &Given, redactor: &Redactor) -> Value {
    let list = |all: &[Ability]| all.iter().map(|one| redactor.mask_owned(one.to_string())).collect::<Vec<_>>();
    let mut details = serde_json::Map::new();
    details.insert("allowed".to_owned(), json!(list(&given.rules.allowed)));
    if !given.rules.denied.is_empty() {
        details.insert("except".to_owned(), json!(list(&given.rules.denied)));
    }
    if !given.missing.is_empty() {
        let entries: Vec<_> = given.missing.iter().map(Ability::allowance).collect();
        details.insert("notGranted".to_owned(), json!(entries));
    }
    if !given.denied.is_empty() {
        let denied: Vec<_> = given.denied.iter().map(|(what, by)| format!("{what}, by `{by}`")).collect();
        details.insert("denied".to_owned(), json!(denied));
    }
    Value::Object(details)
}

/// The note on a class or function with the digest of the component that it had before.
pub const COMPONENT_BEFORE: &str = "ferrule.dev/component-before";

/// What works on while a new version asks for more than is granted: the component before it, if all that it asks for is.
pub(crate) fn held_back(
    snapshot: &Snapshot,
    owner: &Object,
    now: &Chosen,
    direction: Option<Direction>,
    given: impl FnOnce(&Description) -> Given,
) -> Option<(Chosen, Given)> {
    let digest = owner.metadata.annotations.get(COMPONENT_BEFORE).filter(|digest| **digest != now.digest)?;
    let wish = Wish {
        title: owner.title(),
        name: owner.name(),
        component: Some(digest),
        prefer: Vec::new(),
        without: None,
        direction,
    };
    let before = choose(snapshot, &wish, &mut Pins::new()).ok()?;
    let given = given(&before.description);
    given.missing.is_empty().then_some((before, given))
}

/// What to say of a version that is held.
pub(crate) fn held(new: &Chosen, before: &Chosen, missing: Finding) -> Finding {
    let message = format!(
        "version {} is held, because it asks for more than is granted, and {} works on. {}",
        new.version, before.version, missing.message
    );
    Finding::new(GRANTED, false, "Held", message)
}

/// The rules as a part of a revision: what differs here is another session.
pub(crate) fn value(rules: &Rules) -> Value {
    let list = |all: &[Ability]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    match rules.denied.is_empty() {
        true => json!(list(&rules.allowed)),
        false => json!({"allowed": list(&rules.allowed), "denied": list(&rules.denied)}),
    }
}

/// The grant, its entries checked as far as that goes without parameters.
pub(crate) fn read(grant: &Object) -> Result<GrantSpec, Problem> {
    let spec: GrantSpec = spec(grant)?;
    let allow = spec.allow.iter().enumerate().map(|(index, entry)| ("allow", index, entry.check()));
    let deny = spec.deny.iter().enumerate().map(|(index, entry)| ("deny", index, entry.check_denial()));
    for (list, index, checked) in allow.chain(deny) {
        let bad = |error| Problem::new("Malformed", Code::BadGrantEntry, format!("spec.{list}[{index}]: {error}"));
        checked.map_err(bad)?;
    }
    Ok(spec)
}

impl Asker<'_> {
    /// Whether a grant is for this asker: everything that it names fits. A grant that names nobody is for nobody, unless it
    /// only denies: then it is for everybody. One in a project is for that project, one in none for all.
    pub(crate) fn fits(&self, snapshot: &Snapshot, grant: &Object, spec: &GrantSpec) -> bool {
        let named = [
            (&spec.class, Kind::Class, self.class),
            (&spec.instance, Kind::Instance, self.instance),
            (&spec.stream, Kind::Stream, self.stream),
            (&spec.function, Kind::Function, self.function),
        ];
        let project = snapshot.project(grant);
        (project.is_empty() || project == self.project)
            && ((spec.allow.is_empty() && spec.attach.is_empty() && spec.limits.is_none())
                || named.iter().any(|(reference, ..)| reference.is_some()))
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
        (AbilityKind::Secret, _) => Code::SecretDenied,
        (_, Target::Host { host: HostPattern::Exact(host), .. }) if host.range() == Range::Loopback => {
            Code::LoopbackDenied
        }
        _ => Code::NetDenied,
    }
}

/// What to say when something that is asked for is not granted: what to write where.
pub(crate) fn finding(given: &Given, description: &Description, kind: Kind, name: &str) -> Finding {
    let mut parts = Vec::new();
    if let Some((ability, denial)) = given.denied.first() {
        let others = given.denied.len() - 1;
        let more = if others == 0 { String::new() } else { format!(" and {others} more") };
        parts.push(format!("{name} asks for {ability}, which `{denial}` denies{more}: a denial wins over every grant"));
    }
    if let Some((capability, error)) = given.unfilled.first() {
        parts.push(format!(
            "{name} asks for {} `{}`, which makes no sense here: {error}",
            capability.kind, capability.target
        ));
    }
    if !given.missing.is_empty() {
        parts.push(missing(given, description, kind, name));
    } else if given.denied.is_empty() {
        let list: Vec<_> = given.rules.allowed.iter().map(ToString::to_string).collect();
        parts.insert(0, if list.is_empty() { "it asks for nothing".to_owned() } else { list.join(", ") });
        return Finding::new(GRANTED, true, "Granted", parts.join("; "));
    }
    let reason = if given.missing.is_empty() { "Denied" } else { "NotGranted" };
    let first = given.missing.first().or(given.denied.first().map(|(ability, _)| ability));
    Finding::new(GRANTED, false, reason, format!("{} ({})", parts.join("; "), denied(first)))
}

fn missing(given: &Given, description: &Description, kind: Kind, name: &str) -> String {
    let asked: Vec<_> = given.missing.iter().map(ToString::to_string).collect();
    let reasons: Vec<_> = description
        .capabilities
        .iter()
        .map(|capability| capability.reason.as_str())
        .filter(|reason| !reason.is_empty())
        .collect();
    let lines: Vec<_> = given
        .missing
        .iter()
        .map(|ability| serde_json::to_string(&ability.allowance()).unwrap_or_else(|_| ability.to_string()))
        .collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" (for: {})", reasons.join("; ")) };
    format!(
        "{name} asks for {}{why}, and no grant gives it. To allow it, apply a document of kind Grant with spec: {{{}: {name}, allow: [{}]}}",
        asked.join(", "),
        kind.nouns()[0],
        lines.join(", ")
    )
}
