//! `ferrule get`: lists objects, or shows some.

use std::collections::BTreeMap;

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::report::StatusReport;
use ferrule_api::request::StatusQuery;
use ferrule_model::{Kind, Object};
use serde_json::{Value, json};

use super::noun::{self, Scope, parse_kind_and_name};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Format, Table, Tone};
use crate::views::{self, Names};

/// Lists objects, or shows some.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrule get streams\n  ferrule get connectorclass mqtt -o yaml\n  ferrule get pipelines -l site=north\n  ferrule get connectorinstancestatus -i my-instance"
)]
pub(crate) struct Get {
    /// What they are, such as streams; NOUN/NAME; `all`; connectorinstancestatus; connectorinstancealerts.
    #[arg(default_value = "all", value_parser = parse_wanted)]
    noun: Wanted,
    /// Their names; none: all.
    names: Vec<String>,
    /// Only what belongs to this instance.
    #[arg(long, short = 'i', value_name = "NAME")]
    instance: Option<String>,
    /// With connectorinstancestatus and connectorinstancealerts: this stream alone.
    #[arg(long, short = 't', value_name = "NAME")]
    stream: Option<String>,
    /// With connectorinstancestatus and connectorinstancealerts: the service domain. A server is one service domain.
    #[arg(long, short = 's', value_name = "NAME")]
    svcdomain: Option<String>,
    /// Only objects with this label (several times: all of them).
    #[arg(long, short = 'l', value_name = "NAME=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    scope: Scope,
    /// Of all projects; so it is unless --project names one.
    #[arg(long, short = 'A', conflicts_with = "project")]
    all_namespaces: bool,
    /// Show documents in the form in which they were applied.
    #[arg(long)]
    original: bool,
}

#[derive(Clone, Debug)]
enum Wanted {
    All,
    Of(Kind, Option<String>),
    InstanceStatus,
    InstanceAlerts,
}

fn parse_wanted(text: &str) -> Result<Wanted, String> {
    match text.to_ascii_lowercase().as_str() {
        "all" => Ok(Wanted::All),
        "connectorinstancestatus" => Ok(Wanted::InstanceStatus),
        "connectorinstancealerts" => Ok(Wanted::InstanceAlerts),
        _ => parse_kind_and_name(text).map(|(kind, name)| Wanted::Of(kind, name)),
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected NAME=VALUE".to_owned())
}

impl Get {
    pub(crate) async fn run(mut self, context: &Context) -> Outcome {
        match self.noun.clone() {
            Wanted::All => {
                let names = std::mem::take(&mut self.names);
                self.list(context, vec![(None, names)]).await
            }
            Wanted::Of(kind, name) => {
                let with_noun = name.is_some();
                let further = self.names.iter().map(|text| noun::parse_further(kind, with_noun, text));
                let mut groups: Vec<(Option<Kind>, Vec<String>)> = vec![(Some(kind), name.iter().cloned().collect())];
                for (kind, name) in further {
                    match groups.iter_mut().find(|(other, _)| *other == Some(kind)) {
                        Some((_, names)) => names.push(name),
                        None => groups.push((Some(kind), vec![name])),
                    }
                }
                self.list(context, groups).await
            }
            Wanted::InstanceStatus => self.instance_status(context, false).await,
            Wanted::InstanceAlerts => self.instance_status(context, true).await,
        }
    }

    /// Lists objects by kind, of each kind those that are named or all.
    async fn list(self, context: &Context, groups: Vec<(Option<Kind>, Vec<String>)>) -> Outcome {
        let client = context.client().await?;
        let labels: BTreeMap<String, String> = self.label.into_iter().collect();
        let mut found = Vec::new();
        for (kind, names) in &groups {
            let instance = self.instance.as_deref();
            found.extend(noun::objects(&client, *kind, names, &self.scope, instance, labels.clone()).await?);
        }
        let kind = if let [(kind, _)] = &groups[..] { *kind } else { None };
        let named: usize = groups.iter().map(|(_, names)| names.len()).sum();
        let output = &context.output;
        if self.original {
            for stored in &found {
                match &stored.original {
                    Some(text) => output.raw(text.as_bytes())?,
                    None => output.raw(crate::output::to_yaml(&views::document(&stored.object))?.as_bytes())?,
                }
            }
            return Ok(());
        }
        let objects: Vec<Object> = found.into_iter().map(|stored| stored.object).collect();
        if let ([only], 1, Format::Json | Format::Yaml) = (&objects[..], named, output.format) {
            return output.value(&views::document(only));
        }
        if objects.is_empty() && output.format == Format::Table {
            output.say("nothing found");
            return Ok(());
        }
        let names = if output.format == Format::Table { Names::fetch(&client).await? } else { Names::default() };
        let documents: Vec<Value> = match output.format {
            Format::Table => Vec::new(),
            _ => objects.iter().map(views::document).collect(),
        };
        output.list(&documents, || views::objects_table(kind, &objects, &names))
    }

    /// What KPS calls the status and the alerts of a connector instance: one row for each of its streams.
    async fn instance_status(self, context: &Context, alerts: bool) -> Outcome {
        let Some(instance) = self.instance.clone().or_else(|| self.names.first().cloned()) else {
            return Err(Failure::new(Exit::Usage, "which instance? Give its name with -i"));
        };
        let client = context.client().await?;
        let wanted = [instance.clone()];
        noun::objects(&client, Some(Kind::Instance), &wanted, &self.scope, None, BTreeMap::new()).await?;
        let streams =
            noun::objects(&client, Some(Kind::Stream), &[], &self.scope, Some(&instance), BTreeMap::new()).await?;
        let targets: Vec<String> = streams
            .iter()
            .map(|stored| &stored.object.metadata)
            .filter(|m| self.stream.as_ref().is_none_or(|name| m.name == *name))
            .map(|m| m.uid.to_string())
            .collect();
        let status = if targets.is_empty() {
            StatusReport::default()
        } else {
            client.status(StatusQuery { targets, namespace: self.scope.namespace() }).await?
        };
        let output = &context.output;
        if alerts {
            let rows: Vec<Value> = status
                .streams
                .iter()
                .flat_map(|s| s.alerts.iter().map(move |a| (s, a)))
                .map(|(s, a)| json!({"stream": s.name, "severity": a.severity, "name": a.name, "message": a.message}))
                .collect();
            return output.list(&rows, || {
                let mut table = Table::new(["STREAM", "SEVERITY", "ALERT", "MESSAGE"]);
                for row in &rows {
                    let cell =
                        |name: &str| (row.get(name).and_then(Value::as_str).unwrap_or("-").to_owned(), Tone::Plain);
                    table.toned([cell("stream"), cell("severity"), cell("name"), cell("message")]);
                }
                table
            });
        }
        output.list(&status.streams, || views::streams_table(&status.streams))
    }
}
