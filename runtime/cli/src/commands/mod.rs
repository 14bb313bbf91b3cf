//! The verbs, one file each, and the noun that many of them take.

mod apply;
mod audit;
mod backup;
mod completion;
mod create;
mod deadletter;
mod delete;
mod describe;
mod diff;
mod drain;
mod explain;
mod get;
mod inspect;
mod logs;
mod new;
mod noun;
mod pause;
mod pipeline;
mod register;
mod restore;
mod resume;
mod run;
mod secret;
mod serve;
mod status;
mod tail;
mod test;
mod test_runner;
mod top;
mod trial;
mod update;
mod validate;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Outcome;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a server and keep it running.
    Serve(Box<serve::Serve>),
    /// Run documents in this process, with no server, until Ctrl-C or until the sources are done.
    Run(run::Run),
    /// Make the server's objects what the documents say.
    Apply(apply::Apply),
    /// Create the objects of documents that do not exist yet.
    Create(create::Create),
    /// List objects, or show some.
    Get(get::Get),
    /// Show one object with its conditions, health, throughput and abilities.
    Describe(describe::Describe),
    /// Change objects that exist.
    Update(update::Update),
    /// Delete objects that nothing uses.
    Delete(delete::Delete),
    /// Register a component as a connector class or function.
    Register(register::Register),
    /// Show what a component says of itself, without a server.
    Inspect(inspect::Inspect),
    /// Check documents without a server and without changing anything.
    Validate(validate::Validate),
    /// Show what `apply` would change.
    Diff(diff::Diff),
    /// Make the project of a new connector or function.
    New(new::New),
    /// Run a component's test scripts or the conformance kit.
    Test(test::Test),
    /// Run a test binary that cargo built for WebAssembly (cargo calls this).
    #[command(hide = true)]
    TestRunner(test_runner::TestRunner),
    /// Show what guests reached for, and what was denied.
    Audit(audit::Audit),
    /// Show the log lines of a stream or pipeline.
    Logs(logs::Logs),
    /// Show the state of every stream and pipeline once.
    Status(status::Status),
    /// Show the state of every stream and pipeline, live.
    Top(top::Top),
    /// Show records as they pass.
    Tail(tail::Tail),
    /// Send one record through a pipeline's functions and show each step's output; nothing is delivered.
    Try(trial::Try),
    /// Hold streams or pipelines back.
    Pause(pause::Pause),
    /// Let streams or pipelines go on.
    Resume(resume::Resume),
    /// Stop intake, and wait until what is in flight is delivered.
    Drain(drain::Drain),
    /// Show, replay, export or drop records that were given up.
    #[command(name = "deadletter", visible_aliases = ["deadletters", "dl"])]
    DeadLetters(deadletter::DeadLetters),
    /// Have a pipeline read its records again.
    Pipeline(pipeline::Pipeline),
    /// Copy the server's data folder into a file, while the server goes on.
    Backup(backup::Backup),
    /// Make a data folder from a backup.
    Restore(restore::Restore),
    /// Print the completion script of a shell.
    Completion(completion::Completion),
    /// Explain an error code.
    Explain(explain::Explain),
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Serve(command) => command.run(context).await,
            Self::Run(command) => command.run(context).await,
            Self::Apply(command) => command.run(context).await,
            Self::Create(command) => command.run(context).await,
            Self::Get(command) => command.run(context).await,
            Self::Describe(command) => command.run(context).await,
            Self::Update(command) => command.run(context).await,
            Self::Delete(command) => command.run(context).await,
            Self::Register(command) => command.run(context).await,
            Self::Inspect(command) => command.run(context).await,
            Self::Validate(command) => command.run(context).await,
            Self::Diff(command) => command.run(context).await,
            Self::New(command) => command.run(context),
            Self::Test(command) => command.run(context).await,
            Self::TestRunner(command) => command.run(context).await,
            Self::Audit(command) => command.run(context).await,
            Self::Logs(command) => command.run(context).await,
            Self::Status(command) => command.run(context).await,
            Self::Top(command) => command.run(context).await,
            Self::Tail(command) => command.run(context).await,
            Self::Try(command) => command.run(context).await,
            Self::Pause(command) => command.run(context).await,
            Self::Resume(command) => command.run(context).await,
            Self::Drain(command) => command.run(context).await,
            Self::DeadLetters(command) => command.run(context).await,
            Self::Pipeline(command) => command.run(context).await,
            Self::Backup(command) => command.run(context).await,
            Self::Restore(command) => command.run(context).await,
            Self::Completion(command) => command.run(context),
            Self::Explain(command) => command.run(context),
        }
    }
}
