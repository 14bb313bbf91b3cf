//! `ferrule create`: creates the objects of documents, and secrets of files, variables and standard input.

use std::path::PathBuf;

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::request::{ApplyMode, Document};
use ferrule_model::Kind;

use super::noun::{Scope, parse_kind};
use super::secret::{self, FromFile, Named};
use crate::context::Context;
use crate::documents;
use crate::exit::{Failure, Outcome};
use crate::views;

/// Creates the objects of documents; one that exists already is an error. A noun says what a document is that does not.
///
/// A secret is created without a document too: `create secret NAME` with --from-file, --from-env and --from-stdin. No option takes
/// the value itself, because it would be in the shell's history and in the list of processes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferrule create -f all.yaml\n  ferrule create connectorclass -f class.json\n  \
                        ferrule create secret mqtt-login --from-stdin password < password.txt\n  \
                        ferrule create secret mqtt-login --from-file password=/run/secrets/mqtt --from-env username=MQTT_USER --replace")]
pub(crate) struct Create {
    /// What the documents are, such as connectorclass.
    #[arg(value_parser = parse_kind)]
    noun: Option<Kind>,
    /// The name of the secret.
    #[arg(requires = "values")]
    name: Option<String>,
    /// A file, a folder, or - for standard input; may be given several times.
    #[arg(
        long = "file",
        short = 'f',
        value_name = "PATH",
        required_unless_present = "values",
        conflicts_with = "values"
    )]
    files: Vec<PathBuf>,
    #[command(flatten)]
    values: Values,
    /// What the secret is for, as Kubernetes has it [default: Opaque].
    #[arg(long = "type", requires = "values", value_name = "TYPE")]
    secret_type: Option<String>,
    /// If the secret exists already, put this one in its place.
    #[arg(long, requires = "values")]
    replace: bool,
    #[command(flatten)]
    scope: Scope,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Where the values of a secret are.
#[derive(Debug, Args)]
#[group(id = "values", multiple = true)]
struct Values {
    /// A value of the secret is what is in this file, to the last byte.
    #[arg(long, value_name = "KEY=PATH", value_parser = secret::from_file)]
    from_file: Vec<FromFile>,
    /// A value of the secret is what this variable of the environment has.
    #[arg(long, value_name = "KEY=VAR", value_parser = secret::from_env)]
    from_env: Vec<Named>,
    /// A value of the secret is read from standard input, without the line break at its end.
    #[arg(long, value_name = "KEY")]
    from_stdin: Option<String>,
}

impl Create {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let Values { from_file, from_env, from_stdin } = self.values;
        let mut application = if self.files.is_empty() {
            let (Some(Kind::Secret), Some(name)) = (self.noun, &self.name) else {
                return Err(Failure::usage("--from-file, --from-env and --from-stdin are for `create secret NAME`"));
            };
            let secret_type = self.secret_type.as_deref().unwrap_or("Opaque");
            let content = secret::document(name, secret_type, &from_file, &from_env, from_stdin.as_deref())?;
            let document = Document { name: format!("secret {name}"), content, ..Document::default() };
            ferrule_api::request::Application { documents: vec![document], ..Default::default() }
        } else {
            let sources = documents::read_sources(&self.files)?;
            documents::application(&sources, self.noun)?
        };
        application.namespace = self.scope.namespace();
        application.dry_run = self.dry_run;
        application.mode = if self.replace { ApplyMode::Apply } else { ApplyMode::Create };
        let client = context.client().await?;
        let applied = client.apply(application).await?;
        views::applied(&context.output, &applied.objects, &applied.warnings, self.dry_run)
    }
}
