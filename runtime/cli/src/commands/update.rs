//! `ferrule update`: changes objects that exist.

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::request::ApplyMode;
use ferrule_model::Kind;

use super::noun::{Files, Scope, parse_kind};
use crate::context::Context;
use crate::documents;
use crate::exit::{Exit, Failure, Outcome};
use crate::views;

/// Changes objects to what the documents say; one that does not exist is an error.
#[derive(Debug, Args)]
#[command(after_help = "Example: ferrule update connectorconfig my-config -f config.json")]
pub(crate) struct Update {
    /// What the documents are, such as connectorconfig.
    #[arg(value_parser = parse_kind)]
    noun: Option<Kind>,
    /// The object that the document must be about.
    name: Option<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    scope: Scope,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Update {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let sources = documents::read_sources(&self.files.files)?;
        if let Some(name) = &self.name {
            for (object, _) in documents::read_objects(&sources, self.noun, "update")? {
                if object.metadata.name != *name {
                    return Err(Failure::new(
                        Exit::Usage,
                        format!("the document is about {}, not {name}; nothing was changed", object.metadata.name),
                    ));
                }
            }
        }
        let mut application = documents::application(&sources, self.noun)?;
        application.namespace = self.scope.namespace();
        application.dry_run = self.dry_run;
        application.mode = ApplyMode::Update;
        let client = context.client().await?;
        let applied = client.apply(application).await?;
        views::applied(&context.output, &applied.objects, &applied.warnings, self.dry_run)
    }
}
