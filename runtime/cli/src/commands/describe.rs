//! `ferrule describe`: everything that is known of one object.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use ferrule_api::report::{
    Alert, ComponentFacts, Distribution, LimitStatus, PipelineStatus, StatusReport, StreamStatus, TargetBytes,
};
use ferrule_api::request::{Inspection, StatusQuery};
use ferrule_api::{Client, Platform};
use ferrule_model::conditions::{Condition, Truth};
use ferrule_model::{Kind, Object};
use serde_json::{Value, json};

use super::noun::{self, Scope, parse_kind_and_name};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Format, Output, Tone, short_number};
use crate::views::{self, Names};

/// Shows one object: its document, conditions, health, throughput, lag, restarts, last error, and the abilities that its
/// component asks for, was granted and has in force.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferrule describe stream readings-source\n  ferrule describe pipeline/readings")]
pub(crate) struct Describe {
    /// What it is, such as stream; or NOUN/NAME.
    #[arg(value_parser = parse_kind_and_name)]
    noun: (Kind, Option<String>),
    /// Its name.
    name: Option<String>,
    /// The instance that the stream or config belongs to.
    #[arg(long, short = 'i', value_name = "NAME")]
    instance: Option<String>,
    #[command(flatten)]
    scope: Scope,
}

/// What is shown of one object.
struct Facts {
    object: Object,
    status: StatusReport,
    component: Option<ComponentFacts>,
    grants: Vec<Object>,
    names: Names,
}

impl Describe {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let (kind, first) = self.noun;
        let names: Vec<String> = first.into_iter().chain(self.name).collect();
        let [name] = &names[..] else {
            return Err(Failure::usage(format!("give the name of one {}", kind.nouns()[0])));
        };
        let client = context.client().await?;
        let found =
            noun::objects(&client, Some(kind), &names, &self.scope, self.instance.as_deref(), BTreeMap::new()).await?;
        if found.is_empty() {
            return Err(noun::not_found(&format!("{} {name}", kind.nouns()[0])));
        }
        let output = &context.output;
        let mut values = Vec::new();
        for (i, stored) in found.into_iter().enumerate() {
            let facts = gather(&client, stored.object, &self.scope).await?;
            if output.format == Format::Table {
                let gap = if i == 0 { "" } else { "\n" };
                output.raw(format!("{gap}{}", facts.text(output)?).as_bytes())?;
            } else {
                values.push(facts.json());
            }
        }
        match (&values[..], output.format) {
            (_, Format::Table) => Ok(()),
            ([one], _) => output.value(one),
            (many, _) => output.value(&many),
        }
    }
}

async fn gather(client: &Client, object: Object, scope: &Scope) -> Result<Facts, Failure> {
    let uid = object.metadata.uid.to_string();
    let moving = matches!(object.kind, Kind::Stream | Kind::Pipeline);
    let status = if moving {
        client.status(StatusQuery { targets: vec![uid.clone()], namespace: None }).await?
    } else {
        StatusReport::default()
    };
    let reference = match object.kind {
        Kind::Stream => {
            // The one that runs; before any does, the one that was chosen.
            let runs = status.streams.first().map(|s| s.component.clone()).filter(|digest| !digest.is_empty());
            let chosen = || object.status.details.pointer("/component/digest")?.as_str().map(str::to_owned);
            runs.or_else(chosen)
        }
        Kind::Class | Kind::Function | Kind::Component => Some(uid),
        _ => None,
    };
    // A class may have no component yet; that is a condition of the object, shown above, not a failure of this command.
    let component = match reference {
        Some(reference) => client.inspect(Inspection::Reference(reference)).await.ok().map(|(facts, _)| facts),
        None => None,
    };
    let grants = if component.is_some() {
        noun::objects(client, Some(Kind::Grant), &[], scope, None, BTreeMap::new())
            .await?
            .into_iter()
            .map(|stored| stored.object)
            .collect()
    } else {
        Vec::new()
    };
    let names = Names::fetch(client).await?;
    Ok(Facts { object, status, component, grants, names })
}

impl Facts {
    fn json(&self) -> Value {
        let mut value = json!({ "object": views::document(&self.object) });
        if let Some(map) = value.as_object_mut() {
            if let Some(stream) = self.status.streams.first() {
                map.insert("stream".to_owned(), json!(stream));
            }
            if let Some(pipeline) = self.status.pipelines.first() {
                map.insert("pipeline".to_owned(), json!(pipeline));
            }
            if let Some(component) = &self.component {
                map.insert("component".to_owned(), json!(component));
            }
        }
        value
    }

