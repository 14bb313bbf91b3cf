//! The one binary, `ferrule`: reads the command line, hands it to the verb's file under `commands`, and exits with its code.

mod built;
mod client;
mod commands;
mod compiled;
mod context;
mod documents;
mod exit;
mod output;
mod question;
mod scaffold;
mod views;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::commands::Command;
use crate::context::{Context, Proofs, Surroundings};
use crate::output::{ColorChoice, Format, Output};

/// Ferrule is a connector platform: it moves records from sources through functions to sinks, and runs each of them as a
/// WebAssembly component in a sandbox of its own.
#[derive(Debug, Parser)]
#[command(name = "ferrule", version, arg_required_else_help = true, infer_subcommands = false)]
#[command(after_help = "First steps: `ferrule new source my-source`, then `ferrule run pipeline.yaml`.\n\
                        Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict, 5 refused, 6 no server,\n\
                        7 not valid, 8 differs, 9 timed out, 101 tests failed.")]
struct Cli {
    /// The server: a socket path, or https://host:port [default: FERRULE_SERVER, or the socket in the data folder].
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = "Everywhere")]
    server: Option<String>,
    /// A file with the token for a server at https:// [default: FERRULE_TOKEN_FILE].
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    token_file: Option<PathBuf>,
    /// The authorities of the server's certificate, PEM [default: FERRULE_CACERT, or those of the system].
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    cacert: Option<PathBuf>,
    /// A client certificate with its chain, PEM [default: FERRULE_CERT].
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    cert: Option<PathBuf>,
    /// The private key of --cert, PEM [default: FERRULE_KEY].
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    key: Option<PathBuf>,
    /// Form of the data on standard output.
    #[arg(
        long,
        short = 'o',
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORM",
        help_heading = "Everywhere"
    )]
    output: Format,
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = "Everywhere")]
    color: ColorChoice,
    /// Say nothing but data and errors.
    #[arg(long, short = 'q', global = true, help_heading = "Everywhere")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

/// The command line as clap knows it, for completions and help.
fn grammar() -> clap::Command {
    Cli::command()
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let surroundings = Surroundings::read();
    let output = Output::new(cli.output, cli.color, cli.quiet, surroundings.no_color);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.warn(format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let server = cli.server.or_else(|| surroundings.server.clone());
    let given = Proofs { token_file: cli.token_file, cacert: cli.cacert, cert: cli.cert, key: cli.key };
    let proofs = given.or(surroundings.proofs.clone());
    let context = Context { output: output.clone(), server, proofs, surroundings };
    let outcome = runtime.block_on(cli.command.run(&context));
    // Threads that still wait on standard input or a file must not hold the exit back.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        grammar().debug_assert();
    }

    #[test]
    fn the_lines_of_the_kps_command_line_parse() {
        for line in [
            "ferrule create connectorclass -f class.json",
            "ferrule create -f all.yaml",
            "ferrule create datapipeline -f p.yaml",
            "ferrule delete connectorstream -i my-instance my-stream",
            "ferrule delete connectorinstance my-instance",
            "ferrule get connectorinstancestatus -s sd -p project -i my-instance -t my-stream",
            "ferrule get connectorinstancealerts -i my-instance",
            "ferrule get svcdomain",
            "ferrule get connectorclass --all-namespaces -o json",
            "ferrule delete connectorinstance thermo -n halls",
            "ferrule test-runner target/x.wasm part --skip=slow --nocapture --exact",
            "ferrule run f.yaml --until-records 5 --for 60",
            "ferrule update svcdomain edge -f sd.yaml",
            "ferrule apply -f folder --prune --dry-run",
            "ferrule create secret login --from-file a=b --from-env c=D --from-stdin e --replace",
            "ferrule backup ferrule.tar --with-secret-key",
            "ferrule apply -f -",
            "ferrule run pipeline.yaml --until-done",
            "ferrule completion bash",
            "ferrule explain FE0001",
            "ferrule deadletter list --pipeline p --since -1h --reason rejected -o json",
            "ferrule dl replay 3 4",
            "ferrule deadletters drop --all --yes",
            "ferrule pipeline rewind p --to -1h",
            "ferrule backup ferrule.tar",
            "ferrule restore ferrule.tar --data d",
            "ferrule restore - --check",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|e| e.to_string()).unwrap_or_default());
        }
    }
}
