//! `ferrule inspect`: what a component says of itself.

use std::path::PathBuf;

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::report::ComponentFacts;
use ferrule_api::request::Inspection;
use ferrule_model::Code;
use serde_json::{Map, Value, json};

use super::noun::{load_component, read_component};
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Format, Output, Tone};
use crate::views;

/// Shows what a component says of itself: world, version, parameters, and what it asks for. A file needs no server.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrule inspect target/wasm32-wasip2/release/demo_src.wasm\n  ferrule inspect mqtt"
)]
pub(crate) struct Inspect {
    /// A .wasm file; or the name of a class, function or component that the server keeps, or its digest.
    component: String,
}

impl Inspect {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let path = PathBuf::from(&self.component);
        if path.is_file() {
            let bytes = read_component(&path)?;
            let size = bytes.len() as u64;
            let facts = load_component(context, &path, &bytes).await?;
            let facts = ComponentFacts {
                digest: facts.digest().to_owned(),
                world: facts.world().to_string(),
                description: facts.description().clone(),
                size,
            };
            return show(&context.output, &facts, &[]);
        }
        if path.extension().is_some_and(|e| e == "wasm") {
            return Err(Failure::new(Exit::NotFound, format!("there is no file {}", path.display()))
                .with_code(Code::Unreadable));
        }
        let client = context.client().await?;
        let (facts, used_by) = client.inspect(Inspection::Reference(self.component)).await?;
        show(&context.output, &facts, &used_by)
    }
}

fn show(output: &Output, facts: &ComponentFacts, used_by: &[String]) -> Outcome {
    let described = &facts.description;
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!(text));
    let schemas: Map<String, Value> = described.schemas.iter().map(|s| (s.name.clone(), parsed(&s.content))).collect();
    let properties: Map<String, Value> =
        described.properties.iter().map(|(name, value)| (name.clone(), parsed(value))).collect();
    if output.format != Format::Table {
        return output.value(&json!({
            "name": described.name, "version": described.version, "summary": described.summary, "world": facts.world,
            "digest": facts.digest, "size": facts.size, "directions": described.directions, "schemas": schemas,
            "asks": described.capabilities, "routes": described.routes, "properties": properties, "usedBy": used_by,
        }));
    }
    let field = |name: &str, value: &str| output.line(format!("{:<12}{value}", format!("{name}:")));
    field("Name", &described.name)?;
    field("Version", &described.version)?;
    field("Summary", &described.summary)?;
    field("World", &facts.world)?;
    let directions: Vec<String> = described.directions.iter().map(ToString::to_string).collect();
    field("Directions", &directions.join(", "))?;
    field("Digest", &facts.digest)?;
    field("Size", &format!("{} bytes", facts.size))?;
    if !described.routes.is_empty() {
        field("Routes", &described.routes.join(", "))?;
    }
    for (name, value) in &properties {
        field(name, &value.to_string())?;
    }
    if !used_by.is_empty() {
        field("Used by", &used_by.join(", "))?;
    }
    output.line(output.tone("Asks for", Tone::Strong))?;
    if described.capabilities.is_empty() {
        output.line("  nothing")?;
    }
    for ask in &described.capabilities {
        output.line(format!("  {} {}   ({})", ask.kind, ask.target, ask.reason))?;
    }
    for (name, schema) in &schemas {
        output.line(output.tone(&format!("Schema `{name}`"), Tone::Strong))?;
        output.raw(views::indented(schema, 2)?.as_bytes())?;
    }
    Ok(())
}
