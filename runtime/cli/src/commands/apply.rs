//! `ferrule apply`: makes the server's objects what the documents say.

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::request::ApplyMode;

use super::noun::{Files, Scope};
use crate::context::Context;
use crate::documents;
use crate::exit::Outcome;
use crate::views;

/// Creates what is new, changes what differs, and leaves the rest alone. All errors of all files are shown at once, and
/// then nothing is changed.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    scope: Scope,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Also delete what an earlier apply of the same set made and these documents no longer hold.
    #[arg(long)]
    prune: bool,
    /// The name of the set of documents that --prune compares with.
    #[arg(long, default_value = "default", value_name = "NAME")]
    set: String,
}

impl Apply {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let sources = documents::read_sources(&self.files.files)?;
        let mut application = documents::application(&sources, None)?;
        application.namespace = self.scope.namespace();
        application.dry_run = self.dry_run;
        application.prune = self.prune;
        application.set = Some(self.set);
        application.mode = ApplyMode::Apply;
        let client = context.client().await?;
        let applied = client.apply(application).await?;
        views::applied(&context.output, &applied.objects, &applied.warnings, self.dry_run)
    }
}
