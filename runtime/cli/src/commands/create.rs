//! `ferrule create`: creates the objects of documents.

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::request::ApplyMode;
use ferrule_model::Kind;

use super::noun::{Files, Scope, parse_kind};
use crate::context::Context;
use crate::documents;
use crate::exit::Outcome;
use crate::views;

/// Creates the objects of documents; one that exists already is an error. A noun says what a document is that does not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferrule create -f all.yaml\n  ferrule create connectorclass -f class.json")]
pub(crate) struct Create {
    /// What the documents are, such as connectorclass.
    #[arg(value_parser = parse_kind)]
    noun: Option<Kind>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    scope: Scope,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Create {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let sources = documents::read_sources(&self.files.files)?;
        let mut application = documents::application(&sources, self.noun)?;
        application.namespace = self.scope.namespace();
        application.dry_run = self.dry_run;
        application.mode = ApplyMode::Create;
        let client = context.client().await?;
        let applied = client.apply(application).await?;
        views::applied(&context.output, &applied.objects, &applied.warnings, self.dry_run)
    }
}
