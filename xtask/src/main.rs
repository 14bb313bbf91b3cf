//! Every command of the project, for a machine that has only cargo: `cargo xtask COMMAND`.

mod arrows;
mod contract;
mod crash;
mod guests;
mod lint;
mod process;
mod scaffold;
mod tests;
mod tools;
mod tutorial;
mod unused;

use anyhow::{Result, bail};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  demo [--keep] [--seconds N]  set up, build, and run the demo: live measurements through sandboxed connectors
  test [FILTER]                set up and run every test
  guests                       build all guests (target/guests, target/test-guests); only what changed
  bench SUITE [--peers] [--json FILE] [--write]
                               measure: hop, pipeline, json, mqtt, log, start, latency, neighbours; `bench --help` tells more
  bench gate                   fail when guest code or the boundary became dear beside native code
  crash [--kills N] [--seed S] [--scenario NAME] [--fault]
                               kill -9 the runtime at random moments and prove that nothing is lost; --help tells more
  fuzz [TARGET] [--seconds N] [--seed S]
                               feed the readers of strangers' bytes with random and mutated input: batch, grant, document, log, wire
  lint                         formatting, clippy, rustdoc, licences and bans
  interop                      make a project of each kind; lint, build (cargo-component), test and run it, and one guest
  tutorial                     run the commands of docs/tutorial.md, and compare what they print with what it shows
  setup                        only install what is missing (wasm targets; Mosquitto and nats-server where the machine lets us)
";

fn main() -> ExitCode {
    match follow_command_line() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn follow_command_line() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    match command.as_str() {
        // What the demo takes is among the commands here; to ask is no reason to build everything.
        "demo" if rest.iter().any(|word| word == "--help" || word == "-h") => {
            print!("{HELP}");
            Ok(())
        }
        "demo" => {
            tools::wasm_targets()?;
            guests::build()?;
            process::build(&[])?;
            process::run(process::built("ferrule-demo"), &rest)
        }
        "test" => tests::all(&rest),
        "guests" => {
            tools::wasm_targets()?;
            guests::build()
        }
        "bench" => bench(&rest),
        "crash" => crash::run(&rest),
        "fuzz" => {
            process::build(&[])?;
            process::run(process::built("ferrule-fuzz"), &rest)
        }
        "lint" => lint::all(),
        "interop" => scaffold::try_all(),
        "tutorial" => {
            tools::wasm_targets()?;
            tools::cargo_tool("cargo-component", tools::CARGO_COMPONENT)?;
            tutorial::run()
        }
        "setup" => {
            tools::wasm_targets()?;
            tools::mosquitto();
            tools::nats_server();
            Ok(())
        }
        "help" | "--help" | "-h" | "" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("there is no command {other:?}\n\n{HELP}"),
    }
}

/// Builds the guests and runs one suite of the benchmarks.
fn bench(words: &[String]) -> Result<()> {
    tools::wasm_targets()?;
    guests::build()?;
    guests::build_for_bench()?;
    process::build(&[])?;
    process::run(process::built("ferrule-bench"), words)
}
