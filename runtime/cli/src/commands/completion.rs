//! `ferrule completion`: the completion script of a shell.

use clap::Args;
use clap_complete::Shell;

use crate::context::Context;
use crate::exit::Outcome;

/// Prints the completion script of a shell, such as `source <(ferrule completion bash)`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::grammar(), "ferrule", &mut script);
        context.output.raw(&script)
    }
}
