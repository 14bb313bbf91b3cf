//! `ferrule validate`: checks documents without a server.

use clap::Args;
use ferrule_model::Kind;

use super::noun::{Files, parse_kind};
use crate::context::Context;
use crate::documents;
use crate::exit::Outcome;
use crate::output::Format;

/// Checks the form of documents: kinds, fields, references within a document. Needs no server and changes nothing. What
/// depends on other objects and on components is checked by `apply --dry-run`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// What the documents are, for those that do not say.
    #[arg(value_parser = parse_kind)]
    noun: Option<Kind>,
    #[command(flatten)]
    files: Files,
}

impl Validate {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let sources = documents::read_sources(&self.files.files)?;
        let objects = documents::read_objects(&sources, self.noun, "validate")?;
        let output = &context.output;
        if output.format != Format::Table {
            let objects: Vec<_> = objects.iter().map(|(object, _)| object).collect();
            return output.value(&objects);
        }
        for (object, _) in &objects {
            output.line(format!("{} {} ok", object.kind.nouns()[0], object.metadata.name))?;
        }
        Ok(())
    }
}
