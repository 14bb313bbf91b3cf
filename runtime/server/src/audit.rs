//! What guests reached for, as people see it.

use ferrule_api::report::{AuditReport, AuditTarget};
use ferrule_api::request::AuditQuery;
use ferrule_flow::Audited;

pub(crate) fn report(known: &ferrule_flow::AuditReport, query: &AuditQuery) -> AuditReport {
    let meant = |guest: &str| query.stream.as_deref().is_none_or(|name| is_named(guest, name));
    let targets = known.targets.iter().filter(|target| meant(&target.guest) && !(query.denied && target.allowed));
    AuditReport {
        targets: targets.map(target).collect(),
        denied: known.denied.iter().filter(|((guest, _), _)| meant(guest)).map(|(_, count)| count).sum(),
    }
}

/// Whether `name` is the full name, or its end after a slash.
fn is_named(full: &str, name: &str) -> bool {
    full.strip_suffix(name).is_some_and(|head| head.is_empty() || head.ends_with('/'))
}

fn target(known: &Audited) -> AuditTarget {
    AuditTarget {
        first_ms: known.first_ms,
        last_ms: known.last_ms,
        count: known.count,
        stream: known.guest.to_string(),
        class: known.class.clone(),
        component: known.component.clone(),
        allowed: known.allowed,
        interface: known.interface.to_owned(),
        kind: known.kind.to_string(),
        host: known.host.clone(),
        address: known.address.map(|address| address.to_string()).unwrap_or_default(),
        port: known.port,
        rule: known.rule.clone(),
        words: known.words.as_ref().map(|entry| format!("{}: \"{}\"", entry.kind, entry.target)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_whole_or_its_end() {
        for (name, meant) in [("halls/mqtt/in", true), ("mqtt/in", true), ("in", true), ("n", false), ("out", false)] {
            assert_eq!(is_named("halls/mqtt/in", name), meant, "{name}");
        }
    }
}
