//! `ferrule test-runner`: what cargo calls to run a test binary of a guest.

use std::path::PathBuf;

use clap::Args;
use ferrule_testkit::runner::{self, Arguments};

use super::noun::read_component;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};

/// Runs a test binary that cargo built for WebAssembly, each test in an instance of its own.
#[derive(Debug, Args)]
#[command(
    after_help = "In a guest's .cargo/config.toml:\n  [target.wasm32-wasip2]\n  runner = \"ferrule test-runner\""
)]
pub(crate) struct TestRunner {
    /// The test binary.
    file: PathBuf,
    /// What libtest would take: filters, --exact, --list, --ignored, --nocapture and so on.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl TestRunner {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let arguments = Arguments::parse(&self.arguments).map_err(Failure::usage)?;
        let bytes = read_component(&self.file)?;
        let program =
            self.file.file_name().map_or_else(|| "test".to_owned(), |name| name.to_string_lossy().into_owned());
        let summary =
            runner::run(&bytes, &program, &arguments, &mut std::io::stdout(), context.output.colors_data()).await?;
        if summary.is_ok() { Ok(()) } else { Err(Failure::silent(Exit::TestsFailed)) }
    }
}
