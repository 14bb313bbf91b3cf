//! `ferrule register`: makes a component a connector class or function.

use std::path::PathBuf;

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::request::Registration;

use super::noun::read_component;
use crate::context::Context;
use crate::exit::Outcome;
use crate::output::Format;
use crate::views;

/// Checks a component, keeps it with its compiled form, and makes the class or function that it describes.
#[derive(Debug, Args)]
#[command(after_help = "Example: ferrule register target/wasm32-wasip1/release/demo_src.wasm --grant")]
pub(crate) struct Register {
    /// The .wasm file.
    file: PathBuf,
    /// The name of the class or function [default: what the component calls itself].
    #[arg(long)]
    name: Option<String>,
    /// Serve this existing class or function (NAME or NAME@VERSION) instead of making one.
    #[arg(long = "for", value_name = "CLASS")]
    for_class: Option<String>,
    /// Let a class or function that has another component move to this one.
    #[arg(long)]
    replace: bool,
    /// Also write a grant of all that the component asks for.
    #[arg(long)]
    grant: bool,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Register {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let output = &context.output;
        let content = read_component(&self.file)?;
        let client = context.client().await?;
        let spinner = output.spinner(format!("checking and compiling {}", self.file.display()));
        let registration = Registration {
            content,
            file: self.file.display().to_string(),
            name: self.name,
            for_class: self.for_class,
            replace: self.replace,
            grant: self.grant,
            dry_run: self.dry_run,
        };
        let registered = client.register(registration).await;
        spinner.finish_and_clear();
        let registered = registered?;
        let component = &registered.component;
        if output.format != Format::Table {
            for warning in &registered.warnings {
                output.diagnostic(warning);
            }
            return output.value(&registered);
        }
        output.say(format!(
            "{} {} is a {} ({})",
            component.description.name, component.description.version, component.world, component.digest
        ));
        views::applied(output, &registered.objects, &registered.warnings, self.dry_run)?;
        if !self.grant && !component.asks().is_empty() {
            output.say("it asks for:");
            for ask in component.asks() {
                output.say(format!("  {} {}   ({})", ask.kind, ask.target, ask.reason));
            }
            output.say(
                "nothing of it is granted by registering; apply a document of kind Grant, or register with --grant",
            );
        }
        Ok(())
    }
}
