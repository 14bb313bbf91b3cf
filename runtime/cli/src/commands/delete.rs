//! `ferrule delete`: deletes objects that nothing uses.

use std::path::PathBuf;

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::request::Deletion;
use ferrule_model::Kind;

use super::noun::{self, Scope, parse_kind_and_name};
use crate::context::Context;
use crate::documents;
use crate::exit::{Failure, Outcome};
use crate::views;

/// Deletes objects. What is in use is refused, and the answer says by what.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrule delete connectorstream -i my-instance my-stream\n  ferrule delete -f pipeline.yaml"
)]
pub(crate) struct Delete {
    /// What they are, such as connectorstream; or NOUN/NAME.
    #[arg(value_parser = parse_kind_and_name, required_unless_present = "files")]
    noun: Option<(Kind, Option<String>)>,
    /// Their names.
    names: Vec<String>,
    /// Documents whose objects to delete.
    #[arg(long = "file", short = 'f', value_name = "PATH", conflicts_with_all = ["noun", "names"])]
    files: Vec<PathBuf>,
    /// The instance that the streams or configs belong to.
    #[arg(long, short = 'i', value_name = "NAME")]
    instance: Option<String>,
    #[command(flatten)]
    scope: Scope,
    /// Also delete what uses them.
    #[arg(long)]
    cascade: bool,
    /// Check, and delete nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Delete {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let mut deletion = Deletion {
            namespace: self.scope.namespace(),
            cascade: self.cascade,
            dry_run: self.dry_run,
            ..Deletion::default()
        };
        let client = context.client().await?;
        if let Some((kind, first)) = self.noun {
            let with_noun = first.is_some();
            let mut names: Vec<String> = first.into_iter().collect();
            for text in &self.names {
                match noun::parse_further(kind, with_noun, text) {
                    (other, name) if other == kind => names.push(name),
                    (other, _) => {
                        return Err(Failure::usage(format!("one kind at a time: {text} is a {}", other.nouns()[0])));
                    }
                }
            }
            if names.is_empty() {
                return Err(Failure::usage(format!("which {kind}? Give at least one name")));
            }
            deletion.kind = Some(kind);
            deletion.names = match &self.instance {
                Some(instance) => noun::uids_in_instance(&client, kind, &names, &self.scope, instance).await?,
                None => names,
            };
        } else {
            let sources = documents::read_sources(&self.files)?;
            let application = documents::application(&sources, None)?;
            deletion.documents = application.documents;
            deletion.environment = application.environment;
        }
        let deleted = client.delete(deletion).await?;
        views::applied(&context.output, &deleted, &[], self.dry_run)
    }
}
