//! What `ferrule run --learn` has seen, as documents to apply.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ferrule_api::report::{AuditReport, AuditTarget};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::output::to_yaml;

/// One Grant for each class, with what its guests used; as remarks what they were refused all the same.
pub(crate) fn documents(report: &AuditReport) -> Result<String, Failure> {
    let mut classes: BTreeMap<&str, BTreeSet<(&str, String)>> = BTreeMap::new();
    for target in report.targets.iter().filter(|target| target.allowed) {
        classes.entry(&target.class).or_default().insert((&target.kind, written(target)));
    }
    let mut text = String::new();
    for (class, used) in &classes {
        // Who may connect to a name may look it up.
        let is_implied = |(kind, target): &&(&str, String)| {
            *kind == "resolve"
                && used.iter().any(|(kind, other)| *kind != "resolve" && other.starts_with(target.as_str()))
        };
        let allow: Vec<Value> =
            used.iter().filter(|entry| !is_implied(entry)).map(|(kind, target)| json!({*kind: target})).collect();
        let document = json!({
            "apiVersion": "connector.ferrule.dev/v1", "kind": "Grant", "metadata": {"name": format!("{class}-as-used")},
            "spec": {"class": class, "allow": allow},
        });
        let _ = write!(text, "---\n{}", to_yaml(&document)?);
    }
    for target in report.targets.iter().filter(|target| !target.allowed) {
        let AuditTarget { class, kind, rule, .. } = target;
        let _ = writeln!(text, "# refused: {class} {kind} {}: {}", written(target), rule.replace('\n', " "));
    }
    if text.is_empty() {
        text.push_str("# nothing was used\n");
    }
    Ok(text)
}

fn written(target: &AuditTarget) -> String {
    let AuditTarget { host, port, .. } = target;
    match (*port, host.contains(':')) {
        (0, _) => host.clone(),
        (port, true) => format!("[{host}]:{port}"),
        (port, false) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_granted_and_nothing_else() {
        let target = |kind: &str, host: &str, port, allowed| AuditTarget {
            class: "mqtt".into(),
            kind: kind.into(),
            host: host.into(),
            port,
            allowed,
            rule: "not granted".into(),
            ..AuditTarget::default()
        };
        let report = AuditReport {
            targets: vec![
                target("tcp", "broker.example", 1883, true),
                target("resolve", "broker.example", 0, true),
                target("tcp", "::1", 80, true),
                target("read", "/data", 0, true),
                target("tcp", "other.example", 1, false),
            ],
            denied: 1,
        };
        let text = documents(&report).unwrap();
        let yaml = text.split("# refused").next().unwrap();
        let document: Value = serde_saphyr::from_str(yaml.trim_start_matches("---\n")).unwrap();
        assert_eq!(
            document["spec"]["allow"],
            json!([{"read": "/data"}, {"tcp": "[::1]:80"}, {"tcp": "broker.example:1883"}])
        );
        assert!(text.contains("# refused: mqtt tcp other.example:1: not granted"), "{text}");
    }
}
