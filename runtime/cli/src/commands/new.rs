//! `ferrule new`: the project of a new connector or function.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::scaffold::{self, Template};

/// Makes a whole project: code, tests, a script, a pipeline to run it, a CI workflow and a justfile.
#[derive(Debug, Args)]
#[command(after_help = "Example: ferrule new source demo-src")]
pub(crate) struct New {
    /// What it is.
    #[arg(value_enum)]
    world: World,
    /// Its name: lower-case letters, digits and hyphens; also the folder's, unless --path says otherwise.
    name: String,
    /// The folder to make.
    #[arg(long)]
    path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum World {
    /// Takes records from the outside world.
    Source,
    /// Gives records to the outside world.
    Sink,
    /// Both directions, each stream in one of them.
    Connector,
    /// Turns records into records.
    Function,
}

impl New {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let template = match self.world {
            World::Source => Template::Source,
            World::Sink => Template::Sink,
            World::Connector => Template::Connector,
            World::Function => Template::Function,
        };
        scaffold::check_name(&self.name).map_err(|why| {
            Failure::usage(format!("`{}` cannot be the name of a component: {why}", self.name))
                .with_help("a name is lower-case letters, digits and single hyphens, such as `demo-src`")
        })?;
        let folder = self.path.unwrap_or_else(|| PathBuf::from(&self.name));
        if folder.exists() {
            return Err(Failure::new(
                Exit::Conflict,
                format!("{} exists already; nothing was written", folder.display()),
            )
            .with_help("choose another name, or another folder with --path"));
        }
        let files = scaffold::write(template, &self.name, &folder)?;
        context.output.say(format!("{} files in {}", files, folder.display()));
        context.output.say(format!(
            "next:\n  cd {}\n  cargo component build --release   # or: cargo build --release\n  cargo test\n  ferrule test\n  ferrule run pipeline.yaml",
            folder.display()
        ));
        Ok(())
    }
}
