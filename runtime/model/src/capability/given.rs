//! What a session gets: what is asked for, filled in with its parameters, as far as it is granted and not denied.

use serde_json::Value;

use super::{Ability, AbilityKind, Allowance, HostPattern, Range, Rules, Target, TargetError, template};
use crate::component::Capability;

/// What comes of what is asked for, granted and denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// What is in force.
    pub rules: Rules,
    /// What is asked for and not granted in full.
    pub missing: Vec<Ability>,
    /// What is asked for and granted, and by which entry it is denied in full.
    pub denied: Vec<(Ability, Ability)>,
    /// What is asked for and makes no sense with these parameters. One that is merely not set asks for nothing.
    pub unfilled: Vec<(Capability, TargetError)>,
}

/// The entries that stand for a session, and its parameters, which fill in templates.
///
/// This machine is given only by an entry that names it, with the port, literally; private addresses only where the entry
/// says which host is meant.
pub fn given(
    asked: &[Capability],
    granted: &[Allowance],
    denied: &[Allowance],
    static_params: &Value,
    stream_params: &Value,
) -> Given {
    let granted: Vec<Ability> = granted
        .iter()
        .flat_map(|entry| {
            let filled = fill_target(entry.kind, &entry.target, static_params, stream_params).unwrap_or_default();
            filled.into_iter().filter(|ability| !(entry.is_template() && ability.range() == Range::Loopback))
        })
        .collect();
    // Denials were checked when they were applied; one that cannot be read denies nothing that could be named.
    let denials: Vec<Ability> =
        denied.iter().filter_map(|entry| Ability::parse(entry.kind, &entry.target).ok()).collect();
    let mut given = Given::default();
    for capability in asked {
        match fill(capability, static_params, stream_params) {
            Ok(abilities) => abilities.iter().for_each(|ability| given.add(ability, &granted, &denials)),
            Err(TargetError::Missing(_)) => {}
            Err(error) => given.unfilled.push((capability.clone(), error)),
        }
    }
    given.rules.denied = denials;
    given
}

impl Given {
    /// This and what comes of other things asked for, granted and denied.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.rules.allowed.extend(other.rules.allowed);
        self.rules.denied.extend(other.rules.denied);
        self.missing.extend(other.missing);
        self.denied.extend(other.denied);
        self.unfilled.extend(other.unfilled);
        self
    }

    fn add(&mut self, asked: &Ability, granted: &[Ability], denials: &[Ability]) {
        let mut whole = false;
        for part in granted.iter().filter_map(|granted| granted_part(granted, asked)) {
            whole |= part.is_same(asked);
            match denials.iter().find(|denial| denial.denies_all_of(&part)) {
                Some(denial) => {
                    let entry = (part, denial.clone());
                    if !self.denied.contains(&entry) {
                        self.denied.push(entry);
                    }
                }
                None if self.rules.allowed.contains(&part) => {}
                None => self.rules.allowed.push(part),
            }
        }
        if !whole && !self.missing.contains(asked) {
            self.missing.push(asked.clone());
        }
    }
}

fn granted_part(granted: &Ability, asked: &Ability) -> Option<Ability> {
    let part = granted.intersection(asked)?;
    let fits = match part.range() {
        Range::Never(_) => false,
        // A wildcard or a range in the grant never opens this machine, however exactly it is asked for.
        Range::Loopback => granted.is_literal(),
        Range::Private => granted.named,
        Range::Open => true,
    };
    // The whole file system holds what the kernel shows of every process.
    let whole_machine = matches!(&part.target, Target::Folder(folder) if folder == "/");
    (fits && !whole_machine).then_some(part)
}

/// What a capability asks for, once its templates are filled in: one ability for each value where a parameter is a list.
///
/// A target that is nothing but a parameter is one literal host and port: never a wildcard, never a range. For a secret it is the one
/// that the parameter refers to, so the parameters have to be as documents write them.
pub fn fill(
    capability: &Capability,
    static_params: &Value,
    stream_params: &Value,
) -> Result<Vec<Ability>, TargetError> {
    fill_target(AbilityKind::parse(&capability.kind)?, &capability.target, static_params, stream_params)
}

fn fill_target(
    kind: AbilityKind,
    target: &str,
    static_params: &Value,
    stream_params: &Value,
) -> Result<Vec<Ability>, TargetError> {
    if !target.contains('{') {
        return Ok(vec![Ability::parse(kind, target)?]);
    }
    let mut abilities = Vec::new();
    let only_parameter = template::is_only_parameter(target)?;
    let all = match kind {
        AbilityKind::Secret if only_parameter => template::secrets(target, static_params, stream_params)?,
        _ => template::fill(target, static_params, stream_params)?,
    };
    for filled in all {
        let ability = Ability::parse(kind, &filled)?;
        if let Target::Host { host, ports } = &ability.target
            && only_parameter
            && !(is_one_host(kind, host) && (ports.is_single() || kind == AbilityKind::Resolve))
        {
            return Err(TargetError::Address {
                target: filled,
                detail: "a parameter may name one host and one port only",
            });
        }
        abilities.push(ability);
    }
    Ok(abilities)
}

/// Every address of this machine is one place to listen at.
fn is_one_host(kind: AbilityKind, host: &HostPattern) -> bool {
    matches!(host, HostPattern::Exact(_)) || (kind == AbilityKind::Listen && *host == HostPattern::Any)
}