    fn text(&self, output: &Output) -> Result<String, Failure> {
        let mut text = String::new();
        let meta = &self.object.metadata;
        let head = |text: &mut String, title: &str| {
            let _ = writeln!(text, "{}", output.tone(title, Tone::Strong));
        };
        field(&mut text, "Name", &meta.name);
        field(&mut text, "Kind", self.object.kind.name());
        let project = self.names.project(&self.object);
        if !project.is_empty() {
            field(&mut text, "Project", &project);
        }
        field(&mut text, "Id", meta.uid.as_str());
        field(&mut text, "Generation", &meta.generation.to_string());
        if let Some(created) = &meta.creation_timestamp {
            field(&mut text, "Created", &created.to_string());
        }
        for owner in &meta.owner_references {
            field(&mut text, "Owner", &format!("{} {}", owner.kind.nouns()[0], owner.name));
        }
        if let Some(stream) = self.status.streams.first() {
            stream_text(&mut text, stream);
        }
        if let Some(pipeline) = self.status.pipelines.first() {
            pipeline_text(&mut text, pipeline, self.status.time_ms);
        }
        head(&mut text, "Conditions");
        let conditions = &self.object.status.conditions;
        if conditions.is_empty() {
            text.push_str("  none yet\n");
        }
        for condition in conditions {
            condition_text(&mut text, output, condition, meta.generation);
        }
        if let Some(component) = &self.component {
            head(&mut text, "Component");
            let described = &component.description;
            let _ = writeln!(
                text,
                "  {} {} ({}), {}",
                described.name, described.version, component.world, component.digest
            );
            if !described.summary.is_empty() {
                let _ = writeln!(text, "  {}", described.summary);
            }
            self.abilities(&mut text, output, component)?;
        }
        head(&mut text, "Spec");
        text.push_str(&views::indented(&self.names.shown(&self.object.spec), 2)?);
        Ok(text)
    }

    /// Asked for by the component, granted by documents, and in force in the session.
    fn abilities(&self, text: &mut String, output: &Output, component: &ComponentFacts) -> Result<(), Failure> {
        let _ = writeln!(text, "{}", output.tone("Abilities", Tone::Strong));
        text.push_str("  asked for:\n");
        if component.asks().is_empty() {
            text.push_str("    nothing\n");
            return Ok(());
        }
        for ask in component.asks() {
            let _ = writeln!(text, "    {} {}   ({})", ask.kind, ask.target, ask.reason);
        }
        text.push_str("  granted by:\n");
        if self.grants.is_empty() {
            text.push_str("    no grant; `ferrule register --grant` or a document of kind Grant gives one\n");
        }
        for grant in &self.grants {
            let _ = writeln!(text, "    grant {}:", grant.metadata.name);
            text.push_str(&views::indented(&self.names.shown(&grant.spec), 6)?);
        }
        let Some(in_force) = self.object.status.details.get("inForce") else { return Ok(()) };
        for (member, title) in [
            ("allowed", "in force:"),
            ("attached", "attached by the host:"),
            ("except", "except what is denied:"),
            ("notGranted", "asked for and not granted; a Grant allows it with these entries in `allow`:"),
            ("denied", "asked for, granted and denied:"),
        ] {
            if let Some(list) = in_force.get(member) {
                let _ = writeln!(text, "  {title}");
                text.push_str(&views::indented(list, 4)?);
            }
        }
        Ok(())
    }
}

/// A line of a description; further lines of the value stand under its first.
fn field(text: &mut String, name: &str, value: &str) {
    let value = value.trim_end().replace('\n', &format!("\n{:14}", ""));
    let _ = writeln!(text, "{:<14}{value}", format!("{name}:"));
}

/// The last error without the lines that the last refusal has too.
fn last_error<'a>(error: &'a str, refusal: &str) -> &'a str {
    let first = error.lines().next().unwrap_or("none");
    let mut rest = error.lines().skip(1).filter(|line| !line.trim().is_empty());
    if rest.all(|line| refusal.contains(line.trim())) { first } else { error }
}

fn stream_text(text: &mut String, s: &StreamStatus) {
    field(text, "Direction", &s.direction);
    field(text, "Class", &s.class);
    field(text, "State", &s.state);
    let health = views::health(&s.health);
    let message = if s.health_message.is_empty() { String::new() } else { format!(": {}", s.health_message) };
    field(text, "Health", &format!("{health}{message}"));
    let rate =
        format!("{} records/s, {} bytes/s", short_number(s.records_per_second), short_number(s.bytes_per_second));
    field(text, "Throughput", &rate);
    field(text, "Records", &format!("{} ({} bytes) since the server started", s.records, s.bytes));
    field(text, "Restarts", &s.restarts.to_string());
    field(text, "Memory", &format!("{} bytes; at most {}", s.memory_bytes, s.peak_memory_bytes));
    field(text, "Computed", &format!("{:.3} s in {} calls", s.cpu_seconds, s.calls));
    for TargetBytes { target, received, sent } in &s.targets {
        field(text, "Traffic", &format!("{target}: {received} bytes received, {sent} sent"));
    }
    if !s.limits.is_empty() {
        let limit = |limit: &LimitStatus| match limit.reached {
            0 => format!("{} {}", limit.name, limit.text),
            times => format!("{} {} (reached {times} times)", limit.name, limit.text),
        };
        let limits: Vec<String> = s.limits.iter().map(limit).collect();
        field(text, "Limits", &limits.join(", "));
    }
    match s.replayable {
        Some(true) => field(text, "Replayable", "yes: what is in flight is given again after a crash"),
        Some(false) => field(text, "Replayable", "no: what is in flight is lost if the process dies"),
        None => {}
    }
    if !s.durability.is_empty() {
        let survives = match s.durability.as_str() {
            "fsync" => "fsync: what is accepted survives the end of the machine",
            "os" => "os: what is accepted survives the end of the process",
            _ => "memory: what is accepted and not delivered is gone with the process",
        };
        field(text, "Durability", survives);
        let held = format!(
            "{} records ({} bytes) held, {} bytes of them unread; {} dropped; {} not settled",
            s.held_records, s.held_bytes, s.unread_bytes, s.dropped, s.unsettled
        );
        field(text, "Log", &held);
    }
    field(text, "Refusals", &s.refusals.to_string());
    if !s.last_refusal.is_empty() {
        field(text, "Last refusal", &s.last_refusal);
    }
    field(text, "Last error", last_error(&s.last_error, &s.last_refusal));
    if s.suppressed_log_lines > 0 {
        field(text, "Log lines", &format!("{} lines over the rate were not kept", s.suppressed_log_lines));
    }
    alerts(text, &s.alerts);
}

