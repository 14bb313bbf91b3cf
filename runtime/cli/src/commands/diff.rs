//! `ferrule diff`: what `apply` would change.

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::report::{Action, Difference};
use serde_json::Value;

use super::noun::{Files, Scope};
use crate::context::Context;
use crate::documents;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Format, Tone};

/// Shows what `apply` would change, and changes nothing. Exits with 8 if there are differences.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    scope: Scope,
    /// Also show what `apply --prune` would delete.
    #[arg(long)]
    prune: bool,
    /// The name of the set of documents that --prune compares with.
    #[arg(long, default_value = "default", value_name = "NAME")]
    set: String,
}

impl Diff {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let sources = documents::read_sources(&self.files.files)?;
        let mut application = documents::application(&sources, None)?;
        application.namespace = self.scope.namespace();
        application.prune = self.prune;
        application.set = Some(self.set);
        let client = context.client().await?;
        let response = client.diff(application).await?;
        let output = &context.output;
        for warning in &response.warnings {
            output.diagnostic(warning);
        }
        let changed: Vec<&Difference> = response.differences.iter().filter(|d| d.action != Action::Unchanged).collect();
        if output.format == Format::Table {
            for difference in &changed {
                let head = format!("{} {}: {}", difference.kind.nouns()[0], difference.name, difference.action);
                output.line(output.tone(&head, Tone::Strong))?;
                for line in differing_lines(difference.before.as_ref(), difference.after.as_ref()) {
                    let tone = if line.starts_with('-') { Tone::Bad } else { Tone::Good };
                    output.line(output.tone(&line, tone))?;
                }
            }
        } else {
            output.value(&changed)?;
        }
        if changed.is_empty() {
            output.say("no differences");
            Ok(())
        } else {
            Err(Failure::silent(Exit::Differs))
        }
    }
}

/// The differing values, one line each: its path, what it is (`-`) and what it would be (`+`).
fn differing_lines(before: Option<&Value>, after: Option<&Value>) -> Vec<String> {
    let (before, after) = (before.map(leaves).unwrap_or_default(), after.map(leaves).unwrap_or_default());
    let mut lines = Vec::new();
    for (path, value) in &before {
        match after.iter().find(|(p, _)| p == path) {
            Some((_, new)) if new == value => {}
            Some((_, new)) => lines.extend([format!("- {path}: {value}"), format!("+ {path}: {new}")]),
            None => lines.push(format!("- {path}: {value}")),
        }
    }
    lines.extend(
        after
            .iter()
            .filter(|(path, _)| !before.iter().any(|(p, _)| p == path))
            .map(|(path, value)| format!("+ {path}: {value}")),
    );
    lines
}

fn leaves(value: &Value) -> Vec<(String, Value)> {
    fn walk(path: String, value: &Value, into: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, member) in members {
                    let dot = if path.is_empty() { "" } else { "." };
                    walk(format!("{path}{dot}{name}"), member, into);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (i, item) in items.iter().enumerate() {
                    walk(format!("{path}[{i}]"), item, into);
                }
            }
            leaf => into.push((path, leaf.clone())),
        }
    }
    let mut found = Vec::new();
    walk(String::new(), value, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_name_their_path() {
        let (before, after) = (json!({"spec": {"a": 1, "b": [1, 2]}}), json!({"spec": {"a": 2, "b": [1], "c": "x"}}));
        let lines = differing_lines(Some(&before), Some(&after));
        assert_eq!(lines, ["- spec.a: 1", "+ spec.a: 2", "- spec.b[1]: 2", "+ spec.c: \"x\""]);
        assert!(differing_lines(None, None).is_empty());
    }
}
