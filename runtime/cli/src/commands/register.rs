//! `ferrule register`: makes a component a connector class or function.

use std::path::PathBuf;

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::request::{Inspection, Registration};
use ferrule_model::component::Capability;

use super::noun::read_component;
use crate::context::Context;
use crate::exit::Outcome;
use crate::output::Format;
use crate::question;
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
    /// Also write a grant of all that the component asks for. Without it, a terminal is asked, and elsewhere nothing is granted.
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
        let mut grant = self.grant;
        if !grant && !self.dry_run && output.format == Format::Table && question::can_ask() {
            let (component, _) = client.inspect(Inspection::Content(content.clone())).await?;
            let asks: Vec<_> = component.asks().iter().map(ask_text).collect();
            if !asks.is_empty() {
                let name = &component.description.name;
                output.say(format!("{name} asks for:\n{}", asks.join("\n")));
                grant = question::ask("Grant all of it to every stream of its class?")?;
            }
        }
        let spinner = output.spinner(format!("checking and compiling {}", self.file.display()));
        let registration = Registration {
            content,
            file: self.file.display().to_string(),
            name: self.name,
            for_class: self.for_class,
            replace: self.replace,
            grant,
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
        if !grant && !component.asks().is_empty() {
            output.say("it asks for:");
            for ask in component.asks() {
                output.say(ask_text(ask));
            }
            output.say(
                "nothing of it is granted by registering; apply a document of kind Grant, or register with --grant",
            );
        }
        Ok(())
    }
}

fn ask_text(ask: &Capability) -> String {
    format!("  {} {}   ({})", ask.kind, ask.target, ask.reason)
}