fn pipeline_text(text: &mut String, p: &PipelineStatus, now_ms: i64) {
    field(text, "State", &p.state);
    let path: Vec<&str> =
        [p.source.as_str()].into_iter().chain(p.steps.iter().map(String::as_str)).chain([p.sink.as_str()]).collect();
    field(text, "Path", &path.join(" -> "));
    field(text, "Throughput", &format!("{} records/s", short_number(p.records_per_second)));
    field(text, "Lag", &format!("{} records ({} bytes); {} of them in flight", p.lag, p.lag_bytes, p.in_flight));
    if p.oldest_ms.is_some() {
        field(text, "Behind", &format!("the oldest of them has waited {}", views::behind(p, now_ms)));
    }
    let counts = format!(
        "{} delivered, {} filtered, {} duplicates, {} dead letters, {} dropped, {} retried",
        p.delivered, p.filtered, p.duplicates, p.dead_lettered, p.dropped, p.retried
    );
    field(text, "Records", &counts);
    field(text, "Batches", &spread(&p.batches, "records a write"));
    field(text, "Attempts", &spread(&p.attempts, "a record"));
    field(text, "Restarts", &p.restarts.to_string());
    field(text, "Last error", if p.last_error.is_empty() { "none" } else { &p.last_error });
    alerts(text, &p.alerts);
}

fn alerts(text: &mut String, alerts: &[Alert]) {
    for alert in alerts {
        field(text, "Alert", &format!("{} {}: {}", alert.severity, alert.name, alert.message));
    }
}

/// The mean, and which part is up to each bound, such as `1.2 a record; up to 1: 90 %, up to 2: 98 %, more: 2 %`.
fn spread(of: &Distribution, what: &str) -> String {
    let (Some(mean), count) = (of.mean(), of.count()) else { return "none yet".to_owned() };
    let mut text = format!("{mean:.1} {what}");
    let mut sum = 0;
    for (index, here) in of.counts.iter().enumerate().filter(|(_, here)| **here > 0) {
        sum += here;
        let percent = |part: u64| part as f64 * 100.0 / count as f64;
        let separator = if sum == *here { "; " } else { ", " };
        let _ = match of.bounds.get(index) {
            Some(bound) => write!(text, "{separator}up to {bound}: {:.0} %", percent(sum)),
            None => write!(text, "{separator}more: {:.0} %", percent(*here)),
        };
    }
    text
}

fn condition_text(text: &mut String, output: &Output, condition: &Condition, generation: u64) {
    let (word, tone) = match condition.status {
        Truth::True => ("True", Tone::Good),
        Truth::False => ("False", Tone::Bad),
        Truth::Unknown => ("Unknown", Tone::Warn),
    };
    let stale = if condition.observed_generation < generation { " (of an older generation)" } else { "" };
    let _ = writeln!(
        text,
        "  {:<10} {} {}{stale}, since {}",
        condition.kind,
        output.tone(&format!("{word:<7}"), tone),
        condition.reason,
        condition.last_transition_time
    );
    if !condition.message.is_empty() {
        let _ = writeln!(text, "             {}", condition.message.replace('\n', "\n             "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_told_once_and_stands_under_its_name() {
        let remedy = "apply this:\napiVersion: connector.ferrule.dev/v1\nkind: Grant";
        let refusal = format!("may not connect to h:1 [FE0401]\n{remedy}");
        let error = format!("open: denied: may not connect to h:1 [FE0401]\n{remedy}");
        assert_eq!(last_error(&error, &refusal), "open: denied: may not connect to h:1 [FE0401]");
        assert_eq!(last_error("a\nb", &refusal), "a\nb");
        assert_eq!(last_error("", ""), "none");
        let mut text = String::new();
        field(&mut text, "Last refusal", &refusal);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[1..].iter().all(|line| line.starts_with(&" ".repeat(14))), "{text}");
    }
}
