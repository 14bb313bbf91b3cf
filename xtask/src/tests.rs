//! Runs every test of the repository, native and WebAssembly.

use crate::{guests, lint, process, tools};
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// Sets up and runs everything. Words given are passed to the native tests as a filter, and then nothing else runs.
pub(crate) fn all(filter: &[String]) -> Result<()> {
    tools::wasm_targets()?;
    tools::mosquitto();
    tools::nats_server();
    guests::build()?;
    // The suites start these programs.
    process::build(&[])?;

    let native = ["test", "--workspace", "--no-fail-fast"].map(str::to_owned);
    process::cargo(native.into_iter().chain(filter.iter().cloned()))?;
    if !filter.is_empty() {
        return Ok(());
    }
    sdk_tests()?;
    native_guest_tests()?;
    wasm_unit_tests()?;
    component_tests()
}

/// The SDK's own tests, those in its documentation included; its examples are built as what they are, components.
fn sdk_tests() -> Result<()> {
    eprintln!("the tests of the SDK, natively, and its examples, as WebAssembly");
    for words in [
        &["test", "--quiet", "--no-fail-fast"][..],
        &["build", "--quiet", "--examples", "--release", "--target", "wasm32-wasip2"],
    ] {
        let mut command = process::command("cargo");
        command.current_dir(process::root().join(lint::SDK)).args(words);
        command.env_remove("CARGO_TARGET_DIR");
        process::finish(command)?;
    }
    Ok(())
}

/// Tests of guests that need files, natively: nothing is granted to a unit test that runs as WebAssembly.
fn native_guest_tests() -> Result<()> {
    eprintln!("the unit tests of the guest `file`, natively");
    let mut command = process::command("cargo");
    command.current_dir(process::root().join("guests"));
    command.args(["test", "--quiet", "--release", "--package", "file"]);
    command.env_remove("CARGO_TARGET_DIR");
    process::finish(command)
}

/// The guests' own unit tests, as WebAssembly under `ferrule test-runner`, as an author of a connector runs them.
fn wasm_unit_tests() -> Result<()> {
    eprintln!("the guests' unit tests, as WebAssembly");
    let mut command = process::command("cargo");
    command.current_dir(process::root().join("guests"));
    command.args(["test", "--quiet", "--release", "--target", "wasm32-wasip2", "--no-fail-fast"]);
    command.env("CARGO_TARGET_WASM32_WASIP2_RUNNER", format!("{} test-runner", process::built("ferrule").display()));
    command.env_remove("CARGO_TARGET_DIR");
    process::finish(command)
}

/// Each shipped guest against its world's conformance kit, opened as its first script opens it, and against its scripts.
fn component_tests() -> Result<()> {
    for name in guests::names(&process::root().join("guests"))? {
        let component = process::target().join("guests").join(format!("{name}.wasm"));
        let folder = process::root().join("guests").join(&name);
        let ferrule = || {
            let mut command = process::command(process::built("ferrule"));
            command.arg("test").arg("--component").arg(&component);
            command
        };
        let mut conformance = ferrule();
        conformance.arg("--conformance");
        // A session.yaml of the crate is found by the kit itself.
        let session = folder.join("tests/session.yaml").is_file();
        if let Some(script) = first_script(&folder.join("tests"))?.filter(|_| !session) {
            conformance.arg("--with").arg(script);
        }
        conformance.arg(&folder);
        process::finish(conformance)?;
        if first_script(&folder.join("tests"))?.is_some() {
            let mut scripts = ferrule();
            scripts.arg(&folder);
            process::finish(scripts)?;
        }
    }
    Ok(())
}

fn first_script(folder: &Path) -> Result<Option<PathBuf>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    let scripts = paths.into_iter().filter(|path| path.to_string_lossy().ends_with(".test.yaml"));
    Ok(scripts.min())
}
